//! The service as its workers see it.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use blobforge_core::{
    Body, Checkpoint, Failure, Finished, JobId, JobType, LeaseToken, Output, Registration, Sha256, Status,
    Timestamp, WorkerId,
    blob::{ByteStream, Stored},
    broker::{AssignedSource, Assignment, Broker, BrokerError, Ending, Welcome, Wish},
    storage::{Beat, BeatReply, LeaseState},
};
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{ANSWER_WITHIN, Client, ClientError, download::Origin, transfer::Sent, upload::Place};
use crate::version;

/// The protocol that this client speaks.
const PROTOCOL: u32 = 1;

#[derive(Deserialize)]
struct Registered {
    heartbeat_interval: f64,
    lease_seconds: f64,
    #[serde(default)]
    server_version: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    claims: Vec<Claim>,
}

#[derive(Deserialize)]
struct Claim {
    job: ClaimedJob,
    lease: String,
    lease_seconds: f64,
    lease_expires_at: Timestamp,
    source_url: Option<String>,
    checkpoints: Vec<ClaimedCheckpoint>,
    /// A service that is older does not say.
    #[serde(default)]
    no_progress_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct ClaimedJob {
    id: JobId,
    #[serde(rename = "type")]
    job_type: JobType,
    failures: u32,
    losses: u32,
    max_attempts: u32,
    source_hash: Option<Sha256>,
    source_size: Option<u64>,
    source_verified: bool,
    #[serde(flatten)]
    body: Body,
}

#[derive(Deserialize)]
struct ClaimedCheckpoint {
    name: String,
    size: u64,
    sha256: Sha256,
    url: String,
}

#[derive(Deserialize)]
struct HeartbeatReply {
    leases: Vec<LeaseReply>,
    drain: bool,
}

#[derive(Deserialize)]
struct LeaseReply {
    job_id: JobId,
    state: LeaseState,
}

#[derive(Deserialize)]
struct FinishedReply {
    status: Status,
    retry_at: Option<Timestamp>,
}

/// A reply that says nothing more than that it is so.
#[derive(Deserialize)]
struct Done {}

impl Claim {
    fn into_assignment(self) -> Result<Assignment, ClientError> {
        let nonsense =
            |what: &str| ClientError::Reply(format!("the service gave out a job with {what} that is none"));
        let token: LeaseToken = self.lease.parse().map_err(|_| nonsense("a lease"))?;
        let ClaimedJob { id, job_type, failures, losses, max_attempts, body, .. } = self.job;
        let source = self.source_url.map(|location| AssignedSource {
            location,
            size: self.job.source_size,
            sha256: self.job.source_hash,
            verified: self.job.source_verified,
        });
        let kept = |kept: ClaimedCheckpoint| Checkpoint {
            name: kept.name,
            size: kept.size,
            sha256: kept.sha256,
            key: kept.url,
        };
        Ok(Assignment {
            job: id,
            job_type,
            body,
            source,
            failures,
            losses,
            max_attempts,
            token,
            lease: seconds(self.lease_seconds).ok_or_else(|| nonsense("a lease time"))?,
            expires_at: self.lease_expires_at,
            checkpoints: self.checkpoints.into_iter().map(kept).collect(),
            no_progress: self.no_progress_seconds.and_then(seconds),
        })
    }
}

fn failed(lease: &str, failure: &Failure) -> Value {
    json!({
        "lease": lease,
        "error": failure.message,
        "kind": failure.kind,
        "details": failure.details,
        "log_tail": failure.log_tail,
    })
}

fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok().filter(|time| !time.is_zero())
}

#[async_trait]
impl Broker for Client {
    async fn register(&self, registration: &Registration) -> Result<Welcome, BrokerError> {
        let mut body =
            serde_json::to_value(registration).map_err(|error| BrokerError::Refused(error.to_string()))?;
        body["protocol"] = PROTOCOL.into();
        let reply: Registered = self.post("api/workers/register", &body).await?;
        let (every, lease) = (seconds(reply.heartbeat_interval), seconds(reply.lease_seconds));
        let (Some(heartbeat_every), Some(lease)) = (every, lease) else {
            return Err(BrokerError::Refused(
                "the service names a lease or heartbeat time that is none".to_owned(),
            ));
        };
        if let Some(said) =
            reply.server_version.and_then(|theirs| version::version_difference(version::VERSION, &theirs))
        {
            tracing::warn!(
                "this worker is {said}. Both work together; what only the newer one can do is not done"
            );
        }
        Ok(Welcome { heartbeat_every, lease })
    }

    async fn unregister(&self, worker: &WorkerId, instance: &str) -> Result<(), BrokerError> {
        let path = format!("api/workers/{worker}/unregister");
        let Done {} = self.post(&path, &json!({"instance": instance})).await?;
        Ok(())
    }

    async fn claim(&self, wish: &Wish) -> Result<Vec<Assignment>, BrokerError> {
        let limit = wish.limit.max(1);
        let body = json!({
            "worker_id": wish.worker,
            "types": wish.types,
            "limit": limit,
            "wait_seconds": wish.wait.as_secs_f64(),
            "claim_id": wish.claim_id,
        });
        let request =
            self.request(Method::POST, "api/jobs/claim")?.timeout(wish.wait + ANSWER_WITHIN).json(&body);
        let claims = if limit > 1 {
            self.read::<Claims>(request).await?.claims
        } else {
            let reply: Value = self.read(request).await?;
            claimed_alone(reply)?
        };
        Ok(claims.into_iter().map(Claim::into_assignment).collect::<Result<_, _>>()?)
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatReply, BrokerError> {
        let held = beat.leases.iter().map(|held| {
            let lease = held.token.to_string();
            json!({"job_id": held.job, "lease": lease, "progress": held.progress, "log_tail": held.log_tail, "ahead": held.ahead})
        });
        let body = json!({"leases": held.collect::<Vec<_>>(), "condition": beat.condition});
        let reply: HeartbeatReply =
            self.post(&format!("api/workers/{}/heartbeat", beat.worker), &body).await?;
        let leases = reply.leases.into_iter().map(|lease| (lease.job_id, lease.state)).collect();
        Ok(BeatReply { leases, draining: reply.drain })
    }

    async fn finish(&self, assignment: &Assignment, ending: Ending) -> Result<Finished, BrokerError> {
        let lease = assignment.token.to_string();
        let (verb, body) = match &ending {
            Ending::Complete { outputs, result } => {
                let named = |o: &Output| json!({"name": o.name, "size": o.size, "sha256": o.sha256});
                let outputs: Vec<_> = outputs.iter().map(named).collect();
                ("complete", json!({"lease": lease, "outputs": outputs, "result": result}))
            }
            Ending::Fail { failure, retryable } => {
                let mut body = failed(&lease, failure);
                body["retryable"] = (*retryable).into();
                ("fail", body)
            }
            Ending::Crash(failure) => {
                let mut body = failed(&lease, failure);
                body["crashed"] = true.into();
                ("fail", body)
            }
            Ending::Release => ("release", json!({"lease": lease})),
            Ending::Snooze(delay) => ("snooze", json!({"lease": lease, "seconds": delay.as_secs_f64()})),
        };
        let path = format!("api/jobs/{}/{verb}", assignment.job);
        let reply: FinishedReply = self.report(assignment, &path, &body).await?;
        Ok(Finished { status: reply.status, ready_at: reply.retry_at })
    }

    async fn source(&self, assignment: &Assignment) -> Result<ByteStream, BrokerError> {
        let source = assignment.source.as_ref();
        let source =
            source.ok_or_else(|| BrokerError::Refused(format!("job {} has no source", assignment.job)))?;
        Ok(self.fetch_whole(Origin::of_attempt(assignment, "source", ""), Some(&source.location)).await?)
    }

    async fn source_verified(&self, assignment: &Assignment, read: Stored) -> Result<(), BrokerError> {
        let lease = assignment.token.to_string();
        let body = json!({"lease": lease, "size": read.size, "sha256": read.sha256});
        let path = format!("api/jobs/{}/source-verified", assignment.job);
        let Done {} = self.report(assignment, &path, &body).await?;
        Ok(())
    }

    async fn put_output(
        &self,
        assignment: &Assignment,
        name: &str,
        file: &Path,
    ) -> Result<Output, BrokerError> {
        let sent = self.send_to_place(assignment, name, "output", file).await?;
        Ok(Output { name: name.to_owned(), size: sent.size, sha256: Some(sent.sha256), key: String::new() })
    }

    async fn put_checkpoint(
        &self,
        assignment: &Assignment,
        name: &str,
        file: &Path,
    ) -> Result<(), BrokerError> {
        let sent = self.send_to_place(assignment, name, "checkpoint", file).await?;
        let body = json!({
            "lease": assignment.token.to_string(),
            "name": name,
            "size": sent.size,
            "sha256": sent.sha256,
        });
        let path = format!("api/jobs/{}/checkpoint", assignment.job);
        let Done {} = self.report(assignment, &path, &body).await?;
        Ok(())
    }

    async fn checkpoint(
        &self,
        assignment: &Assignment,
        checkpoint: &Checkpoint,
    ) -> Result<ByteStream, BrokerError> {
        let origin = Origin::of_attempt(assignment, "checkpoint", &checkpoint.name);
        Ok(self.fetch_whole(origin, Some(&checkpoint.key)).await?)
    }
}

/// A request for a job, in the trace that the job belongs to.
pub(super) fn traced(request: RequestBuilder, assignment: &Assignment) -> RequestBuilder {
    match assignment.body.traceparent {
        Some(parent) => request.header("traceparent", parent.to_string()),
        None => request,
    }
}

impl Client {
    /// Says something about an attempt.
    pub(super) async fn report<T: DeserializeOwned>(
        &self,
        assignment: &Assignment,
        path: &str,
        body: &Value,
    ) -> Result<T, ClientError> {
        self.read(traced(self.request(Method::POST, path)?, assignment).json(body)).await
    }

    /// Sends a file of an attempt to where the service wants it.
    async fn send_to_place(
        &self,
        assignment: &Assignment,
        name: &str,
        kind: &str,
        file: &Path,
    ) -> Result<Sent, ClientError> {
        let size = tokio::fs::metadata(file).await.map_err(|error| ClientError::file(file, error))?.len();
        let place = Place::OfAttempt { assignment, name, kind, size };
        self.send_as_told(None, place, file, Arc::new(|_| {})).await
    }
}

/// The reply to a claim of one job: the claim itself, or nothing.
fn claimed_alone(reply: Value) -> Result<Vec<Claim>, ClientError> {
    if reply.get("job").is_none_or(Value::is_null) {
        return Ok(Vec::new());
    }
    let claim = serde_json::from_value(reply);
    let claim = claim.map_err(|error| {
        ClientError::Reply(format!("the service gave out a job that makes no sense: {error}"))
    })?;
    Ok(vec![claim])
}
