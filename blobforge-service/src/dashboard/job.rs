//! One job: what it is, what becomes of it, and what it made.

use std::{sync::Arc, time::Duration};

use askama::Template;
use blobforge_core::{
    Job, JobId, Priority, Status, Timestamp,
    blob::Method,
    storage::{Attempt, MAX_EXAMINED},
};
use poem::{
    Response, handler,
    http::{StatusCode, header},
    web::{Data, Path},
};
use poem_openapi::types::ToJSON;

use super::{
    fault::Fault,
    frame::{Frame, Section, Visitor, page as sent},
    jobs::with_tag,
    library::{File, readable},
    shown::{Hash, Progressed, State, When, name},
};
use crate::{
    api::{JobView, source_name},
    problem::Problem,
    service::Shared,
    words,
};

#[derive(Template)]
#[template(path = "job.html")]
struct JobPage {
    frame: Frame,
    id: i64,
    name: String,
    path: Option<String>,
    others: Vec<String>,
    job_type: String,
    state: State,
    priority: &'static str,
    submitter: Option<String>,
    created: When,
    ended: Option<When>,
    source: Option<SourceFacts>,
    tags: Vec<(String, String)>,
    requires: Vec<String>,
    counted: String,
    error: Option<(String, String)>,
    waiting: Option<Waiting>,
    progress: Option<Progressed>,
    checkpoints: Vec<(String, String)>,
    attempts: Vec<AttemptFacts>,
    /// How many there were before those.
    more_attempts: usize,
    outputs: Vec<File>,
    /// The output that can be read on the page.
    readable: Option<File>,
    result: Option<String>,
    json: String,
    can: Can,
}

impl JobPage {
    fn priorities(&self) -> [&'static str; 5] {
        Priority::ALL.map(Priority::name)
    }
}

/// What can be done with a job as it is.
struct Can {
    retry: bool,
    cancel: bool,
    /// Cancelling it can be undone.
    cancel_undone: bool,
    prioritise: bool,
    delete: bool,
}

impl Can {
    fn of(status: Status) -> Self {
        Self {
            retry: matches!(status, Status::Failed | Status::Cancelled),
            cancel: !status.is_final(),
            cancel_undone: status == Status::Pending,
            prioritise: !status.is_final(),
            delete: status.is_final(),
        }
    }
}

/// What is known of a source.
struct SourceFacts {
    hash: Option<Hash>,
    verified: bool,
    size: Option<String>,
    arrived: bool,
}

/// What a job waits for.
struct Waiting {
    /// How many stand before it.
    ahead: Option<String>,
    /// How long that takes, as things went in the last hour.
    about: Option<String>,
    until: Option<When>,
    obstacle: Option<String>,
}

/// One attempt.
struct AttemptFacts {
    number: u32,
    state: State,
    worker: String,
    host: Option<String>,
    started: When,
    took: Option<String>,
    progress: Option<Progressed>,
    error: Option<(String, String)>,
    log: Option<String>,
}

impl AttemptFacts {
    fn new(attempt: Attempt, now: Timestamp) -> Self {
        let took = attempt.ended_at.map(|at| words::span(at.since(attempt.started_at)));
        Self {
            number: attempt.epoch.get(),
            state: State::of_attempt(attempt.end),
            worker: attempt.worker.to_string(),
            host: attempt.host.filter(|host| host != attempt.worker.as_str()),
            started: When::new(attempt.started_at, now),
            took,
            progress: attempt.progress.as_ref().map(Progressed::reached),
            error: attempt.failure.map(|failure| (failure.kind, failure.message)),
            log: attempt.log_tail.filter(|log| !log.is_empty()),
        }
    }
}

/// How many attempts are shown, the last ones: each may have a log.
const ATTEMPTS: usize = 20;

/// Shows a job.
#[handler]
pub(super) async fn page(visitor: Visitor, Path(id): Path<i64>) -> Result<Response, Fault> {
    let queue = &visitor.shared.queue;
    let now = queue.now();
    let job = queue.job(JobId::new(id)).await?;
    let waiting = waiting(&visitor.shared, &job, now).await?;
    let mut attempts: Vec<_> = queue.history(job.id).await?;
    attempts.reverse();
    let more_attempts = attempts.len().saturating_sub(ATTEMPTS);
    attempts.truncate(ATTEMPTS);
    let checkpoints = queue.storage().checkpoints(job.id).await.map_err(blobforge_core::QueueError::from)?;
    let status = job.status();
    let outputs: Vec<_> = job.outputs.iter().map(|output| File::new(job.id, output)).collect();
    // The attempt that ended so says it; a job without one says it itself.
    let told = attempts.iter().any(|attempt| attempt.failure == job.last_error);
    let error = job.last_error.as_ref().filter(|_| status != Status::Completed && !told);
    let pretty = |json: Option<serde_json::Value>| {
        json.and_then(|json| serde_json::to_string_pretty(&json).ok()).unwrap_or_default()
    };
    let (life, body) = (&job.life, &job.body);
    sent(&JobPage {
        frame: visitor.frame(Section::Jobs, format!("{} · job {id}", name(&job))),
        id,
        name: name(&job),
        path: body.source_path.clone(),
        others: body.other_paths.clone(),
        job_type: job.job_type.to_string(),
        state: State::of(&job, now),
        priority: job.priority.name(),
        submitter: body.submitter.clone(),
        created: When::new(job.created_at, now),
        ended: job.ended_at.map(|at| When::new(at, now)),
        source: job.source.as_ref().map(|source| SourceFacts {
            hash: source.sha256.map(Hash::from),
            verified: source.verified,
            size: source.size.map(words::size),
            arrived: source.arrived,
        }),
        tags: body.tags.iter().map(|tag| (tag.clone(), with_tag(tag))).collect(),
        requires: body.requires.iter().map(ToString::to_string).collect(),
        counted: format!(
            "{} of {} failing runs, {} lost workers",
            life.failures, life.max_attempts, life.losses
        ),
        error: error.map(|error| (error.kind.clone(), error.message.clone())),
        waiting,
        progress: Progressed::of(&job, now),
        checkpoints: checkpoints.into_iter().map(|kept| (kept.name, words::size(kept.size))).collect(),
        more_attempts,
        attempts: attempts.into_iter().map(|attempt| AttemptFacts::new(attempt, now)).collect(),
        readable: readable(&job).map(|output| File::new(job.id, output)),
        outputs,
        result: job.result.clone().map(|result| pretty(Some(result))),
        can: Can::of(status),
        json: pretty(JobView::new(job, now).to_json()),
    })
}

/// What a job waits for, if it waits.
async fn waiting(shared: &Shared, job: &Job, now: Timestamp) -> Result<Option<Waiting>, Fault> {
    let queue = &shared.queue;
    if !matches!(job.status(), Status::Pending | Status::Uploading) {
        return Ok(None);
    }
    let ahead = queue.ahead(job.id).await?;
    let pace = shared.metrics.pace().hourly().get(job.job_type.as_str()).copied().unwrap_or(0.0);
    let counted = ahead.filter(|ahead| *ahead < MAX_EXAMINED as u64);
    let about = counted.filter(|_| pace > 0.0).map(|ahead| (ahead + 1) as f64 / pace * 3600.0);
    let said = |ahead| match ahead {
        0 => "next in line".to_owned(),
        ahead if ahead >= MAX_EXAMINED as u64 => format!("more than {} jobs before it", words::number(ahead)),
        1 => "1 job before it".to_owned(),
        ahead => format!("{} jobs before it", words::number(ahead)),
    };
    Ok(Some(Waiting {
        ahead: ahead.map(said),
        about: about.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(words::about),
        until: (job.life.ready_at > now).then(|| When::new(job.life.ready_at, now)),
        obstacle: queue.obstacle(job).await?.map(|obstacle| obstacle.to_string()),
    }))
}

/// Leads to a job's source.
#[handler]
pub(super) async fn source_file(shared: Data<&Arc<Shared>>, Path(id): Path<i64>) -> Result<Response, Fault> {
    let job = shared.queue.job(JobId::new(id)).await?;
    let source = job.source.as_ref().filter(|source| source.arrived);
    let gone = || Problem::not_found("source_not_found", "this job has no source, or it has not arrived yet");
    let key = &source.ok_or_else(gone)?.key;
    let signed = shared.queue.signed_url(Method::Get, key, Some(source_name(&job))).await?;
    let url = signed.ok_or_else(Problem::internal)?.url;
    Ok(Response::builder().status(StatusCode::FOUND).header(header::LOCATION, url).finish())
}
