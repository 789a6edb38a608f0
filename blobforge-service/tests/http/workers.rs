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
async fn how_a_worker_is_can_be_seen_as_it_last_said() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let say = async |condition: Value| {
        forge.post("/api/workers/a/heartbeat", json!({ "condition": condition })).await.ok();
        forge.get("/api/workers/a").await.ok()
    };
    let worker = forge.get("/api/workers/a").await.ok();
    assert_eq!((&worker["suspended_until"], &worker["trouble"]), (&Value::Null, &Value::Null));
    let card = json!({
        "name": "NVIDIA H100", "use_percent": 97.5, "memory_used_bytes": 3, "memory_total_bytes": 4,
        "temperature_celsius": null,
    });
    let gauges = json!({
        "cpu_percent": 12.5, "memory_used_bytes": 1, "memory_total_bytes": 2, "disk_free_bytes": 3,
        "disk_total_bytes": 4, "gpus": [card],
    });
    let tonight = "2126-03-01T22:00:00.000Z";
    let worker = say(json!({"suspended_until": tonight, "gauges": gauges, "unknown": "is ignored"})).await;
    assert_eq!((&worker["status"], &worker["suspended_until"]), (&json!("suspended"), &json!(tonight)));
    assert_eq!((&worker["gauges"], &worker["trouble"]), (&gauges, &Value::Null));
    assert_eq!(forge.get("/api/workers").await.ok(), json!([worker]));
    assert_eq!(say(Value::Null).await["status"], "suspended", "no news is no news");
    forge.post("/api/workers/a/drain", Value::Null).await.ok();
    assert_eq!(say(Value::Null).await["status"], "draining", "whatever it says");
    forge.post("/api/workers/a/resume", Value::Null).await.ok();
    let worker = say(json!({"suspended_until": "2020-03-01T22:00:00Z", "trouble": "GPU 0 is gone"})).await;
    assert_eq!((&worker["status"], &worker["trouble"]), (&json!("online"), &json!("GPU 0 is gone")));
    let mut many = gauges.clone();
    many["gpus"] = json!(vec![card; 65]);
    for (wrong, field) in [(json!({"gauges": many}), "gauges.gpus"), (json!({"trouble": 7}), "trouble")] {
        let refused = forge.post("/api/workers/a/heartbeat", json!({ "condition": wrong })).await;
        let problem = refused.refused(400, "invalid");
        assert!(problem.contains(field), "{problem}");
    }
    forge.register("b", "work").await;
    forge.post("/api/workers/b/heartbeat", json!({"condition": {"suspended_until": tonight}})).await.ok();
    forge.post("/api/workers/b/unregister", Value::Null).await.ok();
    assert_eq!(forge.get("/api/workers/b").await.ok()["status"], "offline");
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
async fn what_a_handler_says_can_be_read_while_it_runs_and_after_it_went_wrong() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let job = forge.submit("work").await;
    let path = format!("/api/jobs/{job}/logs");
    let nothing = json!({"attempt": null, "worker_id": null, "running": false, "log_tail": null});
    assert_eq!(forge.get(&path).await.ok(), nothing);
    let claim = forge.claim("a", "work").await;
    let said = |log: &str| json!({"lease": claim["lease"], "log_tail": log});
    assert_eq!(forge.post(&path, said("page 1\npage 2")).await.ok()["state"], "held");
    let log = forge.get(&path).await.ok();
    assert_eq!((&log["attempt"], &log["running"], &log["worker_id"]), (&json!(1), &json!(true), &json!("a")));
    assert_eq!(log["log_tail"], "page 1\npage 2");
    let beat = json!({"leases": [{"job_id": job, "lease": claim["lease"], "log_tail": "x".repeat(2_000_000) + "the end"}]});
    forge.post("/api/workers/a/heartbeat", beat).await.ok();
    let tail = forge.get(&path).await.ok()["log_tail"].as_str().unwrap().to_owned();
    assert!(tail.ends_with("xthe end") && tail.len() <= 16 * 1024, "{}", tail.len());
    forge.post(&path, said("no ink")).await.ok();
    // The worker is lost without a word.
    let removed = forge.request(Method::DELETE, "/api/workers/a").send().await.unwrap();
    assert!(removed.status().is_success());
    forge.register("b", "work").await;
    let next = forge.claim("b", "work").await;
    let fail = json!({"lease": next["lease"], "error": "there is no ink"});
    assert_eq!(forge.get(&path).await.ok()["log_tail"], Value::Null, "the next one has said nothing yet");
    assert_eq!(forge.get(&format!("{path}?attempt=1")).await.ok()["log_tail"], "no ink");
    forge.post(&path, json!({"lease": next["lease"], "log_tail": "still none"})).await.ok();
    forge.post(&format!("/api/jobs/{job}/fail"), fail).await.ok();
    assert_eq!(forge.get(&path).await.ok()["log_tail"], "still none");
    assert_eq!(forge.get(&format!("{path}?attempt=2")).await.ok()["running"], false);
    forge.get(&format!("{path}?attempt=9")).await.refused(404, "attempt_not_found");
    forge.get(&format!("{path}?attempt=first")).await.refused(400, "invalid_parameter");
    forge.get("/api/jobs/987654/logs").await.refused(404, "job_not_found");
    forge.post(&path, said("I am not dead")).await.refused(409, "lease_lost");
    forge.post(&path, json!({"lease": claim["lease"]})).await.refused(400, "invalid");
    forge.post(&path, json!({"lease": "mine", "log_tail": ""})).await.refused(400, "invalid_lease");
    let large = json!({"lease": claim["lease"], "log_tail": "x".repeat(2_000_000)});
    forge.post(&path, large).await.refused(413, "body_too_large");
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
