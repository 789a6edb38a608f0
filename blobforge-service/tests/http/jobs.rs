//! Jobs from their submission to their end.

use std::sync::Arc;

use blobforge_core::{Clock, ManualClock, SystemClock};

use super::*;

#[tokio::test]
async fn a_job_goes_through_its_life() {
    let forge = Forge::start().await;
    let body = json!({
        "type": "work", "source": "none", "priority": "1_critical", "tags": ["a"], "params": {"n": 1},
        "metadata": {"note": "x"}, "source_path": "in/a", "max_attempts": 2
    });
    let made = forge.post("/api/jobs", body).await;
    assert_eq!(made.status, 201);
    let made = made.ok();
    assert_eq!((&made["existing"], &made["status"]), (&json!(false), &json!("pending")));
    assert!(made["warning"].as_str().unwrap().contains("no live worker serves type work"));
    let path = format!("/api/jobs/{}", made["job_id"]);
    let waiting = forge.get(&path).await.ok();
    assert_eq!(waiting["waiting_for"]["code"], "no_worker");
    assert!(made["warning"].as_str().unwrap().contains(waiting["waiting_for"]["detail"].as_str().unwrap()));
    forge.register("a", "work").await;
    assert_eq!(forge.get(&path).await.ok()["waiting_for"], Value::Null);
    forge.patch("/api/types/work", json!({"paused": true})).await.ok();
    assert_eq!(forge.get(&path).await.ok()["waiting_for"]["code"], "type_paused");
    forge.patch("/api/types/work", json!({"paused": false})).await.ok();
    let claim = forge.claim("a", "work").await;
    assert_eq!(claim["job"]["status"], "running");
    assert_eq!(claim["job"]["worker_id"], "a");
    assert_eq!(claim["source_url"], Value::Null);
    assert_eq!(forge.claim("a", "work").await, json!({"job": null}));
    let fail =
        json!({"lease": claim["lease"], "error": "the anvil broke", "kind": "anvil", "details": {"x": 1}});
    let failed = forge.post(&format!("{path}/fail"), fail.clone()).await.ok();
    assert_eq!((&failed["will_retry"], &failed["status"]), (&json!(true), &json!("pending")));
    // Saying it twice is harmless; saying something else is not the same.
    assert_eq!(forge.post(&format!("{path}/fail"), fail).await.ok(), failed);
    let other = json!({"lease": claim["lease"], "result": 1});
    forge.post(&format!("{path}/complete"), other).await.refused(409, "already_ended");
    let job = forge.get(&path).await.ok();
    assert_eq!(job["status_label"], "retrying");
    assert_eq!(job["last_error"]["kind"], "anvil");
    assert_eq!((&job["attempts"], &job["failures"], &job["max_attempts"]), (&json!(1), &json!(1), &json!(2)));
    assert_eq!(
        (&job["params"], &job["tags"], &job["priority"]),
        (&json!({"n": 1}), &json!(["a"]), &json!(1))
    );
    let history = forge.get(&format!("{path}/history")).await.ok();
    assert_eq!((&history[0]["end"], &history[0]["worker_id"]), (&json!("failed"), &json!("a")));
}

#[tokio::test]
async fn a_job_can_be_called_off_run_again_and_made_urgent_with_a_body_or_without() {
    let forge = Forge::start().await;
    let job = forge.submit("work").await;
    let path = |verb: &str| format!("/api/jobs/{job}/{verb}");
    assert_eq!(forge.post(&path("priority"), json!({"priority": 5})).await.ok()["priority"], 5);
    let patch = forge.request(Method::PATCH, &path("priority")).json(&json!({"priority": "high"}));
    assert_eq!(Reply::of(patch.send().await.unwrap()).await.ok()["priority"], 2);
    assert_eq!(forge.post(&path("cancel"), Value::Null).await.ok()["status"], "cancelled");
    let again = forge.post(&path("cancel"), Value::Null).await;
    again.refused(409, "wrong_state");
    assert_eq!(again.body["job_status"], "cancelled");
    forge.post(&path("priority"), json!({"priority": 1})).await.refused(409, "wrong_state");
    let empty = forge.request(Method::POST, &path("retry")).send().await.unwrap();
    assert_eq!(Reply::of(empty).await.ok()["status"], "pending");
    forge.post(&path("retry"), json!({})).await.refused(409, "wrong_state");
    forge.post("/api/jobs/987654/cancel", Value::Null).await.refused(404, "job_not_found");
}

#[tokio::test]
async fn a_job_asks_for_labels_and_says_when_no_live_worker_has_them() {
    let forge = Forge::start().await;
    let register = async |id: &str, vram: u32| {
        let body =
            json!({"id": id, "type": "work", "protocol": 1, "instance": id, "labels": {"vram_gb": vram}});
        forge.post("/api/workers/register", body).await.ok();
    };
    register("small", 8).await;
    let body = json!({"type": "work", "source": "none", "requires": ["vram_gb >= 24"]});
    let made = forge.post("/api/jobs", body).await.ok();
    assert!(made["warning"].as_str().unwrap().contains("vram_gb >= 24"), "{made}");
    let path = format!("/api/jobs/{}", made["job_id"]);
    let job = forge.get(&path).await.ok();
    assert_eq!(
        (&job["waiting_for"]["code"], &job["requires"]),
        (&json!("no_able_worker"), &json!(["vram_gb >= 24"]))
    );
    assert_eq!(forge.claim("small", "work").await, json!({"job": null}));
    register("large", 48).await;
    assert_eq!(forge.get(&path).await.ok()["waiting_for"], Value::Null);
    assert_eq!(forge.claim("large", "work").await["job"]["id"], made["job_id"]);
    assert_eq!(forge.get(&path).await.ok()["waiting_for"], Value::Null, "it runs");
}

#[tokio::test]
async fn lists_go_by_cursor_and_by_offset() {
    let forge = Forge::start().await;
    let mut jobs = Vec::new();
    for job_type in ["a", "b", "a", "a", "b"] {
        jobs.push(forge.submit(job_type).await);
    }
    jobs.reverse();
    let ids = |list: &Value| {
        list.as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = forge.get(&format!("/api/jobs?limit=2&cursor={cursor}")).await.ok();
        found.extend(ids(&page["items"]));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, jobs);
    let page = forge.get("/api/jobs?limit=2&offset=1").await.ok();
    assert_eq!(ids(&page["jobs"]), jobs[1..3]);
    assert_eq!((&page["total"], &page["limit"], &page["offset"]), (&json!(5), &json!(2), &json!(1)));
    let page = forge.get("/api/jobs?type=b").await.ok();
    assert_eq!((ids(&page["jobs"]).len(), &page["total"]), (2, &json!(2)));
    let page = forge.get("/api/jobs?status=dead").await.ok();
    assert_eq!((ids(&page["jobs"]).len(), &page["total"]), (0, &json!(0)));
    let page = forge.get("/api/jobs?tag=x").await.ok();
    assert_eq!(page["total"], Value::Null, "tags are not counted");
}

#[tokio::test]
async fn waiting_for_a_job_ends_with_the_job() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let job = forge.submit("work").await;
    let claim = forge.claim("a", "work").await;
    let path = format!("/api/jobs/{job}");
    let (waited, ended) = (format!("{path}?wait_seconds=60"), format!("{path}/complete"));
    let (job, _) = tokio::join!(
        forge.get(&waited),
        forge.post(&ended, json!({"lease": claim["lease"], "result": {"answer": 42}}))
    );
    let job = job.ok();
    assert_eq!((&job["status"], &job["result"]), (&json!("completed"), &json!({"answer": 42})));
}

#[tokio::test]
async fn a_waiting_claim_is_answered_by_the_submission() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let wish = json!({"worker_id": "a", "types": ["work", "other"], "wait_seconds": 60});
    let (claim, job) = tokio::join!(forge.post("/api/jobs/claim", wish), forge.submit("work"));
    assert_eq!(claim.ok()["job"]["id"], job);
}

#[tokio::test]
async fn several_jobs_are_claimed_at_once() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let (one, two) = (forge.submit("work").await, forge.submit("work").await);
    let wish = json!({"worker_id": "a", "job_type": "work", "limit": 5});
    let claims = forge.post("/api/jobs/claim", wish.clone()).await.ok();
    let ids: Vec<_> =
        claims["claims"].as_array().unwrap().iter().map(|claim| claim["job"]["id"].clone()).collect();
    assert_eq!(ids, [json!(one), json!(two)]);
    assert_eq!(forge.post("/api/jobs/claim", wish).await.ok(), json!({"claims": []}));
}

#[tokio::test]
async fn stats_have_the_keys_that_people_know() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    forge.submit("work").await;
    forge.submit("work").await;
    forge.claim("a", "work").await;
    let stats = forge.get("/api/stats").await.ok();
    for (key, count) in [
        ("total_jobs", 2),
        ("pending_jobs", 1),
        ("running_jobs", 1),
        ("completed_jobs", 0),
        ("failed_jobs", 0),
        ("dead_jobs", 0),
        ("total_workers", 1),
        ("online_workers", 1),
        ("offline_workers", 0),
    ] {
        assert_eq!(stats[key], count, "{key}: {stats}");
    }
    assert_eq!(stats["by_type"]["work"]["running"], 1);
}

#[tokio::test]
async fn snoozes_and_releases_cost_nothing() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let job = forge.submit("work").await;
    let path = |verb: &str| format!("/api/jobs/{job}/{verb}");
    let claim = forge.claim("a", "work").await;
    forge.post(&path("release"), json!({"lease": claim["lease"]})).await.ok();
    forge
        .post(&path("release"), json!({"lease": "1.9.".to_owned() + &"0".repeat(64)}))
        .await
        .refused(409, "lease_lost");
    let claim = forge.claim("a", "work").await;
    forge.post(&path("snooze"), json!({"lease": claim["lease"]})).await.refused(400, "invalid");
    forge
        .post(&path("snooze"), json!({"lease": claim["lease"], "seconds": -1}))
        .await
        .refused(400, "invalid");
    let snoozed = forge.post(&path("snooze"), json!({"lease": claim["lease"], "seconds": 3600})).await.ok();
    assert_eq!(snoozed["status"], "pending");
    let job = forge.get(&format!("/api/jobs/{job}")).await.ok();
    assert_eq!((&job["failures"], &job["losses"], &job["attempts"]), (&json!(0), &json!(0), &json!(2)));
    assert!(job["ready_at"].as_str() > job["created_at"].as_str(), "{job}");
}

#[tokio::test]
async fn a_lost_lease_is_refused_for_every_report_and_changes_nothing() {
    let forge = Forge::with_lease(Duration::from_secs(1)).await;
    let job = forge.submit("work").await;
    forge.register("zombie", "work").await;
    let lost = forge.claim("zombie", "work").await["lease"].clone();
    let transfer = json!({"lease": lost, "name": "a.txt"});
    let url =
        forge.post(&format!("/api/files/{job}/outputs/url"), transfer.clone()).await.ok()["url"].clone();
    // The zombie is silent until its lease has run out and another worker has the job.
    forge.register("other", "work").await;
    let wish = json!({"worker_id": "other", "job_type": "work", "wait_seconds": 60});
    let held = forge.post("/api/jobs/claim", wish).await.ok();
    assert_eq!(held["job"]["id"], job);
    let hash = "0".repeat(64);
    for (verb, body) in [
        ("complete", json!({"lease": lost, "result": "zombie"})),
        ("fail", json!({"lease": lost, "error": "zombie"})),
        ("release", json!({"lease": lost})),
        ("snooze", json!({"lease": lost, "seconds": 60})),
        ("progress", json!({"lease": lost, "progress": {"done": 99}})),
        ("source-verified", json!({"lease": lost, "sha256": hash})),
    ] {
        forge.post(&format!("/api/jobs/{job}/{verb}"), body).await.refused(409, "lease_lost");
    }
    forge.post(&format!("/api/files/{job}/outputs/url"), transfer).await.refused(409, "lease_lost");
    let beat = json!({"leases": [{"job_id": job, "lease": lost}]});
    let beat = forge.post("/api/workers/zombie/heartbeat", beat).await.ok();
    assert_eq!(beat["leases"][0]["state"], "lost");
    // A signed URL cannot be called back, but what comes through it lies where nobody looks.
    let late = forge.bare(Method::PUT, url.as_str().unwrap()).body("zombie").send().await.unwrap();
    assert!(late.status().is_success());
    let kept = json!({"lease": held["lease"], "outputs": [{"name": "a.txt"}]});
    forge.post(&format!("/api/jobs/{job}/complete"), kept).await.refused(409, "upload_missing");
    let done = json!({"lease": held["lease"], "result": "other"});
    forge.post(&format!("/api/jobs/{job}/complete"), done).await.ok();
    let job = forge.get(&format!("/api/jobs/{job}")).await.ok();
    assert_eq!((&job["result"], &job["failures"], &job["outputs"]), (&json!("other"), &json!(0), &json!([])));
}

#[tokio::test]
async fn the_same_key_and_body_are_one_job_for_seven_days() {
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let forge = Forge::with(|config| config.clock = Some(clock.clone())).await;
    let submit = async |key: &str, n: u32| {
        let body = json!({"type": "work", "source": "none", "params": {"n": n}, "dedup": false});
        let request = forge.request(Method::POST, "/api/jobs").header("Idempotency-Key", key).json(&body);
        Reply::of(request.send().await.unwrap()).await
    };
    let first = submit("night 1", 1).await.ok();
    assert_eq!(submit("night 1", 1).await.ok()["job_id"], first["job_id"]);
    submit("night 1", 2).await.refused(409, "idempotency_key_reused");
    assert_ne!(submit("night 2", 1).await.ok()["job_id"], first["job_id"], "another key is another job");
    assert_eq!(forge.get("/api/stats").await.ok()["pending_jobs"], 2, "what was refused left nothing");
    submit(&"k".repeat(5000), 1).await.refused(400, "invalid");
    clock.advance(week - Duration::from_secs(1));
    assert_eq!(submit("night 1", 1).await.ok()["job_id"], first["job_id"], "to the last second");
    clock.advance(Duration::from_secs(1));
    assert_ne!(submit("night 1", 1).await.ok()["job_id"], first["job_id"], "and then it is a new job");
}
