//! A worker that looks at its machine. Tokio's clock is paused: it jumps to whatever is waited for next, and stands still
//! while a look is taken.
//!
//! It is a program of its own: whoever starts so many programs holds other tests' locks while it does.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../src/worker/cards/fake.rs"]
mod fake;
#[path = "../src/worker/wall.rs"]
mod wall;

use std::{sync::Arc, time::Duration};

use blobforge_core::{Condition, JobId, NewJob, Queue, Status, Timestamp, WorkerId};
use blobforge_worker_sdk::{Shutdown, Summary, Worker, WorkerError};
use fake::put_smi;
use serde_json::Value;
use tokio::{task::JoinHandle, time::sleep};
use wall::Wall;

const SECOND: Duration = Duration::from_secs(1);
const FIRST: &str = "0, GPU-5d5ba0d6, NVIDIA H100 80GB HBM3, 97, 71234, 81559, 64";
const OTHER: &str = "1, GPU-c1b9a7c1, NVIDIA H100 80GB HBM3, [N/A], 243, 81559, 41";

struct Forge {
    queue: Queue,
    folder: tempfile::TempDir,
    shutdown: Shutdown,
    task: Option<JoinHandle<Result<Summary, WorkerError>>>,
}

impl Forge {
    /// Starts a worker whose `nvidia-smi` does this.
    async fn with_smi(script: &str) -> Self {
        let clock = Arc::new(Wall::at(Timestamp::ZERO));
        let queue = Queue::builder().clock(clock).open_in_memory().unwrap();
        let mut forge =
            Self { queue, folder: tempfile::tempdir().unwrap(), shutdown: Shutdown::new(), task: None };
        put_smi(forge.folder.path(), script);
        let worker = Worker::builder(Arc::new(forge.queue.clone()))
            .label("gpu", true)
            .id(WorkerId::new("smith").unwrap())
            .state_dir(forge.folder.path())
            .programs(forge.folder.path())
            .handle("work", async |_| Ok(Value::Null))
            .build()
            .unwrap();
        forge.task = Some(tokio::spawn(worker.run(forge.shutdown.clone())));
        sleep(5 * SECOND).await;
        forge
    }

    fn smi(&self, script: &str) {
        put_smi(self.folder.path(), script);
    }

    async fn condition(&self) -> Condition {
        self.queue.workers().await.unwrap().remove(0).condition
    }

    /// Waits until the worker has said that something is wrong, or that nothing is.
    async fn until_trouble_is(&self, there: bool) -> Option<String> {
        loop {
            let trouble = self.condition().await.trouble;
            if trouble.is_some() == there {
                return trouble;
            }
            sleep(SECOND).await;
        }
    }

    async fn submit(&self) -> JobId {
        self.queue.submit(NewJob::new("work").unwrap().dedup(false)).await.unwrap().id
    }

    async fn status(&self, id: JobId) -> Status {
        self.queue.job(id).await.unwrap().status()
    }

    /// Waits until a job is done.
    async fn done(&self, id: JobId) {
        let job = self.queue.wait(id, 60 * SECOND).await.unwrap();
        assert_eq!((job.status(), job.life.failures, job.life.losses), (Status::Completed, 0, 0));
    }

    async fn stop(self) -> Summary {
        self.shutdown.begin();
        self.task.unwrap().await.unwrap().unwrap()
    }
}

/// Names these cards when it is asked as it should be.
fn lists(cards: &[&str]) -> String {
    let asked =
        "case \"$*\" in --query-gpu=index,uuid,*\\ --format=csv,noheader,nounits) ;; *) exit 2 ;; esac";
    format!("{asked}\ncat <<END\n{}\nEND", cards.join("\n"))
}

#[tokio::test(start_paused = true)]
async fn gauges_go_along_with_heartbeats() {
    let forge = Forge::with_smi(&lists(&[FIRST, OTHER])).await;
    let gauges = forge.condition().await.gauges.unwrap();
    assert_eq!((gauges.gpus.len(), gauges.gpus[0].use_percent), (2, Some(97.0)));
    assert!(gauges.memory_total_bytes > 0 && gauges.disk_total_bytes > 0);
    forge.smi(&lists(&[&FIRST.replace("97", "12"), OTHER]));
    sleep(60 * SECOND).await;
    assert_eq!(forge.condition().await.gauges.unwrap().gpus[0].use_percent, Some(12.0));
    forge.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_card_is_gone_says_so_and_claims_nothing_until_it_is_back() {
    let forge = Forge::with_smi(&lists(&[FIRST, OTHER])).await;
    let before = forge.submit().await;
    forge.done(before).await;
    forge.smi(&lists(&[OTHER]));
    let trouble = forge.until_trouble_is(true).await.unwrap();
    assert!(
        trouble.starts_with("GPU 0 (NVIDIA H100 80GB HBM3) is gone: nvidia-smi lists 1 of 2"),
        "{trouble}"
    );
    assert_eq!(forge.condition().await.gauges.unwrap().gpus.len(), 1, "the others are still shown");
    // Also what a claim from before brings is not begun.
    let meanwhile = forge.submit().await;
    sleep(600 * SECOND).await;
    assert_eq!(forge.status(meanwhile).await, Status::Pending);
    forge.smi(&lists(&[FIRST, OTHER]));
    forge.until_trouble_is(false).await;
    forge.done(meanwhile).await;
    assert_eq!(forge.stop().await.completed, 2);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_fails_for_good_is_trouble_and_one_that_stumbles_is_none() {
    let forge = Forge::with_smi(&lists(&[FIRST])).await;
    forge.smi("echo 'NVIDIA-SMI has failed'; exit 9");
    sleep(60 * SECOND).await;
    forge.smi(&lists(&[FIRST]));
    sleep(60 * SECOND).await;
    assert_eq!(forge.condition().await.trouble, None);
    forge.smi("echo 'NVIDIA-SMI has failed'; exit 9");
    let trouble = forge.until_trouble_is(true).await.unwrap();
    assert!(trouble.contains("is gone: NVIDIA-SMI has failed; nothing is claimed"), "{trouble}");
    forge.smi(&lists(&[FIRST]));
    forge.until_trouble_is(false).await;
    forge.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_cards_works_whatever_the_program_says() {
    let forge = Forge::with_smi("echo 'No devices were found'; exit 6").await;
    sleep(600 * SECOND).await;
    let id = forge.submit().await;
    forge.done(id).await;
    assert_eq!(forge.condition().await.trouble, None);
    forge.stop().await;
}
