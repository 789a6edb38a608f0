//! What happens to everybody else when one of them makes trouble: a listener, a store, the clock.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod forge;

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    JobType, ManualClock, NewSource, Queue, QueueError, Status,
    blob::{BlobError, BlobStore, ObjectBlobs, read_bytes},
    queue::{Feed, Notice},
    storage::{JobFilter, StorageError, memory::MemoryStorage},
    testing::{Fault, Faults, FaultyBlobs, FaultyStorage},
};
use forge::{Forge, heard, in_both, job};
use futures_util::FutureExt;

in_both! {
    a_listener_that_never_reads_holds_up_nobody_and_is_told_how_much_it_missed,
}

/// How many notices are kept for a listener that falls behind.
const KEPT: u64 = 4096;

/// Hears so many events, one after another.
async fn hear(feed: &mut Feed, events: u64) {
    for event in 0..events {
        let notice = heard(feed.next()).await;
        assert!(matches!(notice, Some(Notice::Event(_))), "{notice:?} instead of event {event}");
    }
}

async fn a_listener_that_never_reads_holds_up_nobody_and_is_told_how_much_it_missed(forge: Forge) {
    let (mut deaf, mut keen) = (forge.queue.events(), forge.queue.events());
    for _ in 0..5 {
        let submitted = forge.queue.submit_many(vec![job(); 1000]).await.unwrap();
        assert!(submitted.iter().all(Result::is_ok));
        // Who reads misses nothing.
        hear(&mut keen, 1000).await;
    }
    assert_eq!(heard(deaf.next()).await, Some(Notice::Missed(5000 - KEPT)));
    hear(&mut deaf, KEPT).await;
    assert!(deaf.next().now_or_never().is_none(), "from there on it has heard everything");
}

/// A queue in memory whose stores fail when they are told to.
struct Faulty {
    queue: Queue,
    clock: Arc<ManualClock>,
    storage: Faults,
    blobs: Arc<FaultyBlobs>,
}

impl Faulty {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
        let storage = FaultyStorage::new(Arc::new(MemoryStorage::new(clock.clone())), clock.clone());
        let blobs = Arc::new(FaultyBlobs::new(Arc::new(ObjectBlobs::in_memory()), clock.clone()));
        let faults = storage.faults();
        let builder = Queue::builder().clock(clock.clone()).blobs(blobs.clone());
        Self { queue: builder.open_on(Arc::new(storage)).unwrap(), clock, storage: faults, blobs }
    }

    async fn jobs(&self) -> u64 {
        self.queue.counts().await.unwrap().total()
    }
}

#[tokio::test]
async fn a_full_store_says_so_and_takes_the_job_once_there_is_room() {
    let faulty = Faulty::new();
    faulty.storage.next_write(Fault::Full);
    let full = faulty.queue.submit(job()).await.unwrap_err();
    assert!(matches!(&full, QueueError::Storage(StorageError::Full(_))) && full.is_retryable(), "{full}");
    assert_eq!(faulty.jobs().await, 0);
    faulty.queue.submit(job()).await.unwrap();
    assert_eq!(faulty.jobs().await, 1);
}

#[tokio::test]
async fn a_full_blob_store_makes_no_job_and_what_was_reserved_dies() {
    let faulty = Faulty::new();
    let submit = || faulty.queue.submit_stream(job(), read_bytes("content"), 100);
    faulty.blobs.faults().next_write(Fault::Full);
    let full = submit().await.unwrap_err();
    assert!(matches!(&full, QueueError::Blob(BlobError::Full(_))) && full.is_retryable(), "{full}");
    // This one breaks off when everything is there, and nobody learns of it.
    faulty.blobs.faults().next_write(Fault::Unknown);
    submit().await.unwrap_err();
    assert_eq!(faulty.jobs().await, 0);
    submit().await.unwrap();
    assert_eq!(faulty.jobs().await, 1);
    // Both keys were recorded before anything was written, and nobody needs them.
    faulty.clock.jump_forward(Duration::from_secs(60 * 24 * 60 * 60));
    let garbage = faulty.queue.collect_garbage(false).await.unwrap();
    assert_eq!((garbage.files, garbage.bytes), (2, 7));
}

#[tokio::test]
async fn a_source_that_a_full_store_did_not_take_can_be_sent_again() {
    let faulty = Faulty::new();
    let upload = job().source(NewSource::Upload { sha256: None, size: Some(7) });
    let id = faulty.queue.submit(upload).await.unwrap().id;
    faulty.blobs.faults().next_write(Fault::Full);
    faulty.queue.put_source(id, read_bytes("content")).await.unwrap_err();
    assert_eq!(faulty.queue.job(id).await.unwrap().status(), Status::Uploading);
    let sent = faulty.queue.put_source(id, read_bytes("content")).await.unwrap();
    assert_eq!(sent.status(), Status::Pending);
    let key = sent.source.unwrap().key;
    assert_eq!(faulty.blobs.size(&key).await.unwrap(), Some(7));
}

#[tokio::test]
async fn a_queue_that_cannot_keep_up_says_that_it_is_busy_and_does_what_it_took_in() {
    let faulty = Faulty::new();
    faulty.storage.next_write(Fault::Held);
    let mut waiting = Vec::new();
    let busy = loop {
        let mut submit = Box::pin(faulty.queue.submit(job()));
        match (&mut submit).now_or_never() {
            None => waiting.push(submit),
            Some(Err(busy)) => break busy,
            Some(Ok(taken)) => panic!("taken in by a store that holds everything: {taken:?}"),
        }
        assert!(waiting.len() < 100_000, "its inbox has no end");
        if waiting.len() % 100 == 0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(matches!(busy, QueueError::Busy(_)) && busy.is_retryable(), "{busy}");
    faulty.storage.release();
    let taken = waiting.len() as u64;
    for submit in waiting {
        submit.await.unwrap();
    }
    assert_eq!(faulty.jobs().await, taken, "and nothing of what it refused");
    faulty.queue.submit(job()).await.unwrap();
}

#[tokio::test]
async fn a_store_that_can_no_longer_be_written_stops_the_queue_and_still_answers() {
    let forge = Forge::in_sqlite().await;
    let id = forge.submit().await;
    let file = blobforge_core::rusqlite::Connection::open(forge.path().unwrap()).unwrap();
    let forbid =
        "CREATE TRIGGER forbid BEFORE INSERT ON jobs BEGIN SELECT raise(ABORT, 'it is read-only'); END";
    file.execute_batch(forbid).unwrap();
    let refused = forge.queue.submit(job()).await.unwrap_err();
    assert!(matches!(&refused, QueueError::Storage(StorageError::Broken(_))) && !refused.is_retryable());
    assert!(refused.to_string().contains("look at the disk"), "it says what to do: {refused}");
    assert_eq!(heard(forge.queue.halted()).await.to_string(), refused.to_string());
    let again = forge.queue.cancel(id).await.unwrap_err();
    assert_eq!(again.to_string(), refused.to_string(), "nothing else is tried");
    assert_eq!(forge.queue.job(id).await.unwrap().status(), Status::Pending);
    assert_eq!(forge.queue.list(&JobFilter::default()).await.unwrap().items.len(), 1);
    assert_eq!(forge.queue.counts().await.unwrap().total(), 1);
    assert_eq!(forge.queue.types().await.unwrap()[0].job_type, JobType::new("work").unwrap());
}
