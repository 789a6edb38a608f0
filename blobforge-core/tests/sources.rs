//! Sources: what has arrived stays as it is, whoever sends what; and what was found corrupt can be sent again. Through
//! `Queue` alone, with nothing but memory below.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{io, sync::Arc, time::Duration};

use blobforge_core::{
    Job, JobId, JobType, ManualClock, NewJob, NewSource, Queue, QueueError, Registration, Sha256, Status,
    WorkerId,
    blob::{ByteStream, ObjectBlobs, Stored, read_bytes},
    storage::{Claimed, Command, Submitted, memory::MemoryStorage},
    testing::{Fault, Faults, FaultyStorage},
};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use sha2::Digest;
use tokio::sync::oneshot;

const HELLO: &str = "hello";

struct Forge {
    queue: Queue,
    faults: Faults,
}

impl Forge {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
        let storage = FaultyStorage::new(Arc::new(MemoryStorage::new(clock.clone())), clock.clone());
        let faults = storage.faults();
        let builder = Queue::builder().clock(clock).blobs(Arc::new(ObjectBlobs::in_memory()));
        let queue = builder.open_on(Arc::new(storage)).unwrap();
        Self { queue, faults }
    }

    async fn submit(&self, sha256: Option<Sha256>) -> Submitted {
        self.queue.submit(upload(sha256)).await.unwrap()
    }

    async fn send(&self, job: JobId, content: &'static str) -> Result<Job, QueueError> {
        self.queue.put_source(job, read_bytes(content)).await
    }

    /// What lies where a job has its source.
    async fn bytes(&self, job: JobId) -> String {
        let source = self.queue.job(job).await.unwrap().source.unwrap();
        let content = self.queue.blobs().get(&source.key, None).await.unwrap();
        let pieces: Vec<_> = content.try_collect().await.unwrap();
        String::from_utf8(pieces.concat()).unwrap()
    }

    /// Has a worker take the next job.
    async fn claim(&self) -> Claimed {
        let smith = WorkerId::new("smith").unwrap();
        let registration = Registration::new(smith.clone(), [work()], "first");
        self.queue.register(registration).await.unwrap();
        self.queue.claim(&smith, &[work()], 1, Duration::ZERO).await.unwrap().remove(0)
    }

    /// Has the holder of a job say what it read.
    async fn read(&self, held: &Claimed, content: &str) {
        let Stored { size, sha256 } = stored(content);
        let (job, token) = (held.job.id, held.token);
        let verified = Command::SourceVerified { job, token, size: Some(size), sha256 };
        self.queue.run(verified).await.unwrap();
    }
}

fn work() -> JobType {
    JobType::new("work").unwrap()
}

fn stored(content: &str) -> Stored {
    let sha256 = Sha256::from_bytes(sha2::Sha256::digest(content).into());
    Stored { size: content.len() as u64, sha256 }
}

fn upload(sha256: Option<Sha256>) -> NewJob {
    NewJob::new(work()).unwrap().source(NewSource::Upload { sha256, size: None })
}

fn is_refused(sent: Result<Job, QueueError>) -> bool {
    matches!(sent, Err(QueueError::Refused(_)))
}

/// A file whose end is not sent before somebody says so.
fn held_back(content: &'static str) -> (ByteStream, oneshot::Sender<()>) {
    let (go_on, waits) = oneshot::channel();
    let (first, rest) = content.split_at(1);
    let rest = waits.map(move |_| io::Result::Ok(rest.into()));
    let whole = stream::once(async move { Ok(first.into()) }).chain(stream::once(rest));
    (whole.boxed(), go_on)
}

#[tokio::test]
async fn a_source_that_has_arrived_is_never_replaced() {
    let forge = Forge::new();
    let id = forge.submit(None).await.id;
    assert_eq!(forge.send(id, HELLO).await.unwrap().status(), Status::Pending);
    assert!(is_refused(forge.send(id, "WORLD").await));
    assert_eq!(forge.bytes(id).await, HELLO);
    // Nor is one that another job shares.
    let other = upload(Some(stored(HELLO).sha256)).param("lang", "de");
    let other = forge.queue.submit(other).await.unwrap();
    assert_eq!(other.status, Status::Pending);
    assert!(is_refused(forge.send(other.id, "WORLD").await));
    assert_eq!((forge.bytes(id).await, forge.bytes(other.id).await), (HELLO.to_owned(), HELLO.to_owned()));
}

#[tokio::test]
async fn of_two_that_send_a_source_at_once_one_is_taken_and_its_bytes_stay() {
    let forge = Forge::new();
    let id = forge.submit(None).await.id;
    let (slow, go_on) = held_back("WORLD");
    let mut late = std::pin::pin!(forge.queue.put_source(id, slow));
    while forge.queue.job(id).await.unwrap().status() == Status::Uploading {
        assert!(late.as_mut().now_or_never().is_none());
        forge.send(id, HELLO).await.unwrap();
    }
    go_on.send(()).unwrap();
    assert!(is_refused(late.await));
    assert_eq!(forge.bytes(id).await, HELLO);
    let source = forge.queue.job(id).await.unwrap().source.unwrap();
    assert_eq!(source.sha256, Some(stored(HELLO).sha256));
}

#[tokio::test]
async fn a_source_is_announced_again_after_a_lost_reply() {
    let forge = Forge::new();
    let submitted = forge.submit(Some(stored(HELLO).sha256)).await;
    let (id, key) = (submitted.id, submitted.upload_key.unwrap());
    forge.queue.blobs().put(&key, read_bytes(HELLO), 100).await.unwrap();
    forge.faults.next_write(Fault::Unknown);
    forge.queue.source_uploaded(id).await.unwrap_err();
    let job = forge.queue.job(id).await.unwrap();
    assert_eq!(job.status(), Status::Pending);
    assert_eq!(forge.queue.source_uploaded(id).await.unwrap(), job);
    assert_eq!(forge.send(id, HELLO).await.unwrap(), job, "the same file, sent once more");
    assert!(is_refused(forge.send(id, "WORLD").await));
}

#[tokio::test]
async fn a_source_that_its_worker_finds_corrupt_is_sent_again() {
    let forge = Forge::new();
    let submitted = forge.submit(Some(stored(HELLO).sha256)).await;
    let (id, key) = (submitted.id, submitted.upload_key.unwrap());
    forge.queue.blobs().put(&key, read_bytes("hell"), 100).await.unwrap();
    forge.queue.source_uploaded(id).await.unwrap();
    let held = forge.claim().await;
    forge.read(&held, "hell").await;
    let failed = forge.queue.job(id).await.unwrap();
    assert_eq!(
        (failed.status(), failed.last_error.unwrap().kind.as_str()),
        (Status::Failed, "source_corrupt")
    );
    assert_eq!(forge.queue.retry(id).await.unwrap().status(), Status::Uploading);
    assert_eq!(forge.send(id, HELLO).await.unwrap().status(), Status::Pending);
    assert_eq!(forge.claim().await.job.id, id);
    assert_eq!(forge.bytes(id).await, HELLO);
}

#[tokio::test]
async fn who_sends_a_corrupt_source_again_leaves_alone_what_others_have() {
    let forge = Forge::new();
    let job = |lang: &str| upload(Some(stored(HELLO).sha256)).param("lang", lang);
    let first = forge.queue.submit(job("en")).await.unwrap().id;
    forge.send(first, HELLO).await.unwrap();
    assert_eq!(forge.claim().await.job.id, first);
    let second = forge.queue.submit(job("de")).await.unwrap().id;
    let held = forge.claim().await;
    assert_eq!(held.job.id, second);
    forge.read(&held, "hell").await;
    let third = forge.queue.submit(job("fr")).await.unwrap();
    assert_eq!(third.status, Status::Uploading, "what was found corrupt is handed to nobody");
    let again = forge.queue.retry(second).await.unwrap();
    let key = again.source.unwrap().key;
    forge.queue.blobs().put(&key, read_bytes("HELLO"), 100).await.unwrap();
    assert_eq!(forge.bytes(first).await, HELLO);
}
