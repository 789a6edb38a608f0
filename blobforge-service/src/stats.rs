//! How much waits, runs and is done.

mod pace;

use std::collections::BTreeMap;

use blobforge_core::{
    JobType, Queue, QueueError, Status, WorkerRecord,
    storage::{Counts, Hour, LeftBytes, Workload},
};
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
    /// In how many seconds all that waits and runs is done, if as many run all the time as do now: by the bytes of the
    /// sources, and how long the last two days took for each. `null` while nothing runs, or nothing was completed yet.
    pub(crate) seconds_to_empty: Option<f64>,
}

/// What is still to be done: jobs, or the bytes of their sources.
#[derive(Clone, Copy)]
struct Left {
    pending: u64,
    running: u64,
}

impl Left {
    fn of_jobs(counts: &Counts, job_type: &JobType) -> Self {
        let of = |status| counts.0.get(&(job_type.clone(), status)).copied().unwrap_or(0);
        Self { pending: of(Status::Pending), running: of(Status::Running) }
    }

    fn of_bytes(bytes: LeftBytes) -> Self {
        Self { pending: bytes.pending, running: bytes.running }
    }

    /// Of what runs half is done already, as it comes out on average.
    fn total(self) -> f64 {
        self.pending as f64 + self.running as f64 / 2.0
    }
}

/// In how many seconds all is done. What `n` at a time take `w` seconds each for is done at `n / w` a second, whatever
/// share of that they wait for.
fn seconds_to_empty(jobs: Left, bytes: Left, past: &Hour) -> Option<f64> {
    if jobs.total() == 0.0 {
        return Some(0.0);
    }
    let (left, done) = if bytes.total() > 0.0 && past.bytes > 0 {
        (bytes.total(), past.bytes)
    } else {
        (jobs.total(), past.completed)
    };
    let is_known = jobs.running > 0 && done > 0;
    is_known.then(|| past.worked.as_secs_f64() / done as f64 * left / jobs.running as f64)
}

/// What is read of a queue to say how things are.
pub(crate) struct Seen {
    pub(crate) workload: Workload,
    pub(crate) workers: Vec<WorkerRecord>,
    pub(crate) hours: Vec<(JobType, Hour)>,
}

impl Seen {
    pub(crate) async fn read(queue: &Queue) -> Result<Self, QueueError> {
        let (workload, hours) = (queue.storage().workload().await?, queue.hours().await?);
        Ok(Self { workload, hours, workers: queue.workers().await? })
    }
}

pub(crate) async fn read(queue: &Queue, pace: &Pace) -> Result<Stats, QueueError> {
    of_seen(queue, pace, &Seen::read(queue).await?).await
}

/// The same, of what was read already.
pub(crate) async fn of_seen(queue: &Queue, pace: &Pace, seen: &Seen) -> Result<Stats, QueueError> {
    let counts = queue.counts().await?;
    let Workload { oldest, left, .. } = &seen.workload;
    let hourly = pace.hourly();
    let workers = &seen.workers;
    let mut past = BTreeMap::<&JobType, Hour>::new();
    for (job_type, hour) in &seen.hours {
        let sum = past.entry(job_type).or_default();
        *sum = sum.and(hour);
    }
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
            let jobs = Left::of_jobs(&counts, job_type);
            let bytes = Left::of_bytes(left.get(job_type).copied().unwrap_or_default());
            let past = past.get(job_type).copied().unwrap_or_default();
            TypeStats {
                oldest_waiting_seconds: waits,
                completed_per_hour: pace,
                seconds_to_empty: seconds_to_empty(jobs, bytes, &past),
            }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: u64 = 3600;

    /// Twelve books of 100 MB each were done in six hours each.
    fn past() -> Hour {
        Hour { completed: 12, bytes: 1_200, worked: Duration::from_secs(72 * HOUR), ..Hour::default() }
    }

    fn left(pending: u64, running: u64) -> Left {
        Left { pending, running }
    }

    #[test]
    fn what_is_left_takes_as_long_as_its_bytes_took_before_with_as_many_at_a_time() {
        let hours = |jobs, bytes, past: &Hour| seconds_to_empty(jobs, bytes, past).map(|s| s / HOUR as f64);
        assert_eq!(
            hours(left(9, 2), left(900, 200), &past()),
            Some(30.0),
            "ten books of six hours, two at a time"
        );
        assert_eq!(hours(left(9, 2), left(1_800, 400), &past()), Some(60.0), "thick ones take longer");
        assert_eq!(hours(left(9, 2), left(0, 0), &past()), Some(30.0), "without a size all are alike");
        let unsized_before = Hour { bytes: 0, ..past() };
        assert_eq!(hours(left(9, 2), left(900, 200), &unsized_before), Some(30.0));
        assert_eq!(hours(left(0, 0), left(0, 0), &Hour::default()), Some(0.0), "there is nothing to do");
        assert_eq!(hours(left(9, 0), left(900, 0), &past()), None, "nobody works on it");
        assert_eq!(hours(left(9, 2), left(900, 200), &Hour::default()), None, "nothing was done yet");
    }
}
