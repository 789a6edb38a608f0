//! Sources, outputs and checkpoints.

use super::*;
use crate::{End, NewSource, storage::MAX_CHECKPOINTS};

fn upload(number: Option<u8>, size: Option<u64>) -> NewSource {
    NewSource::Upload { sha256: number.map(hash), size }
}

pub async fn outputs_need_files_that_were_asked_for(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    let outputs = vec![output("text.md", "outputs/1/text.md"), output("p1.png", "outputs/1/p1.png")];
    bench.reserve("outputs/1/text.md", Some(&held)).await.unwrap();
    let before = bench.job(held.job.id).await;
    let refused = bench.refused(report(&held, completed_with(outputs.clone()))).await;
    assert_eq!(refused, Refusal::UnknownFile("p1.png".to_owned()));
    assert_eq!(bench.job(held.job.id).await, before, "it still runs");
    bench.reserve("outputs/1/p1.png", Some(&held)).await.unwrap();
    bench.finish(&held, completed_with(outputs.clone())).await;
    assert_eq!(bench.job(held.job.id).await.outputs, outputs);
}

pub async fn a_checkpoint_needs_its_file(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    let refused = bench.refused(checkpoint(&held, "state", 1, "checkpoints/unknown")).await;
    assert_eq!(refused, Refusal::UnknownFile("state".to_owned()));
    assert_eq!(bench.storage.checkpoints(held.job.id).await.unwrap(), []);
}

pub async fn an_upload_under_a_lost_lease_is_refused(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    bench.reserve("outputs/in-time", Some(&held)).await.unwrap();
    bench.finish(&held, Report::Release).await;
    assert!(is_lost(&bench.reserve("outputs/late", Some(&held)).await));
    assert!(bench.storage.has_file("outputs/in-time").await.unwrap());
    assert!(!bench.storage.has_file("outputs/late").await.unwrap());
}

pub async fn checkpoints_go_to_the_next_attempt_and_end_with_the_job(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let id = held.job.id;
    assert_eq!(held.checkpoints, []);
    bench.save(&held, "b", 1).await.unwrap();
    bench.save(&held, "a", 2).await.unwrap();
    bench.finish(&held, Report::Release).await;
    let kept = bench.storage.checkpoints(id).await.unwrap();
    assert_eq!(kept.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let again = bench.claim(&worker).await;
    assert_eq!(again.checkpoints, kept);
    bench.finish(&again, complete()).await;
    assert_eq!(bench.storage.checkpoints(id).await.unwrap(), []);
}

pub async fn a_job_has_so_many_checkpoints_and_no_more(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    let key = "checkpoints/1/all";
    bench.reserve(key, None).await.unwrap();
    let named = |n: usize| checkpoint(&held, &format!("page {n}"), 1, key);
    let committed = bench.commit((0..MAX_CHECKPOINTS).map(named).collect()).await;
    assert!(committed.outcomes.iter().all(Result::is_ok));
    let refused = bench.refused(named(MAX_CHECKPOINTS)).await;
    assert_eq!(refused, Refusal::TooManyCheckpoints(held.job.id));
    assert_eq!(bench.storage.checkpoints(held.job.id).await.unwrap().len(), MAX_CHECKPOINTS);
    let replaced = checkpoint(&held, "page 7", 2, key);
    assert!(bench.run(replaced).await.is_ok(), "one of the same name takes no more room");
}

pub async fn a_failed_job_keeps_its_checkpoints(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    bench.save(&held, "state", 1).await.unwrap();
    bench.finish(&held, failed(false)).await;
    assert_eq!(bench.storage.checkpoints(held.job.id).await.unwrap().len(), 1);
    bench.run(Command::Retry(held.job.id)).await.unwrap();
    assert_eq!(bench.claim(&worker).await.checkpoints.len(), 1, "a retry by hand goes on from there");
}

pub async fn a_checkpoint_of_the_same_name_replaces_the_earlier_one(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    bench.save(&held, "state", 1).await.unwrap();
    bench.save(&held, "state", 2).await.unwrap();
    let kept = bench.storage.checkpoints(held.job.id).await.unwrap();
    assert_eq!(kept.iter().map(|c| c.sha256).collect::<Vec<_>>(), [hash(2)]);
}

pub async fn a_source_makes_its_job_claimable(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let submitted = bench.submit(new("pdf").source(upload(Some(1), Some(7)))).await;
    assert_eq!(
        (submitted.status, submitted.upload_key.as_deref()),
        (Status::Uploading, Some("sources/upload"))
    );
    assert!(bench.storage.has_file("sources/upload").await.unwrap(), "this store creates it");
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.advance(SECOND);
    let ready = bench.source_ready(submitted.id, 7, Some(hash(1))).await;
    bench.run(ready.clone()).await.unwrap();
    let claimed = bench.claim(&worker).await;
    assert_eq!(claimed.job.life.ready_at, bench.clock.now(), "it is accepted now");
    let source = claimed.job.source.unwrap();
    assert!(source.arrived && source.verified);
    assert_eq!((source.size, source.sha256), (Some(7), Some(hash(1))));
}

pub async fn that_a_source_arrived_can_be_said_again(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.submit(new("pdf").source(upload(Some(1), None))).await.id;
    let read = bench.source_ready(id, 7, Some(hash(1))).await;
    bench.run(read.clone()).await.unwrap();
    let held = bench.claim(&worker).await;
    bench.advance(SECOND);
    let before = bench.job(id).await;
    let unread = bench.source_ready(id, 7, None).await;
    for again in [read, unread] {
        assert_eq!(bench.run(again).await, Ok(Done::Job(Box::new(before.clone()))));
    }
    for (size, number) in [(8, None), (8, Some(1)), (7, Some(2))] {
        let other = bench.source_ready(id, size, number.map(hash)).await;
        assert!(is_wrong_state(&bench.run(other).await), "{size} {number:?}");
    }
    assert_eq!(bench.job(id).await, before);
    bench.finish(&held, complete()).await;
    // That it did not do is answered twice alike, too.
    let id = bench.submit(new("pdf").source(upload(Some(2), None))).await.id;
    let wrong = bench.source_ready(id, 7, Some(hash(3))).await;
    let failed = bench.run(wrong.clone()).await;
    assert!(failed.is_ok());
    bench.advance(SECOND);
    assert_eq!(bench.run(wrong).await, failed);
}

pub async fn a_source_may_lie_where_whoever_sent_it_asked_for_a_place(bench: &Bench) {
    let id = bench.submit(new("pdf").source(upload(None, None))).await.id;
    let at = |key: &str| {
        let (key, sha256) = (key.to_owned(), Some(hash(1)));
        Command::SourceReady { job: id, key, size: 7, sha256 }
    };
    assert_eq!(
        bench.refused(at("sources/unasked")).await,
        Refusal::UnknownFile("sources/unasked".to_owned())
    );
    let (_, held) = bench.running("w1").await;
    bench.reserve("outputs/others", Some(&held)).await.unwrap();
    assert_eq!(bench.refused(at("outputs/others")).await, Refusal::UnknownFile("outputs/others".to_owned()));
    bench.reserve("sources/mine", None).await.unwrap();
    bench.run(at("sources/mine")).await.unwrap();
    let source = bench.job(id).await.source.unwrap();
    assert_eq!((source.key.as_str(), source.arrived), ("sources/mine", true));
    let shares = bench.submit(new("pdf").source(upload(Some(1), None)).param("lang", "de")).await.id;
    assert_eq!(bench.job(shares).await.source.unwrap().key, "sources/mine");
    let waits = bench.run(submit_to(new("pdf").source(upload(None, None)), "sources/2")).await;
    let Ok(Done::Submitted(waits)) = waits else { panic!("{waits:?}") };
    let taken = Command::SourceReady { job: waits.id, key: "sources/mine".to_owned(), size: 7, sha256: None };
    assert_eq!(bench.refused(taken).await, Refusal::UnknownFile("sources/mine".to_owned()));
}

pub async fn where_a_source_has_arrived_nothing_is_written_again(bench: &Bench) {
    let id = bench.submit(new("pdf").source(upload(None, None))).await.id;
    bench.reserve("sources/upload", None).await.expect("it is still to be sent");
    let ready = bench.source_ready(id, 7, None).await;
    bench.run(ready).await.unwrap();
    let taken = Err(Refusal::FileTaken("sources/upload".to_owned()));
    assert_eq!(bench.reserve("sources/upload", None).await, taken);
    bench.complete_next().await;
    assert_eq!(bench.reserve("sources/upload", None).await, taken, "and it stays so");
}

pub async fn a_source_unlike_its_announcement_fails_the_job(bench: &Bench) {
    for (size, number) in [(8, Some(1)), (7, Some(2))] {
        let job = new("pdf").source(upload(Some(1), Some(7))).dedup(false);
        let id = bench.submit(job).await.id;
        bench.run(bench.source_ready(id, size, number.map(hash)).await).await.unwrap();
        let job = bench.job(id).await;
        assert_eq!(job.status(), Status::Failed);
        assert_eq!(job.last_error.unwrap().kind, "source_corrupt");
    }
    let id = bench.submit(new("pdf").source(upload(None, None))).await.id;
    bench.run(bench.source_ready(id, 5, None).await).await.unwrap();
    let source = bench.job(id).await.source.unwrap();
    assert_eq!((source.size, source.verified), (Some(5), false), "nothing was announced, nothing was read");
}

pub async fn a_rejected_source_fails_the_job(bench: &Bench) {
    let id = bench.submit(new("pdf").source(upload(None, None))).await.id;
    let failure = Failure::new("source_corrupt", "it is no PDF");
    bench.run(Command::RejectSource { job: id, failure: failure.clone() }).await.unwrap();
    let job = bench.job(id).await;
    assert_eq!((job.status(), job.last_error), (Status::Failed, Some(failure)));
}

pub async fn an_upload_that_never_comes_is_given_up(bench: &Bench) {
    let old = bench.submit(new("pdf").source(upload(None, None))).await.id;
    bench.advance(LEASE);
    let young = bench.submit(new("pdf").source(upload(None, None))).await.id;
    let asked_at = bench.clock.now();
    let maintain = Maintain { asked_at, available_since: bench.began, upload_limit: LEASE, limit: 100 };
    assert_eq!(bench.maintain_with(maintain).await.uploads_expired, 1);
    assert_eq!(bench.job(old).await.status(), Status::Cancelled);
    assert_eq!(bench.job(young).await.status(), Status::Uploading);
    assert_eq!(
        bench.storage.attempts(old).await.unwrap().iter().map(|a| a.end).collect::<Vec<Option<End>>>(),
        []
    );
}

pub async fn a_source_that_its_holder_verified_is_not_sent_again(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.submit(new("pdf").source(upload(Some(1), Some(7)))).await.id;
    bench.run(bench.source_ready(id, 7, None).await).await.unwrap();
    let held = bench.claim(&worker).await;
    assert!(!held.job.source.as_ref().unwrap().verified);
    bench
        .run(Command::SourceVerified { job: id, token: held.token, size: None, sha256: hash(1) })
        .await
        .unwrap();
    assert!(bench.job(id).await.source.unwrap().verified);
    let other = bench.submit(new("other").source(upload(Some(1), None))).await;
    assert_eq!(other.status, Status::Pending);
    assert_eq!(bench.job(other.id).await.source.unwrap().key, "sources/upload");
}

pub async fn a_source_that_its_holder_finds_to_be_another_one_fails_the_job(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.submit(new("pdf").source(upload(Some(1), Some(7)))).await.id;
    bench.run(bench.source_ready(id, 7, None).await).await.unwrap();
    let held = bench.claim(&worker).await;
    let verified = Command::SourceVerified { job: id, token: held.token, size: None, sha256: hash(2) };
    bench.run(verified.clone()).await.unwrap();
    let job = bench.job(id).await;
    assert_eq!((job.status(), job.life.failures), (Status::Failed, 1));
    assert_eq!(job.last_error.unwrap().kind, "source_corrupt");
    let source = job.source.unwrap();
    assert_eq!((source.sha256, source.verified), (Some(hash(1)), false), "what was announced is kept");
    assert_eq!(bench.finish(&held, failed(false)).await.status, Status::Failed, "its holder may say so too");
    assert!(is_lost(&bench.run(verified).await));
    assert_eq!(bench.storage.attempts(id).await.unwrap()[0].end, Some(End::Failed));
}

/// A job with this parameter whose content is the first one, and has arrived.
async fn with_content(bench: &Bench, lang: &str) -> JobId {
    let job = new("pdf").source(upload(Some(1), Some(7))).param("lang", lang);
    let submitted = bench.submit(job).await;
    if submitted.status == Status::Uploading {
        let ready = bench.source_ready(submitted.id, 7, Some(hash(1))).await;
        bench.run(ready).await.unwrap();
    }
    submitted.id
}

pub async fn a_source_found_corrupt_is_sent_again(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = with_content(bench, "en").await;
    // As long as it should be, and still another one; or cut short.
    for (size, number) in [(7, 2), (6, 1)] {
        let held = bench.claim(&worker).await;
        let (token, size) = (held.token, Some(size));
        let verified = Command::SourceVerified { job: id, token, size, sha256: hash(number) };
        bench.run(verified).await.unwrap();
        let job = bench.job(id).await;
        assert_eq!(job.last_error.as_ref().unwrap().kind, "source_corrupt");
        assert!(!job.source.as_ref().unwrap().arrived);
        bench.run(Command::Retry(id)).await.unwrap();
        assert_eq!(bench.job(id).await.status(), Status::Uploading);
        let ready = bench.source_ready(id, 7, Some(hash(1))).await;
        bench.run(ready).await.unwrap();
        assert_eq!(bench.job(id).await.status(), Status::Pending);
    }
}

pub async fn a_source_shared_and_found_corrupt_is_sent_to_another_place(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let first = with_content(bench, "en").await;
    bench.claim(&worker).await;
    let second = with_content(bench, "de").await;
    let before = bench.job(first).await;
    let held = bench.claim(&worker).await;
    assert_eq!(held.job.source, before.source, "they share it");
    let verified = Command::SourceVerified { job: second, token: held.token, size: Some(7), sha256: hash(2) };
    bench.run(verified).await.unwrap();
    assert_eq!(bench.job(first).await, before);
    bench.run(Command::Retry(second)).await.unwrap();
    let key = bench.job(second).await.source.unwrap().key;
    assert_ne!(key, before.source.unwrap().key);
    bench.reserve(&key, None).await.expect("it is to be sent there");
    let third = bench.submit(new("pdf").source(upload(Some(1), Some(7))).param("lang", "fr")).await;
    assert_eq!(third.status, Status::Uploading, "what was found corrupt is handed to nobody");
}
