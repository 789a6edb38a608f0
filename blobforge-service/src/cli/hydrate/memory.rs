//! What whoever watches remembers from one look to the next, so that nothing is read or fetched again of which it is known
//! what comes of it, and nothing is told twice.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use blobforge_core::Sha256;

use super::{
    place::Place,
    summary::{Fate, Outcome},
};
use crate::cli::fingerprint::Version;

/// What failed is tried again after that: a disk may have room by then.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);

/// What came of a result.
#[derive(Debug)]
struct Known {
    result: String,
    fate: Fate,
    /// What lay beside the source then: the Markdown, and the folder of what it shows.
    there: [Version; 2],
    at: Instant,
}

/// What is remembered of each source.
#[derive(Debug, Default)]
pub(super) struct Memory {
    hashes: HashMap<PathBuf, (Version, Sha256)>,
    known: HashMap<PathBuf, Known>,
    told: HashMap<PathBuf, Fate>,
}

fn beside(source: &Path) -> [Version; 2] {
    let place = Place::beside(source);
    [Version::of(place.markdown()), Version::of(place.assets())]
}

impl Memory {
    /// The hash of a source, if that has not changed since it was read.
    pub(super) fn hash(&self, source: &Path) -> Option<Sha256> {
        let (version, sha256) = self.hashes.get(source)?;
        (*version == Version::of(source)).then_some(*sha256)
    }

    /// Remembers the hash of a source, as it was before it was read.
    pub(super) fn keep_hash(&mut self, source: &Path, version: Version, sha256: Sha256) {
        self.hashes.insert(source.to_owned(), (version, sha256));
    }

    /// What comes of a result, if nothing has changed since it was tried.
    pub(super) fn of(&self, source: &Path, result: &str) -> Option<Fate> {
        let known = self.known.get(source).filter(|known| known.result == result)?;
        let is_over = matches!(known.fate, Fate::Failed { .. }) && known.at.elapsed() >= TRIED_AGAIN_AFTER;
        (known.there == beside(source) && !is_over).then(|| known.fate.clone())
    }

    /// Remembers what came of a result.
    pub(super) fn keep(&mut self, source: &Path, result: Option<String>, fate: &Fate) {
        let Some(result) = result else {
            self.known.remove(source);
            return;
        };
        let at = match self.known.get(source) {
            Some(known) if known.result == result && known.at.elapsed() < TRIED_AGAIN_AFTER => known.at,
            _ => Instant::now(),
        };
        // It lies there now.
        let fate = if *fate == Fate::Written { Fate::Unchanged } else { fate.clone() };
        self.known.insert(source.to_owned(), Known { result, fate, there: beside(source), at });
    }

    /// What nobody was told yet and is worth it.
    pub(super) fn news(&mut self, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        let is_new = |Outcome { path, fate }: &Outcome| {
            let was = self.told.insert(path.clone(), fate.clone());
            match fate {
                Fate::Written => true,
                Fate::Kept | Fate::Failed { .. } => was.as_ref() != Some(fate),
                Fate::Unchanged | Fate::Waiting => false,
            }
        };
        outcomes.into_iter().filter(is_new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_not_tried_again_until_something_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (source, markdown) = (folder.path().join("book.pdf"), folder.path().join("book.md"));
        std::fs::write(&markdown, "mine").unwrap();
        let mut memory = Memory::default();
        assert_eq!(memory.of(&source, "one"), None);
        memory.keep(&source, Some("one".to_owned()), &Fate::Kept);
        assert_eq!(memory.of(&source, "one"), Some(Fate::Kept));
        assert_eq!(memory.of(&source, "two"), None, "another result");
        std::fs::write(&markdown, "not mine any more").unwrap();
        assert_eq!(memory.of(&source, "one"), None, "something else lies there");
        memory.keep(&source, Some("one".to_owned()), &Fate::Written);
        assert_eq!(memory.of(&source, "one"), Some(Fate::Unchanged));
        std::fs::create_dir(folder.path().join("book.assets")).unwrap();
        assert_eq!(memory.of(&source, "one"), None, "a folder lies there now");
    }

    #[test]
    fn a_source_that_has_not_changed_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("book.pdf");
        std::fs::write(&source, "one").unwrap();
        let (mut memory, hash) = (Memory::default(), Sha256::from_bytes([7; 32]));
        memory.keep_hash(&source, Version::of(&source), hash);
        assert_eq!(memory.hash(&source), Some(hash));
        std::fs::write(&source, "more than one").unwrap();
        assert_eq!(memory.hash(&source), None);
    }

    #[test]
    fn a_failure_is_told_once() {
        let mut memory = Memory::default();
        let mut told =
            |fate: &Fate| memory.news(vec![Outcome { path: "book.pdf".into(), fate: fate.clone() }]).len();
        let failed = |reason: &str| Fate::Failed { reason: reason.to_owned() };
        assert_eq!([told(&failed("no room")), told(&failed("no room"))], [1, 0]);
        assert_eq!([told(&failed("no right")), told(&Fate::Unchanged)], [1, 0]);
        assert_eq!([told(&Fate::Kept), told(&Fate::Kept)], [1, 0]);
        assert_eq!([told(&Fate::Written), told(&Fate::Written)], [1, 1]);
    }
}
