//! A worker of your own for a service: `cargo run -p blobforge-examples --bin custom_worker`.
//!
//! It counts the words of text files, until Ctrl-C. Say where the service is and show it a token:
//! `BLOBFORGE_SERVER_URL=http://localhost:8080 BLOBFORGE_API_TOKEN=$(cat data/admin-token)`.
//! Then hand in a file: `blobforge submit --type word-count letter.txt`.

use std::{env, error::Error, sync::Arc};

use async_trait::async_trait;
use blobforge_worker_sdk::{
    Handler, JobContext, JobError, Worker,
    client::{Client, ClientConfig},
    shutdown_signal,
};
use serde_json::{Value, json};

struct WordCount;

#[async_trait]
impl Handler for WordCount {
    fn job_type(&self) -> &str {
        "word-count"
    }

    async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
        let bytes = std::fs::read(job.source_file().await?)?;
        // Every run would fail on this file, so the job fails for good instead of being tried again.
        let text = String::from_utf8(bytes)
            .map_err(|error| JobError::permanent("not_text", format!("This file is not text: {error}.")))?;
        let mut table = String::from("line\twords\n");
        let lines = text.lines().count() as u64;
        for (number, line) in text.lines().enumerate() {
            table += &format!("{}\t{}\n", number + 1, line.split_whitespace().count());
            job.progress(number as u64 + 1, lines, "count", "");
        }
        job.output_bytes("words.tsv", table).await?;
        Ok(json!({ "words": text.split_whitespace().count() }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("BLOBFORGE_SERVER_URL").unwrap_or_else(|_| "http://localhost:8080".to_owned());
    let client = Client::new(ClientConfig::new(url, env::var("BLOBFORGE_API_TOKEN")?))?;
    let worker = Worker::builder(Arc::new(client)).handler(WordCount).concurrency(4).build()?;
    println!("{}", worker.run(shutdown_signal()).await?);
    Ok(())
}
