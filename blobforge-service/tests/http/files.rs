//! Files in and out, by signed URL.

use sha2::{Digest, Sha256};

use super::*;

const LETTER: &[u8] = b"Dear Margaret, the mill sent its first load of paper.";

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Forge {
    async fn put(&self, url: &Value, bytes: &[u8]) -> Reply {
        let request = self.bare(Method::PUT, url.as_str().unwrap()).body(bytes.to_vec());
        Reply::of(request.send().await.unwrap()).await
    }

    /// A job with a source that was sent, claimed by worker a.
    async fn claimed_with_source(&self) -> Value {
        let job = json!({"type": "work", "source_hash": hash(LETTER), "source_size": LETTER.len()});
        let made = self.post("/api/jobs", job).await.ok();
        self.put(&made["upload"]["url"], LETTER).await.ok();
        self.post(&format!("/api/jobs/{}/uploaded", made["job_id"]), json!({})).await.ok();
        self.register("a", "work").await;
        self.claim("a", "work").await
    }
}

#[tokio::test]
async fn a_source_is_announced_sent_checked_and_fetched() {
    let forge = Forge::start().await;
    let job = json!({"type": "work", "source_hash": hash(LETTER), "source_size": LETTER.len()});
    let made = forge.post("/api/jobs", job.clone()).await.ok();
    assert_eq!((&made["status"], &made["upload"]["method"]), (&json!("uploading"), &json!("PUT")));
    let uploaded = format!("/api/jobs/{}/uploaded", made["job_id"]);
    forge.post(&uploaded, Value::Null).await.refused(409, "upload_missing");
    // Whoever hands in the same gets the same job, and may send the file.
    let again = forge.post("/api/jobs", job.clone()).await;
    assert_eq!(again.status, 200);
    let again = again.ok();
    assert_eq!((&again["job_id"], &again["existing"]), (&made["job_id"], &json!(true)));
    forge.put(&again["upload"]["url"], LETTER).await.ok();
    assert_eq!(forge.post(&uploaded, Value::Null).await.ok()["status"], "pending");
    assert!(forge.post("/api/jobs", job).await.ok().get("upload").is_none(), "it is there");
    let path = format!("/api/files/{}/source/url", made["job_id"]);
    let download = forge.get(&path).await.ok();
    let url = download["url"].as_str().unwrap();
    let reply = forge.bare(Method::GET, url).send().await.unwrap();
    assert!(reply.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
    assert_eq!(reply.bytes().await.unwrap(), LETTER);
    let part = forge.bare(Method::GET, url).header("range", "bytes=5-12").send().await.unwrap();
    assert_eq!(
        (part.status().as_u16(), part.headers()["content-range"].to_str().unwrap()),
        (206, "bytes 5-12/53")
    );
    assert_eq!(part.bytes().await.unwrap(), LETTER[5..13]);
    let outside = forge.bare(Method::GET, url).header("range", "bytes=53-").send().await.unwrap();
    assert_eq!(outside.headers()["content-range"].to_str().unwrap(), "bytes */53");
    Reply::of(outside).await.refused(416, "bad_range");
}

#[tokio::test]
async fn a_url_that_still_works_replaces_nothing_that_has_arrived() {
    let forge = Forge::start().await;
    let made = forge.post("/api/jobs", json!({"type": "work"})).await.ok();
    let url = &made["upload"]["url"];
    forge.put(url, b"a first try").await.ok();
    forge.put(url, LETTER).await.ok();
    let uploaded = format!("/api/jobs/{}/uploaded", made["job_id"]);
    let job = forge.post(&uploaded, Value::Null).await.ok();
    let refused = forge.put(url, &LETTER.to_ascii_uppercase()).await;
    refused.refused(409, "file_taken");
    assert_eq!(forge.post(&uploaded, Value::Null).await.ok(), job, "its reply may have been lost");
    let download = forge.get(&format!("/api/files/{}/source/url", made["job_id"])).await.ok();
    let reply = forge.bare(Method::GET, download["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(reply.bytes().await.unwrap(), LETTER);
}

#[tokio::test]
async fn a_source_of_another_size_than_announced_fails_the_job() {
    let forge = Forge::start().await;
    let made = forge.post("/api/jobs", json!({"type": "work", "source_size": 5})).await.ok();
    forge.put(&made["upload"]["url"], LETTER).await.ok();
    let job = forge.post(&format!("/api/jobs/{}/uploaded", made["job_id"]), json!({})).await.ok();
    assert_eq!((&job["status"], &job["last_error"]["kind"]), (&json!("failed"), &json!("source_corrupt")));
}

#[tokio::test]
async fn a_url_opens_one_file_in_one_way_and_for_a_time() {
    let forge = Forge::start().await;
    let made = forge.post("/api/jobs", json!({"type": "work"})).await.ok();
    let url = made["upload"]["url"].as_str().unwrap().to_owned();
    let get = Reply::of(forge.bare(Method::GET, &url).send().await.unwrap()).await;
    get.refused(403, "bad_signature");
    let other = url.replace("sources/", "sources/0");
    forge.put(&json!(other), b"x").await.refused(403, "bad_signature");
    let later = url.replace("expires=", "expires=9");
    forge.put(&json!(later), b"x").await.refused(403, "bad_signature");
    forge.put(&json!(url.split('?').next().unwrap()), b"x").await.refused(403, "bad_signature");
    // Not even the admin's token replaces a signature.
    let request = forge.request(Method::GET, url.split('?').next().unwrap());
    Reply::of(request.send().await.unwrap()).await.refused(403, "bad_signature");
    forge.put(&json!(url), b"x").await.ok();
}

#[tokio::test]
async fn outputs_are_seen_with_the_completion_that_names_them_and_not_before() {
    let forge = Forge::start().await;
    let claim = forge.claimed_with_source().await;
    let source = forge.bare(Method::GET, claim["source_url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(source.bytes().await.unwrap(), LETTER);
    let job = format!("/api/jobs/{}", claim["job"]["id"]);
    let place = json!({"lease": claim["lease"], "name": "images/p 1.png"});
    let transfer = forge.post(claim["outputs_url"].as_str().unwrap(), place).await.ok();
    let complete = |size: usize, name: &str| json!({"lease": claim["lease"], "outputs": [{"name": name, "size": size, "sha256": hash(b"picture")}]});
    forge
        .post(&format!("{job}/complete"), complete(7, "images/p 1.png"))
        .await
        .refused(409, "upload_missing");
    forge.put(&transfer["url"], b"picture").await.ok();
    let output = format!("{job}/outputs/images/p%201.png");
    forge.get(&output).await.refused(404, "output_not_found");
    forge.post(&format!("{job}/complete"), complete(8, "images/p 1.png")).await.refused(400, "invalid");
    forge.post(&format!("{job}/complete"), complete(7, "../secret")).await.refused(400, "invalid");
    let done = forge.post(&format!("{job}/complete"), complete(7, "images/p 1.png")).await.ok();
    assert_eq!(done["status"], "completed");
    let reply = forge.request(Method::GET, &output).send().await.unwrap();
    assert_eq!(reply.status(), 302);
    let url = reply.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(forge.bare(Method::GET, &url).send().await.unwrap().bytes().await.unwrap(), "picture");
    let shown = forge.get(&job).await.ok();
    assert_eq!(shown["outputs"][0]["size"], 7);
    assert_eq!(shown["outputs"][0]["url"], output.as_str());
    // With the attempt its right to write ends.
    let late = json!({"lease": claim["lease"], "name": "late"});
    forge.post(claim["outputs_url"].as_str().unwrap(), late).await.refused(409, "lease_lost");
}

#[tokio::test]
async fn a_checkpoint_goes_from_one_attempt_to_the_next() {
    let forge = Forge::start().await;
    let claim = forge.claimed_with_source().await;
    let job = format!("/api/jobs/{}", claim["job"]["id"]);
    let kept = json!({"lease": claim["lease"], "name": "half", "size": 4, "sha256": hash(b"half")});
    forge.post(&format!("{job}/checkpoint"), kept.clone()).await.refused(409, "upload_missing");
    let place = json!({"lease": claim["lease"], "name": "half", "kind": "checkpoint"});
    let transfer = forge.post(claim["outputs_url"].as_str().unwrap(), place).await.ok();
    forge.put(&transfer["url"], b"half").await.ok();
    forge.post(&format!("{job}/checkpoint"), kept).await.ok();
    forge.post(&format!("{job}/release"), json!({"lease": claim["lease"]})).await.ok();
    let claim = forge.claim("a", "work").await;
    let kept = &claim["checkpoints"][0];
    assert_eq!((&kept["name"], &kept["size"]), (&json!("half"), &json!(4)));
    let content = forge.bare(Method::GET, kept["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(content.bytes().await.unwrap(), "half");
    let fresh = forge.get(&format!("/api/files/{}/checkpoint/url?name=half", claim["job"]["id"])).await.ok();
    assert_eq!(fresh["method"], "GET");
}

#[tokio::test]
async fn one_request_hands_in_a_file_and_its_hash_is_known() {
    let forge = Forge::start().await;
    let send = || {
        forge
            .request(Method::PUT, "/api/jobs/upload?type=work&name=letter.txt&tags=a,b&priority=low")
            .body(LETTER)
    };
    let made = Reply::of(send().send().await.unwrap()).await;
    assert_eq!(made.status, 201);
    let made = made.ok();
    let job = forge.get(&format!("/api/jobs/{}", made["job_id"])).await.ok();
    assert_eq!((&job["source_hash"], &job["source_verified"]), (&json!(hash(LETTER)), &json!(true)));
    assert_eq!(
        (&job["source_path"], &job["tags"], &job["priority"]),
        (&json!("letter.txt"), &json!(["a", "b"]), &json!(4))
    );
    let again = Reply::of(send().send().await.unwrap()).await.ok();
    assert_eq!((&again["job_id"], &again["existing"]), (&made["job_id"], &json!(true)));
    let without = forge.request(Method::PUT, "/api/jobs/upload").body("x");
    Reply::of(without.send().await.unwrap()).await.refused(400, "invalid_parameter");
}

#[tokio::test]
async fn a_source_that_turns_out_to_be_another_one_fails_the_job() {
    let forge = Forge::start().await;
    let claim = forge.claimed_with_source().await;
    let path = format!("/api/jobs/{}/source-verified", claim["job"]["id"]);
    forge.post(&path, json!({"lease": claim["lease"], "sha256": "00"})).await.refused(400, "invalid");
    forge.post(&path, json!({"lease": claim["lease"], "sha256": hash(LETTER)})).await.ok();
    let job = forge.get(&format!("/api/jobs/{}", claim["job"]["id"])).await.ok();
    assert_eq!(job["source_verified"], true);
    let found = json!({"lease": claim["lease"], "size": LETTER.len() - 1, "sha256": hash(LETTER)});
    forge.post(&path, found).await.ok();
    let id = &claim["job"]["id"];
    let job = forge.get(&format!("/api/jobs/{id}")).await.ok();
    assert_eq!((&job["status"], &job["last_error"]["kind"]), (&json!("failed"), &json!("source_corrupt")));
    let announced = json!({"type": "work", "source_hash": hash(LETTER), "retry_failed": true});
    let again = forge.post("/api/jobs", announced).await.ok();
    assert_eq!((&again["job_id"], &again["status"]), (id, &json!("uploading")));
    forge.put(&again["upload"]["url"], LETTER).await.ok();
    let sent = forge.post(&format!("/api/jobs/{id}/uploaded"), Value::Null).await.ok();
    assert_eq!(sent["status"], "pending");
}

#[tokio::test]
async fn who_hands_in_the_same_work_adds_its_tags_and_its_path() {
    let forge = Forge::start().await;
    let job = |path: &str, tag: &str| json!({"type": "work", "source_hash": hash(LETTER), "source_path": path, "tags": [tag]});
    let made = forge.post("/api/jobs", job("a.txt", "letters")).await.ok();
    let again = forge.post("/api/jobs", job("b.txt", "mill")).await.ok();
    assert_eq!(again["job_id"], made["job_id"]);
    let job = forge.get(&format!("/api/jobs/{}", made["job_id"])).await.ok();
    assert_eq!(job["tags"], json!(["letters", "mill"]));
    assert_eq!((&job["source_path"], &job["other_paths"]), (&json!("a.txt"), &json!(["b.txt"])));
}

#[tokio::test]
async fn no_url_outlasts_a_restore() {
    let forge = Forge::start().await;
    let job = json!({"type": "work", "source_hash": hash(LETTER), "source_size": LETTER.len()});
    let url = forge.post("/api/jobs", job.clone()).await.ok()["upload"]["url"].clone();
    let forge = forge.restarted_with(|_| {}).await;
    forge.put(&url, LETTER).await.ok();
    let missing = |config: &mut ServeConfig| {
        std::fs::remove_file(config.db_path.with_file_name("blobforge.db-home")).unwrap();
    };
    let forge = forge.restarted_with(missing).await;
    forge.put(&url, LETTER).await.refused(403, "bad_signature");
    let again = forge.post("/api/jobs", job).await.ok()["upload"]["url"].clone();
    forge.put(&again, LETTER).await.ok();
}
