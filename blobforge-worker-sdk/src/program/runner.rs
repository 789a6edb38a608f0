//! A program that stays and takes one job after the other.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::{
    Program,
    job_files::{JobFiles, send_outputs},
    pool::Pool,
};
use crate::{Handler, JobContext, JobError, Workplace};

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
    runners: Pool,
}

impl Runner {
    /// Serves a type with a program that stays.
    pub fn new(job_type: impl Into<String>, program: Program) -> Self {
        Self { job_type: job_type.into(), runners: Pool::new(program.silent_at_most(SILENCE)) }
    }
}

#[async_trait]
impl Handler for Runner {
    fn job_type(&self) -> &str {
        &self.job_type
    }

    async fn prepare(&self, place: &Workplace) -> Result<(), JobError> {
        self.runners.prepare(place).await
    }

    async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
        let files = JobFiles::fetch(job).await?;
        let result = self.runners.have_done(job, &files, &files.told(job)).await?;
        job.work_done().await;
        send_outputs(job).await?;
        Ok(result)
    }

    async fn close(&self) {
        self.runners.close().await;
    }
}
