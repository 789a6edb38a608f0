//! Submissions that are repeated under a key.

use super::*;
use crate::{NewSource, Priority};

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn keyed(key: &str) -> NewJob {
    of("ann").idempotency_key(key)
}

pub async fn the_same_submission_under_the_same_key_is_one_job(bench: &Bench) {
    let first = bench.submit(keyed("k")).await;
    assert!(!first.existing && !first.replayed);
    bench.advance(SECOND);
    let again = bench.submit(keyed("k")).await;
    assert_eq!(again, Submitted { existing: true, replayed: true, ..first });
    assert_eq!(bench.storage.counts().await.unwrap().total(), 1);
    assert!(!bench.submit(keyed("another")).await.existing);
    assert!(!bench.submit(of("ann")).await.existing, "without a key nothing is remembered");
}

pub async fn another_job_under_the_same_key_is_refused(bench: &Bench) {
    bench.submit(keyed("k").param("a", 1)).await;
    let others = [
        keyed("k"),
        keyed("k").param("a", 2),
        keyed("k").param("a", 1).priority(Priority::High),
        keyed("k").param("a", 1).dedup(false),
    ];
    for other in others {
        let refused = bench.refused(submit(other)).await;
        assert_eq!(refused, Refusal::IdempotencyKeyReused("k".to_owned()));
    }
    assert_eq!(bench.storage.counts().await.unwrap().total(), 1);
    assert!(bench.submit(keyed("k").param("a", 1)).await.replayed, "the first one is still good");
}

pub async fn keys_are_each_submitters_own(bench: &Bench) {
    let ann = bench.submit(keyed("k")).await;
    let bob = bench.submit(of("bob").idempotency_key("k")).await;
    let nobody = bench.submit(new("pdf").idempotency_key("k")).await;
    assert!(ann.id != bob.id && bob.id != nobody.id && !bob.replayed && !nobody.replayed);
}

pub async fn a_key_holds_within_one_batch(bench: &Bench) {
    let jobs = ["k", "k", "another"].map(|key| submit(keyed(key)));
    let outcomes = bench.commit(jobs.to_vec()).await.outcomes;
    let ids = outcomes.iter().map(|outcome| match outcome {
        Ok(Done::Submitted(submitted)) => (submitted.id.get(), submitted.replayed),
        other => panic!("{other:?}"),
    });
    assert_eq!(ids.collect::<Vec<_>>(), [(1, false), (1, true), (2, false)]);
}

pub async fn a_replay_says_where_the_job_is_today(bench: &Bench) {
    let upload = |key| keyed(key).source(NewSource::Upload { sha256: None, size: Some(7) });
    let first = bench.submit(upload("k")).await;
    let again = match bench.run(submit_to(upload("k"), "sources/drawn-again")).await {
        Ok(Done::Submitted(submitted)) => submitted,
        other => panic!("{other:?}"),
    };
    assert_eq!((again.status, again.upload_key), (Status::Uploading, first.upload_key));
    bench.run(Command::Cancel(first.id)).await.unwrap();
    let again = bench.submit(upload("k")).await;
    assert_eq!((again.id, again.status, again.upload_key), (first.id, Status::Cancelled, None));
}

pub async fn a_replay_retries_nothing(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let job = || keyed("k").retry_failed(true);
    bench.submit(job()).await;
    let held = bench.claim(&worker).await;
    bench.finish(&held, failed(false)).await;
    assert_eq!(bench.submit(job()).await.status, Status::Failed);
}

pub async fn a_stored_file_is_known_by_its_content(bench: &Bench) {
    let stored = |key: &str, byte| {
        let source = NewSource::Stored { key: key.to_owned(), sha256: hash(byte), size: 7 };
        keyed("k").dedup(false).source(source)
    };
    for key in ["sources/1", "sources/2"] {
        bench.reserve(key, None).await.unwrap();
    }
    let first = bench.submit(stored("sources/1", 1)).await;
    let again = bench.submit(stored("sources/2", 1)).await;
    assert_eq!((again.id, again.replayed), (first.id, true));
    let refused = bench.refused(submit(stored("sources/2", 2))).await;
    assert_eq!(refused, Refusal::IdempotencyKeyReused("k".to_owned()));
}

pub async fn a_refused_submission_uses_no_key(bench: &Bench) {
    let source = NewSource::Stored { key: "sources/there".to_owned(), sha256: hash(1), size: 7 };
    let job = keyed("k").source(source);
    assert!(matches!(bench.refused(submit(job.clone())).await, Refusal::UnknownFile(_)));
    bench.reserve("sources/there", None).await.unwrap();
    assert!(!bench.submit(job).await.replayed);
}

pub async fn a_duplicate_is_remembered_under_the_key_too(bench: &Bench) {
    let upload = NewSource::Upload { sha256: Some(hash(1)), size: None };
    let work = || of("ann").source(upload.clone());
    let first = bench.submit(work()).await;
    let found = bench.submit(work().idempotency_key("k")).await;
    assert_eq!((found.id, found.existing, found.replayed), (first.id, true, false));
    assert!(bench.submit(work().idempotency_key("k")).await.replayed);
}

pub async fn a_replay_of_a_deleted_job_says_so(bench: &Bench) {
    let id = bench.submit(keyed("k")).await.id;
    bench.run(Command::Cancel(id)).await.unwrap();
    bench.run(Command::Delete(id)).await.unwrap();
    let refused = bench.refused(submit(keyed("k"))).await;
    assert_eq!(refused, Refusal::IdempotencyKeyOfDeleted("k".to_owned(), id));
    assert_eq!(bench.storage.counts().await.unwrap().total(), 0);
    bench.advance(WEEK);
    assert!(!bench.submit(keyed("k")).await.existing, "a week later it is a new job");
}

pub async fn a_key_is_known_for_seven_days(bench: &Bench) {
    let first = bench.submit(keyed("k")).await.id;
    bench.advance(WEEK - SECOND);
    assert_eq!(bench.submit(keyed("k")).await.id, first, "a replay does not make it last longer");
    bench.advance(SECOND);
    // It is still there, since nobody looked, and counts no more.
    let second = bench.submit(keyed("k").param("a", 1)).await;
    assert!(second.id != first && !second.replayed);
    assert!(bench.submit(keyed("k").param("a", 1)).await.replayed);
}

pub async fn a_clock_set_back_keeps_a_key_for_longer(bench: &Bench) {
    let first = bench.submit(keyed("k")).await.id;
    bench.clock.jump_back(WEEK);
    bench.advance(WEEK + WEEK - SECOND);
    assert_eq!(bench.maintain().await.keys_expired, 0);
    assert_eq!(bench.submit(keyed("k")).await.id, first, "by the time of day it is not over");
    bench.advance(SECOND);
    assert!(!bench.submit(keyed("k")).await.existing);
}

pub async fn maintenance_forgets_expired_keys_step_by_step(bench: &Bench) {
    for number in 0..5 {
        bench.submit(keyed(&format!("old {number}"))).await;
    }
    bench.advance(SECOND);
    bench.submit(keyed("younger")).await;
    bench.advance(WEEK - SECOND);
    let (asked_at, available_since) = (bench.clock.now(), bench.began);
    let maintain = Maintain { asked_at, available_since, upload_limit: WEEK, limit: 2 };
    let mut forgotten = Vec::new();
    for _ in 0..4 {
        let done = bench.maintain_with(maintain).await;
        forgotten.push(done.keys_expired);
        assert_eq!(done.next_due.is_some(), done.keys_expired == 2, "it goes on while there are more");
    }
    assert_eq!(forgotten, [2, 2, 1, 0]);
    assert!(bench.submit(keyed("younger")).await.replayed);
}
