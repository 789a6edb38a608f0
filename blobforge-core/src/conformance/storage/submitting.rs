//! Taking jobs in, and knowing work again.

use super::*;
use crate::NewSource;
use serde_json::json;

/// A job of type `pdf` whose submitter claims this hash for its source.
fn claims(number: u8, submitter: &str) -> NewJob {
    let mut job = new("pdf").source(NewSource::Upload { sha256: Some(hash(number)), size: Some(7) });
    job.body.submitter = Some(submitter.to_owned());
    job
}

/// Has a job's source arrive, read in full.
async fn arrive(bench: &Bench, id: JobId, number: u8) {
    let ready = Command::SourceReady { job: id, size: 7, sha256: Some(hash(number)) };
    bench.run(ready).await.unwrap();
}

pub async fn numbers_grow(bench: &Bench) {
    assert_eq!([bench.pending().await, bench.pending().await], [JobId::new(1), JobId::new(2)]);
    bench.run(Command::Cancel(JobId::new(2))).await.unwrap();
    assert_eq!(bench.pending().await, JobId::new(3));
}

pub async fn the_same_work_of_the_same_submitter_is_one_job(bench: &Bench) {
    let first = bench.submit(claims(1, "ann")).await;
    let second = bench.submit(claims(1, "ann")).await;
    assert_eq!(second, Submitted { existing: true, ..first });
    assert_eq!(bench.storage.counts().await.unwrap().total(), 1);
}

pub async fn the_order_of_parameters_means_nothing(bench: &Bench) {
    let with = |params: &str| {
        let mut job = claims(1, "ann");
        job.body.params = serde_json::from_str(params).unwrap();
        job
    };
    let first = bench.submit(with(r#"{"a": {"x": 1, "y": [1, 2]}, "b": true}"#)).await;
    let second = bench.submit(with(r#"{"b": true, "a": {"y": [1, 2], "x": 1}}"#)).await;
    assert_eq!((second.id, second.existing), (first.id, true));
    let third = bench.submit(with(r#"{"b": true, "a": {"y": [2, 1], "x": 1}}"#)).await;
    assert!(!third.existing, "that of a list does");
}

pub async fn other_parameters_or_another_type_make_other_work(bench: &Bench) {
    bench.submit(claims(1, "ann")).await;
    let mut other_type = claims(1, "ann");
    other_type.job_type = JobType::new("thumbnail").unwrap();
    for job in [claims(2, "ann"), claims(1, "ann").param("pages", json!([1])), other_type] {
        assert!(!bench.submit(job).await.existing);
    }
    let tagged = claims(1, "ann").tag("words do not make other work");
    assert!(bench.submit(tagged).await.existing);
}

pub async fn what_another_submitter_claims_is_not_believed(bench: &Bench) {
    bench.submit(claims(1, "ann")).await;
    assert!(!bench.submit(claims(1, "bob")).await.existing);
    let mut anonymous = claims(1, "");
    anonymous.body.submitter = None;
    assert!(!bench.submit(anonymous).await.existing);
}

pub async fn verified_content_is_matched_for_anybody(bench: &Bench) {
    let first = bench.submit(claims(1, "ann")).await.id;
    arrive(bench, first, 1).await;
    let second = bench.submit(claims(1, "bob")).await;
    assert_eq!((second.id, second.existing, second.status), (first, true, Status::Pending));
}

pub async fn a_mere_claim_does_not_stand_in_for_verified_content(bench: &Bench) {
    let claimed = bench.submit(claims(1, "ann")).await.id;
    bench.reserve("sources/there", None).await.unwrap();
    let source = NewSource::Stored { key: "sources/there".to_owned(), sha256: hash(1), size: 7 };
    let stored = bench.submit(claims(1, "ann").source(source.clone())).await;
    assert!(!stored.existing && stored.id != claimed);
    let again = bench.submit(claims(1, "ann").source(source)).await;
    assert_eq!((again.id, again.existing), (stored.id, true));
    assert_eq!(bench.submit(claims(1, "ann")).await.id, stored.id, "verified content goes first from now on");
}

pub async fn without_dedup_every_submission_is_a_job(bench: &Bench) {
    let first = bench.submit(claims(1, "ann")).await.id;
    let second = bench.submit(claims(1, "ann").dedup(false)).await;
    assert!(!second.existing);
    assert_eq!(bench.submit(claims(1, "ann")).await.id, first, "and it is nobody's duplicate");
}

pub async fn a_failed_duplicate_runs_again_only_on_request(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.submit(claims(1, "ann")).await.id;
    arrive(bench, id, 1).await;
    let held = bench.claim(&worker).await;
    bench.finish(&held, failed(false)).await;
    assert_eq!(bench.submit(claims(1, "ann")).await.status, Status::Failed);
    let retried = bench.submit(claims(1, "ann").retry_failed(true)).await;
    assert_eq!((retried.id, retried.existing, retried.status), (id, true, Status::Pending));
    let held = bench.claim(&worker).await;
    bench.finish(&held, complete()).await;
    let done = bench.submit(claims(1, "ann").retry_failed(true)).await;
    assert_eq!(done.status, Status::Completed, "what has not failed is left alone");
}

pub async fn a_duplicate_that_waits_for_its_source_says_where_to_send_it(bench: &Bench) {
    let first = bench.submit(claims(1, "ann")).await;
    let second = match bench.run(submit_to(claims(1, "ann"), "sources/another")).await {
        Ok(Done::Submitted(submitted)) => submitted,
        other => panic!("{other:?}"),
    };
    assert_eq!((second.id, second.upload_key.as_deref()), (first.id, Some("sources/upload")));
    assert!(!bench.storage.has_file("sources/another").await.unwrap());
}

pub async fn stored_content_is_not_sent_again(bench: &Bench) {
    let first = bench.submit(claims(1, "ann")).await.id;
    arrive(bench, first, 1).await;
    let other_work = claims(1, "bob").param("lang", "de");
    let second = bench.submit(other_work).await;
    assert_eq!((second.existing, second.status, second.upload_key), (false, Status::Pending, None));
    let source = |job: Job| job.source.unwrap();
    assert_eq!(source(bench.job(second.id).await), source(bench.job(first).await));
}

pub async fn a_stored_source_needs_a_file_that_was_asked_for(bench: &Bench) {
    let source = NewSource::Stored { key: "sources/there".to_owned(), sha256: hash(1), size: 7 };
    let job = new("pdf").source(source);
    let refused = bench.refused(submit(job.clone())).await;
    assert_eq!(refused, Refusal::UnknownFile("sources/there".to_owned()));
    assert_eq!(bench.storage.counts().await.unwrap().total(), 0);
    bench.reserve("sources/there", None).await.unwrap();
    let submitted = bench.submit(job).await;
    assert_eq!((submitted.status, submitted.upload_key), (Status::Pending, None));
    let source = bench.job(submitted.id).await.source.unwrap();
    assert!(source.arrived && source.verified);
}

pub async fn a_job_without_a_source_is_never_a_duplicate(bench: &Bench) {
    assert_ne!(bench.pending().await, bench.pending().await);
    let unhashed = new("pdf").source(NewSource::Upload { sha256: None, size: Some(7) });
    bench.submit(unhashed.clone()).await;
    assert!(!bench.submit(unhashed).await.existing);
}
