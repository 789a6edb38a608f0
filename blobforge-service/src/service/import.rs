//! Moving in from an earlier installation: what was done there stays done, what was to be done is to be done, and nothing
//! of it is changed or deleted.

mod backup;
mod files;
mod folder;
mod go_database;
mod imported;

use std::{io, path::Path};

use blobforge_core::{
    Failure, HashBeginning, JobType, MAX_SOURCE_PATHS, MAX_TAG_BYTES, MAX_TAGS, NewJob, NewSource, Past,
    PastEnd, Priority, Queue, QueueError, Sha256, Timestamp, blob::read_file, storage::JobFilter,
};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

pub(crate) use self::imported::Imported;
use self::{files::Files, imported::Fate};
use super::{ServiceError, open_files, open_queue};
use crate::{audit::Actor, auth::ADMIN_ID, config::ServeConfig};

/// How many jobs are taken over at once.
const AT_ONCE: usize = 4;
/// What describes a result, and is kept as what the job came to.
const INFO: &str = "info.json";
/// What every result has.
const CONTENT: &str = "content.md";

/// A job of the earlier installation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OldJob {
    pub(super) sha256: Sha256,
    pub(super) size: Option<u64>,
    /// What its source is called, the first name first.
    pub(super) paths: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) priority: Priority,
    pub(super) state: OldState,
    pub(super) failures: u32,
    pub(super) max_attempts: Option<u32>,
    pub(super) created_at: Timestamp,
    pub(super) ended_at: Timestamp,
}

/// What became of it there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OldState {
    ToDo,
    Done,
    Dead(Failure),
    Cancelled,
}

/// What is to come over.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// A folder, a coordinator's backup, or a database.
    pub(crate) from: std::path::PathBuf,
    /// Where the files lie, if not beside that.
    pub(crate) files: Option<std::path::PathBuf>,
    /// The files lie in the bucket of the settings, below this prefix.
    pub(crate) bucket_prefix: Option<String>,
    /// What kind of work it is.
    pub(crate) job_type: JobType,
    /// Only count.
    pub(crate) dry_run: bool,
}

/// Takes over the jobs of an earlier installation. `heard` is told of each.
///
/// # Errors
/// When what is named is none, or this installation cannot take it.
pub(crate) async fn import(
    config: &ServeConfig,
    wish: &Wish,
    heard: &(dyn Fn(u64) + Sync),
) -> Result<Imported, ServiceError> {
    let (jobs, files) = read(config, wish)?;
    heard(jobs.len() as u64);
    if wish.dry_run && !config.db_path.exists() {
        let mut imported = Imported::default();
        for job in &jobs {
            imported.count(job, &look(&files, job).await?);
            heard(0);
        }
        return Ok(imported);
    }
    let queue = open_queue(config, open_files(config)?.0, None).await?;
    let imported = all(&queue, &files, jobs, wish, heard).await;
    queue.close().await;
    imported
}

/// Finds out what is named, and reads the jobs of it.
fn read(config: &ServeConfig, wish: &Wish) -> Result<(Vec<OldJob>, Files), ServiceError> {
    let from = &wish.from;
    let wrong = |error: io::Error| ServiceError::File { path: from.clone(), source: error };
    let beside = wish.files.clone();
    let bucket = match &wish.bucket_prefix {
        Some(prefix) => Some(Files::bucket(config, prefix)?),
        None => None,
    };
    if from.is_dir() {
        let files = Files::folder(beside.unwrap_or_else(|| from.clone()), files::Layout::Store);
        return Ok((folder::jobs(from).map_err(wrong)?, bucket.unwrap_or(files)));
    }
    if go_database::is_one(from).map_err(wrong)? {
        let folder = beside.or_else(|| from.parent().map(Path::to_owned)).unwrap_or_default();
        let files = Files::folder(folder, files::Layout::Flat);
        let bucket = bucket.map(|bucket| bucket.in_layout(files::Layout::Flat));
        return Ok((go_database::jobs(from).map_err(wrong)?, bucket.unwrap_or(files)));
    }
    let jobs = backup::jobs(from).map_err(wrong)?;
    // `<files>/backups/coordinator/<name>.json`
    let folder = beside.or_else(|| from.ancestors().nth(3).map(Path::to_owned)).unwrap_or_default();
    Ok((jobs, bucket.unwrap_or_else(|| Files::folder(folder, files::Layout::Store))))
}

async fn all(
    queue: &Queue,
    files: &Files,
    jobs: Vec<OldJob>,
    wish: &Wish,
    heard: &(dyn Fn(u64) + Sync),
) -> Result<Imported, ServiceError> {
    if !wish.dry_run {
        let actor = Actor::on_the_machine();
        actor.begin(queue, "jobs_imported", wish.from.display()).await?;
    }
    let (sender, mut imported) = (Importer { queue, files, wish }, Imported::default());
    let sender = &sender;
    let fates = stream::iter(&jobs).map(|job| async move { (job, sender.one(job).await) });
    let mut fates = fates.buffer_unordered(AT_ONCE);
    while let Some((job, fate)) = fates.next().await {
        imported.count(job, &fate?);
        heard(0);
    }
    Ok(imported)
}

/// What would become of a job that is not here.
async fn look(files: &Files, job: &OldJob) -> Result<Fate, ServiceError> {
    if job.state == OldState::Done && !files.has_result(job.sha256).await? {
        return Ok(Fate::Failed(NO_RESULT.to_owned()));
    }
    Ok(Fate::Taken { with_source: files.has_source(job.sha256).await? })
}

/// Why a job that was done does not come over.
const NO_RESULT: &str =
    "it was done, but its result is not there: hand its file in again to have it done again";

/// Takes jobs over one by one.
struct Importer<'a> {
    queue: &'a Queue,
    files: &'a Files,
    wish: &'a Wish,
}

impl Importer<'_> {
    async fn one(&self, job: &OldJob) -> Result<Fate, ServiceError> {
        let known = JobFilter {
            source_hash: Some(HashBeginning::from(job.sha256)),
            job_type: Some(self.wish.job_type.clone()),
            ..JobFilter::all(1)
        };
        if !self.queue.list(&known).await?.items.is_empty() {
            return Ok(Fate::Existing);
        }
        if self.wish.dry_run {
            return look(self.files, job).await;
        }
        match self.take(job).await {
            Ok(fate) => Ok(fate),
            // What is wrong with one file keeps no other from coming over.
            Err(Trouble::OfFile(why)) => Ok(Fate::Failed(why)),
            Err(Trouble::OfAll(error)) => Err(error),
        }
    }

    async fn take(&self, job: &OldJob) -> Result<Fate, Trouble> {
        let draft = tempfile::tempdir()?;
        let end = match &job.state {
            OldState::ToDo => None,
            OldState::Cancelled => Some(PastEnd::Cancelled),
            OldState::Dead(failure) => Some(PastEnd::Failed(failure.clone())),
            OldState::Done => match self.files.result(job.sha256, &draft.path().join("result")).await? {
                Some(zip) => Some(self.result(&zip, &draft.path().join("unpacked")).await?),
                None => return Ok(Fate::Failed(NO_RESULT.to_owned())),
            },
        };
        let (created_at, ended_at) = (job.created_at, job.ended_at);
        let past = end.map(|end| Past { end, failures: job.failures, created_at, ended_at });
        let mut new = new_job(job, &self.wish.job_type);
        new.past = past.map(Box::new);
        let source = self.files.source(job.sha256, &draft.path().join("source")).await?;
        let with_source = source.is_some();
        match source {
            Some(path) => {
                let content = read_file(&path).await?;
                self.queue.submit_stream(new, content, blobforge_core::MAX_FILE_BYTES).await?;
            }
            None => {
                new.source = NewSource::Upload { sha256: Some(job.sha256), size: job.size };
                self.queue.submit(new).await?;
            }
        }
        Ok(Fate::Taken { with_source })
    }

    /// Takes over what a job came to.
    async fn result(&self, zip: &Path, folder: &Path) -> Result<PastEnd, Trouble> {
        let (zip, unpacked) = (zip.to_owned(), folder.to_owned());
        let files = tokio::task::spawn_blocking(move || files::unpacked(&zip, &unpacked));
        let files = files.await.map_err(io::Error::other)??;
        let mut outputs = Vec::with_capacity(files.len());
        for (name, path) in &files {
            outputs.push(self.queue.store_past_output(name.as_str(), read_file(path).await?).await?);
        }
        let info = std::fs::read(folder.join(INFO)).ok();
        let result = info.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let result = result.filter(|result| blobforge_core::check_result(result).is_ok());
        Ok(PastEnd::Completed { outputs, result })
    }
}

/// Why a job does not come over.
enum Trouble {
    /// Its files will not do.
    OfFile(String),
    /// This installation takes nothing.
    OfAll(ServiceError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::OfFile(error.to_string())
    }
}

impl From<QueueError> for Trouble {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Invalid(invalid) => Self::OfFile(invalid.to_string()),
            other => Self::OfAll(other.into()),
        }
    }
}

impl From<ServiceError> for Trouble {
    fn from(error: ServiceError) -> Self {
        Self::OfAll(error)
    }
}

/// A job as it is to be here, without its source.
fn new_job(old: &OldJob, job_type: &JobType) -> NewJob {
    let mut job = NewJob {
        job_type: job_type.clone(),
        priority: old.priority,
        max_attempts: old.max_attempts.filter(|runs| (1..=blobforge_core::MAX_ATTEMPTS_LIMIT).contains(runs)),
        run_at: None,
        body: Default::default(),
        source: NewSource::None,
        dedup: true,
        retry_failed: false,
        idempotency_key: None,
        past: None,
    };
    let tags = old.tags.iter().filter(|tag| (1..=MAX_TAG_BYTES).contains(&tag.len()));
    job.body.tags = tags.take(MAX_TAGS).cloned().collect();
    let mut paths = old.paths.iter().filter(|path| !path.is_empty()).take(MAX_SOURCE_PATHS).cloned();
    job.body.source_path = paths.next();
    job.body.other_paths = paths.collect();
    job.body.submitter = Some(ADMIN_ID.to_owned());
    job.body.metadata.insert("imported".to_owned(), true.into());
    job
}
