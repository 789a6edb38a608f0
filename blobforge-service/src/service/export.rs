//! Out of an installation: all jobs with their history as JSON lines, and their files, each under its hash.
//!
//! A folder with `jobs.jsonl` and `files/<two digits>/<hash>`. Written again, it keeps the files that are there: what has its
//! name was hashed before it got it.

mod format;

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use blobforge_core::{
    Job, MAX_FILE_BYTES, Queue, QueueError, Sha256,
    blob::{BlobError, Stored},
    storage::{Command, JobFilter, MAX_PAGE, RecordChange},
};
use futures_util::TryStreamExt as _;
use serde_json::Value;
use sha2::{Digest, Sha256 as Hasher};

pub(super) use self::format::{End, ExportedFile, ExportedJob, Head, Lines, Said};
use super::{
    ServiceError, has_database, open_beside,
    secret::{new_private, own_folder},
};
use crate::config::ServeConfig;

/// The file of the jobs, within the folder of an export.
pub(super) const JOBS: &str = "jobs.jsonl";
/// What that is called until it is whole.
const DRAFT: &str = "jobs.jsonl.part";
/// The folder of the files.
const FILES: &str = "files";
/// Where an installation keeps what it calls itself in its exports.
const COLLECTION: &str = "export";
const INSTALLATION: &str = "installation";

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Exported {
    pub(crate) jobs: u64,
    /// Written in this run.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// There already.
    pub(crate) there: u64,
    /// Files that are missing or damaged where they lie: which, and why.
    pub(crate) failed: Vec<(String, String)>,
}

/// Where a file of an export lies within its folder.
pub(super) fn file_of(sha256: Sha256) -> PathBuf {
    let name = sha256.to_string();
    Path::new(FILES).join(&name[..2]).join(name)
}

/// Writes all jobs and their files into a folder. `heard` is told how many jobs there are, and of each.
///
/// # Errors
/// When the folder is something else, or cannot be written, or this installation cannot be read.
pub(crate) async fn export(
    config: &ServeConfig,
    folder: &Path,
    heard: &(dyn Fn(u64) + Sync),
) -> Result<Exported, ServiceError> {
    has_database(config)?;
    let queue = open_beside(config).await?;
    let exported = all(&queue, folder, heard).await;
    queue.close().await;
    exported
}

async fn all(queue: &Queue, folder: &Path, heard: &(dyn Fn(u64) + Sync)) -> Result<Exported, ServiceError> {
    let installation = installation(queue).await?;
    check_folder(folder, &installation)?;
    own_folder(&folder.join(FILES))?;
    let _lock = locked(folder)?;
    let unusable = |source| ServiceError::File { path: folder.join(DRAFT), source };
    let mut draft = BufWriter::new(new_private(&folder.join(DRAFT)).map_err(unusable)?);
    let jobs = queue.counts().await?.total();
    heard(jobs);
    let head = Head::new(installation, jobs, queue.now());
    writeln!(draft, "{}", format::line(&Said::Export(head))).map_err(unusable)?;
    let mut exported = Exported::default();
    let mut filter = JobFilter { oldest_first: true, ..JobFilter::all(MAX_PAGE) };
    loop {
        let page = queue.list(&filter).await?;
        for job in page.items {
            let job = whole(queue, folder, job, &mut exported).await?;
            writeln!(draft, "{}", format::line(&Said::Job(Box::new(job)))).map_err(unusable)?;
            exported.jobs += 1;
            heard(0);
        }
        match page.next {
            Some(next) => filter = filter.from_place(Some(next)),
            None => break,
        }
    }
    writeln!(draft, "{}", format::line(&Said::End(End { jobs: exported.jobs }))).map_err(unusable)?;
    let draft = draft.into_inner().map_err(io::IntoInnerError::into_error).map_err(unusable)?;
    draft.sync_all().map_err(unusable)?;
    fs::rename(folder.join(DRAFT), folder.join(JOBS)).map_err(unusable)?;
    Ok(exported)
}

/// Keeps every other export out of the folder for as long as this is held: two would write into each other's files.
fn locked(folder: &Path) -> Result<File, ServiceError> {
    let wrong = |source| ServiceError::File { path: folder.to_owned(), source };
    let held = File::open(folder).map_err(wrong)?;
    match rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(held),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let what = format!("another export writes into {}: wait for its end", folder.display());
            Err(ServiceError::Config(what))
        }
        Err(error) => Err(wrong(error.into())),
    }
}

/// What this installation calls itself, the first time drawn: by it an import knows what it has already.
async fn installation(queue: &Queue) -> Result<String, ServiceError> {
    let kept = queue.storage().record(COLLECTION, INSTALLATION).await.map_err(QueueError::from)?;
    if let Some(Value::String(name)) = kept {
        return Ok(name);
    }
    let mut drawn = [0; 16];
    getrandom::fill(&mut drawn).map_err(|error| QueueError::Randomness(io::Error::other(error)))?;
    let name = hex::encode(drawn);
    let (collection, key) = (COLLECTION.to_owned(), INSTALLATION.to_owned());
    let records = vec![RecordChange::Put { collection, key, value: name.clone().into() }];
    queue.run(Command::Recorded { command: None, records }).await?;
    Ok(name)
}

/// Refuses to write into what is something else.
fn check_folder(folder: &Path, installation: &str) -> Result<(), ServiceError> {
    let refused = |what: &str| {
        ServiceError::Config(format!(
            "{} {what}: name a new or empty folder. Nothing was written",
            folder.display()
        ))
    };
    let wrong = |source| ServiceError::File { path: folder.to_owned(), source };
    let mut entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(wrong(error)),
    };
    let is_empty = entries.next().is_none();
    let found = [JOBS, DRAFT].map(|name| folder.join(name)).into_iter().find(|path| path.is_file());
    match found {
        Some(file) => match Lines::open(&file).map_err(wrong)?.next() {
            Some((_, Ok(Said::Export(head)))) if head.installation == installation => Ok(()),
            // A first line that never got there belongs to whoever comes.
            None => Ok(()),
            _ => Err(refused("has the export of another installation")),
        },
        None if is_empty => Ok(()),
        None => Err(refused("is no export, and has something in it")),
    }
}

/// A job with its history, once its files are there.
async fn whole(
    queue: &Queue,
    folder: &Path,
    job: Job,
    exported: &mut Exported,
) -> Result<ExportedJob, ServiceError> {
    let attempts = queue.history(job.id).await?;
    let source = match &job.source {
        Some(source) if source.arrived => {
            let known = source.sha256.filter(|_| source.verified);
            let name = format!("source of job {}", job.id);
            let stored = file(queue, folder, &source.key, known, source.size, name, exported).await?;
            let sha256 = stored.map(|stored| stored.sha256).or(source.sha256);
            Some(ExportedFile { name: None, sha256, size: source.size, there: stored.is_some() })
        }
        Some(source) => {
            Some(ExportedFile { name: None, sha256: source.sha256, size: source.size, there: false })
        }
        None => None,
    };
    let mut outputs = Vec::with_capacity(job.outputs.len());
    for output in &job.outputs {
        let name = format!("output {:?} of job {}", output.name, job.id);
        let stored =
            file(queue, folder, &output.key, output.sha256, Some(output.size), name, exported).await?;
        outputs.push(ExportedFile {
            name: Some(output.name.clone()),
            sha256: stored.map(|stored| stored.sha256).or(output.sha256),
            size: Some(output.size),
            there: stored.is_some(),
        });
    }
    Ok(ExportedJob::new(job, source, outputs, attempts))
}

/// Has a file in the export, and says which it is there; nothing if it cannot be had.
async fn file(
    queue: &Queue,
    folder: &Path,
    key: &str,
    known: Option<Sha256>,
    size: Option<u64>,
    name: String,
    exported: &mut Exported,
) -> Result<Option<Stored>, ServiceError> {
    if let (Some(sha256), Some(size)) = (known, size)
        && fs::metadata(folder.join(file_of(sha256))).is_ok_and(|there| there.len() == size)
    {
        exported.there += 1;
        return Ok(Some(Stored { sha256, size }));
    }
    match fetch(queue, folder, key).await {
        Ok((stored, draft)) if known.is_none_or(|known| known == stored.sha256) => {
            keep(folder, &draft, stored.sha256)?;
            exported.files += 1;
            exported.bytes += stored.size;
            Ok(Some(stored))
        }
        Ok((_, draft)) => {
            let _ = fs::remove_file(draft);
            exported
                .failed
                .push((name, "it is damaged where it lies: its content does not have its hash".to_owned()));
            Ok(None)
        }
        Err(Trouble::OfFile(error)) => {
            exported.failed.push((name, error.to_string()));
            Ok(None)
        }
        Err(Trouble::OfFolder(error)) => Err(error),
    }
}

/// Why a file does not come out.
enum Trouble {
    /// It is not to be had.
    OfFile(BlobError),
    /// The export cannot be written.
    OfFolder(ServiceError),
}

/// Fetches a file into the export, under a name that says nothing yet.
async fn fetch(queue: &Queue, folder: &Path, key: &str) -> Result<(Stored, PathBuf), Trouble> {
    let draft = folder.join(FILES).join("part");
    let unusable = |source| Trouble::OfFolder(ServiceError::File { path: draft.clone(), source });
    let mut content = queue.blobs().get(key, None).await.map_err(Trouble::OfFile)?;
    let mut file = new_private(&draft).map_err(unusable)?;
    let (mut hasher, mut size) = (Hasher::new(), 0);
    while let Some(piece) =
        content.try_next().await.map_err(|error| Trouble::OfFile(BlobError::BrokenOff(error)))?
    {
        size += piece.len() as u64;
        if size > MAX_FILE_BYTES {
            return Err(Trouble::OfFile(BlobError::TooLarge(MAX_FILE_BYTES)));
        }
        hasher.update(&piece);
        file.write_all(&piece).map_err(unusable)?;
    }
    file.sync_all().map_err(unusable)?;
    Ok((Stored { size, sha256: Sha256::from_bytes(hasher.finalize().into()) }, draft))
}

/// Gives a file that was fetched its name.
fn keep(folder: &Path, draft: &Path, sha256: Sha256) -> Result<(), ServiceError> {
    let path = folder.join(file_of(sha256));
    let kept = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::rename(draft, &path));
    kept.map_err(|source| ServiceError::File { path, source })
}
