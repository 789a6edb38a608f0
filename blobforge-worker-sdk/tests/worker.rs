//! A worker and an embedded queue, in one process, with nothing between them that is not real.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod faulty;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use blobforge_core::{
    Job, JobId, NewJob, NewSource, Queue, RetryPolicy, Sha256, Status, WorkerId,
    blob::{keys, read_bytes},
};
use blobforge_worker_sdk::{
    JobContext, JobError, Shutdown, StopReason, Summary, Worker, WorkerBuilder, WorkerError,
};
use faulty::Faulty;
use futures_util::TryStreamExt;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

/// Long enough that a test which waits for it has failed.
const AGES: Duration = Duration::from_secs(120);

struct Forge {
    queue: Queue,
    folder: tempfile::TempDir,
}

impl Forge {
    fn new() -> Self {
        Self::with_lease(Duration::from_secs(60))
    }

    fn with_lease(lease: Duration) -> Self {
        let at_once = RetryPolicy { first: Duration::ZERO, longest: Duration::ZERO };
        let queue = Queue::builder()
            .lease(lease)
            .heartbeat_every(Duration::from_millis(20))
            .retry(at_once)
            .open_in_memory()
            .unwrap();
        Self { queue, folder: tempfile::tempdir().unwrap() }
    }

    fn worker(&self) -> WorkerBuilder {
        self.worker_of(Arc::new(self.queue.clone()))
    }

    fn worker_of(&self, broker: Arc<dyn blobforge_core::broker::Broker>) -> WorkerBuilder {
        Worker::builder(broker)
            .id(WorkerId::new("smith").unwrap())
            .state_dir(self.folder.path())
            .stop_grace(AGES)
    }

    async fn submit(&self, job: NewJob) -> JobId {
        self.queue.submit(job).await.unwrap().id
    }

    async fn ended(&self, id: JobId) -> Job {
        let job = self.queue.wait(id, AGES).await.unwrap();
        assert!(job.status().is_final(), "job {id} is still {}", job.status());
        job
    }

    async fn text(&self, id: JobId, name: &str) -> String {
        let content = self.queue.output(id, name).await.unwrap();
        let pieces: Vec<_> = content.try_collect().await.unwrap();
        String::from_utf8(pieces.concat()).unwrap()
    }

    /// Waits for the events that make a job what is wanted of it.
    async fn until(&self, id: JobId, wanted: impl Fn(&Job) -> bool) -> Job {
        let mut feed = self.queue.events();
        loop {
            let job = self.queue.job(id).await.unwrap();
            if wanted(&job) {
                return job;
            }
            feed.next().await.unwrap();
        }
    }
}

fn work() -> NewJob {
    NewJob::new("work").unwrap().dedup(false)
}

struct Running {
    shutdown: Shutdown,
    task: JoinHandle<Result<Summary, WorkerError>>,
}

impl Running {
    fn of(worker: WorkerBuilder) -> Self {
        let worker = worker.build().unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(worker.run(shutdown.clone()));
        Self { shutdown, task }
    }

    async fn stop(self) -> Summary {
        self.shutdown.begin();
        self.task.await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_file_goes_in_and_its_outputs_and_result_come_out() {
    let forge = Forge::new();
    let mut job = work().param("shout", true).tag("letters");
    job.body.source_path = Some("in/Letter.TXT".into());
    let id = forge.queue.submit_stream(job, read_bytes("dear smith"), 100).await.unwrap().id;
    let worker = Running::of(forge.worker().handle("work", async |job: JobContext| {
        #[derive(serde::Deserialize)]
        struct Params {
            shout: bool,
        }
        let params: Params = job.params()?;
        let file = job.source_file().await?;
        assert!(file.ends_with("source.txt"));
        let text = std::fs::read_to_string(file)?;
        let text = if params.shout { text.to_uppercase() } else { text };
        job.progress(1, 1, "shout", "");
        job.output_bytes("out/letter.txt", &text).await?;
        assert_eq!((job.attempt(), job.failures(), job.tags()), (1, 0, ["letters".to_owned()].as_slice()));
        Ok(json!({ "letters": text.len() }))
    }));
    let job = forge.ended(id).await;
    assert_eq!((job.status(), job.result), (Status::Completed, Some(json!({"letters": 10}))));
    assert_eq!(forge.text(id, "out/letter.txt").await, "DEAR SMITH");
    assert_eq!(worker.stop().await, Summary { completed: 1, ..Summary::default() });
    // The attempt's files are gone.
    let left: Vec<_> = std::fs::read_dir(forge.folder.path().join("work")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn every_way_to_fail_is_told_apart() {
    let forge = Forge::new();
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let worker = Running::of(forge.worker().handle("work", move |job: JobContext| {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            job.log(format!("run {run}"));
            match job.raw_params().get("how").and_then(Value::as_str).unwrap_or_default() {
                "panic" => panic!("the anvil broke"),
                "permanent" => Err(JobError::permanent("bad_iron", "This is no iron.")),
                "odd kind" => Err(JobError::permanent("Bad Iron!", "This is no iron.")),
                "io" => Err(std::fs::read("/no/such/file").map(|_| ()).unwrap_err().into()),
                "later" if job.attempt() == 1 => Err(JobError::snooze(Duration::from_millis(1))),
                _ => Ok(Value::Null),
            }
        }
    }));
    for (how, status, kind, failures) in [
        ("panic", Status::Failed, Some("handler_panic"), 2),
        ("permanent", Status::Failed, Some("bad_iron"), 1),
        ("odd kind", Status::Failed, Some("handler_error"), 1),
        ("io", Status::Failed, Some("io"), 2),
        ("later", Status::Completed, None, 0),
        ("well", Status::Completed, None, 0),
    ] {
        let id = forge.submit(work().param("how", how).max_attempts(2)).await;
        let job = forge.ended(id).await;
        let error = job.last_error.as_ref();
        assert_eq!(
            (job.status(), error.map(|error| error.kind.as_str()), job.life.failures),
            (status, kind, failures),
            "{how}: {error:?}"
        );
        if error.is_some() {
            let attempts = forge.queue.history(id).await.unwrap();
            let log = attempts[0].log_tail.as_deref().unwrap();
            assert!(log.starts_with("run "), "{log}");
            assert!(attempts[0].host.is_some());
        }
    }
    let summary = worker.stop().await;
    assert_eq!((summary.failed, summary.snoozed, summary.completed), (6, 1, 2));
    assert_eq!(runs.load(Ordering::SeqCst), 9);
}

/// A handler that says that it runs, and stops when it is told to, with an error that is not its fault.
fn patient(
    started: Arc<Semaphore>,
) -> impl Fn(JobContext) -> futures_util::future::BoxFuture<'static, Result<Value, JobError>> {
    move |job| {
        let started = started.clone();
        Box::pin(async move {
            started.add_permits(1);
            let why = job.stopped().await;
            Err(JobError::permanent("stopped", format!("{why:?}")))
        })
    }
}

#[tokio::test]
async fn a_running_job_that_is_called_off_ends_as_cancelled() {
    let forge = Forge::new();
    let started = Arc::new(Semaphore::new(0));
    let worker = Running::of(forge.worker().handle("work", patient(started.clone())));
    let id = forge.submit(work()).await;
    started.acquire().await.unwrap().forget();
    forge.queue.cancel(id).await.unwrap();
    assert_eq!(forge.ended(id).await.status(), Status::Cancelled);
    assert_eq!(worker.stop().await.cancelled, 1);
}

#[tokio::test]
async fn a_shutdown_gives_back_what_runs_at_no_cost() {
    let forge = Forge::new();
    let started = Arc::new(Semaphore::new(0));
    let worker = Running::of(forge.worker().concurrency(2).handle("work", patient(started.clone())));
    let (one, two) = (forge.submit(work()).await, forge.submit(work()).await);
    started.acquire_many(2).await.unwrap().forget();
    assert_eq!(worker.stop().await, Summary { released: 2, ..Summary::default() });
    for id in [one, two] {
        let job = forge.queue.job(id).await.unwrap();
        assert_eq!((job.status(), job.life.failures, job.life.losses), (Status::Pending, 0, 0));
    }
    assert!(forge.queue.workers().await.unwrap()[0].unregistered);
}

#[tokio::test]
async fn a_shutdown_lets_jobs_finish_within_its_grace() {
    let forge = Forge::new();
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begun, told) = (started.clone(), finish.clone());
    let handler = move |_: JobContext| {
        let (begun, told) = (begun.clone(), told.clone());
        async move {
            begun.notify_one();
            told.notified().await;
            Ok(Value::Null)
        }
    };
    let worker = Running::of(forge.worker().grace(AGES).handle("work", handler));
    let (first, second) = (forge.submit(work()).await, forge.submit(work()).await);
    started.notified().await;
    worker.shutdown.begin();
    finish.notify_one();
    assert_eq!(worker.stop().await, Summary { completed: 1, ..Summary::default() });
    assert_eq!(forge.queue.job(first).await.unwrap().status(), Status::Completed);
    assert_eq!(forge.queue.job(second).await.unwrap().status(), Status::Pending);
}

#[tokio::test]
async fn a_handler_that_takes_no_notice_is_dropped_when_there_is_no_time_left() {
    let forge = Forge::new();
    let started = Arc::new(Notify::new());
    let begun = started.clone();
    let worker = Running::of(forge.worker().handle("work", move |_: JobContext| {
        let begun = begun.clone();
        async move {
            begun.notify_one();
            std::future::pending::<Result<Value, JobError>>().await
        }
    }));
    let id = forge.submit(work()).await;
    started.notified().await;
    worker.shutdown.at_once();
    assert_eq!(worker.stop().await.released, 1);
    assert_eq!(forge.queue.job(id).await.unwrap().status(), Status::Pending);
}

#[tokio::test]
async fn a_worker_that_was_forgotten_stops_the_job_and_registers_again() {
    let forge = Forge::new();
    let (started, why) = (Arc::new(Notify::new()), Arc::new(std::sync::Mutex::new(Vec::new())));
    let (begun, told) = (started.clone(), why.clone());
    let worker = Running::of(forge.worker().handle("work", move |job: JobContext| {
        let (begun, told) = (begun.clone(), told.clone());
        async move {
            if job.attempt() > 1 {
                return Ok(json!("second run"));
            }
            begun.notify_one();
            let why = job.stopped().await;
            told.lock().unwrap().push(why);
            Ok(json!("first run"))
        }
    }));
    let id = forge.submit(work()).await;
    started.notified().await;
    forge.queue.remove_worker(WorkerId::new("smith").unwrap()).await.unwrap();
    let job = forge.ended(id).await;
    assert_eq!(job.result, Some(json!("second run")));
    assert_eq!(*why.lock().unwrap(), [StopReason::LeaseLost]);
    let summary = worker.stop().await;
    assert_eq!((summary.lost, summary.completed), (1, 1));
}

#[tokio::test]
async fn a_draining_worker_claims_nothing_until_it_may_again() {
    let forge = Forge::new();
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begun, told) = (started.clone(), finish.clone());
    let worker = Running::of(forge.worker().handle("work", move |_: JobContext| {
        let (begun, told) = (begun.clone(), told.clone());
        async move {
            begun.notify_one();
            told.notified().await;
            Ok(Value::Null)
        }
    }));
    let first = forge.submit(work()).await;
    started.notified().await;
    let smith = WorkerId::new("smith").unwrap();
    forge.queue.set_draining(smith.clone(), true).await.unwrap();
    let second = forge.submit(work()).await;
    finish.notify_one();
    forge.ended(first).await;
    assert_eq!(forge.queue.job(second).await.unwrap().status(), Status::Pending);
    forge.queue.set_draining(smith, false).await.unwrap();
    finish.notify_one();
    forge.ended(second).await;
    assert_eq!(worker.stop().await.completed, 2);
}

#[tokio::test]
async fn a_queue_out_of_reach_stops_the_handler_when_its_lease_has_run_out() {
    let forge = Forge::with_lease(Duration::from_secs(1));
    let broker = Arc::new(Faulty::new(forge.queue.clone()));
    let stopped = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (told, cut) = (stopped.clone(), broker.clone());
    let worker = Running::of(forge.worker_of(broker.clone()).handle("work", move |job: JobContext| {
        let (told, cut) = (told.clone(), cut.clone());
        async move {
            if job.attempt() > 1 {
                return Ok(Value::Null);
            }
            cut.heartbeats_fail(true);
            let why = job.stopped().await;
            told.lock().unwrap().push(why);
            cut.heartbeats_fail(false);
            Ok(json!("a zombie's result"))
        }
    }));
    let id = forge.submit(work()).await;
    let job = forge.ended(id).await;
    assert_eq!((job.status(), job.result, job.life.losses), (Status::Completed, None, 1));
    assert_eq!(*stopped.lock().unwrap(), [StopReason::LeaseLost]);
    assert_eq!(worker.stop().await.lost, 1);
}

#[tokio::test]
async fn a_report_whose_reply_was_lost_is_repeated_and_counts_once() {
    let forge = Forge::new();
    let broker = Arc::new(Faulty::new(forge.queue.clone()));
    broker.lose_replies_to_reports(2);
    let worker = Running::of(forge.worker_of(broker).handle("work", async |_: JobContext| Ok(json!("once"))));
    let id = forge.submit(work()).await;
    let job = forge.ended(id).await;
    assert_eq!(job.result, Some(json!("once")));
    assert_eq!(worker.stop().await, Summary { completed: 1, ..Summary::default() });
    assert_eq!(forge.queue.history(id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_claim_whose_reply_was_lost_is_repeated_and_gets_the_same_job() {
    let forge = Forge::new();
    let broker = Arc::new(Faulty::new(forge.queue.clone()));
    broker.lose_replies_to_claims(2);
    let id = forge.submit(work()).await;
    let worker = Running::of(forge.worker_of(broker).handle("work", async |_: JobContext| Ok(json!("once"))));
    let job = forge.ended(id).await;
    assert_eq!((job.life.epoch.get(), job.life.losses), (1, 0), "nobody waits for a lease to run out");
    assert_eq!(worker.stop().await, Summary { completed: 1, ..Summary::default() });
}

#[tokio::test]
async fn a_source_that_is_not_what_was_announced_fails_the_job_for_good() {
    let forge = Forge::new();
    let worker = Running::of(forge.worker().handle("work", async |job: JobContext| {
        job.source_file().await?;
        Ok(Value::Null)
    }));
    let source = NewSource::Upload { sha256: Some(Sha256::from_bytes([7; 32])), size: None };
    let submitted = forge.queue.submit(work().source(source)).await.unwrap();
    let key = submitted.upload_key.unwrap();
    forge.queue.blobs().put(&key, read_bytes("something else"), 100).await.unwrap();
    forge.queue.source_uploaded(submitted.id).await.unwrap();
    let job = forge.ended(submitted.id).await;
    let error = job.last_error.unwrap();
    assert_eq!((error.kind.as_str(), job.life.failures), ("source_corrupt", 1));
    assert!(error.message.contains("send the right file"), "{}", error.message);
    // It is asked for again, and with the right file the job is done.
    assert_eq!(forge.queue.retry(submitted.id).await.unwrap().status(), Status::Uploading);
    worker.stop().await;
}

#[tokio::test]
async fn a_source_can_be_read_as_a_stream_that_fails_at_its_end_if_it_is_another() {
    let forge = Forge::new();
    let worker = Running::of(forge.worker().handle("work", async |job: JobContext| {
        let pieces: Vec<_> = job.source_stream().await?.try_collect().await?;
        Ok(json!(String::from_utf8(pieces.concat())?))
    }));
    let id = forge.queue.submit_stream(work(), read_bytes("dear smith"), 100).await.unwrap().id;
    assert_eq!(forge.ended(id).await.result, Some(json!("dear smith")));
    let source = NewSource::Upload { sha256: Some(Sha256::from_bytes([7; 32])), size: None };
    let submitted = forge.queue.submit(work().source(source).max_attempts(1)).await.unwrap();
    forge.queue.blobs().put(&submitted.upload_key.unwrap(), read_bytes("another"), 100).await.unwrap();
    forge.queue.source_uploaded(submitted.id).await.unwrap();
    let error = forge.ended(submitted.id).await.last_error.unwrap();
    assert!(error.message.contains("but 0707"), "{}", error.message);
    assert_eq!(forge.queue.retry(submitted.id).await.unwrap().status(), Status::Uploading);
    worker.stop().await;
}

#[tokio::test]
async fn a_job_without_a_file_tells_a_handler_that_needs_one() {
    let forge = Forge::new();
    let worker = Running::of(forge.worker().handle("work", async |job: JobContext| {
        job.source_file().await?;
        Ok(Value::Null)
    }));
    let id = forge.submit(work()).await;
    assert_eq!(forge.ended(id).await.last_error.unwrap().kind, "no_source");
    worker.stop().await;
}

#[tokio::test]
async fn a_second_attempt_goes_on_from_the_checkpoint_of_the_first() {
    let forge = Forge::new();
    let worker = Running::of(forge.worker().handle("work", async |job: JobContext| {
        let Some(kept) = job.load_checkpoint("half.txt").await? else {
            job.checkpoint_bytes("half.txt", "half").await?;
            return Err(JobError::retryable("pause", "enough for now"));
        };
        assert_eq!(job.load_checkpoint("other").await?, None);
        let half = std::fs::read_to_string(kept)?;
        job.output_bytes("whole.txt", format!("{half} and half")).await?;
        Ok(Value::Null)
    }));
    let id = forge.submit(work()).await;
    assert_eq!(forge.ended(id).await.status(), Status::Completed);
    assert_eq!(forge.text(id, "whole.txt").await, "half and half");
    worker.stop().await;
}

#[tokio::test]
async fn progress_reaches_the_queue_while_the_job_runs() {
    let forge = Forge::new();
    let finish = Arc::new(Notify::new());
    let told = finish.clone();
    let worker = Running::of(forge.worker().handle("work", move |job: JobContext| {
        let told = told.clone();
        async move {
            job.progress(3, 10, "pages", "");
            told.notified().await;
            Ok(Value::Null)
        }
    }));
    let id = forge.submit(work()).await;
    let job = forge.until(id, |job| job.progress.is_some()).await;
    let progress = job.progress.unwrap();
    assert_eq!((progress.done, progress.total, progress.stage.as_deref()), (3, Some(10), Some("pages")));
    finish.notify_one();
    forge.ended(id).await;
    worker.stop().await;
}

#[tokio::test]
async fn names_that_climb_are_refused_before_anything_is_sent() {
    let forge = Forge::new();
    let worker = Running::of(forge.worker().handle("work", async |job: JobContext| {
        job.output_bytes("../escape", "x").await?;
        Ok(Value::Null)
    }));
    let id = forge.submit(work()).await;
    assert_eq!(forge.ended(id).await.last_error.unwrap().kind, "bad_file_name");
    worker.stop().await;
}

#[tokio::test]
async fn an_output_that_vanished_fails_the_attempt_and_not_the_worker() {
    let forge = Forge::new();
    let queue = forge.queue.clone();
    let worker = Running::of(forge.worker().handle("work", move |job: JobContext| {
        let queue = queue.clone();
        async move {
            job.output_bytes("a.txt", "x").await?;
            if job.attempt() == 1 {
                let token = queue.job(job.id()).await?.lease().unwrap().token;
                queue.blobs().delete(&keys::output(job.id(), &token, "a.txt")).await?;
            }
            Ok(Value::Null)
        }
    }));
    let id = forge.submit(work()).await;
    let job = forge.ended(id).await;
    assert_eq!((job.status(), job.life.failures), (Status::Completed, 1));
    assert_eq!(forge.queue.history(id).await.unwrap()[0].failure.as_ref().unwrap().kind, "result_refused");
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_dropped_gives_back_what_runs() {
    let forge = Forge::with_lease(AGES);
    let started = Arc::new(Semaphore::new(0));
    let first = Running::of(forge.worker().handle("work", patient(started.clone())));
    let id = forge.submit(work()).await;
    started.acquire().await.unwrap().forget();
    first.task.abort();
    assert!(first.task.await.unwrap_err().is_cancelled());
    let job = forge.until(id, |job| job.status() == Status::Pending).await;
    assert_eq!((job.life.failures, job.life.losses), (0, 0));
    let second = Running::of(forge.worker().handle("work", async |_: JobContext| Ok(json!("again"))));
    assert_eq!(forge.ended(id).await.result, Some(json!("again")));
    second.stop().await;
}

#[tokio::test]
async fn what_is_set_wrongly_is_said_before_anything_starts() {
    let forge = Forge::new();
    let built = |builder: WorkerBuilder| builder.build().unwrap_err().to_string();
    let fine = async |_: JobContext| Ok(Value::Null);
    assert!(built(forge.worker()).contains("needs a handler"));
    assert!(built(forge.worker().handle("a", fine).handle("a", fine)).contains("two handlers"));
    assert!(built(forge.worker().handle("a b", fine)).contains("type"));
    assert!(built(forge.worker().concurrency(0).handle("a", fine)).contains("1 to 1000"));
}
