//! `blobforge tokens`: what opens the door of a service.

use std::process::ExitCode;

use super::{CliError, terminal::say};
use crate::{
    config::{Layers, ServeArgs, ServeConfig},
    service::reset_admin,
};

/// What `blobforge tokens` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum TokensCommand {
    /// Make a new admin token on the machine of the service; whoever came in with the old one is out.
    ResetAdmin(Box<ServeArgs>),
}

pub(super) async fn run(command: TokensCommand, layers: &Layers) -> Result<ExitCode, CliError> {
    let TokensCommand::ResetAdmin(args) = command;
    let config = ServeConfig::new(*args, |name| layers.origin(name))?;
    let file = reset_admin(&config).await?;
    say(format!("a new admin token lies in {}; the old one opens nothing any more", file.display()))?;
    Ok(ExitCode::SUCCESS)
}
