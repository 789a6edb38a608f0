//! Jobs that go, and many that are changed at once.

use super::*;

impl Forge {
    async fn bulk(&self, body: Value) -> Value {
        self.post("/api/jobs/bulk", body).await.ok()
    }

    async fn status(&self, job: i64) -> Value {
        self.get(&format!("/api/jobs/{job}")).await.ok()["status"].clone()
    }
}

#[tokio::test]
async fn a_job_is_deleted_once_it_has_ended_and_no_earlier() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let job = forge.submit("work").await;
    let path = format!("/api/jobs/{job}");
    let waiting = forge.delete(&path).await;
    waiting.refused(409, "not_ended");
    assert_eq!(waiting.body["job_status"], "pending");
    assert!(waiting.body["hint"].as_str().unwrap().contains("cancel"), "{waiting:?}");
    let claim = forge.claim("a", "work").await;
    let running = forge.delete(&path).await;
    running.refused(409, "not_ended");
    assert_eq!(running.body["job_status"], "running");
    forge.post(&format!("{path}/complete"), json!({"lease": claim["lease"]})).await.ok();
    let token = forge.token(json!({"name": "s", "scopes": ["submit"]})).await;
    let request = forge.bare(Method::DELETE, &path).bearer_auth(token);
    Reply::of(request.send().await.unwrap()).await.refused(403, "forbidden");
    assert_eq!(forge.delete(&path).await.ok(), json!({"ok": true}));
    forge.get(&path).await.refused(404, "job_not_found");
    forge.delete(&path).await.refused(404, "job_not_found");
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let forge = Forge::start().await;
    let (one, two) = (forge.submit("work").await, forge.submit("work").await);
    forge.post(&format!("/api/jobs/{two}/cancel"), Value::Null).await.ok();
    let wish = |dry_run: bool| json!({"action": "cancel", "ids": [one, two, two, 987], "dry_run": dry_run});
    let would = forge.bulk(wish(true)).await;
    assert_eq!((&would["dry_run"], &would["matched"], &would["done"]), (&json!(true), &json!(3), &json!(1)));
    assert_eq!(would["refused"]["wrong_state"]["jobs"], 1);
    assert_eq!(would["refused"]["job_not_found"]["examples"][0]["job_id"], 987);
    assert_eq!(forge.status(one).await, "pending");
    let mut did = forge.bulk(wish(false)).await;
    assert_eq!(forge.status(one).await, "cancelled");
    did["dry_run"] = json!(true);
    assert_eq!(did, would, "it did what it would");
}

#[tokio::test]
async fn jobs_are_selected_by_ids_by_filter_or_all() {
    let forge = Forge::start().await;
    let mut jobs = Vec::new();
    for job_type in ["pdf", "pdf", "text"] {
        jobs.push(forge.submit(job_type).await);
    }
    let [one, two, text] = jobs[..] else { unreachable!() };
    let urgent = forge.bulk(json!({"action": "priority", "priority": "critical", "ids": [one]})).await;
    assert_eq!(urgent["done"], 1);
    let filter = json!({"type": "pdf-convert", "priority": 1});
    assert_eq!(forge.bulk(json!({"action": "cancel", "filter": filter})).await["done"], 1);
    assert_eq!((forge.status(one).await, forge.status(two).await), (json!("cancelled"), json!("pending")));
    let all = forge.bulk(json!({"action": "cancel", "everything": true, "dry_run": null})).await;
    assert_eq!((&all["matched"], &all["done"], &all["next_cursor"]), (&json!(3), &json!(2), &Value::Null));
    let filter = json!({"status": "cancelled", "created_from": "2020-01-01T00:00:00Z"});
    assert_eq!(forge.bulk(json!({"action": "retry", "filter": filter})).await["done"], 3);
    assert_eq!(forge.status(text).await, "pending");
    let below = json!({"action": "cancel", "everything": true, "cursor": two.to_string()});
    assert_eq!(forge.bulk(below).await["done"], 1, "the ones before the cursor are left alone");
}

#[tokio::test]
async fn to_delete_many_takes_an_admin() {
    let forge = Forge::start().await;
    let job = forge.submit("work").await;
    forge.post(&format!("/api/jobs/{job}/cancel"), Value::Null).await.ok();
    let token = forge.token(json!({"name": "s", "scopes": ["submit"]})).await;
    let as_submitter = async |body: Value| {
        let request = forge.bare(Method::POST, "/api/jobs/bulk").bearer_auth(&token).json(&body);
        Reply::of(request.send().await.unwrap()).await
    };
    let wish = json!({"action": "delete", "filter": {"status": "cancelled"}});
    let detail = as_submitter(wish.clone()).await.refused(403, "forbidden");
    assert!(detail.contains("admin"), "{detail}");
    let dry = json!({"action": "delete", "everything": true, "dry_run": true});
    as_submitter(dry).await.refused(403, "forbidden");
    as_submitter(json!({"action": "retry", "ids": [job]})).await.ok();
    as_submitter(json!({"action": "cancel", "ids": [job]})).await.ok();
    assert_eq!(forge.bulk(wish).await["done"], 1);
    forge.get(&format!("/api/jobs/{job}")).await.refused(404, "job_not_found");
}

#[tokio::test]
async fn a_bulk_wish_that_makes_no_sense_changes_nothing() {
    let forge = Forge::start().await;
    let job = forge.submit("work").await;
    for (wish, named) in [
        (json!({}), "action"),
        (json!({"action": "explode", "ids": [job]}), "action"),
        (json!({"action": "cancel"}), "everything"),
        (json!({"action": "cancel", "everything": false}), "everything"),
        (json!({"action": "cancel", "ids": [job], "everything": true}), "everything"),
        (json!({"action": "cancel", "ids": [job], "filter": {"status": "pending"}}), "filter"),
        (json!({"action": "cancel", "filter": {}}), "filter"),
        (json!({"action": "cancel", "filter": {"state": "pending"}}), "state"),
        (json!({"action": "cancel", "filter": {"status": "waiting"}}), "status"),
        (json!({"action": "cancel", "filter": {"priority": 9}}), "priority"),
        (json!({"action": "cancel", "filter": {"type": "no spaces"}}), "type"),
        (json!({"action": "cancel", "filter": {"worker": ""}}), "worker"),
        (json!({"action": "cancel", "filter": {"created_from": "yesterday"}}), "created_from"),
        (json!({"action": "cancel", "ids": ["one"]}), "ids"),
        (json!({"action": "cancel", "ids": vec![job; 1001]}), "ids"),
        (json!({"action": "cancel", "ids": [job], "cursor": "7"}), "cursor"),
        (json!({"action": "cancel", "everything": true, "cursor": "x"}), "cursor"),
        (json!({"action": "cancel", "ids": [job], "priority": 1}), "priority"),
        (json!({"action": "priority", "ids": [job]}), "priority"),
        (json!({"action": "priority", "ids": [job], "priority": 7}), "priority"),
        (json!({"action": "cancel", "ids": [job], "dryrun": true}), "dryrun"),
    ] {
        let reply = forge.post("/api/jobs/bulk", wish.clone()).await;
        let detail = reply.refused(400, "invalid");
        assert!(detail.contains(named), "{wish}: {detail}");
        assert!(reply.body["hint"].is_string(), "{wish}: {reply:?}");
    }
    assert_eq!(forge.status(job).await, "pending");
}
