//! `blobforge config show`: what each setting is, and where that comes from.

use std::process::ExitCode;

use clap::CommandFactory;
use serde_json::json;

use super::{
    CliError,
    terminal::{Column, say, table},
};
use crate::config::{Layers, ServeArgs};

/// What `blobforge config` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ConfigCommand {
    /// Print each setting of the service, its value and where it comes from. Secrets are masked.
    Show(Box<ShowArgs>),
}

/// What `blobforge config show` takes: what `serve` does, so that a command line can be tried out.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    _serve: ServeArgs,
}

pub(super) fn run(command: &ConfigCommand, layers: &Layers) -> Result<ExitCode, CliError> {
    let ConfigCommand::Show(args) = command;
    let settings = layers.settings(&ServeArgs::command());
    if args.json {
        let all: Vec<_> = settings
            .into_iter()
            .map(|setting| json!({"name": setting.name, "value": setting.value, "from": setting.from}))
            .collect();
        say(serde_json::to_string_pretty(&all)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = settings.into_iter().map(|setting| {
        vec![setting.name, setting.value.unwrap_or_else(|| "not set".to_owned()), setting.from]
    });
    say(table(&[Column::Text("setting"), Column::Text("value"), Column::Text("from")], rows.collect()))?;
    Ok(ExitCode::SUCCESS)
}
