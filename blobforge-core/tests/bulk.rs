//! The same for many jobs at once, through `Queue`, in memory and in a file.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod forge;

use std::time::Duration;

use blobforge_core::{
    Failure, JobId, Priority, Queue, QueueError, Status, Timestamp,
    queue::{Action, BulkOutcome, MAX_BULK_IDS, Selection},
    storage::JobFilter,
};
use forge::{Forge, complete, in_both, job, work};

in_both! {
    a_dry_run_says_what_then_happens_for_every_action_and_state,
    only_what_matches_is_changed,
    a_filter_that_restricts_nothing_is_refused,
    ids_are_counted_once_and_bounded,
    one_call_goes_so_far_and_says_where_to_go_on,
    a_job_that_is_changed_out_of_its_filter_hides_no_other,
}

impl Forge {
    /// With jobs 1 to 6: completed, failed, cancelled, running, pending, pending.
    async fn one_of_each(&self) -> &Queue {
        let (queue, worker) = (&self.queue, self.worker("w").await);
        for _ in 0..6 {
            self.submit().await;
        }
        queue.cancel(JobId::new(3)).await.unwrap();
        let held = queue.claim(&worker, &[work()], 3, Duration::ZERO).await.unwrap();
        queue.report(held[0].job.id, held[0].token, complete()).await.unwrap();
        queue.fail(held[1].job.id, held[1].token, Failure::new("bad", "bad"), false).await.unwrap();
        queue
    }

    async fn with_jobs(&self, many: usize) -> &Queue {
        for some in vec![job(); many].chunks(1000) {
            self.queue.submit_many(some.to_vec()).await.unwrap();
        }
        &self.queue
    }
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

async fn a_dry_run_says_what_then_happens_for_every_action_and_state(forge: Forge) {
    let actions = [Action::Cancel, Action::Retry, Action::Delete, Action::Reprioritise(Priority::High)];
    let expected = [
        (3, vec![("wrong_state", 3)]),
        (2, vec![("wrong_state", 4)]),
        (3, vec![("not_ended", 3)]),
        (3, vec![("wrong_state", 3)]),
    ];
    for (action, (changed, reasons)) in actions.into_iter().zip(expected) {
        let ids = Selection::Ids((1..=6).map(JobId::new).collect());
        for selection in [everything(), ids] {
            let forge = forge.another().await;
            let queue = forge.one_of_each().await;
            let before = statuses(queue).await;
            let dry = queue.bulk(action, selection.clone(), true).await.unwrap();
            assert_eq!(statuses(queue).await, before, "{action:?}: a dry run changes nothing");
            let done = queue.bulk(action, selection, false).await.unwrap();
            assert_eq!(done, dry, "{action:?}");
            assert_eq!((done.matched, done.changed, refused(&done)), (6, changed, reasons.clone()));
            let example = &done.refused.values().next().unwrap().examples[0].1;
            assert!(example.contains("cannot"), "it says why: {example}");
        }
    }
}

async fn only_what_matches_is_changed(forge: Forge) {
    let queue = forge.one_of_each().await;
    let failed = JobFilter { status: Some(Status::Failed), ..JobFilter::all(1) };
    let done = queue.bulk(Action::Delete, Selection::Filter(failed), false).await.unwrap();
    assert_eq!((done.matched, done.changed), (1, 1));
    let left: Vec<_> = statuses(queue).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [1, 3, 4, 5, 6]);
}

async fn a_filter_that_restricts_nothing_is_refused(forge: Forge) {
    let queue = forge.one_of_each().await;
    let below = JobFilter { below: Some(JobId::new(5)), ..JobFilter::all(10) };
    let no_text = JobFilter { text: Some(String::new()), ..JobFilter::all(10) };
    let ever = JobFilter { created_from: Some(Timestamp::ZERO), ..JobFilter::all(10) };
    for filter in [JobFilter::all(10), JobFilter::default(), below, no_text, ever] {
        let refused = queue.bulk(Action::Cancel, Selection::Filter(filter), false).await.unwrap_err();
        assert!(matches!(refused, QueueError::Invalid(_)), "{refused}");
    }
    assert_eq!(queue.counts().await.unwrap().of_status(Status::Pending), 2);
}

async fn ids_are_counted_once_and_bounded(forge: Forge) {
    let queue = forge.one_of_each().await;
    let ids = [5, 5, 77].map(JobId::new).to_vec();
    for dry_run in [true, false] {
        let outcome = queue.bulk(Action::Cancel, Selection::Ids(ids.clone()), dry_run).await.unwrap();
        assert_eq!((outcome.matched, outcome.changed), (2, 1));
        assert_eq!(refused(&outcome), [("job_not_found", 1)]);
    }
    let many = (0..=MAX_BULK_IDS).map(|_| JobId::new(1)).collect();
    assert!(queue.bulk(Action::Cancel, Selection::Ids(many), true).await.is_err());
}

async fn one_call_goes_so_far_and_says_where_to_go_on(forge: Forge) {
    let queue = forge.with_jobs(10_001).await;
    let first = queue.bulk(Action::Cancel, everything(), false).await.unwrap();
    assert_eq!((first.changed, first.next), (10_000, Some(JobId::new(2))));
    assert_eq!(queue.counts().await.unwrap().of_status(Status::Pending), 1);
    let rest = Selection::Everything { below: first.next };
    let second = queue.bulk(Action::Cancel, rest, false).await.unwrap();
    assert_eq!((second.changed, second.next), (1, None));
}

async fn a_job_that_is_changed_out_of_its_filter_hides_no_other(forge: Forge) {
    let queue = forge.with_jobs(1_200).await;
    let pending = JobFilter { status: Some(Status::Pending), ..JobFilter::all(7) };
    let done = queue.bulk(Action::Cancel, Selection::Filter(pending), false).await.unwrap();
    assert_eq!((done.matched, done.changed, done.next), (1_200, 1_200, None));
}
