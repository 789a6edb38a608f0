//! Logging in with an identity provider: there and back.

use std::sync::Arc;

use poem::{
    Request, Response, Result, handler,
    http::StatusCode,
    web::{Data, Query},
};
use serde::Deserialize;

use super::login::{LoginPage, session_cookie, to};
use crate::{
    auth::{Cookie, LOGIN_WITHIN, Oidc, OidcError, SentBack, client_address, local_path, session_secret},
    problem::Problem,
    service::Shared,
};

#[derive(Debug, Deserialize)]
struct Wanted {
    next: Option<String>,
}

#[handler]
pub(in crate::api) async fn begin(
    request: &Request,
    shared: Data<&Arc<Shared>>,
    Query(wanted): Query<Wanted>,
) -> Result<Response> {
    let next = local_path(wanted.next.as_deref());
    let Some(oidc) = &shared.oidc else { return Ok(no_provider(next)) };
    let (headers, https) = (request.headers(), shared.config.is_https());
    let address = client_address(request, &shared.config.trusted_proxies);
    let browser_has = Cookie::Login.read(headers, https);
    match oidc.begin(next, browser_has, address, shared.queue.now()).await {
        Ok(begun) => Ok(to(&begun.url, &Cookie::Login.set(&begun.browser, LOGIN_WITHIN.as_secs(), https))),
        Err(error @ OidcError::Away { .. }) => {
            // Who was let in before goes on while the provider is away, for a while.
            if let Some(secret) = session_secret(headers, https)
                && shared.accounts.put_off(secret).await.map_err(Problem::from)?
            {
                return Ok(to(next, &session_cookie(&shared, secret)));
            }
            failed(oidc, next, error)
        }
        Err(error) => failed(oidc, next, error),
    }
}

#[handler]
pub(in crate::api) async fn finish(
    request: &Request,
    shared: Data<&Arc<Shared>>,
    Query(back): Query<SentBack>,
) -> Result<Response> {
    let Some(oidc) = &shared.oidc else { return Ok(no_provider("/")) };
    let (headers, https) = (request.headers(), shared.config.is_https());
    let address = client_address(request, &shared.config.trusted_proxies);
    let browser = Cookie::Login.read(headers, https);
    match oidc.finish(back, browser, shared.queue.now()).await {
        Ok(guest) => {
            let browser_has = session_secret(headers, https);
            let opened =
                shared.accounts.log_person_in(&guest.identity, guest.scopes, browser_has, address).await;
            Ok(to(&guest.next, &session_cookie(&shared, &opened.map_err(Problem::from)?)))
        }
        Err(OidcError::NotAGuest(who)) => {
            shared.accounts.turn_away(&who, address).await.map_err(Problem::from)?;
            failed(oidc, "/", OidcError::NotAGuest(who))
        }
        Err(error) => failed(oidc, "/", error),
    }
}

/// Where no provider is set up, people log in with tokens.
fn no_provider(next: &str) -> Response {
    let error = "No identity provider is set up: log in with a token.";
    with_status(
        LoginPage { next: Some(next), error: Some(error), link: None }.shown(None),
        StatusCode::NOT_FOUND,
    )
}

/// Says why somebody could not log in, and what to do about it.
fn failed(oidc: &Oidc, next: &str, error: OidcError) -> Result<Response> {
    let (status, advice) = match &error {
        OidcError::Service(_) => (StatusCode::SERVICE_UNAVAILABLE, "Try again in a minute".to_owned()),
        OidcError::Away { .. } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Try again in a minute; with an API token you can log in meanwhile".to_owned(),
        ),
        OidcError::Unknown => (StatusCode::FORBIDDEN, "Log in once more".to_owned()),
        OidcError::OtherBrowser => {
            (StatusCode::FORBIDDEN, format!("Begin and finish it in one browser, at {}", oidc.origin()))
        }
        OidcError::Refused(_) => (StatusCode::FORBIDDEN, "Ask whoever runs the provider".to_owned()),
        OidcError::Untrusted(_) => (
            StatusCode::BAD_GATEWAY,
            "Log in once more; if it happens again, have the administrator run blobforge doctor".to_owned(),
        ),
        OidcError::NotAGuest(_) => (
            StatusCode::FORBIDDEN,
            "Ask the administrator to add you to one of the groups that may".to_owned(),
        ),
    };
    tracing::warn!(%error, "somebody could not log in with the identity provider");
    let text = sentence(&format!("{error}. {advice}."));
    let page = LoginPage { next: Some(next), error: Some(&text), link: None };
    Ok(with_status(page.shown(Some(oidc)), status))
}

fn with_status(mut reply: Response, status: StatusCode) -> Response {
    reply.set_status(status);
    reply
}

/// With a capital letter, as people are told things.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}
