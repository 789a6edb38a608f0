//! What workers say of the attempts whose leases they hold.

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    Checkpoint, Failure, Finished, Invalid, JobId, LeaseToken, Sha256, Status,
    blob::{BlobError, keys},
    storage::{Beat, Command, HeldLease, LeaseState, Report},
};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, param::Path, payload::Json};
use serde::Deserialize;
use serde_json::Value;

use super::{body::Body, job::ProgressView, time::Time};
use crate::{auth::Principal, problem::Problem, service::Shared};

/// The largest report, in bytes: a result of thousands of files has to fit, and the logs of many attempts.
pub(super) const REPORT_BYTES: usize = 8 * 1024 * 1024;
/// The furthest that a job can be snoozed.
const MAX_SNOOZE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

pub(super) struct ReportsApi(pub(super) Arc<Shared>);

/// The work is done.
#[derive(Debug, Object, Deserialize)]
struct CompleteRequest {
    /// The lease of the attempt.
    lease: String,
    /// The files it made, each sent before.
    outputs: Option<Vec<NamedOutput>>,
    /// A small result for programs: at most 64 KiB of JSON; more belongs into an output.
    result: Option<Value>,
}

/// A file that was sent.
#[derive(Debug, Object, Deserialize)]
struct NamedOutput {
    /// Its name.
    name: String,
    /// Its size in bytes; checked if given.
    size: Option<u64>,
    /// The SHA-256 of its content, in hexadecimal.
    sha256: Option<String>,
}

/// The handler failed.
#[derive(Debug, Object, Deserialize)]
struct FailRequest {
    /// The lease of the attempt.
    lease: String,
    /// What happened, for people; cut to 16 KiB.
    error: String,
    /// What kind of failure, in snake_case of at most 64 characters: failures are grouped by it.
    kind: Option<String>,
    /// Whether another run could do better; yes unless said otherwise.
    retryable: Option<bool>,
    /// What did the work was killed, for lack of memory or by the machine: counted as a loss, and not as a failure.
    crashed: Option<bool>,
    /// More for whoever investigates; of more than 64 KiB of JSON the beginning is kept.
    details: Option<Value>,
    /// The last lines of the handler's log, kept with the attempt; of more than 16 KiB the end.
    log_tail: Option<String>,
}

/// The worker stops.
#[derive(Debug, Object, Deserialize)]
struct LeaseRequest {
    /// The lease of the attempt.
    lease: String,
}

/// The handler asks to be called again later.
#[derive(Debug, Object, Deserialize)]
struct SnoozeRequest {
    /// The lease of the attempt.
    lease: String,
    /// When; or say `seconds`.
    until: Option<Time>,
    /// In how many seconds.
    seconds: Option<f64>,
}

/// How far the work is.
#[derive(Debug, Object, Deserialize)]
struct ProgressRequest {
    /// The lease of the attempt; it is renewed.
    lease: String,
    /// How far.
    progress: ProgressView,
}

/// What the handler has said so far.
#[derive(Debug, Object, Deserialize)]
struct LogRequest {
    /// The lease of the attempt; it is renewed.
    lease: String,
    /// The last lines of its log, in place of those sent before, so that to send them twice is harmless; of more than 16
    /// KiB the end is kept.
    log_tail: String,
}

/// A partial result to be kept.
#[derive(Debug, Object, Deserialize)]
struct CheckpointRequest {
    /// The lease of the attempt.
    lease: String,
    /// Its name; it was sent before.
    name: String,
    /// Its size in bytes.
    size: u64,
    /// The SHA-256 of its content, in hexadecimal.
    sha256: String,
}

/// What the source's hash was found to be.
#[derive(Debug, Object, Deserialize)]
struct VerifiedRequest {
    /// The lease of the attempt.
    lease: String,
    /// Its size in bytes, if that was counted.
    size: Option<u64>,
    /// The SHA-256 of the whole source, in hexadecimal.
    sha256: String,
}

/// What became of the job.
#[derive(Debug, Object)]
#[oai(rename = "Finished")]
struct FinishedView {
    /// The job's number.
    job_id: i64,
    /// Where it is now.
    status: String,
    /// Whether it will run again by itself.
    will_retry: bool,
    /// When.
    retry_at: Option<Time>,
}

/// What became of a lease.
#[derive(Debug, Object)]
#[oai(rename = "LeaseState")]
pub(super) struct LeaseStateView {
    /// The job's number.
    pub(super) job_id: i64,
    /// `held`; `lost`: stop, and report nothing; `cancel`: stop, and release it; or `awaited`: another worker waits for such
    /// a job, and this one, which was claimed ahead of time, has not begun: release it.
    pub(super) state: String,
}

/// It is so.
#[derive(Debug, Object)]
pub(super) struct Done {
    /// Always `true`.
    pub(super) ok: bool,
}

pub(super) const DONE: Done = Done { ok: true };

#[OpenApi(tag = "super::openapi::Section::Workers")]
impl ReportsApi {
    /// The work is done; saying it twice is harmless
    #[oai(path = "/jobs/:id/complete", method = "post", operation_id = "complete_job")]
    async fn complete(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        id: Path<i64>,
        body: Body<CompleteRequest, REPORT_BYTES>,
    ) -> Result<Json<FinishedView>, Problem> {
        let (id, token) = self.held(&principal, id.0, &body.0.lease).await?;
        let mut named = Vec::new();
        for output in body.0.outputs.unwrap_or_default() {
            named.push((output.name, output.size, output.sha256.map(|hash| hash.parse()).transpose()?));
        }
        let outputs = self.0.queue.check_outputs(id, token, named).await?;
        self.end(id, token, Report::Complete { outputs, result: body.0.result }).await
    }

    /// The handler failed
    #[oai(path = "/jobs/:id/fail", method = "post", operation_id = "fail_job")]
    async fn fail(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        id: Path<i64>,
        body: Body<FailRequest, REPORT_BYTES>,
    ) -> Result<Json<FinishedView>, Problem> {
        let (id, token) = self.held(&principal, id.0, &body.0.lease).await?;
        let kind = body.0.kind.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "handler_error".to_owned());
        let mut failure = Failure::new(kind, body.0.error);
        failure.details = body.0.details;
        failure.log_tail = body.0.log_tail;
        let ended = if body.0.crashed.unwrap_or(false) {
            self.0.queue.crash(id, token, failure).await?
        } else {
            self.0.queue.fail(id, token, failure, body.0.retryable.unwrap_or(true)).await?
        };
        Ok(Json(finished(id, ended)))
    }

    /// The worker stops; the job keeps its place in line, at no cost
    #[oai(path = "/jobs/:id/release", method = "post", operation_id = "release_job")]
    async fn release(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        id: Path<i64>,
        body: Body<LeaseRequest>,
    ) -> Result<Json<FinishedView>, Problem> {
        let (id, token) = self.held(&principal, id.0, &body.0.lease).await?;
        self.end(id, token, Report::Release).await
    }

    /// The handler asks to be called again later, at no cost
    #[oai(path = "/jobs/:id/snooze", method = "post", operation_id = "snooze_job")]
    async fn snooze(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        id: Path<i64>,
        body: Body<SnoozeRequest>,
    ) -> Result<Json<FinishedView>, Problem> {
        let (id, token) = self.held(&principal, id.0, &body.0.lease).await?;
        let now = self.0.queue.now();
        let until = match (body.0.until, body.0.seconds) {
            (Some(until), None) => until.0,
            (None, Some(seconds)) => {
                let wrong = |_| Invalid::new("seconds", "say in how many seconds, as a number from 0 on");
                now + Duration::try_from_secs_f64(seconds).map_err(wrong)?.min(MAX_SNOOZE)
            }
            _ => return Err(Invalid::new("until", "say either until or seconds").into()),
        };
        if until > now + MAX_SNOOZE {
            return Err(Invalid::new("until", "a job can be snoozed for at most a year").into());
        }
        self.end(id, token, Report::Snooze(until)).await
    }

    /// How far the work is; also renews the lease
    #[oai(path = "/jobs/:id/progress", method = "post", operation_id = "report_progress")]
    async fn progress(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        id: Path<i64>,
        body: Body<ProgressRequest>,
    ) -> Result<Json<LeaseStateView>, Problem> {
        let (job, token) = self.held(&principal, id.0, &body.0.lease).await?;
        self.renew(HeldLease {
            job,
            token,
            progress: Some(body.0.progress.into()),
            log_tail: None,
            ahead: None,
        })
        .await
    }

    /// What the handler has said so far; also renews the lease
    #[oai(path = "/jobs/:id/logs", method = "post", operation_id = "report_log")]
    async fn log(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        id: Path<i64>,
        body: Body<LogRequest>,
    ) -> Result<Json<LeaseStateView>, Problem> {
        let (job, token) = self.held(&principal, id.0, &body.0.lease).await?;
        self.renew(HeldLease { job, token, progress: None, log_tail: Some(body.0.log_tail), ahead: None })
            .await
    }

    /// Keep a partial result that was sent; it survives the attempt
    #[oai(path = "/jobs/:id/checkpoint", method = "post", operation_id = "keep_checkpoint")]
    async fn checkpoint(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        id: Path<i64>,
        body: Body<CheckpointRequest>,
    ) -> Result<Json<Done>, Problem> {
        let (id, token) = self.held(&principal, id.0, &body.0.lease).await?;
        blobforge_core::file_name(&body.0.name)?;
        let sha256: Sha256 = body.0.sha256.parse()?;
        let key = keys::checkpoint(id, &token, &body.0.name);
        let size = self.0.queue.blobs().size(&key).await?;
        match size {
            None => return Err(BlobError::NotFound(body.0.name).into()),
            Some(size) if size != body.0.size => {
                let reason =
                    format!("{:?} has {size} bytes, not {}: send it again", body.0.name, body.0.size);
                return Err(Invalid::new("size", reason).into());
            }
            Some(_) => {}
        }
        let checkpoint = Checkpoint { name: body.0.name, size: body.0.size, sha256, key };
        self.0.queue.run(Command::Checkpoint { job: id, token, checkpoint }).await?;
        Ok(Json(DONE))
    }

    /// Say what the whole source is; another one than announced fails the job, and is asked for again by a retry
    #[oai(path = "/jobs/:id/source-verified", method = "post", operation_id = "source_verified")]
    async fn source_verified(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        id: Path<i64>,
        body: Body<VerifiedRequest>,
    ) -> Result<Json<Done>, Problem> {
        let (id, token) = self.held(&principal, id.0, &body.0.lease).await?;
        let sha256 = body.0.sha256.parse()?;
        let size = body.0.size;
        self.0.queue.run(Command::SourceVerified { job: id, token, size, sha256 }).await?;
        Ok(Json(DONE))
    }
}

impl ReportsApi {
    /// Whose lease a report names, if its sender may speak for it. Whether it is the current one is for the queue to say.
    async fn held(&self, principal: &Principal, id: i64, text: &str) -> Result<(JobId, LeaseToken), Problem> {
        let id = JobId::new(id);
        principal.act_on(&self.0.queue, id).await?;
        Ok((id, lease(text)?))
    }

    /// What a heartbeat says, of one lease.
    async fn renew(&self, held: HeldLease) -> Result<Json<LeaseStateView>, Problem> {
        let job = self.0.queue.job(held.job).await?;
        let lost = || Problem::conflict("lease_lost", "the lease is not the current one");
        let worker = job.lease().map(|lease| lease.worker.clone()).ok_or_else(lost)?;
        let reply = self.0.queue.heartbeat(Beat { worker, leases: vec![held], condition: None }).await?;
        match reply.leases.first() {
            Some((_, LeaseState::Lost)) | None => Err(lost()),
            Some((job, state)) => Ok(Json(lease_state(*job, *state))),
        }
    }

    async fn end(&self, id: JobId, token: LeaseToken, report: Report) -> Result<Json<FinishedView>, Problem> {
        Ok(Json(finished(id, self.0.queue.report(id, token, report).await?)))
    }
}

/// A lease as a request names it.
pub(super) fn lease(text: &str) -> Result<LeaseToken, Problem> {
    Ok(text.parse::<LeaseToken>()?)
}

pub(super) fn lease_state(job: JobId, state: LeaseState) -> LeaseStateView {
    let state = match state {
        LeaseState::Held => "held",
        LeaseState::Lost => "lost",
        LeaseState::Cancel => "cancel",
        LeaseState::Awaited => "awaited",
    };
    LeaseStateView { job_id: job.get(), state: state.to_owned() }
}

fn finished(id: JobId, finished: Finished) -> FinishedView {
    let again = finished.ready_at.filter(|_| !finished.status.is_final());
    FinishedView {
        job_id: id.get(),
        status: finished.status.to_string(),
        will_retry: finished.status == Status::Pending,
        retry_at: again.map(Time),
    }
}
