//! Changing what becomes of a job.

use std::sync::Arc;

use blobforge_core::{JobId, storage::Command};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path},
    payload::Json,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    body::Body,
    job::JobView,
    reports::{DONE, Done},
    submission::priority,
};
use crate::{
    audit::Actor,
    auth::Principal,
    problem::Problem,
    service::{Named, Ran, Shared},
};

pub(super) struct SteeringApi(pub(super) Arc<Shared>);

/// Nothing has to be said.
#[derive(Debug, Default, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryRequest {
    /// Runs it with another priority.
    priority: Option<Value>,
    /// Counters always go back to zero: whatever this says.
    reset_attempts: Option<bool>,
}

/// How urgent a job is to be.
#[derive(Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriorityRequest {
    /// 1 (critical) to 5 (background), by number or name.
    priority: Value,
}

/// Why, for those who want to say.
#[derive(Debug, Default, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[OpenApi(tag = "super::openapi::Section::Jobs")]
impl SteeringApi {
    /// Run a failed or cancelled job again, with its counters at zero
    #[oai(path = "/jobs/:id/retry", method = "post", operation_id = "retry_job")]
    async fn retry(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        id: Path<i64>,
        /// A name for this request, 1 to 255 printable ASCII characters, such as a UUID. Repeated under it within 7 days,
        /// the same request does not run the job once more; another request is answered with 409.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        body: Body<Option<RetryRequest>>,
    ) -> Result<Json<JobView>, Problem> {
        let (id, queue) = (JobId::new(id.0), self.0.queue.clone());
        let Body(request, said) = body;
        let priority = request.unwrap_or_default().priority.map(priority).transpose()?;
        let retry = async move {
            let job = queue.retry(id).await?;
            Ok(match priority {
                Some(priority) => queue.reprioritise(id, priority).await?,
                None => job,
            })
        };
        let route = format!("POST /api/jobs/{id}/retry");
        let named = |key| Named { by: &principal, route: &route, key, said: &said };
        let named = idempotency_key.0.as_deref().map(named);
        let job = match self.0.repeats.once(named, retry, |_| true.into()).await? {
            Ran::Now(job) => job,
            Ran::Before(_) => self.0.queue.job(id).await?,
        };
        Ok(Json(JobView::new(job, self.0.queue.now())))
    }

    /// Call a job off: at once if it waits, with its worker's next heartbeat if it runs
    #[oai(path = "/jobs/:id/cancel", method = "post", operation_id = "cancel_job")]
    async fn cancel(
        &self,
        /// The job's number.
        id: Path<i64>,
        _body: Body<Option<Nothing>>,
    ) -> Result<Json<JobView>, Problem> {
        let job = self.0.queue.cancel(JobId::new(id.0)).await?;
        Ok(Json(JobView::new(job, self.0.queue.now())))
    }

    /// Change how urgent a job is
    #[oai(path = "/jobs/:id/priority", method = "patch", operation_id = "reprioritise_job")]
    async fn reprioritise(
        &self,
        /// The job's number.
        id: Path<i64>,
        body: Body<PriorityRequest>,
    ) -> Result<Json<JobView>, Problem> {
        let job = self.0.queue.reprioritise(JobId::new(id.0), priority(body.0.priority)?).await?;
        Ok(Json(JobView::new(job, self.0.queue.now())))
    }

    /// Forget a job that has ended; its files are deleted some time later, as far as no other job has them
    #[oai(path = "/jobs/:id", method = "delete", operation_id = "delete_job")]
    async fn delete(
        &self,
        actor: Data<&Actor>,
        /// The job's number.
        id: Path<i64>,
    ) -> Result<Json<Done>, Problem> {
        let id = JobId::new(id.0);
        actor.act(&self.0.queue, "job_deleted", id, Command::Delete(id)).await?;
        Ok(Json(DONE))
    }
}
