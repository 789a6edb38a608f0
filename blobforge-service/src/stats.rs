//! How much waits, runs and is done.

mod pace;

use std::collections::BTreeMap;

use blobforge_core::{JobType, Queue, QueueError, Status, storage::Counts};
use poem_openapi::Object;

pub(crate) use pace::Pace;

/// How much waits, runs and is done.
#[derive(Clone, Debug, Default, Object)]
pub(crate) struct Stats {
    /// All jobs.
    pub(crate) total_jobs: u64,
    /// Jobs whose source is missing.
    pub(crate) uploading_jobs: u64,
    /// Jobs that wait.
    pub(crate) pending_jobs: u64,
    /// Jobs that run.
    pub(crate) running_jobs: u64,
    /// Jobs that are done.
    pub(crate) completed_jobs: u64,
    /// Jobs that failed for good.
    pub(crate) failed_jobs: u64,
    /// The same as `failed_jobs`, under its earlier name.
    pub(crate) dead_jobs: u64,
    /// Jobs that were called off.
    pub(crate) cancelled_jobs: u64,
    /// All workers that are known.
    pub(crate) total_workers: u64,
    /// Workers that were heard of within a lease.
    pub(crate) online_workers: u64,
    /// Workers that were not.
    pub(crate) offline_workers: u64,
    /// The same by type and status.
    pub(crate) by_type: BTreeMap<String, BTreeMap<String, u64>>,
    /// For how many seconds, at most, the oldest waiting job has been ready; `null` if none waits.
    pub(crate) oldest_waiting_seconds: Option<f64>,
    /// How many jobs are completed in an hour, by what this process has seen of the last one.
    pub(crate) completed_per_hour: f64,
    /// How each type gets on.
    pub(crate) types: BTreeMap<String, TypeStats>,
}

/// How the jobs of a type get on.
#[derive(Clone, Debug, Default, Object)]
pub(crate) struct TypeStats {
    /// For how many seconds, at most, the oldest waiting job has been ready; `null` if none waits.
    pub(crate) oldest_waiting_seconds: Option<f64>,
    /// How many jobs are completed in an hour, by what this process has seen of the last one.
    pub(crate) completed_per_hour: f64,
    /// In how many seconds all that waits and runs is done at this pace, if nothing is added; `null` while nothing is
    /// completed.
    pub(crate) seconds_to_empty: Option<f64>,
}

impl TypeStats {
    fn new(left: u64, oldest_waiting_seconds: Option<f64>, completed_per_hour: f64) -> Self {
        let seconds_to_empty = match left {
            0 => Some(0.0),
            left => (completed_per_hour > 0.0).then(|| left as f64 / completed_per_hour * 3600.0),
        };
        Self { oldest_waiting_seconds, completed_per_hour, seconds_to_empty }
    }
}

/// How many jobs of a type are still to be done.
fn left(counts: &Counts, job_type: &JobType) -> u64 {
    let of = |status| counts.0.get(&(job_type.clone(), status)).copied().unwrap_or(0);
    of(Status::Pending) + of(Status::Running)
}

pub(crate) async fn read(queue: &Queue, pace: &Pace) -> Result<Stats, QueueError> {
    let counts = queue.counts().await?;
    let oldest = queue.storage().workload().await?.oldest;
    let hourly = pace.hourly();
    let workers = queue.workers().await?;
    let (now, lease) = (queue.now(), queue.settings().lease);
    let total_workers = workers.len() as u64;
    let online_workers = workers.iter().filter(|worker| worker.is_online(now, lease)).count() as u64;
    let mut by_type: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    let mut types = BTreeMap::new();
    for ((job_type, status), count) in &counts.0 {
        by_type.entry(job_type.to_string()).or_default().insert(status.to_string(), *count);
        types.entry(job_type.to_string()).or_insert_with(|| {
            let waits = oldest.get(job_type).map(|since| now.since(*since).as_secs_f64());
            let pace = hourly.get(job_type.as_str()).copied().unwrap_or(0.0);
            TypeStats::new(left(&counts, job_type), waits, pace)
        });
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
        oldest_waiting_seconds: oldest.values().min().map(|since| now.since(*since).as_secs_f64()),
        completed_per_hour: hourly.values().sum(),
        types,
    })
}
