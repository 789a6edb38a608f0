//! Who waits for something, and by what he is woken, in memory and in a file.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod forge;

use std::{future::Future, pin::Pin, time::Duration};

use blobforge_core::{
    KeyLimits, LimitBy, Limits, NewJob, Queue, QueueError, Rate, Status, TypeSettings, WorkerId,
    queue::{Notice, Obstacle},
    storage::{Claimed, Event},
};
use forge::{Forge, LEASE, complete, heard, in_both, job, work};
use futures_util::FutureExt;

in_both! {
    a_claim_that_waits_through_a_pause_is_woken_by_its_end,
    what_runs_goes_on_through_a_pause,
    a_claim_that_waits_is_woken_by_room_under_a_limit,
    a_claim_that_waits_is_woken_when_a_type_may_start_again,
    a_claim_that_waits_is_woken_when_a_key_may_start_again,
    a_claim_that_waits_for_its_start_waits_no_day_longer_when_the_clock_is_set_back,
    what_a_limit_holds_back_is_looked_at_again_when_the_clock_is_set_back,
    a_claim_that_waits_is_woken_by_a_limit_that_is_lifted,
    whoever_waits_for_a_job_learns_how_it_ended,
    whoever_waits_for_a_job_learns_that_it_was_deleted,
    waiting_for_a_job_ends_with_its_time,
    listeners_hear_of_pauses_through_the_jobs_alone,
    a_closed_queue_lets_everybody_go,
    a_job_that_nobody_can_run_says_why,
}

const SECOND: Duration = Duration::from_secs(1);

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Vec<Claimed>, QueueError>> + Send + 'a>>;

/// A claim that was tried, and waits.
async fn waiting<'a>(forge: &'a Forge, worker: &'a WorkerId) -> Waiting<'a> {
    let queue: &Queue = &forge.queue;
    let mut claim: Waiting<'_> =
        Box::pin(async move { queue.claim(worker, &[work()], 1, LEASE * 1000).await });
    assert!((&mut claim).now_or_never().is_none());
    // A round trip behind it: by now it has been tried.
    forge.worker("bystander").await;
    assert!((&mut claim).now_or_never().is_none(), "there is nothing for it");
    claim
}

async fn limit(forge: &Forge, settings: TypeSettings) {
    forge.queue.set_type(work(), settings).await.unwrap();
}

fn one_each(span: Duration) -> Limits {
    Limits { running: None, starts: Some(Rate { starts: 1, per: span, burst: 1 }) }
}

async fn finish(forge: &Forge, held: &Claimed) {
    forge.queue.report(held.job.id, held.token, complete()).await.unwrap();
}

async fn a_claim_that_waits_through_a_pause_is_woken_by_its_end(forge: Forge) {
    let worker = forge.worker("w").await;
    forge.queue.pause(work()).await.unwrap();
    let claim = waiting(&forge, &worker).await;
    let id = forge.submit().await;
    let mut claim = claim;
    assert!((&mut claim).now_or_never().is_none(), "the type is paused");
    forge.queue.resume(work()).await.unwrap();
    assert_eq!(heard(claim).await.unwrap()[0].job.id, id);
}

async fn what_runs_goes_on_through_a_pause(forge: Forge) {
    let worker = forge.worker("w").await;
    let id = forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    forge.submit().await;
    forge.queue.pause(work()).await.unwrap();
    assert!(forge.claim(&worker).await.is_none());
    finish(&forge, &held).await;
    assert_eq!(forge.queue.job(id).await.unwrap().status(), Status::Completed);
    let forge = forge.reopened().await;
    assert!(forge.claim(&worker).await.is_none(), "a pause outlives the process");
    forge.queue.resume(work()).await.unwrap();
    assert!(forge.claim(&worker).await.is_some());
}

async fn a_claim_that_waits_is_woken_by_room_under_a_limit(forge: Forge) {
    let worker = forge.worker("w").await;
    let limits = Limits { running: Some(1), starts: None };
    limit(&forge, TypeSettings { limits, ..TypeSettings::default() }).await;
    forge.submit().await;
    let second = forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    let claim = waiting(&forge, &worker).await;
    finish(&forge, &held).await;
    assert_eq!(heard(claim).await.unwrap()[0].job.id, second);
}

async fn a_claim_that_waits_is_woken_when_a_type_may_start_again(forge: Forge) {
    let worker = forge.worker("w").await;
    limit(&forge, TypeSettings { limits: one_each(SECOND * 10), ..TypeSettings::default() }).await;
    forge.submit().await;
    let second = forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    finish(&forge, &held).await;
    let claim = waiting(&forge, &worker).await;
    forge.clock.advance(SECOND * 10);
    assert_eq!(heard(claim).await.unwrap()[0].job.id, second);
}

async fn a_claim_that_waits_is_woken_when_a_key_may_start_again(forge: Forge) {
    let worker = forge.worker("w").await;
    let per_key = Some(KeyLimits { by: LimitBy::Param("book".to_owned()), limits: one_each(SECOND * 10) });
    limit(&forge, TypeSettings { per_key, ..TypeSettings::default() }).await;
    let of = |book: &str| NewJob::new("work").unwrap().param("book", book);
    for book in ["dune", "dune", "emma"] {
        forge.queue.submit(of(book)).await.unwrap();
    }
    for _ in 0..2 {
        let held = forge.claim(&worker).await.expect("each key may start once");
        finish(&forge, &held).await;
    }
    let claim = waiting(&forge, &worker).await;
    forge.clock.advance(SECOND * 10);
    let claimed = heard(claim).await.unwrap();
    assert_eq!(claimed[0].job.body.params["book"], "dune");
}

async fn a_claim_that_waits_for_its_start_waits_no_day_longer_when_the_clock_is_set_back(forge: Forge) {
    let worker = forge.worker("w").await;
    limit(&forge, TypeSettings { limits: one_each(SECOND * 10), ..TypeSettings::default() }).await;
    forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    finish(&forge, &held).await;
    let claim = waiting(&forge, &worker).await;
    forge.clock.jump_back(SECOND * (24 * 3600));
    let second = forge.submit().await;
    // Once until somebody looks at the clock again, and once for the start.
    for _ in 0..2 {
        forge.clock.advance(SECOND * 10);
        forge.worker("bystander").await;
        forge.worker("bystander").await;
    }
    assert_eq!(heard(claim).await.unwrap()[0].job.id, second);
}

async fn what_a_limit_holds_back_is_looked_at_again_when_the_clock_is_set_back(forge: Forge) {
    let worker = forge.worker("w").await;
    limit(&forge, TypeSettings { limits: one_each(SECOND * 10), ..TypeSettings::default() }).await;
    forge.submit().await;
    let second = forge.submit().await;
    forge.clock.jump_forward(SECOND * (24 * 3600));
    let held = forge.claim(&worker).await.unwrap();
    finish(&forge, &held).await;
    // Turned away, and told a time that is now a day away.
    let claim = waiting(&forge, &worker).await;
    forge.clock.jump_back(SECOND * (24 * 3600));
    for _ in 0..3 {
        forge.clock.advance(SECOND * 10);
        forge.worker("bystander").await;
        forge.worker("bystander").await;
    }
    assert_eq!(heard(claim).await.unwrap()[0].job.id, second);
}

#[tokio::test]
async fn what_a_limit_holds_back_is_looked_at_again_when_the_clock_was_set_back_while_nobody_ran() {
    let forge = Forge::in_sqlite().await;
    let worker = forge.worker("w").await;
    let per_key = Some(KeyLimits { by: LimitBy::Param("book".to_owned()), limits: one_each(SECOND * 10) });
    limit(&forge, TypeSettings { per_key, ..TypeSettings::default() }).await;
    let dune = || NewJob::new("work").unwrap().param("book", "dune");
    forge.queue.submit(dune()).await.unwrap();
    let second = forge.queue.submit(dune()).await.unwrap().id;
    forge.clock.jump_forward(SECOND * (24 * 3600));
    let held = forge.claim(&worker).await.unwrap();
    finish(&forge, &held).await;
    assert!(forge.claim(&worker).await.is_none(), "told a time that is soon a day away");
    forge.clock.jump_back(SECOND * (24 * 3600));
    let forge = forge.reopened().await;
    let claim = waiting(&forge, &worker).await;
    for _ in 0..3 {
        forge.clock.advance(SECOND * 10);
        forge.worker("bystander").await;
        forge.worker("bystander").await;
    }
    assert_eq!(heard(claim).await.unwrap()[0].job.id, second);
}

async fn a_claim_that_waits_is_woken_by_a_limit_that_is_lifted(forge: Forge) {
    let worker = forge.worker("w").await;
    let limits = Limits { running: Some(1), starts: None };
    limit(&forge, TypeSettings { limits, ..TypeSettings::default() }).await;
    forge.submit().await;
    let second = forge.submit().await;
    forge.claim(&worker).await.unwrap();
    let claim = waiting(&forge, &worker).await;
    limit(&forge, TypeSettings::default()).await;
    assert_eq!(heard(claim).await.unwrap()[0].job.id, second);
}

async fn whoever_waits_for_a_job_learns_how_it_ended(forge: Forge) {
    let worker = forge.worker("w").await;
    let id = forge.submit().await;
    let mut end = Box::pin(forge.queue.wait(id, LEASE * 1000));
    assert!((&mut end).now_or_never().is_none());
    let held = forge.claim(&worker).await.unwrap();
    finish(&forge, &held).await;
    assert_eq!(heard(end).await.unwrap().status(), Status::Completed);
}

async fn whoever_waits_for_a_job_learns_that_it_was_deleted(forge: Forge) {
    let id = forge.submit().await;
    forge.queue.cancel(id).await.unwrap();
    assert_eq!(
        forge.queue.wait(id, LEASE).await.unwrap().status(),
        Status::Cancelled,
        "it has ended already"
    );
    forge.queue.delete(id).await.unwrap();
    let gone = forge.queue.wait(id, LEASE).await.unwrap_err();
    assert!(gone.to_string().contains(&format!("no job {id}")), "{gone}");
}

async fn waiting_for_a_job_ends_with_its_time(forge: Forge) {
    let id = forge.submit().await;
    let mut end = Box::pin(forge.queue.wait(id, SECOND * 5));
    assert!((&mut end).now_or_never().is_none());
    forge.clock.advance(SECOND * 5);
    assert_eq!(heard(end).await.unwrap().status(), Status::Pending, "as it is then");
}

async fn listeners_hear_of_pauses_through_the_jobs_alone(forge: Forge) {
    let mut feed = forge.queue.events();
    forge.queue.pause(work()).await.unwrap();
    forge.queue.resume(work()).await.unwrap();
    let id = forge.submit().await;
    let heard = heard(feed.next()).await;
    let expected = Event::Job { id, job_type: work(), status: Status::Pending, was: None };
    assert_eq!(heard, Some(Notice::Event(expected)), "a pause is no event of a job");
}

async fn a_closed_queue_lets_everybody_go(forge: Forge) {
    let worker = forge.worker("w").await;
    let id = forge.queue.submit(job().run_at(forge.queue.now() + LEASE)).await.unwrap().id;
    let claim = waiting(&forge, &worker).await;
    let mut end = Box::pin(forge.queue.wait(id, LEASE * 1000));
    assert!((&mut end).now_or_never().is_none());
    let mut feed = forge.queue.events();
    heard(forge.queue.close()).await;
    assert!(matches!(heard(claim).await, Err(QueueError::Closed)));
    assert!(matches!(heard(end).await, Err(QueueError::Closed)));
    while heard(feed.next()).await.is_some() {}
}

async fn a_job_that_nobody_can_run_says_why(forge: Forge) {
    let id = forge.queue.submit(job().requires("no_such_label".parse().unwrap())).await.unwrap().id;
    let obstacle = async || forge.queue.obstacle(&forge.queue.job(id).await.unwrap()).await.unwrap();
    assert_eq!(obstacle().await, Some(Obstacle::NoWorker(work())));
    forge.worker("w").await;
    let able = obstacle().await.expect("no worker has that label");
    assert!(
        matches!(able, Obstacle::NoAbleWorker { .. }) && able.to_string().contains("no_such_label"),
        "{able}"
    );
    forge.queue.pause(work()).await.unwrap();
    assert_eq!(obstacle().await, Some(Obstacle::Paused(work())), "which comes first");
    forge.queue.cancel(id).await.unwrap();
    assert_eq!(obstacle().await, None, "it waits for nothing any more");
}
