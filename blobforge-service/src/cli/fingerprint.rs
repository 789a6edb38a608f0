//! What a local file contains, without reading it again each time: its hash is kept in its extended attributes.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use blobforge_core::Sha256;
use blobforge_worker_sdk::client::Content;

use crate::hashing;

/// The hash of the file, in hexadecimal.
const HASH: &str = "user.checksum.sha256";
/// When the file had last been modified as the hash was taken: it is good as long as that holds.
const MTIME: &str = "user.checksum.mtime";
/// How large it was then, in bytes.
const SIZE: &str = "user.checksum.size";
/// A pointer of Git LFS is shorter than that, in bytes.
const POINTER_BYTES: u64 = 1024;
/// How such a pointer begins.
const POINTER_BEGINS: &str = "version https://git-lfs.github.com/spec/";

/// What a file or folder was as it was looked at, by which a later change is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(Option<(u64, Option<SystemTime>)>);

impl Version {
    /// What lies there now, if anything does.
    pub(super) fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|found| (found.len(), found.modified().ok())))
    }
}

/// A file, and where its content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) content: Content,
    /// Where the content lies; `None` for a pointer to what is not on this machine.
    pub(super) lies_at: Option<PathBuf>,
}

/// Takes the fingerprint of a file; `heard` is told how many bytes more were read. One that stands for a file of Git LFS
/// has that one's.
///
/// # Errors
/// When it cannot be read, or changes meanwhile.
pub(super) fn take(path: &Path, heard: &dyn Fn(u64)) -> io::Result<Fingerprint> {
    let before = fs::metadata(path)?;
    if before.len() < POINTER_BYTES
        && let Some(content) = fs::read_to_string(path).ok().as_deref().and_then(pointer)
    {
        return Ok(Fingerprint { lies_at: object(path, content.sha256), content });
    }
    let found = |sha256| Fingerprint {
        content: Content { sha256, size: before.len() },
        lies_at: Some(path.to_owned()),
    };
    if let Some(sha256) = kept(path, &before) {
        heard(before.len());
        return Ok(found(sha256));
    }
    let sha256 = hashing::of_file(path, heard)?;
    let after = fs::metadata(path)?;
    if mtime(&before) != mtime(&after) || before.len() != after.len() {
        return Err(io::Error::other("it changed while it was read: try again when it is whole"));
    }
    keep(path, sha256, &after);
    Ok(found(sha256))
}

/// When a file was last modified, as it is written down.
fn mtime(of: &Metadata) -> String {
    format!("{}.{:09}", of.mtime(), of.mtime_nsec())
}

fn kept(path: &Path, now: &Metadata) -> Option<Sha256> {
    let text = |name| String::from_utf8(xattr::get_deref(path, name).ok()??).ok();
    // Some programs put the time back after they have changed a file.
    if text(MTIME)? != mtime(now) || text(SIZE).is_some_and(|size| size != now.len().to_string()) {
        return None;
    }
    text(HASH)?.parse().ok()
}

/// Where that is not possible, the file is read again the next time. The time goes last: a hash without it is not believed.
fn keep(path: &Path, sha256: Sha256, after: &Metadata) {
    let set = |name, value: String| xattr::set_deref(path, name, value.as_bytes());
    if set(HASH, sha256.to_string()).and_then(|()| set(SIZE, after.len().to_string())).is_ok() {
        let _ = set(MTIME, mtime(after));
    }
}

/// What a text stands for, if it is a pointer of Git LFS.
fn pointer(text: &str) -> Option<Content> {
    if !text.starts_with(POINTER_BEGINS) {
        return None;
    }
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let sha256 = value("oid")?.strip_prefix("sha256:")?.parse().ok()?;
    Some(Content { sha256, size: value("size")?.parse().ok()? })
}

/// Where Git LFS keeps an object for the repository that a file lies in.
fn object(path: &Path, sha256: Sha256) -> Option<PathBuf> {
    let path = fs::canonicalize(path).ok()?;
    let git = path.ancestors().map(|folder| folder.join(".git")).find(|git| git.is_dir())?;
    let name = sha256.to_string();
    let object = git.join("lfs/objects").join(&name[..2]).join(&name[2..4]).join(&name);
    object.is_file().then_some(object)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs::File, time::Duration};

    use sha2::{Digest as _, Sha256 as Hasher};

    use super::*;

    fn taken(path: &Path) -> (Fingerprint, u64) {
        let read = Cell::new(0);
        let fingerprint = take(path, &|bytes| read.set(read.get() + bytes)).unwrap();
        (fingerprint, read.get())
    }

    #[test]
    fn a_hash_is_kept_with_the_file_and_believed_while_that_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pdf");
        fs::write(&path, "one").unwrap();
        let one = Sha256::from_bytes(Hasher::digest("one").into());
        assert_eq!(taken(&path).0.content, Content { sha256: one, size: 3 });
        // Set TMPDIR to a file system with extended attributes where this finds none.
        assert_eq!(xattr::get(&path, HASH).unwrap(), Some(one.to_string().into_bytes()));
        // What is kept is what counts, not what is in the file.
        let other = Sha256::from_bytes([7; 32]);
        keep(&path, other, &fs::metadata(&path).unwrap());
        assert_eq!(taken(&path).0.content.sha256, other);
        let later = SystemTime::now() + Duration::from_secs(3);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(taken(&path).0.content.sha256, one, "it was modified since");
    }

    #[test]
    fn a_pointer_stands_for_a_file_that_may_be_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, sha256) = (folder.path().join("books/a.pdf"), Sha256::from_bytes([0xab; 32]));
        fs::create_dir_all(folder.path().join("books")).unwrap();
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize 12345\n");
        fs::write(&path, text).unwrap();
        let content = Content { sha256, size: 12345 };
        assert_eq!(taken(&path), (Fingerprint { content, lies_at: None }, 0));
        let object = folder.path().join(format!(".git/lfs/objects/ab/ab/{sha256}"));
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        fs::write(&object, "content").unwrap();
        assert!(taken(&path).0.lies_at.unwrap().ends_with(format!("ab/ab/{sha256}")));
        for no in ["version https://git-lfs.github.com/spec/v1\n", "oid sha256:abc\nsize 1", ""] {
            assert_eq!(pointer(no), None, "{no:?}");
        }
    }
}
