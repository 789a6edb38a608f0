//! Sending one request, wherever it may go and no further.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{Client, Response, StatusCode, Url, header, redirect::Policy};

use super::reach::Reach;
use crate::service::ServiceError;

/// How long a request may take, with all its redirects.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How many redirects are followed.
const MAX_REDIRECTS: usize = 3;

/// Sends requests.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    http: Client,
    reach: Reach,
}

/// A request to be sent.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) url: String,
    /// The end's own name: the same however often it is sent.
    pub(super) id: String,
    pub(super) event: &'static str,
    pub(super) signature: String,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) why: String,
    /// The host itself did not answer: what it may have led to is not its fault.
    pub(super) is_silent: bool,
}

impl Sender {
    pub(super) fn new(reach: Reach) -> Result<Self, ServiceError> {
        let http = Client::builder()
            // A proxy would resolve names as it likes, and redirects are judged one by one.
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .dns_resolver(Arc::new(reach.clone()))
            .connect_timeout(CONNECT_WITHIN)
            .user_agent(concat!("blobforge/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ServiceError::Config(format!("no HTTP client can be made: {error}")))?;
        Ok(Self { http, reach })
    }

    /// Sends a request and says with which status it was answered. What else the answer says is not read.
    pub(super) async fn post(&self, letter: &Letter) -> Result<StatusCode, Unanswered> {
        let mut was_heard = false;
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.follow(letter, &mut was_heard)).await;
        let answer = answer
            .unwrap_or_else(|_| Err(format!("there was no answer within {} s", ANSWER_WITHIN.as_secs())));
        answer.map_err(|why| Unanswered { why, is_silent: !was_heard })
    }

    async fn follow(&self, letter: &Letter, was_heard: &mut bool) -> Result<StatusCode, String> {
        let mut url = Url::parse(&letter.url).map_err(|error| error.to_string())?;
        for _ in 0..=MAX_REDIRECTS {
            self.reach.check(&url)?;
            let answer = self.send(url.clone(), letter).await?;
            *was_heard = true;
            // Others would make another request of it, without its content.
            let moved = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT];
            if !moved.contains(&answer.status()) {
                return Ok(answer.status());
            }
            let to = next(&url, &answer);
            let to = to.ok_or("the redirect leads nowhere")?;
            if url.scheme() == "https" && to.scheme() != "https" {
                return Err("the redirect leads away from https".to_owned());
            }
            url = to;
        }
        Err(format!("there were more than {MAX_REDIRECTS} redirects"))
    }

    async fn send(&self, url: Url, letter: &Letter) -> Result<Response, String> {
        let request = self
            .http
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("BlobForge-Id", &letter.id)
            .header("BlobForge-Event", letter.event)
            .header("BlobForge-Signature", &letter.signature)
            .body(letter.body.clone());
        request.send().await.map_err(|error| innermost(&error.without_url()))
    }
}

fn next(url: &Url, answer: &Response) -> Option<Url> {
    url.join(answer.headers().get(header::LOCATION)?.to_str().ok()?).ok()
}

/// What happened first: on its way up an error is wrapped in others that say less.
pub(crate) fn innermost(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
