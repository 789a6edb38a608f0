//! A request that is on its way, and what came of it.

use std::{future::Future, pin::Pin, time::Duration};

use blobforge_core::{
    FinishKind, Finished, Job, JobId, JobType, LeaseToken, Priority, QueueError, TypeSettings, WorkerId,
    queue::BulkOutcome,
    storage::{BeatReply, Claimed, Command, Done, HeldLease, JobFilter, Submitted},
};

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The worker of this index, while it was this process.
    Worker(usize, String),
    Submitter(usize),
    Operator,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// A job with a tag of its own.
    Submit {
        tag: String,
    },
    Claim {
        worker: WorkerId,
        types: Vec<JobType>,
        claim_id: Option<String>,
    },
    Beat {
        leases: Vec<HeldLease>,
    },
    Report {
        job: JobId,
        token: LeaseToken,
        kind: FinishKind,
    },
    Checkpoint {
        job: JobId,
        token: LeaseToken,
    },
    Source {
        job: JobId,
    },
    Cancel(JobId),
    Retry(JobId),
    Reprioritise(JobId, Priority),
    Delete(JobId),
    /// Everything that matches.
    DeleteAll(JobFilter),
    Register {
        worker: WorkerId,
        instance: String,
    },
    Unregister {
        worker: WorkerId,
    },
    Drain {
        worker: WorkerId,
        draining: bool,
    },
    Remove {
        worker: WorkerId,
    },
    Pause {
        job_type: JobType,
        paused: bool,
    },
    SetType {
        job_type: JobType,
        settings: Box<TypeSettings>,
    },
}

impl Asked {
    /// Whether a command of the ledger may be what was asked for.
    pub(crate) fn is(&self, command: &Command) -> bool {
        match (self, command) {
            (Self::Submit { tag }, Command::Submit(submit)) => submit.job.body.tags.contains(tag),
            (Self::Claim { worker, claim_id, .. }, Command::Claim(claim)) => {
                (&claim.worker, &claim.claim_id) == (worker, claim_id)
            }
            (Self::Beat { leases }, Command::Heartbeat(beat)) => beat.leases == *leases,
            (Self::Report { job, token, kind }, Command::Report { job: j, token: t, report }) => {
                job == j && token == t && report.kind() == *kind
            }
            (Self::Checkpoint { job, token }, Command::Checkpoint { job: j, token: t, .. }) => {
                job == j && token == t
            }
            (Self::Source { job }, Command::SourceReady { job: j, .. }) => job == j,
            (Self::Cancel(job), Command::Cancel(j)) => job == j,
            (Self::Retry(job), Command::Retry(j)) => job == j,
            (Self::Delete(job), Command::Delete(j)) => job == j,
            (Self::Reprioritise(job, priority), Command::Reprioritise(j, p)) => (job, priority) == (j, p),
            (Self::Register { worker, instance }, Command::Register { registration, .. }) => {
                registration.id == *worker && registration.instance == *instance
            }
            (Self::Unregister { worker }, Command::Unregister { worker: w, .. })
            | (Self::Remove { worker }, Command::RemoveWorker(w)) => worker == w,
            (Self::Drain { worker, draining }, Command::SetDraining(w, d)) => (worker, draining) == (w, d),
            (Self::Pause { job_type, paused }, Command::SetPaused(t, p)) => (job_type, paused) == (t, p),
            (Self::SetType { job_type, settings }, Command::SetType { job_type: t, settings: s }) => {
                (job_type, settings) == (t, s)
            }
            _ => false,
        }
    }
}

impl Asked {
    /// Whether it waits, or is asked for in several steps.
    pub(crate) fn may_be_unfinished(&self) -> bool {
        match self {
            Self::Claim { .. }
            | Self::Submit { .. }
            | Self::Checkpoint { .. }
            | Self::Source { .. }
            | Self::DeleteAll(_) => true,
            Self::Report { kind, .. } => *kind == FinishKind::Complete,
            _ => false,
        }
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Submitted(Result<Submitted, QueueError>),
    Claimed(Result<Vec<Claimed>, QueueError>),
    Beat(Result<BeatReply, QueueError>),
    Finished(Result<Finished, QueueError>),
    Job(Result<Box<Job>, QueueError>),
    Bulk(Result<BulkOutcome, QueueError>),
    Done(Result<(), QueueError>),
}

impl Answer {
    pub(crate) fn error(&self) -> Option<&QueueError> {
        match self {
            Self::Submitted(result) => result.as_ref().err(),
            Self::Claimed(result) => result.as_ref().err(),
            Self::Beat(result) => result.as_ref().err(),
            Self::Finished(result) => result.as_ref().err(),
            Self::Job(result) => result.as_ref().err(),
            Self::Bulk(result) => result.as_ref().err(),
            Self::Done(result) => result.as_ref().err(),
        }
    }

    /// Whether this is what a caller hears of an outcome that was no refusal.
    pub(crate) fn tells(&self, done: &Done) -> bool {
        match (self, done) {
            (Self::Submitted(Ok(told)), Done::Submitted(submitted)) => told == submitted,
            (Self::Claimed(Ok(told)), Done::Claimed(claimed)) => told == claimed,
            (Self::Beat(Ok(told)), Done::Beat(reply)) => told == reply,
            (Self::Finished(Ok(told)), Done::Finished(finished)) => told == finished,
            (Self::Job(Ok(told)), Done::Job(job)) => told == job,
            (Self::Done(Ok(())), _) => true,
            _ => false,
        }
    }
}

type Waiting = Pin<Box<dyn Future<Output = Answer>>>;

/// A request that has not been answered.
pub(crate) struct Call {
    pub(crate) by: By,
    pub(crate) asked: Asked,
    /// How many changes the ledger had when it began.
    pub(crate) begun: usize,
    /// The uptime then.
    pub(crate) since: Duration,
    /// For a claim: until when it may wait.
    pub(crate) until: Option<Duration>,
    pub(crate) answer: Waiting,
    /// What came at once.
    pub(crate) answered: Option<Answer>,
}
