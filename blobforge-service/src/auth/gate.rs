//! The door: every request is looked up, its sender recognised and its right checked before any handler sees it.

use std::{net::IpAddr, sync::Arc};

use blobforge_core::check_key;
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderMap, Method, StatusCode, Uri, header},
};

use super::{
    Access, BySession, Lapsed, Principal, Route, TokenText,
    address::client_address,
    budget::{Left, Spent},
    csrf, routes,
    routes::{LOGIN, OIDC_CALLBACK, OIDC_LOGIN},
    session_secret,
    stranger::{Stranger, sent_to, unauthenticated, unconfirmed},
};
use crate::{
    audit::Actor,
    dashboard::told,
    problem::Problem,
    service::{Served, Shared, paced},
};

/// The longest path that is looked at, in bytes.
const MAX_PATH: usize = 2048;
/// The most bytes of headers that a request may have, all together.
const MAX_HEADERS: usize = 16 * 1024;
/// The largest form that a page sends, in bytes.
const MAX_FORM: usize = 16 * 1024;

/// What is said of credentials that open nothing. Which of these it is, is nobody's business.
const NO_GOOD: &str = "this token is unknown, was revoked or switched off, or has expired";

/// An endpoint behind the door.
pub(crate) struct Gate<E> {
    inner: E,
    shared: Arc<Shared>,
}

impl<E> Gate<E> {
    pub(crate) fn new(inner: E, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<E: Endpoint> Endpoint for Gate<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let route = match looked_up(&mut request) {
            Ok(route) => route,
            Err(problem) => return Ok(problem.into_response()),
        };
        if let Some(served) = request.extensions().get::<Served>() {
            served.by(route);
        }
        let address = client_address(&request, &self.shared.config.trusted_proxies);
        let (principal, left) = match self.let_in(route, &request, address).await {
            Ok(entry) => entry,
            Err(refusal) => return Ok(*refusal),
        };
        request.set_data(route);
        self.pace(route, &mut request);
        let mut reply = self.answer(principal, address, request).await?;
        if let Some(left) = left {
            left.tell(&mut reply);
        }
        Ok(reply)
    }
}

type Entry = (Option<Principal>, Option<Left>);

impl<E: Endpoint> Gate<E> {
    /// Has a request answered, for as long as its sender's credentials are good.
    async fn answer(
        &self,
        principal: Option<Principal>,
        address: Option<IpAddr>,
        mut request: Request,
    ) -> Result<Response> {
        let Some(principal) = principal else {
            return self.inner.call(request).await.map(IntoResponse::into_response);
        };
        let lapse = self.shared.accounts.lapse(&principal, self.shared.config.clock());
        request.set_data(Actor { id: principal.id.clone(), name: principal.name.clone(), address });
        request.set_data(principal);
        let cut_short = |lapsed| match lapsed {
            Lapsed::Ended => unauthenticated(NO_GOOD).into_response(),
            Lapsed::Unconfirmed => unconfirmed().into_response(),
        };
        tokio::select! {
            // A reply that is there goes out, even to who has just revoked its own token.
            biased;
            reply = self.inner.call(request) => reply.map(IntoResponse::into_response),
            lapsed = lapse => Ok(cut_short(lapsed)),
        }
    }
}

impl<E> Gate<E> {
    /// Lets a request in, or refuses it. Whatever changes something is paid for, by its address before anything is looked
    /// up, and then by its account.
    async fn let_in(
        &self,
        route: &Route,
        request: &Request,
        address: Option<IpAddr>,
    ) -> std::result::Result<Entry, Box<Response>> {
        let budgets = &self.shared.budgets;
        let spent = |spent: Spent| {
            self.shared.metrics.rate_limited(spent.budget());
            Box::new(spent.into_response())
        };
        // Who has a signed URL has paid for it.
        let costs = (changes(request) || begins_login(route)) && route.access != Access::Signed;
        let of_address = if costs { budgets.spend_of_address(route, address).map_err(spent)? } else { None };
        let principal = self.admit(route, request).await?;
        let of_account = match &principal {
            Some(principal) if costs => budgets.spend_of_account(route, &principal.id).map_err(spent)?,
            _ => None,
        };
        Ok((principal, of_address.or(of_account)))
    }

    /// Has the body of a request come fast enough, and that of a form be small.
    fn pace(&self, route: &Route, request: &mut Request) {
        if changes(request) {
            let is_form = !route.is_operation && route.access == Access::Public;
            let limit = if is_form { MAX_FORM } else { usize::MAX };
            let body = paced(request.take_body(), self.shared.config.read_timeout, limit);
            request.set_body(body);
        }
    }
}

impl<E> Gate<E> {
    async fn admit(
        &self,
        route: &Route,
        request: &Request,
    ) -> std::result::Result<Option<Principal>, Box<Response>> {
        if route.access == Access::Signed {
            return Ok(None);
        }
        let refuse = |problem: Problem| Box::new(problem.into_response());
        let principal = match self.recognise(request).await {
            Ok(principal) => principal,
            // Who comes with bad credentials can still log in, or ask whether the service is well.
            Err(_) if route.access == Access::Public => None,
            Err(Stranger::Unconfirmed) if route.access.is_page() => {
                return Err(Box::new(sent_to(OIDC_LOGIN, request)));
            }
            Err(stranger) => return Err(Box::new(stranger.refused(request))),
        };
        let by_session = principal.as_ref().is_some_and(|principal| principal.by_session);
        let may_be_forged = by_session || route.access == Access::Public;
        if changes(request) && may_be_forged && !self.is_same_origin(request.headers(), by_session) {
            return Err(refuse(Problem::forbidden(
                "cross_site",
                "this change was asked for by another site, in your name",
            )));
        }
        // Logging in and out is done with forms, which send no headers.
        if changes(request) && by_session && route.access != Access::Public {
            let secret = session_secret(request.headers(), self.shared.config.is_https());
            csrf::check(request.headers(), secret.unwrap_or_default()).map_err(refuse)?;
        }
        if route.access.allows(principal.as_ref()) {
            // A name that no handler can read would be taken for none, and its request be carried out twice.
            let key = request.headers().get("idempotency-key").map(|key| key.to_str().unwrap_or_default());
            key.map_or(Ok(()), check_key).map_err(|invalid| refuse(invalid.into()))?;
            return Ok(principal);
        }
        Err(match (&principal, route.access.scope()) {
            (None, _) if route.access.is_page() => Box::new(sent_to(LOGIN, request)),
            (None, _) => {
                let needed = unauthenticated("credentials are needed: send Authorization: Bearer <token>");
                Box::new(Stranger::from(needed).refused(request))
            }
            (Some(principal), scope) if route.access.is_page() => Box::new(told(principal.lacks(scope))),
            (Some(principal), scope) => refuse(principal.lacks(scope)),
        })
    }

    /// Finds out who sends a request. A token that is no good is never made up for by a cookie.
    async fn recognise(&self, request: &Request) -> std::result::Result<Option<Principal>, Stranger> {
        if let Some(value) = request.headers().get(header::AUTHORIZATION) {
            let token = value.to_str().ok().and_then(bearer).and_then(TokenText::parse);
            let token = token.ok_or_else(|| {
                unauthenticated(
                    "this is no token: send Authorization: Bearer bf_…, complete and as it was shown",
                )
            })?;
            let principal = self.shared.accounts.by_token(&token).await.map_err(Problem::from)?;
            return principal.map(Some).ok_or_else(|| unauthenticated(NO_GOOD).into());
        }
        let Some(secret) = session_secret(request.headers(), self.shared.config.is_https()) else {
            return Ok(None);
        };
        match self.shared.accounts.by_session(secret).await.map_err(Problem::from)? {
            BySession::Somebody(principal) => Ok(Some(principal)),
            BySession::Unconfirmed => Err(Stranger::Unconfirmed),
            BySession::Nobody => Ok(None),
        }
    }

    /// Whether a request comes from the service's own pages. A browser always says where it comes from; other clients
    /// say nothing, and carry no cookie that could be misused.
    fn is_same_origin(&self, headers: &HeaderMap, has_cookie: bool) -> bool {
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site")) {
            return site == "same-origin";
        }
        let Some(origin) = text(header::ORIGIN) else { return !has_cookie };
        if let Some(public) = &self.shared.config.public_url {
            return origin.eq_ignore_ascii_case(public);
        }
        let host = text(header::HOST).unwrap_or_default();
        origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host))
    }
}

/// Whether the provider is asked for it, or a login remembered.
fn begins_login(route: &Route) -> bool {
    [OIDC_LOGIN, OIDC_CALLBACK].contains(&route.pattern)
}

fn changes(request: &Request) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD)
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Finds the route of a request, and makes its path what the handlers know.
fn looked_up(request: &mut Request) -> std::result::Result<&'static Route, Problem> {
    let path = request.uri().path();
    if path.len() > MAX_PATH {
        let detail = format!("the path has {} bytes: at most {MAX_PATH} are looked at", path.len());
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "path_too_long", detail));
    }
    let bytes = header_bytes(request.headers());
    if bytes > MAX_HEADERS {
        let detail = format!("the headers have {bytes} bytes: at most {MAX_HEADERS} are taken");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, "headers_too_large", detail));
    }
    if climbs(path) {
        return Err(Problem::bad_request("bad_path", "this path leaves its folder, or is no text"));
    }
    match routes::find(request.method().as_str(), path) {
        routes::Found::Route(route, served) => {
            if let Some((method, _)) = route.alias_of
                && route.method != method
                && let Ok(method) = method.parse()
            {
                request.set_method(method);
            }
            if served != request.uri().path() {
                let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
                let uri = format!("{served}{query}").parse::<Uri>();
                *request.uri_mut() = uri.map_err(|_| Problem::bad_request("bad_path", "this is no path"))?;
            }
            Ok(route)
        }
        routes::Found::OtherMethods(methods) => {
            let detail = format!("this address takes {}, not {}", methods.join(" and "), request.method());
            Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).allow(&methods))
        }
        routes::Found::Nothing => {
            Err(Problem::not_found("no_such_route", "there is nothing at this address")
                .hint("GET /docs lists what there is"))
        }
    }
}

/// Whether a path means another folder than it seems to, or no text at all.
fn climbs(path: &str) -> bool {
    let Ok(decoded) = percent_encoding::percent_decode_str(path).decode_utf8() else { return true };
    let is_odd = |part: &str| matches!(part, "." | "..");
    decoded.contains(|c: char| c.is_control() || c == '\\') || decoded.split('/').any(is_odd)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
