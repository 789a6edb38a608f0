//! What a worker author writes: a handler, and how it says that it failed.

use std::{any::Any, fmt, future::Future, io, marker::PhantomData, time::Duration};

use async_trait::async_trait;
use blobforge_core::{Failure, Task, broker::BrokerError};
use serde::Serialize;
use serde_json::Value;

use crate::{
    JobContext, Workplace,
    child::{self, ChildError},
};

/// The code that does one type of work.
///
/// A handler may be called for several jobs at once, up to the worker's concurrency, and for the same job again: after
/// a failure, after a crash, and in the rare case that a lease was lost while the work went on. What it does outside
/// the job's own files has to bear being done twice.
///
/// Its parameters can be a type of the program's own, a [`Task`]: ask for it by [`JobContext::task`], or write the handler
/// as a function of it ([`WorkerBuilder::task`](crate::WorkerBuilder::task)).
///
/// A handler that panics has failed, retryably, with the kind `handler_panic`.
#[async_trait]
pub trait Handler: Send + Sync {
    /// The type it serves, such as `"pdf"`.
    fn job_type(&self) -> &str;

    /// Does one job. What it returns is kept as the job's result, so keep it small: files belong into
    /// [`JobContext::output`], and over [`MAX_RESULT_BYTES`](blobforge_core::MAX_RESULT_BYTES) the job fails for good as
    /// `result_too_large`. [`Value::Null`] means that there is nothing to say.
    async fn run(&self, job: &JobContext) -> Result<Value, JobError>;

    /// Gets ready before the first job is claimed, and says what is missing: then the worker does not start.
    ///
    /// # Errors
    /// When it could do no job as things are.
    async fn prepare(&self, _place: &Workplace) -> Result<(), JobError> {
        Ok(())
    }

    /// What stands against claiming a job now, such as a server that does not answer: the worker claims none until it is
    /// gone, and says so to the queue. Asked before the first job and every ten seconds, so it should not take long.
    async fn trouble(&self) -> Option<String> {
        None
    }

    /// Gives back what it holds, when the worker has ended its last job.
    async fn close(&self) {}
}

/// Why a handler did not finish a job.
///
/// Like `anyhow::Error` it is made from any error by `?`: a retryable failure of the kind `handler_error` (`io` for
/// [`io::Error`], and the child's own kind and verdict for [`ChildError`]). Say [`JobError::permanent`] where another
/// run would fail in the same way, [`JobError::loss`] where what did the work was killed, and
/// [`JobError::host_trouble`] where nothing is wrong with the job but with this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct JobError(pub(crate) Verdict);

/// What an error means for the job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The attempt failed.
    Failed { failure: Failure, retryable: bool },
    /// The handler wants to be called again after this long.
    Snoozed(Duration),
    /// What did the work was killed.
    Lost(Failure),
    /// Something is wrong with this machine: no fault of the job, which is given back for free.
    HostTrouble(Failure),
}

impl JobError {
    /// A failure that another run may not have. `kind` is a snake_case word that failures are grouped by.
    pub fn retryable(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Verdict::Failed { failure: Failure::new(kind, message), retryable: true })
    }

    /// A failure that every run would have, such as a file that cannot be read. The job fails for good.
    pub fn permanent(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Verdict::Failed { failure: Failure::new(kind, message), retryable: false })
    }

    /// What did the work was killed, for lack of memory or by somebody else: a loss, which is counted apart from failures.
    /// The next attempt sees it in [`JobContext::losses`] and does well to go by smaller steps. A job that is lost again
    /// and again without advancing a checkpoint fails for good.
    pub fn loss(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Verdict::Lost(Failure::new(kind, message)))
    }

    /// Nothing is wrong with the job but with this machine, such as a full disk. The job is given back for free, and the
    /// worker claims nothing for a while: from half a minute, and longer if it happens again, up to ten minutes.
    pub fn host_trouble(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Verdict::HostTrouble(Failure::new(kind, message)))
    }

    /// What a kind of failure means that a program named.
    pub(crate) fn of_kind(failure: Failure, retryable: Option<bool>) -> Self {
        let policy = child::policy(&failure.kind);
        Self(match policy {
            child::Policy::Loss => Verdict::Lost(failure),
            child::Policy::HostTrouble => Verdict::HostTrouble(failure),
            child::Policy::Permanent | child::Policy::Retry => {
                let retryable = retryable.unwrap_or(policy == child::Policy::Retry);
                Verdict::Failed { failure, retryable }
            }
        })
    }

    /// Not a failure: the job is to be run again after `delay`, and this run costs it nothing.
    pub fn snooze(delay: Duration) -> Self {
        Self(Verdict::Snoozed(delay))
    }

    /// Adds more for whoever investigates; a snooze has nothing to investigate.
    #[must_use]
    pub fn details(mut self, details: impl Into<Value>) -> Self {
        if let Some(failure) = self.failure_mut() {
            failure.details = Some(details.into());
        }
        self
    }

    /// What kind of failure it is; `None` for a snooze.
    pub fn kind(&self) -> Option<&str> {
        self.failure().map(|failure| failure.kind.as_str())
    }

    /// What is said to people.
    pub(crate) fn message(&self) -> String {
        match &self.0 {
            Verdict::Failed { failure, .. } | Verdict::Lost(failure) | Verdict::HostTrouble(failure) => {
                failure.message.clone()
            }
            Verdict::Snoozed(delay) => format!("to be run again in {delay:?}"),
        }
    }

    /// The same as a loss, if it is a failure: what it says happened to the process that did the work.
    pub(crate) fn into_loss(self) -> Self {
        match self.0 {
            Verdict::Failed { failure, .. } | Verdict::HostTrouble(failure) => Self(Verdict::Lost(failure)),
            other => Self(other),
        }
    }

    /// Whether what did the work was killed, or was too much for the machine.
    #[cfg(feature = "marker")]
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self.0, Verdict::Lost(_))
    }

    fn failure(&self) -> Option<&Failure> {
        match &self.0 {
            Verdict::Failed { failure, .. } | Verdict::Lost(failure) | Verdict::HostTrouble(failure) => {
                Some(failure)
            }
            Verdict::Snoozed(_) => None,
        }
    }

    pub(crate) fn failure_mut(&mut self) -> Option<&mut Failure> {
        match &mut self.0 {
            Verdict::Failed { failure, .. } | Verdict::Lost(failure) | Verdict::HostTrouble(failure) => {
                Some(failure)
            }
            Verdict::Snoozed(_) => None,
        }
    }

    /// Whether another run could do better.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.0, Verdict::Failed { retryable: false, .. })
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure() {
            Some(failure) => write!(f, "{}: {}", failure.kind, failure.message),
            None => f.write_str(&self.message()),
        }
    }
}

// Not itself an `Error`: only so can every error become one by `?`.
impl<E: std::error::Error + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        let message = with_causes(&error);
        let any: &dyn Any = &error;
        let of_io = any.downcast_ref::<io::Error>();
        let of_broker = any.downcast_ref::<BrokerError>();
        let local = of_io.or(match of_broker {
            Some(BrokerError::LocalFile(error)) => Some(error),
            _ => None,
        });
        if local.is_some_and(|error| {
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        }) {
            return Self::host_trouble(
                "disk_full",
                format!("{message}. Make room on the disk of the work folder"),
            );
        }
        if of_io.is_some() {
            return Self::retryable("io", message);
        }
        if let Some(child) = any.downcast_ref::<ChildError>() {
            return of_child(child, message);
        }
        if let Some(broker) = of_broker {
            return Self::retryable(broker_kind(broker), message);
        }
        Self::retryable("handler_error", message)
    }
}

/// What a child's end means for its job.
fn of_child(child: &ChildError, message: String) -> JobError {
    let mut failure = Failure::new(child.kind(), message);
    match child {
        ChildError::Failed { retryable, details, .. } => {
            failure.details.clone_from(details);
            JobError::of_kind(failure, *retryable)
        }
        ChildError::Crashed { signal, stderr, .. } => {
            failure.log_tail = (!stderr.is_empty()).then(|| stderr.clone());
            // A program that exits says that something is wrong; one that dies of a signal can say nothing.
            match signal {
                Some(_) => JobError(Verdict::Lost(failure)),
                None => JobError(Verdict::Failed { failure, retryable: true }),
            }
        }
        ChildError::MemoryExceeded { .. } | ChildError::HostOutOfMemory { .. } => {
            JobError(Verdict::Lost(failure))
        }
        ChildError::Spawn(_) | ChildError::NotReady { .. } => JobError(Verdict::HostTrouble(failure)),
        _ => JobError(Verdict::Failed { failure, retryable: child.is_retryable() }),
    }
}

fn broker_kind(error: &BrokerError) -> &'static str {
    match error {
        BrokerError::LeaseLost(_) => "lease_lost",
        BrokerError::Unavailable(_) => "queue_unavailable",
        BrokerError::LocalFile(_) => "io",
        _ => "queue_refused",
    }
}

/// The message of an error and of what caused it, as far as they say different things.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// A handler made of a function; see [`crate::WorkerBuilder::handle`].
pub(crate) struct FnHandler<F, Fut> {
    job_type: String,
    run: F,
    future: PhantomData<fn() -> Fut>,
}

impl<F, Fut> FnHandler<F, Fut> {
    pub(crate) fn new(job_type: impl Into<String>, run: F) -> Self {
        Self { job_type: job_type.into(), run, future: PhantomData }
    }
}

#[async_trait]
impl<F, Fut> Handler for FnHandler<F, Fut>
where
    F: Fn(JobContext) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Value, JobError>> + Send,
{
    fn job_type(&self) -> &str {
        &self.job_type
    }

    async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
        (self.run)(job.clone()).await
    }
}

/// A handler made of a function of a task; see [`crate::WorkerBuilder::task`].
pub(crate) struct TaskHandler<T, F, Fut> {
    run: F,
    future: PhantomData<fn(T) -> Fut>,
}

impl<T, F, Fut> TaskHandler<T, F, Fut> {
    pub(crate) fn new(run: F) -> Self {
        Self { run, future: PhantomData }
    }
}

#[async_trait]
impl<T, F, Fut, R> Handler for TaskHandler<T, F, Fut>
where
    T: Task,
    F: Fn(T, JobContext) -> Fut + Send + Sync,
    Fut: Future<Output = Result<R, JobError>> + Send,
    R: Serialize,
{
    fn job_type(&self) -> &str {
        T::TYPE
    }

    async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
        let running = (self.run)(job.task()?, job.clone());
        let result = running.await?;
        serde_json::to_value(result).map_err(|error| {
            let message = format!("what the handler returned cannot be written as JSON: {error}");
            JobError::permanent("invalid_result", message)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn question_mark<E: std::error::Error + Send + Sync + 'static>(error: E) -> JobError {
        let fails = || -> Result<(), JobError> { Err(error)? };
        fails().unwrap_err()
    }

    #[test]
    fn any_error_becomes_a_retryable_failure() {
        let io = question_mark(io::Error::other("the disk sulks"));
        assert_eq!((io.kind(), io.is_retryable()), (Some("io"), true));
        let other = question_mark("x".parse::<u8>().unwrap_err());
        assert_eq!((other.kind(), other.is_retryable()), (Some("handler_error"), true));
    }

    #[test]
    fn a_childs_verdict_is_kept() {
        let encrypted = ChildError::Failed {
            kind: "encrypted".into(),
            message: "Locked.".into(),
            retryable: Some(false),
            details: None,
        };
        assert_eq!(question_mark(encrypted), JobError::permanent("encrypted", "Locked."));
    }

    #[test]
    fn what_a_child_said_last_goes_with_the_log() {
        let stderr = "no fuel\n".to_owned();
        let crashed = ChildError::Crashed { status: "exit status 3".into(), signal: None, stderr };
        let Verdict::Failed { failure, .. } = question_mark(crashed).0 else { unreachable!() };
        assert_eq!(failure.log_tail.as_deref(), Some("no fuel\n"));
    }
}
