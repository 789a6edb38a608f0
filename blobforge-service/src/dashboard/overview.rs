//! How things are, on one page: what somebody leaves open all day.

use std::{collections::BTreeMap, time::Duration};

use askama::Template;
use blobforge_core::{FailureGroup, Job, Status, Timestamp, WorkerId, WorkerRecord, storage::JobFilter};
use poem::{Response, handler};

use super::{
    chart::{Bar, Day},
    fault::Fault,
    frame::{Frame, Section, Visitor, page as sent},
    shown::{Progressed, State, When, name, name_of_worker},
};
use crate::{
    stats::{self, Seen, Stats, TypeStats},
    words,
};

/// How many running jobs are shown; the others are a click away.
const RUNNING: usize = 8;
/// How many types are shown.
const TYPES: usize = 12;
/// How many workers are shown.
const WORKERS: usize = 12;
/// How many kinds of failures are shown.
const CAUSES: usize = 8;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    stats: Stats,
    types: Vec<TypeRow>,
    more_types: usize,
    day: Day,
    running: Vec<RunningRow>,
    workers: Vec<WorkerRow>,
    more_workers: usize,
    causes: Vec<CauseRow>,
}

/// Shows how things are.
#[handler]
pub(super) async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let queue = &visitor.shared.queue;
    let now = queue.now();
    let seen = Seen::read(queue).await?;
    let stats = stats::of_seen(queue, visitor.shared.metrics.pace(), &seen).await?;
    let running = JobFilter { status: Some(Status::Running), ..JobFilter::all(RUNNING) };
    let running = queue.list(&running).await?.items;
    let hours: Vec<_> = seen.hours.iter().map(|(_, hour)| *hour).collect();
    let (workers, more_workers) = workers(seen, queue.settings().lease, now);
    let causes = queue.failure_groups(None, CAUSES).await?;
    let causes = causes.into_iter().filter(|group| group.jobs > 0);
    let types = types(&stats);
    let more_types = types.len().saturating_sub(TYPES);
    sent(&Overview {
        frame: visitor.frame(Section::Overview, "Overview"),
        types: types.into_iter().take(TYPES).collect(),
        more_types,
        day: Day::new(&hours, now),
        running: running.iter().map(|job| RunningRow::new(job, now)).collect(),
        workers,
        more_workers,
        causes: causes.map(|group| CauseRow::new(group, now)).collect(),
        stats,
    })
}

impl Overview {
    /// For how long the oldest job has waited.
    fn oldest(&self) -> Option<String> {
        self.stats.oldest_waiting_seconds.and_then(span)
    }

    /// When all that waits and runs is done: the longest of any type, where each is known.
    fn to_empty(&self) -> String {
        let busy = self.stats.types.values().filter(|of| of.seconds_to_empty != Some(0.0));
        let Some(spans) = busy.map(|of| of.seconds_to_empty).collect::<Option<Vec<_>>>() else {
            return "unknown".to_owned();
        };
        let longest = spans.into_iter().reduce(f64::max);
        longest.map_or("–".to_owned(), |seconds| span(seconds).unwrap_or_else(|| "unknown".to_owned()))
    }

    fn is_empty(&self) -> bool {
        self.stats.total_jobs == 0
    }
}

fn span(seconds: f64) -> Option<String> {
    Duration::try_from_secs_f64(seconds).ok().map(words::about)
}

/// How much of a type there is.
struct TypeRow {
    name: String,
    bar: Bar,
    numbers: Vec<(&'static str, String)>,
    left: u64,
    to_do: String,
    oldest: Option<String>,
    to_empty: Option<String>,
}

fn types(stats: &Stats) -> Vec<TypeRow> {
    let of = |name: &String, counts: &BTreeMap<String, u64>| {
        let counted = |status: Status| counts.get(status.as_str()).copied().unwrap_or(0);
        let numbers = Status::ALL.map(|status| (status.as_str(), counted(status)));
        let TypeStats { oldest_waiting_seconds, seconds_to_empty, .. } =
            stats.types.get(name).cloned().unwrap_or_default();
        let left = counted(Status::Pending) + counted(Status::Running) + counted(Status::Uploading);
        let there = numbers.into_iter().filter(|(_, number)| *number > 0);
        TypeRow {
            name: name.clone(),
            bar: Bar::new(&numbers),
            numbers: there.map(|(status, number)| (status, words::number(number))).collect(),
            left,
            to_do: words::number(left),
            oldest: oldest_waiting_seconds.and_then(span),
            to_empty: seconds_to_empty.filter(|_| left > 0).and_then(span),
        }
    };
    let mut rows: Vec<_> = stats.by_type.iter().map(|(name, counts)| of(name, counts)).collect();
    rows.sort_by(|a, b| b.left.cmp(&a.left).then_with(|| a.name.cmp(&b.name)));
    rows
}

/// A job that runs.
struct RunningRow {
    id: i64,
    name: String,
    job_type: String,
    worker: String,
    progress: Option<Progressed>,
    started: Option<When>,
}

impl RunningRow {
    fn new(job: &Job, now: Timestamp) -> Self {
        Self {
            id: job.id.get(),
            name: name(job),
            job_type: job.job_type.to_string(),
            worker: job.lease().map(|lease| lease.worker.to_string()).unwrap_or_default(),
            progress: Progressed::of(job, now),
            started: job.lease().map(|lease| When::new(lease.started_at, now)),
        }
    }
}

/// A worker that is there.
struct WorkerRow {
    id: String,
    name: String,
    state: State,
    why: Option<String>,
    runs: u64,
    types: String,
    seen: When,
}

impl WorkerRow {
    fn new(worker: WorkerRecord, runs: &BTreeMap<WorkerId, u64>, lease: Duration, now: Timestamp) -> Self {
        let runs = runs.get(&worker.registration.id).copied().unwrap_or(0);
        let suspended = worker.condition.suspended_until.filter(|until| *until > now);
        let until = suspended.map(|until| format!("until {}", words::ago(until, now)));
        let types: Vec<_> = worker.registration.types.iter().map(|of| of.as_str()).collect();
        Self {
            id: worker.registration.id.to_string(),
            name: name_of_worker(&worker),
            state: State::of_worker(&worker, runs > 0, lease, now),
            runs,
            types: types.join(", "),
            seen: When::new(worker.last_seen_at, now),
            why: worker.condition.trouble.or(until),
        }
    }
}

/// The workers that are there, the busy ones first, and how many more there are.
fn workers(seen: Seen, lease: Duration, now: Timestamp) -> (Vec<WorkerRow>, usize) {
    let running = seen.workload.running;
    let (mut here, away): (Vec<_>, Vec<_>) =
        seen.workers.into_iter().partition(|worker| worker.is_online(now, lease));
    here.sort_by_key(|worker| std::cmp::Reverse(running.get(&worker.registration.id).copied().unwrap_or(0)));
    let more = (here.len() + away.len()).saturating_sub(WORKERS);
    let shown = here.into_iter().chain(away).take(WORKERS);
    (shown.map(|worker| WorkerRow::new(worker, &running, lease, now)).collect(), more)
}

/// A kind of failures.
struct CauseRow {
    id: i64,
    job_type: String,
    kind: String,
    message: String,
    jobs: u64,
    last: When,
    retry: String,
}

impl CauseRow {
    fn new(group: FailureGroup, now: Timestamp) -> Self {
        let filter = serde_json::json!({"failure_group": group.id.get()});
        Self {
            id: group.id.get(),
            job_type: group.job_type.to_string(),
            kind: group.kind,
            message: group.message,
            jobs: group.jobs,
            last: When::new(group.last_seen, now),
            retry: serde_json::json!({"action": "retry", "filter": filter}).to_string(),
        }
    }
}
