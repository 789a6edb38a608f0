//! `blobforge jobs list`.

use std::process::ExitCode;

use blobforge_core::{HashBeginning, Priority, Status};
use blobforge_worker_sdk::client::{JobQuery, JobView};

use crate::cli::{
    CliError, Connection,
    listing::{ListStyle, Listing},
    terminal::Column,
};

/// What `blobforge jobs list` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  blobforge jobs list --status failed --type pdf
  blobforge jobs list --tag rules --quiet | xargs blobforge jobs cancel
  blobforge jobs list --json --limit 1000 | jq .source_path")]
pub(in crate::cli) struct ListArgs {
    /// Only jobs in this state.
    #[arg(long)]
    status: Option<Status>,
    /// Only jobs of this type.
    #[arg(long = "type", value_name = "TYPE")]
    job_type: Option<String>,
    /// Only jobs of this priority, by number or name.
    #[arg(long)]
    priority: Option<Priority>,
    /// Only jobs that run on this worker.
    #[arg(long)]
    worker: Option<String>,
    /// Only jobs with this tag.
    #[arg(long)]
    tag: Option<String>,
    /// Only jobs with this text in the source's path or the last error.
    #[arg(long)]
    text: Option<String>,
    /// Only jobs of a source whose SHA-256 begins so.
    #[arg(long, value_name = "HASH")]
    source: Option<HashBeginning>,
    /// At most this many.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    style: ListStyle,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: ListArgs) -> Result<ExitCode, CliError> {
    let query = JobQuery {
        status: args.status,
        job_type: args.job_type,
        priority: args.priority,
        worker: args.worker,
        tag: args.tag,
        text: args.text,
        source_hash: args.source,
        failure_group: None,
        limit: args.limit,
    };
    let jobs = args.connection.client()?.jobs(&query).await?;
    let listing = Listing {
        columns: &columns(),
        name: &|job: &JobView| job.id.to_string(),
        row: &row,
        nothing: "no jobs match. Hand one in with: blobforge submit FILE.pdf",
    };
    args.style.print(&jobs, &listing)?;
    Ok(ExitCode::SUCCESS)
}

/// What a list of jobs shows of each.
pub(in crate::cli) fn columns() -> [Column; 7] {
    [
        Column::Number("job"),
        Column::Text("status"),
        Column::Number("priority"),
        Column::Text("type"),
        Column::Number("progress"),
        Column::Text("source"),
        Column::Text("last error"),
    ]
}

/// One job of a list.
pub(in crate::cli) fn row(job: &JobView) -> Vec<String> {
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
