//! What is peculiar to the store in an SQLite file: full disks, strange files, slow reads, shared files.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "storage_sqlite/far_back.rs"]
mod far_back;
#[path = "storage_sqlite/opening.rs"]
mod opening;
#[path = "storage_sqlite/schemas.rs"]
mod schemas;

use std::{path::Path, sync::Arc, time::Duration};

use blobforge_core::{
    Failure, Jitter, JobId, JobType, KeyLimits, LeaseSecret, LimitBy, Limits, ManualClock, NewJob,
    Registration, RetryPolicy, Status, SystemEntropy, Timestamp, TypeSettings, WorkerId,
    rusqlite::Connection,
    storage::{
        Beat, Claim, Claimed, Command, Done, HeldLease, JobFilter, Outcome, Report, Storage, StorageError,
        Submit,
        sqlite::{SqliteOptions, SqliteStorage},
    },
};
use serde_json::json;

fn options() -> SqliteOptions {
    SqliteOptions {
        clock: Arc::new(ManualClock::new(Timestamp::from_millis(1_772_366_400_000))),
        // A machine that is busy with other tests must not fail these.
        read_limit: Duration::from_secs(60),
        ..SqliteOptions::default()
    }
}

async fn open(path: &Path) -> SqliteStorage {
    SqliteStorage::open(path, options()).await.unwrap()
}

fn submit(job: NewJob) -> Command {
    Command::Submit(Box::new(Submit { job, upload_key: "sources/1".to_owned(), default_max_attempts: 3 }))
}

fn pdf() -> Command {
    submit(NewJob::new("pdf").unwrap())
}

fn worker() -> WorkerId {
    WorkerId::new("w1").unwrap()
}

fn register() -> Command {
    let registration = Registration {
        id: worker(),
        types: Vec::new(),
        name: None,
        instance: "first".to_owned(),
        previous_instance: None,
        labels: Default::default(),
        host: None,
        metadata: Default::default(),
    };
    Command::Register { registration: Box::new(registration), alive_for: Duration::from_secs(60) }
}

fn claim(job_type: &JobType) -> Command {
    Command::Claim(Claim {
        worker: worker(),
        types: vec![job_type.clone()],
        secrets: vec![LeaseSecret::draw(&SystemEntropy).unwrap()],
        lease: Duration::from_secs(60),
        claim_id: None,
    })
}

async fn run(store: &SqliteStorage, command: Command) -> Outcome {
    store.commit(vec![command]).await.unwrap().outcomes.pop().unwrap()
}

async fn claimed(store: &SqliteStorage) -> Claimed {
    claimed_of(store, &JobType::new("pdf").unwrap()).await.expect("there is something to do")
}

async fn claimed_of(store: &SqliteStorage, job_type: &JobType) -> Option<Claimed> {
    match run(store, claim(job_type)).await {
        Ok(Done::Claimed(mut claimed)) => claimed.pop(),
        other => panic!("{other:?}"),
    }
}

fn beat(held: &Claimed) -> Command {
    let lease =
        HeldLease { job: held.job.id, token: held.token, progress: None, log_tail: None, ahead: None };
    Command::Heartbeat(Beat { worker: worker(), leases: vec![lease], condition: None })
}

fn complete(held: &Claimed) -> Command {
    report(held, Report::Complete { outputs: Vec::new(), result: None })
}

fn fail(held: &Claimed) -> Command {
    let (failure, policy) = (Failure::new("jam", "paper"), RetryPolicy::default());
    report(held, Report::Fail { failure, retryable: true, policy, jitter: Jitter::NONE })
}

fn report(held: &Claimed, report: Report) -> Command {
    Command::Report { job: held.job.id, token: held.token, report: Box::new(report) }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let small = SqliteOptions { max_pages: Some(100), ..options() };
    let store = SqliteStorage::open(&path, small).await.unwrap();
    store.commit(vec![register(), pdf()]).await.unwrap();
    let held = claimed(&store).await;
    let large = || {
        let mut job = NewJob::new("video").unwrap();
        job.body.metadata.insert("text".to_owned(), json!("x".repeat(1500)));
        submit(job)
    };
    let mut acknowledged = 1;
    let full = loop {
        match store.commit(vec![large(), large()]).await {
            Ok(committed) => acknowledged += committed.outcomes.len() as u64,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the limit is not heeded");
    };
    assert!(matches!(full, StorageError::Full(_)) && full.is_retryable(), "{full:?}");
    assert!(acknowledged > 20, "it was full from the beginning");
    let again = store.commit(vec![large()]).await.unwrap_err();
    assert!(matches!(again, StorageError::Full(_)), "still full rather than broken: {again:?}");

    assert_eq!(store.counts().await.unwrap().total(), acknowledged, "reads go on");
    assert_eq!(store.jobs(&JobFilter::all(1000)).await.unwrap().items.len() as u64, acknowledged);
    assert!(run(&store, beat(&held)).await.is_ok(), "what needs no space goes on");
    assert!(run(&store, complete(&held)).await.is_ok());
    drop(store);

    let store = open(&path).await;
    assert_eq!(store.counts().await.unwrap().total(), acknowledged);
    store.commit(vec![large()]).await.expect("there is space again");
    assert_eq!(store.job(JobId::new(1)).await.unwrap().unwrap().status(), Status::Completed);
}

#[tokio::test]
async fn everything_is_there_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let store = open(&path).await;
    store.commit(vec![register(), pdf(), pdf()]).await.unwrap();
    let held = claimed(&store).await;
    let video = JobType::new("video").unwrap();
    let one_of_each_book = KeyLimits {
        by: LimitBy::Param("book".to_owned()),
        limits: Limits { running: Some(1), starts: None },
    };
    let settings = TypeSettings {
        max_attempts: Some(1),
        lease: Some(Duration::from_secs(7)),
        retry: Some(RetryPolicy::default()),
        per_key: Some(one_of_each_book),
        ..TypeSettings::default()
    };
    let set = Command::SetType { job_type: video.clone(), settings: Box::new(settings) };
    let keyed = || submit(NewJob::new("video").unwrap().param("book", "dune").idempotency_key("night 1"));
    let other = submit(NewJob::new("video").unwrap().param("book", "dune"));
    let paused = Command::SetPaused(JobType::new("audio").unwrap(), true);
    store.commit(vec![set, keyed(), other.clone(), other, paused]).await.unwrap();
    // One fails, one runs, and one is held back by its key.
    let failed = claimed_of(&store, &video).await.unwrap();
    assert!(run(&store, fail(&failed)).await.is_ok());
    let running = claimed_of(&store, &video).await.unwrap();
    assert!(claimed_of(&store, &video).await.is_none());
    let everything = async |store: &SqliteStorage| {
        (
            store.jobs(&JobFilter::all(9)).await.unwrap(),
            store.counts().await.unwrap(),
            store.workers().await.unwrap(),
            store.attempts(held.job.id).await.unwrap(),
            store.attempts(failed.job.id).await.unwrap(),
            store.types().await.unwrap(),
            store.failure_groups(None, 9).await.unwrap(),
        )
    };
    let before = everything(&store).await;
    assert_eq!((before.5.len(), before.6.len()), (3, 1));
    drop(store);

    let store = open(&path).await;
    assert_eq!(everything(&store).await, before);
    assert!(claimed_of(&store, &video).await.is_none(), "its key holds it back still");
    assert!(run(&store, complete(&running)).await.is_ok());
    assert!(claimed_of(&store, &video).await.is_some(), "until there is room");
    assert!(matches!(run(&store, keyed()).await, Ok(Done::Submitted(job)) if job.replayed));
    assert!(run(&store, complete(&held)).await.is_ok(), "a lease outlives the process that gave it");
    assert_eq!(claimed(&store).await.job.id, JobId::new(2));
    assert!(matches!(run(&store, pdf()).await, Ok(Done::Submitted(job)) if job.id == JobId::new(6)));
}

#[tokio::test]
async fn two_stores_share_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let (one, other) = (open(&path).await, open(&path).await);
    one.commit(vec![register(), pdf()]).await.unwrap();
    let held = claimed(&other).await;
    assert_eq!(one.job(held.job.id).await.unwrap().unwrap().status(), Status::Running);
    assert!(run(&one, complete(&held)).await.is_ok());
    // Each has an idea of the line that the other has made wrong.
    for _ in 0..3 {
        other.commit(vec![pdf()]).await.unwrap();
        let held = claimed(&one).await;
        assert!(run(&other, complete(&held)).await.is_ok());
    }
    assert_eq!(other.counts().await.unwrap().of_status(Status::Completed), 4);
}

#[tokio::test]
async fn a_violated_constraint_stops_all_writing_but_no_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let store = open(&path).await;
    store.commit(vec![pdf()]).await.unwrap();
    // Somebody stands where the next job will.
    let vandal = Connection::open(&path).unwrap();
    let far = Timestamp::from_millis(i64::MAX / 2);
    vandal.execute("INSERT INTO scheduled (run_at, id) VALUES (?1, 2)", [far.as_millis()]).unwrap();
    let next = submit(NewJob::new("pdf").unwrap().run_at(far));
    let broken = store.commit(vec![next]).await.unwrap_err();
    assert!(matches!(broken, StorageError::Broken(_)) && !broken.is_retryable(), "{broken:?}");
    let harmless = submit(NewJob::new("video").unwrap());
    let still = store.commit(vec![harmless]).await.unwrap_err();
    assert_eq!(still.to_string(), broken.to_string());
    assert_eq!(store.counts().await.unwrap().total(), 1);
    assert_eq!(store.job(JobId::new(2)).await.unwrap(), None);
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let impatient = SqliteOptions { read_limit: Duration::ZERO, ..options() };
    let store = open(&path).await;
    let record = |n: usize| {
        let (collection, key) = ("notes".to_owned(), n.to_string());
        Command::PutRecord { collection, key, value: json!(n) }
    };
    store.commit((0..2000).map(record).collect()).await.unwrap();
    assert_eq!(store.records("notes").await.unwrap().len(), 2000);
    drop(store);

    let store = SqliteStorage::open(&path, impatient).await.unwrap();
    match store.records("notes").await {
        Err(error @ StorageError::Busy(_)) => assert!(error.is_retryable()),
        other => panic!("{other:?}"),
    }
    store.commit(vec![pdf()]).await.expect("writes have all the time they need");
}

#[tokio::test]
async fn a_page_is_what_was_found_when_its_time_was_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let store = open(&path).await;
    store.commit((0..200).map(|_| pdf()).collect()).await.unwrap();
    drop(store);

    let impatient = SqliteOptions { read_limit: Duration::ZERO, ..options() };
    let store = SqliteStorage::open(&path, impatient).await.unwrap();
    let mut filter = JobFilter { text: Some("nothing has this".to_owned()), ..JobFilter::all(1000) };
    let mut pages = 0;
    loop {
        let page = match store.jobs(&filter).await {
            Ok(page) => page,
            // Before it had looked at a single row; another try gets further.
            Err(StorageError::Busy(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        pages += 1;
        assert!(page.items.is_empty());
        filter.below = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert!(pages > 1, "time was never over");
}

#[tokio::test]
async fn a_page_looks_at_a_bounded_number_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let store = open(&path).await;
    store.commit(vec![submit(NewJob::new("video").unwrap()), pdf()]).await.unwrap();
    // Many more like the second.
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "WITH RECURSIVE n (id) AS (SELECT 3 UNION ALL SELECT id + 1 FROM n WHERE id < 25000)
             INSERT INTO jobs SELECT n.id, type, priority, 3, epoch, failures, losses, max_attempts, run_at,
             ready_at, created_at, started_at, ended_at, updated_at, source_key, source_size, source_sha256,
             source_verified, source_arrived, last_error, failure_group, progress, result, outputs, limit_key, dedup, body
             FROM n, jobs WHERE jobs.id = 2;",
        )
        .unwrap();
    let filter = JobFilter { job_type: Some(JobType::new("video").unwrap()), ..JobFilter::all(10) };
    let mut found = Vec::new();
    let mut below = None;
    loop {
        let page = store.jobs(&JobFilter { below, ..filter.clone() }).await.unwrap();
        found
            .push((page.items.iter().map(|job| job.id.get()).collect::<Vec<_>>(), page.next.map(JobId::get)));
        below = page.next;
        if below.is_none() {
            break;
        }
    }
    assert_eq!(found, [(vec![], Some(15001)), (vec![], Some(5001)), (vec![1], None)]);

    let failed = JobFilter { status: Some(Status::Failed), ..JobFilter::all(10) };
    assert_eq!(store.jobs(&failed).await.unwrap(), Default::default(), "what is rare is found at once");
}

#[tokio::test]
async fn a_claim_and_a_heartbeat_leave_the_wide_row_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let store = open(&path).await;
    store.commit(vec![register(), pdf()]).await.unwrap();
    // Any change to a row of jobs is now an error.
    let guard = Connection::open(&path).unwrap();
    let forbid = "CREATE TRIGGER wide BEFORE UPDATE ON jobs BEGIN SELECT raise(FAIL, 'the wide row'); END";
    guard.execute_batch(forbid).unwrap();
    let held = claimed(&store).await;
    assert!(run(&store, beat(&held)).await.is_ok());
    assert!(run(&store, Command::Cancel(held.job.id)).await.is_ok());
    let job = store.job(held.job.id).await.unwrap().unwrap();
    assert_eq!((job.status(), job.life.epoch.get()), (Status::Running, 1));
    guard.execute_batch("DROP TRIGGER wide").unwrap();
    assert!(run(&store, complete(&held)).await.is_ok(), "the end of the attempt writes it");
}

#[tokio::test]
async fn a_command_whose_caller_gave_up_still_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("queue.db")).await;
    let given_up = store.commit(vec![pdf()]);
    drop(futures_util::FutureExt::now_or_never(given_up));
    store.commit(Vec::new()).await.unwrap();
    assert_eq!(store.counts().await.unwrap().total(), 1);
}

#[test]
fn a_store_may_be_dropped_outside_its_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(async {
        let store = open(&path).await;
        store.commit(vec![pdf()]).await.unwrap();
        assert_eq!(store.counts().await.unwrap().total(), 1);
        store
    });
    drop(store);
    let store = runtime.block_on(open(&path));
    drop(runtime);
    drop(store);
    assert!(path.exists());
}
