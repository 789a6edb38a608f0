//! What every reply has, whatever it replies to: an id, a line in the log, and headers that keep browsers careful.

use std::{panic::AssertUnwindSafe, time::Instant};

use futures_util::FutureExt;
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderName, HeaderValue, header},
};

use super::connection::Connections;
use crate::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a reply may do in a browser unless it says otherwise: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// Puts the finishing touches to the replies of an endpoint.
pub(super) struct Replies<E> {
    inner: E,
    connections: Connections,
}

impl<E> Replies<E> {
    pub(super) fn new(inner: E, connections: Connections) -> Self {
        Self { inner, connections }
    }
}

impl<E: Endpoint> Endpoint for Replies<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let started = Instant::now();
        let id = request_id(&request);
        let _answering = self.connections.answering(&request.remote_addr().0);
        let method = request.method().clone();
        // Without the query, which can be a secret.
        let path = request.uri().path().to_owned();
        let answered = AssertUnwindSafe(self.inner.call(request)).catch_unwind().await;
        let reply = match answered {
            Ok(Ok(reply)) => reply.into_response(),
            Ok(Err(error)) if error.is_from_response() => error.into_response(),
            Ok(Err(error)) => Problem::of_framework(&error).into_response(),
            // The panic has already said what it is.
            Err(_) => Problem::internal().into_response(),
        };
        let mut reply = with_request_id(reply, &id);
        careful(&mut reply);
        let status = reply.status().as_u16();
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if status >= 500 {
            tracing::warn!(%method, path, status, ms, request_id = id, "request");
        } else {
            tracing::debug!(%method, path, status, ms, request_id = id, "request");
        }
        Ok(reply)
    }
}

/// The id that a proxy has given, if it is a plain one, or a fresh one.
fn request_id(request: &Request) -> String {
    let plain = |text: &&str| {
        (8..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(plain);
    given.map_or_else(drawn_id, str::to_owned)
}

fn drawn_id() -> String {
    let mut bytes = [0; 8];
    // Ids tell requests apart and protect nothing: without randomness they are merely less useful.
    let _ = getrandom::fill(&mut bytes);
    hex::encode(bytes)
}

fn with_request_id(mut reply: Response, id: &str) -> Response {
    if let Some(problem) = reply.extensions_mut().remove::<Problem>() {
        let headers = reply.headers().clone();
        reply = Problem { request_id: Some(id.to_owned()), ..problem }.into_response();
        for (name, value) in &headers {
            if *name != header::CONTENT_LENGTH {
                reply.headers_mut().insert(name.clone(), value.clone());
            }
        }
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        reply.headers_mut().insert(REQUEST_ID, value);
    }
    reply
}

fn careful(reply: &mut Response) {
    let unless_set = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, NOTHING),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in unless_set {
        reply.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}
