//! Logging in with an OpenID provider: by code, with PKCE, a state and a nonce, in the browser that began it.

mod attempts;
mod guests;
mod http;
mod id_token;
mod identity;
mod provider;
mod rules;

use std::{net::IpAddr, time::Duration};

use blobforge_core::{QueueError, Timestamp};
use serde::Deserialize;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Scope,
    token::{fingerprint, random_hex},
};
pub(crate) use attempts::LIFETIME as LOGIN_WITHIN;
use attempts::{Attempt, Attempts, Missed, NoRoom};
pub(crate) use identity::Identity;
pub(crate) use provider::Provider;
pub(crate) use rules::Rules;

/// The longest text of the provider's that is shown, in characters.
const MAX_SHOWN: usize = 300;
/// About how many people the provider is asked at a time.
const ASKED_AT_ONCE: usize = 16;
/// How long somebody waits for their turn.
const TURN_WITHIN: Duration = Duration::from_secs(10);

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
    /// So many log in that there is no room for one more.
    #[error("too many people are logging in")]
    Crowded,
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

impl From<NoRoom> for OidcError {
    fn from(_: NoRoom) -> Self {
        Self::Crowded
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
}

#[cfg(test)]
impl Guest {
    /// Somebody whom a provider on a private network knows.
    pub(crate) fn of(subject: &str, scope: Scope) -> Self {
        let identity = Identity {
            issuer: "https://auth.lan".to_owned(),
            subject: subject.to_owned(),
            name: None,
            email: None,
            groups: Vec::new(),
        };
        Self { identity, scopes: vec![scope] }
    }
}

/// What somebody wants who is sent to the provider.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// Where they are going.
    pub(crate) next: &'a str,
    /// What the browser keeps of a login that it has begun.
    pub(crate) browser_has: Option<&'a str>,
    /// The secret of the session that the provider has to confirm, if that is all they want.
    pub(crate) session: Option<&'a str>,
    /// Whence they come.
    pub(crate) address: Option<IpAddr>,
}

/// A login that has come to its end.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Where they were going.
    pub(crate) next: String,
    /// It was begun to confirm the session that the browser has.
    pub(crate) confirms: bool,
    /// Whether they may come in.
    pub(crate) guest: Result<Guest, OidcError>,
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
    turns: Semaphore,
}

impl Oidc {
    pub(crate) fn new(provider: Provider) -> Self {
        Self { provider, attempts: Attempts::default(), turns: Semaphore::new(ASKED_AT_ONCE) }
    }

    /// How people know the provider.
    pub(crate) fn host(&self) -> String {
        self.provider.options().host()
    }

    /// The address under which browsers have to reach this service.
    pub(crate) fn origin(&self) -> &str {
        self.provider.options().origin()
    }

    /// Begins a login. A browser that has begun one in another tab keeps its secret, so that both can be finished; any other
    /// gets a new one, since what it has may have been planted.
    ///
    /// # Errors
    /// When the provider does not answer, or too many have begun.
    pub(crate) async fn begin(&self, wish: Wish<'_>, now: Timestamp) -> Result<Begun, OidcError> {
        let question = self.provider.question().await?;
        let browser = match wish.browser_has.filter(|secret| self.attempts.has_of(secret, now)) {
            Some(secret) => secret.to_owned(),
            None => random_hex().map_err(|error| OidcError::Service(QueueError::Randomness(error)))?,
        };
        let attempt = Attempt {
            nonce: question.nonce,
            verifier: question.verifier,
            next: wish.next.to_owned(),
            browser: fingerprint(&browser),
            session: wish.session.map(fingerprint),
            address: wish.address,
        };
        self.attempts.begin(&question.state, attempt, now)?;
        Ok(Begun { url: question.url, browser })
    }

    /// Whether a browser that has this secret has begun another login.
    pub(crate) fn has_begun(&self, browser: &str, now: Timestamp) -> bool {
        self.attempts.has_of(browser, now)
    }

    /// Finishes a login in a browser that has these secrets, of the login and of a session.
    ///
    /// # Errors
    /// When it is none of this browser's.
    pub(crate) async fn finish(
        &self,
        back: SentBack,
        browser: Option<&str>,
        session: Option<&str>,
        now: Timestamp,
    ) -> Result<Finished, OidcError> {
        let state = back.state.as_ref().ok_or(OidcError::Unknown)?;
        let mut attempt = self.attempts.take(state, browser, now)?;
        // From here on it is known that this browser comes from where it was sent.
        let confirms = attempt.session.is_some() && attempt.session == session.map(fingerprint);
        let next = std::mem::take(&mut attempt.next);
        Ok(Finished { next, confirms, guest: self.guest(back, attempt).await })
    }

    /// Who comes back, if they may come in.
    async fn guest(&self, back: SentBack, attempt: Attempt) -> Result<Guest, OidcError> {
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
        let turn = timeout(TURN_WITHIN, self.turns.acquire()).await.map_err(|_| OidcError::Crowded)?;
        let identity = self.provider.who(code, &attempt.nonce, attempt.verifier).await?;
        drop(turn);
        match options.guests.scopes_of(&identity) {
            Some(scopes) => Ok(Guest { identity, scopes }),
            None => Err(OidcError::NotAGuest(Box::new(identity))),
        }
    }

    /// Where a browser is logged out of the provider as well, if that has such a place.
    pub(crate) async fn farewell(&self) -> Option<String> {
        self.provider.farewell().await
    }
}

/// What of a text of somebody else's is shown and logged.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}
