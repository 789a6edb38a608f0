//! How far a job is, seen from outside, and how it is called off:
//! `cargo run -p blobforge-examples --bin progress_and_cancellation`.

use std::{error::Error, sync::Arc, time::Duration};

use blobforge_core::{NewJob, Queue};
use blobforge_worker_sdk::{JobContext, JobError, Shutdown, Worker};
use serde_json::Value;

const PAGES: u64 = 1_000_000;

async fn read(job: JobContext) -> Result<Value, JobError> {
    for page in 1..=PAGES {
        tokio::select! {
            // Stands for work that can be left at any time; hand `job.cancelled()` to what wants a token.
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
            why = job.stopped() => {
                println!("left after page {page}: {why:?}");
                return Err(JobError::retryable("stopped", "called off"));
            }
        }
        // Cheap, so say it as often as you like: the newest word goes out with the next heartbeat.
        job.progress(page, PAGES, "read", "");
    }
    Ok(PAGES.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    // Heartbeats carry progress out and cancels in. Every 30 s is the default, and news of progress makes one within 2 s.
    let queue = Queue::builder().heartbeat_every(Duration::from_millis(200)).open_in_memory()?;
    let worker =
        Worker::builder(Arc::new(queue.clone())).handle("read", read).state_dir(folder.path()).build()?;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));

    let id = queue.submit(NewJob::new("read")?).await?.id;
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let progress = loop {
        looks.tick().await;
        if let Some(progress) = queue.job(id).await?.progress {
            break progress;
        }
    };
    println!("{} of {} pages", progress.done, progress.total.unwrap_or(0));
    queue.cancel(id).await?;
    let job = queue.wait(id, Duration::from_secs(60)).await?;
    println!("job {id} is {}", job.status());

    shutdown.begin();
    println!("{}", running.await??);
    Ok(())
}
