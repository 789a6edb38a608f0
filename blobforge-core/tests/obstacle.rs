//! What stands in the way of a job that waits, on each store. Time is a manual clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    JobId, JobType, ManualClock, NewJob, Queue, Registration, WorkerId,
    blob::ObjectBlobs,
    queue::Obstacle,
    storage::{Report, Storage},
};

const LEASE: Duration = Duration::from_secs(60);

struct Forge {
    queue: Queue,
    clock: Arc<ManualClock>,
}

impl Forge {
    fn new(storage: Arc<dyn Storage>, clock: Arc<ManualClock>) -> Self {
        let blobs = Arc::new(ObjectBlobs::in_memory());
        let builder = Queue::builder().clock(clock.clone()).lease(LEASE).blobs(blobs);
        Self { queue: builder.open_on(storage).unwrap(), clock }
    }

    async fn register(&self, id: &str, labels: serde_json::Value) -> WorkerId {
        let id = WorkerId::new(id).unwrap();
        let mut registration = Registration::new(id.clone(), [pdf()], "first");
        registration.labels = labels.as_object().unwrap().clone();
        self.queue.register(registration).await.unwrap();
        id
    }

    async fn submit(&self, requires: &str) -> JobId {
        let job = NewJob::new("pdf").unwrap().requires(requires.parse().unwrap());
        self.queue.submit(job).await.unwrap().id
    }

    async fn obstacle(&self, job: JobId) -> Option<Obstacle> {
        let job = self.queue.job(job).await.unwrap();
        self.queue.obstacle(&job).await.unwrap()
    }
}

fn pdf() -> JobType {
    JobType::new("pdf").unwrap()
}

fn is_alone(obstacle: &Option<Obstacle>) -> bool {
    *obstacle == Some(Obstacle::NoWorker(pdf()))
}

async fn a_job_that_no_live_worker_can_run_says_why(forge: Forge) {
    let job = forge.submit("gpu").await;
    assert!(is_alone(&forge.obstacle(job).await));
    let weak = forge.register("weak", serde_json::json!({})).await;
    let unable = forge.obstacle(job).await.unwrap();
    assert!(matches!(unable, Obstacle::NoAbleWorker { .. }), "{unable}");
    assert!(unable.to_string().contains("gpu"), "{unable}");
    forge.queue.unregister(weak, None).await.unwrap();
    assert!(is_alone(&forge.obstacle(job).await), "it said good-bye");
    forge.register("weak", serde_json::json!({"gpu": true})).await;
    assert_eq!(forge.obstacle(job).await, None);
    forge.clock.advance(LEASE);
    assert!(is_alone(&forge.obstacle(job).await), "nothing was heard of it for a lease time");
}

async fn a_worker_that_is_draining_can_run_nothing(forge: Forge) {
    let job = forge.submit("gpu").await;
    let smith = forge.register("smith", serde_json::json!({"gpu": true})).await;
    forge.queue.set_draining(smith.clone(), true).await.unwrap();
    let draining = forge.obstacle(job).await.unwrap();
    assert!(draining.to_string().contains("draining"), "{draining}");
    forge.register("weak", serde_json::json!({})).await;
    assert_eq!(forge.obstacle(job).await, Some(draining), "who cannot run it is no help");
    forge.queue.set_draining(smith, false).await.unwrap();
    assert_eq!(forge.obstacle(job).await, None);
}

async fn a_pause_comes_first_and_only_waiting_jobs_have_obstacles(forge: Forge) {
    let job = forge.submit("gpu").await;
    forge.queue.pause(pdf()).await.unwrap();
    assert_eq!(forge.obstacle(job).await, Some(Obstacle::Paused(pdf())));
    let smith = forge.register("smith", serde_json::json!({"gpu": true})).await;
    assert_eq!(forge.obstacle(job).await, Some(Obstacle::Paused(pdf())));
    forge.queue.resume(pdf()).await.unwrap();
    assert_eq!(forge.obstacle(job).await, None);
    let held = forge.queue.claim(&smith, &[pdf()], 1, Duration::ZERO).await.unwrap().remove(0);
    forge.queue.pause(pdf()).await.unwrap();
    assert_eq!(forge.obstacle(job).await, None, "it runs");
    let done = Report::Complete { outputs: Vec::new(), result: None };
    forge.queue.report(job, held.token, done).await.unwrap();
    assert_eq!(forge.obstacle(job).await, None, "it has ended");
}

macro_rules! on_each_store {
    ($($case:ident,)*) => {
        mod in_memory {
            use super::*;
            use blobforge_core::storage::memory::MemoryStorage;

            $(#[tokio::test]
            async fn $case() {
                let clock = clock();
                super::$case(Forge::new(Arc::new(MemoryStorage::new(clock.clone())), clock)).await;
            })*
        }

        #[cfg(feature = "sqlite")]
        mod in_sqlite {
            use super::*;
            use blobforge_core::storage::sqlite::{SqliteOptions, SqliteStorage};

            $(#[tokio::test]
            async fn $case() {
                let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
                let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
                let storage = SqliteStorage::open(folder.path().join("jobs.db"), options).await.unwrap();
                super::$case(Forge::new(Arc::new(storage), clock)).await;
            })*
        }
    };
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()))
}

on_each_store! {
    a_job_that_no_live_worker_can_run_says_why,
    a_worker_that_is_draining_can_run_nothing,
    a_pause_comes_first_and_only_waiting_jobs_have_obstacles,
}
