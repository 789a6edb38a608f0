//! What became of all files.

use std::{path::PathBuf, process::ExitCode};

use blobforge_core::{JobId, Sha256, Status};
use blobforge_worker_sdk::client::SubmitReply;
use serde::Serialize;

use super::outage::Answer;
use crate::cli::{
    CliError,
    listing::{ListStyle, as_text},
    terminal::{Column, table},
};

/// How many files that failed are shown.
const SHOWN: usize = 50;
/// How many jobs are named where people are told what to do with them.
const NAMED: usize = 10;

/// What became of a file.
#[derive(Clone, Debug, Serialize)]
pub(in crate::cli) struct Outcome {
    #[serde(serialize_with = "as_text")]
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) sha256: Option<Sha256>,
    #[serde(flatten)]
    pub(in crate::cli) fate: Fate,
    #[serde(skip)]
    pub(in crate::cli) answer: Answer,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(in crate::cli) enum Fate {
    /// It has a job that was not there; in a dry run, it would have.
    Submitted {
        job_id: Option<JobId>,
        status: Option<Status>,
        #[serde(skip)]
        warning: Option<String>,
    },
    /// It had a job; in a dry run, it would have that of another file.
    Existing { job_id: Option<JobId>, status: Option<Status> },
    /// It has none.
    Failed { reason: String },
}

impl Outcome {
    pub(in crate::cli) fn failed(path: PathBuf, reason: impl Into<String>) -> Self {
        let fate = Fate::Failed { reason: reason.into() };
        Self { path, sha256: None, fate, answer: Answer::NotAsked }
    }

    /// Of a file that would be submitted.
    pub(in crate::cli) fn new(path: PathBuf, sha256: Sha256) -> Self {
        let fate = Fate::Submitted { job_id: None, status: None, warning: None };
        Self { path, sha256: Some(sha256), fate, answer: Answer::Given }
    }

    pub(in crate::cli) fn existing(path: PathBuf, sha256: Sha256, job: JobId, status: Status) -> Self {
        let fate = Fate::Existing { job_id: Some(job), status: Some(status) };
        Self { path, sha256: Some(sha256), fate, answer: Answer::Given }
    }

    /// Of a file that would have the job of another one that would be submitted.
    pub(in crate::cli) fn twin(path: PathBuf, sha256: Sha256) -> Self {
        let fate = Fate::Existing { job_id: None, status: None };
        Self { path, sha256: Some(sha256), fate, answer: Answer::Given }
    }

    pub(in crate::cli) fn of(path: PathBuf, sha256: Sha256, reply: &SubmitReply) -> Self {
        let (job_id, status) = (reply.job_id, reply.status);
        if reply.existing {
            return Self::existing(path, sha256, job_id, status);
        }
        let fate =
            Fate::Submitted { job_id: Some(job_id), status: Some(status), warning: reply.warning.clone() };
        Self { path, sha256: Some(sha256), fate, answer: Answer::Given }
    }

    /// Whether its job waits for its file to arrive.
    pub(in crate::cli) fn is_uploading(&self) -> bool {
        matches!(self.fate, Fate::Existing { status: Some(Status::Uploading), .. })
    }

    /// The job that the file has.
    pub(in crate::cli) fn job(&self) -> Option<JobId> {
        match self.fate {
            Fate::Submitted { job_id, .. } | Fate::Existing { job_id, .. } => job_id,
            Fate::Failed { .. } => None,
        }
    }
}

/// What became of all of them.
#[derive(Debug, Default)]
pub(in crate::cli) struct Summary {
    submitted: u64,
    existing: u64,
    existing_failed: u64,
    /// The first of the existing that were cancelled.
    cancelled: Vec<JobId>,
    failed: u64,
    /// The first that failed, and why.
    failures: Vec<(PathBuf, String)>,
    warning: Option<String>,
    away: bool,
}

impl Summary {
    /// Counts a file, and tells whoever wants to hear of each.
    pub(in crate::cli) fn add(&mut self, outcome: Outcome, style: ListStyle) -> Result<(), CliError> {
        style.tell(&outcome, |outcome| outcome.job().map(|id| id.to_string()))?;
        match outcome.fate {
            Fate::Submitted { warning, .. } => {
                self.submitted += 1;
                self.warning = self.warning.take().or(warning);
            }
            Fate::Existing { job_id, status } => {
                self.existing += 1;
                self.existing_failed += u64::from(status == Some(Status::Failed));
                if status == Some(Status::Cancelled) && self.cancelled.len() < NAMED {
                    self.cancelled.extend(job_id);
                }
            }
            Fate::Failed { reason } => {
                self.failed += 1;
                if self.failures.len() < SHOWN {
                    self.failures.push((outcome.path, reason));
                }
            }
        }
        Ok(())
    }

    pub(in crate::cli) fn files(&self) -> u64 {
        self.submitted + self.existing + self.failed
    }

    /// Nobody answers any more, and not all files were tried.
    pub(in crate::cli) fn breaks_off(&mut self) {
        self.away = true;
    }

    /// Prints the whole. Where programs read, people are told beside it.
    pub(in crate::cli) fn print(&self, style: ListStyle, dry_run: bool) -> Result<(), CliError> {
        let tell = |text: String| style.tell_people(text);
        if !self.failures.is_empty() {
            let rows = self.failures.iter().map(|(path, why)| vec![path.display().to_string(), why.clone()]);
            tell(table(&[Column::Text("failed"), Column::Text("why")], rows.collect()))?;
            let more = self.failed - self.failures.len() as u64;
            if more > 0 {
                tell(format!("and {more} more"))?;
            }
        }
        if let Some(warning) = &self.warning {
            tell(format!("note: {warning}"))?;
        }
        if self.existing_failed > 0 {
            let failed = self.existing_failed;
            tell(format!("note: {failed} of the existing have failed: --retry-failed runs them again"))?;
        }
        if !self.cancelled.is_empty() {
            let jobs = self.cancelled.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let what = "existing jobs were cancelled, or their files never arrived";
            tell(format!("note: {what}. Run them with blobforge jobs retry {jobs}, then this again"))?;
        }
        if self.away {
            tell(
                "note: the service does not answer, and not all files were tried: run this again later"
                    .to_owned(),
            )?;
        }
        let submitted = if dry_run { "to submit" } else { "submitted" };
        tell(format!("{} {submitted}, {} existing, {} failed", self.submitted, self.existing, self.failed))?;
        Ok(())
    }

    pub(in crate::cli) fn code(&self) -> ExitCode {
        if self.away {
            CliError::away().code()
        } else if self.failed > 0 {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
