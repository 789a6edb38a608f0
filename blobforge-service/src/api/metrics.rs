//! What is measured, for Prometheus.

use std::sync::Arc;

use poem::{IntoResponse, Response, handler, web::Data};

use crate::{metrics::CONTENT_TYPE, problem::Problem, service::Shared};

/// Everything that is measured.
#[handler]
pub(crate) async fn metrics(shared: Data<&Arc<Shared>>) -> poem::Result<Response> {
    let text = shared
        .metrics
        .text(&shared.queue, shared.streams.open(), shared.backup.as_deref())
        .await
        .map_err(Problem::from)?;
    Ok(text.with_content_type(CONTENT_TYPE).into_response())
}
