//! Files through `object_store`: on local disk, in memory and in S3.

use std::{
    io::ErrorKind,
    ops::Range,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, local::LocalFileSystem, memory::InMemory,
    path::Path,
};
use sha2::{Digest, Sha256 as Hasher};

use super::{
    BlobError, BlobStore, ByteStream, DirectAccess, LocalParts, Stored, UrlSigner, parts::LocalAccess,
    upload::Upload,
};
#[cfg(feature = "s3")]
use super::{S3Options, s3::S3Access};
use crate::{Sha256, Timestamp};

/// How many unfinished writes of one file are cleared away with it.
const UNFINISHED_AT_MOST: usize = 100;

/// Files in any store that `object_store` speaks to.
///
/// As in [`BlobStore`].
#[derive(Debug)]
pub struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
    direct: Option<Arc<dyn DirectAccess>>,
    /// What keys begin with in there; empty, or with a `/` at its end.
    prefix: String,
    /// The folder that the files lie in, if they lie in one.
    folder: Option<PathBuf>,
    parts: Option<LocalParts>,
}

impl ObjectBlobs {
    /// Files below a local folder, which is made if it is missing. Every write reaches the disk before it counts.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// use blobforge_core::blob::{BlobStore, ObjectBlobs, read_bytes};
    /// let blobs = ObjectBlobs::local(folder.path().join("files")).unwrap();
    /// blobs.put("sources/a", read_bytes("%PDF-1.7"), 1000).await.unwrap();
    /// assert!(folder.path().join("files/sources/a").is_file());
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn local(folder: impl AsRef<FilePath>) -> Result<Self, BlobError> {
        let folder = folder.as_ref();
        let made = std::fs::create_dir_all(folder);
        // Absolute, so that the same files are found wherever the process goes.
        let folder = made.and_then(|()| std::fs::canonicalize(folder));
        let folder = folder.map_err(|source| Error::Generic { store: "local files", source: source.into() });
        let folder = folder.map_err(BlobError::Store)?;
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(BlobError::Store)?;
        // A job's folders go with the last file in them.
        let store = store.with_fsync(true).with_automatic_cleanup(true);
        Ok(Self {
            store: Arc::new(store),
            direct: None,
            prefix: String::new(),
            parts: Some(LocalParts::new(&folder)),
            folder: Some(folder),
        })
    }

    /// Files in memory, for tests.
    ///
    /// As in [`BlobStore`].
    pub fn in_memory() -> Self {
        Self {
            store: Arc::new(InMemory::new()),
            direct: None,
            prefix: String::new(),
            parts: None,
            folder: None,
        }
    }

    /// Files in a bucket of an S3-compatible store. Nothing is asked of it yet.
    ///
    /// As in [`S3Options`].
    ///
    /// # Errors
    /// When the options make no sense, such as an endpoint that is no address.
    #[cfg(feature = "s3")]
    pub fn s3(options: &S3Options) -> Result<Self, BlobError> {
        let access = S3Access::new(options)?;
        let (store, prefix) = (access.store(), access.prefix().to_owned());
        Ok(Self { store, direct: Some(Arc::new(access)), prefix, parts: None, folder: None })
    }

    /// Gives direct access by URLs that this signer signs.
    ///
    /// ```
    /// use blobforge_core::blob::{BlobStore, ObjectBlobs, UrlSigner};
    /// let signs = ObjectBlobs::in_memory().with_signer(UrlSigner::new([7; 32], "/files/"));
    /// assert!(signs.direct().is_some() && ObjectBlobs::in_memory().direct().is_none());
    /// ```
    #[must_use]
    pub fn with_signer(mut self, signer: UrlSigner) -> Self {
        self.direct = match self.local_parts() {
            Some(parts) => Some(Arc::new(LocalAccess { signer, parts })),
            None => Some(Arc::new(signer)),
        };
        self
    }

    /// Who writes parts of large files, where files lie in a folder.
    ///
    /// As in [`LocalParts`].
    pub fn local_parts(&self) -> Option<LocalParts> {
        self.parts.clone()
    }

    /// The files whose keys begin with `below`, which ends with a `/`: their keys, sizes in bytes, and when they were last
    /// changed. Nothing in here decides by that: it is for moving in from elsewhere.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::blob::{BlobStore, ObjectBlobs, read_bytes};
    /// use futures_util::TryStreamExt;
    /// let blobs = ObjectBlobs::in_memory();
    /// for key in ["old/a", "new/b"] {
    ///     blobs.put(key, read_bytes("%PDF-1.7"), 1000).await.unwrap();
    /// }
    /// let listed: Vec<_> = blobs.list("old/").try_collect().await.unwrap();
    /// assert_eq!((listed[0].0.as_str(), listed[0].1, listed.len()), ("old/a", 8, 1));
    /// # });
    /// ```
    pub fn list(&self, below: &str) -> BoxStream<'static, Result<(String, u64, Timestamp), BlobError>> {
        let below = match self.path(below.trim_end_matches('/')) {
            Ok(below) => below,
            Err(error) => return stream::once(std::future::ready(Err(error))).boxed(),
        };
        let prefix = self.prefix.clone();
        let listed = self.store.list(Some(&below)).map_err(BlobError::Store);
        let file = move |found: object_store::ObjectMeta| {
            let key = found.location.to_string();
            let key = key.strip_prefix(&prefix).unwrap_or(&key).to_owned();
            (key, found.size, Timestamp::from_millis(found.last_modified.timestamp_millis().max(0)))
        };
        listed.map_ok(file).boxed()
    }

    /// What a file has of a range.
    async fn within(&self, key: &str, range: Range<u64>) -> Result<Range<u64>, BlobError> {
        let size = self.size(key).await?.ok_or_else(|| BlobError::NotFound(key.to_owned()))?;
        if range.start >= size || range.is_empty() {
            return Err(BlobError::BadRange(size));
        }
        Ok(range.start..range.end.min(size))
    }

    fn path(&self, key: &str) -> Result<Path, BlobError> {
        path(&self.prefix, key)
    }
}

#[async_trait]
impl BlobStore for ObjectBlobs {
    async fn put(&self, key: &str, mut content: ByteStream, max_bytes: u64) -> Result<Stored, BlobError> {
        let mut upload = Upload::new(self.store.clone(), self.path(key)?);
        let mut hasher = Hasher::new();
        let mut size = 0_u64;
        let written = async {
            while let Some(piece) = content.try_next().await.map_err(BlobError::BrokenOff)? {
                size = size.saturating_add(piece.len() as u64);
                if size > max_bytes {
                    return Err(BlobError::TooLarge(max_bytes));
                }
                hasher.update(&piece);
                upload.write(piece).await.map_err(|error| write_error(key, error))?;
            }
            upload.finish().await.map_err(|error| write_error(key, error))
        };
        if let Err(error) = written.await {
            upload.abort().await;
            return Err(error);
        }
        Ok(Stored { size, sha256: Sha256::from_bytes(hasher.finalize().into()) })
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, BlobError> {
        let range = match range {
            Some(range) => Some(self.within(key, range).await?),
            None => None,
        };
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let found = self.store.get_opts(&self.path(key)?, options).await;
        let stream = found.map_err(|error| store_error(key, error))?.into_stream();
        Ok(stream.map_err(std::io::Error::other).boxed())
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, BlobError> {
        match self.store.head(&self.path(key)?).await.map_err(|error| store_error(key, error)) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(BlobError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), BlobError> {
        let path = self.path(key)?;
        if let Some(folder) = &self.folder {
            delete_unfinished(folder.join(key)).await;
        }
        match self.store.delete(&path).await.map_err(|error| store_error(key, error)) {
            Ok(()) | Err(BlobError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn direct(&self) -> Option<&dyn DirectAccess> {
        self.direct.as_deref()
    }
}

/// Deletes what writers that died left of a file: the local store writes to `name#1`, or to the first such name that is
/// free, and gives it the file's name at the end.
async fn delete_unfinished(file: PathBuf) {
    for number in 1..=UNFINISHED_AT_MOST {
        let mut unfinished = file.clone().into_os_string();
        unfinished.push(format!("#{number}"));
        // Whatever the error, the file itself is what matters; one that is not there ends the row.
        if tokio::fs::remove_file(unfinished).await.is_err() {
            return;
        }
    }
}

/// A key that means the same file to every store. `..` and empty parts have no such meaning, and the local store writes
/// under names with `#` before a file is whole.
pub(super) fn path(prefix: &str, key: &str) -> Result<Path, BlobError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'~');
    Path::parse(key)
        .ok()
        .filter(|path| !key.is_empty() && key.bytes().all(plain) && path.as_ref() == key)
        .and_then(
            |path| if prefix.is_empty() { Some(path) } else { Path::parse(format!("{prefix}{key}")).ok() },
        )
        .ok_or_else(|| BlobError::BadKey(key.to_owned()))
}

fn write_error(key: &str, error: Error) -> BlobError {
    // A file stands where this one needs a folder, or a folder where it would stand: no repetition helps.
    if caused_by(&error, &[ErrorKind::NotADirectory, ErrorKind::IsADirectory, ErrorKind::AlreadyExists]) {
        return BlobError::BadKey(key.to_owned());
    }
    store_error(key, error)
}

pub(super) fn store_error(key: &str, error: Error) -> BlobError {
    match error {
        Error::NotFound { .. } => BlobError::NotFound(key.to_owned()),
        error if caused_by(&error, &[ErrorKind::StorageFull, ErrorKind::QuotaExceeded]) => {
            BlobError::Full(error)
        }
        error if caused_by(&error, &[ErrorKind::NotADirectory, ErrorKind::IsADirectory]) => {
            BlobError::NotFound(key.to_owned())
        }
        error => BlobError::Store(error),
    }
}

fn caused_by(error: &Error, kinds: &[ErrorKind]) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let found = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if found.is_some_and(|found| kinds.contains(&found)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caused(kind: ErrorKind) -> Error {
        Error::Generic { store: "local files", source: std::io::Error::from(kind).into() }
    }

    #[test]
    fn a_full_disk_is_known_as_one() {
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            let error = write_error("a", caused(kind));
            assert!(matches!(error, BlobError::Full(_)), "{error}");
            assert!(error.is_retryable());
        }
        assert!(matches!(write_error("a", caused(ErrorKind::PermissionDenied)), BlobError::Store(_)));
    }
}
