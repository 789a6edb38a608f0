//! The cookies that a browser keeps for the service.

use poem::http::{HeaderMap, header};

/// A cookie that only the service reads, and that goes along when somebody comes from another site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// The secret of a session.
    Session,
    /// What binds a login to the browser in which it was begun.
    Login,
}

impl Cookie {
    /// What it is called: over https with a prefix that browsers protect.
    fn name(self, is_https: bool) -> &'static str {
        match (self, is_https) {
            (Self::Session, true) => "__Host-bf_session",
            (Self::Session, false) => "bf_session",
            (Self::Login, true) => "__Host-bf_login",
            (Self::Login, false) => "bf_login",
        }
    }

    /// What a reply says so that the browser keeps it for so long; at once forgets it with 0.
    pub(crate) fn set(self, value: &str, seconds: u64, is_https: bool) -> String {
        let (name, secure) = (self.name(is_https), if is_https { "; Secure" } else { "" });
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
    }

    /// What a browser sends of it.
    pub(crate) fn read(self, headers: &HeaderMap, is_https: bool) -> Option<&str> {
        let wanted = self.name(is_https);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == wanted).then_some(value))
    }
}

/// The secret in a session's cookie.
pub(crate) fn session_secret(headers: &HeaderMap, is_https: bool) -> Option<&str> {
    Cookie::Session.read(headers, is_https)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_https_a_cookie_is_for_this_host_alone() {
        let set = Cookie::Session.set("secret", 60, true);
        assert_eq!(set, "__Host-bf_session=secret; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure");
        assert!(!Cookie::Login.set("secret", 60, false).contains("Secure"), "or no browser would send it");
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "bf_session=planted; bf_login=a".parse().unwrap());
        headers.append(header::COOKIE, "x=y; __Host-bf_session=own".parse().unwrap());
        assert_eq!(Cookie::Session.read(&headers, true), Some("own"));
        assert_eq!(Cookie::Session.read(&headers, false), Some("planted"));
        assert_eq!(Cookie::Login.read(&headers, true), None);
    }
}
