//! What holds for all jobs of a type, and which of them is next.

use serde_json::json;

use super::*;
use crate::{
    KeyLimits, LimitBy, Limits, Priority, Retention, TypeChange, TypeRecord,
    storage::{Ready, Wake},
};

pub async fn a_paused_type_gives_nothing_until_it_is_resumed(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let before = bench.pending().await;
    bench.run(Command::SetPaused(pdf(), true)).await.unwrap();
    let during = bench.commit(vec![submit(new("pdf"))]).await;
    assert_eq!(during.ready, [], "nobody is woken for what nobody may have");
    bench.submit(new("text")).await;
    assert_eq!(bench.try_claim(&worker).await, None);
    let other = bench.claims(&worker, &["pdf", "text"], 9).await;
    assert_eq!(other.len(), 1, "other types go on");
    assert!(bench.storage.types().await.unwrap()[0].paused);
    let resumed = bench.commit(vec![Command::SetPaused(pdf(), false)]).await;
    assert_eq!(resumed.ready, [Ready { job_type: pdf(), wake: Wake::All }]);
    assert_eq!(bench.claim(&worker).await.job.id, before);
}

pub async fn settings_are_kept_and_read_back(bench: &Bench) {
    let settings = TypeSettings {
        max_attempts: Some(7),
        retry: Some(RetryPolicy { first: SECOND, longest: LEASE }),
        lease: Some(SECOND * 30),
        no_progress: Some(SECOND * 600),
        retention: Retention { completed: Some(SECOND * 3600), ..Retention::default() },
        limits: Limits { running: Some(3), starts: None },
        per_key: Some(KeyLimits { by: LimitBy::Param("book".to_owned()), limits: Limits::default() }),
        oldest_share: Some(5),
    };
    bench.set(settings.clone()).await;
    bench.pending().await;
    let types = bench.storage.types().await.unwrap();
    assert_eq!(types.len(), 1);
    assert_eq!((&types[0].job_type, &types[0].settings, types[0].paused), (&pdf(), &settings, false));
}

pub async fn a_change_of_a_type_leaves_what_it_does_not_name(bench: &Bench) {
    let limits = Limits { running: Some(3), starts: None };
    bench.set(TypeSettings { limits, lease: Some(SECOND * 30), ..TypeSettings::default() }).await;
    let change = |changes| Command::ChangeType { job_type: pdf(), changes };
    // Both in one batch, as two operators who each saw the type as it was before.
    let one = change(vec![TypeChange::OldestShare(Some(5)), TypeChange::KeepFailed(Some(LEASE))]);
    let other = change(vec![TypeChange::Lease(None), TypeChange::Paused(true)]);
    let outcomes = bench.commit(vec![one, other]).await.outcomes;
    let settings = TypeSettings {
        limits,
        oldest_share: Some(5),
        retention: Retention { failed: Some(LEASE), ..Retention::default() },
        ..TypeSettings::default()
    };
    let record = TypeRecord { job_type: pdf(), settings, paused: true };
    assert_eq!(outcomes[1], Ok(Done::Type(Box::new(record.clone()))));
    assert_eq!(bench.storage.types().await.unwrap(), [record]);
    let worker = bench.worker("w1").await;
    let job = bench.pending().await;
    assert_eq!(bench.try_claim(&worker).await, None);
    let resumed = bench.commit(vec![change(vec![TypeChange::Paused(false)])]).await;
    assert_eq!(resumed.ready, [Ready { job_type: pdf(), wake: Wake::All }]);
    assert_eq!(bench.claim(&worker).await.job.id, job);
}

pub async fn a_type_sets_the_attempts_and_the_backoff_of_its_jobs(bench: &Bench) {
    let retry = RetryPolicy { first: SECOND * 7, longest: LEASE };
    bench.set(TypeSettings { max_attempts: Some(2), retry: Some(retry), ..TypeSettings::default() }).await;
    let worker = bench.worker("w1").await;
    let own = bench.submit(new("pdf").max_attempts(9)).await.id;
    assert_eq!(bench.job(own).await.life.max_attempts, 9, "what the job says goes first");
    bench.run(Command::Cancel(own)).await.unwrap();
    bench.pending().await;
    let held = bench.claim(&worker).await;
    let failed = bench.finish(&held, fail()).await;
    assert_eq!(failed.ready_at, Some(bench.clock.now() + SECOND * 7));
    bench.advance(SECOND * 7);
    bench.maintain().await;
    let held = bench.claim(&worker).await;
    assert_eq!(bench.finish(&held, fail()).await.status, Status::Failed);
}

pub async fn a_type_sets_the_lease_and_the_progress_its_workers_owe(bench: &Bench) {
    let settings =
        TypeSettings { lease: Some(SECOND * 7), no_progress: Some(SECOND * 9), ..TypeSettings::default() };
    bench.set(settings).await;
    let worker = bench.worker("w1").await;
    bench.pending().await;
    bench.submit(new("text")).await;
    let held = bench.claims(&worker, &["pdf", "text"], 2).await;
    let now = bench.clock.now();
    assert_eq!((held[0].expires_at, held[0].no_progress), (now + SECOND * 7, Some(SECOND * 9)));
    assert_eq!((held[1].expires_at, held[1].no_progress), (now + LEASE, None));
}

/// Submits a job in the background, then urgent ones for ever, and says which claim got the first one.
async fn claims_until_the_oldest(bench: &Bench, worker: &WorkerId, patience: usize) -> Option<usize> {
    let oldest = bench.submit(new("pdf").priority(Priority::Background)).await.id;
    for count in 1..=patience {
        bench.advance(SECOND);
        bench.submit(new("pdf").priority(Priority::Critical)).await;
        bench.submit(new("pdf").priority(Priority::Critical)).await;
        let claimed = bench.claim(worker).await;
        bench.finish(&claimed, complete()).await;
        if claimed.job.id == oldest {
            return Some(count);
        }
    }
    None
}

pub async fn one_claim_in_twenty_takes_the_oldest(bench: &Bench) {
    let worker = bench.worker("w1").await;
    assert_eq!(claims_until_the_oldest(bench, &worker, 60).await, Some(20));
    assert_eq!(claims_until_the_oldest(bench, &worker, 600).await.map(|claims| claims % 20), Some(0));
}

pub async fn the_oldest_is_found_among_all_keys(bench: &Bench) {
    let per_key = Some(KeyLimits { by: LimitBy::Submitter, limits: Limits::default() });
    bench.set(TypeSettings { per_key, ..TypeSettings::default() }).await;
    let worker = bench.worker("w1").await;
    let mut background = Vec::new();
    for key in ["c", "a", "b"] {
        background.push(bench.submit(of(key).priority(Priority::Background)).await.id);
        bench.advance(SECOND);
    }
    let mut taken = Vec::new();
    for _ in 0..60 {
        bench.advance(SECOND);
        for key in ["a", "b", "c"] {
            bench.submit(of(key).priority(Priority::Critical)).await;
        }
        let claimed = bench.claim(&worker).await;
        bench.finish(&claimed, complete()).await;
        taken.extend(background.contains(&claimed.job.id).then_some(claimed.job.id));
    }
    assert_eq!(taken, background, "in the order of their age, whatever their keys");
}

pub async fn one_claim_in_twenty_is_one_for_all_classes_together(bench: &Bench) {
    let worker = bench.worker_with("w1", json!({"gpu": true})).await;
    for _ in 0..9 {
        bench.submit(requiring("gpu").priority(Priority::Background)).await;
        bench.submit(new("pdf").priority(Priority::Background)).await;
    }
    let mut taken = String::new();
    for _ in 0..60 {
        bench.submit(new("pdf").priority(Priority::Critical)).await;
        let claimed = bench.claim(&worker).await;
        bench.finish(&claimed, complete()).await;
        taken.push(if claimed.job.priority == Priority::Critical { '.' } else { 'o' });
    }
    assert_eq!(taken, "...................o".repeat(3));
}

pub async fn the_share_of_the_oldest_can_be_switched_off(bench: &Bench) {
    bench.set(TypeSettings { oldest_share: Some(0), ..TypeSettings::default() }).await;
    let worker = bench.worker("w1").await;
    assert_eq!(claims_until_the_oldest(bench, &worker, 100).await, None);
    bench.set(TypeSettings { oldest_share: Some(3), ..TypeSettings::default() }).await;
    let claimed = bench.claim_each(&worker, 3).await;
    assert_eq!(claimed.iter().min().copied(), Some(JobId::new(1)), "now one claim in three");
}

pub async fn the_oldest_share_reaches_every_type_a_worker_serves(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let other = bench.submit(new("text").priority(Priority::Background)).await.id;
    let mut waited = 0;
    loop {
        bench.submit(new("pdf").priority(Priority::Critical)).await;
        let claimed = bench.claims(&worker, &["pdf", "text"], 1).await.remove(0);
        waited += 1;
        if claimed.job.id == other {
            break;
        }
        assert!(waited < 100, "never");
    }
    assert!(waited <= 20, "{waited}");
}

pub async fn what_is_urgent_goes_first_however_many_types_there_are(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let names: Vec<String> = (0..30).map(|n| format!("t{n}")).collect();
    let types: Vec<&str> = names.iter().map(String::as_str).collect();
    for name in &types[1..] {
        for _ in 0..9 {
            bench.submit(new(name).priority(Priority::Background)).await;
        }
    }
    let mut urgent = 0;
    for _ in 0..120 {
        bench.submit(new("t0").priority(Priority::Critical)).await;
        let claimed = bench.claims(&worker, &types, 1).await.remove(0);
        urgent += usize::from(claimed.job.priority == Priority::Critical);
    }
    assert!((60..120).contains(&urgent), "{urgent} of 120: urgent ones mostly, the others now and then");
}

pub async fn with_k_older_ones_a_job_is_claimed_within_twenty_times_k_plus_one(bench: &Bench) {
    // As many classes as would take more than every claim, if each had a share of its own.
    const CLASSES: usize = 30;
    const OLDER: usize = 2;
    let labels: serde_json::Map<_, _> = (0..CLASSES).map(|n| (format!("l{n}"), json!(true))).collect();
    let able = bench.worker_with("able", json!(labels)).await;
    let unable = bench.worker("unable").await;
    for n in 0..OLDER {
        bench.submit(requiring(&format!("l{n}")).priority(Priority::Background)).await;
        bench.advance(SECOND);
    }
    let job = bench.submit(requiring("l7").priority(Priority::Background)).await.id;
    let mut by_the_able = 0;
    while bench.job(job).await.status() == Status::Pending {
        bench.advance(SECOND);
        for n in 0..CLASSES {
            bench.submit(requiring(&format!("l{n}")).priority(Priority::Critical)).await;
        }
        bench.submit(new("pdf").priority(Priority::Critical)).await;
        bench.submit(new("pdf").priority(Priority::Critical)).await;
        // Those who cannot take it use up nobody's turn.
        for worker in [&able, &unable] {
            let claimed = bench.claim(worker).await;
            bench.finish(&claimed, complete()).await;
        }
        by_the_able += 1;
        assert!(by_the_able <= 20 * (OLDER + 1), "{by_the_able} claims could have taken it");
    }
    assert!(by_the_able > OLDER, "the older ones go first");
}
