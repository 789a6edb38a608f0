//! `blobforge health`: whether a service is well, for whoever watches over its process, such as a container engine.

use std::{process::ExitCode, time::Duration};

use serde::Deserialize;

use super::{CliError, terminal::say};
use crate::config::ServeConfig;

/// Who watches asks again soon enough.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// More than any answer has, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// What `blobforge health` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It asks once, needs no token, and ends with 0 if the service, its database and its files are well, and with 3 otherwise.")]
pub(super) struct HealthArgs {
    /// Address of the service; unless said otherwise the one that the settings of `blobforge serve` give it on this machine.
    #[arg(long, env = "BLOBFORGE_SERVER_URL", value_name = "URL")]
    server: Option<String>,
}

/// What a service answers, whether it is well or not.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    version: String,
    #[serde(default)]
    detail: String,
}

/// Asks whether the service is well. `settings` are those that it would have here.
pub(super) async fn run(
    args: HealthArgs,
    settings: Result<ServeConfig, CliError>,
) -> Result<ExitCode, CliError> {
    let server = match args.server {
        Some(server) => server.trim_end_matches('/').to_owned(),
        None => settings?.local_url(),
    };
    let unwell = |error: reqwest::Error| CliError::unwell(format!("{server} does not answer: {error:#}"));
    let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).build().map_err(unwell)?;
    let mut reply = http.get(format!("{server}/api/health")).send().await.map_err(unwell)?;
    let mut said = Vec::new();
    while let Some(piece) = reply.chunk().await.map_err(unwell)? {
        if said.len() + piece.len() > MAX_ANSWER {
            return Err(CliError::unwell(format!("{server} is no BlobForge service")));
        }
        said.extend_from_slice(&piece);
    }
    let answer: Result<Answer, _> = serde_json::from_slice(&said);
    match answer {
        Ok(answer) if reply.status().is_success() => {
            say(format!("{server} is well, version {}", answer.version))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(answer) => Err(CliError::unwell(format!("{server} is not well: {}", answer.detail))),
        Err(_) => Err(CliError::unwell(format!("{server} is no BlobForge service: {}", reply.status()))),
    }
}
