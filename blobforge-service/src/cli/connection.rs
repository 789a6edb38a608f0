//! Where the service is, and what opens its door.

use std::path::{Path, PathBuf};

use blobforge_worker_sdk::client::{Client, ClientConfig};

use super::CliError;

/// How to reach a service.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Connection {
    /// Address of the service.
    #[arg(long, env = "BLOBFORGE_SERVER_URL", default_value = "http://localhost:8080")]
    server: String,
    /// API token; without one, the admin token of a service that keeps its data on this machine is used.
    #[arg(long, env = "BLOBFORGE_API_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the API token.
    #[arg(long, env = "BLOBFORGE_API_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Database of the local service, beside which its admin token lies.
    #[arg(long, env = "BLOBFORGE_DB_PATH", default_value = "./data/blobforge.db", hide = true)]
    db_path: PathBuf,
}

impl Connection {
    /// A client with the given token, or the local admin's.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), None) => token.trim().to_owned(),
            (None, Some(file)) => token_in(file)?,
            (None, None) => self.local_admin_token()?,
            (Some(_), Some(_)) => {
                return Err(CliError::new(
                    "set either BLOBFORGE_API_TOKEN or BLOBFORGE_API_TOKEN_FILE, not both",
                ));
            }
        };
        Ok(Client::new(ClientConfig::new(&self.server, token))?)
    }

    fn local_admin_token(&self) -> Result<String, CliError> {
        let file = self.db_path.with_file_name("admin-token");
        let token = std::fs::read_to_string(&file).map_err(|error| {
            CliError::new(format!(
                "no API token is given, and {} cannot be read ({error}). Set BLOBFORGE_API_TOKEN, or run this where the service keeps its data",
                file.display()
            ))
        })?;
        Ok(token.trim().to_owned())
    }
}

fn token_in(file: &Path) -> Result<String, CliError> {
    let token = std::fs::read_to_string(file).map_err(|error| {
        CliError::new(format!("the API token in {} cannot be read: {error}", file.display()))
    })?;
    Ok(token.trim().to_owned())
}
