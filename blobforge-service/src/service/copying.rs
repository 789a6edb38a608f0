//! Moving to another store of files: everything that jobs may still need is copied, read back and checked by its hash.
//!
//! What was copied is written down in a file beside the database, so that an interrupted run goes on where it was, and so
//! that a last run, once the service has stopped, has little left to do.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
    sync::Mutex,
};

use blobforge_core::{
    Job, MAX_FILE_BYTES, Queue, QueueError, Sha256,
    blob::{BlobError, BlobStore, Stored},
    storage::{JobFilter, MAX_PAGE},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256 as Hasher};

use super::{ServiceError, has_database, open_beside_with, open_files};
use crate::config::ServeConfig;

/// How many files are on their way at once.
const COPIED_AT_ONCE: usize = 4;

/// A store that files lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Home {
    /// The data folder.
    Local,
    /// The bucket.
    S3,
}

impl Home {
    fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::S3 => "s3",
        }
    }

    fn open(self, config: &ServeConfig) -> Result<std::sync::Arc<dyn BlobStore>, ServiceError> {
        let mut config = config.clone();
        match self {
            Self::Local => config.s3 = None,
            Self::S3 if config.s3.is_none() => {
                let what =
                    "no bucket is set up: set BLOBFORGE_S3_ENDPOINT, and what opens it, for this command";
                return Err(ServiceError::Config(what.to_owned()));
            }
            Self::S3 => {}
        }
        Ok(open_files(&config)?.0)
    }
}

/// What became of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Copied and checked in this run.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// There already, from an earlier run.
    pub(crate) there: u64,
    /// Could not be copied, with why.
    pub(crate) failed: Vec<(String, String)>,
}

/// Copies every file that a job may still need from one store to the other. `heard` is called after each that is there
/// then. A dry run only counts.
pub(crate) async fn copy(
    config: &ServeConfig,
    from: Home,
    to: Home,
    dry_run: bool,
    heard: &(dyn Fn() + Sync),
) -> Result<Copied, ServiceError> {
    if from == to {
        return Err(ServiceError::Config(format!("--from and --to are both {}: name two", from.name())));
    }
    has_database(config)?;
    let to_blobs = to.open(config)?;
    let queue = open_beside_with(config, || from.open(config)).await?;
    let from_blobs = queue.blobs().clone();
    let journal = Journal::open(config.data_folder().join(format!("copied-to-{}", to.name())))?;
    let copying = Copying { from: &*from_blobs, to: &*to_blobs, journal, dry_run };
    let copied = copying.all(&queue, heard).await;
    queue.close().await;
    copied
}

/// A file to be copied.
struct Wanted {
    key: String,
    /// What its content is known to hash to.
    sha256: Option<Sha256>,
}

enum Fate {
    Copied(u64),
    There,
    Failed(String),
}

struct Copying<'a> {
    from: &'a dyn BlobStore,
    to: &'a dyn BlobStore,
    journal: Journal,
    dry_run: bool,
}

impl Copying<'_> {
    async fn all(&self, queue: &Queue, heard: &(dyn Fn() + Sync)) -> Result<Copied, ServiceError> {
        let mut copied = Copied::default();
        let mut filter = JobFilter::all(MAX_PAGE);
        loop {
            let page = queue.list(&filter).await?;
            for job in page.items {
                let wanted = wanted(queue, job).await?;
                let copies = wanted.into_iter().map(|wanted| async move {
                    let fate = self.one(&wanted).await;
                    (wanted.key, fate)
                });
                let mut copies = stream::iter(copies).buffer_unordered(COPIED_AT_ONCE);
                while let Some((key, fate)) = copies.next().await {
                    match fate? {
                        Fate::Copied(bytes) => {
                            copied.files += 1;
                            copied.bytes += bytes;
                            heard();
                        }
                        Fate::There => {
                            copied.there += 1;
                            heard();
                        }
                        Fate::Failed(why) => copied.failed.push((key, why)),
                    }
                }
            }
            match page.next {
                Some(next) => filter.below = Some(next),
                None => return Ok(copied),
            }
        }
    }

    async fn one(&self, wanted: &Wanted) -> Result<Fate, ServiceError> {
        match self.try_one(wanted).await {
            Ok(fate) => Ok(fate),
            Err(QueueError::Blob(error)) => Ok(Fate::Failed(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// What came since the other store is in use never was in this one.
    async fn try_without_source(&self, key: &str, sha256: Option<Sha256>) -> Result<Fate, QueueError> {
        if self.to.size(key).await?.is_none() {
            return Err(BlobError::NotFound(key.to_owned()).into());
        }
        if self.dry_run || self.journal.has(key) {
            return Ok(Fate::There);
        }
        let found = read_back(self.to, key).await?.sha256;
        if sha256.is_some_and(|known| known != found) {
            let why = "it is gone here and damaged there: its content does not have its hash";
            return Ok(Fate::Failed(why.to_owned()));
        }
        self.journal.note(key).map_err(BlobError::BrokenOff)?;
        Ok(Fate::There)
    }

    async fn try_one(&self, Wanted { key, sha256 }: &Wanted) -> Result<Fate, QueueError> {
        let Some(size) = self.from.size(key).await? else {
            return self.try_without_source(key, *sha256).await;
        };
        if self.journal.has(key) && self.to.size(key).await? == Some(size) {
            return Ok(Fate::There);
        }
        if self.dry_run {
            return Ok(Fate::Copied(size));
        }
        let content = self.from.get(key, None).await?;
        let stored = self.to.put(key, content, MAX_FILE_BYTES).await?;
        if sha256.is_some_and(|known| known != stored.sha256) {
            return Ok(Fate::Failed(
                "it is damaged where it lies: its content does not have its hash".to_owned(),
            ));
        }
        if read_back(self.to, key).await? != stored {
            return Ok(Fate::Failed("it arrived damaged: run this again".to_owned()));
        }
        self.journal.note(key).map_err(BlobError::BrokenOff)?;
        Ok(Fate::Copied(stored.size))
    }
}

/// The files that a job may still need.
async fn wanted(queue: &Queue, job: Job) -> Result<Vec<Wanted>, QueueError> {
    let kept = queue.storage().checkpoints(job.id).await?;
    let source = job
        .source
        .filter(|source| source.arrived)
        .map(|source| Wanted { sha256: source.sha256.filter(|_| source.verified), key: source.key });
    let outputs = job.outputs.into_iter().map(|output| Wanted { key: output.key, sha256: output.sha256 });
    let kept = kept.into_iter().map(|kept| Wanted { key: kept.key, sha256: Some(kept.sha256) });
    Ok(source.into_iter().chain(outputs).chain(kept).collect())
}

async fn read_back(blobs: &dyn BlobStore, key: &str) -> Result<Stored, BlobError> {
    let mut content = blobs.get(key, None).await?;
    let (mut hasher, mut size) = (Hasher::new(), 0);
    while let Some(piece) = content.try_next().await.map_err(BlobError::BrokenOff)? {
        hasher.update(&piece);
        size += piece.len() as u64;
    }
    Ok(Stored { size, sha256: Sha256::from_bytes(hasher.finalize().into()) })
}

/// The keys of the files that were copied and checked, one in each line.
struct Journal {
    known: HashSet<String>,
    file: Mutex<File>,
}

impl Journal {
    fn open(path: PathBuf) -> Result<Self, ServiceError> {
        let unusable = |source| ServiceError::File { path: path.clone(), source };
        let known = match fs::read_to_string(&path) {
            // A line that a crash cut off names no key, or that of another file, which then has another size.
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashSet::new(),
            Err(error) => return Err(unusable(error)),
        };
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(unusable)?;
        Ok(Self { known, file: Mutex::new(file) })
    }

    fn has(&self, key: &str) -> bool {
        self.known.contains(key)
    }

    fn note(&self, key: &str) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(format!("{key}\n").as_bytes())
    }
}
