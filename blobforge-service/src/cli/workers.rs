//! `blobforge workers`: who works, and who is to stop.

use std::process::ExitCode;

use blobforge_core::WorkerId;
use clap_complete::ArgValueCompleter;
use serde_json::Value;

use super::{
    CliError, Connection, candidates,
    listing::{ListStyle, Listing, field},
    terminal::{Column, ago, complain, say},
};

/// What `blobforge workers` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum WorkersCommand {
    /// List workers.
    List(ListArgs),
    /// Give workers no more work; what they run is finished.
    Drain(SomeArgs),
    /// Give workers work again.
    Resume(SomeArgs),
    /// Forget workers; what they run is given to others.
    Remove(SomeArgs),
}

/// What `blobforge workers list` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    style: ListStyle,
    #[command(flatten)]
    connection: Connection,
}

/// Some workers.
#[derive(Debug, clap::Args)]
pub(super) struct SomeArgs {
    /// The workers' ids.
    #[arg(required = true, value_name = "WORKER", add = ArgValueCompleter::new(candidates::workers), value_parser = worker_id)]
    workers: Vec<WorkerId>,
    #[command(flatten)]
    connection: Connection,
}

fn worker_id(text: &str) -> Result<WorkerId, String> {
    WorkerId::new(text).map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
enum Action {
    Drain,
    Resume,
    Remove,
}

pub(super) async fn run(command: WorkersCommand) -> Result<ExitCode, CliError> {
    match command {
        WorkersCommand::List(args) => list(args).await,
        WorkersCommand::Drain(args) => each(args, Action::Drain).await,
        WorkersCommand::Resume(args) => each(args, Action::Resume).await,
        WorkersCommand::Remove(args) => each(args, Action::Remove).await,
    }
}

async fn list(args: ListArgs) -> Result<ExitCode, CliError> {
    let workers = args.connection.client()?.workers().await?;
    let columns = [
        Column::Text("worker"),
        Column::Text("status"),
        Column::Text("types"),
        Column::Text("host"),
        Column::Text("last seen"),
        Column::Text("trouble"),
    ];
    let row = |worker: &Value| {
        vec![
            field(worker, "id"),
            field(worker, "status"),
            field(worker, "types"),
            field(worker, "host"),
            ago(&field(worker, "last_seen_at")),
            field(worker, "trouble"),
        ]
    };
    let listing = Listing {
        columns: &columns,
        name: &|worker| field(worker, "id"),
        row: &row,
        nothing: "no worker has ever registered. Start one with: blobforge worker",
    };
    args.style.print(&workers, &listing)?;
    Ok(ExitCode::SUCCESS)
}

async fn each(args: SomeArgs, action: Action) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let mut code = ExitCode::SUCCESS;
    for worker in &args.workers {
        let (done, said) = match action {
            Action::Drain => (client.drain_worker(worker).await, "gets no more work"),
            Action::Resume => (client.resume_worker(worker).await, "gets work again"),
            Action::Remove => (client.remove_worker(worker).await, "is forgotten"),
        };
        match done.map_err(CliError::from) {
            Ok(()) => say(format!("worker {worker} {said}"))?,
            Err(error) if error.is_away() => return Err(error),
            Err(error) => {
                complain(format!("worker {worker}: {error}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
