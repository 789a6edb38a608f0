//! Jobs of an earlier installation on their way here, one by one.

use std::{io, path::Path};

use blobforge_core::{
    HashBeginning, MAX_FILE_BYTES, MAX_RESULT_BYTES, MAX_SOURCE_PATH_BYTES, MAX_SOURCE_PATHS, MAX_TAG_BYTES,
    MAX_TAGS, NewJob, NewSource, Past, PastEnd, Queue, QueueError, blob::read_file, storage::JobFilter,
};
use serde_json::Value;

use super::{
    OldJob, OldState, Wish,
    files::{self, Files, Source},
    imported::Fate,
};
use crate::{auth::ADMIN_ID, service::ServiceError};

/// What describes a result, and is kept as what the job came to.
const INFO: &str = "info.json";
/// The largest such description that is read, in bytes.
const MAX_INFO: u64 = 4 * MAX_RESULT_BYTES as u64;

/// What would become of a job that is not here, as far as that is seen without reading its files.
pub(super) async fn look(files: &Files, job: &OldJob, wish: &Wish) -> Result<Fate, ServiceError> {
    if let Err(invalid) = new_job(job, wish).validate() {
        return Ok(Fate::Failed(invalid.to_string()));
    }
    if job.state == OldState::Done && !files.has_result(job.sha256).await? {
        return Ok(Fate::Failed(NO_RESULT.to_owned()));
    }
    let with_source = files.has_source(job.sha256).await?;
    if job.state == OldState::ToDo && !with_source {
        return Ok(Fate::Failed(NO_SOURCE.to_owned()));
    }
    Ok(Fate::Taken { with_source, damaged: None })
}

/// Why a job that was done does not come over.
const NO_RESULT: &str =
    "it was done, but its result is not there: hand its file in again to have it done again";
/// Why a job that is to be done does not.
const NO_SOURCE: &str = "it was to be done, but its file is not there: hand it in with blobforge ingest, or put it there and import again";

/// Takes jobs over one by one.
pub(super) struct Importer<'a> {
    pub(super) queue: &'a Queue,
    pub(super) files: &'a Files,
    pub(super) wish: &'a Wish,
}

impl Importer<'_> {
    pub(super) async fn one(&self, job: &OldJob) -> Result<Fate, ServiceError> {
        let known = JobFilter {
            source_hash: Some(HashBeginning::from(job.sha256)),
            job_type: Some(self.wish.type_of(job)),
            ..JobFilter::all(1)
        };
        if !self.queue.list(&known).await?.items.is_empty() {
            return Ok(Fate::Existing);
        }
        if self.wish.dry_run {
            return look(self.files, job, self.wish).await;
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
        let mut new = new_job(job, self.wish);
        new.past = past.map(Box::new);
        let source = self.files.source(job.sha256, &draft.path().join("source")).await?;
        let (source, damaged) = match source {
            Source::There(path) => (Some(path), None),
            // What is over needs it no more.
            Source::Damaged(why) if job.state != OldState::ToDo => (None, Some(why)),
            Source::Damaged(why) => return Ok(Fate::Failed(why)),
            Source::Missing if job.state != OldState::ToDo => (None, None),
            Source::Missing => return Ok(Fate::Failed(NO_SOURCE.to_owned())),
        };
        let with_source = source.is_some();
        let submitted = match source {
            Some(path) => {
                let content = read_file(&path).await?;
                self.queue.submit_stream(new, content, MAX_FILE_BYTES).await?
            }
            None => {
                new.source = NewSource::Upload { sha256: Some(job.sha256), size: job.size };
                self.queue.submit(new).await?
            }
        };
        // Somebody may have handed it in meanwhile.
        Ok(if submitted.existing { Fate::Existing } else { Fate::Taken { with_source, damaged } })
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
        let info = std::fs::File::open(folder.join(INFO)).ok();
        let result =
            info.and_then(|file| serde_json::from_reader::<_, Value>(io::Read::take(file, MAX_INFO)).ok());
        let result = result.filter(|result| blobforge_core::check_result(result).is_ok());
        Ok(PastEnd::Completed { outputs, result })
    }
}

/// Why a job does not come over.
pub(super) enum Trouble {
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
            QueueError::Refused(refusal) => Self::OfFile(refusal.to_string()),
            other => Self::OfAll(other.into()),
        }
    }
}

impl From<ServiceError> for Trouble {
    fn from(error: ServiceError) -> Self {
        Self::OfAll(error)
    }
}

/// A job as it is to be here, without its source. What is too long for here is cut.
fn new_job(old: &OldJob, wish: &Wish) -> NewJob {
    let mut job = NewJob {
        job_type: wish.type_of(old),
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
    let paths = old.paths.iter().filter(|path| !path.is_empty()).take(MAX_SOURCE_PATHS);
    let mut paths = paths.map(|path| end_of(path).to_owned());
    job.body.source_path = paths.next();
    job.body.other_paths = paths.collect();
    job.body.submitter = Some(ADMIN_ID.to_owned());
    job.body.metadata.insert("imported".to_owned(), true.into());
    job
}

/// The end of a path, which says the most of it, as far as it is kept.
fn end_of(path: &str) -> &str {
    let from = path.len().saturating_sub(MAX_SOURCE_PATH_BYTES);
    let from = (from..=path.len()).find(|at| path.is_char_boundary(*at)).unwrap_or(path.len());
    &path[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_paths_the_end_is_kept() {
        assert_eq!(end_of("a/b.pdf"), "a/b.pdf");
        let long = format!("é{}/b.pdf", "x".repeat(MAX_SOURCE_PATH_BYTES - 7));
        let kept = end_of(&long);
        assert!(kept.len() == MAX_SOURCE_PATH_BYTES - 1 && kept.ends_with("x/b.pdf"), "{}", kept.len());
    }
}
