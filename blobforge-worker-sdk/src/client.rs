//! A service, reached over HTTP.
//!
//! A [`Client`] is what programs hand jobs in and look at them with, and it is a
//! [`Broker`](blobforge_core::broker::Broker): give it to a [`Worker`](crate::Worker), and that works for the service.

mod broker;
mod bulk;
mod download;
mod error;
mod jobs;
mod outputs;
mod steering;
mod submission;
mod transfer;
mod upload;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, RequestBuilder, Response, Url, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use bulk::{BulkAction, BulkRefused, BulkReply};
pub use error::ClientError;
pub use jobs::{JobOutput, JobQuery, JobView};
pub use submission::{Announced, Content, SubmitFile, SubmitReply, content_of};

use crate::backoff::Backoff;

/// How long it may take to reach the service.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long a request without a file may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a file may stand still on its way, and how long the reply to it may take.
const SILENCE: Duration = Duration::from_secs(120);
/// How often a request that can be repeated is tried.
const TRIES: u32 = 6;
/// The same for a service that has never answered: it is not there, rather than away for a moment.
const FIRST_TRIES: u32 = 3;

/// Where a service is, and what opens its door.
#[derive(Clone)]
pub struct ClientConfig {
    url: String,
    token: String,
}

impl ClientConfig {
    /// The service at `url`, such as `http://localhost:8080`, with an API token.
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self { url: url.into(), token: token.into() }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientConfig({})", self.url)
    }
}

/// A connection to a service. Clones share it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    base: Url,
    authorization: header::HeaderValue,
    /// Whether anything was ever answered.
    answered: AtomicBool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.inner.base)
    }
}

impl Client {
    /// Prepares a connection; nothing is sent yet.
    ///
    /// # Errors
    /// When the address or the token cannot be one.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let address = |why: &str| {
            ClientError::Config(format!(
                "{:?} {why}: use an address such as http://localhost:8080",
                config.url
            ))
        };
        let with_end = format!("{}/", config.url.trim().trim_end_matches('/'));
        let base = Url::parse(&with_end).map_err(|_| address("is no web address"))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(address("begins with neither http:// nor https://"));
        }
        let mut authorization = header::HeaderValue::try_from(format!("Bearer {}", config.token.trim()))
            .map_err(|_| ClientError::Config("the API token has characters that no token has".to_owned()))?;
        authorization.set_sensitive(true);
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .user_agent(concat!("blobforge/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Config(format!("no HTTP client can be made: {error}")))?;
        Ok(Self { inner: Arc::new(Inner { http, base, authorization, answered: AtomicBool::new(false) }) })
    }

    /// The service's address.
    pub fn url(&self) -> &str {
        self.inner.base.as_str().trim_end_matches('/')
    }

    /// The address of a path of the service, or of a file that may lie elsewhere.
    fn address(&self, path: &str) -> Result<Url, ClientError> {
        // A service behind a path prefix keeps it; a signed URL of another host stays as it is.
        let joined = match Url::parse(path) {
            Ok(url) => Ok(url),
            Err(_) => self.inner.base.join(path.trim_start_matches('/')),
        };
        joined.map_err(|error| {
            ClientError::Reply(format!("the service names an address that is none: {error}"))
        })
    }

    /// A request to the service itself, with credentials.
    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ClientError> {
        let request = self.inner.http.request(method, self.address(path)?);
        Ok(request.header(header::AUTHORIZATION, self.inner.authorization.clone()).timeout(ANSWER_WITHIN))
    }

    /// A request by a signed URL, which needs no credentials and must not see any.
    fn by_signed_url(&self, method: Method, url: &str) -> Result<RequestBuilder, ClientError> {
        Ok(self.inner.http.request(method, self.address(url)?))
    }

    /// Sends a request and reads its reply.
    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let reply = self.send(request).await?;
        let bytes = reply.bytes().await.map_err(|error| self.unreachable(error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            ClientError::Reply(format!("{} does not answer as a BlobForge service does: {error}", self.url()))
        })
    }

    /// Sends a request; what is not a success is an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let reply = request.send().await.map_err(|error| self.unreachable(error))?;
        self.inner.answered.store(true, Ordering::Relaxed);
        if reply.status().is_success() {
            return Ok(reply);
        }
        Err(ClientError::of_reply(self.url(), reply).await)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, ClientError> {
        self.read(self.request(Method::POST, path)?.json(body)).await
    }

    /// Sends a request by a signed URL, which may lead elsewhere.
    async fn send_by_signed_url(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let reply = request.send().await.map_err(|error| self.unreachable(error))?;
        if reply.status().is_success() {
            return Ok(reply);
        }
        let origin = reply.url().origin().ascii_serialization();
        if origin == self.inner.base.origin().ascii_serialization() {
            return Err(ClientError::of_reply(self.url(), reply).await);
        }
        Err(ClientError::of_store(&origin, reply).await)
    }

    /// A request that does no harm when it is repeated, tried until it works or there is no hope.
    async fn persist<T, F, Fut>(&self, mut attempt: F) -> Result<T, ClientError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        let mut backoff = Backoff::default();
        loop {
            match attempt().await {
                Err(error) if error.is_retryable() && backoff.failures() + 1 < self.tries() => {
                    tracing::warn!(%error, "trying again");
                    backoff.wait().await;
                }
                other => return other,
            }
        }
    }

    fn tries(&self) -> u32 {
        if self.inner.answered.load(Ordering::Relaxed) { TRIES } else { FIRST_TRIES }
    }

    /// Nothing moved for too long.
    fn silent(&self) -> ClientError {
        ClientError::Silent { url: self.url().to_owned(), after: SILENCE }
    }

    fn unreachable(&self, error: reqwest::Error) -> ClientError {
        // Signed URLs are secrets, and the error would name them.
        ClientError::Unreachable { url: self.url().to_owned(), source: error.without_url() }
    }
}
