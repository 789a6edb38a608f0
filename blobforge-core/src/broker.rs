//! The worker's view of a queue.
//!
//! A [`Broker`] is what a worker talks to: the embedded [`crate::Queue`], or a remote service through the SDK's client.
//! Both keep the same contract: a report is accepted only under the current lease, repeating it is harmless, and a
//! refusal changes nothing.

use std::{fmt, path::Path, time::Duration};

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    Body, Checkpoint, Failure, Finished, JobId, JobType, LeaseToken, Output, Registration, Sha256, Timestamp,
    WorkerId,
    blob::ByteStream,
    storage::{Beat, BeatReply},
};

/// What a worker talks to. See [the module](self).
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug {
    /// Introduces a worker; repeating it after a restart of the queue is fine.
    async fn register(&self, registration: &Registration) -> Result<Welcome, BrokerError>;

    /// Says good-bye and gives back what is held.
    async fn unregister(&self, worker: &WorkerId, instance: &str) -> Result<(), BrokerError>;

    /// Asks for work and waits for it as the wish says; empty when none came.
    async fn claim(&self, wish: &Wish) -> Result<Vec<Assignment>, BrokerError>;

    /// Renews leases and hears what was asked of them.
    async fn heartbeat(&self, beat: Beat) -> Result<BeatReply, BrokerError>;

    /// Ends an attempt.
    async fn finish(&self, assignment: &Assignment, ending: Ending) -> Result<Finished, BrokerError>;

    /// The job's source as a stream.
    async fn source(&self, assignment: &Assignment) -> Result<ByteStream, BrokerError>;

    /// Says what the hash of the whole source is, once it was read. If it is another one than was announced, the job
    /// fails for good as `source_corrupt`, and the lease is over.
    async fn source_verified(&self, assignment: &Assignment, sha256: Sha256) -> Result<(), BrokerError>;

    /// Sends an output file; it becomes visible when the completion that names it is accepted.
    async fn put_output(
        &self,
        assignment: &Assignment,
        name: &str,
        file: &Path,
    ) -> Result<Output, BrokerError>;

    /// Sends and keeps a partial result; it survives the attempt.
    async fn put_checkpoint(
        &self,
        assignment: &Assignment,
        name: &str,
        file: &Path,
    ) -> Result<(), BrokerError>;

    /// A partial result of an earlier attempt as a stream.
    async fn checkpoint(
        &self,
        assignment: &Assignment,
        checkpoint: &Checkpoint,
    ) -> Result<ByteStream, BrokerError>;
}

/// What a worker is told when it registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// How often to send a heartbeat.
    pub heartbeat_every: Duration,
    /// For how long a lease is good without one.
    pub lease: Duration,
}

/// What work a worker wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who wants it.
    pub worker: WorkerId,
    /// Of which types.
    pub types: Vec<JobType>,
    /// At most this many jobs.
    pub limit: usize,
    /// How long to wait for the first one.
    pub wait: Duration,
    /// A name for this claim of at most 255 printable bytes: repeated, it gets what it got before and still holds,
    /// rather than more.
    pub claim_id: Option<String>,
}

/// A job to be run, and the right to run it.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Which job.
    pub job: JobId,
    /// Of which type.
    pub job_type: JobType,
    /// What the submitter said.
    pub body: Body,
    /// Its source, if it has one.
    pub source: Option<AssignedSource>,
    /// How many runs have failed before.
    pub failures: u32,
    /// At how many it fails for good.
    pub max_attempts: u32,
    /// What to show with every report.
    pub token: LeaseToken,
    /// For how long the lease is good without a heartbeat.
    pub lease: Duration,
    /// Until when it is good, by the queue's clock.
    pub expires_at: Timestamp,
    /// What earlier attempts left to go on from.
    pub checkpoints: Vec<Checkpoint>,
    /// After how long without progress, checkpoint or output the worker stops the attempt; `None` for never.
    pub no_progress: Option<Duration>,
}

/// A source to be read.
#[derive(Clone, Debug)]
pub struct AssignedSource {
    /// Where it is: a key for the embedded queue, a URL for a remote one.
    pub location: String,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its hash.
    pub sha256: Option<Sha256>,
    /// The hash was found by reading the whole file.
    pub verified: bool,
}

/// How a worker ends an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// The work is done.
    Complete {
        /// The files it made, each put before.
        outputs: Vec<Output>,
        /// A small result.
        result: Option<Value>,
    },
    /// The handler failed.
    Fail {
        /// Why.
        failure: Failure,
        /// Whether another run could do better.
        retryable: bool,
    },
    /// The worker stops; the job keeps its place in line.
    Release,
    /// The handler asks to be called again so long after this is accepted.
    Snooze(Duration),
}

/// Why a broker did not do what a worker asked.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The lease is not the current one: stop the work, report nothing more.
    #[error("{0}")]
    LeaseLost(String),
    /// The queue does not know this worker: register again.
    #[error("{0}")]
    NotRegistered(String),
    /// Another live process has this worker's id.
    #[error("{0}")]
    WorkerInUse(String),
    /// The credentials do not allow it.
    #[error("{0}")]
    Unauthorized(String),
    /// The request makes no sense to the queue; repeating it will not help.
    #[error("{0}")]
    Refused(String),
    /// The queue or the way to it is not there now; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// A local file could not be read or written.
    #[error("a local file failed: {0}")]
    LocalFile(#[from] std::io::Error),
}

impl BrokerError {
    /// Whether the same call can succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
