//! How to test a handler without a server, a thread or a sleep: `cargo run -p blobforge-examples --bin testing_a_handler`.
//!
//! What stands in `main` here is the body of a `#[tokio::test]` in a crate of yours.

use std::{error::Error, sync::Arc, time::Duration};

use blobforge_core::{ManualClock, NewJob, Queue, Status, Timestamp, blob::read_bytes};
use blobforge_worker_sdk::{JobContext, JobError, Worker, WorkerBuilder};
use serde_json::{Value, json};

/// The handler under test: it counts words, but only when the dictionary is at home, which at first it is not.
async fn count_words(job: JobContext) -> Result<Value, JobError> {
    if job.attempt() == 1 {
        return Err(JobError::retryable("no_dictionary", "The dictionary is out."));
    }
    let text = std::fs::read_to_string(job.source_file().await?)?;
    job.output_bytes("words.txt", text.replace(' ', "\n")).await?;
    Ok(json!({"words": text.split_whitespace().count()}))
}

/// What the program itself builds its worker with, and so the test does, too.
fn worker(queue: &Queue) -> WorkerBuilder {
    Worker::builder(Arc::new(queue.clone())).handle("count-words", count_words)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Time stands still until the test moves it.
    let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
    let queue = Queue::builder().clock(clock.clone()).open_in_memory()?;
    let worker = worker(&queue);
    let letter = read_bytes("dear smith");
    let id = queue.submit_stream(NewJob::new("count-words")?, letter, 1000).await?.id;

    // Runs what is due, here, and comes back when nothing more is.
    assert_eq!(worker.drain().await?.failed, 1);
    let job = queue.job(id).await?;
    assert_eq!((job.status(), job.life.failures), (Status::Pending, 1), "it is to be tried again");

    assert_eq!(worker.drain().await?.to_string(), "0 completed", "but not yet");
    clock.advance(Duration::from_secs(60));
    assert_eq!(worker.drain().await?.completed, 1);
    let job = queue.job(id).await?;
    assert_eq!((job.status(), job.result), (Status::Completed, Some(json!({"words": 2}))));
    assert_eq!(job.outputs[0].name, "words.txt");
    println!("the handler does what it should");
    Ok(())
}
