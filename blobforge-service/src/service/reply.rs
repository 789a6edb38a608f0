//! What every reply has, whatever it replies to: an id, a line in the log, and headers that keep browsers careful.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use blobforge_core::TraceParent;
use futures_util::FutureExt;
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderName, HeaderValue, header},
};

use tracing::Instrument;

use super::{Shared, connection::Connections};
use crate::{auth::Route, dashboard::told, problem::Problem};

/// How long requests that are under way may go on once the service stops.
const DRAIN: Duration = Duration::from_millis(2500);
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a reply may do in a browser unless it says otherwise: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// Puts the finishing touches to the replies of an endpoint.
pub(super) struct Replies<E> {
    inner: E,
    connections: Connections,
    shared: Arc<Shared>,
}

impl<E> Replies<E> {
    pub(super) fn new(inner: E, connections: Connections, shared: Arc<Shared>) -> Self {
        Self { inner, connections, shared }
    }

    /// Waits until the service has been stopping for as long as requests get to end.
    async fn overdue(&self) {
        self.shared.stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    }
}

/// Where in a trace a request belongs, as far as its sender says so in a way that can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traced(pub(crate) Option<TraceParent>);

impl Traced {
    fn of(request: &Request) -> Self {
        let mut given = request.headers().get_all(TRACEPARENT).iter();
        let only = given.next().filter(|_| given.next().is_none());
        Self(only.and_then(|value| value.to_str().ok()?.parse().ok()))
    }
}

/// Which route a request was for, once that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served(Arc<OnceLock<&'static Route>>);

impl Served {
    /// Takes note of the route.
    pub(crate) fn by(&self, route: &'static Route) {
        // A request has one route, and the first one is it.
        let _ = self.0.set(route);
    }
}

impl<E: Endpoint> Endpoint for Replies<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let started = Instant::now();
        let id = request_id(&request);
        let answering = self.connections.answering(&request.remote_addr().0);
        let method = request.method().clone();
        // Without the query, which can be a secret.
        let path = request.uri().path().to_owned();
        let traced = Traced::of(&request);
        let trace_id = traced.0.map(|parent| parent.trace_id());
        let span = tracing::info_span!("request", request_id = id, %method, path, trace_id);
        request.set_data(traced);
        request.set_data(answering.breaker());
        let served = Served::default();
        request.extensions_mut().insert(served.clone());
        let inner = AssertUnwindSafe(self.inner.call(request)).catch_unwind().instrument(span.clone());
        let answered = tokio::select! {
            biased;
            answered = inner => answered,
            () = self.overdue() => Ok(Err(Problem::stopping().into())),
        };
        let reply = span.in_scope(|| match answered {
            Ok(Ok(reply)) => reply.into_response(),
            Ok(Err(error)) if error.is_from_response() => error.into_response(),
            Ok(Err(error)) => {
                let problem = Problem::of_framework(&error);
                let of_page = served.0.get().is_some_and(|route| route.access.is_page());
                if of_page { told(problem) } else { problem.into_response() }
            }
            // The panic has already said what it is.
            Err(_) => Problem::internal().into_response(),
        });
        let mut reply = with_request_id(reply, &id);
        careful(&mut reply);
        if reply.content_type().is_some_and(|of| of.starts_with("text/event-stream")) {
            answering.streams();
        }
        let status = reply.status().as_u16();
        let took = started.elapsed();
        self.shared.metrics.answered(method.as_str(), served.0.get().copied(), status, took);
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        span.in_scope(|| match status {
            500.. => tracing::warn!(status, ms, "answered"),
            _ => tracing::debug!(status, ms, "answered"),
        });
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
        // With less, a form sent over plain HTTP would not say that it comes from here.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, NOTHING),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in unless_set {
        reply.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}
