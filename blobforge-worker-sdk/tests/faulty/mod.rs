//! A broker whose line breaks where a test wants it to.
#![allow(dead_code)] // Each test program wants other faults.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use blobforge_core::{
    Checkpoint, Finished, Output, Registration, WorkerId,
    blob::{ByteStream, Stored},
    broker::{Assignment, Broker, BrokerError, Ending, Welcome, Wish},
    storage::{Beat, BeatReply},
};

#[derive(Debug)]
pub(crate) struct Faulty {
    broker: Arc<dyn Broker>,
    heartbeats_fail: AtomicBool,
    replies_to_lose: AtomicU32,
    claims_to_lose: AtomicU32,
    outputs_to_fail: AtomicU32,
    transfers_take: Duration,
    sources_take: Duration,
}

impl Faulty {
    pub(crate) fn new(broker: impl Broker + 'static) -> Self {
        Self {
            broker: Arc::new(broker),
            heartbeats_fail: AtomicBool::new(false),
            replies_to_lose: AtomicU32::new(0),
            claims_to_lose: AtomicU32::new(0),
            outputs_to_fail: AtomicU32::new(0),
            transfers_take: Duration::ZERO,
            sources_take: Duration::ZERO,
        }
    }

    /// Every output takes so long to be sent.
    pub(crate) fn transfers_take(self, time: Duration) -> Self {
        Self { transfers_take: time, ..self }
    }

    /// Every source takes so long to come.
    pub(crate) fn sources_take(self, time: Duration) -> Self {
        Self { sources_take: time, ..self }
    }

    pub(crate) fn heartbeats_fail(&self, fail: bool) {
        self.heartbeats_fail.store(fail, Ordering::SeqCst);
    }

    pub(crate) fn lose_replies_to_reports(&self, count: u32) {
        self.replies_to_lose.store(count, Ordering::SeqCst);
    }

    /// So many outputs do not get through.
    pub(crate) fn fail_outputs(&self, count: u32) {
        self.outputs_to_fail.store(count, Ordering::SeqCst);
    }

    pub(crate) fn lose_replies_to_claims(&self, count: u32) {
        self.claims_to_lose.store(count, Ordering::SeqCst);
    }
}

fn cut() -> BrokerError {
    BrokerError::Unavailable("the line is cut".to_owned())
}

/// Loses a reply if some are still to be lost.
fn lose<T>(reply: T, to_lose: &AtomicU32) -> Result<T, BrokerError> {
    let one_less = |left: u32| left.checked_sub(1);
    match to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
        Ok(_) => Err(cut()),
        Err(_) => Ok(reply),
    }
}

#[async_trait]
impl Broker for Faulty {
    async fn register(&self, registration: &Registration) -> Result<Welcome, BrokerError> {
        self.broker.register(registration).await
    }

    async fn unregister(&self, worker: &WorkerId, instance: &str) -> Result<(), BrokerError> {
        self.broker.unregister(worker, instance).await
    }

    async fn claim(&self, wish: &Wish) -> Result<Vec<Assignment>, BrokerError> {
        let claimed = self.broker.claim(wish).await?;
        if claimed.is_empty() { Ok(claimed) } else { lose(claimed, &self.claims_to_lose) }
    }

    async fn heartbeat(&self, beat: Beat) -> Result<BeatReply, BrokerError> {
        if self.heartbeats_fail.load(Ordering::SeqCst) {
            return Err(cut());
        }
        self.broker.heartbeat(beat).await
    }

    async fn finish(&self, assignment: &Assignment, ending: Ending) -> Result<Finished, BrokerError> {
        let finished = self.broker.finish(assignment, ending).await?;
        lose(finished, &self.replies_to_lose)
    }

    async fn source(&self, assignment: &Assignment) -> Result<ByteStream, BrokerError> {
        tokio::time::sleep(self.sources_take).await;
        self.broker.source(assignment).await
    }

    async fn source_verified(&self, assignment: &Assignment, read: Stored) -> Result<(), BrokerError> {
        self.broker.source_verified(assignment, read).await
    }

    async fn put_output(
        &self,
        assignment: &Assignment,
        name: &str,
        file: &Path,
    ) -> Result<Output, BrokerError> {
        tokio::time::sleep(self.transfers_take).await;
        lose((), &self.outputs_to_fail)?;
        self.broker.put_output(assignment, name, file).await
    }

    async fn put_checkpoint(
        &self,
        assignment: &Assignment,
        name: &str,
        file: &Path,
    ) -> Result<(), BrokerError> {
        self.broker.put_checkpoint(assignment, name, file).await
    }

    async fn checkpoint(
        &self,
        assignment: &Assignment,
        checkpoint: &Checkpoint,
    ) -> Result<ByteStream, BrokerError> {
        self.broker.checkpoint(assignment, checkpoint).await
    }
}
