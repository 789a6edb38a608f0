//! The whole way over HTTP, in one program: a service, a worker, and somebody who hands in a file and fetches what came out.
//! `cargo run -p blobforge-examples --bin remote_worker`. Elsewhere they are three machines.

use std::{error::Error, fs, sync::Arc, time::Duration};

use blobforge_service::{ServeConfig, Service};
use blobforge_worker_sdk::{
    JobContext, Shutdown, Worker,
    client::{Client, ClientConfig, SubmitFile},
};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let service = Service::start(ServeConfig::local(folder.path())).await?;
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token()))?;

    // The worker needs an address and a token, and no way in: it asks for work and waits.
    let worker = Worker::builder(Arc::new(client.clone()))
        .name("the one in the basement")
        .label("vram_gb", 24)
        .handle("reverse", async |job: JobContext| {
            let text = fs::read_to_string(job.source_file().await?)?;
            // The next job begins while these files are on their way.
            job.work_done().await;
            job.output_bytes("reversed.txt", text.chars().rev().collect::<String>()).await?;
            Ok(json!({"bytes": text.len()}))
        })
        .state_dir(folder.path().join("worker"))
        .build()?;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));

    let letter = folder.path().join("letter.txt");
    fs::write(&letter, "dear smith")?;
    let submitted = client.submit_file(SubmitFile::new("reverse", &letter), |_, _| {}).await?;
    let job = service.queue().wait(submitted.job_id, Duration::from_secs(60)).await?;
    let outputs = client.download_outputs(job.id, &folder.path().join("out")).await?;
    println!("{}: {}", job.result.unwrap_or(Value::Null), fs::read_to_string(&outputs[0])?);

    shutdown.begin();
    println!("{}", running.await??);
    service.stop().await?;
    Ok(())
}
