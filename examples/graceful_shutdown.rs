//! A worker that is stopped in the middle and goes on where it was:
//! `cargo run -p blobforge-examples --bin graceful_shutdown -- FOLDER`, then Ctrl-C, then the same again.

use std::{env, error::Error, fs, path::PathBuf, sync::Arc, time::Duration};

use blobforge_core::{NewJob, Queue, Status, storage::JobFilter};
use blobforge_worker_sdk::{JobContext, JobError, Worker, shutdown_signal};
use serde_json::Value;

const PAGES: u64 = 1_000_000;

async fn read(job: JobContext) -> Result<Value, JobError> {
    let mut page = match job.load_checkpoint("page").await? {
        Some(kept) => fs::read_to_string(kept)?.parse()?,
        None => 0,
    };
    while page < PAGES {
        tokio::select! {
            // Stands for work. Whatever is interrupted here is done again.
            () = tokio::time::sleep(Duration::from_millis(20)) => page += 1,
            why = job.stopped() => {
                // A checkpoint survives this attempt. Unless one is kept now and then, a crash costs all of it.
                job.checkpoint_bytes("page", page.to_string()).await?;
                // At a shutdown an error costs nothing: the job is given back and keeps its place in line.
                return Err(JobError::retryable("stopped", format!("{why:?}")));
            }
        }
        println!("page {page}");
        job.progress(page, PAGES, "read", "");
    }
    Ok(page.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args().nth(1).ok_or("say in which folder to keep the queue")?);
    let queue = Queue::open(folder.join("jobs.db")).await?;
    let waiting = JobFilter { status: Some(Status::Pending), ..JobFilter::default() };
    if queue.list(&waiting).await?.items.is_empty() {
        queue.submit(NewJob::new("read")?).await?;
    }
    let worker = Worker::builder(Arc::new(queue.clone()))
        .handle("read", read)
        // Jobs that take less than this are finished at a shutdown rather than told to stop.
        .grace(Duration::ZERO)
        // And this is how long a handler that was told to may take to put its things away.
        .stop_grace(Duration::from_secs(10))
        .state_dir(folder)
        .build()?;
    // SIGTERM or Ctrl-C begins the shutdown; the second one ends it at once.
    println!("{}", worker.run(shutdown_signal()).await?);
    queue.close().await;
    Ok(())
}
