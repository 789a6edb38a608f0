//! `blobforge worker --once FILE`: one job without a service, to develop a handler with.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use blobforge_core::{Job, NewJob, Queue, Status};
use blobforge_worker_sdk::{Worker, shutdown_signal};
use futures_util::TryStreamExt;
use indicatif::ProgressBar;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;

use super::{CliError, WorkerArgs};
use crate::cli::terminal::{Bars, Column, say, size, span, table};

/// How often progress is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// What `--once` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Trying a handler")]
pub(super) struct OnceArgs {
    /// Do the job for this file, without a service, and stop: the way to develop a handler.
    #[arg(long, value_name = "FILE")]
    pub(super) once: Option<PathBuf>,
    /// Parameters of that job, as a JSON object.
    #[arg(long, value_name = "JSON", requires = "once", value_parser = object)]
    params: Option<Map<String, Value>>,
    /// Folder for its outputs [default: the name of the file with .out].
    #[arg(long, value_name = "FOLDER", requires = "once")]
    out: Option<PathBuf>,
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("this is no JSON object: {error}"))
}

/// Does the job in a queue that ends with this process, and shows what came of it.
pub(super) async fn run(file: &Path, args: &WorkerArgs) -> Result<ExitCode, CliError> {
    let WorkerArgs { once: args, handler, use_gpu, .. } = args;
    let folder = tempfile::tempdir()?;
    let queue = Queue::builder().heartbeat_every(DRAWN_EVERY).open(folder.path().join("jobs.db")).await?;
    let mut job = NewJob::new(handler.job_type())?.max_attempts(1);
    for (name, value) in args.params.iter().flatten() {
        job = job.param(name, value.clone());
    }
    let id = queue.submit_file(job, file).await.map_err(|error| unreadable(file, &error))?.id;
    let begun = Instant::now();
    let worker = Worker::builder(Arc::new(queue.clone())).work_dir(folder.path().join("work"));
    let worker = handler.added_to(worker, *use_gpu).await?;
    let stopped = shutdown_signal();
    let bar = Bars::new().add(&file.file_name().unwrap_or_default().to_string_lossy(), "done");
    tokio::select! {
        drained = worker.drain() => drained.map(|_| ()).map_err(CliError::from),
        () = draw(&queue, id, &bar) => Ok(()),
        // Whatever runs and lies about is dropped with the worker.
        () = stopped.cancelled() => Err(CliError::new("stopped")),
    }?;
    bar.finish_and_clear();
    let job = queue.job(id).await?;
    let out = args.out.clone().unwrap_or_else(|| beside(file));
    let code = match job.status() {
        Status::Completed => {
            keep(&queue, &job, &out).await?;
            completed(&job, &out, begun.elapsed())?;
            ExitCode::SUCCESS
        }
        _ => {
            failed(&job)?;
            ExitCode::FAILURE
        }
    };
    queue.close().await;
    Ok(code)
}

fn unreadable(file: &Path, error: &dyn std::error::Error) -> CliError {
    CliError::new(format!("{} cannot be taken: {error}", file.display()))
}

/// `letter.pdf.out` in the current folder.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".out");
    name.into()
}

/// Draws how far the job is, for ever.
async fn draw(queue: &Queue, id: blobforge_core::JobId, bar: &ProgressBar) {
    let mut ticks = tokio::time::interval(DRAWN_EVERY);
    loop {
        ticks.tick().await;
        let Ok(Job { progress: Some(at), .. }) = queue.job(id).await else { continue };
        if let Some(total) = at.total {
            bar.set_length(total);
        }
        bar.set_position(at.done);
        bar.set_message([at.stage, at.message].into_iter().flatten().collect::<Vec<_>>().join(" "));
    }
}

/// Copies the outputs into a folder. The queue has checked their names: none of them leads out of it.
async fn keep(queue: &Queue, job: &Job, out: &Path) -> Result<(), CliError> {
    for output in &job.outputs {
        let path = out.join(&output.name);
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await?;
        }
        let mut content = queue.output(job.id, &output.name).await?;
        let mut file = tokio::fs::File::create(&path).await?;
        while let Some(piece) = content.try_next().await? {
            file.write_all(&piece).await?;
        }
        file.flush().await?;
    }
    Ok(())
}

fn completed(job: &Job, out: &Path, took: Duration) -> Result<(), CliError> {
    let row = |output: &blobforge_core::Output| {
        vec![out.join(&output.name).display().to_string(), size(output.size)]
    };
    if !job.outputs.is_empty() {
        say(table(&[Column::Text("output"), Column::Number("size")], job.outputs.iter().map(row).collect()))?;
    }
    if let Some(result) = &job.result {
        say(format!("result: {result}"))?;
    }
    let outputs = match job.outputs.len() {
        1 => "1 output".to_owned(),
        many => format!("{many} outputs"),
    };
    say(format!("completed in {}, {outputs}", span(took)))?;
    Ok(())
}

fn failed(job: &Job) -> Result<(), CliError> {
    match &job.last_error {
        Some(failure) => say(format!("failed as {}: {}", failure.kind, failure.message))?,
        None => say("given back: the log says what is wrong with this machine")?,
    }
    Ok(())
}
