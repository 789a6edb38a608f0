//! Jobs that have a past elsewhere, before they came here.

use serde_json::Value;

use crate::{Failure, Life, Output, Phase, Timestamp};

/// What became of a job elsewhere: it is taken in as it is, and not run.
///
/// As in [`NewJob::past`](crate::NewJob::past).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// How it ended.
    pub end: PastEnd,
    /// How many of its runs failed.
    pub failures: u32,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it ended, if it did.
    pub ended_at: Timestamp,
}

/// How a job ended elsewhere.
///
/// As in [`NewJob::past`](crate::NewJob::past).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PastEnd {
    /// It was done.
    Completed {
        /// Its files, as [`Queue::store_past_output`](crate::Queue::store_past_output) stored them.
        outputs: Vec<Output>,
        /// What its handler returned.
        result: Option<Value>,
    },
    /// It failed for good.
    Failed(Failure),
    /// It was called off.
    Cancelled,
    /// It had not ended: it is to be done here, and stands in line since it was submitted.
    ToDo,
}

impl Past {
    /// The life that a job with this past has, in place of the one that it would have without.
    pub(crate) fn life(&self, fresh: &Life) -> Life {
        let phase = match self.end {
            PastEnd::Completed { .. } => Phase::Completed,
            PastEnd::Failed(_) => Phase::Failed,
            PastEnd::Cancelled => Phase::Cancelled,
            PastEnd::ToDo => {
                let has_source = fresh.phase != Phase::Uploading;
                let life = Life::new(has_source, fresh.max_attempts, fresh.run_at, self.created_at);
                return Life { failures: self.failures, ..life };
            }
        };
        Life { phase, failures: self.failures, ..Life::new(false, fresh.max_attempts, None, self.ended_at) }
    }
}
