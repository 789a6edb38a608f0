//! Where the service is, and what opens its door.

use std::path::{Path, PathBuf};

use blobforge_worker_sdk::client::{Client, ClientConfig};

use super::{CliError, profile};
use crate::service::ADDRESS_FILE;

/// Where a service on this machine is, unless it is told to be elsewhere.
const USUAL_ADDRESS: &str = "http://localhost:8080";

/// Where the database of one is, unless it is told to be elsewhere.
const USUAL_DATABASE: &str = "./data/blobforge.db";

/// How to reach a service.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Which service")]
pub(super) struct Connection {
    /// Address of the service; unless said otherwise that of the one on this machine.
    #[arg(long, env = "BLOBFORGE_SERVER_URL", value_name = "URL")]
    server: Option<String>,
    /// API token; without one, the admin token of a service that keeps its data on this machine is used.
    #[arg(long, env = "BLOBFORGE_API_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the API token.
    #[arg(long, env = "BLOBFORGE_API_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Service of this name in ~/.config/blobforge/profiles.toml, which says its address and token; the one named default
    /// holds where nothing else is said.
    #[arg(long, env = "BLOBFORGE_PROFILE", value_name = "NAME")]
    profile: Option<String>,
    /// Database of the local service, beside which its admin token lies.
    #[arg(long, env = "BLOBFORGE_DB_PATH", hide = true)]
    db_path: Option<PathBuf>,
    /// The admin token of the local service, if it was set.
    #[arg(long, env = "BLOBFORGE_ADMIN_TOKEN", hide = true, hide_env_values = true)]
    admin_token: Option<String>,
    /// File with it, if that is not beside the database.
    #[arg(long, env = "BLOBFORGE_ADMIN_TOKEN_FILE", hide = true)]
    admin_token_file: Option<PathBuf>,
}

/// A service, and what opens its door.
struct Door {
    server: String,
    token: String,
}

impl Connection {
    /// A client with the given token, or the local admin's.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        let Door { server, token } = self.door()?;
        Ok(Client::new(ClientConfig::new(server, token))?)
    }

    /// Address and token come from one place: a token is shown to nobody but the service that it is for.
    fn door(&self) -> Result<Door, CliError> {
        let is_said = self.server.is_some() || self.token.is_some() || self.token_file.is_some();
        match &self.profile {
            Some(_) if is_said => {
                return Err(CliError::usage(
                    "a profile says both address and token: unset BLOBFORGE_SERVER_URL, BLOBFORGE_API_TOKEN and \
                     BLOBFORGE_API_TOKEN_FILE, or name no profile",
                ));
            }
            Some(name) => return self.door_of(name)?.ok_or_else(|| no_profile(name)),
            // Who names a database means the service that has it.
            None if !is_said
                && self.db_path.is_none()
                && let Some(door) = self.door_of(profile::USUAL)? =>
            {
                return Ok(door);
            }
            None => {}
        }
        let server = self.server.clone().unwrap_or_else(|| self.local_address());
        let token = match (&self.token, &self.token_file) {
            (Some(token), None) => token.trim().to_owned(),
            (None, Some(file)) => token_in(file)?,
            (None, None) if self.server.is_none() || is_this_machine(&server) => self.local_admin_token()?,
            (None, None) => {
                return Err(CliError::new(format!(
                    "no API token is given for {server}. Set BLOBFORGE_API_TOKEN: the admin token that lies on this machine is \
                     for the service on this machine alone"
                )));
            }
            (Some(_), Some(_)) => {
                return Err(CliError::new(
                    "set either BLOBFORGE_API_TOKEN or BLOBFORGE_API_TOKEN_FILE, not both",
                ));
            }
        };
        Ok(Door { server, token })
    }

    fn door_of(&self, name: &str) -> Result<Option<Door>, CliError> {
        let Some(file) = profile::usual_file() else { return Ok(None) };
        let Some(profile) = profile::find(&file, name)? else { return Ok(None) };
        let token = match (profile.token, profile.token_file) {
            (Some(token), None) => token,
            // A path in a file is meant from there.
            (None, Some(token_file)) => token_in(&file.with_file_name(token_file))?,
            _ => {
                let what = format!("{}: say either token or token_file in [{name}]", file.display());
                return Err(CliError::new(what));
            }
        };
        Ok(Some(Door { server: profile.server, token: token.trim().to_owned() }))
    }

    /// The database of the local service, if it was named.
    pub(super) fn database(&self) -> Option<&Path> {
        self.db_path.as_deref()
    }

    /// A file that the service on this machine keeps beside its database.
    fn beside_the_database(&self, name: &str) -> PathBuf {
        self.db_path.as_deref().unwrap_or(Path::new(USUAL_DATABASE)).with_file_name(name)
    }

    /// Where the service on this machine said that it is.
    fn local_address(&self) -> String {
        let said = std::fs::read_to_string(self.beside_the_database(ADDRESS_FILE)).unwrap_or_default();
        match said.trim() {
            // It may have become another machine's since, which must not see a token.
            address if is_this_machine(address) || is_own_address(address) => address.to_owned(),
            _ => USUAL_ADDRESS.to_owned(),
        }
    }

    fn local_admin_token(&self) -> Result<String, CliError> {
        match (&self.admin_token, &self.admin_token_file) {
            (Some(token), _) => return Ok(token.trim().to_owned()),
            (None, Some(file)) => return token_in(file),
            (None, None) => {}
        }
        let file = self.beside_the_database("admin-token");
        let token = std::fs::read_to_string(&file).map_err(|error| {
            CliError::new(format!(
                "no API token is given, and {} cannot be read ({error}). Set BLOBFORGE_API_TOKEN, or run this where the service \
                 keeps its data; if the file is lost, `blobforge tokens reset-admin` makes another one there",
                file.display()
            ))
        })?;
        Ok(token.trim().to_owned())
    }
}

/// Whether a service at this address can be nobody's but this machine's.
fn is_this_machine(server: &str) -> bool {
    let url = reqwest::Url::parse(server).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Whether the address is one of this machine's own in its networks.
fn is_own_address(server: &str) -> bool {
    let url = reqwest::Url::parse(server).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    address.is_ok_and(|address| std::net::TcpListener::bind((address, 0)).is_ok())
}

fn no_profile(name: &str) -> CliError {
    let file = profile::usual_file().unwrap_or_else(|| PathBuf::from("profiles.toml"));
    CliError::new(format!(
        "there is no profile {name:?}: write [{name}] with server and token into {}",
        file.display()
    ))
}

fn token_in(file: &Path) -> Result<String, CliError> {
    let token = std::fs::read_to_string(file).map_err(|error| {
        CliError::new(format!("the API token in {} cannot be read: {error}", file.display()))
    })?;
    Ok(token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{is_own_address, is_this_machine};

    #[test]
    fn only_this_machine_is_this_machine() {
        for here in
            ["http://localhost:8080", "http://127.0.0.1:1", "https://127.9.9.9/x", "http://[::1]:8080"]
        {
            assert!(is_this_machine(here), "{here}");
        }
        let others = [
            "http://forge.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "http://10.0.0.1",
            "nonsense",
        ];
        for elsewhere in others {
            assert!(!is_this_machine(elsewhere), "{elsewhere}");
        }
        assert!(is_own_address("http://127.0.0.1:8080") && !is_own_address("http://192.0.2.1:8080"));
    }
}
