//! What whoever watches remembers from one look to the next, so that nothing is fetched again of which it is known what comes
//! of it, and nothing is told twice.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::{
    place::Place,
    summary::{Fate, Outcome},
};

/// What failed is tried again after that: a disk may have room by then.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);

/// What a file was as it was looked at; `None` if there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(Option<(u64, Option<SystemTime>)>);

impl Version {
    pub(super) fn of(path: &Path) -> Self {
        Self(std::fs::metadata(path).ok().map(|found| (found.len(), found.modified().ok())))
    }
}

/// What came of a result.
#[derive(Debug)]
struct Known {
    result: String,
    fate: Fate,
    /// What lay beside the source then.
    there: Version,
    at: Instant,
}

/// What is remembered of each source.
#[derive(Debug, Default)]
pub(super) struct Memory {
    known: HashMap<PathBuf, Known>,
    told: HashMap<PathBuf, Fate>,
}

impl Memory {
    /// What comes of a result, if nothing has changed since it was tried.
    pub(super) fn of(&self, source: &Path, result: &str) -> Option<Fate> {
        let known = self.known.get(source).filter(|known| known.result == result)?;
        let is_over = matches!(known.fate, Fate::Failed { .. }) && known.at.elapsed() >= TRIED_AGAIN_AFTER;
        let is_same = known.there == Version::of(Place::beside(source).markdown());
        (is_same && !is_over).then(|| known.fate.clone())
    }

    /// Remembers what came of a result that was not put beside its source.
    pub(super) fn keep(&mut self, source: &Path, result: Option<String>, fate: &Fate) {
        let (Fate::Kept | Fate::Failed { .. }, Some(result)) = (fate, result) else {
            self.known.remove(source);
            return;
        };
        let there = Version::of(Place::beside(source).markdown());
        let at = match self.known.get(source) {
            Some(known) if known.result == result && known.at.elapsed() < TRIED_AGAIN_AFTER => known.at,
            _ => Instant::now(),
        };
        self.known.insert(source.to_owned(), Known { result, fate: fate.clone(), there, at });
    }

    /// Whether something is among the outcomes that nobody was told.
    pub(super) fn takes_note_of(&mut self, outcomes: &[Outcome]) -> bool {
        let mut is_news = false;
        for Outcome { path, fate } in outcomes {
            let is_told = self.told.insert(path.clone(), fate.clone()).as_ref() == Some(fate);
            is_news |= *fate == Fate::Written || matches!(fate, Fate::Failed { .. }) && !is_told;
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_not_tried_again_until_something_changes() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("book.pdf");
        std::fs::write(folder.path().join("book.md"), "mine").unwrap();
        let mut memory = Memory::default();
        assert_eq!(memory.of(&source, "one"), None);
        memory.keep(&source, Some("one".to_owned()), &Fate::Kept);
        assert_eq!(memory.of(&source, "one"), Some(Fate::Kept));
        assert_eq!(memory.of(&source, "two"), None, "another result");
        std::fs::write(folder.path().join("book.md"), "not mine any more").unwrap();
        assert_eq!(memory.of(&source, "one"), None, "something else lies there");
        memory.keep(&source, Some("one".to_owned()), &Fate::Written);
        assert_eq!(
            memory.of(&source, "one"),
            None,
            "it lies there as it should, which is looked at each time"
        );
    }

    #[test]
    fn a_failure_is_told_once() {
        let mut memory = Memory::default();
        let outcome = |fate| [Outcome { path: "book.pdf".into(), fate }];
        let failed = |reason: &str| outcome(Fate::Failed { reason: reason.to_owned() });
        assert!(memory.takes_note_of(&failed("no room")));
        assert!(!memory.takes_note_of(&failed("no room")));
        assert!(memory.takes_note_of(&failed("no right")));
        assert!(!memory.takes_note_of(&outcome(Fate::Unchanged)));
        assert!(memory.takes_note_of(&outcome(Fate::Written)));
    }
}
