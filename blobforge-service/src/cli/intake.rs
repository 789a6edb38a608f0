//! Handing in files, however many: they are read for their hashes, asked about in batches, and those that the service does
//! not have are sent, some at once. What it knows already is not sent again, so that a run that was broken off is finished by
//! the next one.

mod outage;
mod reading;
mod summary;

use std::{
    collections::HashSet,
    ffi::OsStr,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use blobforge_core::{HashBeginning, MAX_TAGS, Sha256, Status};
use blobforge_worker_sdk::client::{Announced, Client, ClientError, Content, JobView, SubmitFile};
use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;

use self::reading::{Item, Reader};
pub(super) use self::{
    outage::{Answer, Outage},
    reading::Seen,
    summary::{Fate, Outcome, Summary},
};
use super::{CliError, conversion, fingerprint::Fingerprint, submit::JobArgs, terminal::Bars, walk::Wanted};

/// How many files are asked about at once.
const BATCH: usize = 100;
/// How long a batch waits to become full.
const FILLED_WITHIN: Duration = Duration::from_millis(200);
/// How many files are sent at once.
const SENT_AT_ONCE: usize = 4;
/// A file of that size gets a bar of its own while it is sent, in bytes.
const BAR_FROM: u64 = 8 * 1024 * 1024;

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

/// A file on its way to its fate.
enum Next {
    Done(Outcome),
    Send { path: PathBuf, lies_at: PathBuf, content: Content, announced: Announced },
}

/// One run over files.
struct Intake<'a> {
    how: How<'a>,
    bars: Bars,
    /// What this run sends, or has sent: the same content may lie in several files.
    sends: Mutex<HashSet<Sha256>>,
    /// How many requests have failed.
    failed_requests: AtomicU64,
}

/// Hands in the files that lie at or below some paths and are not in `seen`, which is told of each that was seen to its
/// end. `heard` is told what became of each. Whether all were tried: once nobody answers, the rest is not.
///
/// # Errors
/// What `heard` says.
pub(super) async fn take(
    how: How<'_>,
    paths: &[PathBuf],
    wanted: &Wanted,
    seen: &mut Seen,
    mut heard: impl FnMut(Outcome) -> Result<(), CliError>,
) -> Result<bool, CliError> {
    let bars = Bars::new();
    let reader = Reader::new(bars.add("read", "bytes"), std::mem::take(seen));
    let mut outage = Outage::new(how.client.clone());
    let intake = Intake { how, bars, sends: Mutex::default(), failed_requests: AtomicU64::new(0) };
    let files = reader.clone().files(paths.to_owned(), wanted.clone());
    let batches = tokio_stream::StreamExt::chunks_timeout(files, BATCH, FILLED_WITHIN);
    let next = batches.then(|batch| intake.known(batch)).flat_map(stream::iter);
    let mut outcomes = std::pin::pin!(next.map(|next| intake.see_to(next)).buffer_unordered(SENT_AT_ONCE));
    let mut ended = Vec::new();
    let mut is_away = false;
    while let Some(outcome) = outcomes.next().await {
        is_away = outage.is_seen_after(outcome.answer).await;
        // What waits for another file to arrive has not ended.
        if matches!(outcome.fate, Fate::Submitted { .. } | Fate::Existing { .. }) && !outcome.is_uploading() {
            ended.push(outcome.path.clone());
        }
        heard(outcome)?;
        if is_away {
            // Each further file would wait for as long and say the same.
            break;
        }
    }
    *seen = reader.close(ended);
    Ok(!is_away)
}

impl Intake<'_> {
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
                    if only_asks(&item) {
                        next.push(Next::Done(self.asked(item, job).await));
                    } else {
                        to_announce.push((item, job.map(|job| job.job_type)));
                    }
                }
            }
            Err(error) => next.extend(self.all_refused(to_ask, &error)),
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
        let of_file = |jobs: Vec<JobView>| match job_type {
            Some(_) => jobs.into_iter().next(),
            None => conversion::of_file(jobs),
        };
        Ok(known.into_iter().map(of_file).collect())
    }

    /// What becomes of a file of which nothing is sent.
    async fn asked(&self, item: Item, job: Option<JobView>) -> Outcome {
        let Item { path, fingerprint, .. } = item;
        let sha256 = fingerprint.content.sha256;
        match job {
            Some(job) if self.is_to_run_again(job.status) => match self.how.client.retry(job.id).await {
                Ok(job) => Outcome::existing(path, sha256, job.id, job.status),
                Err(error) => self.refused(path, &error),
            },
            Some(job) => Outcome::existing(path, sha256, job.id, job.status),
            None if fingerprint.lies_at.is_some() => match self.is_first(sha256) {
                true => Outcome::new(path, sha256),
                false => Outcome::twin(path, sha256),
            },
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
            Err(error) if error.is_retryable() => self.all_refused(items, &error).collect(),
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
            Err(error) => return Next::Done(self.refused(path, &error)),
        };
        if !self.is_first(content.sha256) && announced.is_to_be_sent() {
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
            Err(error) => self.refused(path, &error),
        }
    }

    /// Whether no other file of this run has this content.
    fn is_first(&self, sha256: Sha256) -> bool {
        self.sends.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256)
    }

    fn refused(&self, path: PathBuf, error: &ClientError) -> Outcome {
        let answer = if error.is_retryable() {
            Answer::Missing(self.failed_requests.fetch_add(1, Ordering::Relaxed))
        } else {
            Answer::Given
        };
        Outcome { answer, ..Outcome::failed(path, error.to_string()) }
    }

    /// Files that were in one request, which failed.
    fn all_refused(
        &self,
        items: impl IntoIterator<Item = Item>,
        error: &ClientError,
    ) -> impl Iterator<Item = Next> {
        let Outcome { fate, answer, .. } = self.refused(PathBuf::new(), error);
        items.into_iter().map(move |Item { path, .. }| {
            Next::Done(Outcome { path, sha256: None, fate: fate.clone(), answer })
        })
    }
}

/// Why a pointer is not handed in.
const ONLY_A_POINTER: &str =
    "it is a pointer of Git LFS, and what it stands for is neither known nor here: run git lfs pull";
