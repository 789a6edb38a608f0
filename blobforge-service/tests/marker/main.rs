//! marker-pdf itself, installed from PyPI, with a stand-in for its model servers. `scripts/marker` runs this: it takes 12 GB
//! of disk and some minutes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod documents;
mod failures;
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../recovery/forge.rs"]
mod forge;
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../pdf_text/maker.rs"]
mod maker;
mod models;
mod paper;
mod recovery;
mod stand_in;

use std::{fs, path::PathBuf, process::Command};

use blobforge_core::JobId;
use blobforge_worker_sdk::client::{Client, SubmitFile};
use forge::{Forge, Process};
use serde_json::Value;
use stand_in::StandIn;

/// Where `scripts/marker` has everything of the engine.
fn engine_folder() -> PathBuf {
    std::env::var_os("BLOBFORGE_MARKER_DIR").expect("scripts/marker says where marker is").into()
}

/// The Python that the worker made there.
fn python() -> PathBuf {
    let made = fs::read_dir(engine_folder()).unwrap().map(|entry| entry.unwrap().path());
    let found = made.map(|folder| folder.join("bin/python")).find(|python| python.exists());
    found.expect("the worker has made an environment")
}

/// A file of the tests.
fn test_file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/marker")).join(name)
}

/// A service, models, and what people do with them.
struct Bench {
    forge: Forge,
    models: StandIn,
    client: Client,
}

impl Bench {
    async fn new() -> Self {
        let forge = Forge::start(30).await;
        let client =
            Client::new(blobforge_worker_sdk::client::ClientConfig::new(forge.url(), forge.token())).unwrap();
        Self { forge, models: StandIn::start(), client }
    }

    /// A worker whose models are the stand-in, and whose state is of this test alone.
    fn worker(&self, id: &str, more: &[&str]) -> Process {
        self.worker_with(id, more, |command| {
            command.env("SURYA_INFERENCE_URL", self.models.url());
        })
    }

    fn worker_with(&self, id: &str, more: &[&str], set_up: impl FnOnce(&mut Command)) -> Process {
        self.forge.worker_with(id, |command| {
            command.args(["--engine", "marker"]).args(more);
            command
                .env("BLOBFORGE_MARKER_DIR", self.forge.path("engine"))
                .env("BLOBFORGE_MARKER_PYTHON", python());
            command.env("FAST_LAYOUT_SERVER_URL", self.models.url());
            command.env("OCR_ERROR_SERVER_URL", self.models.url());
            set_up(command);
        })
    }

    /// The runners of a worker.
    fn runners(&self, worker: &str) -> Vec<i32> {
        let folder = self.forge.path(worker).join("work/run-");
        processes_with(&folder.display().to_string())
    }

    async fn submit(&self, name: &str, pdf: &[u8], params: Value) -> i64 {
        let path = self.forge.path(name);
        fs::write(&path, pdf).unwrap();
        let mut submission = SubmitFile::new("pdf", path);
        submission.params = params.as_object().unwrap().clone();
        submission.max_attempts = Some(1);
        self.client.submit_file(submission, |_, _| {}).await.unwrap().job_id.get()
    }

    async fn ended(&self, job: i64) -> Value {
        self.forge.until(job, "it ends", |job| job["completed_at"].is_string()).await
    }

    /// The job, which has to complete.
    async fn completed(&self, job: i64) -> Value {
        let ended = self.ended(job).await;
        assert_eq!(ended["status"], "completed", "{ended:#}");
        ended
    }

    /// One of its outputs, as text.
    async fn output(&self, job: i64, name: &str) -> String {
        let folder = self.forge.path(&format!("outputs-{job}"));
        if !folder.exists() {
            self.client.download_outputs(JobId::new(job), &folder).await.unwrap();
        }
        fs::read_to_string(folder.join(name)).unwrap()
    }

    async fn document(&self, job: i64) -> String {
        self.completed(job).await;
        self.output(job, "document.md").await
    }
}

/// The processes that have this among their words.
fn processes_with(word: &str) -> Vec<i32> {
    let entries =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let said = |process: &i32| fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    entries.filter(|process| String::from_utf8_lossy(&said(process)).contains(word)).collect()
}

/// What a process says of its memory, in KiB.
fn memory_kib(process: i32, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}
