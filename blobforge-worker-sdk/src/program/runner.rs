//! A program that stays and takes one job after the other.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;

use super::{
    Program,
    job_files::{JobFiles, send_outputs},
    warm::{Idle, Left, Warm},
};
use crate::{Handler, JobContext, JobError, Workplace, backoff::Backoff, child::ChildError};

/// The version of docs/runner-protocol.md that a runner has to speak.
pub const PROTOCOL: u64 = 1;

/// One file for runners in Python, for which its standard library is enough.
///
/// ```
/// use blobforge_worker_sdk::program::PYTHON_HELPER;
/// assert!(PYTHON_HELPER.contains("def handler("));
/// ```
pub const PYTHON_HELPER: &str = include_str!("../../python/blobforge_runner.py");

/// How long a runner may show no progress if nobody says otherwise.
const SILENCE: Duration = Duration::from_secs(10 * 60);

/// A handler whose program stays: one process for each job that runs at the same time, started when it is needed and
/// told its jobs as docs/runner-protocol.md says.
///
/// A runner that cannot be started or does not get ready costs no job anything: jobs are given back for free, and the
/// worker claims nothing for a while. One that dies at a job is a loss for it. A job that is called off is called off
/// softly, so that the runner stays warm; one that does not heed it is killed with everything it started.
#[derive(Debug)]
pub struct Runner {
    job_type: String,
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

impl Runner {
    /// Serves a type with a program that stays.
    pub fn new(job_type: impl Into<String>, program: Program) -> Self {
        let program = program.silent_at_most(SILENCE);
        let (idle, restarts) = Default::default();
        Self { job_type: job_type.into(), program, idle, restarts }
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

    /// Has a runner do the job.
    async fn have_done(&self, job: &JobContext, files: &JobFiles) -> Result<Value, JobError> {
        loop {
            let (outcome, left) = self.take(job).await?.work(job, files).await;
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
}

#[async_trait]
impl Handler for Runner {
    fn job_type(&self) -> &str {
        &self.job_type
    }

    /// Starts a first runner: what it lacks is said before a job is claimed.
    async fn prepare(&self, place: &Workplace) -> Result<(), JobError> {
        self.program.check()?;
        let warm = Warm::start(&self.program, place, &Default::default()).await?;
        self.idle().push(Idle::rest(warm));
        Ok(())
    }

    async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
        let files = JobFiles::fetch(job).await?;
        let result = self.have_done(job, &files).await?;
        job.work_done().await;
        send_outputs(job).await?;
        Ok(result)
    }

    async fn close(&self) {
        let idle = mem::take(&mut *self.idle());
        for runner in idle {
            if let Some(warm) = runner.wake().await {
                warm.shut_down().await;
            }
        }
    }
}
