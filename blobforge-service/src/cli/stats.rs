//! `blobforge stats`: how much waits, runs and is done.

use std::process::ExitCode;

use super::{
    CliError, Connection,
    terminal::{Column, say, table},
};

/// What `blobforge stats` takes.
#[derive(Debug, clap::Args)]
pub(super) struct StatsArgs {
    /// Print JSON as the service sends it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: StatsArgs) -> Result<ExitCode, CliError> {
    let stats = args.connection.client()?.stats().await?;
    if args.json {
        say(serde_json::to_string_pretty(&stats)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let number = |key: &str| stats[key].as_u64().unwrap_or(0).to_string();
    let rows = [
        ("jobs", "total_jobs"),
        ("  uploading", "uploading_jobs"),
        ("  pending", "pending_jobs"),
        ("  running", "running_jobs"),
        ("  completed", "completed_jobs"),
        ("  failed", "failed_jobs"),
        ("  cancelled", "cancelled_jobs"),
        ("workers", "total_workers"),
        ("  online", "online_workers"),
        ("  offline", "offline_workers"),
    ];
    let rows = rows.into_iter().map(|(name, key)| vec![name.to_owned(), number(key)]).collect();
    say(table(&[Column::Text(""), Column::Number("")], rows))?;
    Ok(ExitCode::SUCCESS)
}
