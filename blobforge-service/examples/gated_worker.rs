//! A worker for tests: its handler says that it has begun, and then waits until a gate file exists.
//!
//! Arguments: the worker's id, its work folder, the gate file. Server and token come from the environment.
#![allow(clippy::expect_used, reason = "a test program may stop at the first thing that is wrong")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use blobforge_core::WorkerId;
use blobforge_worker_sdk::{
    Handler, JobContext, JobError, Worker,
    client::{Client, ClientConfig},
    shutdown_signal,
};
use serde_json::{Value, json};

struct Gated {
    id: String,
    gate: PathBuf,
}

#[async_trait]
impl Handler for Gated {
    fn job_type(&self) -> &str {
        "gated"
    }

    async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
        job.progress(1, 2, "waiting", "");
        while !self.gate.exists() && job.stop_reason().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        job.output_bytes("by.txt", &self.id).await?;
        Ok(json!({ "by": self.id }))
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let mut arg = || args.next().expect("id, work folder and gate file");
    let (id, folder, gate) = (arg(), PathBuf::from(arg()), PathBuf::from(arg()));
    let variable = |name| std::env::var(name).expect("server and token in the environment");
    let config = ClientConfig::new(variable("BLOBFORGE_SERVER_URL"), variable("BLOBFORGE_API_TOKEN"));
    let client = Client::new(config).expect("a client");
    let worker = Worker::builder(Arc::new(client))
        .id(WorkerId::new(&id).expect("a worker id"))
        .handler(Gated { id, gate })
        .state_dir(folder)
        .build()
        .expect("a worker");
    worker.run(shutdown_signal()).await.expect("a run to the end");
}
