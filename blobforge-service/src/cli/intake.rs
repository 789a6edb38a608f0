//! Handing in files, however many: they are read for their hashes, asked about in batches, and those that the service does
//! not have are sent, some at once. What it knows already is not sent again, so that a run that was broken off is finished by
//! the next one.

mod outage;
mod summary;

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use blobforge_core::{HashBeginning, MAX_TAGS, Sha256, Status};
use blobforge_worker_sdk::{
    client::{Announced, Client, ClientError, Content, JobView, SubmitFile},
    marker,
};
use futures_util::{Stream, StreamExt as _, stream};
use indicatif::ProgressBar;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

pub(super) use self::{
    outage::Outage,
    summary::{Fate, Outcome, Summary},
};
use super::{
    CliError, fingerprint,
    fingerprint::Fingerprint,
    submit::{JobArgs, USUAL_TYPE},
    terminal::Bars,
    walk::{Found, Wanted, walk},
};

/// How many files are asked about at once.
const BATCH: usize = 100;
/// How many files are read for their hashes at once.
const READ_AT_ONCE: usize = 2;
/// How many files are sent at once.
const SENT_AT_ONCE: usize = 4;
/// How many files are found ahead of time.
const FOUND_AHEAD: usize = 1024;
/// A file of that size gets a bar of its own while it is sent, in bytes.
const BAR_FROM: u64 = 8 * 1024 * 1024;

/// What files were as they were seen to their ends: their sizes, and when they had last been modified.
pub(super) type Seen = HashMap<PathBuf, Version>;
type Version = (u64, Option<SystemTime>);

/// How files are handed in.
#[derive(Clone)]
pub(super) struct How<'a> {
    pub(super) client: Client,
    pub(super) job: &'a JobArgs,
    /// Tag jobs with the folders that their files lie in.
    pub(super) path_tags: bool,
    /// Submit nothing, and find out what would be.
    pub(super) dry_run: bool,
}

/// A file that was read.
struct Item {
    path: PathBuf,
    tags: Vec<String>,
    fingerprint: Fingerprint,
}

/// A file on its way to its fate.
enum Next {
    Done(Outcome),
    Send { path: PathBuf, lies_at: PathBuf, content: Content, announced: Announced },
}

/// One run over files.
struct Intake<'a> {
    how: How<'a>,
    bars: Bars,
    read: ProgressBar,
    /// What this run sends, or has sent: the same content may lie in several files.
    sends: Mutex<HashSet<Sha256>>,
    /// What each file was as it was read.
    versions: Mutex<Seen>,
}

/// Hands in the files that lie at or below some paths and are not in `seen`, which is told of each that was seen to its
/// end. `heard` is told what became of each; once nobody answers, the rest is not tried.
///
/// # Errors
/// What `heard` says.
pub(super) async fn take(
    how: How<'_>,
    paths: &[PathBuf],
    wanted: &Wanted,
    seen: &mut Seen,
    mut heard: impl FnMut(Outcome) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let bars = Bars::new();
    let read = bars.add("read", "bytes");
    let mut outage = Outage::new(how.client.clone());
    let intake = Intake { how, bars, read, sends: Mutex::default(), versions: Mutex::default() };
    let known = Arc::new(std::mem::take(seen));
    let next = intake.read_files(paths, wanted, known.clone()).ready_chunks(BATCH);
    let next = next.then(|batch| intake.known(batch)).flat_map(stream::iter);
    let mut outcomes = std::pin::pin!(next.map(|next| intake.see_to(next)).buffer_unordered(SENT_AT_ONCE));
    let mut ended = Vec::new();
    while let Some(mut outcome) = outcomes.next().await {
        // What is known of a file says nothing of whether the service is there.
        outcome.away = outage.is_seen_after(outcome.away).await;
        if !matches!(outcome.fate, Fate::Failed { .. }) {
            ended.extend(lock(&intake.versions).remove_entry(&outcome.path));
        }
        let is_over = outcome.away;
        heard(outcome)?;
        if is_over {
            // Each further file would wait for as long and say the same.
            break;
        }
    }
    intake.read.finish_and_clear();
    *seen = Arc::try_unwrap(known).unwrap_or_else(|known| (*known).clone());
    seen.extend(ended);
    Ok(())
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn version(path: &Path) -> Option<Version> {
    std::fs::metadata(path).ok().map(|found| (found.len(), found.modified().ok()))
}

impl Intake<'_> {
    /// Finds files, and reads them for their hashes.
    fn read_files(
        &self,
        paths: &[PathBuf],
        wanted: &Wanted,
        seen: Arc<Seen>,
    ) -> impl Stream<Item = Result<Item, Outcome>> + '_ + use<'_> {
        let (paths, wanted) = (paths.to_owned(), wanted.clone());
        let (found, files) = mpsc::channel(FOUND_AHEAD);
        // Ends when nobody takes what it finds.
        tokio::task::spawn_blocking(move || {
            let all = paths.iter().flat_map(|path| walk(path, &wanted));
            let is_new =
                |found: &Found| seen.get(&found.path).is_none_or(|was| Some(*was) != version(&found.path));
            let new = all.filter(|file| file.as_ref().map_or(true, is_new));
            for file in new {
                if found.blocking_send(file).is_err() {
                    return;
                }
            }
        });
        ReceiverStream::new(files).map(|found| self.read(found)).buffered(READ_AT_ONCE)
    }

    async fn read(&self, found: Result<Found, (PathBuf, String)>) -> Result<Item, Outcome> {
        let Found { path, tags } = found.map_err(|(path, why)| Outcome::failed(path, why))?;
        lock(&self.versions).extend(version(&path).map(|version| (path.clone(), version)));
        let (file, read) = (path.clone(), self.read.clone());
        let fingerprint =
            tokio::task::spawn_blocking(move || fingerprint::take(&file, &|bytes| read.inc(bytes)));
        match fingerprint.await {
            Ok(Ok(fingerprint)) => Ok(Item { path, tags, fingerprint }),
            Ok(Err(error)) => Err(Outcome::failed(path, error.to_string())),
            Err(error) => Err(Outcome::failed(path, format!("it could not be read: {error}"))),
        }
    }

    /// Finds out what is known of some files, and says of the others that they are there.
    async fn known(&self, batch: Vec<Result<Item, Outcome>>) -> Vec<Next> {
        let (mut items, mut next) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for read in batch {
            match read {
                Ok(item) => items.push(item),
                Err(outcome) => next.push(Next::Done(outcome)),
            }
        }
        let only_asks = |item: &Item| self.how.dry_run || item.fingerprint.lies_at.is_none();
        // What is known of one type, an announcement tells as well.
        let asks_of_all = self.how.job.one_type().is_none();
        let (to_ask, to_announce): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| asks_of_all || only_asks(item));
        let mut to_announce: Vec<_> = to_announce.into_iter().map(|item| (item, None)).collect();
        match self.jobs_of(&to_ask).await {
            Ok(jobs) => {
                for (item, job) in to_ask.into_iter().zip(jobs) {
                    if only_asks(&item) || job.as_ref().is_some_and(|job| !is_plain(job)) {
                        next.push(Next::Done(self.asked(item, job).await));
                    } else {
                        to_announce.push((item, job.map(|job| job.job_type)));
                    }
                }
            }
            Err(error) => next.extend(to_ask.into_iter().map(|item| Next::Done(refused(item.path, &error)))),
        }
        next.extend(self.announced(to_announce).await);
        next
    }

    /// The job that each file has, if it has one.
    async fn jobs_of(&self, items: &[Item]) -> Result<Vec<Option<JobView>>, ClientError> {
        let hashes: Vec<_> =
            items.iter().map(|item| HashBeginning::from(item.fingerprint.content.sha256)).collect();
        let job_type = self.how.job.one_type();
        let known = self.how.client.look_up(&hashes, job_type).await?;
        Ok(known.into_iter().map(|jobs| best(jobs, job_type)).collect())
    }

    /// What becomes of a file of which nothing is sent.
    async fn asked(&self, item: Item, job: Option<JobView>) -> Outcome {
        let Item { path, fingerprint, .. } = item;
        let sha256 = fingerprint.content.sha256;
        match job {
            Some(job) if self.is_to_run_again(job.status) => match self.how.client.retry(job.id).await {
                Ok(job) => Outcome::existing(path, sha256, job.id, job.status),
                Err(error) => refused(path, &error),
            },
            Some(job) => Outcome::existing(path, sha256, job.id, job.status),
            None if fingerprint.lies_at.is_some() => Outcome::new(path, sha256),
            None => Outcome::failed(path, ONLY_A_POINTER),
        }
    }

    fn is_to_run_again(&self, status: Status) -> bool {
        self.how.job.retry_failed && !self.how.dry_run && status == Status::Failed
    }

    fn file(&self, item: &Item, job_type: Option<&str>) -> SubmitFile {
        let mut file = self.how.job.file(&item.path);
        if let Some(job_type) = job_type {
            job_type.clone_into(&mut file.job_type);
        }
        if self.how.path_tags {
            let new = item.tags.iter().filter(|tag| !self.how.job.tags.contains(tag));
            file.tags.extend(new.cloned());
            file.tags.truncate(MAX_TAGS);
        }
        file
    }

    /// Says that files are there, all at once, or one by one where one of them will not do.
    async fn announced(&self, items: Vec<(Item, Option<String>)>) -> Vec<Next> {
        if items.is_empty() {
            return Vec::new();
        }
        let said = |(item, job_type): &(Item, Option<String>)| {
            (self.file(item, job_type.as_deref()), item.fingerprint.content)
        };
        let files: Vec<_> = items.iter().map(said).collect();
        let items = items.into_iter().map(|(item, _)| item);
        match self.how.client.announce_all(&files).await {
            Ok(announced) => {
                items.zip(announced).map(|(item, announced)| self.to_send(item, Ok(announced))).collect()
            }
            Err(error) if error.is_retryable() => {
                items.map(|item| Next::Done(refused(item.path, &error))).collect()
            }
            Err(_) => {
                let mut next = Vec::with_capacity(items.len());
                for (item, (file, content)) in items.zip(files) {
                    next.push(self.to_send(item, self.how.client.announce(&file, content).await));
                }
                next
            }
        }
    }

    fn to_send(&self, item: Item, announced: Result<Announced, ClientError>) -> Next {
        let Item { path, fingerprint: Fingerprint { content, lies_at }, .. } = item;
        let announced = match announced {
            Ok(announced) => announced,
            Err(error) => return Next::Done(refused(path, &error)),
        };
        let is_mine = lock(&self.sends).insert(content.sha256);
        if announced.is_to_be_sent() && !is_mine {
            let (job, status) = (announced.reply.job_id, announced.reply.status);
            return Next::Done(Outcome::existing(path, content.sha256, job, status));
        }
        let lies_at = lies_at.unwrap_or_else(|| path.clone());
        Next::Send { path, lies_at, content, announced }
    }

    /// Sends a file, if it has to be.
    async fn see_to(&self, next: Next) -> Outcome {
        let (path, lies_at, content, announced) = match next {
            Next::Done(outcome) => return outcome,
            Next::Send { path, lies_at, content, announced } => (path, lies_at, content, announced),
        };
        let bar = (announced.is_to_be_sent() && content.size >= BAR_FROM).then(|| {
            let name = path.file_name().unwrap_or(OsStr::new("file")).to_string_lossy();
            let bar = self.bars.add(&name, "bytes");
            bar.set_length(content.size);
            bar
        });
        let shown = bar.clone();
        let show = move |sent| shown.iter().for_each(|bar| bar.set_position(sent));
        let sent = self.how.client.send_source(announced, &lies_at, show).await;
        bar.iter().for_each(ProgressBar::finish_and_clear);
        match sent {
            Ok(reply) => Outcome::of(path, content.sha256, &reply),
            Err(error) => refused(path, &error),
        }
    }
}

/// The job that a file has, of all that were made of it. Who means no one type means all that make the same of it.
fn best(jobs: Vec<JobView>, job_type: Option<&str>) -> Option<JobView> {
    if job_type.is_some() {
        return jobs.into_iter().next();
    }
    let converts = |job: &JobView| [USUAL_TYPE, marker::JOB_TYPE].contains(&job.job_type.as_str());
    let rank = |job: &JobView| match job.status {
        Status::Completed => 0,
        Status::Running => 1,
        Status::Pending => 2,
        Status::Uploading => 3,
        Status::Failed => 4,
        Status::Cancelled => 5,
    };
    // Of equal ones the first, which is the newest.
    jobs.into_iter().filter(converts).min_by_key(rank)
}

/// Whether a job is the one that an announcement without parameters finds again.
fn is_plain(job: &JobView) -> bool {
    job.more.get("params").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty)
}

/// Why a pointer is not handed in.
const ONLY_A_POINTER: &str =
    "it is a pointer of Git LFS, and what it stands for is neither known nor here: run git lfs pull";

fn refused(path: PathBuf, error: &ClientError) -> Outcome {
    Outcome { away: error.is_retryable(), ..Outcome::failed(path, error.to_string()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(id: i64, job_type: &str, status: &str) -> JobView {
        let job = json!({
            "id": id, "type": job_type, "status": status, "status_label": status, "priority": 3, "source_hash": null,
            "source_path": null, "progress": null, "last_error": null, "result": null, "outputs": [],
        });
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn who_names_no_type_has_what_was_converted_by_any_engine() {
        let jobs = || {
            vec![
                job(9, "word-count", "completed"),
                job(8, "pdf-text", "failed"),
                job(7, "pdf", "pending"),
                job(6, "pdf", "completed"),
                job(5, "pdf-text", "completed"),
            ]
        };
        let id = |job: Option<JobView>| job.map(|job| job.id.get());
        assert_eq!(id(best(jobs(), None)), Some(6));
        assert_eq!(id(best(jobs()[1..3].to_vec(), None)), Some(7));
        assert_eq!(id(best(jobs()[..1].to_vec(), None)), None, "that makes something else of it");
        assert_eq!(id(best(jobs()[..1].to_vec(), Some("word-count"))), Some(9));
    }
}
