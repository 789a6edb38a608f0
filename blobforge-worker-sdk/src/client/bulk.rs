//! The same for many jobs at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Client, ClientError, JobQuery};

/// What is done to many jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkAction {
    /// Run them again.
    Retry,
    /// Call them off.
    Cancel,
    /// Forget them; takes the scope admin.
    Delete,
}

impl BulkAction {
    fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
        }
    }
}

/// What became of many jobs.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct BulkReply {
    /// How many were selected.
    pub matched: u64,
    /// How many were changed, or would be.
    pub done: u64,
    /// Those that were not, by the code of the refusal.
    pub refused: BTreeMap<String, BulkRefused>,
    #[serde(skip_serializing)]
    next_cursor: Option<String>,
}

/// Jobs to which nothing was done, for the same reason.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BulkRefused {
    /// How many.
    pub jobs: u64,
    /// Some of them, each with its number and why.
    pub examples: Vec<Value>,
}

impl Client {
    /// Does the same to all jobs that match, or asks what that would do. Where a query restricts nothing, the service
    /// refuses.
    ///
    /// # Errors
    /// When the service refuses or stays away. What was changed by then stays so.
    pub async fn bulk(
        &self,
        action: BulkAction,
        query: &JobQuery,
        dry_run: bool,
    ) -> Result<BulkReply, ClientError> {
        let mut all = BulkReply::default();
        let mut body = json!({"action": action.name(), "filter": query.filter(), "dry_run": dry_run});
        loop {
            let some: BulkReply = self.post_once("api/jobs/bulk", &body).await?;
            all.matched += some.matched;
            all.done += some.done;
            for (code, refused) in some.refused {
                let known = all.refused.entry(code).or_insert(BulkRefused { jobs: 0, examples: Vec::new() });
                known.jobs += refused.jobs;
                if known.examples.is_empty() {
                    known.examples = refused.examples;
                }
            }
            match some.next_cursor {
                Some(next) => body["cursor"] = next.into(),
                None => return Ok(all),
            }
        }
    }
}
