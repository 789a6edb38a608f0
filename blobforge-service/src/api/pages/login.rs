//! Logging in with a token or a link, and logging out.

use std::sync::Arc;

use poem::{
    Request, Response, Result, handler,
    http::{HeaderName, HeaderValue, StatusCode, header},
    web::{Data, Form, Query},
};
use serde::Deserialize;

use super::{escaped, page};
use crate::{
    auth::{
        Closed, Cookie, LOGIN, OIDC_LOGIN, Oidc, SESSION_LIFETIME, TokenText, client_address, leading_back,
        local_path, session_secret,
    },
    problem::Problem,
    service::Shared,
};

/// Sends a browser elsewhere once it has shown a page. A redirect after a form would be stopped by the page's own policy
/// when it leads to another site.
const REFRESH: HeaderName = HeaderName::from_static("refresh");

#[derive(Debug, Deserialize)]
struct LoginQuery {
    link: Option<String>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LoginForm {
    token: Option<String>,
    link: Option<String>,
    next: Option<String>,
}

/// What the page for logging in shows.
#[derive(Debug, Default)]
pub(super) struct LoginPage<'a> {
    /// The code of a login link.
    pub(super) link: Option<&'a str>,
    /// Where to go afterwards.
    pub(super) next: Option<&'a str>,
    /// Why it did not work, and what to do.
    pub(super) error: Option<&'a str>,
}

#[handler]
pub(in crate::api) fn login_page(shared: Data<&Arc<Shared>>, Query(query): Query<LoginQuery>) -> Response {
    let LoginQuery { link, next } = &query;
    LoginPage { link: link.as_deref(), next: next.as_deref(), error: None }.shown(shared.oidc.as_ref())
}

#[handler]
pub(in crate::api) async fn log_in(
    request: &Request,
    shared: Data<&Arc<Shared>>,
    Form(form): Form<LoginForm>,
) -> Result<Response> {
    let next = local_path(form.next.as_deref());
    let refused = |why: &str| {
        let page = LoginPage { link: None, next: Some(next), error: Some(why) };
        let mut reply = page.shown(shared.oidc.as_ref());
        reply.set_status(StatusCode::FORBIDDEN);
        Ok(reply)
    };
    let browser_has = session_secret(request.headers(), shared.config.is_https());
    let address = client_address(request, &shared.config.trusted_proxies);
    let session = match (form.link, form.token.as_deref().map(str::trim).and_then(TokenText::parse)) {
        (Some(link), _) if shared.links.redeem(&link, shared.queue.now()) => {
            shared.accounts.open_admin_session(browser_has, address).await
        }
        (Some(_), _) => {
            return refused(
                "This link was used before, or is older than 15 minutes. Restart the service for a new one, or log in with a token.",
            );
        }
        (None, Some(token)) => shared.accounts.open_session(&token, browser_has, address).await,
        (None, None) => return refused("This is no token. It begins with bf_ and is 75 characters long."),
    };
    match session.map_err(Problem::from)? {
        Some(secret) => Ok(to(next, &session_cookie(&shared, &secret))),
        None => refused("This token is unknown, was revoked, or has expired."),
    }
}

#[handler]
pub(in crate::api) async fn log_out(request: &Request, shared: Data<&Arc<Shared>>) -> Result<Response> {
    let https = shared.config.is_https();
    let forget = Cookie::Session.set("", 0, https);
    let address = client_address(request, &shared.config.trusted_proxies);
    let session = session_secret(request.headers(), https);
    let closed = match session {
        Some(secret) => shared.accounts.close_session(secret, address).await.map_err(Problem::from)?,
        None => None,
    };
    // One that has ended already, and of which nothing is left, may have been a person's.
    if let (Some(_), Some(oidc)) = (session.filter(|_| closed != Some(Closed::OfToken)), &shared.oidc)
        && let Some(farewell) = oidc.farewell().await
    {
        return Ok(left(&oidc.host(), &farewell, &forget));
    }
    Ok(to(LOGIN, &forget))
}

/// Says that somebody is logged out here, and goes on to the provider.
fn left(host: &str, farewell: &str, cookie: &str) -> Response {
    let mut reply = page(
        "Logged out",
        &format!(
            "<h1>Logged out of BlobForge</h1><p><a href=\"{}\">Log out of {} as well</a></p>",
            escaped(farewell),
            escaped(host)
        ),
    );
    let headers = reply.headers_mut();
    if let (Ok(cookie), Ok(refresh)) =
        (HeaderValue::from_str(cookie), HeaderValue::from_str(&format!("0; url={farewell}")))
    {
        headers.insert(header::SET_COOKIE, cookie);
        headers.insert(REFRESH, refresh);
    }
    reply
}

/// What a browser keeps of a session.
pub(super) fn session_cookie(shared: &Shared, secret: &str) -> String {
    Cookie::Session.set(secret, SESSION_LIFETIME.as_secs(), shared.config.is_https())
}

/// Sends a browser to a place.
pub(super) fn to(place: &str, cookie: &str) -> Response {
    let reply = Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, place);
    reply.header(header::SET_COOKIE, cookie).finish()
}

impl LoginPage<'_> {
    /// The page. With a provider its button comes first, and the token is for those who have one.
    pub(super) fn shown(&self, oidc: Option<&Oidc>) -> Response {
        let error = self.error.map(|text| format!("<p class=\"bad\" role=\"alert\">{}</p>", escaped(text)));
        let body = match (self.link, oidc) {
            (None, Some(oidc)) => format!(
                "<p><a class=\"button main\" href=\"{}\">Log in with {}</a></p>\
                 <details><summary>Log in with an API token</summary>{}</details>",
                escaped(&leading_back(OIDC_LOGIN, self.next())),
                escaped(&oidc.host()),
                self.form(false)
            ),
            _ => self.form(true),
        };
        page("Log in", &format!("<h1>BlobForge login</h1>{}{body}", error.unwrap_or_default()))
    }

    fn next(&self) -> &str {
        local_path(self.next)
    }

    fn form(&self, comes_first: bool) -> String {
        let next = escaped(self.next());
        let focus = if comes_first { " autofocus" } else { "" };
        let field = match self.link {
            Some(link) => format!("<input type=\"hidden\" name=\"link\" value=\"{}\">", escaped(link)),
            None => format!(
                "<label for=\"token\">API token</label>\
                 <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required{focus}>\
                 <p class=\"quiet\">The admin token lies in the file <code>admin-token</code> in the service's data folder.</p>"
            ),
        };
        format!(
            "<form method=\"post\" action=\"{LOGIN}\">{field}\
             <input type=\"hidden\" name=\"next\" value=\"{next}\"><button class=\"main\">Log in</button></form>"
        )
    }
}
