//! Which files there are.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use blobforge_core::{MAX_TAG_BYTES, MAX_TAGS};
use walkdir::{DirEntry, WalkDir};

use super::hydrate;

/// A file that is to be handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// The folders that it lies in, below the one that was named.
    pub(super) tags: Vec<String>,
}

/// Which files are meant: all, unless said.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// With one of these extensions, in small letters; with any where there are none.
    pub(super) extensions: Vec<String>,
    /// Untouched for so long: what is younger may still be written.
    pub(super) untouched_for: Duration,
}

/// All files that are meant, of one that was named or below a folder that was; or why one cannot be looked at. Hidden ones
/// are passed over, and the assets that `hydrate` put beside a source.
pub(super) fn walk(root: &Path, wanted: &Wanted) -> impl Iterator<Item = Result<Found, (PathBuf, String)>> {
    let (root_path, wanted) = (root.to_owned(), wanted.clone());
    let files = WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(is_looked_at);
    files.filter_map(move |entry| match entry {
        // Who names a file means it, whatever it is called.
        Ok(entry) if entry.depth() == 0 => match entry.path().metadata() {
            Ok(about) if about.is_file() => Some(Ok(Found { path: entry.into_path(), tags: Vec::new() })),
            Ok(about) if about.is_dir() => None,
            Ok(_) => Some(Err((entry.into_path(), NO_FILE.to_owned()))),
            Err(error) => Some(Err((entry.into_path(), error.to_string()))),
        },
        Ok(entry) if is_file(&entry) && wanted.has(entry.path()) => {
            Some(Ok(Found { tags: tags(&root_path, entry.path()), path: entry.into_path() }))
        }
        Ok(entry) if entry.path_is_symlink() && !entry.path().exists() && wanted.fits(entry.path()) => {
            Some(Err((entry.into_path(), LEADS_NOWHERE.to_owned())))
        }
        Ok(_) => None,
        Err(error) => {
            let path = error.path().unwrap_or(&root_path).to_owned();
            let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
            Some(Err((path, why)))
        }
    })
}

/// Why what was named is not handed in.
const NO_FILE: &str = "it is neither a file nor a folder: save what it gives in a file first";
/// Why a link in a folder is not.
const LEADS_NOWHERE: &str = "it is a link to what is not there";

fn is_looked_at(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let is_of_hydrate = entry.file_type().is_dir()
        && name.ends_with(".assets")
        && hydrate::is_written(&entry.path().with_extension("md"));
    entry.depth() == 0 || !(name.starts_with('.') || is_of_hydrate)
}

/// A link to a file is one; a link to a folder may lead round in a circle.
fn is_file(entry: &DirEntry) -> bool {
    entry.file_type().is_file() || entry.file_type().is_symlink() && entry.path().is_file()
}

impl Wanted {
    /// The files that jobs of a type are made of, unless extensions are named.
    pub(super) fn of(job_type: &str, named: &[String]) -> Self {
        let named = named.iter().map(|name| name.trim_start_matches('.').to_lowercase());
        let named: Vec<_> = named.filter(|name| !name.is_empty()).collect();
        let usual = named.is_empty() && job_type.starts_with("pdf");
        let extensions = if usual { vec!["pdf".to_owned()] } else { named };
        Self { extensions, untouched_for: Duration::ZERO }
    }

    fn has(&self, path: &Path) -> bool {
        self.fits(path) && (self.untouched_for.is_zero() || self.is_settled(path))
    }

    fn fits(&self, path: &Path) -> bool {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        self.extensions.is_empty() || extension.is_some_and(|extension| self.extensions.contains(&extension))
    }

    fn is_settled(&self, path: &Path) -> bool {
        let modified = fs::metadata(path).and_then(|found| found.modified());
        // What cannot be looked at is said to be so when it is read.
        modified.map_or(true, |modified| {
            // Of what comes from a clock that is ahead nobody knows how old it is.
            SystemTime::now().duration_since(modified).map_or(true, |age| age >= self.untouched_for)
        })
    }
}

/// The folders on the way from the root to a file.
fn tags(root: &Path, file: &Path) -> Vec<String> {
    let folders = file.strip_prefix(root).ok().and_then(Path::parent);
    let names = folders.into_iter().flat_map(Path::components);
    let mut tags = Vec::new();
    for name in names.map(|part| part.as_os_str().to_string_lossy().trim().to_owned()) {
        if (1..=MAX_TAG_BYTES).contains(&name.len()) && !tags.contains(&name) && tags.len() < MAX_TAGS {
            tags.push(name);
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(root: &Path, extensions: &[&str]) -> Vec<(String, Vec<String>)> {
        let extensions = extensions.iter().map(ToString::to_string).collect();
        let wanted = Wanted { extensions, untouched_for: Duration::ZERO };
        let name = |path: &Path| path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        walk(root, &wanted).map(Result::unwrap).map(|found| (name(&found.path), found.tags)).collect()
    }

    #[test]
    fn files_are_found_in_order_with_the_folders_they_lie_in() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "rpg/2e/a.PDF",
            "rpg/b.pdf",
            "c.pdf",
            "c.md",
            ".git/d.pdf",
            "c.assets/e.pdf",
            ".f.pdf",
            "g.assets/h.pdf",
        ] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink(at("rpg"), at("again")).unwrap();
        crate::cli::hydrate::mark_as_written(&at("c.md"));
        let tags = |tags: &[&str]| tags.iter().map(ToString::to_string).collect::<Vec<_>>();
        let expected = vec![
            ("c.pdf".to_owned(), tags(&[])),
            // Nobody put these assets beside a source.
            ("g.assets/h.pdf".to_owned(), tags(&["g.assets"])),
            ("rpg/2e/a.PDF".to_owned(), tags(&["rpg", "2e"])),
            ("rpg/b.pdf".to_owned(), tags(&["rpg"])),
        ];
        assert_eq!(found(folder.path(), &["pdf"]), expected);
        assert_eq!(found(folder.path(), &[]).len(), 5);
        let named = Wanted { extensions: vec!["pdf".to_owned()], untouched_for: Duration::from_secs(60) };
        assert_eq!(walk(&at("c.md"), &named).count(), 1, "who names a file means it");
        assert_eq!(walk(folder.path(), &named).count(), 0, "all were just written");
        assert!(walk(&at("missing"), &named).next().unwrap().is_err());
        std::os::unix::fs::symlink(at("c.md"), at("link")).unwrap();
        assert_eq!(walk(&at("link"), &named).count(), 1, "also by a link");
        std::os::unix::fs::symlink(at("nowhere"), at("dangling.pdf")).unwrap();
        let wrong: Vec<_> = walk(folder.path(), &named).map(Result::unwrap_err).collect();
        assert_eq!(wrong, [(at("dangling.pdf"), LEADS_NOWHERE.to_owned())]);
        assert!(walk(Path::new("/dev/null"), &named).next().unwrap().is_err(), "no file");
    }
}
