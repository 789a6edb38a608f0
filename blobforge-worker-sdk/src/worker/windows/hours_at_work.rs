//! A worker with run windows, and a queue. Both go by a clock on the wall that goes with Tokio's, which is paused: it jumps
//! to whatever is waited for next.
#![allow(clippy::unwrap_used, clippy::panic)]

use blobforge_core::{Job, JobId, NewJob, Queue, Status, WorkerId};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use super::*;
use crate::{
    JobContext, JobError, Shutdown, StopReason, Summary, Worker, WorkerBuilder, WorkerError,
    worker::{surroundings::Surroundings, wall::Wall},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

struct Forge {
    clock: Arc<Wall>,
    queue: Queue,
    folder: tempfile::TempDir,
}

struct Running {
    shutdown: Shutdown,
    task: JoinHandle<Result<Summary, WorkerError>>,
}

impl Running {
    async fn stop(self) -> Summary {
        self.shutdown.begin();
        self.task.await.unwrap().unwrap()
    }
}

impl Forge {
    /// On a winter's day in Central Europe; the time is local.
    fn at(time: &str) -> Self {
        let at = format!("2026-01-15T{time}:00+01:00").parse().unwrap();
        let clock = Arc::new(Wall::at(at));
        let queue = Queue::builder().clock(clock.clone()).open_in_memory().unwrap();
        Self { clock, queue, folder: tempfile::tempdir().unwrap() }
    }

    /// A worker by night.
    fn worker(&self) -> WorkerBuilder {
        let zone = Some(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        Worker::builder(Arc::new(self.queue.clone()))
            .id(WorkerId::new("smith").unwrap())
            .state_dir(self.folder.path())
            .surroundings(Surroundings { clock: self.clock.clone(), zone, ..Surroundings::default() })
            .run_window("22:00-06:00".parse().unwrap())
    }

    fn run(&self, worker: WorkerBuilder) -> Running {
        let shutdown = Shutdown::new();
        let task = tokio::spawn(worker.build().unwrap().run(shutdown.clone()));
        Running { shutdown, task }
    }

    async fn submit(&self) -> JobId {
        self.queue.submit(NewJob::new("work").unwrap().dedup(false)).await.unwrap().id
    }

    async fn job(&self, id: JobId) -> Job {
        self.queue.job(id).await.unwrap()
    }

    async fn ended(&self, id: JobId) -> Job {
        self.queue.wait(id, 48 * HOUR).await.unwrap()
    }

    /// Until when the worker says that it does not run.
    async fn suspended_until(&self) -> Option<String> {
        let until = self.queue.workers().await.unwrap().remove(0).condition.suspended_until;
        until.map(|until| until.to_string())
    }
}

/// Works for so long, and says when it began.
fn works_for(
    time: Duration,
    clock: Arc<Wall>,
) -> impl Fn(JobContext) -> futures_util::future::BoxFuture<'static, Result<Value, JobError>> {
    move |_| {
        let began = clock.now().to_string();
        Box::pin(async move {
            sleep(time).await;
            Ok(began.into())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn outside_of_its_windows_a_worker_says_until_when_and_claims_nothing() {
    let forge = Forge::at("21:00");
    let first = forge.submit().await;
    let worker = forge.run(forge.worker().handle("work", works_for(50 * SECOND, forge.clock.clone())));
    sleep(5 * SECOND).await;
    assert_eq!(forge.suspended_until().await.as_deref(), Some("2026-01-15T21:00:00.000Z"), "at once");
    assert_eq!(forge.ended(first).await.result, Some(json!("2026-01-15T21:00:00.000Z")), "on the minute");
    sleep(5 * SECOND).await;
    assert_eq!(forge.suspended_until().await, None);
    // Somebody hands in a job just after the window closed, when a claim from before could still be open.
    sleep(8 * HOUR - 50 * SECOND).await;
    let second = forge.submit().await;
    assert_eq!(forge.suspended_until().await.as_deref(), Some("2026-01-16T21:00:00.000Z"));
    assert_eq!(forge.ended(second).await.result, Some(json!("2026-01-16T21:00:00.000Z")));
    for id in [first, second] {
        assert_eq!(forge.job(id).await.life.epoch.get(), 1, "it was claimed once");
    }
    assert_eq!(worker.stop().await.completed, 2);
}

#[tokio::test(start_paused = true)]
async fn what_runs_when_the_window_closes_is_finished() {
    let forge = Forge::at("05:00");
    let id = forge.submit().await;
    let worker = forge.run(forge.worker().handle("work", works_for(3 * HOUR, forge.clock.clone())));
    let job = forge.ended(id).await;
    assert_eq!((job.status(), job.life.epoch.get()), (Status::Completed, 1));
    assert_eq!(forge.clock.now().to_string(), "2026-01-15T07:00:00.000Z");
    assert_eq!(worker.stop().await.completed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_told_so_gives_back_what_runs_when_the_window_closes() {
    let forge = Forge::at("05:00");
    let id = forge.submit().await;
    let clock = forge.clock.clone();
    let worker = forge.worker().abort_outside_window(true).handle("work", move |job: JobContext| {
        let clock = clock.clone();
        async move {
            if let Some(kept) = job.load_checkpoint("half").await? {
                let began = std::fs::read_to_string(kept)?;
                return Ok(json!([began, clock.now().to_string()]));
            }
            job.checkpoint_bytes("half", clock.now().to_string()).await?;
            assert_eq!(job.stopped().await, StopReason::Suspended);
            Err(JobError::permanent("stopped", "that is not its fault"))
        }
    });
    let worker = forge.run(worker);
    sleep(HOUR + 10 * SECOND).await;
    let job = forge.job(id).await;
    assert_eq!((job.status(), job.life.failures, job.life.losses), (Status::Pending, 0, 0));
    assert_eq!(forge.suspended_until().await.as_deref(), Some("2026-01-15T21:00:00.000Z"));
    let told = json!(["2026-01-15T04:00:00.000Z", "2026-01-15T21:00:00.000Z"]);
    assert_eq!(forge.ended(id).await.result, Some(told), "it goes on where it was");
    assert_eq!(worker.stop().await, Summary { released: 1, completed: 1, ..Summary::default() });
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_ahead_when_the_window_closes_is_given_back() {
    let forge = Forge::at("05:58");
    // The first one ends a moment after the window closes.
    sleep(20 * SECOND + SECOND / 2).await;
    let (first, second) = (forge.submit().await, forge.submit().await);
    let clock = forge.clock.clone();
    let worker = forge.run(forge.worker().handle("work", move |job: JobContext| {
        let clock = clock.clone();
        async move {
            let began = clock.now().to_string();
            for step in 1..=100 {
                sleep(SECOND).await;
                job.progress(step, 100, "pages", "");
            }
            Ok(began.into())
        }
    }));
    forge.ended(first).await;
    assert_eq!(forge.ended(second).await.result, Some(json!("2026-01-15T21:00:00.000Z")));
    assert_eq!(forge.queue.history(second).await.unwrap().len(), 2, "it was fetched ahead");
    assert_eq!(worker.stop().await, Summary { released: 1, completed: 2, ..Summary::default() });
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_registers_anew_says_again_that_it_does_not_run() {
    let forge = Forge::at("12:00");
    let worker = forge.run(forge.worker().handle("work", works_for(MINUTE, forge.clock.clone())));
    sleep(MINUTE).await;
    forge.queue.remove_worker(WorkerId::new("smith").unwrap()).await.unwrap();
    sleep(MINUTE).await;
    assert_eq!(forge.suspended_until().await.as_deref(), Some("2026-01-15T21:00:00.000Z"));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_drained_at_any_hour() {
    let forge = Forge::at("12:00");
    forge.submit().await;
    let worker = forge.worker().handle("work", works_for(MINUTE, forge.clock.clone()));
    assert_eq!(worker.drain().await.unwrap().completed, 1);
}

#[tokio::test]
async fn there_are_not_too_many_windows() {
    let window: RunWindow = "22:00-06:00".parse().unwrap();
    let builder = Worker::builder(Arc::new(Queue::in_memory())).handle("work", async |_| Ok(Value::Null));
    let refused =
        (0..=MAX_WINDOWS).fold(builder, |builder, _| builder.run_window(window)).build().unwrap_err();
    assert!(refused.to_string().contains("at most 100"), "{refused}");
}
