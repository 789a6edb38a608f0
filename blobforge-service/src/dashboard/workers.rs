//! Who runs jobs: how each worker is, what its machine does, and what it works on.

use std::{collections::BTreeMap, time::Duration};

use askama::Template;
use blobforge_core::{
    Gauges, GpuGauges, Job, QueueError, Status, Timestamp, WorkerId, WorkerRecord, storage::JobFilter,
};
use blobforge_worker_sdk::version_difference;
use poem::{Response, handler};
use serde_json::Value;

use super::{
    fault::Fault,
    frame::{Frame, Section, Visitor, page as sent},
    shown::{Progressed, State, When, name, name_of_worker},
};
use crate::words;

/// How many workers are shown.
const WORKERS: usize = 100;
/// How many running jobs are looked at, of all workers.
const RUNNING: usize = 200;
/// How many jobs of a worker are shown.
const JOBS: usize = 4;
/// How many graphics cards of a worker are shown.
const CARDS: usize = 8;
/// From this share on somebody should look, in percent.
const FULL: u64 = 90;

#[derive(Template)]
#[template(path = "workers.html")]
struct WorkersPage {
    frame: Frame,
    workers: Vec<WorkerCard>,
    away: Vec<WorkerCard>,
    online: usize,
    total: usize,
    more: usize,
}

/// Shows the workers: those that are there, and then the others.
#[handler]
pub(super) async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let queue = &visitor.shared.queue;
    let (now, lease) = (queue.now(), queue.settings().lease);
    let counts = queue.storage().workload().await.map_err(QueueError::from)?.running;
    let running = JobFilter { status: Some(Status::Running), ..JobFilter::all(RUNNING) };
    let mut jobs = BTreeMap::<WorkerId, Vec<Job>>::new();
    for job in queue.list(&running).await?.items {
        if let Some(worker) = job.lease().map(|lease| lease.worker.clone()) {
            jobs.entry(worker).or_default().push(job);
        }
    }
    let mut workers = queue.workers().await?;
    let (total, runs) = (workers.len(), |id: &WorkerId| counts.get(id).copied().unwrap_or(0));
    let online = workers.iter().filter(|worker| worker.is_online(now, lease)).count();
    // By id, so that nobody moves because somebody else does.
    workers.sort_by_key(|worker| (!worker.is_online(now, lease), worker.registration.id.clone()));
    let pace = visitor.shared.metrics.pace_of_workers().hourly();
    let shown = workers.into_iter().take(WORKERS).map(|worker| {
        let hourly = pace.get(worker.registration.id.as_str()).map(|jobs| an_hour(*jobs));
        let runs = runs(&worker.registration.id);
        let jobs = jobs.remove(&worker.registration.id).unwrap_or_default();
        WorkerCard { hourly, ..WorkerCard::new(worker, runs, &jobs, lease, now) }
    });
    let (workers, away) = shown.partition(|worker| worker.is_online);
    sent(&WorkersPage {
        frame: visitor.frame(Section::Workers, "Workers"),
        workers,
        away,
        online,
        total,
        more: total.saturating_sub(WORKERS),
    })
}

/// A worker.
struct WorkerCard {
    id: String,
    name: String,
    state: State,
    is_online: bool,
    draining: bool,
    /// Why it takes no jobs until somebody sees to it.
    trouble: Option<String>,
    until: Option<When>,
    types: Vec<String>,
    labels: Vec<String>,
    host: Option<String>,
    version: Option<String>,
    seen: When,
    cards: Vec<Card>,
    more_cards: usize,
    machine: Vec<Gauge>,
    jobs: Vec<RunningJob>,
    /// How many jobs it completes in an hour, by what this service has seen of the last one.
    hourly: Option<String>,
    /// How many more it runs.
    more_jobs: u64,
}

impl WorkerCard {
    fn new(worker: WorkerRecord, runs: u64, jobs: &[Job], lease: Duration, now: Timestamp) -> Self {
        let (name, state) = (name_of_worker(&worker), State::of_worker(&worker, runs > 0, lease, now));
        let is_online = worker.is_online(now, lease);
        let (said, condition) = (worker.registration, worker.condition);
        // What a machine did before it fell silent says nothing.
        let gauges = condition.gauges.filter(|_| is_online);
        let gpus = gauges.as_ref().map(|gauges| gauges.gpus.as_slice()).unwrap_or_default();
        let shown = jobs.len().min(JOBS);
        Self {
            id: said.id.to_string(),
            name,
            state,
            is_online,
            draining: worker.draining,
            trouble: condition.trouble.filter(|_| is_online),
            until: condition.suspended_until.filter(|until| *until > now).map(|until| When::new(until, now)),
            types: said.types.iter().map(ToString::to_string).collect(),
            labels: said.labels.iter().map(|(label, value)| labelled(label, value)).collect(),
            host: said.host,
            version: said.metadata.get("sdk").and_then(Value::as_str).map(version),
            seen: When::new(worker.last_seen_at, now),
            more_cards: gpus.len().saturating_sub(CARDS),
            cards: gpus.iter().take(CARDS).map(Card::new).collect(),
            machine: gauges.as_ref().map(of_machine).unwrap_or_default(),
            jobs: jobs.iter().take(shown).map(|job| RunningJob::new(job, now)).collect(),
            hourly: None,
            more_jobs: runs.saturating_sub(shown as u64),
        }
    }

    /// Whether there is anything to show of its machine.
    fn has_gauges(&self) -> bool {
        !self.machine.is_empty() || !self.cards.is_empty()
    }
}

/// The version of a worker, and how it differs from that of this service, if it does.
fn version(of_worker: &str) -> String {
    version_difference(of_worker, env!("CARGO_PKG_VERSION")).unwrap_or_else(|| of_worker.to_owned())
}

/// So many jobs an hour: few of them with a digit more.
fn an_hour(jobs: f64) -> String {
    if jobs < 10.0 { format!("{jobs:.1}") } else { words::number(jobs.round() as u64) }
}

/// A time without its seconds.
fn to_the_minute(exact: &str) -> String {
    format!("{} UTC", exact.get(..16).unwrap_or(exact).replace('T', " "))
}

/// A label as requirements name it.
fn labelled(label: &str, value: &Value) -> String {
    match value {
        Value::Bool(true) => label.to_owned(),
        Value::String(text) => format!("{label} = {text}"),
        other => format!("{label} = {other}"),
    }
}

/// A job that runs on a worker.
struct RunningJob {
    id: i64,
    name: String,
    progress: Option<Progressed>,
}

impl RunningJob {
    fn new(job: &Job, now: Timestamp) -> Self {
        Self { id: job.id.get(), name: name(job), progress: Progressed::of(job, now) }
    }
}

/// A graphics card.
struct Card {
    name: String,
    gauges: Vec<Gauge>,
}

impl Card {
    fn new(gpu: &GpuGauges) -> Self {
        let warm = gpu.temperature_celsius.map(|degrees| format!(" · {degrees:.0} °C")).unwrap_or_default();
        let used = gpu.use_percent.map(|percent| Gauge::of_share("GPU", percent));
        let memory = gpu.memory_used_bytes.zip(gpu.memory_total_bytes);
        let memory = memory.map(|(used, total)| Gauge::of_bytes("VRAM", used, total));
        Self { name: format!("{}{warm}", gpu.name), gauges: used.into_iter().chain(memory).collect() }
    }
}

/// How much of something is used.
struct Gauge {
    name: &'static str,
    percent: u64,
    said: String,
    /// It is so full that somebody should look.
    is_full: bool,
}

impl Gauge {
    /// How busy something is: the busier, the better it is used.
    fn of_share(name: &'static str, percent: f32) -> Self {
        let percent = percent.clamp(0.0, 100.0).round() as u64;
        Self { name, percent, said: format!("{percent} %"), is_full: false }
    }

    fn of_bytes(name: &'static str, used: u64, total: u64) -> Self {
        let percent = (u128::from(used.min(total)) * 100 / u128::from(total.max(1))) as u64;
        let said = format!("{} of {}", words::size(used), words::size(total));
        Self { name, percent, said, is_full: percent >= FULL }
    }
}

fn of_machine(gauges: &Gauges) -> Vec<Gauge> {
    let disk = gauges.disk_total_bytes.saturating_sub(gauges.disk_free_bytes);
    vec![
        Gauge::of_share("CPU", gauges.cpu_percent),
        Gauge::of_bytes("Memory", gauges.memory_used_bytes, gauges.memory_total_bytes),
        Gauge::of_bytes("Disk", disk, gauges.disk_total_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_never_more_than_full() {
        let odd = [Gauge::of_bytes("Disk", 5, 0), Gauge::of_bytes("Disk", u64::MAX, u64::MAX)];
        assert_eq!(odd.map(|gauge| (gauge.percent, gauge.is_full)), [(0, false), (100, true)]);
        assert_eq!([-5.0, 87.4, 3000.0].map(|share| Gauge::of_share("GPU", share).percent), [0, 87, 100]);
    }

    #[test]
    fn labels_read_as_requirements_do() {
        let labels = [("gpu", true.into()), ("vram_gb", 24.into()), ("site", "attic".into())];
        let said = labels.map(|(label, value)| labelled(label, &value));
        assert_eq!(said, ["gpu", "vram_gb = 24", "site = attic"]);
    }
}
