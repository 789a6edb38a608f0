//! Logging in with an OpenID provider: by code, with PKCE, a state and a nonce, in the browser that began it.

mod attempts;
mod guests;
mod http;
mod identity;
mod provider;

use std::net::IpAddr;

use blobforge_core::{QueueError, Timestamp};
use serde::Deserialize;

use super::{Scope, token::random_hex};
pub(crate) use attempts::LIFETIME as LOGIN_WITHIN;
use attempts::{Attempt, Attempts, Missed};
pub(crate) use identity::Identity;
pub(crate) use provider::Provider;

/// The longest text of the provider's that is shown, in characters.
const MAX_SHOWN: usize = 300;

/// Why somebody cannot log in with the provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    /// It cannot be reached, or is not one.
    #[error("the provider {host} does not answer as it should: {why}")]
    Away {
        /// Which.
        host: String,
        /// Why.
        why: String,
    },
    /// There is no such login, any more.
    #[error("this login was finished already, or took longer than 10 minutes")]
    Unknown,
    /// It is another browser's.
    #[error("this login was begun in another browser, or at another address of this service")]
    OtherBrowser,
    /// The provider did not let them in.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// What the provider said cannot be believed.
    #[error("what the provider said cannot be trusted: {0}")]
    Untrusted(String),
    /// Nobody has named them.
    #[error("{} may not use this service", .0.shown())]
    NotAGuest(Box<Identity>),
    /// The service itself failed.
    #[error(transparent)]
    Service(#[from] QueueError),
}

impl From<Missed> for OidcError {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Unknown => Self::Unknown,
            Missed::OtherBrowser => Self::OtherBrowser,
        }
    }
}

/// With what the provider sends a browser back.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SentBack {
    state: Option<String>,
    code: Option<String>,
    /// Which provider it is, if it says so.
    iss: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Somebody who may come in.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) identity: Identity,
    pub(crate) scopes: Vec<Scope>,
    /// Where they were going.
    pub(crate) next: String,
}

/// A login that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Where the browser goes.
    pub(crate) url: String,
    /// What it keeps meanwhile.
    pub(crate) browser: String,
}

/// Logging in with the provider.
#[derive(Debug)]
pub(crate) struct Oidc {
    provider: Provider,
    attempts: Attempts,
}

impl Oidc {
    pub(crate) fn new(provider: Provider) -> Self {
        Self { provider, attempts: Attempts::default() }
    }

    /// How people know the provider.
    pub(crate) fn host(&self) -> String {
        self.provider.options().host()
    }

    /// The address under which browsers have to reach this service.
    pub(crate) fn origin(&self) -> &str {
        self.provider.options().origin()
    }

    /// Begins a login. A browser that has begun one in another tab keeps its secret, so that both can be finished.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub(crate) async fn begin(
        &self,
        next: &str,
        browser_has: Option<&str>,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Begun, OidcError> {
        let question = self.provider.question().await?;
        let browser = match browser_has.filter(|secret| is_secret(secret)) {
            Some(secret) => secret.to_owned(),
            None => random_hex().map_err(|error| OidcError::Service(QueueError::Randomness(error)))?,
        };
        let attempt = Attempt {
            nonce: question.nonce,
            verifier: question.verifier,
            next: next.to_owned(),
            browser: browser.clone(),
            address,
        };
        self.attempts.begin(&question.state, attempt, now);
        Ok(Begun { url: question.url, browser })
    }

    /// Finishes a login; who may come in.
    ///
    /// # Errors
    /// When they may not.
    pub(crate) async fn finish(
        &self,
        back: SentBack,
        browser: Option<&str>,
        now: Timestamp,
    ) -> Result<Guest, OidcError> {
        let state = back.state.ok_or(OidcError::Unknown)?;
        let attempt = self.attempts.take(&state, browser, now)?;
        // From here on it is known that this browser comes from where it was sent.
        let options = self.provider.options();
        if back.iss.is_some_and(|issuer| issuer != options.issuer) {
            return Err(OidcError::Untrusted("another provider answers".to_owned()));
        }
        if let Some(error) = back.error {
            let text =
                [Some(error), back.error_description].into_iter().flatten().collect::<Vec<_>>().join(": ");
            return Err(OidcError::Refused(shortened(&text)));
        }
        let code =
            back.code.ok_or_else(|| OidcError::Untrusted("there is no code in the answer".to_owned()))?;
        let identity = self.provider.who(code, &attempt.nonce, attempt.verifier).await?;
        match options.guests.scopes_of(&identity) {
            Some(scopes) => Ok(Guest { identity, scopes, next: attempt.next }),
            None => Err(OidcError::NotAGuest(Box::new(identity))),
        }
    }

    /// Where a browser is logged out of the provider as well, if that has such a place.
    pub(crate) async fn farewell(&self) -> Option<String> {
        self.provider.farewell().await
    }
}

/// Whether a browser can have this from us.
fn is_secret(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What of a text of somebody else's is shown and logged.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}
