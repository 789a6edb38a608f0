//! Calling jobs off, and having them run again.

use super::*;
use crate::{End, Epoch, NewSource};

pub async fn a_waiting_job_is_cancelled_at_once(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let later = bench.clock.now() + LEASE;
    let upload = NewSource::Upload { sha256: None, size: None };
    let jobs = [new("pdf"), new("pdf").run_at(later), new("pdf").source(upload)];
    for job in jobs {
        let id = bench.submit(job).await.id;
        match bench.run(Command::Cancel(id)).await {
            Ok(Done::Job(job)) => assert_eq!(job.status(), Status::Cancelled),
            other => panic!("{other:?}"),
        }
        assert_eq!(bench.job(id).await.ended_at, Some(bench.clock.now()));
    }
    bench.advance(LEASE * 2);
    assert_eq!(bench.maintain().await, Maintained::default());
    assert_eq!(bench.try_claim(&worker).await, None);
}

pub async fn a_running_job_is_cancelled_when_its_holder_lets_go(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    bench.run(Command::Cancel(held.job.id)).await.unwrap();
    let job = bench.job(held.job.id).await;
    assert_eq!((job.status(), job.status_label(bench.clock.now())), (Status::Running, "cancelling"));
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Cancel);
    let finished = bench.finish(&held, Report::Release).await;
    assert_eq!(finished, crate::Finished { status: Status::Cancelled, ready_at: None });
    assert_eq!(bench.storage.attempts(held.job.id).await.unwrap()[0].end, Some(End::Cancelled));
    assert_eq!(bench.try_claim(&worker).await, None);
}

pub async fn a_failure_after_a_cancel_ends_as_cancelled(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    bench.run(Command::Cancel(held.job.id)).await.unwrap();
    assert_eq!(bench.finish(&held, fail()).await.status, Status::Cancelled);
    assert_eq!(bench.job(held.job.id).await.status(), Status::Cancelled);
}

pub async fn a_completion_that_comes_first_beats_a_cancel(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    let cancel = Command::Cancel(held.job.id);
    let outcomes = bench.commit(vec![report(&held, complete()), cancel]).await.outcomes;
    assert!(outcomes[0].is_ok() && is_wrong_state(&outcomes[1]), "{outcomes:?}");

    let (_, held) = bench.running("w2").await;
    bench.run(Command::Cancel(held.job.id)).await.unwrap();
    assert_eq!(bench.finish(&held, complete()).await.status, Status::Completed, "it was asked, not yet done");
}

pub async fn a_silent_holders_job_is_cancelled_at_once(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    bench.silence().await;
    bench.run(Command::Cancel(held.job.id)).await.unwrap();
    assert_eq!(bench.job(held.job.id).await.status(), Status::Cancelled);
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Lost);
    assert_eq!(bench.try_claim(&worker).await, None, "it left the line");
}

pub async fn a_cancelled_job_ends_when_its_holder_falls_silent(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    bench.run(Command::Cancel(held.job.id)).await.unwrap();
    bench.silence().await;
    let job = bench.job(held.job.id).await;
    assert_eq!((job.status(), job.life.losses), (Status::Cancelled, 0));
    assert_eq!(bench.try_claim(&worker).await, None);
}

pub async fn an_ended_job_cannot_be_cancelled(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    bench.finish(&held, failed(false)).await;
    let before = bench.job(held.job.id).await;
    assert!(is_wrong_state(&bench.run(Command::Cancel(held.job.id)).await));
    assert_eq!(bench.job(held.job.id).await, before);
    assert_eq!(bench.refused(Command::Cancel(JobId::new(99))).await, Refusal::NoSuchJob(JobId::new(99)));
}

pub async fn a_retry_starts_over_but_counts_claims_on(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let id = held.job.id;
    bench.finish(&held, failed(false)).await;
    bench.advance(SECOND);
    match bench.run(Command::Retry(id)).await {
        Ok(Done::Job(job)) => {
            assert_eq!((job.status(), job.life.failures, job.ended_at), (Status::Pending, 0, None));
            assert_eq!(job.life.ready_at, bench.clock.now());
            assert_eq!(job.last_error.map(|error| error.kind).as_deref(), Some("encrypted"));
        }
        other => panic!("{other:?}"),
    }
    let again = bench.claim(&worker).await;
    assert_eq!(again.token.epoch, Epoch::new(2));
    bench.finish(&again, fail()).await;
    bench.run(Command::Cancel(id)).await.expect("it waits for its next run");
    bench.run(Command::Retry(id)).await.expect("a cancelled job too can be retried");
    assert_eq!(bench.claim(&worker).await.token.epoch, Epoch::new(3));
}

pub async fn a_retry_of_a_job_without_its_source_waits_for_it_again(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let upload = NewSource::Upload { sha256: None, size: Some(7) };
    let id = bench.submit(new("pdf").source(upload)).await.id;
    bench.run(Command::Cancel(id)).await.unwrap();
    bench.run(Command::Retry(id)).await.unwrap();
    assert_eq!(bench.job(id).await.status(), Status::Uploading);
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.run(bench.source_ready(id, 7, None).await).await.unwrap();
    assert_eq!(bench.claim(&worker).await.job.id, id);
}

pub async fn what_has_not_failed_cannot_be_retried(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.pending().await;
    assert!(is_wrong_state(&bench.run(Command::Retry(id)).await));
    let held = bench.claim(&worker).await;
    assert!(is_wrong_state(&bench.run(Command::Retry(id)).await));
    bench.finish(&held, complete()).await;
    assert!(is_wrong_state(&bench.run(Command::Retry(id)).await));
}
