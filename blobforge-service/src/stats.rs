//! How much waits, runs and is done.

use std::collections::BTreeMap;

use blobforge_core::{Queue, QueueError, Status};
use poem_openapi::Object;

/// How much waits, runs and is done.
#[derive(Clone, Debug, Default, Object)]
pub(crate) struct Stats {
    /// All jobs.
    total_jobs: u64,
    /// Jobs whose source is missing.
    uploading_jobs: u64,
    /// Jobs that wait.
    pending_jobs: u64,
    /// Jobs that run.
    running_jobs: u64,
    /// Jobs that are done.
    completed_jobs: u64,
    /// Jobs that failed for good.
    failed_jobs: u64,
    /// The same as `failed_jobs`, under its earlier name.
    dead_jobs: u64,
    /// Jobs that were called off.
    cancelled_jobs: u64,
    /// All workers that are known.
    total_workers: u64,
    /// Workers that were heard of within a lease.
    online_workers: u64,
    /// Workers that were not.
    offline_workers: u64,
    /// The same by type and status.
    by_type: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Stats {
    /// The numbers that people look at first.
    pub(crate) fn tiles(&self) -> [(&'static str, u64); 6] {
        [
            ("waiting", self.pending_jobs),
            ("running", self.running_jobs),
            ("completed", self.completed_jobs),
            ("failed", self.failed_jobs),
            ("cancelled", self.cancelled_jobs),
            ("workers online", self.online_workers),
        ]
    }
}

pub(crate) async fn read(queue: &Queue) -> Result<Stats, QueueError> {
    let counts = queue.counts().await?;
    let workers = queue.workers().await?;
    let (now, lease) = (queue.now(), queue.settings().lease);
    let total_workers = workers.len() as u64;
    let online_workers = workers.iter().filter(|worker| worker.is_online(now, lease)).count() as u64;
    let mut by_type: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for ((job_type, status), count) in &counts.0 {
        by_type.entry(job_type.to_string()).or_default().insert(status.to_string(), *count);
    }
    let failed_jobs = counts.of_status(Status::Failed);
    Ok(Stats {
        total_jobs: counts.total(),
        uploading_jobs: counts.of_status(Status::Uploading),
        pending_jobs: counts.of_status(Status::Pending),
        running_jobs: counts.of_status(Status::Running),
        completed_jobs: counts.of_status(Status::Completed),
        failed_jobs,
        dead_jobs: failed_jobs,
        cancelled_jobs: counts.of_status(Status::Cancelled),
        total_workers,
        online_workers,
        offline_workers: total_workers - online_workers,
        by_type,
    })
}
