//! Nothing is deleted but what nobody can need any more: real files below a folder, jobs in SQLite, time by hand.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use blobforge_core::{
    Checkpoint, Clock, Failure, Generation, JobId, JobType, ManualClock, NewJob, NewSource, Queue,
    QueueError, Refused, Registration, Sha256, SystemClock, WorkerId,
    blob::{BlobError, BlobStore, ByteStream, DirectAccess, ObjectBlobs, Stored, read_bytes},
    queue::MIN_KEPT,
    rusqlite,
    storage::{Claimed, Command, Refusal, Report, memory::MemoryStorage, sqlite},
};
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const KEPT: Duration = Duration::from_secs(10 * 24 * 60 * 60);

struct Forge {
    queue: Queue,
    clock: Arc<ManualClock>,
    folder: TempDir,
}

impl Forge {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let queue = open(&clock, folder.path()).await;
        Self { queue, clock, folder }
    }

    /// Lets time go by while nobody has the queue open: what it collects by itself would come in between.
    async fn later(&mut self, span: Duration) {
        self.queue.close().await;
        self.clock.advance(span);
        self.queue = open(&self.clock, self.folder.path()).await;
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("queue.db-files")
    }

    /// The names of all files there are, from the folder down.
    fn there(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.files()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.strip_prefix(self.files()).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found
    }

    async fn worker(&self) -> WorkerId {
        let id = WorkerId::new("w").unwrap();
        let registration = Registration {
            id: id.clone(),
            types: vec![JobType::new("work").unwrap()],
            name: None,
            instance: "an instance".to_owned(),
            previous_instance: None,
            labels: Default::default(),
            host: None,
            metadata: Default::default(),
        };
        self.queue.register(registration).await.unwrap();
        id
    }

    async fn submit(&self, job_type: &str, content: &str) -> (JobId, String) {
        let job = NewJob::new(job_type).unwrap();
        let id = self.queue.submit_stream(job, read_bytes(content.to_owned()), 1 << 20).await.unwrap().id;
        (id, self.queue.job(id).await.unwrap().source.unwrap().key)
    }

    async fn claim(&self, worker: &WorkerId, job_type: &str) -> Claimed {
        let types = [JobType::new(job_type).unwrap()];
        self.queue.claim(worker, &types, 1, Duration::ZERO).await.unwrap().remove(0)
    }

    async fn output(&self, held: &Claimed, name: &str) -> String {
        let key = self.queue.reserve_output(held.job.id, held.token, name).await.unwrap();
        self.queue.blobs().put(&key, read_bytes("an output"), 100).await.unwrap();
        key
    }

    async fn checkpoint(&self, held: &Claimed, name: &str) -> String {
        let (job, token) = (held.job.id, held.token);
        let key = self.queue.reserve_checkpoint(job, token, name).await.unwrap();
        let Stored { size, sha256 } =
            self.queue.blobs().put(&key, read_bytes("a checkpoint"), 100).await.unwrap();
        let checkpoint = Checkpoint { name: name.to_owned(), size, sha256, key: key.clone() };
        self.queue.run(Command::Checkpoint { job, token, checkpoint }).await.unwrap();
        key
    }

    async fn complete(&self, held: &Claimed, outputs: &[&str]) {
        let named = outputs.iter().map(|name| ((*name).to_owned(), None, None)).collect();
        let outputs = self.queue.check_outputs(held.job.id, held.token, named).await.unwrap();
        let complete = Report::Complete { outputs, result: None };
        self.queue.report(held.job.id, held.token, complete).await.unwrap();
    }

    async fn fail(&self, held: &Claimed) {
        let failure = Failure::new("bad", "bad");
        self.queue.fail(held.job.id, held.token, failure, false).await.unwrap();
    }

    /// Deletes a job that waits.
    async fn delete(&self, id: JobId) {
        self.queue.cancel(id).await.unwrap();
        self.queue.delete(id).await.unwrap();
    }

    /// Collects until there is no more.
    async fn collect(&self) -> u64 {
        let mut files = 0;
        loop {
            let garbage = self.queue.collect_garbage(false).await.unwrap();
            files += garbage.files;
            if !garbage.more {
                return files;
            }
        }
    }
}

async fn open(clock: &Arc<ManualClock>, folder: &Path) -> Queue {
    let builder = Queue::builder().clock(clock.clone()).keep_deleted_files_for(KEPT).lease(DAY * 100);
    builder.open(folder.join("queue.db")).await.unwrap()
}

/// Puts files into the folder that no queue made, under names like those that it gives.
fn foreign(files: &Path) -> BTreeSet<String> {
    let names = ["notes.txt", "sources/0123456789abcdef", "outputs/1/1-1/mine.md", "checkpoints/1/1-1/mine"];
    for name in names {
        let path = files.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "not the queue's").unwrap();
    }
    names.map(str::to_owned).into()
}

/// Promise 14: nothing is deleted that this installation did not create, and nothing that a job or a backup may still
/// need.
#[tokio::test]
async fn nothing_is_deleted_that_is_foreign_or_that_a_job_or_a_backup_may_need() {
    let mut forge = Forge::new().await;
    let worker = forge.worker().await;
    let mut needed = foreign(&forge.files());
    let mut due = BTreeSet::new();

    // Jobs in every state keep what they need, and only that.
    let (_, source) = forge.submit("done", "done").await;
    let done = forge.claim(&worker, "done").await;
    due.insert(forge.checkpoint(&done, "state").await);
    due.insert(forge.output(&done, "not-named.md").await);
    needed.extend([source, forge.output(&done, "text.md").await]);
    forge.complete(&done, &["text.md"]).await;

    let (_, source) = forge.submit("failed", "failed").await;
    let failed = forge.claim(&worker, "failed").await;
    due.insert(forge.output(&failed, "half.md").await);
    needed.extend([source, forge.checkpoint(&failed, "state").await]);
    forge.fail(&failed).await;

    let (_, source) = forge.submit("running", "running").await;
    let released = forge.claim(&worker, "running").await;
    due.insert(forge.output(&released, "of the first attempt.md").await);
    needed.insert(forge.checkpoint(&released, "kept").await);
    due.insert(forge.checkpoint(&released, "replaced").await);
    forge.queue.report(released.job.id, released.token, Report::Release).await.unwrap();
    let running = forge.claim(&worker, "running").await;
    let of_running = forge.output(&running, "a.md").await;
    needed.extend([source, of_running.clone(), forge.checkpoint(&running, "replaced").await]);

    let (cancelled, source) = forge.submit("cancelled", "cancelled").await;
    forge.queue.cancel(cancelled).await.unwrap();
    needed.insert(source);

    // A source that several jobs have, one of them left; and one of which none is.
    let (first, shared) = forge.submit("one", "shared").await;
    let announced = NewSource::Upload { sha256: Some(sha256("shared").await), size: None };
    let second = forge.queue.submit(NewJob::new("another").unwrap().source(announced)).await.unwrap();
    assert_eq!(forge.queue.job(second.id).await.unwrap().source.unwrap().key, shared);
    needed.insert(shared);
    let (alone, source) = forge.submit("one", "alone").await;
    due.insert(source);
    forge.delete(first).await;
    forge.delete(alone).await;
    // A file that a broken-off write left beside a file that is due.
    for number in 1..=2 {
        let unfinished = format!("{}#{number}", due.first().unwrap());
        std::fs::write(forge.files().join(&unfinished), "half").unwrap();
        due.insert(unfinished);
    }

    // A source that came and was never taken, since the same work was known.
    let again =
        forge.queue.submit_stream(NewJob::new("done").unwrap(), read_bytes("done"), 100).await.unwrap();
    assert!(again.existing);

    let all = forge.there();
    assert!(all.is_superset(&needed) && all.is_superset(&due));
    let not_taken: Vec<_> = all.iter().filter(|key| !needed.contains(*key) && !due.contains(*key)).collect();
    let [not_taken] = not_taken[..] else { panic!("one file was not taken: {not_taken:?}") };

    // A backup may still need all of it.
    forge.later(KEPT - SECOND).await;
    assert_eq!(forge.collect().await, 0);
    assert_eq!(forge.there(), all);

    // After a restore, everything waits.
    sqlite::mark_restored(&forge.database(), forge.clock.clone()).await.unwrap();
    let restored_at = forge.clock.now();
    forge.later(DAY * 7 - SECOND).await;
    let (recent, recently_dead) = forge.submit("one", "recent").await;
    forge.delete(recent).await;
    let before = forge.there();
    let garbage = forge.queue.collect_garbage(false).await.unwrap();
    assert_eq!((garbage.files, garbage.paused_until), (0, Some(restored_at + DAY * 7)));
    assert_eq!(forge.there(), before);

    // What is due goes, and nothing else.
    forge.later(SECOND).await;
    needed.insert(recently_dead.clone());
    let dry = forge.queue.collect_garbage(true).await.unwrap();
    assert_eq!(forge.there(), before, "a dry run changes nothing");
    assert!(dry.examples.iter().all(|key| due.contains(key) || key == not_taken), "{dry:?}");
    let garbage = forge.queue.collect_garbage(false).await.unwrap();
    assert_eq!((garbage.files, garbage.bytes), (dry.files, dry.bytes));
    assert_eq!(forge.there(), needed);

    // What is needed can still be had.
    assert!(forge.queue.output(done.job.id, "text.md").await.is_ok());
    let lost = forge.queue.report(running.job.id, running.token, Report::Release).await.unwrap_err();
    assert!(lost.is_lease_lost(), "a lease from before the restore: {lost}");

    // What the attempt wrote that the restore voided, and whose holder can name it no more, died then.
    forge.later(KEPT - SECOND * 2).await;
    assert_eq!(forge.collect().await, 1);
    needed.remove(&of_running);
    assert_eq!(forge.there(), needed);

    // And what died later is gone in its turn, with nothing else.
    forge.later(SECOND).await;
    assert_eq!(forge.collect().await, 1);
    needed.remove(&recently_dead);
    assert_eq!(forge.there(), needed);
}

#[tokio::test]
async fn a_needed_file_that_was_noted_as_dead_by_mistake_is_not_deleted() {
    let mut forge = Forge::new().await;
    let worker = forge.worker().await;
    forge.submit("work", "content").await;
    let held = forge.claim(&worker, "work").await;
    forge.output(&held, "a.md").await;
    forge.checkpoint(&held, "state").await;
    forge.queue.close().await;
    let database = rusqlite::Connection::open(forge.database()).unwrap();
    database.execute("UPDATE files SET dead_since = 0", []).unwrap();
    drop(database);
    forge.later(KEPT).await;
    let before = forge.there();
    assert_eq!(before.len(), 3);
    assert_eq!(forge.queue.collect_garbage(false).await.unwrap().files, 0);
    assert_eq!(forge.there(), before);
    forge.complete(&held, &["a.md"]).await;
}

async fn sha256(content: &'static str) -> Sha256 {
    ObjectBlobs::in_memory().put("a", read_bytes(content), 100).await.unwrap().sha256
}

#[tokio::test]
async fn the_queue_collects_every_hour_by_itself() {
    let forge = Forge::new().await;
    let (id, key) = forge.submit("work", "content").await;
    forge.delete(id).await;
    let gone = async {
        // Each read is a round trip; in between the collector runs.
        while forge.queue.storage().has_file(&key).await.unwrap() || !forge.there().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    forge.clock.advance(KEPT);
    gone.await;
}

#[tokio::test]
async fn the_folders_of_a_job_go_with_its_files() {
    let mut forge = Forge::new().await;
    let worker = forge.worker().await;
    forge.queue.submit(NewJob::new("work").unwrap()).await.unwrap();
    let held = forge.claim(&worker, "work").await;
    forge.output(&held, "images/p1.png").await;
    forge.complete(&held, &["images/p1.png"]).await;
    forge.queue.delete(held.job.id).await.unwrap();
    forge.later(KEPT).await;
    assert_eq!(forge.collect().await, 1);
    assert_eq!(std::fs::read_dir(forge.files()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_job_that_has_not_ended_says_to_cancel_it_first() {
    let forge = Forge::new().await;
    let (id, _) = forge.submit("work", "content").await;
    let refused = forge.queue.delete(id).await.unwrap_err();
    let not_ended = matches!(refused, QueueError::Refused(Refusal::Lifecycle(Refused::NotEnded { .. })));
    assert!(not_ended && refused.to_string().contains("cancel it first"), "{refused}");
}

#[tokio::test]
async fn who_waits_for_a_job_learns_that_it_was_deleted() {
    let forge = Forge::new().await;
    let (id, _) = forge.submit("work", "content").await;
    let waiting = forge.queue.wait(id, HOUR);
    let (waited, ()) = tokio::join!(waiting, forge.delete(id));
    // It is told of the end or of the deletion, whichever it sees first.
    match waited {
        Ok(job) => assert!(job.status().is_final()),
        Err(error) => assert!(matches!(error, QueueError::Refused(Refusal::NoSuchJob(_))), "{error}"),
    }
}

/// A blob store whose deletions fail.
#[derive(Debug)]
struct Stuck(ObjectBlobs);

#[async_trait::async_trait]
impl BlobStore for Stuck {
    async fn put(&self, key: &str, content: ByteStream, max_bytes: u64) -> Result<Stored, BlobError> {
        self.0.put(key, content, max_bytes).await
    }

    async fn get(&self, key: &str, range: Option<std::ops::Range<u64>>) -> Result<ByteStream, BlobError> {
        self.0.get(key, range).await
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, BlobError> {
        self.0.size(key).await
    }

    async fn delete(&self, _: &str) -> Result<(), BlobError> {
        Err(BlobError::BrokenOff(std::io::ErrorKind::TimedOut.into()))
    }

    fn direct(&self) -> Option<&dyn DirectAccess> {
        None
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_deleted_is_tried_again_and_known_until_it_is_gone() {
    let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
    let storage = Arc::new(MemoryStorage::new(clock.clone()));
    let open = |blobs: Arc<dyn BlobStore>| {
        let builder = Queue::builder().clock(clock.clone()).keep_deleted_files_for(KEPT).blobs(blobs);
        builder.open_on(storage.clone()).unwrap()
    };
    let queue = open(Arc::new(Stuck(ObjectBlobs::in_memory())));
    let job = NewJob::new("work").unwrap();
    let id = queue.submit_stream(job, read_bytes("content"), 100).await.unwrap().id;
    queue.cancel(id).await.unwrap();
    queue.delete(id).await.unwrap();
    queue.close().await;
    clock.advance(KEPT);
    let queue = open(Arc::new(Stuck(ObjectBlobs::in_memory())));
    let garbage = queue.collect_garbage(false).await.unwrap();
    assert_eq!((garbage.files, garbage.failed), (0, 1));
    let again = queue.collect_garbage(false).await.unwrap();
    assert_eq!((again.files, again.failed), (0, 0), "it is left alone for a while");
    queue.close().await;
    clock.advance(HOUR);
    let queue = open(Arc::new(ObjectBlobs::in_memory()));
    let garbage = queue.collect_garbage(false).await.unwrap();
    assert_eq!((garbage.files, garbage.failed), (1, 0));
    assert_eq!(queue.collect_garbage(false).await.unwrap(), Default::default());
}

#[tokio::test]
async fn a_restore_stops_collection_in_memory_too() {
    let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
    let storage = Arc::new(MemoryStorage::new(clock.clone()));
    let queue = Queue::builder().clock(clock.clone()).open_on(storage.clone()).unwrap();
    assert!(storage.mark_restored() > Generation::new(1));
    let garbage = queue.collect_garbage(false).await.unwrap();
    assert_eq!(garbage.paused_until, Some(clock.now() + DAY * 7));
    clock.set(clock.now() + DAY * 7);
    assert_eq!(queue.collect_garbage(false).await.unwrap().paused_until, None);
}

#[tokio::test]
async fn what_never_was_restored_cannot_be_marked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let refused = sqlite::mark_restored(&path, Arc::new(SystemClock)).await.unwrap_err();
    assert!(refused.to_string().contains("restore it first"), "{refused}");
    assert!(!path.exists());
}

#[test]
fn deleted_files_are_kept_longer_than_workers_may_write_them() {
    let short = Queue::builder().keep_deleted_files_for(MIN_KEPT - Duration::from_secs(1));
    assert!(short.open_in_memory().is_err());
}
