//! Where the files of an earlier installation lie.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use blobforge_core::{
    Sha256, Timestamp,
    blob::{BlobError, BlobStore, ObjectBlobs},
};
use futures_util::TryStreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::CONTENT;
use crate::{
    archive::{files_below, unpack},
    config::ServeConfig,
    service::ServiceError,
};

/// How files are called there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `store/raw/<hash>.pdf` and `store/out/<hash>.zip`.
    Store,
    /// `sources/<hash>` and `outputs/<hash>`.
    Flat,
}

impl Layout {
    /// The folders of sources and results, and what their files end with.
    const STORE: [(Kind, &'static str, &'static str); 2] =
        [(Kind::Source, "store/raw/", ".pdf"), (Kind::Result, "store/out/", ".zip")];

    fn source(self, sha256: Sha256) -> String {
        match self {
            Self::Store => format!("store/raw/{sha256}.pdf"),
            Self::Flat => format!("sources/{sha256}"),
        }
    }

    fn result(self, sha256: Sha256) -> String {
        match self {
            Self::Store => format!("store/out/{sha256}.zip"),
            Self::Flat => format!("outputs/{sha256}"),
        }
    }
}

/// The files, which are only read.
pub(super) struct Files {
    layout: Layout,
    home: Home,
}

enum Home {
    Folder(PathBuf),
    Bucket(Arc<ObjectBlobs>),
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Source,
    Result,
}

/// What is found where a source should be.
pub(super) enum Source {
    There(PathBuf),
    Missing,
    /// Another file, and what is said of it.
    Damaged(String),
}

/// A file that lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// In bytes.
    pub(super) size: u64,
    /// When it was last changed.
    pub(super) at: Timestamp,
}

impl Files {
    pub(super) fn folder(folder: PathBuf, layout: Layout) -> Self {
        Self { layout, home: Home::Folder(folder) }
    }

    /// In the bucket of the settings, below another prefix.
    pub(super) fn bucket(config: &ServeConfig, prefix: &str) -> Result<Self, ServiceError> {
        let Some(mut options) = config.s3.clone() else {
            let what = "no bucket is set up: set BLOBFORGE_S3_ENDPOINT, and what opens it, for this command";
            return Err(ServiceError::Config(what.to_owned()));
        };
        options.prefix = prefix.trim_matches('/').to_owned();
        let blobs = ObjectBlobs::s3(&options).map_err(blobforge_core::QueueError::Blob)?;
        Ok(Self { layout: Layout::Store, home: Home::Bucket(Arc::new(blobs)) })
    }

    pub(super) fn in_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// All sources and results that are called as their hash, in the layout [`Layout::Store`].
    ///
    /// # Errors
    /// When there is neither folder, or they cannot be listed.
    pub(super) async fn list(&self) -> Result<Vec<(Kind, Sha256, Listed)>, ServiceError> {
        let mut found = Vec::new();
        for (kind, below, end) in Layout::STORE {
            for (name, listed) in self.files_of(below).await? {
                let hash = name.strip_suffix(end).and_then(|hash| hash.parse::<Sha256>().ok());
                found.extend(hash.map(|hash| (kind, hash, listed)));
            }
        }
        if found.is_empty() && matches!(self.home, Home::Bucket(_)) {
            let what = "nothing lies below store/raw and store/out there: --bucket-prefix is what comes before `store/`";
            return Err(ServiceError::Config(what.to_owned()));
        }
        Ok(found)
    }

    /// The names of the files in a folder.
    async fn files_of(&self, below: &str) -> Result<Vec<(String, Listed)>, ServiceError> {
        let folder = match &self.home {
            Home::Folder(folder) => folder,
            Home::Bucket(blobs) => {
                let listed = blobs.list(below).map_ok(|(key, size, at)| {
                    let name = key.strip_prefix(below).unwrap_or(&key).to_owned();
                    (name, Listed { size, at })
                });
                return Ok(listed.try_collect().await.map_err(blobforge_core::QueueError::Blob)?);
            }
        };
        let wrong = |source| ServiceError::File { path: folder.clone(), source };
        if Layout::STORE.iter().all(|(_, below, _)| !folder.join(below).is_dir()) {
            let what = "it has neither store/raw nor store/out: name the folder that store lies in, a coordinator's \
                        backup (JSON), or the database of an earlier BlobForge";
            return Err(wrong(io::Error::other(what)));
        }
        in_folder(&folder.join(below)).map_err(wrong)
    }

    pub(super) async fn has_source(&self, sha256: Sha256) -> Result<bool, ServiceError> {
        self.has(&self.layout.source(sha256)).await
    }

    pub(super) async fn has_result(&self, sha256: Sha256) -> Result<bool, ServiceError> {
        self.has(&self.layout.result(sha256)).await
    }

    async fn has(&self, key: &str) -> Result<bool, ServiceError> {
        match &self.home {
            Home::Folder(folder) => Ok(folder.join(key).is_file()),
            Home::Bucket(blobs) => {
                Ok(blobs.size(key).await.map_err(blobforge_core::QueueError::Blob)?.is_some())
            }
        }
    }

    /// The source with this hash; `draft` is where it may be put.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn source(&self, sha256: Sha256, draft: &Path) -> io::Result<Source> {
        let Some(path) = self.fetch(&self.layout.source(sha256), draft).await? else {
            return Ok(Source::Missing);
        };
        Ok(match damage(&path, sha256).await? {
            Some(what) => Source::Damaged(what),
            None => Source::There(path),
        })
    }

    /// What became of the source with this hash, if that is there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn result(&self, sha256: Sha256, draft: &Path) -> io::Result<Option<PathBuf>> {
        self.fetch(&self.layout.result(sha256), draft).await
    }

    async fn fetch(&self, key: &str, draft: &Path) -> io::Result<Option<PathBuf>> {
        let blobs = match &self.home {
            Home::Folder(folder) => {
                let path = folder.join(key);
                return Ok(path.is_file().then_some(path));
            }
            Home::Bucket(blobs) => blobs,
        };
        let mut content = match blobs.get(key, None).await {
            Ok(content) => content,
            Err(BlobError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(io::Error::other(error)),
        };
        let mut file = tokio::fs::File::create(draft).await?;
        while let Some(piece) = content.try_next().await? {
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        Ok(Some(draft.to_owned()))
    }
}

/// What is said of a file that is not the one that it is called.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn damage(path: &Path, sha256: Sha256) -> io::Result<Option<String>> {
    let content = blobforge_worker_sdk::client::content_of(path).await.map_err(io::Error::other)?;
    let is_another = content.sha256 != sha256;
    Ok(is_another
        .then(|| format!("the file that lies there has another SHA-256, {}: it is damaged", content.sha256)))
}

/// The names of the files in a folder, if it is there.
fn in_folder(folder: &Path) -> io::Result<Vec<(String, Listed)>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        let modified = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = Timestamp::from_millis(i64::try_from(modified.as_millis()).unwrap_or(0));
        found.push((entry.file_name().to_string_lossy().into_owned(), Listed { size: about.len(), at }));
    }
    Ok(found)
}

/// The files of a result, in a folder: those of a zip file, or the one that it is.
pub(super) fn unpacked(result: &Path, folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    fs::create_dir_all(folder)?;
    if !is_zip(result)? {
        fs::copy(result, folder.join(CONTENT))?;
    } else {
        unpack(result, folder)?;
    }
    files_below(folder)
}

fn is_zip(path: &Path) -> io::Result<bool> {
    use io::Read as _;
    let mut begin = Vec::new();
    fs::File::open(path)?.take(2).read_to_end(&mut begin)?;
    Ok(begin == b"PK")
}
