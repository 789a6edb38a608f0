//! Deleting jobs, and what becomes of what they leave.

use super::*;
use crate::{NewSource, storage::Event};

/// A job of type `pdf` whose content was read and lies under `sources/<number>`.
async fn stored(bench: &Bench, number: u8, job_type: &str) -> JobId {
    let key = format!("sources/{number}");
    bench.reserve(&key, None).await.unwrap();
    bench.submit(new(job_type).source(NewSource::Stored { key, sha256: hash(number), size: 7 })).await.id
}

pub async fn an_ended_job_is_deleted_with_all_that_is_known_of_it(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    let id = held.job.id;
    bench.save(&held, "state", 1).await.unwrap();
    bench.finish(&held, failed(false)).await;
    bench.delete(id).await;
    assert_eq!(bench.storage.job(id).await.unwrap(), None);
    assert_eq!(bench.storage.attempts(id).await.unwrap(), []);
    assert_eq!(bench.storage.checkpoints(id).await.unwrap(), []);
    assert_eq!(bench.storage.counts().await.unwrap().total(), 0);
    assert_eq!(bench.list(JobFilter::all(10)).await, []);
    assert_eq!(bench.refused(Command::Delete(id)).await, Refusal::NoSuchJob(id));
    let late = bench.report(&held, failed(false)).await;
    assert_eq!(late, Err(Refusal::NoSuchJob(id)), "nothing is known of its attempts");
}

pub async fn a_job_that_has_not_ended_is_not_deleted(bench: &Bench) {
    let waiting = bench.pending().await;
    let uploading = new("pdf").source(NewSource::Upload { sha256: None, size: None });
    let uploading = bench.submit(uploading).await.id;
    let worker = bench.worker("w1").await;
    let running = |status| Refusal::from(Refused::NotEnded { status });
    assert_eq!(bench.refused(Command::Delete(waiting)).await, running(Status::Pending));
    assert_eq!(bench.refused(Command::Delete(uploading)).await, running(Status::Uploading));
    let held = bench.claim(&worker).await;
    bench.run(Command::Cancel(held.job.id)).await.unwrap();
    let refused = bench.refused(Command::Delete(held.job.id)).await;
    assert_eq!(refused, running(Status::Running), "its holder has not let go yet");
    assert!(refused.to_string().contains("cancel it first"), "{refused}");
    assert_eq!(bench.storage.counts().await.unwrap().total(), 2);
}

pub async fn listeners_hear_of_a_deletion(bench: &Bench) {
    let id = bench.pending().await;
    bench.run(Command::Cancel(id)).await.unwrap();
    let events = bench.commit(vec![Command::Delete(id)]).await.events;
    let job_type = JobType::new("pdf").unwrap();
    assert_eq!(events, [Event::JobDeleted { id, job_type, was: Status::Cancelled }]);
}

pub async fn the_number_of_a_deleted_job_is_not_given_again(bench: &Bench) {
    let id = bench.pending().await;
    bench.run(Command::Cancel(id)).await.unwrap();
    bench.delete(id).await;
    assert_eq!(bench.pending().await, JobId::new(id.get() + 1));
}

pub async fn the_work_of_a_deleted_job_is_new_work(bench: &Bench) {
    let first = stored(bench, 1, "pdf").await;
    assert!(bench.submit(same_work("sources/1")).await.existing);
    bench.complete_next().await;
    bench.delete(first).await;
    bench.reserve("sources/2", None).await.unwrap();
    let again = bench.submit(same_work("sources/2")).await;
    assert!(!again.existing && again.id > first);
    assert_eq!(bench.submit(same_work("sources/2")).await.id, again.id, "and known from now on");
}

fn same_work(key: &str) -> NewJob {
    new("pdf").source(NewSource::Stored { key: key.to_owned(), sha256: hash(1), size: 7 })
}

pub async fn the_content_of_a_deleted_job_is_sent_again(bench: &Bench) {
    let id = stored(bench, 1, "pdf").await;
    bench.complete_next().await;
    bench.delete(id).await;
    let again = new("pdf").source(NewSource::Upload { sha256: Some(hash(1)), size: None });
    let again = bench.submit(again).await;
    assert_eq!((again.existing, again.status), (false, Status::Uploading));
    assert_eq!(again.upload_key.as_deref(), Some("sources/upload"), "under a key of its own");
}

pub async fn a_job_that_shares_a_source_keeps_it_known(bench: &Bench) {
    let first = stored(bench, 1, "pdf").await;
    let shared = new("other").source(NewSource::Upload { sha256: Some(hash(1)), size: None });
    let second = bench.submit(shared.clone()).await;
    assert_eq!(second.status, Status::Pending);
    bench.complete_next().await;
    bench.delete(first).await;
    let mut third = shared;
    third.job_type = JobType::new("third").unwrap();
    let third = bench.submit(third).await;
    assert_eq!(third.status, Status::Pending, "what the second one needs is there for the third");
    assert_eq!(bench.job(third.id).await.source.unwrap().key, "sources/1");
}

pub async fn other_jobs_are_left_alone(bench: &Bench) {
    let (kept, deleted) = (bench.pending().await, bench.pending().await);
    let before = bench.job(kept).await;
    bench.run(Command::Cancel(deleted)).await.unwrap();
    bench.delete(deleted).await;
    assert_eq!(bench.job(kept).await, before);
    let worker = bench.worker("w1").await;
    assert_eq!(bench.claim(&worker).await.job.id, kept);
}
