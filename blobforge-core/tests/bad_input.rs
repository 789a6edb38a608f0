//! What is out of bounds, or cannot be read, is an error of the call that brought it, and of nothing else.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod forge;

use std::time::Duration;

use blobforge_core::{
    Failure, QueueError, Requirement,
    storage::{Command, Report},
};
use forge::{Forge, complete, in_both, job};
use serde_json::{Value, json};

in_both! {
    a_requirement_is_refused_or_reads_back_whatever_its_length,
    what_is_nested_too_deeply_is_refused_and_stops_nobody,
    details_that_are_nested_too_deeply_are_cut,
    numbers_are_kept_exactly,
}

/// The field that a call was refused for.
fn field<T: std::fmt::Debug>(result: Result<T, QueueError>) -> &'static str {
    match result {
        Err(QueueError::Invalid(invalid)) => invalid.field,
        other => panic!("not refused: {other:?}"),
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

async fn a_requirement_is_refused_or_reads_back_whatever_its_length(forge: Forge) {
    for bytes in 1020..=1026 {
        let text = format!("engine = {}", "x".repeat(bytes));
        let Ok(requirement) = text.parse::<Requirement>() else { continue };
        let id = forge.queue.submit(job().requires(requirement.clone())).await.unwrap().id;
        let body = forge.queue.job(id).await.unwrap().body;
        assert_eq!(body.requires.iter().collect::<Vec<_>>(), [&requirement], "{bytes} bytes");
        // Whatever else touches the type reads what its jobs require.
        forge.submit().await;
    }
    let forge = forge.reopened().await;
    forge.submit().await;
}

async fn what_is_nested_too_deeply_is_refused_and_stops_nobody(forge: Forge) {
    let worker = forge.worker("w").await;
    let queue = &forge.queue;
    let object = |depth| json!({"a": nested(depth)}).as_object().unwrap().clone();
    assert_eq!(field(queue.submit(job().param("a", nested(200))).await), "params");
    let mut with_metadata = job();
    with_metadata.body.metadata = object(200);
    assert_eq!(field(queue.submit(with_metadata).await), "metadata");
    let (collection, key) = ("notes".to_owned(), "a".to_owned());
    let record = Command::PutRecord { collection, key, value: nested(200) };
    assert_eq!(field(queue.run(record).await), "value");

    let id = queue.submit(job().param("a", nested(60))).await.unwrap().id;
    let held = forge.claim(&worker).await.unwrap();
    assert_eq!(held.job.body.params["a"], nested(60));
    let deep = Report::Complete { outputs: Vec::new(), result: Some(nested(200)) };
    assert_eq!(field(queue.report(id, held.token, deep).await), "result");
    queue.report(id, held.token, complete()).await.unwrap();
    let forge = forge.reopened().await;
    assert_eq!(forge.queue.job(id).await.unwrap().body.params["a"], nested(60));
}

async fn details_that_are_nested_too_deeply_are_cut(forge: Forge) {
    let worker = forge.worker("w").await;
    let id = forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    let failure = Failure { details: Some(nested(500)), ..Failure::new("parse", "a tree") };
    forge.queue.fail(id, held.token, failure, false).await.unwrap();
    let details = forge.queue.job(id).await.unwrap().last_error.unwrap().details.unwrap();
    assert!(details["cut"].as_str().unwrap().starts_with("[[["), "{details}");
    forge.queue.retry(id).await.unwrap();
}

async fn numbers_are_kept_exactly(forge: Forge) {
    // The nearest doubles of texts that a quick reader gets wrong by one.
    for number in [1004.999_999_999_999_9, 0.1 + 0.2, 1e23, f64::MAX, 5e-324] {
        let id = forge.queue.submit(job().param("scale", number)).await.unwrap().id;
        assert_eq!(forge.queue.job(id).await.unwrap().body.params["scale"], json!(number));
    }
}

/// Writes into the file of a queue behind its back.
fn vandalise(forge: &Forge, sql: &str) {
    let file = blobforge_core::rusqlite::Connection::open(forge.path().unwrap()).unwrap();
    assert!(file.execute(sql, []).unwrap() > 0, "{sql}");
}

#[tokio::test]
async fn a_job_that_cannot_be_read_is_an_error_of_who_asks_for_it_and_stops_nobody() {
    let forge = Forge::in_sqlite().await;
    let worker = forge.worker("w").await;
    let (bad, good) = (forge.submit().await, forge.submit().await);
    vandalise(&forge, &format!("UPDATE jobs SET body = '{{\"params\": ' WHERE id = {bad}"));
    for refused in [forge.queue.get(bad).await.map(drop), forge.queue.cancel(bad).await.map(drop)] {
        let refused = refused.unwrap_err();
        assert!(refused.to_string().contains(&format!("job {bad}")), "it says which: {refused}");
    }
    forge.queue.cancel(good).await.unwrap();
    let video = blobforge_core::JobType::new("video").unwrap();
    forge.queue.submit(blobforge_core::NewJob::new(video.clone()).unwrap()).await.unwrap();
    let taken = forge.queue.claim(&worker, &[video], 1, Duration::ZERO).await.unwrap();
    assert_eq!(taken.len(), 1);
}

#[tokio::test]
async fn work_that_is_known_for_a_job_that_is_gone_is_known_for_the_next_one() {
    let forge = Forge::in_sqlite().await;
    let upload = || {
        let sha256 = Some(blobforge_core::Sha256::from_bytes([7; 32]));
        job().source(blobforge_core::NewSource::Upload { sha256, size: None })
    };
    forge.queue.submit(upload()).await.unwrap();
    vandalise(&forge, "UPDATE dedup SET job_id = 999");
    let second = forge.queue.submit(upload()).await.unwrap();
    assert!(!second.existing);
    let third = forge.queue.submit(upload()).await.unwrap();
    assert_eq!((third.id, third.existing), (second.id, true));
}
