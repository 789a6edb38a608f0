//! What administrators did, as it is recorded.

use std::{collections::BTreeSet, time::SystemTime};

use blobforge_core::Timestamp;
use blobforge_service::{Access, ROUTES};

use super::*;

/// What changes something that is an administrator's business: method, pattern, path, body, and what is recorded.
fn actions() -> Vec<(&'static str, &'static str, String, Value, &'static str, &'static str)> {
    let post = |pattern: &'static str, path: &str, body: Value, action, target| {
        ("POST", pattern, path.to_owned(), body, action, target)
    };
    let of_worker = |pattern: &'static str, action, target| {
        post(pattern, &pattern.replace("{id}", target), Value::Null, action, target)
    };
    vec![
        post(
            "/api/admin/tokens",
            "/api/admin/tokens",
            json!({"name": "Ann", "scopes": ["submit"]}),
            "token_created",
            "Ann",
        ),
        post("/api/admin/workers", "/api/admin/workers", json!({"id": "gpu"}), "worker_created", "gpu"),
        of_worker("/api/admin/workers/{id}/disable", "worker_disabled", "gpu"),
        of_worker("/api/admin/workers/{id}/enable", "worker_enabled", "gpu"),
        of_worker("/api/admin/workers/{id}/regenerate", "worker_token_regenerated", "gpu"),
        of_worker("/api/workers/{id}/drain", "worker_drained", "a"),
        of_worker("/api/workers/{id}/resume", "worker_resumed", "a"),
        ("DELETE", "/api/workers/{id}", "/api/workers/a".to_owned(), Value::Null, "worker_removed", "a"),
        (
            "PATCH",
            "/api/types/{type}",
            "/api/types/pdf-convert".to_owned(),
            json!({"paused": true}),
            "type_changed",
            "pdf",
        ),
        ("DELETE", "/api/jobs/{id}", "/api/jobs/1".to_owned(), Value::Null, "job_deleted", "1"),
        (
            "DELETE",
            "/api/admin/users/{id}/sessions",
            "/api/admin/users/admin/sessions".to_owned(),
            Value::Null,
            "sessions_ended",
            "admin",
        ),
    ]
}

async fn act(forge: &Forge, method: &str, path: &str, body: &Value) -> Value {
    let request = forge.request(method.parse().unwrap(), path).json(body);
    Reply::of(request.send().await.unwrap()).await.ok()
}

#[tokio::test]
async fn every_administrative_change_is_recorded_with_who_what_when_and_from_where() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let job = forge.submit("other").await;
    forge.post(&format!("/api/jobs/{job}/cancel"), Value::Null).await.ok();
    let before =
        Timestamp::from_millis(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap());
    let mut done = BTreeSet::from([
        ("DELETE", "/api/admin/tokens/{id}"),
        // Where there is somebody to be told, in `webhooks`.
        ("POST", "/api/webhooks"),
        ("DELETE", "/api/webhooks/{id}"),
        ("POST", "/api/webhooks/{id}/redeliver"),
    ]);
    let made = act(&forge, "POST", "/api/tokens", &json!({"name": "Bob", "scopes": ["submit"]})).await;
    let id = made["id"].as_str().unwrap().to_owned();
    act(&forge, "DELETE", &format!("/api/tokens/{id}"), &Value::Null).await;
    let mut expected = vec![("token_created".to_owned(), "Bob".to_owned()), ("token_revoked".to_owned(), id)];
    for (method, pattern, path, body, action, target) in actions() {
        act(&forge, method, &path, &body).await;
        done.insert((method, pattern));
        expected.push((action.to_owned(), target.to_owned()));
    }
    expected.reverse();
    let audit = forge.get("/api/admin/audit").await.ok();
    let items = audit["items"].as_array().unwrap();
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    let recorded: Vec<_> = items.iter().map(|item| (text(item, "action"), text(item, "target"))).collect();
    assert_eq!(recorded, expected);
    for item in items {
        let who = (text(item, "account_id"), text(item, "account"), text(item, "address"));
        assert_eq!(who, ("admin".into(), "admin of this machine".into(), "127.0.0.1".into()));
        assert!(text(item, "at").parse::<Timestamp>().unwrap() >= before, "{item}");
    }
    // A new administrative route has to be listed above, and so to be recorded.
    let changes = ROUTES
        .iter()
        .filter(|route| route.access == Access::Admin && route.method != "GET" && route.alias_of.is_none())
        .map(|route| (route.method, route.pattern))
        .collect::<BTreeSet<_>>();
    assert_eq!(changes, done);
}

#[tokio::test]
async fn many_jobs_are_not_deleted_without_a_record_of_what_was_asked() {
    let forge = Forge::start().await;
    let job = forge.submit("work").await;
    forge.post("/api/jobs/bulk", json!({"action": "cancel", "ids": [job]})).await.ok();
    forge.post("/api/jobs/bulk", json!({"action": "delete", "ids": [job], "dry_run": true})).await.ok();
    assert_eq!(forge.get("/api/admin/audit").await.ok()["items"], json!([]), "nothing was deleted yet");
    forge.post("/api/jobs/bulk", json!({"action": "delete", "ids": [job]})).await.ok();
    let item = forge.get("/api/admin/audit").await.ok()["items"][0].clone();
    let asked = json!({"action": "delete", "ids": [job]}).to_string();
    assert_eq!((&item["action"], &item["target"]), (&json!("jobs_deleted"), &json!(asked)));
}

#[tokio::test]
async fn what_was_refused_is_not_recorded() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let job = forge.submit("work").await;
    let reply =
        Reply::of(forge.request(Method::DELETE, &format!("/api/jobs/{job}")).send().await.unwrap()).await;
    reply.refused(409, "not_ended");
    forge.patch("/api/types/work", json!({"limits": {"running": 0}})).await.refused(400, "invalid");
    forge.post("/api/workers/nobody/drain", Value::Null).await.refused(404, "worker_not_found");
    forge.post("/api/admin/workers/nobody/disable", Value::Null).await.refused(404, "worker_not_found");
    forge.post("/api/tokens", json!({"name": "x", "scopes": []})).await.refused(400, "invalid");
    assert_eq!(forge.get("/api/admin/audit").await.ok(), json!({"items": [], "next_cursor": null}));
}

#[tokio::test]
async fn pages_lead_through_all_that_was_recorded() {
    let forge = Forge::start().await;
    for n in 1..=5 {
        forge.token(json!({"name": format!("t{n}"), "scopes": ["submit"]})).await;
    }
    let (mut cursor, mut targets) = (String::new(), Vec::new());
    loop {
        let page = forge.get(&format!("/api/admin/audit?limit=2&cursor={cursor}")).await.ok();
        targets.extend(page["items"].as_array().unwrap().iter().map(|item| item["target"].clone()));
        // What is recorded meanwhile moves no page.
        forge.token(json!({"name": "later", "scopes": ["submit"]})).await;
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = next.to_owned();
    }
    assert_eq!(targets, ["t5", "t4", "t3", "t2", "t1"]);
    for bad in ["cursor=x", "cursor=-1", "limit=0", "limit=1001", "limit=x"] {
        forge.get(&format!("/api/admin/audit?{bad}")).await.refused(400, "invalid_parameter");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_about_where_a_request_comes_from() {
    for (trusted, address) in [(vec![], "127.0.0.1"), (vec!["127.0.0.0/8".parse().unwrap()], "192.0.2.7")] {
        let forge = Forge::with(|config| config.trusted_proxies = trusted).await;
        let body = json!({"name": "x", "scopes": ["submit"]});
        let request =
            forge.request(Method::POST, "/api/tokens").header("x-forwarded-for", "6.6.6.6, 192.0.2.7");
        Reply::of(request.json(&body).send().await.unwrap()).await.ok();
        assert_eq!(forge.get("/api/admin/audit").await.ok()["items"][0]["address"], address);
    }
}
