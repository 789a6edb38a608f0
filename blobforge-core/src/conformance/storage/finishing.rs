//! How attempts end.

use super::*;
use crate::{End, Finished, storage::MAX_ATTEMPTS_KEPT};

pub async fn a_failure_is_retried_after_its_delay(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let finished = bench.finish(&held, fail()).await;
    let at = bench.clock.now() + SECOND;
    assert_eq!(finished, Finished { status: Status::Pending, ready_at: Some(at) });
    let job = bench.job(held.job.id).await;
    assert_eq!((job.life.failures, job.life.losses), (1, 0));
    assert_eq!(job.status_label(bench.clock.now()), "retrying");
    assert_eq!(job.last_error.unwrap().message, "a password is needed");
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.advance(SECOND);
    bench.maintain().await;
    let again = bench.claim(&worker).await;
    let finished = bench.finish(&again, fail()).await;
    assert_eq!(finished.ready_at, Some(bench.clock.now() + SECOND * 2), "it waits longer each time");
}

pub async fn failures_used_up_fail_the_job(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.submit(new("pdf").max_attempts(2)).await.id;
    for status in [Status::Pending, Status::Failed] {
        bench.advance(LEASE);
        bench.maintain().await;
        let held = bench.claim(&worker).await;
        assert_eq!(bench.finish(&held, fail()).await.status, status);
    }
    bench.advance(LEASE);
    bench.maintain().await;
    assert_eq!(bench.try_claim(&worker).await, None);
    assert_eq!(bench.job(id).await.life.failures, 2);
}

pub async fn a_permanent_failure_is_not_retried(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let finished = bench.finish(&held, failed(false)).await;
    assert_eq!(finished, Finished { status: Status::Failed, ready_at: None });
    assert_eq!(bench.job(held.job.id).await.ended_at, Some(bench.clock.now()));
    assert_eq!(bench.try_claim(&worker).await, None);
}

pub async fn a_completion_clears_the_last_error(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    bench.finish(&held, fail()).await;
    bench.advance(LEASE);
    bench.maintain().await;
    let held = bench.claim(&worker).await;
    assert!(held.job.last_error.is_some());
    bench.finish(&held, complete()).await;
    assert_eq!(bench.job(held.job.id).await.last_error, None);
    let attempts = bench.storage.attempts(held.job.id).await.unwrap();
    assert_eq!(attempts[0].failure.as_ref().unwrap().kind, "encrypted", "its history keeps it");
}

pub async fn the_same_report_again_gets_the_same_answer(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let until = bench.clock.now() + LEASE;
    for what in [complete(), fail(), failed(false), Report::Release, Report::Snooze(until)] {
        let id = bench.pending().await;
        let held = bench.claim(&worker).await;
        assert_eq!(held.job.id, id);
        let first = bench.finish(&held, what.clone()).await;
        let before = bench.job(id).await;
        bench.advance(SECOND);
        assert_eq!(bench.finish(&held, what.clone()).await, first, "{what:?}");
        assert_eq!(bench.job(id).await, before, "{what:?}");
        // Out of the way of the next round.
        bench.run(Command::Cancel(id)).await.ok();
    }
}

pub async fn another_report_of_an_ended_attempt_is_refused(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    bench.finish(&held, complete()).await;
    let before = bench.job(held.job.id).await;
    for what in [fail(), Report::Release, Report::Snooze(bench.clock.now())] {
        let refused = bench.refused(report(&held, what)).await;
        assert_eq!(refused, Refused::AlreadyEnded { end: End::Completed }.into());
    }
    assert_eq!(bench.job(held.job.id).await, before);
}

pub async fn a_repeated_report_changes_nothing_when_the_job_has_gone_on(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let first = bench.finish(&held, fail()).await;
    bench.advance(LEASE);
    bench.maintain().await;
    let current = bench.claim(&worker).await;
    let before = bench.job(held.job.id).await;
    assert_eq!(bench.finish(&held, fail()).await, first);
    assert_eq!(bench.job(held.job.id).await, before);
    assert_eq!(bench.finish(&current, complete()).await.status, Status::Completed);
    assert_eq!(bench.finish(&held, fail()).await, first);
}

pub async fn a_release_costs_nothing_and_keeps_the_place_in_line(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    bench.advance(SECOND);
    let behind = bench.pending().await;
    let place = held.job.life.ready_at;
    let finished = bench.finish(&held, Report::Release).await;
    assert_eq!(finished, Finished { status: Status::Pending, ready_at: Some(place) });
    let again = bench.claim(&worker).await;
    assert_eq!(again.job.id, held.job.id);
    assert_eq!((again.job.life.failures, again.job.life.losses), (0, 0));
    assert_eq!(bench.claim(&worker).await.job.id, behind);
}

pub async fn a_snooze_costs_nothing_and_waits(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let until = bench.clock.now() + SECOND * 5;
    let finished = bench.finish(&held, Report::Snooze(until)).await;
    assert_eq!(finished, Finished { status: Status::Pending, ready_at: Some(until) });
    assert_eq!(bench.job(held.job.id).await.life.failures, 0);
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.advance(SECOND * 5);
    bench.maintain().await;
    assert_eq!(bench.claim(&worker).await.job.id, held.job.id);
}

pub async fn the_last_two_hundred_attempts_are_remembered(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.pending().await;
    for _ in 0..MAX_ATTEMPTS_KEPT + 3 {
        let held = bench.claim(&worker).await;
        bench.finish(&held, Report::Release).await;
    }
    bench.claim(&worker).await;
    let epochs: Vec<u32> =
        bench.storage.attempts(id).await.unwrap().iter().map(|attempt| attempt.epoch.get()).collect();
    let expected: Vec<u32> = (4..=MAX_ATTEMPTS_KEPT + 4).collect();
    assert_eq!(epochs, expected, "and the one that runs");
}

pub async fn every_attempt_is_remembered(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let id = held.job.id;
    let began = bench.clock.now();
    bench.advance(SECOND);
    bench.finish(&held, Report::Release).await;
    let released = bench.clock.now();
    let held = bench.claim(&worker).await;
    bench.finish(&held, Report::Snooze(released)).await;
    let held = bench.claim(&worker).await;
    bench.finish(&held, fail()).await;
    bench.advance(LEASE);
    bench.maintain().await;
    bench.claim(&worker).await;
    bench.silence().await;
    let second = bench.worker("w2").await;
    let held = bench.claim(&second).await;
    let attempts = bench.storage.attempts(id).await.unwrap();
    let ends: Vec<_> = attempts.iter().map(|a| (a.epoch.get(), a.worker.as_str(), a.end)).collect();
    let expected = [
        (1, "w1", Some(End::Released)),
        (2, "w1", Some(End::Snoozed)),
        (3, "w1", Some(End::Failed)),
        (4, "w1", Some(End::Lost)),
        (5, "w2", None),
    ];
    assert_eq!(ends, expected);
    assert_eq!((attempts[0].started_at, attempts[0].ended_at), (began, Some(released)));
    let kinds: Vec<_> = attempts.iter().map(|a| a.failure.as_ref().map(|f| f.kind.as_str())).collect();
    assert_eq!(kinds, [None, None, Some("encrypted"), Some("worker_lost"), None]);
    assert_eq!(attempts[4].ended_at, None);
    bench.finish(&held, complete()).await;
    assert_eq!(bench.storage.attempts(id).await.unwrap()[4].end, Some(End::Completed));
}
