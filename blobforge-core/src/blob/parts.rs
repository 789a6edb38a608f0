//! Large files in parts, in a folder: each part is written where it belongs in a file that nobody sees before it is whole.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncSeekExt, AsyncWriteExt},
    task::spawn_blocking,
};

use super::{
    BlobError, ByteStream, DirectAccess, Grant, Method, Multipart, SignedUrl, UrlSigner, objects::path,
};
use crate::{Entropy, SystemEntropy};

/// How large the parts of a file are, in bytes; files that are no larger go in one request.
const PART_BYTES: u64 = 16 * 1024 * 1024;
/// Where unfinished files lie, below the folder. No key has this character.
const FOLDER: &str = "#parts";
/// How the keys of parts begin, under which URLs to send them are signed. No file has such a key.
const KEYS: &str = "parts/";

/// Unfinished files below a folder, of which parts are written by signed URLs.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// use blobforge_core::{Timestamp, blob::{BlobStore, Grant, LocalPart, Method, ObjectBlobs, UrlSigner, read_bytes}};
/// use std::time::Duration;
/// let blobs = ObjectBlobs::local(folder.path()).unwrap().with_signer(UrlSigner::new([7; 32], "/files/"));
/// let (store, parts) = (blobs.direct().unwrap().multipart().unwrap(), blobs.local_parts().unwrap());
/// let upload = store.begin("sources/a").await.unwrap();
/// let (method, key, now, lasts) = (Method::Put, "sources/a", Timestamp::from_millis(0), Duration::from_secs(900));
/// let url = store.part_url(Grant { method, key, name: None, now, lasts }, &upload, 1, 0..8).await.unwrap().url;
/// // Whoever serves it has checked its signature.
/// let key = url.trim_start_matches("/files/").split('?').next().unwrap();
/// let part = LocalPart::of(key).unwrap();
/// let etag = parts.write(&part, read_bytes("%PDF-1.7")).await.unwrap();
/// store.complete("sources/a", &upload, vec![etag]).await.unwrap();
/// assert_eq!(blobs.size("sources/a").await.unwrap(), Some(8));
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct LocalParts {
    folder: Arc<Path>,
    /// How many parts of each file are being written.
    writing: Arc<Mutex<HashMap<String, usize>>>,
}

/// A part of an unfinished file.
///
/// As in [`LocalParts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPart {
    upload: String,
    offset: u64,
    size: u64,
}

impl LocalPart {
    /// The part that a URL is for whose key this is; `None` if it is for a whole file.
    ///
    /// As in [`LocalParts`].
    pub fn of(key: &str) -> Option<Self> {
        let mut fields = key.strip_prefix(KEYS)?.split('/');
        let upload = fields.next().filter(|upload| is_plain(upload))?.to_owned();
        let (offset, size) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        fields.next().is_none().then_some(Self { upload, offset, size })
    }

    fn key(&self) -> String {
        format!("{KEYS}{}/{}/{}", self.upload, self.offset, self.size)
    }
}

fn is_plain(upload: &str) -> bool {
    !upload.is_empty() && upload.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Somebody who writes a part, until this is dropped.
struct Writing {
    parts: LocalParts,
    upload: String,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut writing = self.parts.writing();
        if let Some(count) = writing.get_mut(&self.upload) {
            *count -= 1;
            if *count == 0 {
                writing.remove(&self.upload);
            }
        }
    }
}

impl LocalParts {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), writing: Arc::default() }
    }

    /// Writes a part; what to call it when the file is completed.
    ///
    /// As in [`LocalParts`].
    ///
    /// # Errors
    /// [`BlobError::Over`] when its file is finished or was thrown away; when the content is not as long as the part, or
    /// breaks off, the part is to be sent again.
    pub async fn write(&self, part: &LocalPart, content: ByteStream) -> Result<String, BlobError> {
        // Before it is opened: nobody finishes the file from here on.
        let _writing = self.begin_writing(&part.upload);
        let opened = tokio::fs::OpenOptions::new().write(true).open(self.unfinished(&part.upload)).await;
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Over(part.key()),
            _ => failed(error),
        })?;
        write_at(file, part, content).await
    }

    fn begin_writing(&self, upload: &str) -> Writing {
        *self.writing().entry(upload.to_owned()).or_default() += 1;
        Writing { parts: self.clone(), upload: upload.to_owned() }
    }

    fn writing(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unfinished(&self, upload: &str) -> PathBuf {
        self.folder.join(FOLDER).join(upload)
    }

    fn begin(&self) -> Result<String, BlobError> {
        let mut drawn = [0; 16];
        SystemEntropy.fill(&mut drawn).map_err(failed)?;
        let upload = hex::encode(drawn);
        fs::create_dir_all(self.folder.join(FOLDER)).map_err(failed)?;
        fs::File::create_new(self.unfinished(&upload)).map_err(failed)?;
        Ok(upload)
    }

    /// Gives a file that is whole its name.
    fn finish(&self, key: &str, upload: &str) -> Result<(), BlobError> {
        let (from, to) = (self.unfinished(upload), self.folder.join(key));
        // Whoever still writes would write into what is seen. Nobody begins to while this is held.
        let writing = self.writing();
        if writing.contains_key(upload) {
            return Err(failed(io::Error::other("a part of it is still being written")));
        }
        let file = match fs::File::open(&from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::NotFound(key.to_owned()));
            }
            opened => opened.map_err(failed)?,
        };
        file.sync_all().map_err(failed)?;
        let folder = to.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(failed)?;
        fs::rename(&from, &to).map_err(failed)?;
        // The name is durable with its folder.
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

async fn write_at(
    mut file: tokio::fs::File,
    part: &LocalPart,
    mut content: ByteStream,
) -> Result<String, BlobError> {
    file.seek(io::SeekFrom::Start(part.offset)).await.map_err(failed)?;
    let (mut hasher, mut left) = (Sha256::new(), part.size);
    while let Some(piece) = content.try_next().await.map_err(BlobError::BrokenOff)? {
        left = left.checked_sub(piece.len() as u64).ok_or(BlobError::TooLarge(part.size))?;
        hasher.update(&piece);
        file.write_all(&piece).await.map_err(failed)?;
    }
    if left > 0 {
        return Err(BlobError::BrokenOff(io::ErrorKind::UnexpectedEof.into()));
    }
    file.flush().await.map_err(failed)?;
    file.sync_data().await.map_err(failed)?;
    Ok(format!("\"{}\"", hex::encode(&hasher.finalize()[..16])))
}

fn failed(error: io::Error) -> BlobError {
    super::objects::store_error(
        "",
        object_store::Error::Generic { store: "local files", source: error.into() },
    )
}

/// Local files, to which URLs lead that this signer signs.
#[derive(Debug)]
pub(super) struct LocalAccess {
    pub(super) signer: UrlSigner,
    pub(super) parts: LocalParts,
}

#[async_trait]
impl DirectAccess for LocalAccess {
    async fn url(&self, grant: Grant<'_>) -> Result<SignedUrl, BlobError> {
        self.signer.url(grant).await
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        Some(self)
    }
}

#[async_trait]
impl Multipart for LocalAccess {
    fn part_bytes(&self) -> u64 {
        PART_BYTES
    }

    async fn begin(&self, key: &str) -> Result<String, BlobError> {
        path("", key)?;
        let parts = self.parts.clone();
        spawn_blocking(move || parts.begin()).await.map_err(|error| failed(io::Error::other(error)))?
    }

    async fn part_url(
        &self,
        grant: Grant<'_>,
        upload: &str,
        _number: u32,
        range: std::ops::Range<u64>,
    ) -> Result<SignedUrl, BlobError> {
        let part =
            LocalPart { upload: upload.to_owned(), offset: range.start, size: range.end - range.start };
        self.signer.url(Grant { method: Method::Put, key: &part.key(), ..grant }).await
    }

    async fn complete(&self, key: &str, upload: &str, _etags: Vec<String>) -> Result<(), BlobError> {
        path("", key)?;
        let (parts, key, upload) = (self.parts.clone(), key.to_owned(), upload.to_owned());
        let finished = spawn_blocking(move || parts.finish(&key, &upload)).await;
        finished.map_err(|error| failed(io::Error::other(error)))?
    }

    async fn abort(&self, _key: &str, upload: &str) -> Result<(), BlobError> {
        if !is_plain(upload) {
            return Ok(());
        }
        match tokio::fs::remove_file(self.parts.unfinished(upload)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }
}
