//! Logging in with an identity provider: there and back.

use std::{net::IpAddr, sync::Arc};

use poem::{
    Request, Response, Result, handler,
    http::{HeaderValue, StatusCode, header},
    web::{Data, Query},
};
use serde::Deserialize;

use super::login::{LoginPage, session_cookie, to};
use crate::{
    auth::{
        Cookie, Finished, LOGIN_WITHIN, Oidc, OidcError, SentBack, Wish, client_address, local_path,
        session_secret,
    },
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
    let now = shared.queue.now();
    let session = session_secret(headers, https);
    let awaits = match session {
        Some(secret) => shared.accounts.awaits_confirmation(secret).await.map_err(Problem::from)?,
        None => false,
    };
    let browser_has = Cookie::Login.read(headers, https);
    let wish = Wish { next, browser_has, session: session.filter(|_| awaits), address };
    match oidc.begin(wish, now).await {
        Ok(begun) => Ok(to(&begun.url, &Cookie::Login.set(&begun.browser, LOGIN_WITHIN.as_secs(), https))),
        Err(error) => gone_on_or_failed(&shared, oidc, session, next, error).await,
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
    let (now, session) = (shared.queue.now(), session_secret(headers, https));
    let browser = Cookie::Login.read(headers, https);
    let finished = match oidc.finish(back, browser, session, now).await {
        Ok(finished) => finished,
        Err(error) => return failed(oidc, "/", error),
    };
    let address = client_address(request, &shared.config.trusted_proxies);
    let mut reply = arrived(&shared, oidc, finished, session, address).await?;
    // It is kept for a login in another tab.
    if !browser.is_some_and(|browser| oidc.has_begun(browser, now))
        && let Ok(cookie) = HeaderValue::from_str(&Cookie::Login.set("", 0, https))
    {
        reply.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(reply)
}

/// Lets somebody in who has come back from the provider, or says why not.
async fn arrived(
    shared: &Shared,
    oidc: &Oidc,
    finished: Finished,
    session: Option<&str>,
    address: Option<IpAddr>,
) -> Result<Response> {
    let Finished { next, confirms, guest } = finished;
    match guest {
        Ok(guest) => {
            let opened = shared.accounts.log_person_in(&guest, session, confirms, address).await;
            Ok(to(&next, &session_cookie(shared, &opened.map_err(Problem::from)?)))
        }
        Err(OidcError::NotAGuest(who)) => {
            shared.accounts.turn_away(&who, address).await.map_err(Problem::from)?;
            failed(oidc, "/", OidcError::NotAGuest(who))
        }
        Err(error) => gone_on_or_failed(shared, oidc, session, &next, error).await,
    }
}

/// Has somebody go on for a while who was let in before, where the provider is away; and otherwise says why they cannot.
async fn gone_on_or_failed(
    shared: &Shared,
    oidc: &Oidc,
    session: Option<&str>,
    next: &str,
    error: OidcError,
) -> Result<Response> {
    if let (OidcError::Away { .. }, Some(secret)) = (&error, session)
        && shared.accounts.put_off(secret).await.map_err(Problem::from)?
    {
        return Ok(to(next, &session_cookie(shared, secret)));
    }
    failed(oidc, next, error)
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
        OidcError::Crowded => (StatusCode::TOO_MANY_REQUESTS, "Try again in a minute".to_owned()),
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
    match &error {
        // Anybody can come with these, as often as they like.
        OidcError::Unknown | OidcError::OtherBrowser | OidcError::Crowded => {
            tracing::debug!(%error, "somebody could not log in with the identity provider");
        }
        _ => tracing::warn!(%error, "somebody could not log in with the identity provider"),
    }
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
