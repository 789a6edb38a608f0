//! Jobs and files of another installation of this very program, as `blobforge export` wrote them.

use std::path::{Path, PathBuf};

use blobforge_core::{
    JobType, MAX_FILE_BYTES, NewJob, NewSource, Past, PastEnd, Queue, QueueError, Status, Timestamp,
    blob::read_file,
    storage::{Command, RecordChange},
};

use super::{Imported, NotTaken, Wish, files::damage, importer::Trouble};
use crate::{
    audit::Actor,
    config::ServeConfig,
    service::{
        ServiceError,
        export::{ExportedFile, ExportedJob, Head, JOBS, Lines, Said, file_of},
        open_beside,
    },
};

/// Where is kept what became of which job of another installation.
const COLLECTION: &str = "imported";

/// Whether a folder is an export.
pub(super) fn is_one(folder: &Path) -> bool {
    folder.join(JOBS).is_file()
}

/// Takes over an export. `heard` is told how many jobs there are, and of each.
///
/// # Errors
/// When it is none that can be read here, or this installation cannot take it.
pub(super) async fn import(
    config: &ServeConfig,
    wish: &Wish,
    folder: &Path,
    heard: &(dyn Fn(u64) + Sync),
) -> Result<Imported, ServiceError> {
    let wrong = |source| ServiceError::File { path: folder.join(JOBS), source };
    if wish.files.is_some() || wish.bucket_prefix.is_some() {
        let what = "an export has its files in itself: leave out --files and --bucket-prefix";
        return Err(ServiceError::Config(what.to_owned()));
    }
    let mut lines = Lines::open(&folder.join(JOBS)).map_err(wrong)?;
    let head = match lines.next() {
        Some((_, Ok(Said::Export(head)))) => head,
        Some((_, Err(why))) => return Err(wrong(std::io::Error::other(format!("line 1: {why}")))),
        _ => return Err(wrong(std::io::Error::other("it does not begin as an export does"))),
    };
    if let Some(why) = head.foreign() {
        return Err(wrong(std::io::Error::other(why)));
    }
    heard(head.jobs);
    if wish.dry_run && !config.db_path.exists() {
        return all(None, wish, folder, &head, lines, heard).await;
    }
    let queue = open_beside(config).await?;
    let imported = all(Some(&queue), wish, folder, &head, lines, heard).await;
    queue.close().await;
    imported
}

/// Takes over every line; none keeps another one back.
async fn all(
    queue: Option<&Queue>,
    wish: &Wish,
    folder: &Path,
    head: &Head,
    lines: Lines,
    heard: &(dyn Fn(u64) + Sync),
) -> Result<Imported, ServiceError> {
    if let Some(queue) = queue.filter(|_| !wish.dry_run) {
        Actor::on_the_machine().begin(queue, "jobs_imported", folder.display()).await?;
    }
    let importer = Importer { queue, wish, folder, installation: &head.installation };
    let mut imported = Imported::default();
    let (mut seen, mut last, mut is_whole) = (0, 1, false);
    for (number, said) in lines {
        last = number;
        let failed = |why| NotTaken { name: format!("{JOBS}, line {number}"), why };
        match said {
            Ok(Said::Job(job)) => {
                seen += 1;
                let status = job.status;
                match importer.one(*job).await? {
                    Fate::Taken { with_source } => imported.count_one(status, with_source),
                    Fate::Existing => imported.existing += 1,
                    Fate::Failed(why) => imported.failed.push(failed(why)),
                }
                heard(0);
            }
            Ok(Said::End(end)) if end.jobs == seen => is_whole = true,
            Ok(Said::End(end)) => {
                is_whole = true;
                let why = format!("{} jobs stand before the end, and {} were written", seen, end.jobs);
                imported.failed.push(failed(why));
            }
            Ok(Said::Export(_)) => {
                imported.failed.push(failed("an export begins within another one".to_owned()))
            }
            Err(why) => {
                // It may have been a job.
                seen += 1;
                imported.failed.push(failed(why));
            }
        }
    }
    if !is_whole {
        let name = format!("{JOBS}, after line {last}");
        let why = "the export ends without its end: it was broken off, so export again".to_owned();
        imported.failed.push(NotTaken { name, why });
    }
    Ok(imported)
}

/// What became of a job, or would.
enum Fate {
    Taken { with_source: bool },
    Existing,
    Failed(String),
}

struct Importer<'a> {
    /// None where there is no installation yet, and none is to be made.
    queue: Option<&'a Queue>,
    wish: &'a Wish,
    folder: &'a Path,
    installation: &'a str,
}

impl Importer<'_> {
    async fn one(&self, job: ExportedJob) -> Result<Fate, ServiceError> {
        // Of an installation that went back to a backup, two jobs have one number.
        let key = format!("{}/{}/{}", self.installation, job.id, job.created_at.as_millis());
        if let Some(queue) = self.queue
            && queue.storage().record(COLLECTION, &key).await.map_err(QueueError::from)?.is_some()
        {
            return Ok(Fate::Existing);
        }
        let missing = job.outputs.iter().find(|output| !self.has(output));
        if let Some(output) = missing {
            let name = output.name.as_deref().unwrap_or_default();
            return Ok(Fate::Failed(format!("job {}: its output {name:?} is not in the export", job.id)));
        }
        let with_source = job.source.as_ref().is_none_or(|source| self.has(source));
        let Some(queue) = self.queue.filter(|_| !self.wish.dry_run) else {
            return Ok(Fate::Taken { with_source });
        };
        let id = job.id;
        match self.take(queue, job, &key).await {
            Ok(true) => Ok(Fate::Taken { with_source }),
            Ok(false) => Ok(Fate::Existing),
            Err(Trouble::OfFile(why)) => Ok(Fate::Failed(format!("job {id}: {why}"))),
            Err(Trouble::OfAll(error)) => Err(error),
        }
    }

    fn has(&self, file: &ExportedFile) -> bool {
        file.there && file.sha256.is_some_and(|sha256| self.folder.join(file_of(sha256)).is_file())
    }

    /// Where a file lies, once it was read and is what it is called.
    async fn checked(&self, file: &ExportedFile) -> Result<PathBuf, Trouble> {
        let sha256 = file.sha256.ok_or_else(|| Trouble::OfFile("a file of it has no SHA-256".to_owned()))?;
        let path = self.folder.join(file_of(sha256));
        match damage(&path, sha256).await? {
            Some(why) => Err(Trouble::OfFile(format!("{}: {why}", file_of(sha256).display()))),
            None => Ok(path),
        }
    }

    /// Takes a job over; `false` if it is here already.
    async fn take(&self, queue: &Queue, job: ExportedJob, key: &str) -> Result<bool, Trouble> {
        let source = job.source.clone();
        let mut new = self.new_job(queue, job, key).await?;
        let submitted = match source {
            Some(file) if self.has(&file) => {
                let path = self.checked(&file).await?;
                queue.submit_stream(new, read_file(&path).await?, MAX_FILE_BYTES).await?
            }
            Some(file) => {
                new.source = NewSource::Upload { sha256: file.sha256, size: file.size };
                // What has to be sent first is as new as its upload.
                let waits = matches!(new.past.as_deref(), Some(Past { end: PastEnd::ToDo, .. }));
                new.past = new.past.filter(|_| !waits);
                queue.submit(new).await?
            }
            None => queue.submit(new).await?,
        };
        let (collection, key) = (COLLECTION.to_owned(), key.to_owned());
        let records = vec![RecordChange::Put { collection, key, value: submitted.id.get().into() }];
        queue.run(Command::Recorded { command: None, records }).await?;
        Ok(!submitted.existing)
    }

    /// A job as it is to be here, without its source.
    async fn new_job(&self, queue: &Queue, job: ExportedJob, key: &str) -> Result<NewJob, Trouble> {
        let end = match job.status {
            Status::Completed => {
                let mut outputs = Vec::with_capacity(job.outputs.len());
                for output in &job.outputs {
                    let name = output.name.clone().unwrap_or_default();
                    blobforge_core::file_name(&name).map_err(QueueError::from)?;
                    let path = self.checked(output).await?;
                    outputs.push(queue.store_past_output(name, read_file(&path).await?).await?);
                }
                PastEnd::Completed { outputs, result: job.result }
            }
            Status::Failed => match job.last_error {
                Some(failure) => PastEnd::Failed(failure),
                None => return Err(Trouble::OfFile("it failed, and the export does not say why".to_owned())),
            },
            Status::Cancelled => PastEnd::Cancelled,
            Status::Uploading | Status::Pending | Status::Running => PastEnd::ToDo,
        };
        let past = Past {
            end,
            failures: job.failures,
            created_at: job.created_at,
            ended_at: job.ended_at.unwrap_or(Timestamp::ZERO),
        };
        let mut body = job.body;
        // Whoever was to be told of its end is nobody here.
        body.notify.clear();
        Ok(NewJob {
            job_type: self.type_of(job.job_type),
            priority: job.priority,
            max_attempts: Some(job.max_attempts),
            run_at: job.run_at,
            body,
            source: NewSource::None,
            dedup: job.dedup,
            retry_failed: false,
            // Should this be interrupted before it is written down what became of the job.
            idempotency_key: Some(format!("import {key}")),
            past: Some(Box::new(past)),
        })
    }

    fn type_of(&self, job_type: JobType) -> JobType {
        self.wish.job_type.clone().unwrap_or(job_type)
    }
}
