//! What can be read from a store.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    End, Epoch, Failure, FailureGroupId, HashBeginning, Job, JobId, JobType, Priority, Progress, Status,
    Timestamp, WorkerId,
};

/// The most jobs on one page.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{NewJob, storage::{JobFilter, MAX_PAGE}};
/// for _ in 0..2 {
///     queue.submit_many(vec![NewJob::new("page").unwrap(); MAX_PAGE]).await.unwrap();
/// }
/// let page = queue.list(&JobFilter::all(MAX_PAGE + 1)).await.unwrap();
/// assert_eq!(page.items.len(), MAX_PAGE, "who wants more goes on");
/// assert!(page.next.is_some());
/// # });
/// ```
pub const MAX_PAGE: usize = 1000;

/// The most rows that one page looks at before it ends, matches or not.
pub const MAX_EXAMINED: usize = 10_000;

/// How much goes on, as far as it is more than numbers of jobs.
///
/// As in [`Storage::workload`](super::Storage::workload).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Of each type of which jobs wait: none of them has been ready since before then, and one has been about so long.
    /// Jobs that the limits of their key hold back do not count.
    pub oldest: BTreeMap<JobType, Timestamp>,
    /// How many jobs run on each worker that runs any.
    pub running: BTreeMap<WorkerId, u64>,
    /// Of each type of which jobs wait or run, how large their sources are, as far as that is known.
    pub left: BTreeMap<JobType, LeftBytes>,
}

/// The size of the sources of the jobs that are still to be done.
///
/// As in [`Storage::workload`](super::Storage::workload).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftBytes {
    /// Of those that wait, in bytes.
    pub pending: u64,
    /// Of those that run, in bytes.
    pub running: u64,
}

/// What is still to be done, by how many bytes the jobs of each type have in each state.
pub(super) fn left_bytes(
    counted: impl IntoIterator<Item = ((JobType, Status), u64)>,
) -> BTreeMap<JobType, LeftBytes> {
    let mut left = BTreeMap::<_, LeftBytes>::new();
    for ((job_type, status), bytes) in counted {
        match status {
            Status::Pending => left.entry(job_type).or_default().pending = bytes,
            Status::Running => left.entry(job_type).or_default().running = bytes,
            _ => {}
        }
    }
    left
}

/// How much a job's source counts for: more than this (1 TiB) is not believed, so that no sum of them runs over.
const MAX_COUNTED_BYTES: u64 = 1 << 40;

/// How many bytes a job's source counts for.
pub(super) fn counted_bytes(job: &Job) -> u64 {
    job.source.as_ref().and_then(|source| source.size).map_or(0, |size| size.min(MAX_COUNTED_BYTES))
}

/// Which jobs to list; what is `None` or empty does not restrict.
///
/// As in [`Queue::list`](crate::Queue::list).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In this state.
    pub status: Option<Status>,
    /// Of this type.
    pub job_type: Option<JobType>,
    /// Of this priority.
    pub priority: Option<Priority>,
    /// Running on this worker now.
    pub worker: Option<WorkerId>,
    /// With this tag.
    pub tag: Option<String>,
    /// With this text in one of the source's labels or the last error, letters of either case.
    pub text: Option<String>,
    /// Failed, and in this group of failures.
    pub failure_group: Option<FailureGroupId>,
    /// With a source whose hash, claimed or verified, begins so.
    pub source_hash: Option<HashBeginning>,
    /// Created at or after this time.
    pub created_from: Option<Timestamp>,
    /// Created before this time.
    pub created_before: Option<Timestamp>,
    /// Only jobs with a smaller id: the `next` of the page before, where the newest come first.
    pub below: Option<JobId>,
    /// Only jobs with a larger id: the `next` of the page before, where the oldest come first.
    pub above: Option<JobId>,
    /// The oldest come first.
    pub oldest_first: bool,
    /// At most this many, at most [`MAX_PAGE`], which 0 means too.
    pub limit: usize,
}

impl JobFilter {
    /// Everything, `limit` jobs a page.
    ///
    /// As in [`Queue::list`](crate::Queue::list).
    pub fn all(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Whether it matches every job; where a page begins and how long it is mean nothing.
    ///
    /// ```
    /// use blobforge_core::{Status, storage::JobFilter};
    /// assert!(JobFilter::all(10).restricts_nothing());
    /// let failed = JobFilter { status: Some(Status::Failed), ..JobFilter::all(10) };
    /// assert!(!failed.restricts_nothing());
    /// ```
    pub fn restricts_nothing(&self) -> bool {
        let text = self.wanted_text().map(str::to_owned);
        let created_from = self.created_from.filter(|from| *from > Timestamp::ZERO);
        let no_page = Self { below: None, above: None, oldest_first: false, limit: 0, ..self.clone() };
        Self { text, created_from, ..no_page } == Self::default()
    }

    /// The same jobs from the place on that the `next` of a page says.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, storage::JobFilter};
    /// for _ in 0..3 {
    ///     queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
    /// }
    /// for (oldest_first, order) in [(false, [3, 2, 1]), (true, [1, 2, 3])] {
    ///     let mut filter = JobFilter { oldest_first, ..JobFilter::all(1) };
    ///     for id in order {
    ///         let page = queue.list(&filter).await.unwrap();
    ///         assert_eq!(page.items[0].id.get(), id);
    ///         filter = filter.from_place(page.next);
    ///     }
    /// }
    /// # });
    /// ```
    #[must_use]
    pub fn from_place(self, next: Option<JobId>) -> Self {
        if self.oldest_first { Self { above: next, ..self } } else { Self { below: next, ..self } }
    }

    /// How many jobs a page has at most.
    pub(crate) fn page_size(&self) -> usize {
        if self.limit == 0 { MAX_PAGE } else { self.limit.min(MAX_PAGE) }
    }

    /// The text that is looked for, if there is any: an empty field of a form asks for nothing.
    pub(crate) fn wanted_text(&self) -> Option<&str> {
        self.text.as_deref().filter(|text| !text.is_empty())
    }

    /// Whether a job is wanted, whatever its id.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, Status, storage::JobFilter};
    /// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
    /// let job = queue.job(id).await.unwrap();
    /// let failed = JobFilter { status: Some(Status::Failed), ..JobFilter::default() };
    /// assert!(JobFilter::default().matches(&job) && !failed.matches(&job));
    /// # });
    /// ```
    pub fn matches(&self, job: &Job) -> bool {
        self.status.is_none_or(|status| job.status() == status)
            && self.job_type.as_ref().is_none_or(|job_type| job.job_type == *job_type)
            && self.priority.is_none_or(|priority| job.priority == priority)
            && self.worker.as_ref().is_none_or(|w| job.lease().is_some_and(|l| l.worker == *w))
            && self.tag.as_ref().is_none_or(|tag| job.body.tags.contains(tag))
            && self.wanted_text().is_none_or(|text| has_text(job, text))
            && self.failure_group.is_none_or(|group| job.failure_group == Some(group))
            && self.source_hash.is_none_or(|beginning| has_hash(job, &beginning))
            && self.created_from.is_none_or(|from| job.created_at >= from)
            && self.created_before.is_none_or(|before| job.created_at < before)
    }
}

fn has_hash(job: &Job, beginning: &HashBeginning) -> bool {
    let hash = job.source.as_ref().and_then(|source| source.sha256);
    hash.is_some_and(|hash| beginning.begins(&hash))
}

fn has_text(job: &Job, text: &str) -> bool {
    let text = text.to_lowercase();
    searched_texts(job).any(|field| field.to_lowercase().contains(&text))
}

/// Where a filter's text is looked for.
pub(super) fn searched_texts(job: &Job) -> impl Iterator<Item = &str> {
    let labels = job.body.source_path.iter().chain(&job.body.other_paths);
    let error = job.last_error.as_ref().map(|error| &error.message);
    labels.chain(error).map(String::as_str)
}

/// One page of jobs.
///
/// As in [`Queue::list`](crate::Queue::list).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobPage {
    /// The jobs, in the order that was asked for.
    pub items: Vec<Job>,
    /// Where the next page goes on; `None` when there is nothing more.
    pub next: Option<JobId>,
}

/// How many jobs there are. Kept by every commit, never counted.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{JobType, NewJob, Status};
/// queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
/// let counts = queue.counts().await.unwrap();
/// let (pdf, waiting) = (JobType::new("pdf").unwrap(), Status::Pending);
/// assert_eq!(counts.0[&(pdf, waiting)], 1);
/// assert_eq!((counts.of_status(waiting), counts.total()), (1, 1));
/// # });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub BTreeMap<(JobType, Status), u64>);

impl Counts {
    /// How many jobs are in this state.
    ///
    /// As in [`Counts`].
    pub fn of_status(&self, status: Status) -> u64 {
        self.0.iter().filter(|((_, s), _)| *s == status).map(|(_, n)| n).sum()
    }

    /// How many jobs there are in all.
    ///
    /// As in [`Counts`].
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// How many hours back it is known how many jobs ended in each.
///
/// As in [`Hour`].
pub const HOURS_KEPT: u32 = 48;

/// How many jobs of a type ended in an hour.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
/// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
/// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
/// # queue.register(registration).await.unwrap();
/// # queue.submit(blobforge_core::NewJob::new("pdf").unwrap()).await.unwrap();
/// # let claimed = queue.claim(&smith, &pdf, 1, std::time::Duration::ZERO).await.unwrap().remove(0);
/// use blobforge_core::storage::{HOURS_KEPT, Hour, Report, Storage};
/// let done = Report::Complete { outputs: Vec::new(), result: None };
/// queue.report(claimed.job.id, claimed.token, done).await.unwrap();
/// let hours = queue.storage().hours().await.unwrap();
/// let (of, hour) = &hours[0];
/// assert_eq!((of, hour.completed, hour.failed), (&pdf[0], 1, 0));
/// assert_eq!(hour.start, Hour::beginning(queue.now()));
/// assert!(hours.len() <= HOURS_KEPT as usize);
/// # });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// When it began.
    pub start: Timestamp,
    /// How many jobs were completed in it.
    pub completed: u64,
    /// How many jobs failed for good in it.
    pub failed: u64,
    /// How large the sources of the completed ones were, in bytes.
    pub bytes: u64,
    /// How long the attempts took that completed them, all together.
    pub worked: Duration,
}

impl Hour {
    const MILLIS: i64 = 60 * 60 * 1000;

    /// When the hour of a time began.
    ///
    /// As in [`Hour`].
    pub fn beginning(time: Timestamp) -> Timestamp {
        Timestamp::from_millis(time.as_millis() / Self::MILLIS * Self::MILLIS)
    }

    /// Where it is kept: each hour in the place of the one [`HOURS_KEPT`] hours before, so that none has to be thrown away.
    pub(in crate::storage) fn slot(&self) -> i64 {
        self.start.as_millis() / Self::MILLIS % i64::from(HOURS_KEPT)
    }

    /// An hour together with what is kept in its slot.
    pub(in crate::storage) fn with(self, kept: Option<Self>) -> Self {
        kept.filter(|kept| kept.start == self.start).map_or(self, |kept| self.and(&kept))
    }

    /// What ended in this hour and in another one.
    ///
    /// ```
    /// use blobforge_core::storage::Hour;
    /// let (one, other) = (Hour { completed: 2, ..Hour::default() }, Hour { completed: 3, ..Hour::default() });
    /// assert_eq!(one.and(&other).completed, 5);
    /// ```
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            start: self.start,
            completed: self.completed.saturating_add(other.completed),
            failed: self.failed.saturating_add(other.failed),
            bytes: self.bytes.saturating_add(other.bytes),
            worked: self.worked.saturating_add(other.worked),
        }
    }
}

/// One execution of a job.
///
/// As in [`Queue::history`](crate::Queue::history).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number within the job.
    pub epoch: Epoch,
    /// Who ran it.
    pub worker: WorkerId,
    /// The machine that it ran on, as far as its worker said so.
    #[serde(default)]
    pub host: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<Timestamp>,
    /// How it ended; `None` while it runs.
    pub end: Option<End>,
    /// What went wrong, if something did.
    pub failure: Option<Failure>,
    /// How far it came.
    pub progress: Option<Progress>,
    /// The last lines of the handler's log as far as its worker sent them: while it runs, and afterwards if it failed or
    /// was lost.
    #[serde(default)]
    pub log_tail: Option<String>,
}

impl Attempt {
    /// The attempt that runs now, if one does.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// # queue.submit(blobforge_core::NewJob::new("pdf").unwrap()).await.unwrap();
    /// # let claimed = queue.claim(&smith, &pdf, 1, std::time::Duration::ZERO).await.unwrap().remove(0);
    /// use blobforge_core::storage::Attempt;
    /// let attempt = Attempt::running(&claimed.job).unwrap();
    /// assert_eq!((attempt.worker, attempt.end), (smith, None));
    /// # });
    /// ```
    pub fn running(job: &Job) -> Option<Self> {
        let lease = job.lease()?;
        Some(Self {
            epoch: lease.token.epoch,
            worker: lease.worker.clone(),
            host: lease.host.clone(),
            started_at: lease.started_at,
            ended_at: None,
            end: None,
            failure: None,
            progress: job.progress.clone(),
            log_tail: None,
        })
    }
}
