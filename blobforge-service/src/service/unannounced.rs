//! Sources whose senders will not say that they were sent.
//!
//! Programs of the time before ask for a URL by the hash of a file, send it there, and go. Whose source is sent like that
//! is recorded, so that a restart forgets nobody, and looked for until it is there or its job no longer waits for it.

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    Clock, JobId, Queue, QueueError, Sha256, Status,
    storage::{Command, JobFilter, MAX_PAGE},
};
use serde_json::json;
use tokio::sync::Notify;

use super::Arrivals;

/// How often a store that tells nobody what arrives is asked.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How many pages of jobs that wait for their sources are gone through for one hash, the newest first.
const MOST_PAGES: usize = 10;
const COLLECTION: &str = "unannounced-sources";

/// Looks for sources that nobody announces.
#[derive(Clone, Debug)]
pub(crate) struct Unannounced {
    queue: Queue,
    arrivals: Arrivals,
    clock: Arc<dyn Clock>,
    woken: Arc<Notify>,
}

impl Unannounced {
    pub(super) fn new(queue: Queue, arrivals: Arrivals, clock: Arc<dyn Clock>) -> Self {
        Self { queue, arrivals, clock, woken: Arc::default() }
    }

    /// The newest job that waits for a source with this hash.
    pub(crate) async fn job_with(&self, hash: Sha256) -> Result<Option<JobId>, QueueError> {
        let mut filter = JobFilter { status: Some(Status::Uploading), ..JobFilter::all(MAX_PAGE) };
        for _ in 0..MOST_PAGES {
            let page = self.queue.list(&filter).await?;
            let is_it = |source: &blobforge_core::Source| source.sha256 == Some(hash);
            if let Some(job) = page.items.iter().find(|job| job.awaited_source().is_some_and(is_it)) {
                return Ok(Some(job.id));
            }
            if page.next.is_none() {
                break;
            }
            filter.below = page.next;
        }
        Ok(None)
    }

    /// Looks for the source of a job from now on.
    pub(crate) async fn expect(&self, job: JobId) -> Result<(), QueueError> {
        let (collection, key) = (COLLECTION.to_owned(), job.to_string());
        self.queue.run(Command::PutRecord { collection, key, value: json!({}) }).await?;
        self.woken.notify_one();
        Ok(())
    }

    /// Says that a file arrived: whoever waits for it need not wait until the next look.
    pub(crate) fn arrived(&self) {
        self.woken.notify_one();
    }

    /// Looks until it is dropped.
    pub(super) async fn watch(self) {
        loop {
            let waits = match self.look().await {
                Ok(waits) => waits,
                Err(error) => {
                    tracing::warn!(%error, "sources that nobody announces could not be looked for");
                    true
                }
            };
            let next = async {
                if waits { self.clock.sleep(LOOK_EVERY).await } else { std::future::pending().await }
            };
            tokio::select! {
                () = self.woken.notified() => {}
                () = next => {}
            }
        }
    }

    /// Looks once for all of them. Returns whether some are still missing.
    async fn look(&self) -> Result<bool, QueueError> {
        let mut waits = false;
        for (key, _) in self.queue.storage().records(COLLECTION).await? {
            let missing = match key.parse() {
                Ok(id) => self.is_missing(JobId::new(id)).await?,
                Err(_) => false,
            };
            if missing {
                waits = true;
            } else {
                let collection = COLLECTION.to_owned();
                self.queue.run(Command::DeleteRecord { collection, key }).await?;
            }
        }
        Ok(waits)
    }

    async fn is_missing(&self, id: JobId) -> Result<bool, QueueError> {
        let waits = |job: &blobforge_core::Job| job.status() == Status::Uploading;
        let Some(job) = self.queue.get(id).await?.filter(waits) else { return Ok(false) };
        let Some(source) = &job.source else { return Ok(false) };
        // Nothing is decided about a file that is on its way.
        let Some(_arrival) = self.arrivals.look(&source.key) else { return Ok(true) };
        match self.queue.source_uploaded(id).await {
            Ok(_) => Ok(false),
            Err(QueueError::Blob(_)) => Ok(true),
            // By now its job may be another's, or be gone.
            Err(QueueError::Refused(_)) => Ok(self.queue.get(id).await?.is_some_and(|job| waits(&job))),
            Err(error) => Err(error),
        }
    }
}
