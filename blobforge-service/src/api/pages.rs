//! Logging in and out, in a browser.

use std::sync::Arc;

use poem::{
    IntoResponse, Response, Result, handler,
    http::{HeaderValue, StatusCode, header},
    web::{Data, Form, Html, Query},
};
use serde::Deserialize;

use crate::{
    auth::{TokenText, session_cookie_name, session_secret},
    problem::Problem,
    service::Shared,
};

/// What pages may load: their style, and nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
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
            "<h1>BlobForge login</h1>{error}<form method=\"post\" action=\"/auth/login\">{field}<button class=\"main\">Log in</button></form>"
        ),
    )
}

fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title} · BlobForge</title>\
         <link rel=\"stylesheet\" href=\"/assets/style.css\"></head><body><main class=\"alone\">{body}</main></body></html>"
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
