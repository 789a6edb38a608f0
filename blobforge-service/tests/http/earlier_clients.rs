//! Requests as clients of the earlier system send them.

use std::sync::Arc;

use blobforge_core::{Clock, ManualClock, SystemClock, blob::read_bytes};
use sha2::{Digest, Sha256};

use super::*;

const LETTER: &[u8] = b"Dear Margaret, the mill sent its first load of paper.";

fn hash() -> String {
    hex::encode(Sha256::digest(LETTER))
}

impl Forge {
    /// Waits until a job has left a status, and says what it is now.
    async fn after(&self, job: &Value, status: &str) -> Value {
        loop {
            let found = self.get(&format!("/api/jobs/{job}")).await.ok();
            if found["status"] != status {
                return found["status"].clone();
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_script_that_never_says_uploaded_gets_its_job_done() {
    let forge = Forge::start().await;
    let job = json!({"type": "pdf", "source_hash": hash(), "source_path": "letters/margaret.pdf"});
    let made = forge.post("/api/jobs", job).await.ok();
    let asked = json!({"key": format!("sources/{}", hash()), "content_type": "application/pdf"});
    let upload = forge.post("/api/files/upload-url", asked.clone()).await.ok();
    assert_eq!(forge.get(&format!("/api/jobs/{}", made["job_id"])).await.ok()["status"], "uploading");
    let put = forge.bare(Method::PUT, upload["url"].as_str().unwrap());
    let put = put.header("content-type", "application/pdf").body(LETTER).send().await.unwrap();
    assert_eq!(put.status(), 200);
    let arrived = tokio::time::timeout(PATIENCE, forge.after(&made["job_id"], "uploading")).await;
    assert_eq!(arrived.unwrap(), "pending");
    let detail = forge.post("/api/files/upload-url", asked).await.refused(404, "job_not_found");
    assert!(detail.contains(&hash()), "{detail}");
}

#[tokio::test]
async fn a_source_that_reaches_the_store_by_another_way_is_found_after_a_restart_too() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let forge = Forge::with(|config| config.clock = Some(clock.clone())).await;
    let made = forge.post("/api/jobs", json!({"type": "pdf", "source_hash": hash()})).await.ok();
    let asked = json!({"key": format!("sources/{}", hash())});
    forge.post("/api/files/upload-url", asked).await.ok();
    let forge = forge.restarted_with(|config| config.clock = Some(clock.clone())).await;
    let id = blobforge_core::JobId::new(made["job_id"].as_i64().unwrap());
    let queue = forge.service.queue();
    let key = queue.job(id).await.unwrap().source.unwrap().key;
    queue.blobs().put(&key, read_bytes(LETTER), 1000).await.unwrap();
    let waits = async {
        // It is looked for every ten seconds.
        while forge.get(&format!("/api/jobs/{id}")).await.ok()["status"] == "uploading" {
            clock.advance(Duration::from_secs(10));
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap();
    assert_eq!(forge.get(&format!("/api/jobs/{id}")).await.ok()["status"], "pending");
}

#[tokio::test]
async fn a_key_of_another_shape_is_refused() {
    let forge = Forge::start().await;
    for key in
        ["outputs/1/book.md", "sources/", "sources/../etc/passwd", &format!("sources/{}", "zz".repeat(32))]
    {
        let detail = forge.post("/api/files/upload-url", json!({"key": key})).await.refused(400, "invalid");
        assert!(detail.contains("SHA-256"), "{detail}");
    }
    forge.post("/api/files/upload-url", json!({})).await.refused(400, "invalid");
    forge
        .post("/api/files/upload-url", json!({"job_id": 1, "key": format!("sources/{}", hash())}))
        .await
        .refused(400, "invalid");
}

#[tokio::test]
async fn a_body_of_null_is_none() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let job = forge.submit("work").await;
    let other = forge.submit("work").await;
    for path in [
        "/api/workers/a/drain".to_owned(),
        "/api/workers/a/resume".to_owned(),
        format!("/api/jobs/{job}/cancel"),
        format!("/api/jobs/{other}/cancel"),
        format!("/api/jobs/{job}/retry"),
        "/api/workers/a/unregister".to_owned(),
        "/auth/logout".to_owned(),
    ] {
        let reply = forge.post(&path, Value::Null).await;
        assert!(reply.status.is_success() || reply.status.is_redirection(), "{path}: {reply:?}");
    }
    let deleted = forge.request(Method::DELETE, &format!("/api/jobs/{other}")).json(&Value::Null);
    Reply::of(deleted.send().await.unwrap()).await.ok();
}

#[tokio::test]
async fn a_worker_of_the_earlier_protocol_is_told_to_be_replaced() {
    let forge = Forge::start().await;
    let old =
        json!({"id": "gpu-1", "type": "pdf-convert", "name": "gpu-1", "metadata": {"hostname": "gpu-1"}});
    let refused = forge.post("/api/workers/register", old).await;
    let detail = refused.refused(426, "worker_too_old");
    assert!(detail.contains("protocol"), "{detail}");
}
