//! Sources, outputs and checkpoints.

use super::*;
use crate::{
    NewSource, Output,
    blob::{BlobError, Stored},
    queue::QueueError,
};

pub async fn the_source_comes_whole(bench: &Bench) {
    let worker = bench.worker("a").await;
    let content = content(1_000_003);
    bench.submit_with(new("pdf"), &content).await;
    let held = bench.claim(&worker).await;
    let source = held.source.as_ref().expect("it has a source");
    assert_eq!((source.size, source.sha256, source.verified), (Some(1_000_003), Some(hash(&content)), true));
    for _ in 0..2 {
        let read = whole(bench.broker.source(&held).await.unwrap()).await;
        assert!(read == content, "the content is the same");
    }
}

pub async fn a_job_without_a_source_says_so(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    let refused = bench.broker.source(&held).await.map(drop);
    assert!(is_refused(&refused), "{refused:?}");
}

pub async fn an_output_is_seen_only_when_its_completion_is_accepted(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    let (named, unnamed) = (content(10), content(20));
    let output = bench.put(&held, "named.md", &named).await;
    bench.put(&held, "unnamed.md", &unnamed).await;
    let seen = async |name| match bench.queue.output(held.job, name).await {
        Ok(_) => true,
        Err(QueueError::Blob(BlobError::NotFound(_))) => false,
        Err(error) => panic!("{error}"),
    };
    assert!(!seen("named.md").await);
    bench.finish(&held, completed_with(vec![output])).await;
    assert!(seen("named.md").await);
    assert!(!seen("unnamed.md").await);
}

pub async fn outputs_of_the_same_name_replace_each_other(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    bench.put(&held, "text.md", &content(5000)).await;
    let output = bench.put(&held, "text.md", &content(10)).await;
    bench.finish(&held, completed_with(vec![output])).await;
    assert_eq!(bench.output(held.job, "text.md").await, content(10));
}

pub async fn names_in_any_script_are_kept(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    let names = [
        "Übung 1.md".to_owned(),
        "a~20b.md".to_owned(),
        "a b.md".to_owned(),
        "50% & more?.md".replace('?', "!"),
        "a#1".to_owned(),
        format!("{}.md", "規".repeat(160)),
        format!("{}則.md", "規".repeat(159)),
        format!("{}/{}.md", "d".repeat(250), "f".repeat(250)),
    ];
    let mut outputs = Vec::new();
    for (number, name) in names.iter().enumerate() {
        outputs.push(bench.put(&held, name, &content(number)).await);
    }
    bench.finish(&held, completed_with(outputs)).await;
    let job = bench.job(held.job).await;
    assert_eq!(
        job.outputs.iter().map(|output| &output.name).collect::<Vec<_>>(),
        names.iter().collect::<Vec<_>>()
    );
    for (number, name) in names.iter().enumerate() {
        assert_eq!(bench.output(held.job, name).await, content(number), "{name}");
    }
}

pub async fn an_empty_output_is_an_output(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    let output = bench.put(&held, "empty.txt", &Bytes::new()).await;
    bench.finish(&held, completed_with(vec![output])).await;
    assert_eq!(bench.output(held.job, "empty.txt").await, "");
}

pub async fn an_output_that_was_never_put_is_refused_and_the_lease_lives_on(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let there = bench.put(&held, "there.md", &content(10)).await;
    let never = Output { name: "never.md".to_owned(), ..there.clone() };
    let before = bench.job(held.job).await;
    let refused = bench.broker.finish(&held, completed_with(vec![there.clone(), never])).await;
    assert!(is_refused(&refused), "{refused:?}");
    assert_eq!(bench.job(held.job).await, before);
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
    let finished = bench.finish(&held, completed_with(vec![there])).await;
    assert_eq!(finished.status, Status::Completed);
}

pub async fn an_output_of_another_size_is_refused(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    let output = bench.put(&held, "text.md", &content(10)).await;
    let longer = Output { size: 11, ..output.clone() };
    let refused = bench.broker.finish(&held, completed_with(vec![longer])).await;
    assert!(is_refused(&refused), "{refused:?}");
    bench.finish(&held, completed_with(vec![output])).await;
}

pub async fn a_name_that_climbs_is_refused(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    let file = LocalFile::new(&content(10));
    for name in ["../text.md", "a/../../text.md", "/etc/passwd", "a//b", ".", "..", "a\\b", "", "a\nb"] {
        let output = bench.broker.put_output(&held, name, file.path()).await;
        assert!(is_refused(&output), "{name:?}: {output:?}");
        let checkpoint = bench.broker.put_checkpoint(&held, name, file.path()).await;
        assert!(is_refused(&checkpoint), "{name:?}: {checkpoint:?}");
        let named = Output { name: name.to_owned(), size: 10, sha256: None, key: String::new() };
        let completed = bench.broker.finish(&held, completed_with(vec![named])).await;
        assert!(is_refused(&completed), "{name:?}: {completed:?}");
    }
    assert_eq!(bench.job(held.job).await.status(), Status::Running);
}

pub async fn a_local_file_that_is_not_there_is_the_workers_trouble(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let file = LocalFile::new(&content(10));
    let gone = file.path().to_owned();
    drop(file);
    let output = bench.broker.put_output(&held, "text.md", &gone).await;
    assert!(matches!(output, Err(BrokerError::LocalFile(_))), "{output:?}");
    let checkpoint = bench.broker.put_checkpoint(&held, "half", &gone).await;
    assert!(matches!(checkpoint, Err(BrokerError::LocalFile(_))), "{checkpoint:?}");
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
}

pub async fn nothing_is_put_under_a_lost_lease(bench: &Bench) {
    let (worker, old) = bench.lost().await;
    let file = LocalFile::new(&content(10));
    assert!(is_lost(&bench.broker.put_output(&old, "text.md", file.path()).await));
    assert!(is_lost(&bench.broker.put_checkpoint(&old, "half", file.path()).await));
    assert!(is_lost(&bench.broker.source_verified(&old, stored(b"")).await));
    assert_eq!(bench.claim(&worker).await.checkpoints, []);
}

pub async fn a_checkpoint_goes_to_the_next_attempt(bench: &Bench) {
    let (worker, first) = bench.running("a").await;
    let (early, late) = (LocalFile::new(&content(100)), LocalFile::new(&content(200_001)));
    bench.broker.put_checkpoint(&first, "pages/1 to 9", early.path()).await.unwrap();
    bench.broker.put_checkpoint(&first, "pages/1 to 9", late.path()).await.unwrap();
    bench.finish(&first, Ending::Release).await;
    let second = bench.claim(&worker).await;
    let [kept] = second.checkpoints.as_slice() else { panic!("one checkpoint: {:?}", second.checkpoints) };
    assert_eq!(
        (kept.name.as_str(), kept.size, kept.sha256),
        ("pages/1 to 9", 200_001, hash(&content(200_001)))
    );
    let read = whole(bench.broker.checkpoint(&second, kept).await.unwrap()).await;
    assert!(read == content(200_001), "the content is the same");
    // What one attempt left is there for all that follow.
    bench.finish(&second, Ending::Release).await;
    let third = bench.claim(&worker).await;
    let read = whole(bench.broker.checkpoint(&third, &third.checkpoints[0]).await.unwrap()).await;
    assert!(read == content(200_001), "the content is the same");
}

fn stored(content: &[u8]) -> Stored {
    Stored { size: content.len() as u64, sha256: hash(content) }
}

/// Has a worker hold a job whose source arrived unread.
async fn unverified(bench: &Bench, announced: Sha256) -> Assignment {
    let worker = bench.worker("a").await;
    let job = new("pdf").source(NewSource::Upload { sha256: Some(announced), size: None });
    let submitted = bench.queue.submit(job).await.unwrap();
    let key = submitted.upload_key.unwrap();
    bench.queue.blobs().put(&key, read_bytes("the source"), 100).await.unwrap();
    bench.queue.source_uploaded(submitted.id).await.unwrap();
    let held = bench.claim(&worker).await;
    let source = held.source.as_ref().unwrap();
    assert_eq!((source.size, source.sha256, source.verified), (Some(10), Some(announced), false));
    held
}

pub async fn a_source_that_was_read_whole_is_verified(bench: &Bench) {
    let held = unverified(bench, hash(b"the source")).await;
    bench.broker.source_verified(&held, stored(b"the source")).await.unwrap();
    let source = bench.job(held.job).await.source.unwrap();
    assert_eq!((source.verified, source.sha256), (true, Some(hash(b"the source"))));
    bench.finish(&held, complete()).await;
}

pub async fn a_source_that_is_another_one_fails_the_job(bench: &Bench) {
    let held = unverified(bench, hash(b"what was announced")).await;
    bench.broker.source_verified(&held, stored(b"the source")).await.unwrap();
    let job = bench.job(held.job).await;
    assert_eq!((job.status(), job.life.failures), (Status::Failed, 1));
    assert_eq!(job.last_error.unwrap().kind, "source_corrupt");
    assert!(is_refused(&bench.broker.finish(&held, complete()).await));
}
