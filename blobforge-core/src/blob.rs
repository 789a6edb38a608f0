//! Where files are kept: sources, outputs and checkpoints.
//!
//! # Contract
//! - [`BlobStore::put`] makes a file visible whole or not at all, and durable when it returns.
//! - A key is written by whoever the queue gave it to and by nobody else: [`keys`] puts the lease's epoch into every
//!   key that a worker writes, so that a worker which lost its lease can only write where nobody looks.
//! - A key is parts of ASCII letters, digits, `.`, `_`, `-` and `~` with `/` between, none of them empty, `.` or `..`;
//!   anything else is a [`BlobError::BadKey`].
//! - Files move as streams; no implementation holds a whole one in memory.

mod direct;
pub mod keys;
mod objects;
mod parts;
#[cfg(feature = "s3")]
mod s3;
mod signing;
mod upload;

use std::{fmt, io, ops::Range, path::Path, pin::Pin};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

pub use direct::{DirectAccess, Grant, Multipart, disposition};
pub use objects::ObjectBlobs;
pub use parts::{LocalPart, LocalParts};
#[cfg(feature = "s3")]
pub use s3::S3Options;
pub use signing::{BadSignature, Method, SignedUrl, UrlSigner};

use crate::Sha256;

/// The content of a file, piece by piece.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A home for files. See the [contract](self).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::blob::{BlobStore, ObjectBlobs, read_bytes};
/// use futures_util::TryStreamExt;
/// let blobs = ObjectBlobs::in_memory();
/// let stored = blobs.put("outputs/text.md", read_bytes("# Letter"), 1000).await.unwrap();
/// assert_eq!((stored.size, blobs.size("outputs/text.md").await.unwrap()), (8, Some(8)));
/// let part = blobs.get("outputs/text.md", Some(2..8)).await.unwrap();
/// assert_eq!(part.try_collect::<Vec<_>>().await.unwrap().concat(), b"Letter");
/// blobs.delete("outputs/text.md").await.unwrap();
/// assert_eq!(blobs.size("outputs/text.md").await.unwrap(), None);
/// # });
/// ```
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Writes a file of at most `max_bytes` and says what was written.
    ///
    /// As in [`BlobStore`].
    ///
    /// # Errors
    /// When the file is longer, the key is none, or the content breaks off; then there is no file, or still the one that was
    /// there before.
    async fn put(&self, key: &str, content: ByteStream, max_bytes: u64) -> Result<Stored, BlobError>;

    /// Reads a file, or the part of it in `range`, which may end behind the file's end.
    ///
    /// As in [`BlobStore`].
    ///
    /// # Errors
    /// When there is no such file, or the range begins behind its end.
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, BlobError>;

    /// A file's size in bytes; `None` if there is no such file.
    ///
    /// As in [`BlobStore`].
    ///
    /// # Errors
    /// When the key is none, or the store fails.
    async fn size(&self, key: &str) -> Result<Option<u64>, BlobError>;

    /// Deletes a file, and what broken-off writes left of it where that can be known; one that is not there is fine.
    ///
    /// As in [`BlobStore`].
    ///
    /// # Errors
    /// When the key is none, or the store fails.
    async fn delete(&self, key: &str) -> Result<(), BlobError>;

    /// Who gives URLs for direct access, if anybody does.
    ///
    /// As in [`ObjectBlobs::with_signer`].
    fn direct(&self) -> Option<&dyn DirectAccess>;
}

/// A file that was written.
///
/// As in [`BlobStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its size in bytes.
    pub size: u64,
    /// The hash of its content.
    pub sha256: Sha256,
}

/// Why a file could not be moved.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::blob::{BlobError, BlobStore, ObjectBlobs, read_bytes};
/// let blobs = ObjectBlobs::in_memory();
/// let refused = blobs.put("letter.pdf", read_bytes("%PDF-1.7"), 4).await.unwrap_err();
/// assert!(matches!(refused, BlobError::TooLarge(4)) && !refused.is_retryable());
/// let climbs = blobs.put("../letter.pdf", read_bytes("%PDF-1.7"), 100).await;
/// assert!(matches!(climbs, Err(BlobError::BadKey(_))));
/// # });
/// ```
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such file.
    #[error("there is no file {0:?}")]
    NotFound(String),
    /// The file is larger than allowed.
    #[error("the file has more than the {0} bytes that are allowed")]
    TooLarge(u64),
    /// A key that no store takes.
    #[error("{0:?} is no key for a file")]
    BadKey(String),
    /// The range lies behind the end of the file.
    #[error("the range lies outside the file's {0} bytes")]
    BadRange(u64),
    /// A file that was sent in parts cannot be finished: begin anew.
    #[error("the upload of {0:?} is over, or parts of it were lost: ask again without any, and begin anew")]
    Over(String),
    /// Who sent or asked for the file stopped.
    #[error("the transfer broke off: {0}")]
    BrokenOff(#[source] io::Error),
    /// No space is left.
    #[error("the disk for files is full: free some space and try again")]
    Full(#[source] object_store::Error),
    /// The store failed.
    #[error("the blob store failed: {0}")]
    Store(#[source] object_store::Error),
}

impl BlobError {
    /// Whether the same call can succeed later.
    ///
    /// As in [`BlobError`].
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::BrokenOff(_) | Self::Full(_) | Self::Store(_))
    }
}

/// The content of a local file as a stream.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// use blobforge_core::blob::read_file;
/// use futures_util::TryStreamExt;
/// let file = folder.path().join("letter.pdf");
/// std::fs::write(&file, "%PDF-1.7").unwrap();
/// let pieces: Vec<_> = read_file(&file).await.unwrap().try_collect().await.unwrap();
/// assert_eq!(pieces.concat(), b"%PDF-1.7");
/// # });
/// ```
///
/// # Errors
/// When the file cannot be opened.
pub async fn read_file(path: &Path) -> io::Result<ByteStream> {
    let file = tokio::fs::File::open(path).await?;
    Ok(tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024).boxed())
}

/// The content of a piece of memory as a stream.
///
/// As in [`BlobStore`].
pub fn read_bytes(bytes: impl Into<Bytes>) -> ByteStream {
    let bytes = bytes.into();
    futures_util::stream::once(async move { Ok(bytes) }).boxed()
}
