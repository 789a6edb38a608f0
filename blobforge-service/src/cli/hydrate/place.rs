//! Where a result goes beside its source, and whether what lies there may be replaced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use blobforge_core::Sha256;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest as _, Sha256 as Hasher};
use walkdir::WalkDir;

use super::{document::Document, draft::Draft};
use crate::hashing;

/// The hash of what this program wrote into a file: it is still ours if it has that content.
const WRITTEN: &str = "user.blobforge.written";
/// How many files a Markdown was put there with.
const ASSETS: &str = "user.blobforge.assets";
/// Of which result a file is.
const RESULT: &str = "user.blobforge.result";

/// Where the result of a source goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    folder: PathBuf,
    markdown: PathBuf,
    assets: PathBuf,
}

/// What became of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Written,
    /// It lay there already.
    Same,
    /// Something else lies there that somebody made or changed.
    Changed,
}

impl Place {
    /// Beside a source.
    pub(super) fn beside(source: &Path) -> Self {
        let stem = source.file_stem().unwrap_or_default();
        let named = |end: &str| {
            let mut name = stem.to_owned();
            name.push(end);
            source.with_file_name(name)
        };
        let folder = source.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self {
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            markdown: named(".md"),
            assets: named(".assets"),
        }
    }

    pub(super) fn markdown(&self) -> &Path {
        &self.markdown
    }

    pub(super) fn assets(&self) -> &Path {
        &self.assets
    }

    /// A folder on the same file system, for what is on its way.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        Draft::new(&self.folder)
    }

    /// Whether this very result lies here, as it was written.
    pub(super) fn has(&self, result: &str) -> bool {
        let kept = |name| xattr::get(&self.markdown, name).ok().flatten();
        let is_of_it = kept(RESULT).is_some_and(|of| of == result.as_bytes());
        let assets = kept(ASSETS).and_then(|number| String::from_utf8(number).ok()?.parse::<usize>().ok());
        is_of_it
            && is_ours(&self.markdown)
            && assets.is_some_and(|assets| files(&self.assets).is_ok_and(|there| there.len() >= assets))
    }

    /// Whether something lies here that may not be replaced.
    pub(super) fn is_changed(&self) -> io::Result<bool> {
        Ok(self.markdown.symlink_metadata().is_ok() && !is_ours(&self.markdown) || !are_ours(&self.assets)?)
    }

    /// Puts a result here: the assets first, so that whoever sees the Markdown sees what it shows.
    pub(super) fn put(&self, document: &Document, result: &str, force: bool) -> io::Result<Placed> {
        let folder_name = self.assets.file_name().unwrap_or_default().to_string_lossy();
        let text = document.text(&folder_name)?;
        let draft = self.draft()?;
        let assets = draft.path().join("assets");
        let has_assets = lay_out(document, &assets)?;
        let same_assets = if has_assets { same(&assets, &self.assets)? } else { !self.assets.exists() };
        let hash = Sha256::from_bytes(Hasher::digest(&text).into());
        let same_text = hashing::of_file(&self.markdown, &|_| {}).is_ok_and(|there| there == hash);
        if same_text && same_assets {
            sign_result(&self.markdown, hash, result, document);
            return Ok(Placed::Same);
        }
        if !force
            && (!same_text && self.markdown.symlink_metadata().is_ok() && !is_ours(&self.markdown)
                || !same_assets && !are_ours(&self.assets)?)
        {
            return Ok(Placed::Changed);
        }
        if !same_assets {
            replace(has_assets.then_some(assets.as_path()), &self.assets, draft.path())?;
        }
        let written = draft.path().join("text");
        fs::write(&written, &text)?;
        sign_result(&written, hash, result, document);
        fs::File::open(&written)?.sync_all()?;
        fs::rename(&written, &self.markdown)?;
        Ok(Placed::Written)
    }
}

/// Whether this program wrote a file, whatever became of it since.
pub(in crate::cli) fn is_written(path: &Path) -> bool {
    xattr::get(path, WRITTEN).ok().flatten().is_some()
}

/// Makes a file one that this program wrote.
#[cfg(test)]
pub(in crate::cli) fn mark_as_written(path: &Path) {
    sign(path, Sha256::from_bytes([0; 32]));
}

/// Notes which result a Markdown is of, and how much belongs to it.
fn sign_result(path: &Path, content: Sha256, result: &str, document: &Document) {
    let _ = xattr::set(path, RESULT, result.as_bytes());
    let _ = xattr::set(path, ASSETS, document.assets.len().to_string().as_bytes());
    sign(path, content);
}

/// Notes what was written. Where that is not possible, what lies there counts as changed by somebody.
fn sign(path: &Path, content: Sha256) {
    let _ = xattr::set(path, WRITTEN, content.to_string().as_bytes());
}

/// Whether a file is as this program wrote it.
fn is_ours(path: &Path) -> bool {
    let signed = xattr::get(path, WRITTEN).ok().flatten();
    let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
    is_file
        && signed.is_some_and(|signed| {
            hashing::of_file(path, &|_| {}).is_ok_and(|hash| signed == hash.to_string().into_bytes())
        })
}

/// Whether all files in a folder are as this program wrote them.
fn are_ours(folder: &Path) -> io::Result<bool> {
    if folder.symlink_metadata().is_err() {
        return Ok(true);
    }
    for entry in WalkDir::new(folder) {
        let entry = entry.map_err(io::Error::other)?;
        if !entry.file_type().is_dir() && !is_ours(entry.path()) {
            return Ok(false);
        }
    }
    Ok(folder.is_dir())
}

/// Lays the assets out in a folder as they are to lie; whether there are any.
fn lay_out(document: &Document, folder: &Path) -> io::Result<bool> {
    for asset in &document.assets {
        let to = folder.join(&asset.saved);
        fs::create_dir_all(to.parent().unwrap_or(folder))?;
        fs::copy(&asset.lies_at, &to)?;
        sign(&to, hashing::of_file(&to, &|_| {})?);
    }
    Ok(!document.assets.is_empty())
}

/// Whether two folders have the same files.
fn same(a: &Path, b: &Path) -> io::Result<bool> {
    let (in_a, in_b) = (files(a)?, files(b)?);
    if in_a != in_b {
        return Ok(false);
    }
    for name in in_a {
        let (a, b) = (a.join(&name), b.join(&name));
        if fs::metadata(&a)?.len() != fs::metadata(&b)?.len()
            || hashing::of_file(&a, &|_| {})? != hashing::of_file(&b, &|_| {})?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if folder.symlink_metadata().is_err() {
        return Ok(found);
    }
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(io::Error::other)?;
        if !entry.file_type().is_dir() {
            found.push(entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_owned());
        }
    }
    Ok(found)
}

/// Puts a folder, or none, in the place of another one in one step; that one goes to the draft.
fn replace(new: Option<&Path>, at: &Path, draft: &Path) -> io::Result<()> {
    let is_there = at.symlink_metadata().is_ok();
    match new {
        Some(new) if is_there => match renameat_with(CWD, new, CWD, at, RenameFlags::EXCHANGE) {
            // Some file systems cannot exchange.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                let old = draft.join("old");
                fs::rename(at, &old)?;
                fs::rename(new, at).inspect_err(|_| {
                    // As it was, rather than nothing.
                    let _ = fs::rename(&old, at);
                })
            }
            other => Ok(other?),
        },
        Some(new) => fs::rename(new, at),
        None if is_there => fs::rename(at, draft.join("old")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A result of this text, with a picture.
    fn document(folder: &Path, text: &str) -> Document {
        fs::create_dir_all(folder.join("assets")).unwrap();
        fs::write(folder.join("content.md"), format!("{text} ![](assets/p.png)")).unwrap();
        fs::write(folder.join("info.json"), "{}").unwrap();
        fs::write(folder.join("assets/p.png"), text).unwrap();
        Document::in_folder(folder).unwrap().unwrap()
    }

    #[test]
    fn a_result_replaces_an_older_one_and_nothing_that_somebody_changed() {
        let (folder, results) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = Place::beside(&folder.path().join("book.pdf"));
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let put = |text: &str, result: &str, force| {
            place.put(&document(results.path(), text), result, force).unwrap()
        };
        assert_eq!(put("one", "1", false), Placed::Written);
        assert_eq!(
            (read("book.md"), read("book.assets/p.png")),
            ("one ![](book.assets/p.png)".into(), "one".into())
        );
        assert_eq!(put("one", "1", false), Placed::Same);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "no draft is left: {left:?}");
        // Without extended attributes everything counts as changed: set TMPDIR to a file system that has them.
        assert!(xattr::get(folder.path().join("book.md"), WRITTEN).unwrap().is_some());
        assert!(place.has("1") && !place.has("2"));
        fs::remove_file(folder.path().join("book.assets/p.png")).unwrap();
        assert!(!place.has("1"), "a picture is missing");
        assert_eq!(put("two", "2", false), Placed::Written, "nobody has touched the first one");
        assert_eq!(read("book.assets/p.png"), "two");
        fs::write(folder.path().join("book.md"), "mine").unwrap();
        assert!(place.is_changed().unwrap());
        assert_eq!(put("three", "3", false), Placed::Changed);
        assert_eq!((read("book.md"), read("book.assets/p.png")), ("mine".into(), "two".into()));
        assert_eq!(put("three", "3", true), Placed::Written);
        fs::write(folder.path().join("book.assets/mine.png"), "mine").unwrap();
        assert_eq!(put("four", "4", false), Placed::Changed, "a file that somebody put there");
        assert_eq!(read("book.md"), "three ![](book.assets/p.png)");
    }
}
