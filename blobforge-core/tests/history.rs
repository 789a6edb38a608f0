//! What the queue remembers of submissions, claims and failures, through `Queue` alone. Time is a manual clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    Failure, JobType, MAX_FAILURE_MESSAGE_BYTES, MAX_LOG_TAIL_BYTES, ManualClock, NewJob, Queue, QueueError,
    Registration, Status, WorkerId,
    blob::{ObjectBlobs, read_bytes},
    broker::Wish,
    queue::{Action, Selection},
    storage::{Claimed, JobFilter, Refusal, Report, Submitted, memory::MemoryStorage},
    testing::{Fault, FaultyStorage},
};
use futures_util::FutureExt;

struct Forge {
    queue: Queue,
    clock: Arc<ManualClock>,
}

impl Forge {
    fn new() -> Self {
        let clock = clock();
        let queue = Queue::builder().clock(clock.clone()).open_in_memory().unwrap();
        Self { queue, clock }
    }

    async fn worker(&self) -> WorkerId {
        let id = WorkerId::new("smith").unwrap();
        let registration = Registration {
            id: id.clone(),
            types: vec![work()],
            name: None,
            instance: "first".to_owned(),
            previous_instance: None,
            labels: Default::default(),
            host: Some("forge".to_owned()),
            metadata: Default::default(),
        };
        self.queue.register(registration).await.unwrap();
        id
    }

    async fn held(&self, worker: &WorkerId) -> Claimed {
        self.queue.submit(NewJob::new("work").unwrap()).await.unwrap();
        self.queue.claim(worker, &[work()], 1, Duration::ZERO).await.unwrap().remove(0)
    }

    async fn stream(&self, job: &NewJob, content: &'static str) -> Result<Submitted, QueueError> {
        self.queue.submit_stream(job.clone(), read_bytes(content), 100).await
    }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()))
}

fn work() -> JobType {
    JobType::new("work").unwrap()
}

fn keyed() -> NewJob {
    NewJob::new("work").unwrap().idempotency_key("k")
}

#[tokio::test]
async fn two_that_race_get_one_job() {
    let forge = Forge::new();
    let (one, other) = tokio::join!(forge.queue.submit(keyed()), forge.queue.submit(keyed()));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.id, other.id);
    assert!(one.replayed != other.replayed, "one of them made it");
    let many = forge.queue.submit_many(vec![keyed(), keyed()]).await.unwrap();
    assert!(many.iter().all(|submitted| submitted.as_ref().unwrap().id == one.id));
}

#[tokio::test]
async fn a_file_that_is_sent_again_is_the_same_submission_and_another_one_is_not() {
    let forge = Forge::new();
    let job = keyed().dedup(false);
    let first = forge.stream(&job, "hello").await.unwrap();
    let again = forge.stream(&job, "hello").await.unwrap();
    assert_eq!((again.id, again.replayed), (first.id, true));
    let refused = forge.stream(&job, "olleh").await.unwrap_err();
    let reused = Refusal::IdempotencyKeyReused("k".to_owned());
    assert!(matches!(&refused, QueueError::Refused(refusal) if *refusal == reused), "{refused}");
    assert!(!refused.is_retryable());
}

#[tokio::test]
async fn a_key_or_a_claims_name_is_printable_and_short() {
    let forge = Forge::new();
    let worker = forge.worker().await;
    for bad in ["", "a\nb", "ключ", &"x".repeat(256)] {
        let refused = forge.queue.submit(keyed().idempotency_key(bad)).await.unwrap_err();
        assert!(matches!(&refused, QueueError::Invalid(i) if i.field == "idempotency_key"), "{refused}");
        let claim_id = Some(bad.to_owned());
        let wish =
            Wish { worker: worker.clone(), types: vec![work()], limit: 1, wait: Duration::ZERO, claim_id };
        let refused = forge.queue.claim_wish(wish).await.unwrap_err();
        assert!(matches!(&refused, QueueError::Invalid(i) if i.field == "claim_id"), "{refused}");
    }
    forge.queue.submit(keyed().idempotency_key("x".repeat(255))).await.unwrap();
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_key_and_a_claim_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let open =
        async || Forge { queue: Queue::builder().clock(clock()).open(&path).await.unwrap(), clock: clock() };
    let forge = open().await;
    let worker = forge.worker().await;
    let id = forge.queue.submit(keyed()).await.unwrap().id;
    let wish = Wish {
        worker,
        types: vec![work()],
        limit: 1,
        wait: Duration::ZERO,
        claim_id: Some("one".to_owned()),
    };
    let first = forge.queue.claim_wish(wish.clone()).await.unwrap();
    forge.queue.close().await;
    drop(forge);
    let forge = open().await;
    let again = forge.queue.submit(keyed()).await.unwrap();
    assert_eq!((again.id, again.replayed, again.status), (id, true, Status::Running));
    let repeated = forge.queue.claim_wish(wish).await.unwrap();
    assert_eq!((repeated[0].job.id, repeated[0].token), (id, first[0].token));
}

#[tokio::test]
async fn a_claim_repeated_while_its_first_caller_leaves_gets_a_lease_that_holds() {
    let clock = clock();
    let storage = FaultyStorage::new(Arc::new(MemoryStorage::new(clock.clone())), clock.clone());
    let faults = storage.faults();
    let builder = Queue::builder().clock(clock.clone()).blobs(Arc::new(ObjectBlobs::in_memory()));
    let forge = Forge { queue: builder.open_on(Arc::new(storage)).unwrap(), clock };
    let worker = forge.worker().await;
    forge.queue.submit(NewJob::new("work").unwrap()).await.unwrap();
    let claim_id = Some("one".to_owned());
    let wish = Wish { worker, types: vec![work()], limit: 1, wait: Duration::ZERO, claim_id };
    faults.next_write(Fault::Held);
    let mut first = Box::pin(forge.queue.claim_wish(wish.clone()));
    while faults.waiting() == 0 {
        assert!(first.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    drop(first);
    let mut again = Box::pin(forge.queue.claim_wish(wish));
    for _ in 0..50 {
        assert!(again.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    faults.release();
    let held = again.await.unwrap().remove(0);
    // Whatever was left to do for the one that left is done before this.
    let done = Report::Complete { outputs: Vec::new(), result: None };
    let finished = forge.queue.report(held.job.id, held.token, done).await.unwrap();
    assert_eq!(finished.status, Status::Completed);
}

#[tokio::test]
async fn a_kind_that_is_no_word_is_refused_and_the_attempt_goes_on() {
    let forge = Forge::new();
    let held = forge.held(&forge.worker().await).await;
    let fail = async |failure| forge.queue.fail(held.job.id, held.token, failure, false).await;
    let refused = fail(Failure::new("Out of ink", "there is none")).await.unwrap_err();
    assert!(matches!(&refused, QueueError::Invalid(i) if i.field == "kind"), "{refused}");
    assert_eq!(forge.queue.job(held.job.id).await.unwrap().status(), Status::Running);
    let mut long = Failure::new("out_of_ink", "x".repeat(100_000));
    long.log_tail = Some("x".repeat(100_000) + "the end");
    fail(long).await.unwrap();
    let message = forge.queue.job(held.job.id).await.unwrap().last_error.unwrap().message;
    assert!(message.len() <= MAX_FAILURE_MESSAGE_BYTES, "{}", message.len());
    let log = forge.queue.history(held.job.id).await.unwrap().remove(0).log_tail.unwrap();
    assert!(log.len() <= MAX_LOG_TAIL_BYTES && log.ends_with("the end"), "{}", log.len());
}

#[tokio::test]
async fn a_group_of_failures_is_retried_in_bulk() {
    let forge = Forge::new();
    let worker = forge.worker().await;
    for (kind, page) in [("no_ink", 1), ("no_ink", 2), ("no_paper", 3)] {
        let held = forge.held(&worker).await;
        let failure = Failure::new(kind, format!("it ended on page {page}"));
        forge.queue.fail(held.job.id, held.token, failure, false).await.unwrap();
        forge.clock.advance(Duration::from_secs(1));
    }
    let groups = forge.queue.failure_groups(Some(&work()), 10).await.unwrap();
    let told: Vec<_> = groups.iter().map(|group| (group.kind.as_str(), group.jobs)).collect();
    assert_eq!(told, [("no_ink", 2), ("no_paper", 1)]);
    let filter = JobFilter { failure_group: Some(groups[0].id), ..JobFilter::all(10) };
    let outcome = forge.queue.bulk(Action::Retry, Selection::Filter(filter), false).await.unwrap();
    assert_eq!((outcome.matched, outcome.changed), (2, 2));
    let groups = forge.queue.failure_groups(None, 1).await.unwrap();
    assert_eq!((groups[0].kind.as_str(), groups[0].jobs), ("no_paper", 1), "the worst comes first");
    assert_eq!(forge.queue.counts().await.unwrap().of_status(Status::Pending), 2);
}
