//! Files through `object_store`: on local disk and in memory.

use std::{ops::Range, path::Path as FilePath, sync::Arc};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, buffered::BufWriter, local::LocalFileSystem,
    memory::InMemory, path::Path,
};
use sha2::{Digest, Sha256 as Hasher};
use tokio::io::AsyncWriteExt;

use super::{BlobError, BlobStore, ByteStream, Stored, UrlSigner};
use crate::Sha256;

/// How much of a file is written at once, in bytes.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// How many such parts are under way at once.
const PARTS_AT_ONCE: usize = 2;

/// Files in any store that `object_store` speaks to.
#[derive(Debug)]
pub struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
    signer: Option<UrlSigner>,
}

impl ObjectBlobs {
    /// Files below a local folder, which is made if it is missing. Every write reaches the disk before it counts.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn local(folder: impl AsRef<FilePath>) -> Result<Self, BlobError> {
        let folder = folder.as_ref();
        let made = std::fs::create_dir_all(folder)
            .map_err(|source| Error::Generic { store: "local files", source: source.into() });
        let store = made.and_then(|()| LocalFileSystem::new_with_prefix(folder)).map_err(BlobError::Store)?;
        Ok(Self { store: Arc::new(store.with_fsync(true)), signer: None })
    }

    /// Files in memory, for tests.
    pub fn in_memory() -> Self {
        Self { store: Arc::new(InMemory::new()), signer: None }
    }

    /// Gives direct access by URLs that this signer signs.
    #[must_use]
    pub fn with_signer(mut self, signer: UrlSigner) -> Self {
        self.signer = Some(signer);
        self
    }
}

#[async_trait]
impl BlobStore for ObjectBlobs {
    async fn put(&self, key: &str, mut content: ByteStream, max_bytes: u64) -> Result<Stored, BlobError> {
        let mut writer = BufWriter::with_capacity(self.store.clone(), path(key)?, PART_BYTES)
            .with_max_concurrency(PARTS_AT_ONCE);
        let mut hasher = Hasher::new();
        let mut size = 0_u64;
        let written = async {
            while let Some(piece) = content.try_next().await.map_err(BlobError::BrokenOff)? {
                size = size.saturating_add(piece.len() as u64);
                if size > max_bytes {
                    return Err(BlobError::TooLarge(max_bytes));
                }
                hasher.update(&piece);
                writer.put(piece).await.map_err(|error| store_error(key, error))?;
            }
            writer.shutdown().await.map_err(|error| io_error(key, error))
        };
        match written.await {
            Ok(()) => Ok(Stored { size, sha256: Sha256::from_bytes(hasher.finalize().into()) }),
            Err(error) => {
                // What is left over is invisible; the first error is the one to tell.
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, BlobError> {
        if let Some(range) = &range {
            let size = self.size(key).await?.ok_or_else(|| BlobError::NotFound(key.to_owned()))?;
            if range.start >= size || range.is_empty() {
                return Err(BlobError::BadRange(size));
            }
        }
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let found = self.store.get_opts(&path(key)?, options).await;
        let stream = found.map_err(|error| store_error(key, error))?.into_stream();
        Ok(stream.map_err(std::io::Error::other).boxed())
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, BlobError> {
        match self.store.head(&path(key)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error(key, error)),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), BlobError> {
        match self.store.delete(&path(key)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error(key, error)),
        }
    }

    fn signer(&self) -> Option<&UrlSigner> {
        self.signer.as_ref()
    }
}

/// A key that means the same file to every store; `..`, empty parts and the like have no such meaning.
fn path(key: &str) -> Result<Path, BlobError> {
    let plain = key.is_ascii() && !key.is_empty();
    Path::parse(key)
        .ok()
        .filter(|path| plain && path.as_ref() == key)
        .ok_or_else(|| BlobError::BadKey(key.to_owned()))
}

fn store_error(key: &str, error: Error) -> BlobError {
    match error {
        Error::NotFound { .. } => BlobError::NotFound(key.to_owned()),
        error if is_full(&error) => BlobError::Full(error),
        error => BlobError::Store(error),
    }
}

fn io_error(key: &str, error: std::io::Error) -> BlobError {
    match error.downcast::<Error>() {
        Ok(error) => store_error(key, error),
        Err(error) => store_error(key, Error::Generic { store: "local files", source: error.into() }),
    }
}

fn is_full(error: &Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(kind, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}
