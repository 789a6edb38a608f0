//! A job as programs see it.

use blobforge_core::{Failure, Job, Progress, Timestamp, queue::Obstacle, storage::Attempt};
use poem_openapi::Object;
use serde_json::Value;

use super::time::Time;

/// One piece of work.
#[derive(Clone, Debug, Object)]
#[oai(rename = "Job")]
pub(crate) struct JobView {
    /// Its number.
    id: i64,
    /// What kind of work it is.
    #[oai(rename = "type")]
    job_type: String,
    /// `uploading`, `pending`, `running`, `completed`, `failed` or `cancelled`.
    status: String,
    /// The status for people, which also knows `scheduled`, `retrying`, `cancelling` and `worker silent`.
    status_label: String,
    /// What it waits for besides its turn, if it waits; `null` if a live worker can run it. Said where one job is asked
    /// for, not in lists.
    waiting_for: Option<WaitingFor>,
    /// From 1 (critical) to 5 (background).
    priority: u8,
    /// The SHA-256 of its source, in hexadecimal.
    source_hash: Option<String>,
    /// The hash was found by reading the whole source.
    source_verified: bool,
    /// What the source is called where it came from; never opened.
    source_path: Option<String>,
    /// What it is called by others who submitted the same work.
    other_paths: Vec<String>,
    /// The size of its source in bytes.
    source_size: Option<u64>,
    /// What its handler is told.
    params: Value,
    /// Words to find it by.
    tags: Vec<String>,
    /// Whatever its submitter wants to find again.
    metadata: Value,
    /// What it asks of its worker's labels.
    requires: Vec<String>,
    /// Who submitted it.
    submitter: Option<String>,
    /// Where in a trace its submission belongs, as the submitter's `traceparent` said.
    traceparent: Option<String>,
    /// Which worker runs it now.
    worker_id: Option<String>,
    /// How often it was claimed.
    attempts: u32,
    /// How many runs failed since it was submitted or last retried by hand.
    failures: u32,
    /// How many workers it lost since it last advanced.
    losses: u32,
    /// At how many failures it fails for good.
    max_attempts: u32,
    /// Why the last run that failed did so.
    last_error: Option<FailureView>,
    /// How far the current or last attempt has come.
    progress: Option<ProgressView>,
    /// What its handler returned.
    result: Option<Value>,
    /// The files it produced.
    outputs: Vec<OutputView>,
    /// The submitter's wish not to run before this time.
    run_at: Option<Time>,
    /// When it may run, while it waits.
    ready_at: Option<Time>,
    /// When it was submitted.
    created_at: Time,
    /// When its current or last attempt began.
    started_at: Option<Time>,
    /// When it ended.
    completed_at: Option<Time>,
    /// When anything about it last changed.
    updated_at: Time,
}

impl JobView {
    pub(crate) fn new(job: Job, now: Timestamp) -> Self {
        let status = job.status();
        let waits = status == blobforge_core::Status::Pending;
        let status_label = job.status_label(now).to_owned();
        let worker_id = job.lease().map(|lease| lease.worker.to_string());
        let source = job.source.as_ref();
        let id = job.id.get();
        Self {
            id,
            status: status.to_string(),
            status_label,
            waiting_for: None,
            worker_id,
            priority: job.priority.into(),
            source_hash: source.and_then(|source| source.sha256).map(|hash| hash.to_string()),
            source_verified: source.is_some_and(|source| source.verified),
            source_size: source.and_then(|source| source.size),
            source_path: job.body.source_path,
            other_paths: job.body.other_paths,
            params: Value::Object(job.body.params),
            tags: job.body.tags,
            metadata: Value::Object(job.body.metadata),
            requires: job.body.requires.iter().map(ToString::to_string).collect(),
            submitter: job.body.submitter,
            traceparent: job.body.traceparent.map(|parent| parent.to_string()),
            attempts: job.life.epoch.get(),
            failures: job.life.failures,
            losses: job.life.losses,
            max_attempts: job.life.max_attempts,
            last_error: job.last_error.map(FailureView::from),
            progress: job.progress.map(ProgressView::from),
            result: job.result,
            outputs: job.outputs.into_iter().map(|output| OutputView::new(id, output)).collect(),
            run_at: job.life.run_at.map(Time),
            ready_at: waits.then_some(Time(job.life.ready_at)),
            created_at: job.created_at.into(),
            started_at: job.started_at.map(Time),
            completed_at: job.ended_at.map(Time),
            updated_at: job.updated_at.into(),
            job_type: job.job_type.into(),
        }
    }
}

impl JobView {
    /// Says what keeps the job from being run.
    pub(super) fn with_obstacle(self, obstacle: Option<Obstacle>) -> Self {
        Self { waiting_for: obstacle.map(WaitingFor::from), ..self }
    }
}

/// What keeps a waiting job from being run, and that somebody has to do something about.
#[derive(Clone, Debug, Object)]
pub(crate) struct WaitingFor {
    /// `type_paused`, `no_worker` (no live one serves its type), `no_able_worker` (none offers what it requires) or
    /// `workers_draining` (each that could is draining).
    code: String,
    /// The same for people, and what to do about it.
    detail: String,
}

impl From<Obstacle> for WaitingFor {
    fn from(obstacle: Obstacle) -> Self {
        Self { code: obstacle.kind().to_owned(), detail: obstacle.to_string() }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, Object)]
#[oai(rename = "Failure")]
pub(crate) struct FailureView {
    /// What kind of failure: what failures are grouped by.
    kind: String,
    /// What happened, for people.
    message: String,
    /// More for whoever investigates.
    #[oai(skip_serializing_if_is_none)]
    details: Option<Value>,
}

impl From<Failure> for FailureView {
    fn from(Failure { kind, message, details, .. }: Failure) -> Self {
        Self { kind, message, details }
    }
}

/// How far an attempt has come.
#[derive(Clone, Debug, Default, Object, serde::Deserialize)]
#[oai(rename = "Progress")]
pub(crate) struct ProgressView {
    /// Steps done, such as pages.
    #[serde(default)]
    #[oai(default)]
    pub(crate) done: u64,
    /// Steps in all, where known.
    pub(crate) total: Option<u64>,
    /// What is being done.
    pub(crate) stage: Option<String>,
    /// A word about it for people.
    pub(crate) message: Option<String>,
}

impl From<Progress> for ProgressView {
    fn from(Progress { done, total, stage, message }: Progress) -> Self {
        Self { done, total, stage, message }
    }
}

impl From<ProgressView> for Progress {
    fn from(ProgressView { done, total, stage, message }: ProgressView) -> Self {
        Self { done, total, stage, message }
    }
}

/// A file that a job produced.
#[derive(Clone, Debug, Object)]
#[oai(rename = "Output")]
pub(crate) struct OutputView {
    /// Its name, a relative path.
    name: String,
    /// Its size in bytes.
    size: u64,
    /// The SHA-256 of its content, in hexadecimal.
    sha256: Option<String>,
    /// Where to get it, relative to the service; it redirects.
    url: String,
}

impl OutputView {
    fn new(job: i64, output: blobforge_core::Output) -> Self {
        let url = format!("/api/jobs/{job}/outputs/{}", path_of(&output.name));
        Self { name: output.name, size: output.size, sha256: output.sha256.map(|hash| hash.to_string()), url }
    }
}

/// The name of an output as a part of an address.
pub(crate) fn path_of(name: &str) -> String {
    name.split('/').map(escaped).collect::<Vec<_>>().join("/")
}

fn escaped(part: &str) -> String {
    percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%2E", ".")
        .replace("%2D", "-")
        .replace("%5F", "_")
}

/// One execution of a job.
#[derive(Clone, Debug, Object)]
#[oai(rename = "Attempt")]
pub(crate) struct AttemptView {
    /// Its number within the job.
    attempt: u32,
    /// Who ran it.
    worker_id: String,
    /// When it began.
    started_at: Time,
    /// When it ended; `null` while it runs.
    ended_at: Option<Time>,
    /// `completed`, `failed`, `released`, `snoozed`, `lost`, `cancelled`, or `voided` by a restore of the service from a backup;
    /// `null` while it runs.
    end: Option<String>,
    /// What went wrong, if something did.
    error: Option<FailureView>,
    /// How far it came.
    progress: Option<ProgressView>,
    /// The machine that it ran on, as far as its worker said so.
    host: Option<String>,
    /// The last lines of the handler's log as far as its worker sent them: while it runs, and afterwards if it failed or
    /// was lost.
    log_tail: Option<String>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        let end = attempt.end.and_then(|end| serde_json::to_value(end).ok());
        Self {
            attempt: attempt.epoch.get(),
            worker_id: attempt.worker.to_string(),
            started_at: attempt.started_at.into(),
            ended_at: attempt.ended_at.map(Time),
            end: end.and_then(|end| end.as_str().map(str::to_owned)),
            error: attempt.failure.map(FailureView::from),
            progress: attempt.progress.map(ProgressView::from),
            host: attempt.host,
            log_tail: attempt.log_tail,
        }
    }
}

/// What the handler of an attempt said last.
#[derive(Clone, Debug, Object)]
#[oai(rename = "Log")]
pub(crate) struct LogView {
    /// The attempt's number within the job; `null` if there was none yet.
    attempt: Option<u32>,
    /// Who runs it, or ran it.
    worker_id: Option<String>,
    /// It runs now: there may be more to come.
    running: bool,
    /// The last lines, at most 16 KiB; `null` if none are kept, as of an attempt that went well.
    log_tail: Option<String>,
}

impl LogView {
    /// Of a job without attempts.
    pub(crate) const NONE: Self = Self { attempt: None, worker_id: None, running: false, log_tail: None };
}

impl From<Attempt> for LogView {
    fn from(attempt: Attempt) -> Self {
        Self {
            attempt: Some(attempt.epoch.get()),
            worker_id: Some(attempt.worker.to_string()),
            running: attempt.end.is_none(),
            log_tail: attempt.log_tail,
        }
    }
}
