//! Logins that have begun, and wait for the provider to send somebody back.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use blobforge_core::Timestamp;
use openidconnect::{Nonce, PkceCodeVerifier};

use crate::auth::{budget::customer, token::fingerprint};

/// How long a login may take.
pub(crate) const LIFETIME: Duration = Duration::from_secs(10 * 60);
/// The most logins that are under way: beyond them, the oldest is forgotten.
const MOST: usize = 10_000;
/// The most of one address, so that none of them pushes the others out.
const MOST_OF_ONE: usize = 100;

/// A login that has begun.
#[derive(Debug)]
pub(super) struct Attempt {
    /// What the ID token has to name.
    pub(super) nonce: Nonce,
    /// What proves to the provider that whoever brings the code has begun this login.
    pub(super) verifier: PkceCodeVerifier,
    /// Where to go afterwards.
    pub(super) next: String,
    /// The secret that the browser's cookie has.
    pub(super) browser: String,
    /// Whence it was begun.
    pub(super) address: Option<IpAddr>,
}

#[derive(Debug)]
struct Waiting {
    attempt: Attempt,
    browser: String,
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

/// The logins that have begun, by the fingerprints of their states. They live in this process alone and go with it.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<BTreeMap<String, Waiting>>);

impl Attempts {
    /// Remembers a login under its state.
    pub(super) fn begin(&self, state: &str, attempt: Attempt, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, waiting| waiting.expires_at > now);
        let customer = attempt.address.map(customer);
        let of_this = |waiting: &&Waiting| waiting.customer == customer;
        if all.values().filter(of_this).count() >= MOST_OF_ONE {
            forget_oldest(&mut all, |waiting| waiting.customer == customer);
        }
        if all.len() >= MOST {
            forget_oldest(&mut all, |_| true);
        }
        let browser = fingerprint(&attempt.browser);
        let waiting = Waiting { attempt, browser, customer, expires_at: now + LIFETIME };
        all.insert(fingerprint(state), waiting);
    }

    /// Takes a login out, once, for the browser in which it was begun.
    pub(super) fn take(&self, state: &str, browser: Option<&str>, now: Timestamp) -> Result<Attempt, Missed> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = fingerprint(state);
        let waiting = all.get(&state).filter(|waiting| waiting.expires_at > now).ok_or(Missed::Unknown)?;
        if browser.map(fingerprint).as_ref() != Some(&waiting.browser) {
            return Err(Missed::OtherBrowser);
        }
        all.remove(&state).map(|waiting| waiting.attempt).ok_or(Missed::Unknown)
    }
}

fn forget_oldest(all: &mut BTreeMap<String, Waiting>, which: impl Fn(&Waiting) -> bool) {
    let oldest =
        all.iter().filter(|(_, waiting)| which(waiting)).min_by_key(|(_, waiting)| waiting.expires_at);
    if let Some(state) = oldest.map(|(state, _)| state.clone()) {
        all.remove(&state);
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
            browser: browser.to_owned(),
            address: Some(address.parse().unwrap()),
        }
    }

    #[test]
    fn a_login_is_finished_once_in_its_browser_and_in_time() {
        let attempts = Attempts::default();
        let begin = |state: &str| attempts.begin(state, attempt("browser", "192.0.2.1"), noon());
        let take = |state: &str, browser, now| attempts.take(state, browser, now).map(|attempt| attempt.next);
        begin("state");
        assert_eq!(take("forged", Some("browser"), noon()), Err(Missed::Unknown));
        assert_eq!(take("state", Some("another"), noon()), Err(Missed::OtherBrowser));
        assert_eq!(take("state", None, noon()), Err(Missed::OtherBrowser));
        assert_eq!(take("state", Some("browser"), noon()), Ok("/jobs".to_owned()));
        assert_eq!(take("state", Some("browser"), noon()), Err(Missed::Unknown), "used up");
        begin("state");
        assert_eq!(take("state", Some("browser"), noon() + LIFETIME), Err(Missed::Unknown), "too late");
    }

    #[test]
    fn one_address_pushes_out_its_own_logins_alone_and_there_are_never_too_many() {
        let attempts = Attempts::default();
        attempts.begin("other", attempt("browser", "192.0.2.1"), noon());
        for n in 0..2 * MOST_OF_ONE {
            let later = noon() + Duration::from_millis(n as u64);
            attempts.begin(&n.to_string(), attempt("browser", "192.0.2.2"), later);
        }
        let count = || attempts.0.lock().unwrap().len();
        assert_eq!(count(), MOST_OF_ONE + 1);
        assert!(attempts.take("other", Some("browser"), noon()).is_ok());
        assert!(attempts.take("0", Some("browser"), noon()).is_err(), "the oldest went first");
        attempts.begin("late", attempt("browser", "192.0.2.1"), noon() + 2 * LIFETIME);
        assert_eq!(count(), 1, "those that took too long are forgotten");
    }
}
