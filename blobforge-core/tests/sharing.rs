//! Several queues on one SQLite file, as several processes have them, and what happens to the file meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use blobforge_core::{
    Clock, Generation, JobType, ManualClock, NewJob, Queue, QueueError, Refused, Registration, Status,
    WorkerId,
    blob::{BlobError, BlobStore, ByteStream, DirectAccess, ObjectBlobs, Stored, read_bytes},
    queue::Notice,
    storage::{
        Claim, Command, Event, Maintain, Refusal, Report, Storage, StorageError,
        sqlite::{self, SqliteOptions, SqliteStorage},
    },
};
use futures_util::{FutureExt, future::join_all};

const LEASE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// How long another process may not be noticed.
const UNSEEN: Duration = Duration::from_millis(100);
/// Longer than anything here takes; only a queue that hears nothing runs into it.
const DEAF: Duration = Duration::from_secs(120);

/// Two queues on one file, each with a clock of its own.
struct House {
    ours: Queue,
    our_clock: Arc<ManualClock>,
    theirs: Queue,
    their_clock: Arc<ManualClock>,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let clock = || Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
        let (our_clock, their_clock) = (clock(), clock());
        let open = async |clock: &Arc<ManualClock>| {
            Queue::builder().clock(clock.clone()).lease(LEASE).open(&path).await.unwrap()
        };
        let (ours, theirs) = (open(&our_clock).await, open(&their_clock).await);
        Self { ours, our_clock, theirs, their_clock, path, _folder: folder }
    }
}

fn work() -> JobType {
    JobType::new("work").unwrap()
}

fn job() -> NewJob {
    NewJob::new("work").unwrap()
}

async fn worker(queue: &Queue, name: &str) -> WorkerId {
    let id = WorkerId::new(name).unwrap();
    queue.register(Registration::new(id.clone(), [work()], name)).await.unwrap();
    id
}

fn complete() -> Report {
    Report::Complete { outputs: Vec::new(), result: None }
}

async fn heard<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEAF, what).await.expect("a deaf queue")
}

#[tokio::test]
async fn a_claim_that_waits_gets_what_another_process_submits() {
    let house = House::new().await;
    let worker = worker(&house.ours, "a").await;
    let types = [work()];
    let mut waiting = Box::pin(house.ours.claim(&worker, &types, 1, HOUR));
    assert!((&mut waiting).now_or_never().is_none());
    let id = house.theirs.submit(job()).await.unwrap().id;
    house.our_clock.advance(UNSEEN);
    assert_eq!(heard(waiting).await.unwrap()[0].job.id, id);
}

#[tokio::test]
async fn whoever_waits_for_a_job_learns_that_another_process_finished_it() {
    let house = House::new().await;
    let id = house.ours.submit(job()).await.unwrap().id;
    let worker = worker(&house.theirs, "a").await;
    let mut feed = house.ours.events();
    let mut waiting = Box::pin(house.ours.wait(id, HOUR));
    assert!((&mut waiting).now_or_never().is_none());
    let held = house.theirs.claim(&worker, &[work()], 1, Duration::ZERO).await.unwrap().pop().unwrap();
    house.theirs.report(id, held.token, complete()).await.unwrap();
    house.our_clock.advance(UNSEEN);
    assert_eq!(heard(waiting).await.unwrap().status(), Status::Completed);
    assert_eq!(heard(feed.next()).await, Some(Notice::ChangedElsewhere), "listeners are told to look");
}

#[tokio::test]
async fn what_another_process_makes_due_earlier_is_seen_to_while_anybody_waits() {
    let house = House::new().await;
    let worker = worker(&house.ours, "a").await;
    let types = [work()];
    let mut waiting = Box::pin(house.ours.claim(&worker, &types, 1, HOUR));
    assert!((&mut waiting).now_or_never().is_none());
    let later = job().run_at(house.our_clock.now() + Duration::from_secs(5));
    let id = house.theirs.submit(later).await.unwrap().id;
    let mut feed = house.ours.events();
    house.our_clock.advance(UNSEEN);
    assert_eq!(heard(feed.next()).await, Some(Notice::ChangedElsewhere));
    // A round trip, behind the maintenance that was asked for: it knows what is due by now.
    house.ours.counts().await.unwrap();
    house.ours.set_draining(worker.clone(), false).await.unwrap();
    house.our_clock.advance(Duration::from_secs(5));
    assert_eq!(heard(waiting).await.unwrap()[0].job.id, id);
}

#[tokio::test]
async fn two_that_maintain_one_file_do_everything_once() {
    let house = House::new().await;
    let worker = worker(&house.ours, "a").await;
    for _ in 0..20 {
        house.ours.submit(job()).await.unwrap();
    }
    assert_eq!(house.ours.claim(&worker, &[work()], 20, Duration::ZERO).await.unwrap().len(), 20);
    let (mut ours, mut theirs) = (house.ours.events(), house.theirs.events());
    house.our_clock.advance(LEASE * 2);
    house.their_clock.advance(LEASE * 2);
    let lapsed = async |queue: &Queue, feed: &mut blobforge_core::queue::Feed| {
        while queue
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .iter()
            .any(|job| !job.lease().unwrap().lapsed)
        {
            heard(feed.next()).await.unwrap();
        }
    };
    lapsed(&house.ours, &mut ours).await;
    lapsed(&house.theirs, &mut theirs).await;
    // Each of them is closed when it has done what it began.
    house.ours.close().await;
    house.theirs.close().await;
    let mut told = 0;
    for feed in [&mut ours, &mut theirs] {
        while let Some(Some(notice)) = feed.next().now_or_never() {
            told += usize::from(matches!(notice, Notice::Event(Event::Job { .. })));
        }
    }
    let again = Queue::open(&house.path).await.unwrap();
    let worker = self::worker(&again, "b").await;
    let taken = again.claim(&worker, &[work()], 40, Duration::ZERO).await.unwrap();
    assert_eq!(taken.len(), 20, "each lapsed lease makes one job claimable, once");
    assert!(taken.iter().all(|claimed| claimed.job.life.losses == 1), "and counts once");
    assert!(told <= 20, "{told} events for 20 lapsed leases");
}

/// Local files, which counts what is deleted.
#[derive(Debug)]
struct Counted {
    files: ObjectBlobs,
    deleted: Arc<Mutex<Vec<String>>>,
}

#[async_trait::async_trait]
impl BlobStore for Counted {
    async fn put(&self, key: &str, content: ByteStream, max_bytes: u64) -> Result<Stored, BlobError> {
        self.files.put(key, content, max_bytes).await
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, BlobError> {
        self.files.get(key, range).await
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, BlobError> {
        self.files.size(key).await
    }

    async fn delete(&self, key: &str) -> Result<(), BlobError> {
        self.deleted.lock().unwrap().push(key.to_owned());
        self.files.delete(key).await
    }

    fn direct(&self) -> Option<&dyn DirectAccess> {
        None
    }
}

#[tokio::test]
async fn two_that_collect_one_store_delete_each_file_once() {
    const FILES: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
    let deleted = Arc::new(Mutex::new(Vec::new()));
    let open = async || {
        let files = ObjectBlobs::local(folder.path().join("files")).unwrap();
        let blobs = Arc::new(Counted { files, deleted: deleted.clone() });
        Queue::builder().clock(clock.clone()).blobs(blobs).open(folder.path().join("jobs.db")).await.unwrap()
    };
    let (ours, theirs) = (open().await, open().await);
    let mut keys = Vec::new();
    for number in 0..FILES {
        let content = read_bytes(format!("content {number}"));
        let id = ours.submit_stream(job(), content, 100).await.unwrap().id;
        keys.push(ours.job(id).await.unwrap().source.unwrap().key);
        ours.cancel(id).await.unwrap();
        theirs.delete(id).await.unwrap();
    }
    // Set forward rather than let go by: then neither collects by itself.
    clock.jump_forward(HOUR * 24 * 60);
    let (one, other) = tokio::join!(ours.collect_garbage(false), theirs.collect_garbage(false));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((one.files + other.files, one.failed + other.failed), (FILES as u64, 0));
    let mut deleted = deleted.lock().unwrap().clone();
    deleted.sort();
    keys.sort();
    assert_eq!(deleted, keys, "each of them, once");
}

#[tokio::test]
async fn a_look_that_finds_nothing_writes_nothing_so_that_two_do_not_keep_each_other_awake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let open = async || SqliteStorage::open(&path, SqliteOptions::default()).await.unwrap();
    let (one, other) = (open().await, open().await);
    assert!(!other.changed_elsewhere().await.unwrap(), "nothing has happened yet");
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    let id = WorkerId::new("a").unwrap();
    let registration = Registration::new(id.clone(), [work()], "a");
    let register = Command::Register { registration: Box::new(registration), alive_for: LEASE };
    one.commit(vec![register]).await.unwrap();
    assert!(other.changed_elsewhere().await.unwrap());
    assert!(!other.changed_elsewhere().await.unwrap(), "it is told once");
    let claim = Claim { worker: id, types: vec![work()], secrets: Vec::new(), lease: LEASE, claim_id: None };
    let maintain = Maintain { asked_at: now, available_since: now, upload_limit: HOUR, limit: 500 };
    one.commit(vec![Command::Claim(claim), Command::Maintain(maintain)]).await.unwrap();
    assert!(!other.changed_elsewhere().await.unwrap());
    assert!(!one.changed_elsewhere().await.unwrap(), "what one writes itself is not elsewhere");
}

#[tokio::test]
async fn a_restore_that_is_marked_under_a_running_queue_voids_its_leases() {
    let house = House::new().await;
    let worker = worker(&house.ours, "a").await;
    let id = house.ours.submit(job()).await.unwrap().id;
    let held = house.ours.claim(&worker, &[work()], 1, Duration::ZERO).await.unwrap().pop().unwrap();
    sqlite::mark_restored(&house.path, house.our_clock.clone()).await.unwrap();
    let refused = house.ours.report(id, held.token, complete()).await.unwrap_err();
    assert!(
        matches!(refused, QueueError::Refused(Refusal::Lifecycle(Refused::LeaseLost { .. }))),
        "{refused}"
    );
    house.ours.submit(job()).await.unwrap();
    let next = house.ours.claim(&worker, &[work()], 1, Duration::ZERO).await.unwrap().pop().unwrap();
    assert!(next.token.generation > Generation::new(1));
    assert_eq!(house.ours.storage().generation(), next.token.generation);
}

/// What becomes of a queue whose file this happens to.
async fn stops_when(happens: impl FnOnce(&House)) -> String {
    let house = House::new().await;
    house.ours.submit(job()).await.unwrap();
    happens(&house);
    let refused = house.ours.submit(job()).await.unwrap_err();
    assert!(matches!(refused, QueueError::Storage(StorageError::Broken(_))), "{refused}");
    assert_eq!(heard(house.ours.halted()).await.to_string(), refused.to_string());
    // One that only listens notices too.
    let mut feed = house.theirs.events();
    house.their_clock.advance(UNSEEN);
    while heard(feed.next()).await.is_some() {}
    assert_eq!(house.theirs.halted().await.to_string(), refused.to_string());
    refused.to_string()
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_is_acknowledged_in_a_file_that_was_deleted_or_replaced() {
    let deleted = stops_when(|house| fs::remove_file(&house.path).unwrap()).await;
    assert!(deleted.contains("jobs.db is not there any more"), "{deleted}");
    let replaced = stops_when(|house| {
        let copy = house.path.with_extension("copy");
        fs::copy(&house.path, &copy).unwrap();
        fs::rename(&copy, &house.path).unwrap();
    })
    .await;
    assert!(replaced.contains("jobs.db was replaced by another file"), "{replaced}");
}

#[tokio::test]
async fn many_that_make_one_new_file_at_once_all_open_it() {
    const MAKERS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    for round in 0..30 {
        let path = folder.path().join(format!("{round}.db"));
        let open = || SqliteStorage::open(&path, SqliteOptions::default());
        let opened = join_all((0..MAKERS).map(|_| open())).await;
        for storage in opened {
            storage.unwrap();
        }
    }
}
