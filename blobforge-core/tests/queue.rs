//! What an embedder relies on, through `Queue` alone. Time is a manual clock; nothing sleeps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    Checkpoint, Clock, End, Failure, Job, JobId, JobType, MAX_LOSSES, MAX_PROGRESS_TEXT_BYTES, ManualClock,
    NewJob, NewSource, Priority, Progress, Queue, QueueError, Registration, Retention, Sha256, Status,
    TypeSettings, WorkerId,
    blob::read_bytes,
    queue::Notice,
    storage::{
        Beat, Claimed, Command, Event, HeldLease, JobFilter, LeaseState, Report, StorageError,
        memory::MemoryStorage,
    },
    testing::{Fault, Faults, FaultyStorage},
};
use futures_util::FutureExt;

const LEASE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Forge {
    queue: Queue,
    clock: Arc<ManualClock>,
}

impl Forge {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
        let queue = Queue::builder().clock(clock.clone()).lease(LEASE).open_in_memory().unwrap();
        Self { queue, clock }
    }

    /// One whose storage fails when it is told to.
    fn faulty() -> (Self, Faults) {
        let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
        let storage = FaultyStorage::new(Arc::new(MemoryStorage::new(clock.clone())), clock.clone());
        let faults = storage.faults();
        let queue = Queue::builder().clock(clock.clone()).lease(LEASE).open_on(Arc::new(storage)).unwrap();
        (Self { queue, clock }, faults)
    }

    async fn worker(&self, id: &str) -> WorkerId {
        let id = WorkerId::new(id).unwrap();
        let registration = Registration {
            id: id.clone(),
            types: vec![work()],
            name: None,
            instance: format!("instance of {id}"),
            previous_instance: None,
            labels: Default::default(),
            host: None,
            metadata: Default::default(),
        };
        self.queue.register(registration).await.unwrap();
        id
    }

    async fn submit(&self) -> JobId {
        self.queue.submit(NewJob::new("work").unwrap()).await.unwrap().id
    }

    async fn claim(&self, worker: &WorkerId) -> Option<Claimed> {
        self.queue.claim(worker, &[work()], 1, Duration::ZERO).await.unwrap().pop()
    }

    /// Waits for the events that make a job what is wanted of it.
    async fn until(&self, id: JobId, wanted: impl Fn(&Job) -> bool) {
        let mut feed = self.queue.events();
        while !wanted(&self.queue.job(id).await.unwrap()) {
            feed.next().await.unwrap();
        }
    }

    /// Lets the queue do what time has made due.
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    async fn is_lapsed(&self, id: JobId) -> bool {
        self.queue.job(id).await.unwrap().lease().is_some_and(|lease| lease.lapsed)
    }

    async fn lapse(&self, id: JobId) {
        self.clock.advance(LEASE);
        self.lapsed(id).await;
    }

    async fn lapsed(&self, id: JobId) {
        self.until(id, |job| job.lease().is_some_and(|lease| lease.lapsed)).await;
    }
}

fn work() -> JobType {
    JobType::new("work").unwrap()
}

fn complete() -> Report {
    Report::Complete { outputs: Vec::new(), result: Some(serde_json::json!({"answer": 42})) }
}

#[tokio::test]
async fn a_job_goes_from_submission_to_its_result() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let id = forge.submit().await;
    let claimed = forge.claim(&worker).await.unwrap();
    assert_eq!(claimed.job.id, id);
    let finished = forge.queue.report(id, claimed.token, complete()).await.unwrap();
    assert_eq!(finished.status, Status::Completed);
    let job = forge.queue.wait(id, LEASE).await.unwrap();
    assert_eq!(job.result.unwrap()["answer"], 42);
    let counts = forge.queue.counts().await.unwrap();
    assert_eq!((counts.of_status(Status::Completed), counts.total()), (1, 1));
}

#[tokio::test]
async fn a_waiting_claim_gets_a_job_as_soon_as_there_is_one() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let types = [work()];
    let mut waiting = Box::pin(forge.queue.claim(&worker, &types, 1, LEASE));
    assert!((&mut waiting).now_or_never().is_none());
    let id = forge.submit().await;
    assert_eq!(waiting.await.unwrap()[0].job.id, id, "the clock never moved");
}

#[tokio::test]
async fn a_waiting_claim_comes_back_empty_at_its_deadline() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let types = [work()];
    let mut waiting = Box::pin(forge.queue.claim(&worker, &types, 1, Duration::from_secs(5)));
    assert!((&mut waiting).now_or_never().is_none());
    // Another round trip: by now the claim has been tried, and waits.
    forge.worker("b").await;
    forge.clock.advance(Duration::from_secs(5));
    assert!(waiting.await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_claimed_for_a_caller_who_left_is_free_again_at_no_cost() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let id = forge.submit().await;
    let types = [work()];
    let mut claim = Box::pin(forge.queue.claim(&worker, &types, 1, Duration::ZERO));
    // The command is queued, and then nobody waits for it any more.
    assert!((&mut claim).now_or_never().is_none());
    drop(claim);
    forge.until(id, |job| job.status() == Status::Pending && job.life.epoch.get() == 1).await;
    let again = forge.claim(&worker).await.unwrap();
    assert_eq!((again.job.life.failures, again.job.life.losses), (0, 0));
}

#[tokio::test]
async fn a_delayed_job_starts_at_its_time_and_wakes_who_waits() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let later = forge.clock.now() + Duration::from_secs(600);
    let job = NewJob::new("work").unwrap().run_at(later);
    let id = forge.queue.submit(job).await.unwrap().id;
    assert_eq!(forge.queue.job(id).await.unwrap().status_label(forge.queue.now()), "scheduled");
    assert!(forge.claim(&worker).await.is_none());
    let types = [work()];
    let waiting = forge.queue.claim(&worker, &types, 1, Duration::from_secs(3600));
    let advance = async {
        forge.worker("b").await;
        forge.clock.advance(Duration::from_secs(600));
    };
    let (claimed, ()) = tokio::join!(waiting, advance);
    assert_eq!(claimed.unwrap()[0].job.id, id);
}

#[tokio::test]
async fn a_silent_worker_loses_its_job_and_a_late_report_changes_nothing() {
    let forge = Forge::new();
    let (silent, other) = (forge.worker("silent").await, forge.worker("other").await);
    let id = forge.submit().await;
    let lost = forge.claim(&silent).await.unwrap();
    forge.lapse(id).await;
    let taken = forge.claim(&other).await.unwrap();
    assert_eq!(taken.job.life.losses, 1);
    let before = forge.queue.job(id).await.unwrap();
    for report in [complete(), Report::Release, Report::Snooze(forge.clock.now())] {
        let refused = forge.queue.report(id, lost.token, report).await.unwrap_err();
        assert!(refused.is_lease_lost(), "{refused}");
        assert!(refused.to_string().contains("other"), "it says who has it: {refused}");
    }
    assert_eq!(forge.queue.job(id).await.unwrap(), before);
    forge.queue.report(id, taken.token, complete()).await.unwrap();
}

#[tokio::test]
async fn a_heartbeat_revives_a_lease_that_nobody_took() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let id = forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    forge.lapse(id).await;
    let leases = vec![HeldLease { job: id, token: held.token, progress: None, log_tail: None, ahead: None }];
    let reply = forge.queue.heartbeat(Beat { worker, leases, condition: None }).await.unwrap();
    assert_eq!(reply.leases, [(id, LeaseState::Held)]);
    let other = forge.worker("b").await;
    assert!(forge.claim(&other).await.is_none(), "it is nobody else's to take");
    forge.queue.report(id, held.token, complete()).await.unwrap();
}

#[tokio::test]
async fn a_failed_job_waits_its_backoff_and_fails_for_good_at_the_third() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let id = forge.submit().await;
    for run in 1..=3 {
        let claimed = forge.queue.claim(&worker, &[work()], 1, LEASE).await.unwrap().remove(0);
        let failure = Failure::new("handler_error", format!("run {run}"));
        let finished = forge.queue.fail(id, claimed.token, failure, true).await.unwrap();
        if let Some(again) = finished.ready_at {
            assert_eq!(forge.queue.job(id).await.unwrap().status_label(forge.queue.now()), "retrying");
            assert!(forge.claim(&worker).await.is_none(), "its backoff is not over");
            forge.clock.set(again);
        }
    }
    let job = forge.queue.job(id).await.unwrap();
    assert_eq!((job.status(), job.life.failures), (Status::Failed, 3));
    assert_eq!(job.last_error.unwrap().message, "run 3");
    let retried = forge.queue.retry(id).await.unwrap();
    assert_eq!((retried.status(), retried.life.failures), (Status::Pending, 0));
}

#[tokio::test]
async fn a_cancel_reaches_the_holder_with_its_next_heartbeat() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let id = forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    forge.queue.cancel(id).await.unwrap();
    let leases = vec![HeldLease { job: id, token: held.token, progress: None, log_tail: None, ahead: None }];
    let reply = forge.queue.heartbeat(Beat { worker, leases, condition: None }).await.unwrap();
    assert_eq!(reply.leases, [(id, LeaseState::Cancel)]);
    let finished = forge.queue.report(id, held.token, Report::Release).await.unwrap();
    assert_eq!(finished.status, Status::Cancelled);
}

#[tokio::test]
async fn a_source_sent_after_the_submission_makes_the_job_ready_and_a_wrong_one_fails_it() {
    let forge = Forge::new();
    let upload =
        |size| NewJob::new("work").unwrap().source(NewSource::Upload { sha256: None, size: Some(size) });
    let good = forge.queue.submit(upload(5)).await.unwrap();
    assert_eq!(good.status, Status::Uploading);
    let job = forge.queue.put_source(good.id, read_bytes("hello")).await.unwrap();
    assert_eq!(job.status(), Status::Pending);
    assert!(job.source.unwrap().verified);
    let bad = forge.queue.submit(upload(6)).await.unwrap();
    let job = forge.queue.put_source(bad.id, read_bytes("hello")).await.unwrap();
    assert_eq!((job.status(), job.last_error.unwrap().kind.as_str()), (Status::Failed, "source_corrupt"));
}

#[tokio::test]
async fn an_upload_that_never_comes_is_given_up_after_a_day() {
    let forge = Forge::new();
    let upload = NewJob::new("work").unwrap().source(NewSource::Upload { sha256: None, size: None });
    let id = forge.queue.submit(upload).await.unwrap().id;
    forge.clock.advance(Duration::from_secs(25 * 3600));
    forge.until(id, |job| job.status() == Status::Cancelled).await;
}

#[tokio::test]
async fn the_same_file_and_parameters_are_one_job() {
    let forge = Forge::new();
    let submit = |width: u32| {
        let job = NewJob::new("work").unwrap().param("width", width);
        forge.queue.submit_stream(job, read_bytes("the same bytes"), 100)
    };
    let first = submit(1).await.unwrap();
    let second = submit(1).await.unwrap();
    assert_eq!((second.id, second.existing), (first.id, true));
    assert!(!submit(2).await.unwrap().existing, "other parameters are other work");
}

#[tokio::test]
async fn a_file_that_is_too_long_is_refused_and_no_job_is_made() {
    let forge = Forge::new();
    let job = NewJob::new("work").unwrap();
    let refused = forge.queue.submit_stream(job, read_bytes("0123456789"), 9).await.unwrap_err();
    assert!(matches!(refused, QueueError::Blob(_)), "{refused}");
    assert_eq!(forge.queue.counts().await.unwrap().total(), 0);
}

#[tokio::test]
async fn an_output_shows_only_after_the_completion_that_names_it() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let id = forge.submit().await;
    let claimed = forge.claim(&worker).await.unwrap();
    let key = forge.queue.reserve_output(id, claimed.token, "a.md").await.unwrap();
    forge.queue.blobs().put(&key, read_bytes("# A"), 100).await.unwrap();
    assert!(forge.queue.output(id, "a.md").await.is_err(), "not yet");
    let wrong_size = vec![("a.md".to_owned(), Some(4), None)];
    assert!(forge.queue.check_outputs(id, claimed.token, wrong_size).await.is_err());
    let named = vec![("a.md".to_owned(), Some(3), None)];
    let outputs = forge.queue.check_outputs(id, claimed.token, named).await.unwrap();
    forge.queue.report(id, claimed.token, Report::Complete { outputs, result: None }).await.unwrap();
    assert!(forge.queue.output(id, "a.md").await.is_ok());
    assert!(forge.queue.reserve_output(id, claimed.token, "../a").await.is_err());
}

#[tokio::test]
async fn listeners_hear_of_jobs_and_workers_in_order() {
    let forge = Forge::new();
    let mut feed = forge.queue.events();
    let worker = forge.worker("a").await;
    let id = forge.submit().await;
    let claimed = forge.claim(&worker).await.unwrap();
    forge.queue.report(id, claimed.token, complete()).await.unwrap();
    forge.queue.delete(id).await.unwrap();
    let mut heard = Vec::new();
    for _ in 0..5 {
        let Some(Notice::Event(event)) = feed.next().await else { panic!("an event") };
        heard.push(match event {
            Event::Job { was, status, .. } => format!("{was:?} to {status:?}"),
            Event::JobDeleted { was, .. } => format!("{was:?} to nothing"),
            Event::WorkerOnline(worker) => format!("{worker} online"),
            Event::WorkerOffline(worker) => format!("{worker} offline"),
        });
    }
    let expected = [
        "a online",
        "None to Pending",
        "Some(Pending) to Running",
        "Some(Running) to Completed",
        "Completed to nothing",
    ];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_job_that_was_kept_for_long_enough_is_deleted() {
    let forge = Forge::new();
    let day = Duration::from_secs(24 * 60 * 60);
    let id = forge.submit().await;
    forge.queue.cancel(id).await.unwrap();
    forge.clock.advance(day);
    let mut feed = forge.queue.events();
    let retention = Retention { cancelled: Some(day), ..Retention::default() };
    let settings = TypeSettings { retention, ..TypeSettings::default() };
    // It ended before anybody said for how long it is kept.
    forge.queue.set_type(work(), settings).await.unwrap();
    let Some(Notice::Event(event)) = feed.next().await else { panic!("an event") };
    assert!(matches!(event, Event::JobDeleted { id: deleted, .. } if deleted == id), "{event:?}");
    assert_eq!(forge.queue.get(id).await.unwrap(), None);
}

#[tokio::test]
async fn many_jobs_are_taken_in_together_or_refused_together() {
    let forge = Forge::new();
    let job = || NewJob::new("work").unwrap().priority(Priority::High);
    let results = forge.queue.submit_many((0..1000).map(|_| job()).collect()).await.unwrap();
    let ids: Vec<_> = results.into_iter().map(|result| result.unwrap().id.get()).collect();
    assert_eq!(ids, (1..=1000).collect::<Vec<_>>());
    let one_bad = vec![job(), job().max_attempts(0)];
    assert!(forge.queue.submit_many(one_bad).await.is_err());
    assert_eq!(forge.queue.counts().await.unwrap().total(), 1000);
    let first = forge.queue.list(&JobFilter::all(10)).await.unwrap();
    assert_eq!(first.items[0].id.get(), 1000, "newest first");
}

#[tokio::test]
async fn a_closed_queue_finishes_what_it_took_in_and_takes_nothing_more() {
    let forge = Forge::new();
    let all = futures_util::future::join_all((0..100).map(|_| forge.submit()));
    let (ids, ()) = tokio::join!(all, forge.queue.close());
    assert_eq!(ids.len(), 100);
    let refused = forge.queue.submit(NewJob::new("work").unwrap()).await.unwrap_err();
    assert!(matches!(refused, QueueError::Closed), "{refused}");
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_is_refused() {
    assert!(Queue::builder().lease(Duration::from_millis(999)).open_in_memory().is_err());
    assert!(Queue::builder().max_attempts(0).open_in_memory().is_err());
}

#[tokio::test]
async fn a_progress_told_at_length_is_cut_and_renews_the_lease() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let id = forge.submit().await;
    let token = forge.claim(&worker).await.unwrap().token;
    let progress = Progress { done: 1, message: Some("x".repeat(100_000)), ..Progress::default() };
    let held = HeldLease { job: id, token, progress: Some(progress.clone()), log_tail: None, ahead: None };
    let reply = forge.queue.heartbeat(Beat { worker, leases: vec![held], condition: None }).await.unwrap();
    assert_eq!(reply.leases, [(id, LeaseState::Held)]);
    let kept = forge.queue.job(id).await.unwrap().progress.unwrap();
    assert_eq!(kept, progress.cut());
    assert_eq!(kept.message.unwrap().len(), MAX_PROGRESS_TEXT_BYTES);
}

#[tokio::test]
async fn a_claim_that_does_not_wait_sees_everything_that_is_due() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    for round in 0..20 {
        let later = NewJob::new("work").unwrap().dedup(false).run_at(forge.clock.now() + LEASE);
        let id = forge.queue.submit(later).await.unwrap().id;
        assert!(forge.claim(&worker).await.is_none());
        forge.clock.advance(LEASE);
        assert_eq!(forge.claim(&worker).await.map(|claimed| claimed.job.id), Some(id), "round {round}");
        forge.queue.cancel(id).await.unwrap();
    }
}

#[tokio::test]
async fn no_lease_lapses_because_the_time_of_day_was_set_forward() {
    let forge = Forge::new();
    let (worker, other) = (forge.worker("a").await, forge.worker("b").await);
    let id = forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    forge.clock.jump_forward(DAY);
    forge.clock.advance(LEASE - Duration::from_secs(1));
    forge.settle().await;
    assert!(!forge.is_lapsed(id).await);
    assert!(forge.claim(&other).await.is_none());
    let leases = vec![HeldLease { job: id, token: held.token, progress: None, log_tail: None, ahead: None }];
    let reply = forge.queue.heartbeat(Beat { worker, leases, condition: None }).await.unwrap();
    assert_eq!(reply.leases, [(id, LeaseState::Held)]);
}

#[tokio::test]
async fn a_silent_worker_loses_its_job_though_the_time_of_day_was_set_forward() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let id = forge.submit().await;
    forge.claim(&worker).await.unwrap();
    forge.clock.jump_forward(DAY);
    // Once until somebody looks at the clock again, and once for the lease.
    for _ in 0..2 {
        forge.clock.advance(LEASE);
        forge.settle().await;
    }
    assert!(forge.is_lapsed(id).await);
}

#[tokio::test]
async fn what_is_due_happens_though_the_time_of_day_was_set_back() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let types = [work()];
    let claim = forge.queue.claim(&worker, &types, 1, LEASE * 3);
    let mut waiting = Box::pin(claim);
    assert!((&mut waiting).now_or_never().is_none());
    forge.settle().await;
    forge.clock.jump_back(DAY);
    let soon = forge.clock.now() + LEASE;
    let job = forge.queue.submit(NewJob::new("work").unwrap().run_at(soon)).await.unwrap().id;
    for _ in 0..2 {
        forge.clock.advance(LEASE);
        forge.settle().await;
    }
    assert_eq!(waiting.await.unwrap()[0].job.id, job);
    for _ in 0..3 {
        forge.clock.advance(LEASE);
        forge.settle().await;
    }
    assert!(forge.is_lapsed(job).await, "its lease was given after the jump");
}

#[tokio::test]
async fn a_claim_waits_no_longer_because_the_time_of_day_was_set_back() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let types = [work()];
    let mut waiting = Box::pin(forge.queue.claim(&worker, &types, 1, LEASE));
    assert!((&mut waiting).now_or_never().is_none());
    forge.settle().await;
    forge.clock.jump_back(DAY);
    forge.clock.advance(LEASE);
    forge.settle().await;
    assert!(waiting.now_or_never().unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn no_lease_lapses_because_one_commit_took_longer() {
    let (forge, faults) = Forge::faulty();
    let worker = forge.worker("a").await;
    let id = forge.submit().await;
    forge.claim(&worker).await.unwrap();
    forge.clock.advance(LEASE / 2);
    forge.settle().await;
    faults.next_write(Fault::Held);
    let mut stuck = Box::pin(forge.queue.submit(NewJob::new("work").unwrap()));
    assert!((&mut stuck).now_or_never().is_none());
    forge.settle().await;
    forge.clock.advance(LEASE * 2);
    forge.settle().await;
    faults.release();
    stuck.await.unwrap();
    forge.settle().await;
    assert!(!forge.is_lapsed(id).await, "its worker could not renew it");
    forge.clock.advance(LEASE);
    forge.lapsed(id).await;
}

#[tokio::test]
async fn a_commit_with_unknown_result_wakes_who_waits_for_what_it_made() {
    let (forge, faults) = Forge::faulty();
    let worker = forge.worker("a").await;
    let types = [work()];
    let mut waiting = Box::pin(forge.queue.claim(&worker, &types, 1, LEASE));
    assert!((&mut waiting).now_or_never().is_none());
    forge.settle().await;
    // A job that the waiting claim is not put beside, since it is ready only when its source has come.
    let upload = NewJob::new("work").unwrap().source(NewSource::Upload { sha256: None, size: Some(2) });
    let submitted = forge.queue.submit(upload).await.unwrap();
    let (id, key) = (submitted.id, submitted.upload_key.unwrap());
    forge.queue.blobs().put(&key, read_bytes("ab"), 2).await.unwrap();
    let mut feed = forge.queue.events();
    faults.next_write(Fault::Unknown);
    let unknown = forge.queue.source_uploaded(id).await.unwrap_err();
    assert!(matches!(&unknown, QueueError::Storage(StorageError::Unknown(_))), "{unknown}");
    assert!(unknown.is_retryable());
    assert_eq!(waiting.await.unwrap()[0].job.id, id, "the clock never moved");
    assert_eq!(feed.next().await, Some(Notice::Missed(1)), "listeners know that they missed something");
}

#[tokio::test]
async fn a_draining_worker_that_waits_does_not_keep_work_from_another() {
    let forge = Forge::new();
    let (draining, other) = (forge.worker("a").await, forge.worker("b").await);
    let types = [work()];
    let mut first = Box::pin(forge.queue.claim(&draining, &types, 1, LEASE));
    assert!((&mut first).now_or_never().is_none());
    forge.settle().await;
    let mut second = Box::pin(forge.queue.claim(&other, &types, 1, LEASE));
    assert!((&mut second).now_or_never().is_none());
    forge.settle().await;
    forge.queue.set_draining(draining.clone(), true).await.unwrap();
    let id = forge.submit().await;
    assert_eq!(second.await.unwrap()[0].job.id, id, "the clock never moved");
    let id = forge.submit().await;
    forge.settle().await;
    forge.queue.set_draining(draining.clone(), false).await.unwrap();
    assert_eq!(first.await.unwrap()[0].job.id, id, "it waited all the while");
}

#[tokio::test]
async fn a_worker_that_has_gone_while_it_waited_does_not_keep_work_from_another() {
    let forge = Forge::new();
    let (gone, other) = (forge.worker("a").await, forge.worker("b").await);
    let types = [work()];
    let mut first = Box::pin(forge.queue.claim(&gone, &types, 1, LEASE));
    assert!((&mut first).now_or_never().is_none());
    forge.settle().await;
    let mut second = Box::pin(forge.queue.claim(&other, &types, 1, LEASE));
    assert!((&mut second).now_or_never().is_none());
    forge.settle().await;
    forge.queue.unregister(gone.clone(), None).await.unwrap();
    let id = forge.submit().await;
    assert_eq!(second.await.unwrap()[0].job.id, id, "the clock never moved");
    assert!(first.await.is_err());
}

#[tokio::test]
async fn whoever_waits_on_a_queue_that_stops_is_told_so() {
    let (forge, faults) = Forge::faulty();
    let id = forge.submit().await;
    let mut waiting = Box::pin(forge.queue.wait(id, DAY));
    let mut feed = forge.queue.events();
    assert!((&mut waiting).now_or_never().is_none());
    faults.break_for_good();
    forge.queue.submit(NewJob::new("work").unwrap()).await.unwrap_err();
    forge.queue.halted().await;
    let told = waiting.await.unwrap_err();
    assert!(matches!(told, QueueError::Storage(StorageError::Broken(_))), "{told}");
    while feed.next().await.is_some() {}
    assert_eq!(forge.queue.events().next().await, None, "and so is who comes later");
}

#[tokio::test]
async fn what_a_queue_that_stops_has_not_taken_in_yet_is_told_why_too() {
    let (forge, faults) = Forge::faulty();
    faults.next_write(Fault::Held);
    let job = || NewJob::new("work").unwrap();
    let mut first = Box::pin(forge.queue.submit(job()));
    assert!((&mut first).now_or_never().is_none());
    forge.settle().await;
    faults.break_for_good();
    // It lies before the queue, which has not looked since.
    let late = forge.queue.submit(job()).await.unwrap_err();
    for told in [first.await.unwrap_err(), late] {
        assert!(matches!(told, QueueError::Storage(StorageError::Broken(_))), "{told}");
    }
}

#[tokio::test]
async fn a_job_whose_worker_is_heard_of_is_never_taken_away_for_being_long() {
    let forge = Forge::new();
    let (worker, rival) = (forge.worker("a").await, forge.worker("rival").await);
    let id = forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    for _ in 0..2000 {
        // As late as it may be.
        forge.clock.advance(LEASE - Duration::from_millis(1));
        assert!(forge.claim(&rival).await.is_none());
        let lease = HeldLease { job: id, token: held.token, progress: None, log_tail: None, ahead: None };
        let beat = Beat { worker: worker.clone(), leases: vec![lease], condition: None };
        assert_eq!(forge.queue.heartbeat(beat).await.unwrap().leases, [(id, LeaseState::Held)]);
    }
    assert_eq!(forge.queue.report(id, held.token, complete()).await.unwrap().status, Status::Completed);
    assert_eq!(forge.queue.history(id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_dead_workers_job_is_free_in_time_a_restart_frees_it_at_once_and_its_holder_revives_what_nobody_took()
 {
    let forge = Forge::new();
    let (dead, other) = (forge.worker("dead").await, forge.worker("other").await);
    let id = forge.submit().await;
    let lost = forge.claim(&dead).await.unwrap();
    // Whoever waits gets it, within the lease and 2 s, by whatever clock.
    let types = [work()];
    let mut waiting = std::pin::pin!(forge.queue.claim(&other, &types, 1, DAY));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    forge.settle().await;
    forge.clock.advance(LEASE - Duration::from_millis(1));
    forge.settle().await;
    assert!(futures_util::poll!(&mut waiting).is_pending(), "the dead may still come back");
    forge.clock.advance(Duration::from_millis(1) + Duration::from_secs(2));
    let taken = waiting.await.unwrap().remove(0);
    assert_eq!((taken.job.id, taken.job.life.losses), (id, 1));
    assert!(forge.queue.report(id, lost.token, complete()).await.unwrap_err().is_lease_lost());

    // A worker that comes back on its machine frees what it held before any time has passed.
    let mut again = Registration::new(other.clone(), [work()], "the second process");
    again.previous_instance = Some("instance of other".to_owned());
    forge.queue.register(again).await.unwrap();
    let freed = forge.claim(&other).await.unwrap();
    assert_eq!((freed.job.id, freed.job.life.losses), (id, 2));

    // And one that was merely out of reach for long goes on, if nobody took its job.
    forge.lapse(id).await;
    forge.clock.advance(DAY);
    let lease = HeldLease { job: id, token: freed.token, progress: None, log_tail: None, ahead: None };
    let beat = Beat { worker: other.clone(), leases: vec![lease], condition: None };
    assert_eq!(forge.queue.heartbeat(beat).await.unwrap().leases, [(id, LeaseState::Held)]);
    assert!(forge.claim(&dead).await.is_none());
    assert_eq!(forge.queue.report(id, freed.token, complete()).await.unwrap().status, Status::Completed);
}

#[tokio::test]
async fn a_claim_that_waits_for_a_process_which_is_gone_gets_nothing_of_what_its_heir_frees() {
    let forge = Forge::new();
    let worker = forge.worker("smith").await;
    let id = forge.submit().await;
    forge.claim(&worker).await.unwrap();
    // It sends its files already and waits for the next job when it dies: nobody hears the answer.
    let types = [work()];
    let mut waiting = std::pin::pin!(forge.queue.claim(&worker, &types, 1, DAY));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    forge.settle().await;
    let mut heir = Registration::new(worker.clone(), [work()], "the second process");
    heir.previous_instance = Some("instance of smith".to_owned());
    forge.queue.register(heir).await.unwrap();
    assert!(waiting.await.unwrap().is_empty());
    assert_eq!(forge.claim(&worker).await.unwrap().job.id, id);
}

#[tokio::test]
async fn errors_count_releases_do_not_and_crashes_have_a_cap_that_progress_resets() {
    let forge = Forge::new();
    let worker = forge.worker("a").await;
    let id = forge.queue.submit(NewJob::new("work").unwrap().max_attempts(2)).await.unwrap().id;
    let counts = async || {
        let job = forge.queue.job(id).await.unwrap();
        (job.life.failures, job.life.losses)
    };
    for _ in 0..10 {
        let held = forge.claim(&worker).await.unwrap();
        forge.queue.report(id, held.token, Report::Release).await.unwrap();
    }
    assert_eq!(counts().await, (0, 0), "a release is free, however often");
    let held = forge.claim(&worker).await.unwrap();
    forge.queue.fail(id, held.token, Failure::new("jam", "paper"), true).await.unwrap();
    assert_eq!(counts().await, (1, 0));
    forge.clock.advance(DAY);
    // Its worker dies over and over: while the job gets on between the crashes it is never given up.
    let crash = async |advances: Option<u8>| {
        let held = forge.claim(&worker).await.unwrap();
        if let Some(number) = advances {
            let checkpoint = Checkpoint {
                name: "page".to_owned(),
                size: 1,
                sha256: Sha256::from_bytes([number; 32]),
                key: forge.queue.reserve_checkpoint(id, held.token, "page").await.unwrap(),
            };
            let command = Command::Checkpoint { job: id, token: held.token, checkpoint };
            forge.queue.run(command).await.unwrap();
        }
        forge.lapse(id).await;
    };
    for number in 0..3 * MAX_LOSSES as u8 {
        crash(Some(number)).await;
    }
    assert_eq!(counts().await.0, 1, "no crash counts as an error of the job's");
    for _ in 0..MAX_LOSSES - 1 {
        crash(None).await;
    }
    assert!(forge.claim(&worker).await.is_none(), "one that only kills workers stops");
    let job = forge.queue.job(id).await.unwrap();
    assert_eq!((job.status(), job.last_error.unwrap().kind), (Status::Failed, "worker_lost".to_owned()));
}

#[tokio::test]
async fn a_jump_of_the_clock_costs_a_run_at_most_and_never_makes_a_second_completion() {
    let jumps: [fn(&ManualClock); 3] =
        [|clock| clock.jump_forward(DAY), |clock| clock.jump_back(DAY), |_| {}];
    for jump in jumps {
        let forge = Forge::new();
        let (early, late) = (forge.worker("early").await, forge.worker("late").await);
        let id = forge.submit().await;
        let first = forge.claim(&early).await.unwrap();
        jump(&forge.clock);
        forge.settle().await;
        // It falls silent; how soon that is noticed is another matter.
        let mut second = None;
        for _ in 0..2 * DAY.as_secs() / LEASE.as_secs() {
            forge.clock.advance(LEASE);
            forge.settle().await;
            second = forge.claim(&late).await;
            if second.is_some() {
                break;
            }
        }
        let second = second.expect("another run, in the end");
        let refused = forge.queue.report(id, first.token, complete()).await.unwrap_err();
        assert!(refused.to_string().contains("lease"), "{refused}");
        jump(&forge.clock);
        forge.queue.report(id, second.token, complete()).await.unwrap();
        let ends = forge.queue.history(id).await.unwrap();
        let completed = ends.iter().filter(|attempt| attempt.end == Some(End::Completed)).count();
        assert_eq!((ends.len(), completed), (2, 1));
    }
}
