//! What is done with one job.

use std::process::ExitCode;

use clap_complete::ArgValueCompleter;
use serde_json::Value;

use super::{JobRef, LogsArgs, OneArgs, PriorityArgs};
use crate::cli::{
    CliError, Connection, candidates,
    listing::{ListStyle, Listing, field},
    terminal::{Column, ago, say},
};

/// What `blobforge jobs history` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct HistoryArgs {
    /// The job's number, or the SHA-256 of its source or how that begins.
    #[arg(add = ArgValueCompleter::new(candidates::jobs))]
    job: JobRef,
    #[command(flatten)]
    style: ListStyle,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn get(args: OneArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let job = client.job(args.job.find(&client).await?).await?;
    say(serde_json::to_string_pretty(&job)?)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn prioritise(args: PriorityArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let job = client.reprioritise(args.job.find(&client).await?, args.priority).await?;
    say(format!("job {} has priority {}", job.id, u8::from(job.priority)))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn log(args: LogsArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let id = args.job.find(&client).await?;
    let log = client.log(id, args.attempt).await?;
    match log["log_tail"].as_str() {
        Some(lines) => say(lines.trim_end())?,
        None => {
            let what = "no log is kept: of an attempt that went well, or that never began, there is none";
            return Err(CliError::new(format!("job {id}: {what}")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn history(args: HistoryArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let attempts = client.history(args.job.find(&client).await?).await?;
    let columns = [
        Column::Number("attempt"),
        Column::Text("end"),
        Column::Text("worker"),
        Column::Text("host"),
        Column::Text("began"),
        Column::Text("error"),
    ];
    let row = |attempt: &Value| {
        let end = field(attempt, "end");
        vec![
            field(attempt, "attempt"),
            if end.is_empty() { "running".to_owned() } else { end },
            field(attempt, "worker_id"),
            field(attempt, "host"),
            ago(&field(attempt, "started_at")),
            field(&attempt["error"], "message"),
        ]
    };
    let listing = Listing {
        columns: &columns,
        name: &|attempt| field(attempt, "attempt"),
        row: &row,
        nothing: "no worker has begun it yet",
    };
    args.style.print(&attempts, &listing)?;
    Ok(ExitCode::SUCCESS)
}
