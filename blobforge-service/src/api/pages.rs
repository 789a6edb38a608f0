//! The few pages that people need before there is more: logging in, and a look at how things are.

use std::sync::Arc;

use blobforge_core::{JobId, storage::JobFilter};
use poem::{
    IntoResponse, Response, Result, handler,
    http::{HeaderValue, StatusCode, header},
    web::{Data, Form, Html, Query},
};
use serde::Deserialize;

use super::job::JobView;
use crate::{
    auth::{TokenText, session_cookie_name, session_secret},
    problem::Problem,
    service::Shared,
    stats,
};

/// What pages may load: their style, and nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// How many jobs the first page shows.
const RECENT: usize = 20;

pub(super) const STYLE: &str = include_str!("pages/style.css");

#[derive(Debug, Deserialize)]
struct LoginQuery {
    link: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LoginForm {
    token: Option<String>,
    link: Option<String>,
}

#[handler]
pub(super) fn login_page(Query(query): Query<LoginQuery>) -> Response {
    login(query.link.as_deref(), None)
}

#[handler]
pub(super) async fn log_in(shared: Data<&Arc<Shared>>, Form(form): Form<LoginForm>) -> Result<Response> {
    let session = match (form.link, form.token.as_deref().map(str::trim).and_then(TokenText::parse)) {
        (Some(link), _) if shared.links.redeem(&link, shared.queue.now()) => {
            shared.accounts.open_admin_session().await
        }
        (Some(_), _) => {
            return Ok(refused(
                "This link was used before, or is older than 15 minutes. Restart the service for a new one, or log in with a token.",
            ));
        }
        (None, Some(token)) => shared.accounts.open_session(&token).await,
        (None, None) => {
            return Ok(refused("This is no token. It begins with bf_ and is 75 characters long."));
        }
    };
    match session.map_err(Problem::from)? {
        Some(secret) => Ok(to("/", &cookie(&shared, &secret, 30 * 24 * 60 * 60))),
        None => Ok(refused("This token is unknown, was revoked, or has expired.")),
    }
}

#[handler]
pub(super) async fn log_out(request: &poem::Request, shared: Data<&Arc<Shared>>) -> Result<Response> {
    if let Some(secret) = session_secret(request.headers(), shared.config.is_https()) {
        shared.accounts.close_session(secret).await.map_err(Problem::from)?;
    }
    Ok(to("/auth/login", &cookie(&shared, "", 0)))
}

fn cookie(shared: &Shared, secret: &str, seconds: u32) -> String {
    let https = shared.config.is_https();
    let secure = if https { "; Secure" } else { "" };
    let name = session_cookie_name(https);
    format!("{name}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

fn to(place: &'static str, cookie: &str) -> Response {
    let reply = Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, place);
    reply.header(header::SET_COOKIE, cookie).finish()
}

fn refused(why: &str) -> Response {
    let mut reply = login(None, Some(why));
    reply.set_status(StatusCode::FORBIDDEN);
    reply
}

fn login(link: Option<&str>, error: Option<&str>) -> Response {
    let error = error
        .map(|text| format!("<p class=\"bad\" role=\"alert\">{}</p>", escaped(text)))
        .unwrap_or_default();
    let field = match link {
        Some(link) => format!("<input type=\"hidden\" name=\"link\" value=\"{}\">", escaped(link)),
        None => "<label for=\"token\">API token</label>\
                 <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required autofocus>\
                 <p class=\"quiet\">The admin token lies in the file <code>admin-token</code> in the service's data folder.</p>"
            .to_owned(),
    };
    page(
        "Log in",
        &format!(
            "<h1>BlobForge login</h1>{error}<form method=\"post\" action=\"/auth/login\">{field}<button>Log in</button></form>"
        ),
    )
}

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
