//! What is measured, for Prometheus. Whatever a label says is one of a bounded number of words.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use blobforge_core::{
    Clock, End, JobType, Queue, QueueError, Timestamp,
    queue::{Measure, Meter},
    storage::AttemptChange,
};
use prometheus_client::{
    encoding::prometheus_text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{auth::Route, backup::Standing, stats::Pace};

pub(crate) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// The most types of jobs that are told apart, and the most workers.
const MAX_TOLD_APART: usize = 200;
/// What all others are called, which neither a type nor a worker can be.
const OTHERS: &str = "(others)";
/// The methods that are told apart.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Bounds in seconds: of what a request takes, what a job waits or runs, and what a commit takes.
const OF_REQUESTS: [f64; 13] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
const OF_JOBS: [f64; 12] =
    [0.01, 0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0];
const OF_COMMITS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Bounds of how many commands are in a batch.
const OF_BATCHES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

fn of_requests() -> Histogram {
    Histogram::new(OF_REQUESTS)
}

fn of_jobs() -> Histogram {
    Histogram::new(OF_JOBS)
}

/// What this process has counted since it began, and what it reads when it is asked.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    types: ToldApart,
    workers: ToldApart,
    requests: Counters,
    request_times: Histograms,
    rate_limited: Counters,
    waits: Histograms,
    runs: Histograms,
    ends: Counters,
    leases_lost: Counters,
    batches: Histogram,
    commits: Histogram,
    flushes: Histogram,
    pace: Pace,
    pace_of_workers: Pace,
}

impl Metrics {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let mut new = Self {
            pace: Pace::new(clock.clone()),
            pace_of_workers: Pace::new(clock),
            registry: Registry::with_prefix("blobforge"),
            types: ToldApart::default(),
            workers: ToldApart::default(),
            requests: Counters::default(),
            request_times: Histograms::new_with_constructor(of_requests),
            rate_limited: Counters::default(),
            waits: Histograms::new_with_constructor(of_jobs),
            runs: Histograms::new_with_constructor(of_jobs),
            ends: Counters::default(),
            leases_lost: Counters::default(),
            batches: Histogram::new(OF_BATCHES),
            commits: Histogram::new(OF_COMMITS),
            flushes: Histogram::new(OF_COMMITS),
        };
        let all = &mut new.registry;
        all.register("http_requests", "Requests answered, by route and status", new.requests.clone());
        let help = "From a request's head to the head of its answer";
        all.register_with_unit("http_request", help, Unit::Seconds, new.request_times.clone());
        let help = "Requests refused because an account or address asked for too much";
        all.register("rate_limited_requests", help, new.rate_limited.clone());
        let help = "From when a job could be taken until a worker took it";
        all.register_with_unit("job_wait", help, Unit::Seconds, new.waits.clone());
        all.register_with_unit("attempt_run", "How long attempts took", Unit::Seconds, new.runs.clone());
        all.register("attempts_ended", "Attempts, by how they ended", new.ends.clone());
        let help = "Attempts that ended because nothing was heard of their worker";
        all.register("leases_lost", help, new.leases_lost.clone());
        all.register("commit_commands", "Commands in a batch", new.batches.clone());
        all.register_with_unit("commit", "How long a batch took", Unit::Seconds, new.commits.clone());
        let help = "How much of that it took to make it durable";
        all.register_with_unit("commit_flush", help, Unit::Seconds, new.flushes.clone());
        new
    }

    /// Counts a request; of one that no route took, nothing of its path is kept.
    pub(crate) fn answered(&self, method: &str, route: Option<&Route>, status: u16, took: Duration) {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        let route = route.map_or("none", |route| route.pattern);
        let of_route = vec![("method", method.to_owned()), ("route", route.to_owned())];
        self.request_times.get_or_create(&of_route).observe(took.as_secs_f64());
        let with_status = [of_route, vec![("status", status.to_string())]].concat();
        self.requests.get_or_create(&with_status).inc();
    }

    /// Counts a request that was one too many.
    pub(crate) fn rate_limited(&self, budget: &'static str) {
        self.rate_limited.get_or_create(&vec![("budget", budget.to_owned())]).inc();
    }

    /// Everything, as Prometheus reads it. `streams` are open now; `backup` is how the copy of the database stands.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn text(
        &self,
        queue: &Queue,
        streams: usize,
        backup: Option<&Standing>,
    ) -> Result<String, QueueError> {
        let mut now = self.read(queue, streams).await?;
        if let Some(backup) = backup {
            register_backup(&mut now, backup, queue.now());
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_text::encode(&mut text, &self.registry);
        let _ = prometheus_text::encode(&mut text, &now);
        Ok(text)
    }

    /// What is true at this moment: a few reads, however many jobs there are.
    async fn read(&self, queue: &Queue, streams: usize) -> Result<Registry, QueueError> {
        let (counts, workers) = (queue.counts().await?, queue.workers().await?);
        let workload = queue.storage().workload().await?;
        let now = queue.now();
        let jobs = Gauges::default();
        for ((job_type, status), count) in counts.0 {
            jobs.add([("type", self.type_label(&job_type)), ("status", status.to_string())], count);
        }
        let ages = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        for (job_type, at) in workload.oldest {
            let age = ages.get_or_create_owned(&vec![("type", self.type_label(&job_type))]);
            age.set(age.get().max(now.since(at).as_secs_f64()));
        }
        let running = Gauges::default();
        for (number, (worker, jobs)) in workload.running.into_iter().enumerate() {
            let name = if number < MAX_TOLD_APART { worker.to_string() } else { OTHERS.to_owned() };
            running.add([("worker", name)], jobs);
        }
        let lease = queue.settings().lease;
        let by_state = Gauges::default();
        for state in ["online", "offline"] {
            let is_online = state == "online";
            let count = workers.iter().filter(|worker| worker.is_online(now, lease) == is_online).count();
            by_state.add([("state", state.to_owned())], count as u64);
        }
        let open = Gauge::<i64>::default();
        open.set(i64::try_from(streams).unwrap_or(i64::MAX));
        let mut all = Registry::with_prefix("blobforge");
        all.register("jobs", "Jobs there are, by type and status", jobs.0);
        let help = "For how long the job of a type has waited, at most, that has waited longest";
        all.register_with_unit("oldest_waiting_job_age", help, Unit::Seconds, ages);
        all.register("worker_running_jobs", "Jobs that run on a worker now", running.0);
        all.register("workers", "Workers that are known", by_state.0);
        all.register("event_streams", "Event streams that are open", open);
        if let Some(statements) = queue.storage().statements() {
            let run = Counter::<u64>::default();
            run.inner().store(statements, std::sync::atomic::Ordering::Relaxed);
            all.register("storage_statements", "Statements that this process has run on its database", run);
        }
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        let build = Gauges::default();
        build.add(version, 1);
        all.register("build_info", "Which version this is", build.0);
        Ok(all)
    }

    /// How many jobs are done in an hour.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// How many jobs each worker does in an hour.
    pub(crate) fn pace_of_workers(&self) -> &Pace {
        &self.pace_of_workers
    }

    fn type_label(&self, job_type: &JobType) -> String {
        self.types.name(job_type.as_str())
    }
}

/// How the copy of the database stands.
fn register_backup(all: &mut Registry, backup: &Standing, now: Timestamp) {
    let (copying, verified) = (backup.now(), backup.verified());
    let seconds = |at: Option<Timestamp>| {
        let gauge = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        gauge.set(at.map_or(0.0, |at| at.since(Timestamp::ZERO).as_secs_f64()));
        gauge
    };
    let count = |number: u64| {
        let counter = Counter::<u64>::default();
        counter.inner().store(number, std::sync::atomic::Ordering::Relaxed);
        counter
    };
    let lag = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
    lag.set(backup.lag(now).as_secs_f64());
    let runs = Gauge::<i64>::default();
    runs.set(i64::from(copying.runs));
    let help = "For how long what is written has not been copied: as much is lost with the disk";
    all.register_with_unit("backup_lag", help, Unit::Seconds, lag);
    let help = "When everything was last copied, since 1970; 0 before the first time";
    all.register_with_unit("backup_copied_timestamp", help, Unit::Seconds, seconds(copying.copied_at));
    all.register("backup_running", "Whether Litestream runs", runs);
    all.register("backup_errors", "Errors that Litestream told of", count(copying.errors));
    all.register("backup_restarts", "How often Litestream had to be started again", count(copying.restarts));
    let help = "When the copy was last restored and found good, since 1970; 0 if never";
    all.register_with_unit("backup_verified_timestamp", help, Unit::Seconds, seconds(verified.succeeded_at));
    let help = "When the copy last could not be restored, since 1970; 0 if never";
    all.register_with_unit("backup_failed_timestamp", help, Unit::Seconds, seconds(verified.failed_at));
}

impl Meter for Metrics {
    fn measured(&self, measure: &Measure) {
        match measure {
            Measure::Commit { commands, took, flush } => {
                self.batches.observe(*commands as f64);
                self.commits.observe(took.as_secs_f64());
                if let Some(flush) = flush {
                    self.flushes.observe(flush.as_secs_f64());
                }
            }
            Measure::Attempt(AttemptChange::Begun { job_type, waited }) => {
                let of_type = vec![("type", self.type_label(job_type))];
                self.waits.get_or_create(&of_type).observe(waited.as_secs_f64());
            }
            Measure::Attempt(AttemptChange::Ended { job_type, end, ran, worker }) => {
                let of_type = vec![("type", self.type_label(job_type))];
                self.runs.get_or_create(&of_type).observe(ran.as_secs_f64());
                if *end == End::Completed {
                    self.pace.done(self.type_label(job_type));
                    self.pace_of_workers.done(self.workers.name(worker.as_str()));
                }
                if *end == End::Lost {
                    self.leases_lost.get_or_create(&of_type).inc();
                }
                let with_end = [of_type, vec![("end", name_of(*end).to_owned())]].concat();
                self.ends.get_or_create(&with_end).inc();
            }
            _ => {}
        }
    }
}

fn name_of(end: End) -> &'static str {
    match end {
        End::Completed => "completed",
        End::Failed => "failed",
        End::Released => "released",
        End::Snoozed => "snoozed",
        End::Lost => "lost",
        End::Cancelled => "cancelled",
        End::Voided => "voided",
    }
}

/// Numbers by labels, each of them a sum.
#[derive(Default)]
struct Gauges(Family<Labels, Gauge<i64>>);

impl Gauges {
    fn add(&self, labels: impl Into<Labels>, number: u64) {
        self.0.get_or_create(&labels.into()).inc_by(i64::try_from(number).unwrap_or(i64::MAX));
    }
}

/// Names that callers choose, as many of them as are told apart.
#[derive(Debug, Default)]
struct ToldApart(Mutex<BTreeSet<String>>);

impl ToldApart {
    fn name(&self, name: &str) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(name) {
            if known.len() >= MAX_TOLD_APART {
                return OTHERS.to_owned();
            }
            known.insert(name.to_owned());
        }
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn names_too_many_share_one() {
        let types = ToldApart::default();
        let told: BTreeMap<_, usize> = (0..2 * MAX_TOLD_APART).fold(BTreeMap::new(), |mut all, n| {
            *all.entry(types.name(&n.to_string())).or_default() += 1;
            all
        });
        assert_eq!((told.len(), told[OTHERS]), (MAX_TOLD_APART + 1, MAX_TOLD_APART));
        assert_eq!(types.name("0"), "0", "who was first keeps its name");
    }

    #[test]
    fn what_no_route_took_says_nothing_of_itself() {
        let metrics = Metrics::new(Arc::new(blobforge_core::SystemClock));
        for n in 0..100 {
            metrics.answered(&format!("METHOD{n}"), None, 404, Duration::ZERO);
        }
        let mut text = String::new();
        prometheus_text::encode(&mut text, &metrics.registry).unwrap();
        let counted = "blobforge_http_requests_total{method=\"other\",route=\"none\",status=\"404\"} 100";
        assert!(text.lines().any(|line| line == counted), "{text}");
    }
}
