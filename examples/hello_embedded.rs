//! A queue and its worker in one program, without any server: `cargo run -p blobforge-examples --bin hello_embedded`.

use std::{error::Error, sync::Arc, time::Duration};

use blobforge_core::{NewJob, Queue};
use blobforge_worker_sdk::{JobContext, Shutdown, Worker};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    // Jobs live in this SQLite file, files in a folder beside it; both outlive the program unless, as here, removed.
    let queue = Queue::open(folder.path().join("jobs.db")).await?;

    let worker = Worker::builder(Arc::new(queue.clone()))
        .handle("greet", async |job: JobContext| {
            let name = job.raw_params()["name"].as_str().unwrap_or("stranger");
            Ok(format!("Hello, {name}.").into())
        })
        .state_dir(folder.path())
        .build()?;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));

    let submitted = queue.submit(NewJob::new("greet")?.param("name", "Margaret")).await?;
    let job = queue.wait(submitted.id, Duration::from_secs(60)).await?;
    println!("job {} {}: {}", job.id, job.status(), job.result.unwrap_or_default());

    shutdown.begin();
    println!("{}", running.await??);
    queue.close().await;
    Ok(())
}
