//! How the provider is asked: without redirects, within a time, and for no more than it may answer.

use std::{future::Future, pin::Pin, time::Duration};

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::{Client, StatusCode, redirect::Policy};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The most bytes of an answer.
const MAX_ANSWER: usize = 1024 * 1024;

/// Asks the provider.
#[derive(Clone, Debug)]
pub(super) struct ProviderHttp(Client);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("the answer has more than {MAX_ANSWER} bytes")]
    TooLarge,
    #[error("it answers with {0}")]
    Failing(StatusCode),
}

impl ProviderHttp {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        // A redirect could lead the client's secret elsewhere.
        let client = Client::builder()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .user_agent(concat!("blobforge/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self(client))
    }

    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, Unanswered> {
        let mut answer = self.0.execute(request.try_into()?).await?;
        // What stands in front of it says so while it is away itself.
        if answer.status().is_server_error() {
            return Err(Unanswered::Failing(answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Unanswered::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = HttpResponse::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for ProviderHttp {
    type Error = Unanswered;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Unanswered>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.answer(request))
    }
}
