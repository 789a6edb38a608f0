//! Who lets people in: an OpenID provider, and whom of those that it knows.

use std::{net::IpAddr, path::PathBuf};

use reqwest::Url;

use super::{SecretText, secret::secret};
use crate::{auth::OIDC_CALLBACK as CALLBACK, service::ServiceError, webhooks::is_public};

/// How names of hosts end that only a private network knows.
const PRIVATE_ENDINGS: [&str; 5] = [".local", ".lan", ".internal", ".home.arpa", ".localhost"];

/// The settings of the provider. An issuer switches it on.
#[derive(Clone, Debug, clap::Args)]
pub struct OidcArgs {
    /// Address of the `OpenID` provider that people log in with, such as `https://auth.example.org`; without one they log in
    /// with tokens.
    #[arg(long, env = "BLOBFORGE_OIDC_ISSUER", value_parser = issuer)]
    pub oidc_issuer: Option<String>,
    /// Id under which the provider knows this service.
    #[arg(long, env = "BLOBFORGE_OIDC_CLIENT_ID")]
    pub oidc_client_id: Option<String>,
    /// Secret that the provider shares with this service; none for a client that it calls public. Better given in a file.
    #[arg(long, env = "BLOBFORGE_OIDC_CLIENT_SECRET", hide_env_values = true)]
    pub oidc_client_secret: Option<SecretText>,
    /// File with the client's secret.
    #[arg(long, env = "BLOBFORGE_OIDC_CLIENT_SECRET_FILE")]
    pub oidc_client_secret_file: Option<PathBuf>,
    /// Where the provider sends people back to; `/auth/callback` below the public URL unless said.
    #[arg(long, env = "BLOBFORGE_OIDC_REDIRECT_URL", value_parser = redirect_url)]
    pub oidc_redirect_url: Option<String>,
    /// Groups whose members may log in, with commas between them.
    #[arg(long, env = "BLOBFORGE_OIDC_ALLOWED_GROUPS", value_delimiter = ',')]
    pub oidc_allowed_groups: Vec<String>,
    /// Groups whose members are administrators, with commas between them; they may log in as well.
    #[arg(long, env = "BLOBFORGE_OIDC_ADMIN_GROUPS", value_delimiter = ',')]
    pub oidc_admin_groups: Vec<String>,
    /// People who may log in, with commas between them: verified email addresses, or what the provider calls a subject.
    #[arg(long, env = "BLOBFORGE_OIDC_ALLOWED_USERS", value_delimiter = ',')]
    pub oidc_allowed_users: Vec<String>,
    /// People who are administrators, named likewise; they may log in as well.
    #[arg(long, env = "BLOBFORGE_OIDC_ADMIN_USERS", value_delimiter = ',')]
    pub oidc_admin_users: Vec<String>,
    /// What the provider calls the list of somebody's groups.
    #[arg(long, env = "BLOBFORGE_OIDC_GROUPS_CLAIM", default_value = "groups")]
    pub oidc_groups_claim: String,
    /// Scopes to ask for, with commas between them; openid, email, profile, and groups where the provider has it, unless
    /// said.
    #[arg(long, env = "BLOBFORGE_OIDC_SCOPES", value_delimiter = ',')]
    pub oidc_scopes: Vec<String>,
}

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
    /// A provider that lets in everybody whom it knows.
    pub fn new(issuer: &str, client_id: &str, redirect_url: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: None,
            redirect_url: redirect_url.to_owned(),
            guests: Guests { everybody: true, ..Guests::default() },
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
}

impl OidcArgs {
    /// The provider that is asked for, if one is.
    pub(super) fn into_options(self, public_url: Option<&str>) -> Result<Option<OidcOptions>, ServiceError> {
        let client_secret = secret(
            "BLOBFORGE_OIDC_CLIENT_SECRET",
            self.oidc_client_secret,
            self.oidc_client_secret_file.as_deref(),
        )?;
        let named = |names: Vec<String>| -> Vec<String> {
            names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        };
        let mut guests = Guests {
            groups: named(self.oidc_allowed_groups),
            admin_groups: named(self.oidc_admin_groups),
            users: named(self.oidc_allowed_users),
            admin_users: named(self.oidc_admin_users),
            everybody: false,
        };
        let Some(issuer) = self.oidc_issuer else {
            if self.oidc_client_id.is_some() || client_secret.is_some() || guests != Guests::default() {
                let what = "settings of an OpenID provider are given, but no BLOBFORGE_OIDC_ISSUER: nobody could log in \
                            with it. Set it, or unset the others";
                return Err(ServiceError::Config(what.to_owned()));
            }
            return Ok(None);
        };
        let Some(client_id) = self.oidc_client_id else {
            let what = "BLOBFORGE_OIDC_ISSUER is set, but not BLOBFORGE_OIDC_CLIENT_ID: it is the id that the provider \
                        gave this service";
            return Err(ServiceError::Config(what.to_owned()));
        };
        let redirect_url = returning_to(self.oidc_redirect_url, public_url)?;
        let is_private = is_private(&issuer);
        if issuer.starts_with("http://") && !is_private {
            let what = format!(
                "{issuer} is not encrypted: everybody on the way could log in as somebody else. Use https for \
                 BLOBFORGE_OIDC_ISSUER"
            );
            return Err(ServiceError::Config(what));
        }
        // Who knows everybody in the world lets nobody in who was not named.
        if !is_private && guests == Guests::default() {
            let what = format!(
                "{issuer} is a public provider, and nobody is named who may log in: everybody with an account there \
                 could. Set BLOBFORGE_OIDC_ALLOWED_GROUPS or BLOBFORGE_OIDC_ALLOWED_USERS, or those for administrators"
            );
            return Err(ServiceError::Config(what));
        }
        guests.everybody = is_private && guests.groups.is_empty() && guests.users.is_empty();
        let scopes = named(self.oidc_scopes);
        Ok(Some(OidcOptions {
            issuer,
            client_id,
            client_secret: client_secret.filter(|secret| !secret.reveal().is_empty()),
            redirect_url,
            guests,
            groups_claim: self.oidc_groups_claim,
            scopes: (!scopes.is_empty()).then_some(scopes),
        }))
    }
}

/// Where the provider sends people back to: a place of this service, under the address that people know.
fn returning_to(redirect_url: Option<String>, public_url: Option<&str>) -> Result<String, ServiceError> {
    match (redirect_url, public_url) {
        (None, Some(public)) => Ok(format!("{public}{CALLBACK}")),
        (Some(redirect), Some(public)) if redirect != format!("{public}{CALLBACK}") => {
            let what = format!(
                "BLOBFORGE_OIDC_REDIRECT_URL is {redirect}, but BLOBFORGE_PUBLIC_URL is {public}: people would come back \
                 to another address than they left. Unset the first"
            );
            Err(ServiceError::Config(what))
        }
        (Some(redirect), _) => Ok(redirect),
        (None, None) => {
            let what = "BLOBFORGE_OIDC_ISSUER is set, but not the address to come back to: set BLOBFORGE_PUBLIC_URL to \
                        the one under which people reach this service, or BLOBFORGE_OIDC_REDIRECT_URL";
            Err(ServiceError::Config(what.to_owned()))
        }
    }
}

/// Whether an address leads to this machine or to a private network, as far as it says so itself: by an address that
/// is not public, or by a name that the public network does not give out.
fn is_private(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else { return false };
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return !is_public(address);
    }
    !host.is_empty() && (!host.contains('.') || PRIVATE_ENDINGS.iter().any(|ending| host.ends_with(ending)))
}

/// The address of a provider, with nothing in it that such an address has not.
fn issuer(text: &str) -> Result<String, String> {
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
fn redirect_url(text: &str) -> Result<String, String> {
    let origin = text.trim().strip_suffix(CALLBACK).and_then(|origin| super::web_address(origin).ok());
    let origin = origin.ok_or_else(|| {
        format!("use this service's address and {CALLBACK}, such as https://forge.example.org{CALLBACK}")
    })?;
    Ok(format!("{origin}{CALLBACK}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::{ServeArgs, ServeConfig};

    const CLIENT: [&str; 4] = ["--oidc-client-id", "forge", "--public-url", "https://forge.example.org"];

    fn config(arguments: &[&str]) -> Result<ServeConfig, String> {
        let arguments = ["serve"].iter().chain(arguments);
        let args = ServeArgs::try_parse_from(arguments).map_err(|error| error.to_string())?;
        ServeConfig::new(args).map_err(|error| error.to_string())
    }

    fn options(issuer: &str, more: &[&str]) -> Result<OidcOptions, String> {
        let config = config(&[&["--oidc-issuer", issuer], &CLIENT[..], more].concat())?;
        Ok(config.oidc.unwrap())
    }

    #[test]
    fn a_public_provider_lets_in_nobody_who_was_not_named() {
        let refusal = options("https://accounts.google.com", &[]).unwrap_err();
        assert!(refusal.contains("BLOBFORGE_OIDC_ALLOWED_USERS"), "{refusal}");
        for named in ["--oidc-allowed-groups", "--oidc-allowed-users", "--oidc-admin-users"] {
            let guests = options("https://accounts.google.com", &[named, "ann@example.org"]).unwrap().guests;
            assert!(!guests.everybody, "{named}");
        }
        assert!(options("https://accounts.google.com", &["--oidc-allowed-groups", " ,"]).is_err());
    }

    #[test]
    fn a_private_provider_lets_in_everybody_unless_somebody_is_named() {
        for issuer in ["https://auth.lan", "http://keycloak:8080/realms/home", "http://10.0.0.1:9000"] {
            assert!(options(issuer, &[]).unwrap().guests.everybody, "{issuer}");
            let admins_only = options(issuer, &["--oidc-admin-groups", "admins"]).unwrap().guests;
            assert!(admins_only.everybody, "as the earlier installation had it");
            assert!(!options(issuer, &["--oidc-allowed-groups", "a,b"]).unwrap().guests.everybody);
        }
    }

    #[test]
    fn private_is_what_says_so_itself() {
        for private in [
            "http://localhost:9000",
            "https://auth",
            "https://auth.Local",
            "https://a.internal.",
            "https://a.home.arpa/x",
            "http://127.0.0.1",
            "http://[::1]:9000",
            "http://[fd00::1]",
            "https://192.168.1.2",
            "https://100.64.0.1",
        ] {
            assert!(is_private(private), "{private}");
        }
        for public in [
            "https://accounts.google.com",
            "https://auth.example.org",
            "https://8.8.8.8",
            "https://[2606:4700::1]",
            "https://local",
            "https://notlocal.org",
            "https://evil.local.example.org",
            "no address",
        ] {
            assert_eq!(is_private(public), public == "https://local", "{public}");
        }
    }

    #[test]
    fn what_does_not_fit_together_stops_the_start() {
        let refused = |arguments: &[&str], name: &str| {
            let refusal = config(arguments).unwrap_err();
            assert!(refusal.contains(name), "{arguments:?}: {refusal}");
        };
        refused(&["--oidc-client-id", "a"], "BLOBFORGE_OIDC_ISSUER");
        refused(&["--oidc-admin-groups", "a"], "BLOBFORGE_OIDC_ISSUER");
        refused(&["--oidc-issuer", "https://auth.lan"], "BLOBFORGE_OIDC_CLIENT_ID");
        refused(&["--oidc-issuer", "https://auth.lan", "--oidc-client-id", "a"], "BLOBFORGE_PUBLIC_URL");
        let unencrypted = options("http://auth.example.org", &["--oidc-allowed-groups", "a"]);
        assert!(unencrypted.unwrap_err().contains("not encrypted"));
        let elsewhere = ["--oidc-redirect-url", "https://other.example.org/auth/callback"];
        assert!(options("https://auth.lan", &elsewhere).unwrap_err().contains("BLOBFORGE_PUBLIC_URL"));
        for bad in ["https://a/callback", "/auth/callback", "https://a.example/x/auth/callback"] {
            assert!(redirect_url(bad).is_err(), "{bad}");
        }
        for bad in ["auth.example.org", "ftp://a", "https://a?b", "https://a#b", "https://u:p@a"] {
            assert!(issuer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn people_come_back_to_the_public_address() {
        let found = options("https://auth.lan/", &["--oidc-client-secret", "canary"]).unwrap();
        assert_eq!(found.redirect_url, "https://forge.example.org/auth/callback");
        assert_eq!((found.origin(), found.host().as_str()), ("https://forge.example.org", "auth.lan"));
        assert!(!format!("{found:?}").contains("canary"));
        // As the earlier installation was set up: by this address alone.
        let earlier = ["--oidc-issuer", "https://auth.lan", "--oidc-client-id", "a", "--oidc-redirect-url"];
        let config = config(&[&earlier[..], &["https://forge.lan/auth/callback"]].concat()).unwrap();
        assert_eq!(config.public_url.as_deref(), Some("https://forge.lan"));
        assert!(config.is_https(), "so that cookies are for https alone");
    }
}
