//! Which failures are tried again: `cargo run -p blobforge-examples --bin retries_and_permanent_errors`.

use std::{error::Error, sync::Arc, time::Duration};

use blobforge_core::{NewJob, Queue, RetryPolicy};
use blobforge_worker_sdk::{JobContext, JobError, Shutdown, Worker};
use serde_json::Value;

async fn print(job: JobContext) -> Result<Value, JobError> {
    match job.raw_params()["paper"].as_str() {
        // Another run may do better. Any error that `?` passes on counts as such a failure, and so does a panic.
        Some("jams") if job.failures() < 2 => Err(JobError::retryable("paper_jam", "The paper is stuck.")),
        // Every run would fail in the same way, so there is only one.
        Some("torn") => Err(JobError::permanent("torn_paper", "This paper is torn: hand in another one.")),
        // No failure at all: the printer is warming up, and asks to be called again. It costs the job nothing.
        Some("cold") if job.attempt() == 1 => Err(JobError::snooze(Duration::from_millis(5))),
        _ => Ok("printed".into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    // The first retry comes after 5 ms, each further one after twice as long. By default it is 10 s, up to an hour.
    let retry = RetryPolicy { first: Duration::from_millis(5), longest: Duration::from_secs(1) };
    let queue = Queue::builder().retry(retry).max_attempts(3).open_in_memory()?;
    let worker =
        Worker::builder(Arc::new(queue.clone())).handle("print", print).state_dir(folder.path()).build()?;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));

    for paper in ["jams", "torn", "cold"] {
        let id = queue.submit(NewJob::new("print")?.param("paper", paper)).await?.id;
        let job = queue.wait(id, Duration::from_secs(60)).await?;
        println!("{paper}: {} after {} failures", job.status(), job.life.failures);
        for attempt in queue.history(id).await? {
            let why = attempt.failure.map(|failure| failure.kind).unwrap_or_default();
            println!("  {:?} {why}", attempt.end);
        }
    }
    shutdown.begin();
    running.await??;
    Ok(())
}
