//! Jobs submitted in transactions of the caller's own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};

use blobforge_core::{
    JobId, JobType, NewJob, NewSource, Queue, Sha256, Status, SystemClock,
    queue::{QueueError, submit_within},
    rusqlite::{Connection, TransactionBehavior},
    storage::StorageError,
};

struct Shop {
    queue: Queue,
    orders: Connection,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

async fn shop() -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let queue = Queue::open(&path).await.unwrap();
    let orders = Connection::open(&path).unwrap();
    orders.execute("CREATE TABLE orders (name TEXT, job INTEGER)", []).unwrap();
    Shop { queue, orders, path, _folder: folder }
}

/// Orders something: its row and its job together.
fn order(orders: &mut Connection, job: NewJob, commit: bool) -> Result<JobId, QueueError> {
    let transaction = orders.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let submitted = submit_within(&transaction, job, &SystemClock)?;
    transaction.execute("INSERT INTO orders VALUES ('a', ?1)", [submitted.id.get()]).unwrap();
    if commit {
        transaction.commit().unwrap();
    }
    Ok(submitted.id)
}

fn orders(path: &Path) -> Vec<i64> {
    let connection = Connection::open(path).unwrap();
    let mut rows = connection.prepare("SELECT job FROM orders").unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_job_and_a_row_of_the_callers_are_there_together_or_not_at_all() {
    let mut shop = shop().await;
    let kept = order(&mut shop.orders, NewJob::new("invoice").unwrap(), true).unwrap();
    let undone = order(&mut shop.orders, NewJob::new("invoice").unwrap(), false).unwrap();
    assert_ne!(kept, undone);
    assert_eq!(orders(&shop.path), [kept.get()]);
    assert_eq!(shop.queue.job(kept).await.unwrap().status(), Status::Pending);
    assert_eq!(shop.queue.get(undone).await.unwrap(), None);
    assert_eq!(shop.queue.counts().await.unwrap().total(), 1, "what was kept is counted too");
    // The queue goes on beside it.
    shop.queue.submit(NewJob::new("invoice").unwrap()).await.unwrap();
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
        NewJob::new("invoice").unwrap().source(source)
    };
    let first = order(&mut shop.orders, upload(), true).unwrap();
    assert_eq!(order(&mut shop.orders, upload(), true).unwrap(), first, "the same work is one job");
    let job = shop.queue.job(first).await.unwrap();
    assert_eq!((job.status(), job.life.max_attempts), (Status::Uploading, 9));
    let content = blobforge_core::blob::read_bytes("not what was announced");
    let sent = shop.queue.put_source(first, content).await.unwrap();
    assert_eq!(sent.status(), Status::Failed, "its source is checked as ever");

    let stored = NewSource::Stored { key: "sources/mine".to_owned(), sha256: hash, size: 1 };
    let refused = order(&mut shop.orders, NewJob::new("invoice").unwrap().source(stored), true);
    assert!(matches!(refused, Err(QueueError::Invalid(_))), "{refused:?}");
    let long = NewJob::new("invoice").unwrap().tag("x".repeat(1000));
    assert!(matches!(order(&mut shop.orders, long, true), Err(QueueError::Invalid(_))));
}

#[tokio::test]
async fn a_file_that_is_no_queue_is_refused() {
    let mut other = Connection::open_in_memory().unwrap();
    let transaction = other.transaction().unwrap();
    let refused = submit_within(&transaction, NewJob::new("invoice").unwrap(), &SystemClock);
    let Err(QueueError::Storage(StorageError::Unusable(why))) = refused else { panic!("{refused:?}") };
    assert!(why.contains("with this version"), "{why}");
}
