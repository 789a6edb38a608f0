//! Logins that have begun, and wait for the provider to send somebody back.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use blobforge_core::Timestamp;
use openidconnect::{Nonce, PkceCodeVerifier};

use crate::auth::{
    budget::{STEPS_OF_LOGINS, customer},
    token::fingerprint,
};

/// How long a login may take.
pub(crate) const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The most logins that are under way.
const MOST: usize = 20_000;
/// The most of one address: as many as it can begin within their time, so that none is refused for those of others there.
const MOST_OF_ONE: usize = STEPS_OF_LOGINS as usize * 11;

/// A login that has begun.
#[derive(Debug)]
pub(super) struct Attempt {
    /// What the ID token has to name.
    pub(super) nonce: Nonce,
    /// What proves to the provider that whoever brings the code has begun this login.
    pub(super) verifier: PkceCodeVerifier,
    /// Where to go afterwards.
    pub(super) next: String,
    /// The fingerprint of the secret that the browser's cookie has.
    pub(super) browser: String,
    /// The fingerprint of the session that the provider is to confirm, if that is why somebody is sent there.
    pub(super) session: Option<String>,
    /// Whence it was begun.
    pub(super) address: Option<IpAddr>,
}

#[derive(Debug)]
struct Waiting {
    attempt: Attempt,
    customer: Option<String>,
    expires_at: Timestamp,
}

/// Why somebody who comes back is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    /// No such login has begun, it was finished, or took too long.
    Unknown,
    /// It was begun in another browser.
    OtherBrowser,
}

/// So many logins have begun and are not finished that there is no room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// The logins that have begun, by the fingerprints of their states. They live in this process alone and go with it.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<BTreeMap<String, Waiting>>);

impl Attempts {
    /// Remembers a login under its state. Whoever comes too late is refused: were others forgotten instead, anybody could
    /// keep everybody from logging in.
    pub(super) fn begin(&self, state: &str, attempt: Attempt, now: Timestamp) -> Result<(), NoRoom> {
        let mut all = self.all();
        all.retain(|_, waiting| waiting.expires_at > now);
        let customer = attempt.address.map(customer);
        let of_this = all.values().filter(|waiting| waiting.customer == customer).count();
        if of_this >= MOST_OF_ONE || all.len() >= MOST {
            return Err(NoRoom);
        }
        all.insert(fingerprint(state), Waiting { attempt, customer, expires_at: now + LIFETIME });
        Ok(())
    }

    /// Whether a browser that has this secret has begun a login which is not finished.
    pub(super) fn has_of(&self, browser: &str, now: Timestamp) -> bool {
        let browser = fingerprint(browser);
        let is_its = |waiting: &Waiting| waiting.attempt.browser == browser && waiting.expires_at > now;
        self.all().values().any(is_its)
    }

    /// Takes a login out, once, for the browser in which it was begun.
    pub(super) fn take(&self, state: &str, browser: Option<&str>, now: Timestamp) -> Result<Attempt, Missed> {
        let mut all = self.all();
        let state = fingerprint(state);
        let waiting = all.get(&state).filter(|waiting| waiting.expires_at > now).ok_or(Missed::Unknown)?;
        if browser.map(fingerprint).as_ref() != Some(&waiting.attempt.browser) {
            return Err(Missed::OtherBrowser);
        }
        all.remove(&state).map(|waiting| waiting.attempt).ok_or(Missed::Unknown)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        Timestamp::from_millis(43_200_000)
    }

    fn attempt(browser: &str, address: &str) -> Attempt {
        Attempt {
            nonce: Nonce::new("nonce".to_owned()),
            verifier: PkceCodeVerifier::new("verifier".to_owned()),
            next: "/jobs".to_owned(),
            browser: fingerprint(browser),
            session: None,
            address: Some(address.parse().unwrap()),
        }
    }

    #[test]
    fn a_login_is_finished_once_in_its_browser_and_in_time() {
        let attempts = Attempts::default();
        let begin = |state: &str| attempts.begin(state, attempt("browser", "192.0.2.1"), noon()).unwrap();
        let take = |state: &str, browser, now| attempts.take(state, browser, now).map(|attempt| attempt.next);
        begin("state");
        assert!(attempts.has_of("browser", noon()) && !attempts.has_of("another", noon()));
        assert_eq!(take("forged", Some("browser"), noon()), Err(Missed::Unknown));
        assert_eq!(take("state", Some("another"), noon()), Err(Missed::OtherBrowser));
        assert_eq!(take("state", None, noon()), Err(Missed::OtherBrowser));
        assert_eq!(take("state", Some("browser"), noon()), Ok("/jobs".to_owned()));
        assert_eq!(take("state", Some("browser"), noon()), Err(Missed::Unknown), "used up");
        assert!(!attempts.has_of("browser", noon()));
        begin("state");
        assert!(!attempts.has_of("browser", noon() + LIFETIME));
        assert_eq!(take("state", Some("browser"), noon() + LIFETIME), Err(Missed::Unknown), "too late");
    }

    #[test]
    fn whoever_begins_too_many_pushes_nobody_out() {
        let attempts = Attempts::default();
        let begin = |state: &str, address: &str, at| attempts.begin(state, attempt("browser", address), at);
        for n in 0..MOST_OF_ONE {
            assert_eq!(begin(&n.to_string(), "192.0.2.2", noon()), Ok(()));
        }
        assert_eq!(begin("one more", "192.0.2.2", noon()), Err(NoRoom));
        assert_eq!(begin("other", "192.0.2.1", noon()), Ok(()));
        for state in ["0", "other"] {
            assert!(attempts.take(state, Some("browser"), noon()).is_ok(), "{state}");
        }
        assert_eq!(begin("late", "192.0.2.2", noon() + 2 * LIFETIME), Ok(()));
        assert_eq!(attempts.all().len(), 1, "those that took too long are forgotten");
    }

    #[test]
    fn there_are_never_too_many() {
        let attempts = Attempts::default();
        for n in 0..MOST {
            let attempt = attempt("browser", "192.0.2.1");
            let waiting = Waiting { attempt, customer: None, expires_at: noon() + LIFETIME };
            attempts.all().insert(n.to_string(), waiting);
        }
        assert_eq!(attempts.begin("state", attempt("browser", "192.0.2.2"), noon()), Err(NoRoom));
    }
}
