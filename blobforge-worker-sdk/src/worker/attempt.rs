//! One attempt at a job: its handler is run, watched and, when need be, stopped; then its end is reported.

use std::{path::PathBuf, sync::Arc, time::Duration};

use blobforge_core::{
    Failure, Status,
    broker::{Assignment, Broker, BrokerError, Ending},
    check_failure_kind, check_result,
};
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    task::{AbortHandle, JoinError, JoinHandle},
    time::{Instant, timeout},
};

use tracing::Instrument;

use super::{Held, Settings, Shutdown, Slot, link::Link};
use crate::{Handler, JobContext, JobError, StopReason, backoff::Backoff, handler::Verdict};

/// How long a result is offered to a queue that is away, once its lease has run out: nobody may have taken the job.
const OFFER_FOR: Duration = Duration::from_secs(60 * 60);

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Completed,
    Failed,
    Snoozed,
    Released,
    Cancelled,
    Lost,
}

/// See [the module](self).
pub(super) struct Attempt {
    pub(super) assignment: Assignment,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) held: Arc<Held>,
    pub(super) settings: Settings,
    pub(super) shutdown: Shutdown,
    pub(super) link: Arc<Link>,
    pub(super) slot: Slot,
    /// Where its place comes from, if it was claimed ahead of time.
    pub(super) place: Option<oneshot::Receiver<OwnedSemaphorePermit>>,
}

impl Attempt {
    /// Runs the handler in `folder` and reports how it ended.
    pub(super) async fn run(mut self, folder: PathBuf) -> Fate {
        let (assignment, broker, held) = (self.assignment.clone(), self.broker.clone(), self.held.clone());
        let job = JobContext::new(assignment, broker, held, folder, self.slot.clone());
        if let Some(place) = self.place.take()
            && !self.wait_for_a_place(&job, place).await
        {
            return match job.stop_reason() {
                Some(StopReason::LeaseLost) => Fate::Lost,
                _ => self.give_back().await,
            };
        }
        tracing::info!("started");
        let run = self.supervise(&job).await;
        if let Some(Err(JobError(Verdict::HostTrouble(failure)))) = &run {
            self.link.standing.fall_ill(failure);
        }
        match self.ending(&job, run) {
            Some(ending) => {
                let fate = self.report(ending).await;
                if fate == Fate::Completed {
                    self.link.standing.is_well();
                }
                fate
            }
            None => {
                tracing::warn!("the lease is lost: whatever the handler made is of no use any more");
                Fate::Lost
            }
        }
    }

    /// Fetches the source while the job before is being done, and waits for its place. Whether it got one.
    async fn wait_for_a_place(
        &self,
        job: &JobContext,
        place: oneshot::Receiver<OwnedSemaphorePermit>,
    ) -> bool {
        tracing::info!("fetched ahead of time");
        let fetched = async {
            // Whatever went wrong goes wrong again when the handler asks for the source, and is reported then.
            if job.has_source()
                && let Err(error) = job.source_file().await
            {
                tracing::warn!(%error, "the source could not be fetched ahead of time");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            _ = job.stopped() => false,
            () = self.held.distrusted() => {
                self.held.stop.set(StopReason::LeaseLost);
                false
            }
            place = place => {
                let got = place.is_ok();
                if let Ok(place) = place {
                    self.slot.take(place);
                    self.held.begin();
                }
                got
            }
            () = fetched => false,
        }
    }

    /// Ends an attempt that could not begin.
    pub(super) async fn fail(self, failure: JobError) -> Fate {
        self.report(verdict(failure.0)).await
    }

    /// Ends an attempt that is not to begin.
    pub(super) async fn give_back(self) -> Fate {
        self.report(Ending::Release).await
    }

    /// Runs the handler to its end, or stops it when that is asked for; what it returned, if it did.
    async fn supervise(&self, job: &JobContext) -> Option<Result<Value, JobError>> {
        let (handler, context) = (self.handler.clone(), job.clone());
        // A task of its own: a panic ends there, and a handler that blocks does not stop the watch over its lease.
        let mut handle = tokio::spawn(async move { handler.run(&context).await }.in_current_span());
        let _guard = AbortOnDrop(handle.abort_handle());
        tokio::select! {
            // A result that is there is not thrown away for a stop that comes at the same time.
            biased;
            returned = &mut handle => return Some(returned_by(returned)),
            _ = job.stopped() => {}
            () = self.held.distrusted() => {
                tracing::warn!("the queue was out of reach until the lease ran out: stopping the handler");
                self.held.stop.set(StopReason::LeaseLost);
            }
            () = self.held.silent(self.assignment.no_progress) => {
                tracing::warn!("nothing was heard of the handler for too long: stopping it");
                self.held.stop.set(StopReason::NoProgress);
            }
        }
        self.stop(handle).await
    }

    /// Gives a handler that was told to stop some time to do so, then drops it.
    async fn stop(&self, mut handle: JoinHandle<Result<Value, JobError>>) -> Option<Result<Value, JobError>> {
        let patience = async {
            tokio::select! {
                () = tokio::time::sleep(self.settings.stop_grace) => {}
                () = self.shutdown.hurried() => {}
            }
        };
        tokio::select! {
            biased;
            returned = &mut handle => return Some(returned_by(returned)),
            () = patience => {}
        }
        tracing::warn!("the handler did not stop when it was told to: it is dropped");
        handle.abort();
        if timeout(Duration::from_secs(1), &mut handle).await.is_err() {
            tracing::error!(
                "the handler blocks its thread and cannot be dropped: only ending this process ends it"
            );
        }
        None
    }

    /// What is to be reported; nothing under a lease that is lost.
    fn ending(&self, job: &JobContext, run: Option<Result<Value, JobError>>) -> Option<Ending> {
        match (run, job.stop_reason()) {
            (_, Some(StopReason::LeaseLost)) => None,
            (Some(Ok(result)), _) => {
                if let Err(invalid) = check_result(&result) {
                    // The next run would only make the same again.
                    let error = JobError::permanent("result_too_large", invalid.to_string());
                    return Some(verdict(with_log(error, job.log_tail())));
                }
                let result = (!result.is_null()).then_some(result);
                Some(Ending::Complete { outputs: job.outputs(), result })
            }
            // Whatever a handler says that was told to stop: it is because it was told to.
            (_, Some(StopReason::Cancelled | StopReason::Shutdown | StopReason::Suspended)) => {
                Some(Ending::Release)
            }
            (_, Some(StopReason::NoProgress)) => Some(verdict(with_log(self.silence(), job.log_tail()))),
            (Some(Err(error)), None) => Some(verdict(with_log(error, job.log_tail()))),
            // Dropped, though nothing was wrong: the handler fired its own token and then did not end.
            (None, None) => Some(Ending::Release),
        }
    }

    fn silence(&self) -> JobError {
        let limit = self.assignment.no_progress.unwrap_or_default();
        let message = format!(
            "the handler reported no progress, checkpoint or output for {limit:?}: it was stopped. If it works so long in silence, raise no_progress of the type {}",
            self.assignment.job_type
        );
        JobError::retryable("no_progress", message)
    }

    /// Reports how the attempt ended, as often as it takes. Repeating it is harmless.
    async fn report(&self, mut ending: Ending) -> Fate {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.broker.finish(&self.assignment, ending.clone()).await {
                Ok(finished) => return fate(&ending, finished.status),
                Err(error) => error,
            };
            match error {
                BrokerError::LeaseLost(reason) => {
                    tracing::warn!(reason, "the lease is lost: the report was refused");
                    return Fate::Lost;
                }
                error if error.is_retryable() => {
                    let wait = backoff.next();
                    tracing::warn!(%error, "cannot report how the job ended; trying again in {wait:.1?}");
                    if !self.may_wait(wait).await {
                        tracing::error!("giving up: the job will run again when its lease has run out");
                        return Fate::Lost;
                    }
                }
                error => match refused(&ending, &error) {
                    Some(instead) => ending = instead,
                    None => {
                        tracing::error!(%error, "the queue does not take the report");
                        return Fate::Lost;
                    }
                },
            }
        }
    }

    /// Waits before another try, unless it is too late for one.
    async fn may_wait(&self, wait: Duration) -> bool {
        if Instant::now() > self.held.trusted_until() + OFFER_FOR {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = self.shutdown.hurried() => false,
            () = after_grace(&self.shutdown, self.settings.grace + self.settings.stop_grace) => false,
        }
    }
}

async fn after_grace(shutdown: &Shutdown, grace: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(grace).await;
}

/// What a handler's task came to.
fn returned_by(returned: Result<Result<Value, JobError>, JoinError>) -> Result<Value, JobError> {
    let error = match returned {
        Ok(result) => return result,
        Err(error) => error,
    };
    let Ok(panic) = error.try_into_panic() else {
        return Err(JobError::retryable("handler_error", "the handler's task was cancelled"));
    };
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
    let message = format!("the handler panicked: {}", said.as_deref().unwrap_or("without a message"));
    tracing::error!("{message}");
    Err(JobError::retryable("handler_panic", message))
}

/// How an error ends the attempt.
fn verdict(verdict: Verdict) -> Ending {
    match verdict {
        Verdict::Failed { failure, retryable } => {
            Ending::Fail { failure: with_good_kind(failure), retryable }
        }
        Verdict::Snoozed(delay) => Ending::Snooze(delay),
        Verdict::Lost(failure) => Ending::Crash(with_good_kind(failure)),
        Verdict::HostTrouble(_) => Ending::Release,
    }
}

/// What to report instead of a completion that the queue cannot take.
fn refused(ending: &Ending, error: &BrokerError) -> Option<Ending> {
    let (Ending::Complete { .. }, BrokerError::Refused(reason)) = (ending, error) else { return None };
    tracing::error!(reason, "the queue does not take the result");
    let message = format!("the result was not taken: {reason}");
    Some(Ending::Fail { failure: Failure::new("result_refused", message), retryable: true })
}

/// Adds the last log lines to a failure, before what a child said last.
fn with_log(mut error: JobError, log: Option<String>) -> Verdict {
    if let (Some(failure), Some(log)) = (error.failure_mut(), log) {
        failure.log_tail = Some(match failure.log_tail.take() {
            Some(said) => format!("{log}\n{said}"),
            None => log,
        });
    }
    error.0
}

/// A failure that the queue takes: the kind that a handler or its child said may be none.
fn with_good_kind(mut failure: Failure) -> Failure {
    if check_failure_kind(&failure.kind).is_err() {
        failure.message = format!("{}: {}", failure.kind, failure.message);
        "handler_error".clone_into(&mut failure.kind);
    }
    failure
}

fn fate(ending: &Ending, status: Status) -> Fate {
    let fate = match (ending, status) {
        (Ending::Complete { .. }, _) => Fate::Completed,
        (_, Status::Cancelled) => Fate::Cancelled,
        (Ending::Fail { .. } | Ending::Crash(_), _) => Fate::Failed,
        (Ending::Release, _) => Fate::Released,
        (Ending::Snooze(_), _) => Fate::Snoozed,
    };
    match ending {
        Ending::Fail { failure, .. } | Ending::Crash(failure) => {
            tracing::warn!(kind = failure.kind, %status, "failed: {}", failure.message);
        }
        _ => tracing::info!(%status, "{fate:?}"),
    }
    fate
}

/// Ends a task when its supervisor is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
