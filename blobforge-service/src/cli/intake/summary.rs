//! What became of all files.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use blobforge_core::{JobId, Sha256, Status};
use blobforge_worker_sdk::client::SubmitReply;
use serde::Serialize;

use crate::cli::{
    CliError,
    listing::ListStyle,
    terminal::{Column, table},
};

/// How many files that failed are shown.
const SHOWN: usize = 50;

/// What became of a file.
#[derive(Clone, Debug, Serialize)]
pub(in crate::cli) struct Outcome {
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) sha256: Option<Sha256>,
    #[serde(flatten)]
    pub(in crate::cli) fate: Fate,
    /// Nobody answers.
    #[serde(skip)]
    pub(in crate::cli) away: bool,
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
    /// It had a job.
    Existing { job_id: JobId, status: Status },
    /// It has none.
    Failed { reason: String },
}

impl Outcome {
    pub(in crate::cli) fn failed(path: PathBuf, reason: impl Into<String>) -> Self {
        Self { path, sha256: None, fate: Fate::Failed { reason: reason.into() }, away: false }
    }

    /// Of a file that would be submitted.
    pub(in crate::cli) fn new(path: PathBuf, sha256: Sha256) -> Self {
        let fate = Fate::Submitted { job_id: None, status: None, warning: None };
        Self { path, sha256: Some(sha256), fate, away: false }
    }

    pub(in crate::cli) fn existing(path: PathBuf, sha256: Sha256, job_id: JobId, status: Status) -> Self {
        Self { path, sha256: Some(sha256), fate: Fate::Existing { job_id, status }, away: false }
    }

    pub(in crate::cli) fn of(path: PathBuf, sha256: Sha256, reply: &SubmitReply) -> Self {
        let (job_id, status) = (reply.job_id, reply.status);
        if reply.existing {
            return Self::existing(path, sha256, job_id, status);
        }
        let fate =
            Fate::Submitted { job_id: Some(job_id), status: Some(status), warning: reply.warning.clone() };
        Self { path, sha256: Some(sha256), fate, away: false }
    }
}

/// What became of all of them.
#[derive(Debug, Default)]
pub(in crate::cli) struct Summary {
    submitted: u64,
    existing: BTreeMap<Status, u64>,
    failed: u64,
    /// The first that failed, and why.
    failures: Vec<(PathBuf, String)>,
    warning: Option<String>,
    away: bool,
}

impl Summary {
    /// Counts a file, and tells whoever wants to hear of each.
    pub(in crate::cli) fn add(&mut self, outcome: Outcome, style: ListStyle) -> Result<(), CliError> {
        style.tell(&outcome, |outcome| match &outcome.fate {
            Fate::Submitted { job_id, .. } => job_id.map(|id| id.to_string()),
            Fate::Existing { job_id, .. } => Some(job_id.to_string()),
            Fate::Failed { .. } => None,
        })?;
        self.away |= outcome.away;
        match outcome.fate {
            Fate::Submitted { warning, .. } => {
                self.submitted += 1;
                self.warning = self.warning.take().or(warning);
            }
            Fate::Existing { status, .. } => *self.existing.entry(status).or_insert(0) += 1,
            Fate::Failed { reason } => {
                self.failed += 1;
                if self.failures.len() < SHOWN {
                    self.failures.push((outcome.path, reason));
                }
            }
        }
        Ok(())
    }

    fn in_existing(&self) -> u64 {
        self.existing.values().sum()
    }

    pub(in crate::cli) fn files(&self) -> u64 {
        self.submitted + self.in_existing() + self.failed
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
        if let Some(failed) = self.existing.get(&Status::Failed) {
            tell(format!("note: {failed} of the existing have failed: --retry-failed runs them again"))?;
        }
        if let Some(cancelled) = self.existing.get(&Status::Cancelled) {
            let what =
                "were cancelled, or never arrived: blobforge jobs retry --all --cancelled, then this again";
            tell(format!("note: {cancelled} of the existing {what}"))?;
        }
        let submitted = if dry_run { "to submit" } else { "submitted" };
        tell(format!(
            "{} {submitted}, {} existing, {} failed",
            self.submitted,
            self.in_existing(),
            self.failed
        ))?;
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
