//! `blobforge worker`: serves `pdf-text` for a service.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use blobforge_core::WorkerId;
use blobforge_worker_sdk::{Worker, shutdown_signal};

use super::{CliError, Connection, terminal::say};
use crate::{config::LogFormat, pdf_text::PdfText};

/// What `blobforge worker` takes.
#[derive(Debug, clap::Args)]
pub(super) struct WorkerArgs {
    /// Name of this worker; by default one that this machine keeps for each process.
    #[arg(long, env = "BLOBFORGE_WORKER_ID")]
    id: Option<String>,
    /// How many files are converted at once.
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    /// Folder for work in progress and for the worker's name.
    #[arg(long, env = "BLOBFORGE_WORKER_DIR")]
    work_dir: Option<PathBuf>,
    /// How the log is written: text, or json with one object for each line.
    #[arg(long, env = "BLOBFORGE_LOG_FORMAT", default_value = "text")]
    pub(super) log_format: LogFormat,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(args: WorkerArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let mut builder =
        Worker::builder(Arc::new(client)).handler(PdfText::new()?).concurrency(args.concurrency);
    if let Some(id) = args.id {
        builder = builder.id(WorkerId::new(id)?);
    }
    if let Some(dir) = args.work_dir {
        builder = builder.state_dir(dir);
    }
    let worker = builder.build()?;
    say(format!("worker {} serves pdf-text; stop it with Ctrl-C", worker.id()))?;
    let summary = worker.run(shutdown_signal()).await?;
    say(summary.to_string())?;
    Ok(ExitCode::SUCCESS)
}
