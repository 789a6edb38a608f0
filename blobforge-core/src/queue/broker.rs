//! The queue as its workers see it, without a network between.

use std::path::Path;

use async_trait::async_trait;

use super::{Queue, QueueError};
use crate::{
    Checkpoint, Finished, Output, Registration, WorkerId,
    blob::{ByteStream, Stored, keys, read_file},
    broker::{AssignedSource, Assignment, Broker, BrokerError, Ending, Welcome, Wish},
    queue::UPLOAD_LIMIT,
    storage::{Beat, BeatReply, Claimed, Command, Refusal, Report},
};

#[async_trait]
impl Broker for Queue {
    async fn register(&self, registration: &Registration) -> Result<Welcome, BrokerError> {
        Self::register(self, registration.clone()).await?;
        Ok(Welcome { heartbeat_every: self.settings().heartbeat(), lease: self.settings().lease })
    }

    async fn unregister(&self, worker: &WorkerId, instance: &str) -> Result<(), BrokerError> {
        Ok(Self::unregister(self, worker.clone(), Some(instance.to_owned())).await?)
    }

    async fn claim(&self, wish: &Wish) -> Result<Vec<Assignment>, BrokerError> {
        let claimed = self.claim_wish(wish.clone()).await?;
        let lease = self.settings().lease;
        Ok(claimed.into_iter().map(|claimed| assignment(claimed, lease)).collect())
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatReply, BrokerError> {
        Ok(Self::heartbeat(self, beat).await?)
    }

    async fn finish(&self, assignment: &Assignment, ending: Ending) -> Result<Finished, BrokerError> {
        let (job, token) = (assignment.job, assignment.token);
        let finished = match ending {
            Ending::Complete { outputs, result } => {
                let named = outputs.into_iter().map(|o| (o.name, Some(o.size), o.sha256)).collect();
                let outputs = self.check_outputs(job, token, named).await?;
                self.report(job, token, Report::Complete { outputs, result }).await
            }
            Ending::Fail { failure, retryable } => self.fail(job, token, failure, retryable).await,
            Ending::Crash(failure) => self.crash(job, token, failure).await,
            Ending::Release => self.report(job, token, Report::Release).await,
            Ending::Snooze(delay) => self.report(job, token, Report::Snooze(self.now() + delay)).await,
        };
        Ok(finished?)
    }

    async fn source(&self, assignment: &Assignment) -> Result<ByteStream, BrokerError> {
        let source = assignment.source.as_ref();
        let source =
            source.ok_or_else(|| BrokerError::Refused(format!("job {} has no source", assignment.job)))?;
        Ok(self.blobs().get(&source.location, None).await.map_err(QueueError::from)?)
    }

    async fn source_verified(&self, assignment: &Assignment, read: Stored) -> Result<(), BrokerError> {
        let (job, token) = (assignment.job, assignment.token);
        let (size, sha256) = (Some(read.size), read.sha256);
        self.run(Command::SourceVerified { job, token, size, sha256 }).await?;
        Ok(())
    }

    async fn put_output(
        &self,
        assignment: &Assignment,
        name: &str,
        file: &Path,
    ) -> Result<Output, BrokerError> {
        let key = self.reserve_output(assignment.job, assignment.token, name).await?;
        let Stored { size, sha256 } = put(self, &key, file).await?;
        Ok(Output { name: name.to_owned(), size, sha256: Some(sha256), key })
    }

    async fn put_checkpoint(
        &self,
        assignment: &Assignment,
        name: &str,
        file: &Path,
    ) -> Result<(), BrokerError> {
        let (job, token) = (assignment.job, assignment.token);
        let key = self.reserve_checkpoint(job, token, name).await?;
        let Stored { size, sha256 } = put(self, &key, file).await?;
        let checkpoint =
            Checkpoint { name: name.to_owned(), size, sha256, key: keys::checkpoint(job, &token, name) };
        self.run(Command::Checkpoint { job, token, checkpoint }).await?;
        Ok(())
    }

    async fn checkpoint(&self, _: &Assignment, checkpoint: &Checkpoint) -> Result<ByteStream, BrokerError> {
        Ok(self.blobs().get(&checkpoint.key, None).await.map_err(QueueError::from)?)
    }
}

async fn put(queue: &Queue, key: &str, file: &Path) -> Result<Stored, BrokerError> {
    let content = read_file(file).await?;
    Ok(queue.blobs().put(key, content, UPLOAD_LIMIT).await.map_err(QueueError::from)?)
}

fn assignment(claimed: Claimed, lease: std::time::Duration) -> Assignment {
    // Its type may have a lease time of its own.
    let lease = claimed.job.lease().map_or(lease, |lease| lease.duration);
    let job = claimed.job;
    Assignment {
        job: job.id,
        job_type: job.job_type,
        body: job.body,
        source: job.source.map(|source| AssignedSource {
            location: source.key,
            size: source.size,
            sha256: source.sha256,
            verified: source.verified,
        }),
        failures: job.life.failures,
        losses: job.life.losses,
        max_attempts: job.life.max_attempts,
        token: claimed.token,
        lease,
        expires_at: claimed.expires_at,
        checkpoints: claimed.checkpoints,
        no_progress: claimed.no_progress,
    }
}

impl From<QueueError> for BrokerError {
    fn from(error: QueueError) -> Self {
        let text = error.to_string();
        match error {
            error if error.is_lease_lost() => Self::LeaseLost(text),
            QueueError::Refused(Refusal::WorkerNotRegistered(_)) => Self::NotRegistered(text),
            QueueError::Refused(Refusal::WorkerInUse(_)) => Self::WorkerInUse(text),
            error if error.is_retryable() => Self::Unavailable(text),
            _ => Self::Refused(text),
        }
    }
}
