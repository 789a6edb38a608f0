//! `blobforge worker --check`: what is there and what is missing, in plain words.

mod marker;

use std::{path::Path, process::ExitCode, sync::Arc};

use blobforge_core::Queue;
use blobforge_worker_sdk::{Worker, child::network_can_be_cut, graphics_cards};
use serde_json::Value;

use super::{CliError, WorkerArgs, builder};
use crate::cli::{
    free_bytes,
    terminal::{Column, say, size, table},
};

/// What was looked at, and what was found: well or not.
struct Finding {
    what: &'static str,
    is_well: bool,
    said: String,
}

impl Finding {
    fn well(what: &'static str, said: impl Into<String>) -> Self {
        Self { what, is_well: true, said: said.into() }
    }

    fn missing(what: &'static str, said: impl Into<String>) -> Self {
        Self { what, is_well: false, said: said.into() }
    }

    fn row(&self) -> Vec<String> {
        let found = if self.is_well { "ok" } else { "missing" };
        vec![self.what.to_owned(), found.to_owned(), self.said.clone()]
    }
}

/// Looks at everything, also when something is missing: people want to put it all right in one go.
pub(super) async fn run(args: &WorkerArgs) -> Result<ExitCode, CliError> {
    let mut findings = vec![service(args).await];
    if let Some(settings) = args.handler.marker_settings(args.use_gpu) {
        findings.extend(marker::look(&settings).await);
    } else {
        findings.push(handler(args).await);
    }
    findings.extend([folder(args), network(), gpu(args).await]);
    let columns = [Column::Text("what"), Column::Text("found"), Column::Text("more")];
    say(table(&columns, findings.iter().map(Finding::row).collect()))?;
    let missing = findings.iter().filter(|finding| !finding.is_well).count();
    match missing {
        0 => say(format!("everything is there to serve {}", args.handler.job_type()))?,
        1 => say("1 thing is missing")?,
        more => say(format!("{more} things are missing"))?,
    }
    Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn service(args: &WorkerArgs) -> Finding {
    let client = match args.connection.client() {
        Ok(client) => client,
        Err(error) => return Finding::missing("service", error.to_string()),
    };
    match client.stats().await {
        Ok(_) => Finding::well("service", format!("{} answers and takes the token", client.url())),
        Err(error) => Finding::missing("service", error.to_string()),
    }
}

/// Starts the handler as a worker would, against a queue with nothing in it.
async fn handler(args: &WorkerArgs) -> Finding {
    let nothing = Worker::builder(Arc::new(Queue::in_memory()));
    let ready = match args.handler.added_to(nothing, args.use_gpu).await {
        Ok(worker) => worker.drain().await.map_err(CliError::from),
        Err(error) => Err(error),
    };
    match (ready, args.handler.call()) {
        (Ok(_), Some(program)) => Finding::well("program", format!("{} gets ready", program.display())),
        (Ok(_), None) => Finding::well("program", "the built-in engine"),
        (Err(error), _) => Finding::missing("program", error.to_string()),
    }
}

fn folder(args: &WorkerArgs) -> Finding {
    // A worker takes its name and its folder when it is built, and gives them back when it is dropped.
    let nothing = Worker::builder(Arc::new(Queue::in_memory())).handle("nothing", async |_| Ok(Value::Null));
    let worker = builder(args, nothing).and_then(|worker| Ok(worker.build()?));
    match worker {
        Ok(worker) => Finding::well("folder", room(worker.work_dir())),
        Err(error) => Finding::missing("folder", error.to_string()),
    }
}

fn room(folder: &Path) -> String {
    let free = free_bytes(folder).map(|bytes| format!(", {} free", size(bytes))).unwrap_or_default();
    format!("{}{free}", folder.display())
}

fn network() -> Finding {
    let can = if network_can_be_cut() { "can" } else { "cannot (no network namespaces here)" };
    Finding::well("network", format!("programs {can} be cut off with --no-network"))
}

async fn gpu(args: &WorkerArgs) -> Finding {
    let found = tokio::task::spawn_blocking(graphics_cards).await.unwrap_or_default();
    match (found.first(), args.use_gpu) {
        (Some(first), _) => Finding::well("GPU", format!("{} found, {}", found.len(), first.name)),
        (None, false) => Finding::well("GPU", "none, and none is needed"),
        (None, true) => Finding::missing(
            "GPU",
            "nvidia-smi finds none: install the driver, or leave BLOBFORGE_USE_GPU unset",
        ),
    }
}
