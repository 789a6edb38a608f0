//! `blobforge jobs`: a look at jobs, and what becomes of them.

mod list;
mod many;
mod one;
mod reference;

use std::process::ExitCode;

use blobforge_core::Priority;
use clap_complete::ArgValueCompleter;

use super::{CliError, Connection, candidates};
pub(super) use list::{columns, row};
pub(super) use reference::JobRef;

/// What `blobforge jobs` takes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum JobsCommand {
    /// List jobs, newest first.
    List(list::ListArgs),
    /// Show everything that is known of a job.
    Get(OneArgs),
    /// Run failed or cancelled jobs again, with their counters at zero.
    Retry(many::RetryArgs),
    /// Call jobs off: at once those that wait, with the next heartbeat those that run.
    Cancel(SomeArgs),
    /// Change how urgent a job is.
    Priority(PriorityArgs),
    /// Print what the handler of a job said last.
    Logs(LogsArgs),
    /// List the attempts of a job.
    History(one::HistoryArgs),
    /// Forget ended jobs; files that only they need are deleted some time later.
    Delete(many::DeleteArgs),
}

/// A job.
#[derive(Debug, clap::Args)]
pub(super) struct OneArgs {
    /// The job's number, or the SHA-256 of its source or how that begins.
    #[arg(add = ArgValueCompleter::new(candidates::jobs))]
    job: JobRef,
    #[command(flatten)]
    connection: Connection,
}

/// Some jobs.
#[derive(Debug, clap::Args)]
pub(super) struct SomeArgs {
    /// The jobs' numbers, or the SHA-256s of their sources or how those begin.
    #[arg(required = true, value_name = "JOB", add = ArgValueCompleter::new(candidates::jobs))]
    jobs: Vec<JobRef>,
    #[command(flatten)]
    connection: Connection,
}

/// A job, and how urgent it is to be.
#[derive(Debug, clap::Args)]
pub(super) struct PriorityArgs {
    /// The job's number, or the SHA-256 of its source or how that begins.
    #[arg(add = ArgValueCompleter::new(candidates::jobs))]
    job: JobRef,
    /// 1 (critical) to 5 (background), by number or name.
    priority: Priority,
    #[command(flatten)]
    connection: Connection,
}

/// What `blobforge jobs logs` takes.
#[derive(Debug, clap::Args)]
pub(super) struct LogsArgs {
    /// The job's number, or the SHA-256 of its source or how that begins.
    #[arg(add = ArgValueCompleter::new(candidates::jobs))]
    job: JobRef,
    /// Of this attempt, instead of the current or last one.
    #[arg(long)]
    attempt: Option<u32>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(command: JobsCommand) -> Result<ExitCode, CliError> {
    match command {
        JobsCommand::List(args) => list::run(args).await,
        JobsCommand::Get(args) => one::get(args).await,
        JobsCommand::Retry(args) => many::retry(args).await,
        JobsCommand::Cancel(args) => many::cancel(args).await,
        JobsCommand::Priority(args) => one::prioritise(args).await,
        JobsCommand::Logs(args) => one::log(args).await,
        JobsCommand::History(args) => one::history(args).await,
        JobsCommand::Delete(args) => many::delete(args).await,
    }
}
