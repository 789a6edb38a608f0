//! What becomes of a database that came back from a backup, however it did, and how that is noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use blobforge_core::{
    Clock, End, Generation, JobId, JobType, ManualClock, NewJob, Queue, QueueError, Refused, Registration,
    Status, SystemClock, WorkerId,
    blob::{keys, read_bytes},
    rusqlite::Connection,
    storage::{
        Claimed, Refusal, Report, Storage, StorageError,
        memory::MemoryStorage,
        sqlite::{self, SqliteOptions, SqliteStorage, check_file},
    },
};
use futures_util::future::join_all;

const LEASE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How far ids go on at least.
const SKIPPED: i64 = 1_000_000;

/// A folder with a database, and a clock that stands still.
struct House {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl House {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
        Self { folder: tempfile::tempdir().unwrap(), clock }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("jobs.db")
    }

    fn beside(&self) -> PathBuf {
        self.folder.path().join("jobs.db-home")
    }

    /// The number of the generation that begins with a restore now.
    fn next(&self) -> u32 {
        u32::try_from(self.clock.now().as_millis() / 1000).unwrap()
    }

    async fn open(&self) -> Queue {
        self.open_at(&self.path()).await
    }

    async fn open_at(&self, path: &Path) -> Queue {
        Queue::builder().clock(self.clock.clone()).lease(LEASE).open(path).await.unwrap()
    }

    /// A copy of the database as it is now, as a backup program makes it.
    fn copied(&self) -> PathBuf {
        let copy = self.folder.path().join("copy.db");
        let _ = fs::remove_file(&copy);
        let database = Connection::open(self.path()).unwrap();
        database.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        copy
    }

    /// Which generation the store is of when it is opened.
    async fn generation(&self) -> u32 {
        let queue = self.open().await;
        let generation = queue.storage().generation().get();
        queue.close().await;
        drop(queue);
        generation
    }
}

fn work() -> JobType {
    JobType::new("work").unwrap()
}

async fn submit(queue: &Queue) -> JobId {
    queue.submit(NewJob::new("work").unwrap()).await.unwrap().id
}

/// Has a queue end, and its file closed.
async fn closed(queue: Queue) {
    queue.close().await;
}

async fn smith(queue: &Queue) -> WorkerId {
    let id = WorkerId::new("smith").unwrap();
    queue.register(Registration::new(id.clone(), [work()], "an instance")).await.unwrap();
    id
}

async fn claim(queue: &Queue, worker: &WorkerId) -> Claimed {
    queue.claim(worker, &[work()], 1, Duration::ZERO).await.unwrap().remove(0)
}

fn complete() -> Report {
    Report::Complete { outputs: Vec::new(), result: None }
}

fn is_lost(error: &QueueError) -> bool {
    matches!(error, QueueError::Refused(Refusal::Lifecycle(Refused::LeaseLost { .. })))
}

#[tokio::test]
async fn a_restored_store_takes_nothing_for_granted_that_was_given_out_before() {
    let house = House::new();
    let queue = house.open().await;
    let worker = smith(&queue).await;
    for _ in 0..4 {
        submit(&queue).await;
    }
    let (run, called_off) = (claim(&queue, &worker).await, claim(&queue, &worker).await);
    queue.cancel(called_off.job.id).await.unwrap();
    let copy = house.copied();
    // The time that is lost: another job begins, one is done, and one comes.
    let unknown = claim(&queue, &worker).await;
    let key = keys::output(unknown.job.id, &unknown.token, "late.md");
    queue.report(run.job.id, run.token, complete()).await.unwrap();
    let forgotten = submit(&queue).await;
    closed(queue).await;

    let elsewhere = house.folder.path().join("other");
    fs::create_dir(&elsewhere).unwrap();
    let path = elsewhere.join("jobs.db");
    fs::copy(&copy, &path).unwrap();
    let restored_at = house.clock.now();
    let queue = house.open_at(&path).await;
    let generation = Generation::new(house.next());
    assert_eq!(queue.storage().generation(), generation);

    // What ran waits again, in its place and at no cost; what was called off has ended.
    let again = queue.job(run.job.id).await.unwrap();
    assert_eq!((again.status(), again.life.losses, again.life.failures), (Status::Pending, 0, 0));
    assert_eq!(again.life.ready_at, run.job.life.ready_at);
    assert_eq!(queue.job(called_off.job.id).await.unwrap().status(), Status::Cancelled);
    let ends = async |id| queue.history(id).await.unwrap().into_iter().map(|one| one.end).collect::<Vec<_>>();
    assert_eq!(ends(run.job.id).await, [Some(End::Voided)]);
    assert_eq!(ends(called_off.job.id).await, [Some(End::Cancelled)]);
    assert_eq!(queue.counts().await.unwrap().0[&(work(), Status::Pending)], 3);

    // Leases from before count for nothing, known or unknown.
    for held in [&run, &called_off, &unknown] {
        let refused = queue.report(held.job.id, held.token, complete()).await.unwrap_err();
        assert!(is_lost(&refused), "{refused}");
    }

    // No id is given out twice, and nobody writes where somebody from before may still write.
    let next = submit(&queue).await;
    assert!(next.get() > forgotten.get() + SKIPPED - 10, "{next} after {forgotten}");
    let worker = smith(&queue).await;
    let held: Vec<_> = join_all((0..3).map(|_| claim(&queue, &worker))).await;
    let same = held.iter().find(|held| held.job.id == unknown.job.id).unwrap();
    assert_eq!(same.token.generation, generation);
    let new_key = keys::output(same.job.id, &same.token, "late.md");
    queue.blobs().put(&new_key, read_bytes("right"), 100).await.unwrap();
    queue.blobs().put(&key, read_bytes("late"), 100).await.unwrap();
    assert_ne!(new_key, key);
    queue.report(same.job.id, same.token, complete()).await.unwrap();
    assert_eq!(queue.job(same.job.id).await.unwrap().status(), Status::Completed, "work goes on");

    let garbage = queue.collect_garbage(false).await.unwrap();
    assert_eq!(garbage.paused_until, Some(restored_at + DAY * 7));
    closed(queue).await;

    // It is told once.
    house.clock.advance(DAY);
    assert_eq!(house.open_at(&path).await.storage().generation(), generation);
}

#[tokio::test]
async fn a_store_in_memory_comes_back_like_one_in_a_file() {
    let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
    let storage = Arc::new(MemoryStorage::new(clock.clone()));
    let queue = Queue::builder().clock(clock).open_on(storage.clone()).unwrap();
    let worker = smith(&queue).await;
    submit(&queue).await;
    let held = claim(&queue, &worker).await;
    storage.mark_restored();
    assert_eq!(queue.job(held.job.id).await.unwrap().status(), Status::Pending);
    assert!(is_lost(&queue.report(held.job.id, held.token, complete()).await.unwrap_err()));
    assert_eq!(submit(&queue).await.get(), 2 + SKIPPED);
}

#[tokio::test]
async fn a_file_that_stays_is_not_restored() {
    let house = House::new();
    for _ in 0..3 {
        let queue = house.open().await;
        submit(&queue).await;
        queue.close().await;
        drop(queue);
    }
    // Moved with all that belongs to it.
    let moved = house.folder.path().join("moved");
    fs::create_dir(&moved).unwrap();
    for name in ["jobs.db", "jobs.db-home"] {
        fs::rename(house.folder.path().join(name), moved.join(name)).unwrap();
    }
    let queue = house.open_at(&moved.join("jobs.db")).await;
    assert_eq!(queue.storage().generation(), Generation::new(1));
    assert_eq!(submit(&queue).await.get(), 4, "ids go on");
}

#[tokio::test]
async fn an_earlier_state_put_in_its_place_is_a_restore() {
    let house = House::new();
    let queue = house.open().await;
    submit(&queue).await;
    let copy = house.copied();
    submit(&queue).await;
    closed(queue).await;
    // In place, so that it is the same file with another content.
    fs::write(house.path(), fs::read(&copy).unwrap()).unwrap();
    assert_eq!(house.generation().await, house.next());
    assert_eq!(house.generation().await, house.next(), "and no second one");
    assert_eq!(house.open().await.counts().await.unwrap().total(), 1);
}

#[tokio::test]
async fn the_same_backup_restored_again_gives_nothing_out_that_it_gave_out_the_first_time() {
    let house = House::new();
    let queue = house.open().await;
    submit(&queue).await;
    let copy = house.copied();
    closed(queue).await;
    let mut given = Vec::new();
    for _ in 0..2 {
        house.clock.advance(Duration::from_secs(1));
        fs::write(house.path(), fs::read(&copy).unwrap()).unwrap();
        let queue = house.open().await;
        let worker = smith(&queue).await;
        let held = claim(&queue, &worker).await;
        given.push((keys::output(held.job.id, &held.token, "book.md"), submit(&queue).await));
        closed(queue).await;
    }
    let ((first_key, first_id), (second_key, second_id)) = (&given[0], &given[1]);
    assert_ne!(first_key, second_key, "who works on from the first time would write over it");
    assert!(second_id > first_id, "{second_id} after {first_id}");
}

#[tokio::test]
async fn what_a_closed_queue_has_written_is_in_its_file_while_handles_live_on() {
    let house = House::new();
    let queue = house.open().await;
    let last = submit(&queue).await;
    queue.close().await;
    let copy = house.folder.path().join("copy.db");
    fs::copy(house.path(), &copy).unwrap();
    assert_eq!(house.open_at(&copy).await.job(last).await.unwrap().id, last);
    drop(queue);
}

#[tokio::test]
async fn who_has_the_file_of_before_still_open_does_not_make_its_successor_look_restored() {
    let house = House::new();
    let idle = house.open().await;
    submit(&idle).await;
    let copy = house.copied();
    submit(&idle).await;
    fs::rename(&copy, house.path()).unwrap();
    let restored = house.generation().await;
    assert_eq!(restored, house.next());
    closed(idle).await;
    house.clock.advance(DAY);
    assert_eq!(house.generation().await, restored, "nobody restored it once more");
}

#[tokio::test]
async fn a_state_from_before_a_process_was_killed_is_a_restore_too() {
    let house = House::new();
    let queue = house.open().await;
    submit(&queue).await;
    let copy = house.copied();
    house.clock.advance(Duration::from_secs(10));
    submit(&queue).await;
    // What lies there when a process is killed now.
    let killed = fs::read(house.beside()).unwrap();
    closed(queue).await;
    fs::write(house.path(), fs::read(&copy).unwrap()).unwrap();
    fs::write(house.beside(), &killed).unwrap();
    assert_eq!(house.generation().await, house.next());
}

#[tokio::test]
async fn new_files_and_those_of_earlier_programs_are_not_taken_for_restored() {
    let house = House::new();
    assert_eq!(house.generation().await, 1);
    let queue = house.open().await;
    let worker = smith(&queue).await;
    submit(&queue).await;
    let held = claim(&queue, &worker).await;
    closed(queue).await;
    // As an earlier program left it.
    Connection::open(house.path())
        .unwrap()
        .execute("DELETE FROM meta WHERE key IN ('home', 'turn')", [])
        .unwrap();
    fs::remove_file(house.beside()).unwrap();
    let queue = house.open().await;
    assert_eq!(queue.storage().generation(), Generation::new(1));
    queue.report(held.job.id, held.token, complete()).await.unwrap();
    closed(queue).await;
    // A new one where another one was.
    fs::remove_file(house.path()).unwrap();
    let queue = house.open().await;
    assert_eq!((queue.storage().generation(), submit(&queue).await), (Generation::new(1), JobId::new(1)));
}

#[tokio::test]
async fn a_backup_from_before_files_had_marks_is_noticed_where_one_had_a_mark() {
    let house = House::new();
    let queue = house.open().await;
    submit(&queue).await;
    let copy = house.copied();
    closed(queue).await;
    Connection::open(&copy).unwrap().execute("DELETE FROM meta WHERE key IN ('home', 'turn')", []).unwrap();
    fs::copy(&copy, house.path()).unwrap();
    assert_eq!(house.generation().await, house.next());
}

#[tokio::test]
async fn processes_that_open_a_restored_file_at_once_restore_it_once() {
    let house = House::new();
    let queue = house.open().await;
    submit(&queue).await;
    closed(queue).await;
    fs::remove_file(house.beside()).unwrap();
    let open = || async { SqliteStorage::open(house.path(), SqliteOptions::default()).await.unwrap() };
    let generations =
        join_all((0..8).map(|_| open())).await.iter().map(Storage::generation).collect::<Vec<_>>();
    assert!(generations[0] > Generation::new(1));
    assert_eq!(generations, [generations[0]; 8]);
}

#[tokio::test]
async fn who_only_looks_marks_nothing() {
    let house = House::new();
    let queue = house.open().await;
    submit(&queue).await;
    closed(queue).await;
    fs::remove_file(house.beside()).unwrap();
    let before = fs::read(house.path()).unwrap();
    assert_eq!(check_file(&house.path()).unwrap().jobs, 1);
    assert_eq!(fs::read(house.path()).unwrap(), before);
    assert!(!house.beside().exists());
}

#[tokio::test]
async fn a_file_changed_in_place_can_be_said_to_be_restored() {
    let house = House::new();
    let queue = house.open().await;
    submit(&queue).await;
    closed(queue).await;
    let mark = || sqlite::mark_restored(house.path(), Arc::new(SystemClock));
    let first = mark().await.unwrap();
    assert!(first > Generation::new(1));
    assert_eq!(house.generation().await, first.get());
    // One that is noticed by itself is not marked twice.
    fs::remove_file(house.beside()).unwrap();
    let second = mark().await.unwrap();
    assert!(second > first);
    assert_eq!(house.generation().await, second.get());
}

#[tokio::test]
async fn a_restored_file_is_opened_only_where_that_can_be_noted() {
    let house = House::new();
    // Nothing can be put there.
    let in_the_way = house.folder.path().join("jobs.db-home-new");
    fs::create_dir(&in_the_way).unwrap();
    let queue = house.open().await;
    let id = submit(&queue).await;
    closed(queue).await;
    fs::remove_dir(&in_the_way).unwrap();
    let queue = house.open().await;
    assert_eq!(
        queue.job(id).await.unwrap().id,
        id,
        "without a mark it is used all the same, and gets one later"
    );
    closed(queue).await;
    fs::remove_file(house.beside()).unwrap();
    fs::create_dir(&in_the_way).unwrap();
    let refused = SqliteStorage::open(house.path(), SqliteOptions::default()).await.unwrap_err();
    assert!(matches!(refused, StorageError::Unusable(_)), "{refused}");
    assert!(refused.to_string().contains("jobs.db-home cannot be written"), "{refused}");
    fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(house.generation().await, house.next(), "nothing of it was done before");
}
