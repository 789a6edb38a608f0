//! Files go straight between clients and the bucket, and nobody gets further than his own job.

use std::sync::{Arc, Mutex};

use blobforge_core::{
    NewJob, Status,
    broker::{Broker, Ending},
    queue::Sending,
};
use blobforge_worker_sdk::client::SubmitFile;
use serde_json::{Value, json};

use crate::{Forge, MIB, claim, content, read};

#[tokio::test]
async fn a_large_source_and_a_large_output_go_in_parts_and_come_back_the_same() {
    let forge = Forge::start().await;
    let client = forge.client();
    let book = forge.file("book.pdf", 23 * MIB + 7);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let tell = move |sent, size| hears.lock().unwrap().push((sent, size));
    let submitted = client.submit_file(SubmitFile::new("pdf", &book), tell).await.unwrap();
    assert_eq!(submitted.status, Status::Pending);
    let whole = content("book.pdf", 23 * MIB + 7);
    assert!(forge.source(submitted.job_id).await == whole, "it is the same file");
    let heard = heard.lock().unwrap().clone();
    assert_eq!(
        heard.last().copied(),
        Some((whole.len() as u64, whole.len() as u64)),
        "all of it was told of"
    );
    assert!(heard.len() > 10, "and pieces on the way");

    let work = claim(&client, "smith", "pdf").await;
    assert!(
        work.source.as_ref().unwrap().location.starts_with(&forge.bucket.endpoint),
        "straight from the bucket"
    );
    let pictures = forge.file("pictures.bin", 12 * MIB);
    let output = client.put_output(&work, "images/all.bin", &pictures).await.unwrap();
    assert_eq!(output.size, 12 * MIB as u64);
    client.finish(&work, Ending::Complete { outputs: vec![output], result: None }).await.unwrap();
    let to = forge.folder.path().join("fetched.bin");
    client.download_output(work.job, "images/all.bin", &to).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == content("pictures.bin", 12 * MIB));
    assert_eq!(forge.bucket.unfinished(), Vec::<String>::new());
}

#[tokio::test]
async fn a_source_that_was_sent_is_not_sent_again() {
    let forge = Forge::start().await;
    let book = forge.file("book.pdf", 11 * MIB);
    let first = forge.client().submit_file(SubmitFile::new("pdf", &book), |_, _| {}).await.unwrap();
    let again = forge
        .client()
        .submit_file(SubmitFile::new("pdf", &book), |_, _| panic!("nothing is sent"))
        .await
        .unwrap();
    assert_eq!((again.job_id, again.existing), (first.job_id, true));
}

/// Asks for the address of a file of an attempt.
async fn ask(forge: &Forge, job: i64, body: Value) -> (u16, Value) {
    let url = format!("{}/api/files/{job}/outputs/url", forge.service.url());
    let request = reqwest::Client::new().post(url).bearer_auth(forge.service.admin_token()).json(&body);
    let reply = request.send().await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap())
}

#[tokio::test]
async fn no_route_signs_a_key_outside_its_job() {
    let forge = Forge::start().await;
    let client = forge.client();
    for name in ["one.pdf", "two.pdf"] {
        client.submit_file(SubmitFile::new("pdf", forge.file(name, 1000)), |_, _| {}).await.unwrap();
    }
    let (one, two) = (claim(&client, "smith", "pdf").await, claim(&client, "jones", "pdf").await);
    let lease = one.token.to_string();
    for name in [
        "../../2/1-1/text.md",
        "/etc/passwd",
        "a/../../text.md",
        "..",
        ".",
        "",
        "a//b",
        "a\\..\\b",
        "C:/text.md",
        "a\0b",
        "a\nb",
        "%2e%2e/text.md\u{202e}",
    ] {
        let (status, said) = ask(&forge, one.job.get(), json!({"lease": lease, "name": name})).await;
        if status == 200 {
            let url = said["url"].as_str().unwrap();
            let path = url.split('?').next().unwrap().strip_prefix(&forge.bucket.endpoint).unwrap();
            let inside = format!("/{}/outputs/{}/", crate::bucket::BUCKET, one.job);
            assert!(
                path.starts_with(&inside) && !path.contains("/../") && !path.contains("//"),
                "{name:?}: {path}"
            );
        } else {
            assert_eq!(status, 400, "{name:?}: {said}");
        }
    }
    // With the lease of one job nobody gets at another.
    let (status, said) = ask(&forge, two.job.get(), json!({"lease": lease, "name": "text.md"})).await;
    assert_eq!((status, said["code"].as_str()), (409, Some("lease_lost")));
    let url = format!("{}/api/files/upload-url", forge.service.url());
    for body in [
        json!({"key": "outputs/1/1-1/text.md"}),
        json!({"key": "sources/../outputs/1"}),
        json!({"job_id": one.job}),
    ] {
        let request = reqwest::Client::new().post(&url).bearer_auth(forge.service.admin_token()).json(&body);
        let status = request.send().await.unwrap().status().as_u16();
        assert!((400..500).contains(&status), "{body}: {status}");
    }
}

#[tokio::test]
async fn a_late_upload_of_an_attempt_that_is_over_changes_nothing_visible() {
    let forge = Forge::start().await;
    let client = forge.client();
    client.submit_file(SubmitFile::new("pdf", forge.file("one.pdf", 1000)), |_, _| {}).await.unwrap();
    let slow = claim(&client, "slow", "pdf").await;
    let body = json!({"lease": slow.token.to_string(), "name": "text.md"});
    let (_, place) = ask(&forge, slow.job.get(), body.clone()).await;
    let large = json!({"lease": slow.token.to_string(), "name": "large.bin", "size": 11 * MIB});
    let (_, in_parts) = ask(&forge, slow.job.get(), large.clone()).await;
    // Its lease is lost, and another worker does the job.
    forge.service.queue().remove_worker(blobforge_core::WorkerId::new("slow").unwrap()).await.unwrap();
    let work = claim(&client, "quick", "pdf").await;
    assert_eq!(work.job, slow.job);
    let output = client.put_output(&work, "text.md", &forge.file("text.md", 100)).await.unwrap();
    client.finish(&work, Ending::Complete { outputs: vec![output], result: None }).await.unwrap();

    let http = reqwest::Client::new();
    let put = |url: &Value| http.put(url.as_str().unwrap()).body("of a zombie").send();
    assert!(put(&place["url"]).await.unwrap().status().is_success(), "the store knows nothing of leases");
    assert!(put(&in_parts["parts"][0]["url"]).await.unwrap().status().is_success());
    let (status, said) = ask(&forge, slow.job.get(), large).await;
    assert_eq!((status, said["code"].as_str()), (409, Some("lease_lost")));

    let to = forge.folder.path().join("fetched.md");
    client.download_output(work.job, "text.md", &to).await.unwrap();
    assert!(std::fs::read(to).unwrap() == content("text.md", 100), "what was accepted is what is seen");
    let job = client.job(work.job).await.unwrap();
    assert_eq!(job.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(), ["text.md"]);
    assert_eq!(
        forge.service.queue().collect_garbage(false).await.unwrap().uploads,
        1,
        "its parts are thrown away"
    );
    assert_eq!(forge.bucket.unfinished(), Vec::<String>::new());
}

#[tokio::test]
async fn a_source_of_unknown_size_is_checked_when_it_is_said_to_be_there() {
    let forge = Forge::start().await;
    let queue = forge.service.queue();
    let source = blobforge_core::NewSource::Upload { sha256: None, size: Some(5) };
    let id = queue.submit(NewJob::new("pdf").unwrap().source(source)).await.unwrap().id;
    let Some(Sending::Whole(to)) = queue.send_source(id, Vec::new()).await.unwrap() else { panic!() };
    let uploaded = format!("{}/api/jobs/{id}/uploaded", forge.service.url());
    let http = reqwest::Client::new();
    let say = || http.post(&uploaded).bearer_auth(forge.service.admin_token()).json(&json!({})).send();
    let said: Value = say().await.unwrap().json().await.unwrap();
    assert_eq!(said["code"], "upload_missing");
    http.put(to.url).body("123456").send().await.unwrap().error_for_status().unwrap();
    say().await.unwrap();
    let job = queue.job(id).await.unwrap();
    assert_eq!(
        (job.status(), job.last_error.clone().unwrap().kind.as_str()),
        (Status::Failed, "source_corrupt")
    );
    assert_eq!(read(&forge.service, &job.source.unwrap().key).await, b"123456", "nothing is deleted at once");
}
