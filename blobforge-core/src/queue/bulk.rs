//! The same for many jobs at once.

use std::collections::BTreeMap;

use super::{Queue, QueueError, driver};
use crate::{
    Invalid, Job, JobId, Priority,
    storage::{Command, JobFilter, MAX_PAGE, Refusal, verdict},
};

/// The most jobs that one call names.
///
/// As in [`Selection`].
pub const MAX_BULK_IDS: usize = 1000;
/// How many jobs a page has, and a batch of commands.
const AT_ONCE: usize = 500;
const _: () = assert!(AT_ONCE <= MAX_PAGE);
/// How many pages one call goes through. Each takes at most a second to read.
const PAGES_AT_MOST: usize = 20;
/// How many jobs are named for each reason of refusal.
const EXAMPLES: usize = 5;

/// What is done to each job.
///
/// As in [`Queue::bulk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Call it off, as [`Queue::cancel`].
    Cancel,
    /// Run it again, as [`Queue::retry`].
    Retry,
    /// Forget it, as [`Queue::delete`].
    Delete,
    /// Change how urgent it is, as [`Queue::reprioritise`].
    Reprioritise(Priority),
}

impl Action {
    fn command(self, id: JobId) -> Command {
        match self {
            Self::Cancel => Command::Cancel(id),
            Self::Retry => Command::Retry(id),
            Self::Delete => Command::Delete(id),
            Self::Reprioritise(priority) => Command::Reprioritise(id, priority),
        }
    }
}

/// Which jobs.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{JobId, queue::{Action, MAX_BULK_IDS, Selection}, storage::JobFilter};
/// let ids = (1..).map(JobId::new).take(MAX_BULK_IDS + 1).collect();
/// assert!(queue.bulk(Action::Cancel, Selection::Ids(ids), false).await.is_err());
/// let forgotten = Selection::Filter(JobFilter::default());
/// assert!(queue.bulk(Action::Cancel, forgotten, false).await.is_err());
/// let everything = Selection::Everything { below: None };
/// assert_eq!(queue.bulk(Action::Cancel, everything, false).await.unwrap().matched, 0);
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one is made for each request")]
pub enum Selection {
    /// These, at most [`MAX_BULK_IDS`]. One that is named twice counts once.
    Ids(Vec<JobId>),
    /// Those that match, from the newest down to the oldest. It must restrict something: a forgotten field must not mean
    /// everything. Its `limit` means nothing here.
    Filter(JobFilter),
    /// All jobs below this one, or simply all.
    Everything {
        /// The `next` of the call before.
        below: Option<JobId>,
    },
}

/// What became of many jobs.
///
/// As in [`Queue::bulk`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkOutcome {
    /// How many were selected.
    pub matched: u64,
    /// How many were changed, or would be.
    pub changed: u64,
    /// Those that were not, by [`Refusal::kind`].
    pub refused: BTreeMap<&'static str, Refusals>,
    /// There may be more: go on with this as the selection's `below`.
    pub next: Option<JobId>,
}

/// Jobs to which nothing was done, for the same reason.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{NewJob, queue::{Action, Selection}};
/// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
/// let outcome = queue.bulk(Action::Delete, Selection::Ids(vec![id]), true).await.unwrap();
/// let refusals = &outcome.refused["not_ended"];
/// assert_eq!((refusals.jobs, refusals.examples[0].0), (1, id));
/// # });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// How many.
    pub jobs: u64,
    /// Some of them, with the reason in words.
    pub examples: Vec<(JobId, String)>,
}

impl BulkOutcome {
    fn count(&mut self, id: JobId, outcome: Result<(), Refusal>) {
        self.matched += 1;
        let Err(refusal) = outcome else {
            self.changed += 1;
            return;
        };
        let refusals = self.refused.entry(refusal.kind()).or_default();
        refusals.jobs += 1;
        if refusals.examples.len() < EXAMPLES {
            refusals.examples.push((id, refusal.to_string()));
        }
    }
}

impl Queue {
    /// Does the same to many jobs, or says what it would do if `dry_run`.
    ///
    /// This is not one step: jobs are read page by page and changed batch by batch, and others may change them in
    /// between. Each job is changed or refused for itself, as it is at that moment; what was changed stays so when a later
    /// batch fails. A dry run says what would happen to the jobs as they are now.
    ///
    /// One call goes through at most 10,000 jobs that match, or 200,000 that do not; then [`BulkOutcome::next`]
    /// says where to go on. Jobs that come in meanwhile are not selected.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{NewJob, Queue, Status, queue::{Action, Selection}, storage::JobFilter};
    /// let queue = Queue::builder().open_in_memory().unwrap();
    /// for _ in 0..3 {
    ///     queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
    /// }
    /// let waiting = JobFilter { status: Some(Status::Pending), ..JobFilter::all(100) };
    /// let outcome = queue.bulk(Action::Cancel, Selection::Filter(waiting), false).await.unwrap();
    /// assert_eq!((outcome.matched, outcome.changed, outcome.next), (3, 3, None));
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the selection names too many jobs, or is a filter that restricts nothing; or the store fails, of which what was
    /// done before is not told.
    pub async fn bulk(
        &self,
        action: Action,
        selection: Selection,
        dry_run: bool,
    ) -> Result<BulkOutcome, QueueError> {
        match selection {
            Selection::Ids(ids) => self.bulk_of_ids(action, ids, dry_run).await,
            Selection::Filter(filter) if filter.restricts_nothing() => {
                let reason = "it restricts nothing: say so if every job is meant";
                Err(Invalid::new("filter", reason).into())
            }
            Selection::Filter(filter) => self.bulk_of_filter(action, filter, dry_run).await,
            Selection::Everything { below } => {
                let filter = JobFilter { below, ..JobFilter::default() };
                self.bulk_of_filter(action, filter, dry_run).await
            }
        }
    }

    async fn bulk_of_ids(
        &self,
        action: Action,
        mut ids: Vec<JobId>,
        dry_run: bool,
    ) -> Result<BulkOutcome, QueueError> {
        if ids.len() > MAX_BULK_IDS {
            let reason = format!("{} are too many at once: at most {MAX_BULK_IDS}", ids.len());
            return Err(Invalid::new("ids", reason).into());
        }
        ids.sort();
        ids.dedup();
        let mut outcome = BulkOutcome::default();
        if !dry_run {
            self.change_all(action, &ids, &mut outcome).await?;
            return Ok(outcome);
        }
        for id in ids {
            let would = match self.get(id).await? {
                Some(job) => self.would(action, &job),
                None => Err(Refusal::NoSuchJob(id)),
            };
            outcome.count(id, would);
        }
        Ok(outcome)
    }

    async fn bulk_of_filter(
        &self,
        action: Action,
        mut filter: JobFilter,
        dry_run: bool,
    ) -> Result<BulkOutcome, QueueError> {
        (filter.limit, filter.oldest_first) = (AT_ONCE, false);
        let mut outcome = BulkOutcome::default();
        for _ in 0..PAGES_AT_MOST {
            let page = self.list(&filter).await?;
            if dry_run {
                for job in &page.items {
                    outcome.count(job.id, self.would(action, job));
                }
            } else {
                let ids: Vec<JobId> = page.items.iter().map(|job| job.id).collect();
                self.change_all(action, &ids, &mut outcome).await?;
            }
            outcome.next = page.next;
            if page.next.is_none() {
                break;
            }
            filter.below = page.next;
        }
        Ok(outcome)
    }

    fn would(&self, action: Action, job: &Job) -> Result<(), Refusal> {
        verdict(&action.command(job.id), job, self.now())
    }

    async fn change_all(
        &self,
        action: Action,
        ids: &[JobId],
        outcome: &mut BulkOutcome,
    ) -> Result<(), QueueError> {
        for batch in ids.chunks(AT_ONCE) {
            let waiting: Vec<_> = batch.iter().map(|id| self.send(action.command(*id), None)).collect();
            for (id, reply) in batch.iter().zip(waiting) {
                match driver::receive(reply).await {
                    Ok(_) => outcome.count(*id, Ok(())),
                    Err(QueueError::Refused(refusal)) => outcome.count(*id, Err(refusal)),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
