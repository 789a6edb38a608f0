//! Where to go after a login: places of this service alone, so that no link to its login leads elsewhere.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The longest place that is remembered, in bytes.
const MAX_BYTES: usize = 2000;
/// Where people go who were going nowhere in particular.
const HOME: &str = "/";

/// The place that is asked for if it is one of this service, and the first page otherwise.
pub(crate) fn local_path(asked: Option<&str>) -> &str {
    asked.filter(|asked| is_local(asked)).unwrap_or(HOME)
}

/// Browsers take `//host` and `/\host` for other sites, and leave out tabs and line breaks before they look.
fn is_local(path: &str) -> bool {
    let mut rest = path.chars();
    let begins_well = rest.next() == Some('/') && !matches!(rest.next(), Some('/' | '\\'));
    // Logging in once more would help nobody.
    let goes_on = !path.starts_with("/auth/") && path != "/login";
    begins_well && goes_on && path.len() <= MAX_BYTES && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The address of a page for logging in that leads back to a place afterwards.
pub(crate) fn leading_back(page: &str, path: &str) -> String {
    match local_path(Some(path)) {
        HOME => page.to_owned(),
        path => format!("{page}?next={}", utf8_percent_encode(path, NON_ALPHANUMERIC)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_of_this_service_are_gone_to() {
        for good in ["/", "/jobs", "/jobs?status=failed&page=2", "/jobs/7#history", "/a//b", "/x:y@z"] {
            assert_eq!(local_path(Some(good)), good);
        }
        for bad in [
            "",
            "jobs",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /jobs",
            "https://evil.example",
            "https:/evil.example",
            "javascript:alert(1)",
            "/jobs\r\nset-cookie: a=b",
            "/straße",
            "/auth/login",
            "/auth/oidc?next=/",
            "/login",
        ] {
            assert_eq!(local_path(Some(bad)), "/", "{bad:?}");
        }
        assert_eq!(local_path(None), "/");
        assert_eq!(local_path(Some(&format!("/{}", "a".repeat(MAX_BYTES)))), "/");
    }

    #[test]
    fn a_login_leads_back() {
        assert_eq!(leading_back("/auth/login", "/"), "/auth/login");
        assert_eq!(leading_back("/auth/login", "//evil.example"), "/auth/login");
        assert_eq!(leading_back("/auth/login", "/jobs?a=b&c"), "/auth/login?next=%2Fjobs%3Fa%3Db%26c");
    }
}
