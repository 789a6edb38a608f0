//! A queue to test with, in memory and in a file, under a clock that moves by hand.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use blobforge_core::{
    JobId, JobType, ManualClock, NewJob, Queue, QueueBuilder, Registration, WorkerId,
    storage::{Claimed, Report},
};

pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// Longer than anything here takes; only a queue that answers nobody runs into it.
const DEAF: Duration = Duration::from_secs(120);

pub(crate) struct Forge {
    pub(crate) queue: Queue,
    pub(crate) clock: Arc<ManualClock>,
    /// Where the queue is, if it is in a file.
    folder: Option<tempfile::TempDir>,
}

impl Forge {
    pub(crate) async fn in_memory() -> Self {
        let clock = clock();
        let queue = settings(&clock).open_in_memory().unwrap();
        Self { queue, clock, folder: None }
    }

    pub(crate) async fn in_sqlite() -> Self {
        let (clock, folder) = (clock(), tempfile::tempdir().unwrap());
        let queue = settings(&clock).open(folder.path().join("jobs.db")).await.unwrap();
        Self { queue, clock, folder: Some(folder) }
    }

    /// An empty one of the same kind.
    pub(crate) async fn another(&self) -> Self {
        if self.folder.is_some() { Self::in_sqlite().await } else { Self::in_memory().await }
    }

    /// Closes the queue and opens it again, if it is in a file.
    pub(crate) async fn reopened(mut self) -> Self {
        if let Some(path) = self.path() {
            self.queue.close().await;
            self.queue = settings(&self.clock).open(path).await.unwrap();
        }
        self
    }

    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.path().join("jobs.db"))
    }

    /// Registers a worker that serves type `work`.
    pub(crate) async fn worker(&self, id: &str) -> WorkerId {
        let id = WorkerId::new(id).unwrap();
        self.queue.register(Registration::new(id.clone(), [work()], "an instance")).await.unwrap();
        id
    }

    pub(crate) async fn submit(&self) -> JobId {
        self.queue.submit(job()).await.unwrap().id
    }

    pub(crate) async fn claim(&self, worker: &WorkerId) -> Option<Claimed> {
        self.queue.claim(worker, &[work()], 1, Duration::ZERO).await.unwrap().pop()
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()))
}

fn settings(clock: &Arc<ManualClock>) -> QueueBuilder {
    Queue::builder().clock(clock.clone()).lease(LEASE)
}

pub(crate) fn work() -> JobType {
    JobType::new("work").unwrap()
}

pub(crate) fn job() -> NewJob {
    NewJob::new("work").unwrap()
}

pub(crate) fn complete() -> Report {
    Report::Complete { outputs: Vec::new(), result: None }
}

/// What comes of something that must not wait for ever.
pub(crate) async fn heard<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEAF, what).await.expect("a deaf queue")
}

/// Makes two tests of every case, an async function that takes a [`Forge`]: in memory, and in SQLite.
macro_rules! in_both {
    ($($case:ident,)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::forge::Forge::in_memory().await).await;
            })*
        }
        mod in_sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::forge::Forge::in_sqlite().await).await;
            })*
        }
    };
}
pub(crate) use in_both;
