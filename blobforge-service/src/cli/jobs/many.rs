//! What is done with several jobs.

use std::process::ExitCode;

use blobforge_core::{JobId, Status};
use blobforge_worker_sdk::client::{BulkAction, BulkReply, Client, ClientError, JobQuery};

use clap_complete::ArgValueCompleter;

use super::{JobRef, SomeArgs};
use crate::cli::{
    CliError, Connection, candidates,
    terminal::{complain, confirmed, say},
};

/// What `blobforge jobs retry` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  blobforge jobs retry 123
  blobforge jobs retry --all --failed
  blobforge jobs retry --all --failed --type pdf --text \"out of memory\" --dry-run")]
pub(in crate::cli) struct RetryArgs {
    /// The jobs' numbers, or the SHA-256s of their sources or how those begin.
    #[arg(value_name = "JOB", add = ArgValueCompleter::new(candidates::jobs), required_unless_present = "all", conflicts_with = "all")]
    jobs: Vec<JobRef>,
    /// All jobs that failed or were cancelled, as said by the flags that go with it.
    #[arg(long, requires = "which")]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// Of those of this type.
    #[arg(long = "type", value_name = "TYPE", requires = "all")]
    job_type: Option<String>,
    /// Of those with this text in the source's path or the last error.
    #[arg(long, requires = "all")]
    text: Option<String>,
    /// Of those with this tag.
    #[arg(long, requires = "all")]
    tag: Option<String>,
    /// Only count.
    #[arg(long, requires = "all")]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Which ended jobs are meant.
#[derive(Debug, clap::Args)]
#[group(id = "which", multiple = false)]
struct Which {
    /// Those that failed.
    #[arg(long, requires = "all")]
    failed: bool,
    /// Those that were cancelled.
    #[arg(long, requires = "all")]
    cancelled: bool,
    /// Those in this group of failures.
    #[arg(long, requires = "all", value_name = "ID")]
    group: Option<i64>,
}

/// What `blobforge jobs delete` takes.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DeleteArgs {
    /// The jobs' numbers, or the SHA-256s of their sources or how those begin.
    #[arg(required = true, value_name = "JOB", add = ArgValueCompleter::new(candidates::jobs))]
    jobs: Vec<JobRef>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn retry(args: RetryArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    if !args.all {
        return each(&client, &args.jobs, async |id| {
            client.retry(id).await.map(|job| format!("job {id} is {}", job.status_label))
        })
        .await;
    }
    let status = match args.which {
        Which { failed: true, .. } => Some(Status::Failed),
        Which { cancelled: true, .. } => Some(Status::Cancelled),
        Which { .. } => None,
    };
    let query = JobQuery {
        status,
        failure_group: args.which.group,
        job_type: args.job_type,
        text: args.text,
        tag: args.tag,
        ..JobQuery::default()
    };
    let outcome = client.bulk(BulkAction::Retry, &query, args.dry_run).await?;
    report(&outcome, if args.dry_run { "would run again" } else { "run again" })
}

pub(super) async fn cancel(args: SomeArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    each(&client, &args.jobs, async |id| {
        client.cancel(id).await.map(|job| format!("job {id} is {}", job.status_label))
    })
    .await
}

pub(super) async fn delete(args: DeleteArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let count = args.jobs.len();
    let question = format!("Forget {count} job{} with all files?", if count == 1 { "" } else { "s" });
    if !args.yes && !confirmed(&question)? {
        return Err(CliError::new("nothing was deleted"));
    }
    each(&client, &args.jobs, async |id| {
        client.delete_job(id).await.map(|()| format!("job {id} is forgotten"))
    })
    .await
}

/// Does something to each job; one that fails does not keep the others from being tried.
async fn each(
    client: &Client,
    jobs: &[JobRef],
    act: impl AsyncFn(JobId) -> Result<String, ClientError>,
) -> Result<ExitCode, CliError> {
    let mut code = ExitCode::SUCCESS;
    for job in jobs {
        let done = match job.find(client).await {
            Ok(id) => act(id).await.map_err(CliError::from),
            Err(error) => Err(error),
        };
        match done {
            Ok(said) => say(said)?,
            Err(error) if error.is_away() => return Err(error),
            Err(error) => {
                complain(format!("job {job}: {error}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn report(outcome: &BulkReply, done: &str) -> Result<ExitCode, CliError> {
    for (code, refused) in &outcome.refused {
        let example = refused.examples.first().and_then(|example| example["detail"].as_str());
        complain(format!("{} not, for {code}: {}", refused.jobs, example.unwrap_or("no reason was given")));
    }
    say(format!("{} of {} jobs {done}", outcome.done, outcome.matched))?;
    Ok(if outcome.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
