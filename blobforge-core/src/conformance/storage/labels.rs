//! What jobs require of their workers.

use serde_json::json;

use super::*;
use crate::{
    Priority,
    storage::{MAX_CLASSES, Ready, Wake},
};

pub async fn a_job_goes_only_to_a_worker_that_meets_what_it_requires(bench: &Bench) {
    let small = bench.worker_with("small", json!({"gpu": true, "vram_gb": 12})).await;
    let none = bench.worker("none").await;
    let large = bench.worker_with("large", json!({"gpu": true, "vram_gb": 24})).await;
    let wants = bench.submit(requiring("vram_gb >= 24").requires("gpu".parse().unwrap())).await.id;
    assert_eq!(bench.try_claim(&small).await, None);
    assert_eq!(bench.try_claim(&none).await, None);
    let claimed = bench.claim(&large).await;
    assert_eq!(claimed.job.id, wants);
    assert_eq!(claimed.job.body.requires.to_string(), "gpu, vram_gb >= 24");
}

pub async fn a_worker_with_labels_takes_jobs_that_ask_for_nothing_too(bench: &Bench) {
    let gpu = bench.worker_with("gpu", json!({"gpu": true})).await;
    let plain = bench.pending().await;
    let picky = bench.submit(requiring("gpu")).await.id;
    let urgent = bench.submit(requiring("gpu").priority(Priority::High)).await.id;
    assert_eq!(bench.claim_each(&gpu, 4).await, [urgent, plain, picky]);
}

pub async fn what_is_asked_in_another_order_is_the_same_class(bench: &Bench) {
    let able = bench.worker_with("able", json!({"a": 1, "b": 2})).await;
    let low = requiring("a").requires("b".parse().unwrap()).priority(Priority::Low);
    let high = requiring("b").requires("a".parse().unwrap());
    let (low, high) = (bench.submit(low).await.id, bench.submit(high).await.id);
    assert_eq!(bench.claim_each(&able, 2).await, [high, low], "they stand in one line");
}

pub async fn labels_that_change_count_from_the_next_claim(bench: &Bench) {
    let worker = bench.worker("w1").await;
    bench.submit(requiring("engine = marker")).await;
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.worker_with("w1", json!({"engine": ["marker", "docling"]})).await;
    assert!(bench.try_claim(&worker).await.is_some());
}

pub async fn one_class_too_many_is_refused_until_one_is_free(bench: &Bench) {
    let labels: serde_json::Map<_, _> = (0..MAX_CLASSES).map(|n| (format!("l{n}"), json!(1))).collect();
    let able = bench.worker_with("able", json!(labels)).await;
    // The class that asks for nothing is one of them.
    let wanted: Vec<_> = (1..MAX_CLASSES).map(|n| submit(requiring(&format!("l{n}")))).collect();
    let outcomes = bench.commit(wanted).await.outcomes;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let too_many = submit(requiring("l0"));
    assert_eq!(bench.refused(too_many.clone()).await, Refusal::TooManyClasses(pdf()));
    assert!(bench.run(submit(requiring("l7"))).await.is_ok(), "a class that is there takes more");
    assert_eq!(bench.storage.counts().await.unwrap().total(), 64, "what was refused left nothing");
    let ended = bench.claim(&able).await;
    bench.finish(&ended, complete()).await;
    let taken = bench.submit(requiring("l0")).await.id;
    let all = bench.claim_each(&able, MAX_CLASSES + 1).await;
    assert_eq!(all.len(), MAX_CLASSES);
    assert!(all.contains(&taken));
}

pub async fn a_job_that_not_every_worker_can_take_wakes_all_who_wait(bench: &Bench) {
    let ready = bench.commit(vec![submit(requiring("gpu"))]).await.ready;
    assert_eq!(ready, [Ready { job_type: pdf(), wake: Wake::All }]);
}

pub async fn a_retry_keeps_what_its_job_requires(bench: &Bench) {
    let plain = bench.worker("plain").await;
    let gpu = bench.worker_with("gpu", json!({"gpu": true})).await;
    bench.submit(requiring("gpu")).await;
    let held = bench.claim(&gpu).await;
    bench.finish(&held, failed(false)).await;
    bench.run(Command::Retry(held.job.id)).await.unwrap();
    assert_eq!(bench.try_claim(&plain).await, None);
    assert_eq!(bench.claim(&gpu).await.job.id, held.job.id);
}

pub async fn labels_that_change_within_a_batch_count_at_once(bench: &Bench) {
    let worker = bench.worker("w1").await;
    bench.submit(requiring("gpu")).await;
    let mut registration = registration("w1", "first", None);
    registration.labels = json!({"gpu": true}).as_object().unwrap().clone();
    let registration = Box::new(registration);
    let claim = || bench.claim_command(&worker, &["pdf"], 1);
    let (before, after) = (claim(), claim());
    let again = Command::Register { registration, alive_for: LEASE };
    let outcomes = bench.commit(vec![before, again, after]).await.outcomes;
    let found = |outcome: &Outcome| matches!(outcome, Ok(Done::Claimed(jobs)) if jobs.len() == 1);
    assert_eq!((found(&outcomes[0]), found(&outcomes[2])), (false, true));
}

pub async fn a_worker_that_can_do_more_than_before_is_woken(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let same = bench.commit(vec![register("w1", "first", None)]).await;
    assert_eq!(same.woken, [], "it can do what it could");
    let mut registration = registration("w1", "first", None);
    registration.labels = json!({"gpu": true}).as_object().unwrap().clone();
    let better = Command::Register { registration: Box::new(registration), alive_for: LEASE };
    assert_eq!(bench.commit(vec![better]).await.woken, std::slice::from_ref(&worker));
    let drained = bench.commit(vec![Command::SetDraining(worker.clone(), true)]).await;
    assert_eq!(drained.woken, []);
    let resumed = bench.commit(vec![Command::SetDraining(worker.clone(), false)]).await;
    assert_eq!(resumed.woken, [worker], "whatever it asks for");
}

pub async fn a_worker_that_was_removed_and_comes_back_is_woken(bench: &Bench) {
    let worker = bench.worker("w1").await;
    bench.submit(requiring("gpu")).await;
    let mut registration = registration("w1", "second", None);
    registration.labels = json!({"gpu": true}).as_object().unwrap().clone();
    let back = Command::Register { registration: Box::new(registration), alive_for: LEASE };
    let claim = || bench.claim_command(&worker, &["pdf"], 1);
    let (before, after) = (claim(), claim());
    let committed = bench.commit(vec![before, Command::RemoveWorker(worker.clone()), back, after]).await;
    assert!(committed.woken.contains(&worker), "its claims may still wait");
    let found = |outcome: &Outcome| matches!(outcome, Ok(Done::Claimed(jobs)) if jobs.len() == 1);
    assert!(found(&committed.outcomes[3]), "what it could before is forgotten");
}
