//! `blobforge jobs`: a look at jobs.

use std::process::ExitCode;

use blobforge_core::Status;
use blobforge_worker_sdk::client::{JobQuery, JobView};

use super::{
    CliError, Connection,
    terminal::{Column, say, table},
};

/// What `blobforge jobs` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum JobsCommand {
    /// List jobs, newest first.
    List(ListArgs),
}

/// What `blobforge jobs list` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only jobs in this state.
    #[arg(long)]
    status: Option<Status>,
    /// Only jobs of this type.
    #[arg(long = "type")]
    job_type: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Print JSON, one job a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(command: JobsCommand) -> Result<ExitCode, CliError> {
    let JobsCommand::List(args) = command;
    let query = JobQuery { status: args.status, job_type: args.job_type, limit: args.limit };
    let jobs = args.connection.client()?.jobs(&query).await?;
    if args.json {
        for job in &jobs {
            say(serde_json::to_string(job)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if jobs.is_empty() {
        say("no jobs match. Hand one in with: blobforge submit FILE.pdf")?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = [
        Column::Number("job"),
        Column::Text("status"),
        Column::Number("priority"),
        Column::Text("type"),
        Column::Number("progress"),
        Column::Text("source"),
        Column::Text("last error"),
    ];
    say(table(&columns, jobs.iter().map(row).collect()))?;
    Ok(ExitCode::SUCCESS)
}

fn row(job: &JobView) -> Vec<String> {
    // Only while it runs: what was last heard of an attempt is not how far it came.
    let progress = job.progress.as_ref().filter(|_| job.status == Status::Running);
    let progress = progress.map_or(String::new(), |progress| match progress.total {
        Some(total) => format!("{}/{total}", progress.done),
        None => progress.done.to_string(),
    });
    let error = job.last_error.as_ref().map_or(String::new(), |error| error.message.clone());
    let source = job.source_path.clone().unwrap_or_default();
    vec![
        job.id.to_string(),
        job.status_label.clone(),
        u8::from(job.priority).to_string(),
        job.job_type.clone(),
        progress,
        source,
        error,
    ]
}
