//! What a page of ours knows and another site's page does not: a value that goes with every change asked for in a session.

use hmac::{Hmac, KeyInit, Mac};
use poem::http::{HeaderMap, HeaderName};
use sha2::Sha256;

use crate::problem::Problem;

/// The header that carries it.
const HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
/// What is authenticated: it sets these values apart from any other use of a session's secret.
const PURPOSE: &[u8] = b"blobforge csrf";

/// The value for a session, which a page carries and sends back as `X-CSRF-Token`. It is made of the session's secret and
/// does not give it away.
pub(crate) fn csrf_token(session_secret: &str) -> String {
    mac(session_secret).map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default()
}

/// Refuses a change in a session that does not come with the session's value.
pub(super) fn check(headers: &HeaderMap, session_secret: &str) -> Result<(), Problem> {
    let sent = headers.get(HEADER).and_then(|value| hex::decode(value.as_bytes()).ok());
    let is_good = sent.zip(mac(session_secret)).is_some_and(|(sent, mac)| mac.verify_slice(&sent).is_ok());
    if is_good {
        return Ok(());
    }
    let detail = "this change came with the cookie of a session, but without the session's X-CSRF-Token. Nothing was changed";
    Err(Problem::forbidden("csrf", detail)
        .hint("load the page again; programs send Authorization: Bearer <token> and need no such header"))
}

fn mac(session_secret: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(session_secret.as_bytes()).ok()?;
    mac.update(PURPOSE);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(value: Option<&str>, secret: &str) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(HEADER, value.parse().unwrap());
        }
        check(&headers, secret).is_ok()
    }

    #[test]
    fn only_the_value_of_the_same_session_will_do() {
        let token = csrf_token("secret");
        assert!(checked(Some(&token), "secret"));
        assert!(!checked(Some(&token), "another"));
        for bad in [None, Some(""), Some("secret"), Some("00"), Some(&token[..62])] {
            assert!(!checked(bad, "secret"), "{bad:?}");
        }
        assert!(!token.contains("secret"));
    }
}
