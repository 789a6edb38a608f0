//! Workers as the service knows them.

use super::*;

#[tokio::test]
async fn a_worker_registers_lives_and_leaves() {
    let forge = Forge::with_lease(Duration::from_secs(60)).await;
    let body = json!({
        "id": "a", "types": ["work", "pdf-convert"], "name": "Anna", "labels": {"gpu": true},
        "metadata": {"host": "x"}, "protocol": 1, "instance": "instance of a", "unknown": "is ignored"
    });
    let welcome = forge.post("/api/workers/register", body.clone()).await.ok();
    assert_eq!((&welcome["heartbeat_interval"], &welcome["lease_seconds"]), (&json!(20.0), &json!(60.0)));
    let worker = forge.get("/api/workers/a").await.ok();
    assert_eq!((&worker["status"], &worker["types"]), (&json!("online"), &json!(["work", "pdf"])));
    assert!(!worker.to_string().contains("instance of a"), "secrets stay secret");
    assert_eq!(forge.get("/api/workers").await.ok(), json!([worker]));
    // The same process may say it again; another one may not.
    forge.post("/api/workers/register", body.clone()).await.ok();
    let mut other = body;
    other["instance"] = json!("somebody else");
    forge.post("/api/workers/register", other.clone()).await.refused(409, "worker_id_in_use");
    other["previous_instance"] = json!("instance of a");
    forge.post("/api/workers/register", other).await.ok();
    forge.post("/api/workers/a/unregister", json!({"instance": "somebody else"})).await.ok();
    assert_eq!(forge.get("/api/workers/a").await.ok()["status"], "offline");
    forge.post("/api/workers/a/heartbeat", json!({})).await.refused(409, "worker_not_registered");
}

#[tokio::test]
async fn a_heartbeat_renews_what_it_lists_and_hears_what_is_wanted() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let (one, two) = (forge.submit("work").await, forge.submit("work").await);
    let claims = [forge.claim("a", "work").await, forge.claim("a", "work").await];
    let beat = |lease: &Value| {
        json!({"leases": [
            {"job_id": one, "lease": claims[0]["lease"], "progress": {"done": 3, "total": 9, "stage": "read"}},
            {"job_id": two, "lease": lease},
        ]})
    };
    let reply = forge.post("/api/workers/a/heartbeat", beat(&claims[1]["lease"])).await.ok();
    assert_eq!(reply["leases"], json!([{"job_id": one, "state": "held"}, {"job_id": two, "state": "held"}]));
    assert_eq!((&reply["drain"], &reply["config"]["lease_seconds"]), (&json!(false), &json!(60.0)));
    let progress = forge.get(&format!("/api/jobs/{one}")).await.ok()["progress"].clone();
    assert_eq!(
        (&progress["done"], &progress["total"], &progress["stage"]),
        (&json!(3), &json!(9), &json!("read"))
    );
    forge.post(&format!("/api/jobs/{one}/cancel"), Value::Null).await.ok();
    forge.post("/api/workers/a/drain", Value::Null).await.ok();
    // The lease of one job does not open another.
    let reply = forge.post("/api/workers/a/heartbeat", beat(&claims[0]["lease"])).await.ok();
    assert_eq!(
        reply["leases"],
        json!([{"job_id": one, "state": "cancel"}, {"job_id": two, "state": "lost"}])
    );
    assert_eq!(reply["drain"], true);
    let ended =
        forge.post(&format!("/api/jobs/{one}/release"), json!({"lease": claims[0]["lease"]})).await.ok();
    assert_eq!(ended["status"], "cancelled");
    forge.post("/api/workers/a/resume", Value::Null).await.ok();
    assert_eq!(forge.post("/api/workers/a/heartbeat", Value::Null).await.ok()["drain"], false);
}

#[tokio::test]
async fn progress_can_be_told_without_a_heartbeat() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let job = forge.submit("work").await;
    let claim = forge.claim("a", "work").await;
    let path = format!("/api/jobs/{job}/progress");
    let told = json!({"lease": claim["lease"], "progress": {"done": 1}});
    assert_eq!(forge.post(&path, told.clone()).await.ok()["state"], "held");
    forge.post(&format!("/api/jobs/{job}/release"), json!({"lease": claim["lease"]})).await.ok();
    forge.post(&path, told).await.refused(409, "lease_lost");
}

#[tokio::test]
async fn a_worker_that_is_removed_loses_what_it_held() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let job = forge.submit("work").await;
    let claim = forge.claim("a", "work").await;
    let removed = forge.request(Method::DELETE, "/api/workers/a").send().await.unwrap();
    assert!(removed.status().is_success());
    let path = format!("/api/jobs/{job}");
    assert_eq!(forge.get(&path).await.ok()["status"], "pending");
    forge
        .post(&format!("{path}/complete"), json!({"lease": claim["lease"]}))
        .await
        .refused(409, "lease_lost");
}
