//! One-time links that open the door to whoever can read the service's terminal.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use blobforge_core::Timestamp;

use super::token::{fingerprint, random_hex};

/// How long a login link works.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// The most links that wait to be used.
const MOST: usize = 16;

/// The links that wait to be used. They live in this process alone and go with it.
#[derive(Debug, Default)]
pub(crate) struct LoginLinks(Mutex<BTreeMap<String, Timestamp>>);

impl LoginLinks {
    /// Draws the code of a new link.
    pub(crate) fn draw(&self, now: Timestamp) -> std::io::Result<String> {
        let code = random_hex()?;
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, expires| *expires > now);
        while links.len() >= MOST {
            links.pop_first();
        }
        links.insert(fingerprint(&code), now + LIFETIME);
        Ok(code)
    }

    /// Uses a link up; `false` if it is not one, was used, or is too old.
    pub(crate) fn redeem(&self, code: &str, now: Timestamp) -> bool {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.remove(&fingerprint(code)).is_some_and(|expires| expires > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_once_and_not_after_its_time() {
        let links = LoginLinks::default();
        let now = Timestamp::from_millis(1_000_000);
        let code = links.draw(now).unwrap();
        assert!(!links.redeem("x", now));
        assert!(links.redeem(&code, now));
        assert!(!links.redeem(&code, now), "used up");
        let code = links.draw(now).unwrap();
        assert!(!links.redeem(&code, now + LIFETIME), "too old");
    }
}
