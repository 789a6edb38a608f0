//! Taking jobs in, and knowing work again.

use super::*;
use crate::{
    Body, KeyLimits, LimitBy, Limits, MAX_SOURCE_PATHS, MAX_TAGS, NewSource, Past, PastEnd, Priority,
};
use serde_json::json;

/// A job of type `pdf` whose submitter claims this hash for its source.
fn claims(number: u8, submitter: &str) -> NewJob {
    let mut job = new("pdf").source(NewSource::Upload { sha256: Some(hash(number)), size: Some(7) });
    job.body.submitter = Some(submitter.to_owned());
    job
}

/// Has a job's source arrive, read in full.
async fn arrive(bench: &Bench, id: JobId, number: u8) {
    let ready = bench.source_ready(id, 7, Some(hash(number))).await;
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
    arrive(bench, second.id, 1).await;
    assert_eq!(bench.submit(claims(1, "ann")).await.id, first, "nor is it when its source has come");
    assert!(!bench.submit(claims(1, "bob")).await.existing);
}

pub async fn the_content_of_a_job_without_dedup_is_used_again(bench: &Bench) {
    let sent = bench.submit(claims(1, "ann").dedup(false)).await.id;
    arrive(bench, sent, 1).await;
    bench.reserve("sources/there", None).await.unwrap();
    let source = NewSource::Stored { key: "sources/there".to_owned(), sha256: hash(2), size: 7 };
    let stored = bench.submit(claims(2, "ann").source(source).dedup(false)).await.id;
    for (number, of) in [(1, sent), (2, stored)] {
        let other = bench.submit(claims(number, "bob")).await;
        assert_eq!((other.existing, other.status), (false, Status::Pending));
        let key = |job: Job| job.source.unwrap().key;
        assert_eq!(key(bench.job(other.id).await), key(bench.job(of).await));
        assert_eq!(bench.submit(claims(number, "eve")).await.id, other.id, "this one is anybody's");
    }
}

/// Checks that who does the same work again, as its submitter and as somebody else, is handed the job as it is.
async fn is_handed_over(bench: &Bench, id: JobId) {
    let before = bench.job(id).await;
    for submitter in ["ann", "bob"] {
        let told = bench.submit(claims(1, submitter)).await;
        let expected =
            Submitted { id, existing: true, replayed: false, status: before.status(), upload_key: None };
        assert_eq!(told, expected, "as {submitter}");
    }
    assert_eq!(bench.job(id).await, before, "nothing was said that is new");
}

pub async fn a_duplicate_is_handed_over_whatever_its_state(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.submit(claims(1, "ann")).await.id;
    arrive(bench, id, 1).await;
    is_handed_over(bench, id).await;
    let held = bench.claim(&worker).await;
    is_handed_over(bench, id).await;
    bench.finish(&held, failed(false)).await;
    is_handed_over(bench, id).await;
    bench.run(Command::Retry(id)).await.unwrap();
    bench.run(Command::Cancel(id)).await.unwrap();
    is_handed_over(bench, id).await;
    let retried = bench.submit(claims(1, "ann").retry_failed(true)).await;
    assert_eq!((retried.id, retried.status), (id, Status::Cancelled), "what was called off has not failed");
    bench.run(Command::Retry(id)).await.unwrap();
    bench.complete_next().await;
    is_handed_over(bench, id).await;
}

pub async fn a_failed_duplicate_whose_source_never_came_says_where_to_send_it(bench: &Bench) {
    let first = bench.submit(claims(1, "ann")).await;
    let failure = Failure::new("source_corrupt", "it is no PDF");
    bench.run(Command::RejectSource { job: first.id, failure }).await.unwrap();
    let told = bench.submit(claims(1, "ann")).await;
    assert_eq!((told.id, told.status, told.upload_key), (first.id, Status::Failed, None));
    let again = bench.submit(claims(1, "ann").retry_failed(true)).await;
    assert_eq!(again, Submitted { existing: true, ..first });
}

pub async fn content_that_a_worker_verified_is_matched_for_anybody(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.submit(claims(1, "ann")).await.id;
    bench.run(bench.source_ready(id, 7, None).await).await.unwrap();
    assert_eq!(bench.submit(claims(1, "ann")).await.id, id);
    let other = bench.submit(claims(1, "bob")).await;
    assert!(!other.existing, "nobody has read it yet");
    bench.run(Command::Cancel(other.id)).await.unwrap();
    let held = bench.claim(&worker).await;
    bench
        .run(Command::SourceVerified { job: id, token: held.token, size: None, sha256: hash(1) })
        .await
        .unwrap();
    let told = bench.submit(claims(1, "eve")).await;
    assert_eq!((told.id, told.existing, told.status), (id, true, Status::Running));
}

pub async fn what_was_found_corrupt_is_its_submitters_work_alone(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.submit(claims(1, "ann")).await.id;
    arrive(bench, id, 1).await;
    let held = bench.claim(&worker).await;
    bench
        .run(Command::SourceVerified { job: id, token: held.token, size: None, sha256: hash(2) })
        .await
        .unwrap();
    let told = bench.submit(claims(1, "ann")).await;
    assert_eq!((told.id, told.status, told.upload_key), (id, Status::Failed, None));
    let other = bench.submit(claims(1, "bob")).await;
    assert_eq!((other.existing, other.status), (false, Status::Uploading));
    let again = bench.submit(claims(1, "ann").retry_failed(true)).await;
    assert_eq!((again.id, again.existing, again.status), (id, true, Status::Uploading));
    assert!(again.upload_key.is_some());
    arrive(bench, id, 1).await;
    let source = bench.job(id).await.source.unwrap();
    assert!(source.arrived && source.verified);
    assert_eq!(bench.submit(claims(1, "eve")).await.id, id);
}

pub async fn a_second_submitters_tags_and_path_are_added(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let by_submitter = KeyLimits { by: LimitBy::Submitter, limits: Limits::default() };
    bench.set(TypeSettings { per_key: Some(by_submitter), ..TypeSettings::default() }).await;
    let called = |submitter: &str, path: &str, tags: &[&str]| {
        let mut job = claims(1, submitter);
        job.body.source_path = Some(path.to_owned());
        tags.iter().fold(job, |job, tag| job.tag(*tag))
    };
    let id = bench.submit(called("ann", "a.pdf", &["rules", "ann's"])).await.id;
    arrive(bench, id, 1).await;
    let held = bench.claim(&worker).await;
    let before = bench.job(id).await;
    bench.advance(SECOND);
    bench.submit(called("bob", "b.pdf", &["bob's", "rules"])).await;
    let after = bench.job(id).await;
    assert_eq!(after.body.tags, ["rules", "ann's", "bob's"]);
    assert_eq!(after.body.source_path.as_deref(), Some("a.pdf"), "the first one stays");
    assert_eq!(after.body.other_paths, ["b.pdf"]);
    assert_eq!(after.updated_at, bench.clock.now());
    let said = Body { tags: before.body.tags.clone(), other_paths: Vec::new(), ..after.body.clone() };
    assert_eq!(Job { body: said, updated_at: before.updated_at, ..after.clone() }, before, "nothing else");
    for tag in ["ann's", "bob's"] {
        let tagged = JobFilter { tag: Some(tag.to_owned()), ..JobFilter::all(10) };
        assert_eq!(bench.list(tagged).await, std::slice::from_ref(&after), "{tag}");
    }
    let called_so = JobFilter { text: Some("B.PDF".to_owned()), ..JobFilter::all(10) };
    assert_eq!(bench.list(called_so).await, std::slice::from_ref(&after));
    bench.advance(SECOND);
    bench.submit(called("bob", "b.pdf", &["rules"])).await;
    assert_eq!(bench.job(id).await, after, "nothing was said that is new");
    bench.finish(&held, complete()).await;
    bench.submit(called("eve", "a.pdf", &["late"])).await;
    let ended = bench.job(id).await;
    assert_eq!(
        (ended.status(), ended.body.tags.len(), ended.body.other_paths.len()),
        (Status::Completed, 4, 1)
    );
}

pub async fn a_duplicate_keeps_its_place_in_line(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let first = bench.submit(claims(1, "ann")).await.id;
    arrive(bench, first, 1).await;
    bench.advance(SECOND);
    let second = bench.pending().await;
    bench.submit(claims(1, "bob").tag("late").priority(Priority::Critical)).await;
    assert_eq!(bench.claim_each(&worker, 3).await, [first, second]);
}

pub async fn a_job_keeps_no_more_tags_and_paths_than_it_may_have(bench: &Bench) {
    let of = |submitter: usize| {
        let mut job = claims(1, "ann").tag(format!("of {submitter}"));
        job.body.source_path = Some(format!("{submitter}.pdf"));
        job
    };
    let id = bench.submit(of(0)).await.id;
    for submitter in 1..=MAX_TAGS {
        assert!(bench.submit(of(submitter)).await.existing);
    }
    let Body { tags, source_path, other_paths, .. } = bench.job(id).await.body;
    let kept: Vec<_> = (0..MAX_TAGS).map(|submitter| format!("of {submitter}")).collect();
    assert_eq!(tags, kept, "the first ones");
    let paths: Vec<_> = (0..MAX_SOURCE_PATHS).map(|submitter| format!("{submitter}.pdf")).collect();
    assert_eq!(source_path.into_iter().chain(other_paths).collect::<Vec<_>>(), paths);
}

pub async fn the_first_path_is_the_first_that_anybody_says(bench: &Bench) {
    let id = bench.submit(claims(1, "ann")).await.id;
    let mut named = claims(1, "ann");
    named.body.source_path = Some("a.pdf".to_owned());
    bench.submit(named).await;
    let body = bench.job(id).await.body;
    assert_eq!((body.source_path.as_deref(), body.other_paths.len()), (Some("a.pdf"), 0));
}

pub async fn a_replay_adds_nothing(bench: &Bench) {
    let named = claims(1, "ann").tag("named").idempotency_key("k");
    bench.submit(claims(1, "ann")).await;
    let id = bench.submit(named.clone()).await.id;
    let before = bench.job(id).await;
    assert_eq!(before.body.tags, ["named"]);
    bench.advance(SECOND);
    assert!(bench.submit(named).await.replayed);
    assert_eq!(bench.job(id).await, before);
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

pub async fn what_was_to_be_done_elsewhere_stands_where_it_stood(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let here = bench.pending().await;
    let past = |at, failures| Past {
        end: PastEnd::ToDo,
        failures,
        created_at: Timestamp::from_millis(at),
        ended_at: Timestamp::ZERO,
    };
    let later = bench.submit(new("pdf").past(past(2000, 0))).await;
    let first = bench.submit(new("pdf").past(past(1000, 2))).await;
    assert_eq!((first.status, first.existing), (Status::Pending, false));
    let uploading = bench.submit(claims(1, "ann").past(past(500, 0))).await;
    assert_eq!(uploading.status, Status::Uploading);
    let job = bench.job(first.id).await;
    assert_eq!((job.life.failures, job.created_at.as_millis(), job.ended_at), (2, 1000, None));
    let held = bench.claims(&worker, &["pdf"], 9).await;
    let order: Vec<_> = held.iter().map(|held| held.job.id).collect();
    assert_eq!(order, [first.id, later.id, here], "whoever waits longest is first");
    bench.audit().await;
}

pub async fn what_ended_elsewhere_is_taken_in_as_it_is(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let (began, ended) = (Timestamp::from_millis(1000), Timestamp::from_millis(9000));
    let past = |end, failures| Past { end, failures, created_at: began, ended_at: ended };
    let output = Output { name: "a.md".to_owned(), size: 3, sha256: None, key: "outputs/past/1".to_owned() };
    let completed = PastEnd::Completed { outputs: vec![output.clone()], result: Some(7.into()) };
    let done = claims(1, "ann").past(past(completed, 1));
    let refused = bench.refused(submit(done.clone())).await;
    assert_eq!(refused, Refusal::UnknownFile("a.md".to_owned()), "nobody stored it");
    bench.reserve("outputs/past/1", None).await.unwrap();
    let submitted = bench.submit(done.clone()).await;
    assert_eq!((submitted.status, submitted.existing), (Status::Completed, false));
    let job = bench.job(submitted.id).await;
    assert_eq!((job.outputs, job.result, job.life.failures), (vec![output], Some(7.into()), 1));
    assert_eq!((job.created_at, job.ended_at), (began, Some(ended)));
    let others = bench.submit(claims(1, "bob")).await;
    assert_eq!((others.id, others.existing), (submitted.id, true), "it is done for everybody");

    let dead = PastEnd::Failed(Failure::new("timeout", "it took too long"));
    let failed = bench.submit(claims(2, "ann").past(past(dead, 3))).await;
    assert_eq!(failed.status, Status::Failed);
    let cancelled = bench.submit(claims(3, "ann").past(past(PastEnd::Cancelled, 0))).await;
    assert_eq!(cancelled.status, Status::Cancelled);
    assert_eq!(bench.claims(&worker, &["pdf"], 9).await.len(), 0, "nothing of it is run");
    let group = bench.job(failed.id).await.failure_group;
    assert!(group.is_some(), "it is counted with what is like it");
    let groups = bench.storage.failure_groups(None, 10).await.unwrap();
    assert_eq!(groups.iter().map(|group| group.jobs).collect::<Vec<_>>(), [1]);
    let counts = bench.storage.counts().await.unwrap();
    assert_eq!((counts.of_status(Status::Completed), counts.total()), (1, 3));
    // It is a job like any other from then on.
    bench.run(Command::Retry(failed.id)).await.unwrap();
    arrive(bench, failed.id, 2).await;
    let held = bench.claim(&worker).await;
    assert_eq!((held.job.id, held.job.failure_group), (failed.id, None));
    bench.finish(&held, complete()).await;
    bench.run(Command::Delete(submitted.id)).await.unwrap();
    assert!(!bench.submit(claims(1, "bob")).await.existing, "what is forgotten is not done");
    bench.audit().await;
}
