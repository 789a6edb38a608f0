//! Several processes on one file, with no server: `cargo run -p blobforge-examples --bin share_one_file -- FOLDER work`
//! in two terminals, and the same with `submit 20` for `work` in a third one.

use std::{env, error::Error, path::Path, process, sync::Arc, time::Duration};

use blobforge_core::{NewJob, Queue, Status};
use blobforge_worker_sdk::{JobContext, JobError, Worker, shutdown_signal};
use serde_json::Value;

async fn forge(job: JobContext) -> Result<Value, JobError> {
    println!("forging job {}", job.id());
    // Stands for work.
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(process::id().into())
}

/// Takes whatever any process submits, until it is told to stop.
async fn work(queue: &Queue, folder: &Path) -> Result<(), Box<dyn Error>> {
    let worker = Worker::builder(Arc::new(queue.clone())).handle("forge", forge).state_dir(folder).build()?;
    println!("{}", worker.run(shutdown_signal()).await?);
    Ok(())
}

/// Submits so many jobs, and waits until other processes have done them all.
async fn submit(queue: &Queue, jobs: usize) -> Result<(), Box<dyn Error>> {
    let mut ids = Vec::new();
    for _ in 0..jobs {
        ids.push(queue.submit(NewJob::new("forge")?).await?.id);
    }
    let mut completed = 0;
    for id in ids {
        let job = queue.wait(id, Duration::from_secs(600)).await?;
        completed += usize::from(job.status() == Status::Completed);
    }
    println!("{completed} completed");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (folder, task) = words.split_first().ok_or("say in which folder to keep the queue")?;
    let folder = Path::new(folder);
    // A worker that dies is noticed after this, by whichever process looks first.
    let queue = Queue::builder().lease(Duration::from_secs(2)).open(folder.join("jobs.db")).await?;
    match task {
        ["work"] => work(&queue, folder).await?,
        ["submit", jobs] => submit(&queue, jobs.parse()?).await?,
        _ => return Err("say `work`, or `submit` and how many jobs".into()),
    }
    queue.close().await;
    Ok(())
}
