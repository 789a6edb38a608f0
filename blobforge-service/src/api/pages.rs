//! The few pages that people need before there is more: logging in, and a look at how things are.

mod login;
mod oidc;

use std::sync::Arc;

use blobforge_core::{JobId, storage::JobFilter};
use poem::{
    IntoResponse, Response, Result, handler,
    http::{HeaderValue, header},
    web::{Data, Html},
};

use super::job::JobView;
use crate::{problem::Problem, service::Shared, stats};

pub(super) use login::{log_in, log_out, login_page};
pub(super) use oidc::{begin as oidc_login, finish as oidc_callback};

/// What pages may load: their style, and nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// How many jobs the first page shows.
const RECENT: usize = 20;

pub(super) const STYLE: &str = include_str!("pages/style.css");

#[handler]
pub(super) async fn status_page(shared: Data<&Arc<Shared>>) -> Result<Response> {
    let queue = &shared.queue;
    let stats = stats::read(queue, shared.metrics.pace()).await.map_err(Problem::from)?;
    let jobs = queue.list(&JobFilter::all(RECENT)).await.map_err(Problem::from)?.items;
    let tiles: String = stats.tiles().map(|(name, count)| format!("<li><b>{count}</b> {name}</li>")).concat();
    let now = queue.now();
    let rows: String = jobs.into_iter().map(|job| row(job.id, &JobView::new(job, now))).collect();
    let jobs = if rows.is_empty() {
        "<p>No jobs yet. Hand one in: <code>blobforge submit FILE.pdf</code></p>".to_owned()
    } else {
        format!(
            "<table><thead><tr><th>Job<th>Status<th>Type<th>Source<th>Progress<th>Last error</thead><tbody>{rows}</tbody></table>"
        )
    };
    let body = format!(
        "<header><h1>BlobForge</h1><nav><a href=\"/docs\">API</a>\
         <form method=\"post\" action=\"/auth/logout\"><button>Log out</button></form></nav></header>\
         <ul class=\"tiles\">{tiles}</ul><h2>Newest jobs</h2>{jobs}"
    );
    Ok(page("Jobs", &body))
}

fn row(id: JobId, job: &JobView) -> String {
    let cells = job.cells().map(|cell| format!("<td>{}", escaped(&cell))).concat();
    format!("<tr><td>{id}{cells}")
}

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title} · BlobForge</title>\
         <link rel=\"stylesheet\" href=\"/assets/style.css\"></head><body><main>{body}</main></body></html>"
    );
    let mut reply = Html(html).into_response();
    reply.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    reply
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
