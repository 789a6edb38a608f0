//! A job that loses what does its work, twice, and goes on where it was each time:
//! `cargo run -p blobforge-examples --bin checkpoints`.

use std::{error::Error, fs, sync::Arc, time::Duration};

use blobforge_core::{ManualClock, NewJob, Queue, Status, Timestamp};
use blobforge_worker_sdk::{JobContext, JobError, Worker};
use serde_json::Value;

const PAGES: usize = 5;

async fn read(job: JobContext) -> Result<Value, JobError> {
    // What an earlier attempt kept, whichever machine it ran on.
    let mut text = match job.load_checkpoint("text").await? {
        Some(kept) => fs::read_to_string(kept)?,
        None => String::new(),
    };
    println!("attempt {} begins with {text:?}, after {} losses in a row", job.attempt(), job.losses());
    while text.len() < PAGES {
        text.push(char::from(b'a' + text.len() as u8));
        // From here on the page survives whatever happens; and a job that advances is not given up for its losses.
        job.checkpoint_bytes("text", &text).await?;
        if text.len() % 2 == 0 {
            return Err(JobError::loss("killed", "stands for a crash, or a machine that restarts"));
        }
    }
    job.output_bytes("text.txt", &text).await?;
    Ok(text.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
    let queue = Queue::builder().clock(clock.clone()).open_in_memory()?;
    let id = queue.submit(NewJob::new("read")?).await?.id;
    let worker = Worker::builder(Arc::new(queue.clone())).handle("read", read);
    while queue.job(id).await?.status() != Status::Completed {
        worker.drain().await?;
        // After a loss a job waits for a while before it runs again; so long nobody waits here.
        clock.advance(Duration::from_secs(3600));
    }
    let job = queue.job(id).await?;
    println!(
        "{}, {} failures, {} attempts",
        job.result.unwrap_or_default(),
        job.life.failures,
        job.life.epoch.get()
    );
    Ok(())
}
