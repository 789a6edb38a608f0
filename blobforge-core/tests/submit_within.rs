//! Jobs submitted in transactions of the caller's own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use blobforge_core::{
    JobId, JobType, NewJob, NewSource, Queue, QueueError, Registration, Sha256, Status, WorkerId,
    rusqlite::{Connection, TransactionBehavior},
    storage::StorageError,
};
use futures_util::FutureExt;

struct Shop {
    queue: Queue,
    orders: Connection,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

async fn shop() -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let queue = Queue::builder().max_attempts(7).open(&path).await.unwrap();
    let orders = Connection::open(&path).unwrap();
    orders.execute("CREATE TABLE orders (name TEXT, job INTEGER)", []).unwrap();
    Shop { queue, orders, path, _folder: folder }
}

impl Shop {
    /// Orders something: its row and its job together.
    fn order(&mut self, job: NewJob, commit: bool) -> Result<JobId, QueueError> {
        let transaction = self.orders.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let submitted = self.queue.submit_within(&transaction, job)?;
        transaction.execute("INSERT INTO orders VALUES ('a', ?1)", [submitted.id.get()]).unwrap();
        if commit {
            transaction.commit().unwrap();
        }
        Ok(submitted.id)
    }
}

fn invoice() -> NewJob {
    NewJob::new("invoice").unwrap()
}

fn orders(path: &Path) -> Vec<i64> {
    let connection = Connection::open(path).unwrap();
    let mut rows = connection.prepare("SELECT job FROM orders").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_job_and_a_row_of_the_callers_are_there_together_or_not_at_all() {
    let mut shop = shop().await;
    let kept = shop.order(invoice(), true).unwrap();
    let undone = shop.order(invoice(), false).unwrap();
    assert_ne!(kept, undone);
    assert_eq!(orders(&shop.path), [kept.get()]);
    let job = shop.queue.job(kept).await.unwrap();
    assert_eq!((job.status(), job.life.max_attempts), (Status::Pending, 7), "as the queue has it");
    assert_eq!(shop.queue.get(undone).await.unwrap(), None);
    assert_eq!(shop.queue.counts().await.unwrap().total(), 1, "what was kept is counted too");
    // The queue goes on beside it.
    shop.queue.submit(invoice()).await.unwrap();
    assert_eq!(shop.queue.counts().await.unwrap().total(), 2);
}

#[tokio::test]
async fn the_rules_of_the_queue_hold() {
    let mut shop = shop().await;
    let settings = blobforge_core::TypeSettings { max_attempts: Some(9), ..Default::default() };
    shop.queue.set_type(JobType::new("invoice").unwrap(), settings).await.unwrap();
    let hash = Sha256::from_bytes([7; 32]);
    let upload = || {
        let source = NewSource::Upload { sha256: Some(hash), size: None };
        invoice().source(source)
    };
    let first = shop.order(upload(), true).unwrap();
    assert_eq!(shop.order(upload(), true).unwrap(), first, "the same work is one job");
    let job = shop.queue.job(first).await.unwrap();
    assert_eq!((job.status(), job.life.max_attempts), (Status::Uploading, 9));
    let content = blobforge_core::blob::read_bytes("not what was announced");
    let sent = shop.queue.put_source(first, content).await.unwrap();
    assert_eq!(sent.status(), Status::Failed, "its source is checked as ever");

    let stored = NewSource::Stored { key: "sources/mine".to_owned(), sha256: hash, size: 1 };
    let refused = shop.order(invoice().source(stored), true);
    assert!(matches!(refused, Err(QueueError::Invalid(_))), "{refused:?}");
    let long = invoice().tag("x".repeat(1000));
    assert!(matches!(shop.order(long, true), Err(QueueError::Invalid(_))));
}

#[tokio::test]
async fn a_key_is_used_up_by_the_commit_alone() {
    let mut shop = shop().await;
    let keyed = |order: u32| invoice().param("order", order).idempotency_key("mine");
    shop.order(keyed(1), false).unwrap();
    let kept = shop.order(keyed(2), true).expect("what was undone used no key");
    assert_eq!(shop.order(keyed(2), true).unwrap(), kept);
    assert!(shop.order(keyed(3), true).is_err());
}

#[tokio::test]
async fn a_claim_that_waits_gets_the_job_once_it_is_committed() {
    let mut shop = shop().await;
    let (worker, types) = (WorkerId::new("w").unwrap(), [JobType::new("invoice").unwrap()]);
    shop.queue.register(Registration::new(worker.clone(), types.clone(), "an instance")).await.unwrap();
    let queue = shop.queue.clone();
    let mut waiting = Box::pin(queue.claim(&worker, &types, 1, Duration::from_secs(600)));
    assert!((&mut waiting).now_or_never().is_none());
    let id = shop.order(invoice(), true).unwrap();
    let claimed = tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("a deaf queue");
    assert_eq!(claimed.unwrap()[0].job.id, id);
}

#[tokio::test]
async fn a_file_that_is_no_queue_is_refused() {
    let mut other = Connection::open_in_memory().unwrap();
    let transaction = other.transaction().unwrap();
    let refused = shop().await.queue.submit_within(&transaction, invoice());
    let Err(QueueError::Storage(StorageError::Unusable(why))) = refused else { panic!("{refused:?}") };
    assert!(why.contains("with this version"), "{why}");
}
