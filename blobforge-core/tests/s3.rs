//! Files in S3: the same suite as every blob store, and direct access by URLs, against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bucket;

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    NewJob, NewSource, Queue, Status, Timestamp,
    blob::{BlobError, BlobStore, Grant, Method, ObjectBlobs, read_bytes},
    queue::{PartToSend, Sending, SentPart},
};
use bucket::Bucket;
use bytes::Bytes;
use futures_util::TryStreamExt;

const MIB: usize = 1024 * 1024;

async fn s3() -> (Arc<dyn BlobStore>, Bucket) {
    let bucket = Bucket::start().await;
    let mut options = bucket.options();
    options.prefix = "forge/one".to_owned();
    (Arc::new(ObjectBlobs::s3(&options).unwrap()), bucket)
}

mod in_a_bucket {
    blobforge_core::blob_conformance!(super::s3);
}

fn grant(method: Method, key: &str, lasts: Duration) -> Grant<'_> {
    Grant { method, key, name: None, now: Timestamp::from_millis(0), lasts }
}

async fn url(blobs: &dyn BlobStore, method: Method, key: &str) -> String {
    blobs.direct().unwrap().url(grant(method, key, Duration::from_secs(60))).await.unwrap().url
}

#[tokio::test]
async fn a_url_opens_its_own_file_for_its_own_method_only() {
    let (blobs, _bucket) = s3().await;
    blobs.put("sources/b", read_bytes("of somebody else"), 100).await.unwrap();
    let http = reqwest::Client::new();
    let put = url(&*blobs, Method::Put, "sources/a").await;
    assert_eq!(http.put(&put).body("%PDF-1.7").send().await.unwrap().status(), 200);
    let get = url(&*blobs, Method::Get, "sources/a").await;
    assert_eq!(http.get(&get).send().await.unwrap().text().await.unwrap(), "%PDF-1.7");
    let part = http.get(&get).header("range", "bytes=1-3").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.text().await.unwrap().as_str()), (206, "PDF"));

    for (what, request) in [
        ("another method", http.put(&get).body("evil")),
        ("a method that only reads", http.get(&put)),
        ("another key", http.get(get.replace("sources/a", "sources/b"))),
        ("a key outside the prefix", http.put(put.replace("forge/one/sources/a", "sources/a")).body("evil")),
        ("a longer life", http.get(get.replace("X-Amz-Expires=60", "X-Amz-Expires=90"))),
        ("no signature", http.get(get.split('?').next().unwrap())),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 403, "{what}");
    }
    let kept: Vec<_> = blobs.get("sources/a", None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(kept.concat(), b"%PDF-1.7", "nothing was replaced");
}

#[tokio::test]
async fn a_url_opens_nothing_once_its_time_is_over() {
    let (blobs, _bucket) = s3().await;
    blobs.put("sources/a", read_bytes("%PDF-1.7"), 100).await.unwrap();
    let short = grant(Method::Get, "sources/a", Duration::from_secs(1));
    let url = blobs.direct().unwrap().url(short).await.unwrap().url;
    let begun = std::time::Instant::now();
    // The server goes by its own clock: it is asked until it says no.
    while reqwest::get(&url).await.unwrap().status() != 403 {
        assert!(begun.elapsed() < Duration::from_secs(120), "it opens for ever");
    }
    let long = self::url(&*blobs, Method::Get, "sources/a").await;
    assert_eq!(reqwest::get(long).await.unwrap().status(), 200, "and not for another reason");
}

#[tokio::test]
async fn a_url_says_what_to_call_the_file() {
    let (blobs, _bucket) = s3().await;
    blobs.put("outputs/1/1-1/a", read_bytes("text"), 100).await.unwrap();
    let grant = Grant {
        name: Some("Brief über Öfen.md"),
        ..grant(Method::Get, "outputs/1/1-1/a", Duration::from_secs(60))
    };
    let url = blobs.direct().unwrap().url(grant).await.unwrap().url;
    let reply = reqwest::get(url).await.unwrap();
    let name = reply.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(
        name,
        "attachment; filename=\"Brief _ber _fen.md\"; filename*=UTF-8''Brief%20%C3%BCber%20%C3%96fen.md"
    );
    assert_eq!(reply.text().await.unwrap(), "text");
}

#[tokio::test]
async fn a_wrong_key_is_told_from_a_file_that_is_not_there() {
    let bucket = Bucket::start().await;
    let mut options = bucket.options();
    options.secret_key = "guessed".to_owned();
    let blobs = ObjectBlobs::s3(&options).unwrap();
    let refused = blobs.size("sources/a").await.unwrap_err();
    assert!(matches!(refused, BlobError::Store(_)), "{refused}");
}

/// A queue on a bucket, with a job whose source has so many bytes and is to be sent.
async fn waiting_for(bucket: &Bucket, size: usize) -> (Queue, blobforge_core::JobId) {
    let blobs = Arc::new(ObjectBlobs::s3(&bucket.options()).unwrap());
    let queue = Queue::builder().blobs(blobs).open_in_memory().unwrap();
    let source = NewSource::Upload { sha256: None, size: Some(size as u64) };
    let id = queue.submit(NewJob::new("pdf").unwrap().source(source)).await.unwrap().id;
    (queue, id)
}

async fn parts(queue: &Queue, id: blobforge_core::JobId, sent: Vec<SentPart>) -> Vec<PartToSend> {
    match queue.send_source(id, sent).await.unwrap() {
        Some(Sending::Parts(to_send)) => {
            assert!(to_send.parts.len() <= 8 && to_send.missing >= to_send.parts.len() as u64);
            to_send.parts
        }
        other => panic!("{other:?}"),
    }
}

async fn send(content: &Bytes, part: &PartToSend) -> SentPart {
    let (from, to) = (part.offset as usize, (part.offset + part.size) as usize);
    let request = reqwest::Client::new().put(&part.url.url).body(content.slice(from..to));
    let reply = request.send().await.unwrap().error_for_status().unwrap();
    SentPart { number: part.number, etag: reply.headers()["etag"].to_str().unwrap().to_owned() }
}

fn content(size: usize) -> Bytes {
    (0..size).map(|n| (n / MIB * 31 + n * 7) as u8).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn a_large_source_goes_in_parts_of_which_each_is_asked_for_until_it_was_sent() {
    let bucket = Bucket::start().await;
    let content = content(57 * MIB);
    let (queue, id) = waiting_for(&bucket, content.len()).await;
    let mut to_send = parts(&queue, id, Vec::new()).await;
    assert_eq!(to_send.iter().map(|part| part.number).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    let mut sent_in_all = 0;
    loop {
        // The last ones first, and some of them said late: nothing depends on the order.
        let mut sent = Vec::new();
        for part in to_send.iter().rev().step_by(2) {
            sent.push(send(&content, part).await);
        }
        sent_in_all += sent.len();
        match queue.send_source(id, sent.clone()).await.unwrap().unwrap() {
            Sending::Parts(next) => to_send = next.parts,
            Sending::Done => {
                assert_eq!(queue.send_source(id, sent).await.unwrap(), Some(Sending::Done), "said again");
                let anew = queue.send_source(id, Vec::new()).await.unwrap();
                assert_eq!(anew, Some(Sending::Done), "who starts again need not send it again");
                break;
            }
            Sending::Whole(url) => panic!("{url:?}"),
        }
    }
    assert_eq!(sent_in_all, 12, "each part once");
    assert_eq!(queue.source_uploaded(id).await.unwrap().status(), Status::Pending);
    let key = queue.job(id).await.unwrap().source.unwrap().key;
    let stored: Vec<_> = queue.blobs().get(&key, None).await.unwrap().try_collect().await.unwrap();
    assert!(stored.concat() == content, "it is the same file");
    assert!(queue.storage().records("uploads").await.unwrap().is_empty(), "nothing is left to remember");
    assert_eq!(bucket.unfinished(), Vec::<String>::new());
}

#[tokio::test]
async fn a_small_source_goes_in_one_request() {
    let bucket = Bucket::start().await;
    let (queue, id) = waiting_for(&bucket, 5 * MIB).await;
    let Some(Sending::Whole(to)) = queue.send_source(id, Vec::new()).await.unwrap() else { panic!() };
    reqwest::Client::new()
        .put(to.url)
        .body(content(5 * MIB))
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    assert_eq!(queue.source_uploaded(id).await.unwrap().status(), Status::Pending);
}

#[tokio::test]
async fn an_upload_whose_parts_the_store_does_not_know_begins_anew() {
    let bucket = Bucket::start().await;
    let content = content(11 * MIB);
    let (queue, id) = waiting_for(&bucket, content.len()).await;
    let first = parts(&queue, id, Vec::new()).await;
    let mut sent = Vec::new();
    for part in &first {
        sent.push(send(&content, part).await);
    }
    // A rule of the bucket cleared them away.
    let record = queue.storage().records("uploads").await.unwrap().remove(0);
    let store = queue.blobs().direct().unwrap().multipart().unwrap();
    store.abort(&record.0, record.1["id"].as_str().unwrap()).await.unwrap();
    let refused = queue.send_source(id, sent.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("begin anew"), "{refused}");
    let again = parts(&queue, id, Vec::new()).await;
    assert_eq!(again.len(), 3);
    let refused =
        queue.send_source(id, vec![SentPart { number: 4, etag: "\"a\"".to_owned() }]).await.unwrap_err();
    assert!(refused.to_string().contains("there is no part 4"), "{refused}");
    let mut sent = Vec::new();
    for part in &again {
        sent.push(send(&content, part).await);
    }
    assert_eq!(queue.send_source(id, sent).await.unwrap(), Some(Sending::Done));
}

#[tokio::test]
async fn an_upload_that_nobody_waits_for_is_thrown_away() {
    let bucket = Bucket::start().await;
    let content = content(11 * MIB);
    let (queue, id) = waiting_for(&bucket, content.len()).await;
    let to_send = parts(&queue, id, Vec::new()).await;
    let sent = send(&content, &to_send[0]).await;
    parts(&queue, id, vec![sent]).await;
    assert_eq!(queue.collect_garbage(false).await.unwrap().uploads, 0, "its job waits for it");
    assert!(!bucket.unfinished().is_empty());
    queue.cancel(id).await.unwrap();
    assert_eq!(queue.collect_garbage(true).await.unwrap().uploads, 0, "a dry run changes nothing");
    assert_eq!(queue.collect_garbage(false).await.unwrap().uploads, 1);
    assert_eq!(bucket.unfinished(), Vec::<String>::new());
    assert!(queue.storage().records("uploads").await.unwrap().is_empty());
}
