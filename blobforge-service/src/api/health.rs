//! Whether the service is well.

use std::sync::Arc;

use blobforge_core::Queue;
use poem::http::StatusCode;
use poem_openapi::{Object, OpenApi, payload::Json};

use crate::{problem::Problem, service::Shared};

/// A key that no file has.
const NO_FILE: &str = "health/nothing";

pub(super) struct HealthApi(pub(super) Arc<Shared>);

/// How the service is.
#[derive(Debug, Object)]
struct Health {
    /// `ok`; `degraded` where jobs and files can be reached, and something else is wrong. Otherwise the reply is a problem.
    status: String,
    /// What that is.
    #[oai(skip_serializing_if_is_none)]
    trouble: Option<String>,
    /// The version of the service.
    version: String,
}

/// Whether the blob store answers.
pub(crate) async fn files_are_reachable(queue: &Queue) -> bool {
    queue.blobs().size(NO_FILE).await.is_ok()
}

fn well(trouble: Option<String>) -> Json<Health> {
    let status = if trouble.is_some() { "degraded" } else { "ok" };
    Json(Health { status: status.to_owned(), trouble, version: env!("CARGO_PKG_VERSION").to_owned() })
}

#[OpenApi(tag = "super::openapi::Section::Service")]
impl HealthApi {
    /// Whether jobs and files can be reached
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn health(&self) -> Result<Json<Health>, Problem> {
        let unwell = |what: &str| {
            let detail = format!("the {what} cannot be reached");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unhealthy", detail)
                .hint("look at the service's log and disk")
        };
        self.0.queue.counts().await.map_err(|_| unwell("database"))?;
        if !files_are_reachable(&self.0.queue).await {
            return Err(unwell("blob store"));
        }
        // The service serves all the same: whoever takes it out of service for this has nothing left.
        Ok(well(self.0.backup.as_ref().and_then(|backup| backup.trouble(self.0.queue.now()))))
    }

    /// Whether the process answers at all
    #[oai(path = "/health/live", method = "get", operation_id = "live")]
    async fn live(&self) -> Json<Health> {
        well(None)
    }
}
