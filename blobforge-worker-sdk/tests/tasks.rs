//! Typed handlers, drained in the test's own process. Time is a manual clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use blobforge_core::{
    Clock, Failure, Job, JobId, MAX_RESULT_BYTES, ManualClock, NewJob, Queue, Status, Task,
};
use blobforge_worker_sdk::{JobContext, JobError, Summary, Worker, WorkerBuilder, WorkerError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, Serialize, Deserialize)]
struct Thumbnail {
    width: u32,
}

impl Task for Thumbnail {
    const TYPE: &'static str = "thumbnail";
}

struct Forge {
    queue: Queue,
    clock: Arc<ManualClock>,
}

impl Forge {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
        let queue = Queue::builder().clock(clock.clone()).open_in_memory().unwrap();
        Self { queue, clock }
    }

    fn worker(&self) -> WorkerBuilder {
        Worker::builder(Arc::new(self.queue.clone()))
    }

    async fn submit(&self, job: NewJob) -> JobId {
        self.queue.submit(job).await.unwrap().id
    }

    async fn job(&self, id: JobId) -> Job {
        self.queue.job(id).await.unwrap()
    }

    async fn failure(&self, id: JobId) -> Failure {
        self.job(id).await.last_error.unwrap()
    }
}

fn thumbnail() -> NewJob {
    NewJob::task(&Thumbnail { width: 200 }).unwrap()
}

fn completed(jobs: u64) -> Summary {
    Summary { completed: jobs, ..Summary::default() }
}

#[tokio::test]
async fn a_handler_gets_its_task_and_returns_a_type_of_its_own() {
    #[derive(Serialize)]
    struct Made {
        height: u32,
    }
    let forge = Forge::new();
    let worker = forge.worker().task(async |task: Thumbnail, job: JobContext| {
        assert_eq!(job.task::<Thumbnail>()?.width, task.width);
        Ok(Made { height: task.width * 3 / 4 })
    });
    let id = forge.submit(thumbnail()).await;
    assert_eq!(worker.drain().await.unwrap(), completed(1));
    assert_eq!(forge.job(id).await.result, Some(json!({"height": 150})));
}

#[tokio::test]
async fn a_handler_that_returns_nothing_leaves_no_result() {
    let forge = Forge::new();
    let worker = forge.worker().task(async |_: Thumbnail, _: JobContext| Ok(()));
    let id = forge.submit(thumbnail()).await;
    assert_eq!(worker.drain().await.unwrap(), completed(1));
    assert_eq!(forge.job(id).await.result, None);
}

#[tokio::test]
async fn params_that_are_no_task_fail_the_job_for_good_and_call_nobody() {
    let forge = Forge::new();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let worker = forge.worker().task(move |_: Thumbnail, _: JobContext| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    });
    let id = forge.submit(NewJob::new("thumbnail").unwrap().param("width", "wide").max_attempts(5)).await;
    assert_eq!(worker.drain().await.unwrap(), Summary { failed: 1, ..Summary::default() });
    let (job, failure) = (forge.job(id).await, forge.failure(id).await);
    assert_eq!((job.status(), job.life.failures), (Status::Failed, 1), "another run could not help");
    assert_eq!(failure.kind, "invalid_params");
    assert!(failure.message.contains("width: invalid type: string \"wide\", expected u32"), "{failure:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn params_read_without_a_task_fail_in_the_same_way() {
    let forge = Forge::new();
    let worker = forge.worker().handle("thumbnail", async |job: JobContext| {
        let Thumbnail { width } = job.params()?;
        Ok(width.into())
    });
    let id = forge.submit(NewJob::new("thumbnail").unwrap()).await;
    worker.drain().await.unwrap();
    assert_eq!(
        (forge.job(id).await.status(), forge.failure(id).await.kind.as_str()),
        (Status::Failed, "invalid_params")
    );
}

#[tokio::test]
async fn a_handler_that_panics_has_failed_and_the_next_job_runs() {
    let forge = Forge::new();
    let worker = forge.worker().task(async |task: Thumbnail, _: JobContext| {
        assert_ne!(task.width, 0, "the anvil broke");
        Ok(())
    });
    let broken = forge.submit(NewJob::task(&Thumbnail { width: 0 }).unwrap()).await;
    forge.submit(thumbnail()).await;
    assert_eq!(worker.drain().await.unwrap(), Summary { completed: 1, failed: 1, ..Summary::default() });
    let failure = forge.failure(broken).await;
    assert_eq!((forge.job(broken).await.status(), failure.kind.as_str()), (Status::Pending, "handler_panic"));
    assert!(failure.message.contains("the anvil broke"), "{failure:?}");
}

#[tokio::test]
async fn a_result_too_large_fails_the_job_for_good_and_says_what_to_do() {
    let forge = Forge::new();
    let worker =
        forge.worker().task(async |task: Thumbnail, _: JobContext| Ok("x".repeat(task.width as usize)));
    let fits = u32::try_from(MAX_RESULT_BYTES - 2).unwrap();
    let full = forge.submit(NewJob::task(&Thumbnail { width: fits }).unwrap()).await;
    let over = forge.submit(NewJob::task(&Thumbnail { width: fits + 1 }).unwrap()).await;
    assert_eq!(worker.drain().await.unwrap(), Summary { completed: 1, failed: 1, ..Summary::default() });
    assert_eq!(forge.job(full).await.status(), Status::Completed);
    let failure = forge.failure(over).await;
    assert_eq!((forge.job(over).await.status(), failure.kind.as_str()), (Status::Failed, "result_too_large"));
    assert!(failure.message.contains("output file"), "{failure:?}");
}

#[tokio::test]
async fn a_result_that_is_no_json_fails_the_job_for_good() {
    let forge = Forge::new();
    let worker = forge.worker().task(async |_: Thumbnail, _: JobContext| Ok(HashMap::from([((1, 2), 3)])));
    let id = forge.submit(thumbnail()).await;
    worker.drain().await.unwrap();
    assert_eq!(
        (forge.job(id).await.status(), forge.failure(id).await.kind.as_str()),
        (Status::Failed, "invalid_result")
    );
}

#[tokio::test]
async fn a_drain_runs_what_is_due_and_the_next_one_what_the_clock_has_made_due() {
    let forge = Forge::new();
    let worker = forge.worker().task(async |_: Thumbnail, job: JobContext| match job.attempt() {
        1 => Err(JobError::retryable("busy", "Not now.")),
        2 => Err(JobError::snooze(HOUR)),
        _ => Ok(()),
    });
    let id = forge.submit(thumbnail()).await;
    forge.submit(thumbnail().run_at(forge.clock.now() + 24 * HOUR)).await;
    assert_eq!(worker.drain().await.unwrap(), Summary { failed: 1, ..Summary::default() });
    assert_eq!(worker.drain().await.unwrap(), Summary::default(), "its time has not come");
    forge.clock.advance(HOUR);
    assert_eq!(worker.drain().await.unwrap(), Summary { snoozed: 1, ..Summary::default() });
    forge.clock.advance(HOUR);
    assert_eq!(worker.drain().await.unwrap(), completed(1));
    assert_eq!(forge.job(id).await.status(), Status::Completed);
    let workers = forge.queue.workers().await.unwrap();
    assert!(workers.iter().all(|worker| worker.unregistered), "each drain says good-bye");
}

#[tokio::test]
async fn a_drain_runs_what_its_jobs_submit() {
    for concurrency in [1, 3] {
        let forge = Forge::new();
        let queue = forge.queue.clone();
        let worker = forge.worker().concurrency(concurrency).task(move |task: Thumbnail, _: JobContext| {
            let queue = queue.clone();
            async move {
                for width in 0..task.width {
                    queue.submit(NewJob::task(&Thumbnail { width })?).await?;
                }
                Ok(())
            }
        });
        forge.submit(NewJob::task(&Thumbnail { width: 5 }).unwrap()).await;
        assert_eq!(worker.drain().await.unwrap(), completed(32), "at {concurrency} at once");
    }
}

#[tokio::test]
async fn a_drain_that_would_never_end_says_so() {
    let forge = Forge::new();
    let worker = forge.worker().handle("thumbnail", async |_: JobContext| -> Result<Value, JobError> {
        Err(JobError::snooze(Duration::ZERO))
    });
    let id = forge.submit(thumbnail()).await;
    let endless = worker.drain().await.unwrap_err();
    assert!(matches!(endless, WorkerError::Endless { .. }), "{endless}");
    assert_eq!(forge.job(id).await.status(), Status::Pending, "and nothing is left running");
}
