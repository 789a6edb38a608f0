//! What goes wrong, told once for each kind of failure.

use std::sync::Arc;

use blobforge_core::FailureGroup;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use super::{paging::page_limit, time::Time, types::job_type};
use crate::{problem::Problem, service::Shared};

/// How many groups are listed unless the request says otherwise.
const USUAL_LIMIT: usize = 100;

pub(super) struct FailuresApi(pub(super) Arc<Shared>);

/// Failures of one type that are of the same kind and say the same, but for numbers and names.
#[derive(Debug, Object)]
#[oai(rename = "FailureGroup")]
struct FailureGroupView {
    /// Its number: give it as `failure_group` to list its jobs, or to retry all of them.
    id: i64,
    /// Of which type.
    #[oai(rename = "type")]
    job_type: String,
    /// Of which kind.
    kind: String,
    /// What they say; numbers, names and paths are replaced by placeholders such as `<n>`.
    message: String,
    /// How many jobs are failed for this now.
    jobs: u64,
    /// How many attempts ever failed for this.
    failures: u64,
    /// When this was first met.
    first_seen: Time,
    /// When this was last met.
    last_seen: Time,
}

impl From<FailureGroup> for FailureGroupView {
    fn from(group: FailureGroup) -> Self {
        let FailureGroup { id, job_type, kind, message, jobs, failures, first_seen, last_seen } = group;
        Self {
            id: id.get(),
            job_type: job_type.into(),
            kind,
            message,
            jobs,
            failures,
            first_seen: first_seen.into(),
            last_seen: last_seen.into(),
        }
    }
}

#[OpenApi(tag = "super::openapi::Section::Jobs")]
impl FailuresApi {
    /// List what goes wrong, what most jobs are failed for first
    ///
    /// To run the jobs of a group again: `POST /api/jobs/bulk` with the action `retry` and the filter `failure_group`.
    #[oai(path = "/failures", method = "get", operation_id = "list_failures")]
    async fn list(
        &self,
        /// Only failures of this type.
        #[oai(name = "type")]
        of_type: Query<Option<String>>,
        /// At most this many, 1 to 1,000.
        limit: Query<Option<usize>>,
    ) -> Result<Json<Vec<FailureGroupView>>, Problem> {
        let limit = page_limit(limit.0, USUAL_LIMIT)?;
        let of_type = of_type.0.map(|name| job_type(&name)).transpose()?;
        let groups = self.0.queue.failure_groups(of_type.as_ref(), limit).await?;
        Ok(Json(groups.into_iter().map(FailureGroupView::from).collect()))
    }
}
