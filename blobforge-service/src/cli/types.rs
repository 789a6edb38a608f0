//! `blobforge types`: what holds for all jobs of a type.

use std::process::ExitCode;

use blobforge_core::JobType;
use serde_json::{Map, Value, json};

use super::{
    CliError, Connection, job_type,
    listing::{ListStyle, Listing, field},
    terminal::{Column, say},
};

/// What `blobforge types` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum TypesCommand {
    /// List types.
    List(ListArgs),
    /// Give no worker any job of a type; what runs goes on.
    Pause(OneArgs),
    /// Give jobs of a type to workers again.
    Resume(OneArgs),
    /// Change what holds for all jobs of a type, from the next claim on.
    Set(SetArgs),
}

/// What `blobforge types list` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    style: ListStyle,
    #[command(flatten)]
    connection: Connection,
}

/// A type.
#[derive(Debug, clap::Args)]
pub(super) struct OneArgs {
    /// The type.
    #[arg(value_name = "TYPE", value_parser = job_type)]
    job_type: JobType,
    #[command(flatten)]
    connection: Connection,
}

/// A type, and what is to hold for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Settings are called as the API calls them, with dots between levels; `null` takes one back:
  limits.running, limits.starts, per_key, oldest_share,
  defaults.max_attempts, defaults.retry, defaults.lease_seconds, defaults.no_progress_seconds,
  retention.completed_seconds, retention.failed_seconds, retention.cancelled_seconds

Examples:
  blobforge types set pdf limits.running=2 defaults.max_attempts=5
  blobforge types set pdf limits.starts='{\"count\": 10, \"per_seconds\": 60}'
  blobforge types set pdf retention.completed_seconds=null")]
pub(super) struct SetArgs {
    /// The type.
    #[arg(value_name = "TYPE", value_parser = job_type)]
    job_type: JobType,
    /// What is to hold, as SETTING=VALUE; a value is JSON.
    #[arg(required = true, value_name = "SETTING=VALUE", value_parser = setting)]
    settings: Vec<(String, Value)>,
    #[command(flatten)]
    connection: Connection,
}

fn setting(text: &str) -> Result<(String, Value), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| "write SETTING=VALUE, such as limits.running=2".to_owned())?;
    let value = serde_json::from_str(value)
        .map_err(|_| format!("{value:?} is no JSON: write a number, null, or '{{…}}' in quotes"))?;
    Ok((name.to_owned(), value))
}

pub(super) async fn run(command: TypesCommand) -> Result<ExitCode, CliError> {
    match command {
        TypesCommand::List(args) => list(args).await,
        TypesCommand::Pause(args) => pause(args, true).await,
        TypesCommand::Resume(args) => pause(args, false).await,
        TypesCommand::Set(args) => set(args).await,
    }
}

async fn list(args: ListArgs) -> Result<ExitCode, CliError> {
    let types = args.connection.client()?.types().await?;
    let columns = [
        Column::Text("type"),
        Column::Text("state"),
        Column::Number("waiting"),
        Column::Number("running"),
        Column::Number("completed"),
        Column::Number("failed"),
        Column::Number("at once"),
    ];
    let row = |of: &Value| {
        let jobs = |status: &str| of["jobs"][status].as_u64().unwrap_or(0).to_string();
        let state = if of["paused"] == true { "paused" } else { "open" };
        vec![
            field(of, "type"),
            state.to_owned(),
            jobs("pending"),
            jobs("running"),
            jobs("completed"),
            jobs("failed"),
            field(&of["limits"], "running"),
        ]
    };
    let listing = Listing {
        columns: &columns,
        name: &|of| field(of, "type"),
        row: &row,
        nothing: "no job was ever submitted. Hand one in with: blobforge submit FILE.pdf",
    };
    args.style.print(&types, &listing)?;
    Ok(ExitCode::SUCCESS)
}

async fn pause(args: OneArgs, paused: bool) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    client.change_type(&args.job_type, &json!({"paused": paused})).await?;
    let said = if paused { "is paused; what runs goes on" } else { "is given to workers again" };
    say(format!("type {} {said}", args.job_type))?;
    Ok(ExitCode::SUCCESS)
}

async fn set(args: SetArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let changed = client.change_type(&args.job_type, &nested(args.settings)?).await?;
    say(serde_json::to_string_pretty(&changed)?)?;
    Ok(ExitCode::SUCCESS)
}

/// `a.b=1` as `{"a": {"b": 1}}`.
fn nested(settings: Vec<(String, Value)>) -> Result<Value, CliError> {
    let mut all = Map::new();
    for (name, value) in settings {
        let twice = || CliError::usage(format!("{name} is set twice"));
        let (group, own) = match name.split_once('.') {
            Some((group, own)) => {
                let group = all.entry(group).or_insert_with(|| Value::Object(Map::new()));
                (group.as_object_mut().ok_or_else(twice)?, own)
            }
            None => (&mut all, name.as_str()),
        };
        if group.insert(own.to_owned(), value).is_some() {
            return Err(twice());
        }
    }
    Ok(Value::Object(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_with_dots_are_levels() {
        let settings =
            ["limits.running=2", "limits.starts=null", "oldest_share=0"].map(|s| setting(s).unwrap());
        let expected = json!({"limits": {"running": 2, "starts": null}, "oldest_share": 0});
        assert_eq!(nested(settings.into()).unwrap(), expected);
        for twice in [["a=1", "a=2"], ["a.b=1", "a.b=2"], ["a=1", "a.b=2"]] {
            assert!(nested(twice.map(|s| setting(s).unwrap()).into()).is_err(), "{twice:?}");
        }
        assert!(setting("limits.running").is_err() && setting("a=b").is_err());
    }
}
