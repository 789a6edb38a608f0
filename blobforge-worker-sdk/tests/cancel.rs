//! How soon a cancel ends what it is meant for. Tokio's clock is paused: it jumps to whatever is waited for next.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{sync::Arc, time::Duration};

use blobforge_core::{ManualClock, NewJob, Queue, Status, Timestamp};
use blobforge_worker_sdk::{JobContext, Shutdown, Worker};
use tokio::time::{Instant, sleep};

const HEARTBEAT: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(7);

/// How long it takes from a cancel, so long after the job began, until the job is gone and the next one runs.
async fn takes(after: Duration) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
    let queue = Queue::builder().clock(clock).heartbeat_every(HEARTBEAT).open_in_memory().unwrap();
    let worker = Worker::builder(Arc::new(queue.clone()))
        .handle("stubborn", async |_: JobContext| std::future::pending().await)
        .stop_grace(GRACE)
        .state_dir(folder.path())
        .build()
        .unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let first = queue.submit(NewJob::new("stubborn").unwrap()).await.unwrap().id;
    let next = queue.submit(NewJob::new("stubborn").unwrap()).await.unwrap().id;
    sleep(after).await;
    let begun = Instant::now();
    queue.cancel(first).await.unwrap();
    while queue.job(next).await.unwrap().status() != Status::Running {
        sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    assert_eq!(queue.job(first).await.unwrap().status(), Status::Cancelled);
    shutdown.at_once();
    running.await.unwrap().unwrap();
    took
}

#[tokio::test(start_paused = true)]
async fn a_cancel_takes_one_heartbeat_and_the_grace_at_most_though_the_handler_heeds_nothing() {
    let mut all = Vec::new();
    for seconds in 0..50 {
        all.push(takes(Duration::from_millis(100 + 977 * seconds)).await);
    }
    all.sort();
    let slack = Duration::from_millis(20);
    assert!(all[0] >= GRACE && all[49] <= HEARTBEAT + GRACE + slack, "{all:?}");
    assert!(all[49] > HEARTBEAT / 2, "cancels came at all times between heartbeats: {all:?}");
}
