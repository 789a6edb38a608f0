//! An OpenID provider that lets people in, and whom of those that it knows.

use reqwest::Url;

use super::{SecretText, private_host::is_private};
use crate::auth::OIDC_CALLBACK as CALLBACK;

/// The provider that people log in with.
#[derive(Clone, Debug)]
pub struct OidcOptions {
    /// Its address, exactly as it says it itself.
    pub issuer: String,
    /// Id under which it knows this service.
    pub client_id: String,
    /// The secret that it shares with this service, if it does.
    pub client_secret: Option<SecretText>,
    /// Where it sends people back to: this service's `/auth/callback`.
    pub redirect_url: String,
    /// Whom it lets in.
    pub guests: Guests,
    /// What it calls the list of somebody's groups.
    pub groups_claim: String,
    /// Scopes to ask for, beside `openid`; `None` for the usual ones.
    pub scopes: Option<Vec<String>>,
}

/// Whom of those that a provider knows it lets in. Groups match letter by letter; whoever has an `@` in the name is a
/// verified email address, and anybody else a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guests {
    /// Groups whose members may log in.
    pub groups: Vec<String>,
    /// Groups whose members are administrators.
    pub admin_groups: Vec<String>,
    /// People who may log in.
    pub users: Vec<String>,
    /// People who are administrators.
    pub admin_users: Vec<String>,
    /// Everybody else whom the provider knows may log in, too.
    pub everybody: bool,
}

impl OidcOptions {
    /// A provider that lets in nobody as yet: name somebody in `guests`.
    pub fn new(issuer: &str, client_id: &str, redirect_url: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: None,
            redirect_url: redirect_url.to_owned(),
            guests: Guests::default(),
            groups_claim: "groups".to_owned(),
            scopes: None,
        }
    }

    /// The address under which browsers reach this service.
    pub(crate) fn origin(&self) -> &str {
        self.redirect_url.strip_suffix(CALLBACK).unwrap_or(&self.redirect_url)
    }

    /// How people know the provider: its host.
    pub(crate) fn host(&self) -> String {
        let url = Url::parse(&self.issuer).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| self.issuer.clone())
    }

    /// Finds out whether these may be used: whoever is let in has to be named, and nobody on the way may be able to say who
    /// somebody is.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { issuer, guests, .. } = self;
        self::issuer(issuer)?;
        redirect_url(&self.redirect_url)?;
        let is_private = is_private(issuer);
        if issuer.starts_with("http://") && !is_private {
            return Err(format!(
                "{issuer} is not encrypted: everybody on the way could log in as somebody else. Use https for \
                 BLOBFORGE_OIDC_ISSUER"
            ));
        }
        let names = [&guests.groups, &guests.admin_groups, &guests.users, &guests.admin_users];
        if names.iter().any(|names| names.iter().any(|name| name.trim().is_empty())) {
            return Err("one of the groups or people who may log in has no name".to_owned());
        }
        let nobody_is_named = names.iter().all(|names| names.is_empty());
        // Who knows everybody in the world lets nobody in who was not named.
        if !is_private && (nobody_is_named || guests.everybody) {
            return Err(format!(
                "{issuer} is a public provider, and nobody is named who may log in: everybody with an account there \
                 could. Set BLOBFORGE_OIDC_ALLOWED_GROUPS or BLOBFORGE_OIDC_ALLOWED_USERS, or those for administrators"
            ));
        }
        if nobody_is_named && !guests.everybody {
            return Err(format!("nobody is named whom {issuer} lets in: nobody could log in with it"));
        }
        Ok(())
    }
}

/// The address of a provider, with nothing in it that such an address has not.
pub(super) fn issuer(text: &str) -> Result<String, String> {
    let wrong = || "use the provider's address, such as https://auth.example.org".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let is_web = matches!(url.scheme(), "https" | "http") && url.host_str().is_some();
    if !is_web || !is_plain {
        return Err(wrong());
    }
    Ok(text.trim().to_owned())
}

/// `http(s)://host[:port]/auth/callback`.
pub(super) fn redirect_url(text: &str) -> Result<String, String> {
    let origin = text.trim().strip_suffix(CALLBACK).and_then(|origin| super::web_address(origin).ok());
    let origin = origin.ok_or_else(|| {
        format!("use this service's address and {CALLBACK}, such as https://forge.example.org{CALLBACK}")
    })?;
    Ok(format!("{origin}{CALLBACK}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(issuer: &str, set: impl FnOnce(&mut Guests)) -> OidcOptions {
        let mut options = OidcOptions::new(issuer, "forge", "https://forge.example.org/auth/callback");
        set(&mut options.guests);
        options
    }

    #[test]
    fn whoever_starts_a_service_has_to_say_who_may_come_in() {
        let refusal = |issuer, set: fn(&mut Guests)| options(issuer, set).check().unwrap_err();
        let (public, private) = ("https://accounts.google.com", "https://auth.lan");
        assert!(refusal(public, |_| {}).contains("public provider"));
        assert!(refusal(public, |guests| guests.everybody = true).contains("public provider"));
        assert!(refusal(private, |_| {}).contains("nobody"));
        assert!(refusal(private, |guests| guests.groups.push(" ".to_owned())).contains("no name"));
        let unencrypted = |guests: &mut Guests| guests.groups.push("a".to_owned());
        assert!(refusal("http://auth.example.org", unencrypted).contains("not encrypted"));
        assert!(options(private, |guests| guests.everybody = true).check().is_ok());
        assert!(options(public, |guests| guests.users.push("ann@example.org".to_owned())).check().is_ok());
    }

    #[test]
    fn addresses_have_nothing_in_them_that_belongs_elsewhere() {
        for bad in ["https://a/callback", "/auth/callback", "https://a.example/x/auth/callback"] {
            assert!(redirect_url(bad).is_err(), "{bad}");
        }
        for bad in ["auth.example.org", "ftp://a", "https://a?b", "https://a#b", "https://u:p@a"] {
            assert!(issuer(bad).is_err(), "{bad}");
        }
    }
}
