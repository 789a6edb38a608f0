//! Handlers that say nothing for too long. Tokio's clock is paused: it jumps to whatever is waited for next.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod faulty;

use std::{future::Future, sync::Arc, time::Duration};

use blobforge_core::{
    Job, JobType, ManualClock, NewJob, Queue, Status, Timestamp, TypeSettings, broker::Broker,
};
use blobforge_worker_sdk::{JobContext, JobError, StopReason, Summary, Worker};
use faulty::Faulty;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn queue() -> Queue {
    Queue::builder().clock(Arc::new(ManualClock::new(Timestamp::ZERO))).open_in_memory().unwrap()
}

/// Runs one job of a type that may be silent for so long.
async fn run<F, Fut>(
    queue: &Queue,
    broker: Arc<dyn Broker>,
    no_progress: Option<Duration>,
    handler: F,
) -> (Summary, Job)
where
    F: Fn(JobContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, JobError>> + Send + 'static,
{
    let settings = TypeSettings { no_progress, ..TypeSettings::default() };
    queue.set_type(JobType::new("work").unwrap(), settings).await.unwrap();
    let id = queue.submit(NewJob::new("work").unwrap()).await.unwrap().id;
    let summary = Worker::builder(broker).handle("work", handler).drain().await.unwrap();
    (summary, queue.job(id).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_silent_for_too_long_is_stopped_and_has_failed() {
    let (queue, begun) = (queue(), Instant::now());
    let (summary, job) = run(&queue, Arc::new(queue.clone()), Some(LIMIT), async |job: JobContext| {
        job.progress(1, 2, "pages", "");
        job.log("page 1");
        std::future::pending().await
    })
    .await;
    assert_eq!(summary, Summary { failed: 1, ..Summary::default() });
    assert_eq!((job.status(), job.life.failures), (Status::Pending, 1), "another run may do better");
    let failure = job.last_error.unwrap();
    assert_eq!(failure.kind, "no_progress");
    assert_eq!(queue.history(job.id).await.unwrap()[0].log_tail.as_deref(), Some("page 1"));
    assert!(failure.message.contains("60s") && failure.message.contains("type work"), "{}", failure.message);
    assert!(begun.elapsed() >= LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_gets_on_is_never_stopped_however_long_it_takes() {
    let (queue, begun) = (queue(), Instant::now());
    let (summary, job) = run(&queue, Arc::new(queue.clone()), Some(LIMIT), async |job: JobContext| {
        for round in 0..10 {
            sleep(LIMIT * 2 / 3).await;
            job.progress(round, 10, "pages", "");
            sleep(LIMIT * 2 / 3).await;
            job.checkpoint_bytes("half", round.to_string()).await?;
            sleep(LIMIT * 2 / 3).await;
            job.output_bytes("whole", round.to_string()).await?;
        }
        Ok(Value::Null)
    })
    .await;
    assert_eq!((summary.completed, job.status()), (1, Status::Completed), "{:?}", job.last_error);
    assert!(begun.elapsed() >= LIMIT * 20);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_takes_long_is_no_silence() {
    let queue = queue();
    let slow = Arc::new(Faulty::new(queue.clone()).transfers_take(LIMIT * 10));
    let (summary, job) = run(&queue, slow, Some(LIMIT), async |job: JobContext| {
        job.output_bytes("large", "x").await?;
        sleep(LIMIT * 2 / 3).await;
        Ok(Value::Null)
    })
    .await;
    assert_eq!((summary.completed, job.status()), (1, Status::Completed), "{:?}", job.last_error);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_long_costs_a_job_nothing_and_one_that_stays_away_fails_it() {
    for (failures, status) in [(40, Status::Completed), (10_000, Status::Pending)] {
        let queue = queue();
        let away = Arc::new(Faulty::new(queue.clone()));
        away.fail_outputs(failures);
        let (_, job) = run(&queue, away, Some(LIMIT), async |job: JobContext| {
            job.output_bytes("large", "x").await?;
            Ok(Value::Null)
        })
        .await;
        assert_eq!((job.status(), job.life.epoch.get()), (status, 1), "{:?}", job.last_error);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_told_and_may_still_finish() {
    let queue = queue();
    let (summary, job) = run(&queue, Arc::new(queue.clone()), Some(LIMIT), async |job: JobContext| {
        assert_eq!(job.stopped().await, StopReason::NoProgress);
        Ok(json!("in time"))
    })
    .await;
    assert_eq!((summary.completed, job.result), (1, Some(json!("in time"))));
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_a_handler_may_be_silent_for_days() {
    let queue = queue();
    let (summary, _) = run(&queue, Arc::new(queue.clone()), None, async |_: JobContext| {
        sleep(DAY).await;
        Ok(Value::Null)
    })
    .await;
    assert_eq!(summary.completed, 1);
}
