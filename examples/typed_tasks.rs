//! Parameters and results as types of your own: `cargo run -p blobforge-examples --bin typed_tasks`.

use std::{error::Error, sync::Arc, time::Duration};

use blobforge_core::{NewJob, Queue, Task};
use blobforge_worker_sdk::{JobContext, Shutdown, Worker};
use serde::{Deserialize, Serialize};

/// What the submitter says and the handler gets. It is kept as JSON, by the names of the fields.
#[derive(Serialize, Deserialize)]
struct Resize {
    width: u32,
    height: u32,
    // Jobs that were submitted before this field was there can still be read.
    #[serde(default)]
    grey: bool,
}

impl Task for Resize {
    const TYPE: &'static str = "resize";
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
struct Resized {
    pixels: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let queue = Queue::in_memory();
    let worker = Worker::builder(Arc::new(queue.clone()))
        .task(async |task: Resize, job: JobContext| {
            job.log(format!("grey: {}", task.grey));
            Ok(Resized { pixels: task.width * task.height })
        })
        .state_dir(folder.path())
        .build()?;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));

    let task = Resize { width: 640, height: 480, grey: true };
    let id = queue.submit(NewJob::task(&task)?.tag("holiday")).await?.id;
    let job = queue.wait(id, Duration::from_secs(60)).await?;
    let resized: Resized = serde_json::from_value(job.result.unwrap_or_default())?;
    println!("{resized:?}");

    // Whoever submits without the type can be wrong. Such a job fails at once, without a retry, and says where.
    let id = queue.submit(NewJob::new("resize")?.param("width", "wide").param("height", 480)).await?.id;
    let job = queue.wait(id, Duration::from_secs(60)).await?;
    if let Some(error) = job.last_error {
        println!("{}, {}: {}", job.life.failures, error.kind, error.message);
    }
    shutdown.begin();
    println!("{}", running.await??);
    Ok(())
}
