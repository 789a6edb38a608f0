//! The settings by which people log in with an OpenID provider.

use std::path::PathBuf;

use super::{
    Guests, OidcOptions, SecretText,
    private_host::is_private,
    provider::{issuer, redirect_url},
    secret::secret,
};
use crate::{auth::OIDC_CALLBACK as CALLBACK, service::ServiceError};

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

impl OidcArgs {
    /// The provider that is asked for, if one is.
    pub(super) fn into_options(self, public_url: Option<&str>) -> Result<Option<OidcOptions>, ServiceError> {
        let client_secret = secret(
            "BLOBFORGE_OIDC_CLIENT_SECRET",
            self.oidc_client_secret,
            self.oidc_client_secret_file.as_deref(),
        )?;
        let mut guests = Guests {
            groups: named("BLOBFORGE_OIDC_ALLOWED_GROUPS", &self.oidc_allowed_groups)?,
            admin_groups: named("BLOBFORGE_OIDC_ADMIN_GROUPS", &self.oidc_admin_groups)?,
            users: named("BLOBFORGE_OIDC_ALLOWED_USERS", &self.oidc_allowed_users)?,
            admin_users: named("BLOBFORGE_OIDC_ADMIN_USERS", &self.oidc_admin_users)?,
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
        guests.everybody = is_private(&issuer) && guests.groups.is_empty() && guests.users.is_empty();
        let scopes = named("BLOBFORGE_OIDC_SCOPES", &self.oidc_scopes)?;
        let options = OidcOptions {
            issuer,
            client_id,
            client_secret: client_secret.filter(|secret| !secret.reveal().is_empty()),
            redirect_url,
            guests,
            groups_claim: self.oidc_groups_claim,
            scopes: (!scopes.is_empty()).then_some(scopes),
        };
        options.check().map_err(ServiceError::Config)?;
        Ok(Some(options))
    }
}

/// The names in a list. One that was given and has none is a mistake: it would not be taken for what was meant.
fn named(setting: &str, names: &[String]) -> Result<Vec<String>, ServiceError> {
    let found: Vec<String> =
        names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    if found.is_empty() && !names.is_empty() {
        return Err(ServiceError::Config(format!(
            "{setting} is set, and names nothing: unset it, or put names into it"
        )));
    }
    Ok(found)
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
    }

    #[test]
    fn a_list_that_names_nobody_opens_no_door() {
        for list in
            ["--oidc-allowed-groups", "--oidc-allowed-users", "--oidc-admin-groups", "--oidc-admin-users"]
        {
            for names in [" , ", ""] {
                let refusal = options("https://auth.lan", &[list, names]).unwrap_err();
                assert!(refusal.contains("names nothing"), "{list} {names:?}: {refusal}");
            }
        }
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
