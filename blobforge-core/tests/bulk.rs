//! The same for many jobs at once, through `Queue`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use blobforge_core::{
    JobId, JobType, NewJob, Priority, Queue, QueueError, Registration, Status, Timestamp, WorkerId,
    queue::{Action, BulkOutcome, MAX_BULK_IDS, Selection},
    storage::{JobFilter, Report},
};

/// A queue with jobs 1 to 6: completed, failed, cancelled, running, pending, pending.
async fn one_of_each() -> Queue {
    let queue = Queue::builder().open_in_memory().unwrap();
    let work = JobType::new("work").unwrap();
    let id = WorkerId::new("w").unwrap();
    let registration = Registration {
        id: id.clone(),
        types: vec![work.clone()],
        name: None,
        instance: "an instance".to_owned(),
        previous_instance: None,
        labels: Default::default(),
        host: None,
        metadata: Default::default(),
    };
    queue.register(registration).await.unwrap();
    for _ in 0..6 {
        queue.submit(NewJob::new("work").unwrap()).await.unwrap();
    }
    queue.cancel(JobId::new(3)).await.unwrap();
    let held = queue.claim(&id, &[work], 3, Duration::ZERO).await.unwrap();
    let complete = Report::Complete { outputs: Vec::new(), result: None };
    queue.report(held[0].job.id, held[0].token, complete).await.unwrap();
    let failure = blobforge_core::Failure::new("bad", "bad");
    queue.fail(held[1].job.id, held[1].token, failure, false).await.unwrap();
    queue
}

async fn submitted(jobs: usize) -> Queue {
    let queue = Queue::builder().open_in_memory().unwrap();
    for some in (0..jobs).collect::<Vec<_>>().chunks(1000) {
        let jobs = some.iter().map(|_| NewJob::new("work").unwrap()).collect();
        queue.submit_many(jobs).await.unwrap();
    }
    queue
}

async fn statuses(queue: &Queue) -> Vec<(i64, Status)> {
    let jobs = queue.list(&JobFilter::all(1000)).await.unwrap().items;
    jobs.iter().rev().map(|job| (job.id.get(), job.status())).collect()
}

fn everything() -> Selection {
    Selection::Everything { below: None }
}

fn refused(outcome: &BulkOutcome) -> Vec<(&'static str, u64)> {
    outcome.refused.iter().map(|(kind, refusals)| (*kind, refusals.jobs)).collect()
}

#[tokio::test]
async fn a_dry_run_says_what_then_happens_for_every_action_and_state() {
    let actions = [Action::Cancel, Action::Retry, Action::Delete, Action::Reprioritise(Priority::High)];
    let expected = [
        (3, vec![("wrong_state", 3)]),
        (2, vec![("wrong_state", 4)]),
        (3, vec![("not_ended", 3)]),
        (3, vec![("ended", 3)]),
    ];
    for (action, (changed, reasons)) in actions.into_iter().zip(expected) {
        let ids = Selection::Ids((1..=6).map(JobId::new).collect());
        for selection in [everything(), ids] {
            let queue = one_of_each().await;
            let before = statuses(&queue).await;
            let dry = queue.bulk(action, selection.clone(), true).await.unwrap();
            assert_eq!(statuses(&queue).await, before, "{action:?}: a dry run changes nothing");
            let done = queue.bulk(action, selection, false).await.unwrap();
            assert_eq!(done, dry, "{action:?}");
            assert_eq!((done.matched, done.changed, refused(&done)), (6, changed, reasons.clone()));
            let example = &done.refused.values().next().unwrap().examples[0].1;
            assert!(example.contains("cannot"), "it says why: {example}");
        }
    }
}

#[tokio::test]
async fn only_what_matches_is_changed() {
    let queue = one_of_each().await;
    let failed = JobFilter { status: Some(Status::Failed), ..JobFilter::all(1) };
    let done = queue.bulk(Action::Delete, Selection::Filter(failed), false).await.unwrap();
    assert_eq!((done.matched, done.changed), (1, 1));
    let left: Vec<_> = statuses(&queue).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [1, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_filter_that_restricts_nothing_is_refused() {
    let queue = one_of_each().await;
    let below = JobFilter { below: Some(JobId::new(5)), ..JobFilter::all(10) };
    let no_text = JobFilter { text: Some(String::new()), ..JobFilter::all(10) };
    let ever = JobFilter { created_from: Some(Timestamp::ZERO), ..JobFilter::all(10) };
    for filter in [JobFilter::all(10), JobFilter::default(), below, no_text, ever] {
        let refused = queue.bulk(Action::Cancel, Selection::Filter(filter), false).await.unwrap_err();
        assert!(matches!(refused, QueueError::Invalid(_)), "{refused}");
    }
    assert_eq!(queue.counts().await.unwrap().of_status(Status::Pending), 2);
}

#[tokio::test]
async fn ids_are_counted_once_and_bounded() {
    let queue = one_of_each().await;
    let ids = [5, 5, 77].map(JobId::new).to_vec();
    for dry_run in [true, false] {
        let outcome = queue.bulk(Action::Cancel, Selection::Ids(ids.clone()), dry_run).await.unwrap();
        assert_eq!((outcome.matched, outcome.changed), (2, 1));
        assert_eq!(refused(&outcome), [("no_such_job", 1)]);
    }
    let many = (0..=MAX_BULK_IDS).map(|_| JobId::new(1)).collect();
    assert!(queue.bulk(Action::Cancel, Selection::Ids(many), true).await.is_err());
}

#[tokio::test]
async fn one_call_goes_so_far_and_says_where_to_go_on() {
    let queue = submitted(10_001).await;
    let first = queue.bulk(Action::Cancel, everything(), false).await.unwrap();
    assert_eq!((first.changed, first.next), (10_000, Some(JobId::new(2))));
    assert_eq!(queue.counts().await.unwrap().of_status(Status::Pending), 1);
    let rest = Selection::Everything { below: first.next };
    let second = queue.bulk(Action::Cancel, rest, false).await.unwrap();
    assert_eq!((second.changed, second.next), (1, None));
}

#[tokio::test]
async fn a_job_that_is_changed_out_of_its_filter_hides_no_other() {
    let queue = submitted(1_200).await;
    let pending = JobFilter { status: Some(Status::Pending), ..JobFilter::all(7) };
    let done = queue.bulk(Action::Cancel, Selection::Filter(pending), false).await.unwrap();
    assert_eq!((done.matched, done.changed, done.next), (1_200, 1_200, None));
}
