//! Requests that are repeated under a name, as by a client whose connection broke before it got the reply.

use super::*;

impl Forge {
    async fn named(&self, path: &str, key: &str, body: Value) -> Reply {
        let request = self.request(Method::POST, path).header("Idempotency-Key", key).json(&body);
        Reply::of(request.send().await.unwrap()).await
    }

    async fn jobs(&self) -> Value {
        self.get("/api/stats").await.ok()["total_jobs"].clone()
    }

    /// A job that ended as it was called off.
    async fn cancelled(&self) -> i64 {
        let job = self.submit("work").await;
        self.post(&format!("/api/jobs/{job}/cancel"), Value::Null).await.ok();
        job
    }
}

#[tokio::test]
async fn a_batch_that_is_repeated_under_its_name_makes_the_same_jobs() {
    let forge = Forge::start().await;
    let batch = |parts: &[u32]| {
        let job = |n: &u32| json!({"type": "work", "source": "none", "params": {"n": n}, "dedup": false});
        json!({"jobs": parts.iter().map(job).collect::<Vec<_>>()})
    };
    let ids = |reply: Value| {
        reply["jobs"].as_array().unwrap().iter().map(|job| job["job_id"].clone()).collect::<Vec<_>>()
    };
    let first = ids(forge.named("/api/jobs/batch", "night 1", batch(&[1, 1, 2])).await.ok());
    assert_eq!(ids(forge.named("/api/jobs/batch", "night 1", batch(&[1, 1, 2])).await.ok()), first);
    assert_eq!(forge.jobs().await, 3);
    for other in [batch(&[1, 1]), batch(&[1, 1, 2, 3]), batch(&[9, 1, 2])] {
        forge.named("/api/jobs/batch", "night 1", other).await.refused(409, "idempotency_key_reused");
    }
    assert_eq!(forge.jobs().await, 3, "what was refused left nothing");
    forge.named("/api/jobs/batch", "night 2", batch(&[1, 1, 2])).await.ok();
    assert_eq!(forge.jobs().await, 6, "another name is another batch");
    for key in ["k".repeat(256), "\u{e9}".to_owned()] {
        let reply = forge.named("/api/jobs/batch", &key, batch(&[1])).await;
        assert_eq!(reply.status, 400, "{reply:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_sent_again_under_its_name_is_the_same_job() {
    let forge = Forge::start().await;
    let send = async |key: &str, content: &'static str| {
        let request = forge.request(Method::PUT, "/api/jobs/upload?type=work&name=a");
        let request = request.header("Idempotency-Key", key).body(content);
        Reply::of(request.send().await.unwrap()).await
    };
    let first = send("a", "hello").await.ok();
    assert_eq!(send("a", "hello").await.ok()["job_id"], first["job_id"]);
    send("a", "world").await.refused(409, "idempotency_key_reused");
    assert_eq!(forge.jobs().await, 1);
}

#[tokio::test]
async fn a_retry_that_is_repeated_under_its_name_runs_the_job_once_more_and_not_twice() {
    let forge = Forge::start().await;
    let job = forge.cancelled().await;
    let path = |verb: &str| format!("/api/jobs/{job}/{verb}");
    assert_eq!(forge.named(&path("retry"), "again", Value::Null).await.ok()["status"], "pending");
    forge.post(&path("cancel"), Value::Null).await.ok();
    assert_eq!(forge.named(&path("retry"), "again", Value::Null).await.ok()["status"], "cancelled");
    let other = json!({"priority": 1});
    forge.named(&path("retry"), "again", other).await.refused(409, "idempotency_key_reused");
    // The name is another one's for another job, and free again after a refusal.
    let second = forge.submit("work").await;
    let retry = format!("/api/jobs/{second}/retry");
    forge.named(&retry, "again", Value::Null).await.refused(409, "wrong_state");
    forge.post(&format!("/api/jobs/{second}/cancel"), Value::Null).await.ok();
    assert_eq!(forge.named(&retry, "again", Value::Null).await.ok()["status"], "pending");
    forge.named(&retry, "", Value::Null).await.refused(400, "invalid");
}

#[tokio::test]
async fn a_bulk_change_that_is_repeated_under_its_name_changes_nothing_more() {
    let forge = Forge::start().await;
    forge.cancelled().await;
    let wish = json!({"action": "delete", "filter": {"status": "cancelled"}});
    let first = forge.named("/api/jobs/bulk", "tidy", wish.clone()).await.ok();
    assert_eq!(first["done"], 1);
    let late = forge.cancelled().await;
    assert_eq!(forge.named("/api/jobs/bulk", "tidy", wish).await.ok(), first, "what it did then");
    forge.get(&format!("/api/jobs/{late}")).await.ok();
    let other = json!({"action": "delete", "ids": [late]});
    forge.named("/api/jobs/bulk", "tidy", other.clone()).await.refused(409, "idempotency_key_reused");
    let dry = json!({"action": "delete", "ids": [late], "dry_run": true});
    assert_eq!(forge.named("/api/jobs/bulk", "look", dry).await.ok()["done"], 1);
    assert_eq!(forge.named("/api/jobs/bulk", "look", other).await.ok()["done"], 1, "a look uses up no name");
    // Another token's names are its own.
    let token = forge.token(json!({"name": "s", "scopes": ["submit"]})).await;
    let request =
        forge.bare(Method::POST, "/api/jobs/bulk").bearer_auth(token).header("Idempotency-Key", "tidy");
    let request = request.json(&json!({"action": "cancel", "everything": true}));
    assert!(request.send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn a_token_is_made_once_under_a_name_and_never_shown_again() {
    let forge = Forge::start().await;
    let wish = json!({"name": "ci", "scopes": ["submit"]});
    let made = forge.named("/api/admin/tokens", "ci", wish.clone()).await.ok();
    let again = forge.named("/api/tokens", "ci", wish).await;
    let detail = again.refused(409, "token_shown_once");
    assert!(detail.contains(made["id"].as_str().unwrap()), "{detail}");
    assert!(!again.body.to_string().contains(made["token"].as_str().unwrap()));
    assert_eq!(forge.get("/api/tokens").await.ok().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_name_is_known_for_seven_days_and_after_a_restart() {
    let clock =
        std::sync::Arc::new(blobforge_core::ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let config = ServeConfig { clock: Some(clock.clone()), ..ServeConfig::local(folder.path()) };
        Service::start(config).await.unwrap()
    };
    let http = Client::new();
    let retry = async |service: &Service, job: i64| {
        let url = format!("{}/api/jobs/{job}/retry", service.url());
        let request = http.post(url).bearer_auth(service.admin_token()).header("Idempotency-Key", "again");
        Reply::of(request.send().await.unwrap()).await.ok()["status"].clone()
    };
    let service = start().await;
    let job = blobforge_core::NewJob::new("work").unwrap();
    let job = service.queue().submit(job).await.unwrap().id;
    service.queue().cancel(job).await.unwrap();
    assert_eq!(retry(&service, job.get()).await, "pending");
    service.queue().cancel(job).await.unwrap();
    service.stop().await.unwrap();
    let service = start().await;
    let days = |n: u32| Duration::from_secs(24 * 60 * 60) * n;
    clock.advance(days(7) - Duration::from_secs(1));
    assert_eq!(retry(&service, job.get()).await, "cancelled", "it is the same request");
    clock.advance(days(7) + Duration::from_secs(2));
    assert_eq!(retry(&service, job.get()).await, "pending", "nobody repeats a request for so long");
    service.stop().await.unwrap();
}
