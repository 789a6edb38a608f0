//! Jobs that ended elsewhere, before they came here.

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
    /// When it ended.
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
}

impl Past {
    /// The life that a job with this past has.
    pub(crate) fn life(&self, max_attempts: u32) -> Life {
        let phase = match self.end {
            PastEnd::Completed { .. } => Phase::Completed,
            PastEnd::Failed(_) => Phase::Failed,
            PastEnd::Cancelled => Phase::Cancelled,
        };
        Life { phase, failures: self.failures, ..Life::new(false, max_attempts, None, self.ended_at) }
    }
}
