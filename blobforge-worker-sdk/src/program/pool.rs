//! The runners of one program.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;

use super::{
    Program,
    job_files::JobFiles,
    warm::{Idle, Left, Warm},
};
use crate::{JobContext, JobError, Workplace, backoff::Backoff, child::ChildError};

/// Runners are started when they are needed and kept while they are well.
#[derive(Debug)]
pub(crate) struct Pool {
    program: Program,
    /// Those that wait for work: never more than there were jobs at the same time.
    idle: Mutex<Vec<Idle>>,
    restarts: Mutex<Restarts>,
}

/// How runners fared lately.
#[derive(Debug, Default)]
struct Restarts {
    backoff: Backoff,
    /// How long to wait before the next start.
    wait: Duration,
}

impl Pool {
    pub(crate) fn new(program: Program) -> Self {
        let (idle, restarts) = Default::default();
        Self { program, idle, restarts }
    }

    /// Starts a first runner: what it lacks is said before a job is claimed.
    pub(crate) async fn prepare(&self, place: &Workplace) -> Result<(), JobError> {
        self.program.check()?;
        let warm = Warm::start(&self.program, place, &Default::default()).await?;
        self.idle().push(Idle::rest(warm));
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn restarts(&self) -> MutexGuard<'_, Restarts> {
        self.restarts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A runner that waits for work, or a new one.
    async fn take(&self, job: &JobContext) -> Result<Warm, JobError> {
        loop {
            let Some(idle) = self.idle().pop() else { break };
            if let Some(warm) = idle.wake().await {
                return Ok(warm);
            }
        }
        let wait = mem::take(&mut self.restarts().wait);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = job.stopped() => return Err(ChildError::Cancelled.into()),
        }
        let started = Warm::start(&self.program, &job.workplace(), &job.cancelled()).await;
        Ok(started.inspect_err(|error| {
            if !matches!(error, ChildError::Cancelled) {
                self.has_died();
            }
        })?)
    }

    /// Has a runner do what it is told of the job.
    pub(crate) async fn have_done(
        &self,
        job: &JobContext,
        files: &JobFiles,
        told: &Value,
    ) -> Result<Value, JobError> {
        loop {
            let (outcome, left) = self.take(job).await?.work(job, files, told).await;
            match left {
                Left::Warm(warm) => self.put_back(*warm).await,
                Left::Nothing => {
                    files.clear().await?;
                    continue;
                }
                Left::Stopped => {}
                Left::Died => self.has_died(),
            }
            return outcome;
        }
    }

    /// The next runner is started after a pause, which grows as long as runners die.
    fn has_died(&self) {
        let mut restarts = self.restarts();
        restarts.wait = restarts.backoff.next();
    }

    /// Keeps a runner for the next job, unless it is time for a fresh one.
    async fn put_back(&self, warm: Warm) {
        *self.restarts() = Restarts::default();
        if warm.is_worn(self.program.recycling).await {
            tracing::info!("the runner has done its share: the next job gets a fresh one");
            warm.shut_down().await;
        } else {
            self.idle().push(Idle::rest(warm));
        }
    }

    /// Ends those that wait for work.
    pub(crate) async fn close(&self) {
        let idle = mem::take(&mut *self.idle());
        for runner in idle {
            if let Some(warm) = runner.wake().await {
                warm.shut_down().await;
            }
        }
    }
}
