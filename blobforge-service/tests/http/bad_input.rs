//! Whatever a client may send by mistake or on purpose: a clear problem, and nothing is changed.

use super::*;

#[tokio::test]
async fn a_submission_that_makes_no_sense_is_told_what_is_wrong_with_it() {
    let forge = Forge::start().await;
    let big = "x".repeat(70_000);
    let tree = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let none = |more: Value| {
        let mut body = json!({"type": "work", "source": "none"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let cases = [
        (json!({}), "type"),
        (json!({"type": 7}), "type"),
        (json!({"type": ""}), "type"),
        (json!({"type": "no spaces"}), "type"),
        (json!([]), "expected"),
        (json!("work"), "expected"),
        (Value::Null, "expected"),
        (none(json!({"priority": 0})), "priority"),
        (none(json!({"priority": 6})), "priority"),
        (none(json!({"priority": 2.5})), "priority"),
        (none(json!({"priority": "urgent"})), "priority"),
        (none(json!({"prioriti": 1})), "prioriti"),
        (none(json!({"max_attempts": 0})), "max_attempts"),
        (none(json!({"max_attempts": -1})), "max_attempts"),
        (none(json!({"max_attempts": 1_000_000})), "max_attempts"),
        (none(json!({"tags": "one"})), "tags"),
        (none(json!({"tags": [""]})), "tag"),
        (none(json!({"tags": vec!["t"; 65]})), "tags"),
        (none(json!({"params": [1]})), "params"),
        (none(json!({"params": {"text": big}})), "params"),
        (none(json!({"params": {"tree": tree}})), "params"),
        (none(json!({"metadata": {"text": big}})), "metadata"),
        (none(json!({"source_path": "x".repeat(5_000)})), "source_path"),
        (none(json!({"run_at": "tomorrow"})), "run_at"),
        (none(json!({"run_at": "2026-02-30T00:00:00Z"})), "run_at"),
        (none(json!({"source_size": 5})), "source"),
        (none(json!({"requires": "gpu"})), "requires"),
        (none(json!({"requires": ["vram_gb ~ 24"]})), "requires"),
        (none(json!({"requires": (0..17).map(|n| format!("label_{n}")).collect::<Vec<_>>()})), "requires"),
        (json!({"type": "work", "source": "floppy"}), "source"),
        (json!({"type": "work", "source_size": -5}), "source_size"),
        (json!({"type": "work", "source_size": 1.5}), "source_size"),
        (json!({"type": "work", "source_hash": "abc"}), "hash"),
        (json!({"type": "work", "source_hash": "z".repeat(64)}), "hash"),
    ];
    for (body, named) in cases {
        let reply = forge.post("/api/jobs", body.clone()).await;
        let detail = reply.refused(400, "invalid");
        assert!(detail.to_lowercase().contains(named), "{body}: {detail}");
    }
    assert_eq!(forge.get("/api/stats").await.ok()["total_jobs"], 0);
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_large_is_refused() {
    let forge = Forge::start().await;
    let send = |body: Vec<u8>, content_type: &'static str| {
        let request =
            forge.request(Method::POST, "/api/jobs").header("content-type", content_type).body(body);
        async move { Reply::of(request.send().await.unwrap()).await }
    };
    for body in ["{", "nonsense", "{\"type\": \"work\"} trailing", "{\"type\": \"\u{1}\"}", "\u{feff}{}"] {
        send(body.into(), "application/json").await.refused(400, "not_json");
    }
    send(vec![0xff, 0xfe], "application/json").await.refused(400, "not_json");
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let deep = [b"{\"type\":\"work\",\"params\":{\"a\":".to_vec(), deep, b"}}".to_vec()].concat();
    send(deep, "application/json").await.refused(400, "not_json");
    send(b"type=work".to_vec(), "application/x-www-form-urlencoded")
        .await
        .refused(415, "unsupported_media_type");
    let two_megabytes = json!({"type": "work", "metadata": {"text": "x".repeat(2_000_000)}}).to_string();
    send(two_megabytes.into(), "application/json").await.refused(413, "body_too_large");
    assert_eq!(forge.get("/api/stats").await.ok()["total_jobs"], 0);
}

#[tokio::test]
async fn paths_that_are_none_or_climb_are_refused() {
    let forge = Forge::start().await;
    for (path, status, code) in [
        ("/api/nothing", 404, "no_such_route"),
        ("/api/jobs/", 404, "no_such_route"),
        ("/api/jobs/abc", 400, "invalid_path"),
        ("/api/jobs/99999999999999999999", 400, "invalid_path"),
        ("/api/jobs/7", 404, "job_not_found"),
        ("/api/jobs/-7", 404, "job_not_found"),
        ("/api/jobs/7/outputs/x", 404, "job_not_found"),
        ("/api/jobs/7/outputs/..%2f..%2fetc%2fpasswd", 400, "bad_path"),
        ("/files/a/..%2f..%2furl-secret", 400, "bad_path"),
        ("/files/..%5curl-secret", 400, "bad_path"),
        ("/files/a%00b", 400, "bad_path"),
        ("/api/jobs?limit=0", 400, "invalid_parameter"),
        ("/api/jobs?limit=many", 400, "invalid_parameter"),
        ("/api/jobs?status=lost", 400, "invalid_parameter"),
        ("/api/jobs?cursor=x", 400, "invalid_parameter"),
        ("/api/jobs?offset=10001", 400, "invalid_parameter"),
        ("/api/jobs?priority=9", 400, "invalid_parameter"),
        ("/api/workers/no%20spaces", 400, "invalid"),
        ("/api/workers/nobody", 404, "worker_not_found"),
    ] {
        forge.get(path).await.refused(status, code);
    }
    let long = format!("/api/{}", "x".repeat(5_000));
    forge.get(&long).await.refused(414, "path_too_long");
    let reply = Reply::of(forge.request(Method::DELETE, "/api/stats").send().await.unwrap()).await;
    assert!(reply.refused(405, "method_not_allowed").contains("GET"));
}

#[tokio::test]
async fn an_output_name_that_climbs_is_refused_and_nothing_lands_outside() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    forge.submit("work").await;
    let claim = forge.claim("a", "work").await;
    let path = claim["outputs_url"].as_str().unwrap();
    for name in ["../x", "/etc/passwd", "a/../../x", "a\\b", "", "a//b", "con:", "x\u{0}"] {
        let reply = forge.post(path, json!({"lease": claim["lease"], "name": name})).await;
        reply.refused(400, "invalid");
    }
    let reply = forge.post(path, json!({"lease": claim["lease"], "name": "x", "kind": "secret"})).await;
    reply.refused(400, "invalid");
    for lease in ["", "1.1.abc", "nonsense"] {
        forge.post(path, json!({"lease": lease, "name": "x"})).await.refused(400, "invalid_lease");
    }
}

#[tokio::test]
async fn of_a_worker_and_a_service_the_older_one_is_to_be_updated() {
    let forge = Forge::start().await;
    let old = json!({"id": "a", "type": "pdf"});
    let detail = forge.post("/api/workers/register", old).await.refused(426, "worker_too_old");
    assert!(detail.contains("protocol 1"), "{detail}");
    let new = json!({"id": "a", "type": "pdf", "protocol": 2, "instance": "one"});
    let detail = forge.post("/api/workers/register", new).await.refused(426, "service_too_old");
    assert!(detail.contains("protocol 2, and this service 1"), "{detail}");
    let claim = json!({"worker_id": "a", "job_type": "pdf"});
    forge.post("/api/jobs/claim", claim.clone()).await.refused(409, "worker_not_registered");
    for (field, value) in [
        ("limit", json!(0)),
        ("limit", json!(101)),
        ("wait_seconds", json!(-1)),
        ("wait_seconds", json!(61)),
        ("job_type", json!("")),
    ] {
        let mut claim = claim.clone();
        claim[field] = value;
        forge.post("/api/jobs/claim", claim).await.refused(400, "invalid");
    }
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let forge = Forge::start().await;
    let job = |priority: u8| json!({"type": "work", "source": "none", "priority": priority, "dedup": false});
    let reply = forge.post("/api/jobs/batch", json!({"jobs": [job(1), job(9)]})).await;
    reply.refused(400, "invalid");
    assert!(reply.body["field"].as_str().unwrap().starts_with("jobs[1]"), "{reply:?}");
    assert_eq!(forge.get("/api/stats").await.ok()["total_jobs"], 0);
    forge.post("/api/jobs/batch", json!({"jobs": vec![job(1); 1001]})).await.refused(400, "invalid");
    let made = forge.post("/api/jobs/batch", json!({"jobs": vec![job(1); 1000]})).await.ok();
    assert_eq!(made["jobs"].as_array().unwrap().len(), 1000);
    assert_eq!(forge.get("/api/stats").await.ok()["total_jobs"], 1000);
}
