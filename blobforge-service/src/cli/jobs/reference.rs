//! How people name a job: by its number, or by the hash of its source or how that begins.

use std::{fmt, str::FromStr};

use blobforge_core::{HashBeginning, JobId};
use blobforge_worker_sdk::client::{Client, JobView};

use crate::cli::CliError;

/// The digits of a whole hash.
const HASH_DIGITS: usize = 64;

/// A job as somebody names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum JobRef {
    /// By its number.
    Id(JobId),
    /// By its source.
    Source(HashBeginning),
}

impl FromStr for JobRef {
    type Err = String;

    /// All digits and fewer than 64 of them are a number; everything else begins a hash, and has a letter.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() < HASH_DIGITS && text.bytes().all(|digit| digit.is_ascii_digit()) {
            let id = text.parse().map(|id| Self::Id(JobId::new(id)));
            return id.map_err(|_| "a job has a number such as 17".to_owned());
        }
        text.parse().map(Self::Source).map_err(|_| {
            "name a job by its number, or by the SHA-256 of its source: 8 or more of its first digits, with a letter"
                .to_owned()
        })
    }
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Source(beginning) => beginning.fmt(f),
        }
    }
}

impl JobRef {
    /// How the hash of the source begins, if it is named by that.
    pub(in crate::cli) fn source(&self) -> Option<HashBeginning> {
        match self {
            Self::Id(_) => None,
            Self::Source(beginning) => Some(*beginning),
        }
    }

    /// The one job that is meant.
    ///
    /// # Errors
    /// When none has such a source, or several may be meant.
    pub(in crate::cli) async fn find(self, client: &Client) -> Result<JobId, CliError> {
        let beginning = match self {
            Self::Id(id) => return Ok(id),
            Self::Source(beginning) => beginning,
        };
        let jobs = client.look_up(&[beginning], None).await?.pop().unwrap_or_default();
        one_of(&jobs, beginning)
    }
}

fn one_of(jobs: &[JobView], beginning: HashBeginning) -> Result<JobId, CliError> {
    let Some(first) = jobs.first() else {
        return Err(CliError::new(format!("no job has a source whose SHA-256 begins with {beginning}")));
    };
    if jobs.len() == 1 {
        return Ok(first.id);
    }
    if jobs.iter().any(|job| job.source_hash != first.source_hash) {
        let what =
            format!("several files have a SHA-256 that begins with {beginning}: give more of its digits");
        return Err(CliError::new(what));
    }
    let named: Vec<_> =
        jobs.iter().map(|job| format!("{} ({}, {})", job.id, job.job_type, job.status)).collect();
    Err(CliError::new(format!(
        "several jobs have the source {beginning}: name one by its number, of {}",
        named.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_alone_are_a_number_and_a_hash_has_a_letter_or_all_its_digits() {
        let read = |text: &str| text.parse::<JobRef>().map(|job| matches!(job, JobRef::Id(_)));
        assert_eq!(read("17"), Ok(true));
        assert_eq!(read("1234567890"), Ok(true), "a beginning without a letter is a number");
        assert_eq!(read("1234567a"), Ok(false));
        assert_eq!(read(&"1".repeat(64)), Ok(false), "all digits of a hash are one");
        for bad in ["", "abc", "1234567", "abcdefg0", "-1", "99999999999999999999", &"a".repeat(65)] {
            assert_eq!(read(bad).is_err(), bad != "1234567", "{bad}");
        }
    }
}
