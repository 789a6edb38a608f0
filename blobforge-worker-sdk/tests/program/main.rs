//! Programs as handlers: real processes, a queue in memory, and a fault of every kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod command;
mod python;
mod runner;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use blobforge_core::{Job, JobId, NewJob, Queue, blob::read_bytes, storage::Attempt};
use blobforge_worker_sdk::{
    Handler, Summary, Worker,
    program::{Limits, Program},
};
use serde_json::{Map, Value};

/// A queue and what came of jobs in it.
struct Bench {
    queue: Queue,
}

impl Bench {
    fn new() -> Self {
        // So that a job which is called off hears of it soon.
        let queue = Queue::builder().heartbeat_every(Duration::from_millis(50)).open_in_memory().unwrap();
        Self { queue }
    }

    /// Hands in a job of the type `work`, whose source is this text.
    async fn submit(&self, source: &str, params: Value) -> JobId {
        let Value::Object(params) = params else { panic!("{params} are no parameters") };
        let job = with_params(NewJob::new("work").unwrap(), params);
        let source = read_bytes(source.to_owned());
        self.queue.submit_stream(job, source, 1 << 20).await.unwrap().id
    }

    async fn submit_without_source(&self, params: Value) -> JobId {
        let Value::Object(params) = params else { panic!("{params} are no parameters") };
        self.queue.submit(with_params(NewJob::new("work").unwrap(), params)).await.unwrap().id
    }

    /// Runs what is due.
    async fn drain(&self, handler: impl Handler + 'static) -> Summary {
        Worker::builder(Arc::new(self.queue.clone())).handler(handler).drain().await.unwrap()
    }

    async fn job(&self, id: JobId) -> Job {
        self.queue.job(id).await.unwrap()
    }

    async fn last_attempt(&self, id: JobId) -> Attempt {
        self.queue.history(id).await.unwrap().pop().unwrap()
    }

    async fn output(&self, id: JobId, name: &str) -> String {
        use futures_util::TryStreamExt;
        let content: Vec<_> = self.queue.output(id, name).await.unwrap().try_collect().await.unwrap();
        String::from_utf8(content.concat()).unwrap()
    }
}

fn with_params(job: NewJob, params: Map<String, Value>) -> NewJob {
    params.into_iter().fold(job, |job, (name, value)| job.param(name, value))
}

/// A program that has little time to end.
fn program(call: &[&str]) -> Program {
    Program::new(call).unwrap().limits(limits())
}

fn limits() -> Limits {
    Limits { grace: Duration::from_millis(300), no_progress: None, ..Limits::default() }
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A zombie counts as gone: it only waits for whoever inherits it.
fn is_gone(process: u64) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .map(|stat| stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
        .unwrap_or(true)
}

async fn ends(process: u64) {
    eventually(&format!("process {process} is gone"), async || is_gone(process)).await;
}

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program").join(name).display().to_string()
}
