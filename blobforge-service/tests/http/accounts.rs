//! Accounts: what a token opens, for how long, and how fast that ends.

use std::sync::Arc;

use blobforge_core::{Clock, ManualClock, Timestamp};
use futures_util::StreamExt;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a stream of events to its end.
async fn ended(stream: Response) {
    assert_eq!(stream.status(), 200);
    let mut stream = stream.bytes_stream();
    let end = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the stream ends");
}

impl Forge {
    async fn with_clock(clock: &Arc<ManualClock>) -> Self {
        Self::with(|config| config.clock = Some(clock.clone())).await
    }

    fn by(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(token)
    }

    async fn listen(&self, token: &str) -> Response {
        self.by(token, Method::GET, "/api/events").send().await.unwrap()
    }

    /// Logs a browser in; its cookie.
    pub(crate) async fn log_in(&self, token: &str) -> String {
        let login = self.bare(Method::POST, "/auth/login");
        let login = login.header("content-type", "application/x-www-form-urlencoded");
        let reply = login.body(format!("token={token}")).send().await.unwrap();
        assert_eq!(reply.status(), 303);
        reply.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_revoked_token_ends_streams_and_waits_at_once() {
    let forge = Forge::start().await;
    let made = forge.post("/api/admin/tokens", json!({"name": "w", "scopes": ["worker"]})).await.ok();
    let token = made["token"].as_str().unwrap();
    forge.register("a", "work").await;
    let job = forge.submit("other").await;
    let (stream, of_another) = (forge.listen(token).await, forge.listen(forge.service.admin_token()).await);
    let claim = json!({"worker_id": "a", "job_type": "work", "wait_seconds": 60});
    let claiming = forge.by(token, Method::POST, "/api/jobs/claim").json(&claim).send();
    let watching = forge.by(token, Method::GET, &format!("/api/jobs/{job}?wait_seconds=60")).send();
    let path = format!("/api/admin/tokens/{}", made["id"].as_str().unwrap());
    let revoking = forge.delete(&path);
    let (claimed, watched, revoked) = tokio::join!(claiming, watching, revoking);
    revoked.ok();
    for waited in [claimed, watched] {
        Reply::of(waited.unwrap()).await.refused(401, "unauthenticated");
    }
    ended(stream).await;
    // Nobody else is disturbed.
    forge.service.stopping().cancel();
    let rest = of_another.text().await.unwrap();
    assert!(rest.contains("job_created") || rest.is_empty(), "it went on until the service stopped: {rest}");
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_when_it_is_left() {
    let forge = Forge::start().await;
    let made = forge.post("/api/admin/tokens", json!({"name": "p", "scopes": ["submit"]})).await.ok();
    let token = made["token"].as_str().unwrap();
    let listen = |cookie: &str| forge.bare(Method::GET, "/api/events").header("cookie", cookie).send();
    let (left, stays) = (forge.log_in(token).await, forge.log_in(token).await);
    let (of_left, of_stays) = (listen(&left).await.unwrap(), listen(&stays).await.unwrap());
    let out = forge.bare(Method::POST, "/auth/logout").header("cookie", &left);
    assert_eq!(out.header("sec-fetch-site", "same-origin").send().await.unwrap().status(), 303);
    ended(of_left).await;
    assert_eq!(listen(&left).await.unwrap().status(), 401);
    assert_eq!(listen(&stays).await.unwrap().status(), 200, "the other browser is still logged in");
    forge.delete(&format!("/api/admin/tokens/{}", made["id"].as_str().unwrap())).await.ok();
    ended(of_stays).await;
    assert_eq!(listen(&stays).await.unwrap().status(), 401);
}

#[tokio::test]
async fn what_another_process_revokes_ends_here_too() {
    let forge = Forge::start().await;
    let made = forge.post("/api/admin/tokens", json!({"name": "w", "scopes": ["worker"]})).await.ok();
    let stream = forge.listen(made["token"].as_str().unwrap()).await;
    let other = Service::start(ServeConfig::local(forge.folder.path())).await.unwrap();
    let url = format!("{}/api/admin/tokens/{}", other.url(), made["id"].as_str().unwrap());
    let revoked = forge.http.delete(url).bearer_auth(forge.service.admin_token()).send().await.unwrap();
    assert!(revoked.status().is_success());
    ended(stream).await;
    other.stop().await.unwrap();
}

#[tokio::test]
async fn a_token_that_expires_ends_what_goes_on_under_it() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let forge = Forge::with_clock(&clock).await;
    let token = forge.token(json!({"name": "for a day", "scopes": ["submit"], "expires_in": 1})).await;
    let stream = forge.listen(&token).await;
    clock.advance(DAY - Duration::from_secs(1));
    assert_eq!(forge.by(&token, Method::GET, "/api/stats").send().await.unwrap().status(), 200);
    clock.advance(Duration::from_secs(1));
    ended(stream).await;
    assert_eq!(forge.by(&token, Method::GET, "/api/stats").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_session_ends_when_nobody_uses_it_for_a_week_and_after_a_month_at_most() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let forge = Forge::with_clock(&clock).await;
    let token = forge.token(json!({"name": "Ann", "scopes": ["submit"]})).await;
    let (left, used) = (forge.log_in(&token).await, forge.log_in(&token).await);
    let ask = async |cookie: &str| {
        let asked = forge.bare(Method::GET, "/api/stats").header("cookie", cookie).send().await;
        asked.unwrap().status().as_u16()
    };
    clock.advance(6 * DAY);
    assert_eq!(ask(&used).await, 200);
    clock.advance(DAY);
    assert_eq!((ask(&left).await, ask(&used).await), (401, 200));
    let users = forge.get("/api/admin/users").await.ok();
    assert_eq!(users[1]["last_used_at"], clock.now().to_string(), "by whichever browser");
    for _ in 0..22 {
        clock.advance(DAY);
        assert_eq!(ask(&used).await, 200);
    }
    clock.advance(DAY);
    assert_eq!(ask(&used).await, 401);
}

#[tokio::test]
async fn an_administrator_logs_an_account_out_and_its_token_stays_good() {
    let forge = Forge::start().await;
    let made = forge.post("/api/admin/tokens", json!({"name": "Ann", "scopes": ["submit"]})).await.ok();
    let (token, id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    let cookies = [forge.log_in(token).await, forge.log_in(token).await];
    let admins = forge.log_in(forge.service.admin_token()).await;
    let listen = |cookie: &str| forge.bare(Method::GET, "/api/events").header("cookie", cookie).send();
    let streams = [listen(&cookies[0]).await.unwrap(), listen(&cookies[1]).await.unwrap()];
    let path = format!("/api/admin/users/{id}/sessions");
    assert_eq!(forge.delete(&path).await.ok()["sessions"], 2);
    for stream in streams {
        ended(stream).await;
    }
    assert_eq!(listen(&cookies[0]).await.unwrap().status(), 401);
    assert_eq!(listen(&admins).await.unwrap().status(), 200, "nobody else is disturbed");
    assert_eq!(forge.by(token, Method::GET, "/api/stats").send().await.unwrap().status(), 200);
    assert_eq!(forge.delete(&path).await.ok()["sessions"], 0);
    forge.delete("/api/admin/users/nobody/sessions").await.refused(404, "user_not_found");
    let audit = forge.get("/api/admin/audit").await.ok();
    let actions: Vec<_> = audit["items"].as_array().unwrap().iter().map(|item| &item["action"]).collect();
    assert_eq!(
        actions,
        ["sessions_ended", "sessions_ended", "logged_in", "logged_in", "logged_in", "token_created"]
    );
}

#[tokio::test]
async fn the_last_use_is_noted_at_most_once_a_minute() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let forge = Forge::with_clock(&clock).await;
    let token = forge.token(json!({"name": "p", "scopes": ["submit"]})).await;
    let used_at = async || {
        forge.by(&token, Method::GET, "/api/stats").send().await.unwrap();
        forge.get("/api/admin/tokens").await.ok()[1]["last_used_at"].as_str().unwrap().to_owned()
    };
    let first = clock.now().to_string();
    assert_eq!(used_at().await, first);
    clock.advance(Duration::from_secs(59));
    assert_eq!(used_at().await, first);
    clock.advance(Duration::from_secs(1));
    assert_eq!(used_at().await, clock.now().to_string());
}

#[tokio::test]
async fn a_worker_gets_a_token_of_its_own_that_can_be_renewed_and_switched_off() {
    let forge = Forge::start().await;
    let made = forge.post("/api/admin/workers", json!({"id": "gpu-1"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.ok();
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!((&made["worker_id"], &made["enabled"]), (&json!("gpu-1"), &json!(true)));
    let register = async |token: &str, id: &str| {
        let body = json!({"id": id, "type": "work", "protocol": 1, "instance": "instance"});
        let request = forge.by(token, Method::POST, "/api/workers/register").json(&body);
        Reply::of(request.send().await.unwrap()).await
    };
    register(&token, "gpu-1").await.ok();
    register(&token, "gpu-2").await.refused(403, "other_worker");
    forge.post("/api/admin/workers", json!({"id": "gpu-1"})).await.refused(409, "worker_has_token");
    // Switched off, and on again.
    let stream = forge.listen(&token).await;
    forge.post("/api/admin/workers/gpu-1/disable", Value::Null).await.ok();
    ended(stream).await;
    register(&token, "gpu-1").await.refused(401, "unauthenticated");
    let list = forge.get("/api/admin/tokens").await.ok();
    assert_eq!(list[1]["disabled"], true, "{list}");
    forge.post("/api/admin/workers/gpu-1/enable", Value::Null).await.ok();
    register(&token, "gpu-1").await.ok();
    // Renewed.
    let stream = forge.listen(&token).await;
    let renewed = forge.post("/api/admin/workers/gpu-1/regenerate", Value::Null).await.ok();
    ended(stream).await;
    register(&token, "gpu-1").await.refused(401, "unauthenticated");
    let token = renewed["token"].as_str().unwrap();
    register(token, "gpu-1").await.ok();
    assert_eq!(
        forge.get("/api/admin/tokens").await.ok().as_array().unwrap().len(),
        2,
        "in place of the old one"
    );
    // Who is shut out stays so with a new token, however that is made.
    forge.post("/api/admin/workers/gpu-1/disable", json!({})).await.ok();
    let renewed = forge.post("/api/admin/workers/gpu-1/regenerate", json!({})).await.ok();
    assert_eq!(renewed["enabled"], false);
    register(renewed["token"].as_str().unwrap(), "gpu-1").await.refused(401, "unauthenticated");
    let other = json!({"name": "another", "scopes": ["worker"], "worker_id": "gpu-1"});
    let other = forge.token(other).await;
    register(&other, "gpu-1").await.refused(401, "unauthenticated");
    forge.post("/api/admin/workers/gpu-1/enable", Value::Null).await.ok();
    register(&other, "gpu-1").await.ok();
}

#[tokio::test]
async fn nobody_is_shut_out_who_has_no_token() {
    let forge = Forge::start().await;
    let make = async || forge.post("/api/admin/workers", json!({"id": "gpu-1"})).await.ok();
    let made = make().await;
    forge.post("/api/admin/workers/gpu-1/disable", Value::Null).await.ok();
    forge.delete(&format!("/api/admin/tokens/{}", made["token_id"].as_str().unwrap())).await.ok();
    forge.post("/api/admin/workers/gpu-1/enable", Value::Null).await.refused(404, "worker_not_found");
    assert_eq!(make().await["enabled"], true);
}

#[tokio::test]
async fn a_worker_has_a_bounded_number_of_tokens_and_all_of_them_are_replaced() {
    let forge = Forge::start().await;
    let request = json!({"name": "x", "scopes": ["worker"], "worker_id": "gpu-1"});
    let mut tokens = Vec::new();
    for _ in 0..100 {
        tokens.push(forge.token(request.clone()).await);
    }
    forge.post("/api/admin/tokens", request.clone()).await.refused(409, "too_many_tokens");
    forge.post("/api/admin/workers/gpu-1/regenerate", Value::Null).await.ok();
    assert_eq!(forge.get("/api/admin/tokens").await.ok().as_array().unwrap().len(), 2);
    for token in [&tokens[0], &tokens[99]] {
        assert_eq!(forge.by(token, Method::GET, "/api/stats").send().await.unwrap().status(), 401);
    }
}

#[tokio::test]
async fn requests_about_accounts_that_make_no_sense_are_refused() {
    let forge = Forge::start().await;
    for (path, body, code) in [
        ("/api/admin/workers", json!({}), 400),
        ("/api/admin/workers", json!({"id": "no spaces"}), 400),
        ("/api/admin/workers", json!({"id": "a", "nmae": "x"}), 400),
        ("/api/admin/workers", json!({"id": "a", "name": ""}), 400),
        ("/api/admin/workers", json!({"id": "a", "name": "x".repeat(201)}), 400),
        ("/api/admin/workers", json!({"id": "a", "expires_in": 0}), 400),
        ("/api/admin/workers", json!({"id": "a", "expires_in": 36501}), 400),
        ("/api/admin/workers/no%20spaces/enable", json!({}), 400),
        ("/api/admin/workers/a/enable", json!({"force": true}), 400),
        ("/api/admin/tokens", json!({"name": "x", "scopes": ["admin"], "worker_id": "a"}), 400),
    ] {
        forge.post(path, body).await.refused(code, "invalid");
    }
    for action in ["regenerate", "enable", "disable"] {
        let path = format!("/api/admin/workers/nobody/{action}");
        forge.post(&path, Value::Null).await.refused(404, "worker_not_found");
    }
    assert_eq!(forge.get("/api/admin/tokens").await.ok().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn users_are_those_who_hold_tokens_and_where_they_are_logged_in() {
    let forge = Forge::start().await;
    let token = forge.token(json!({"name": "Ann", "scopes": ["submit"]})).await;
    for _ in 0..2 {
        forge.log_in(&token).await;
    }
    let users = forge.get("/api/users").await.ok();
    let user = |at: usize, field: &str| users[at][field].clone();
    assert_eq!(
        (user(0, "id"), user(0, "is_admin"), user(0, "sessions")),
        (json!("admin"), json!(true), json!(0))
    );
    assert_eq!(
        (user(1, "name"), user(1, "is_admin"), user(1, "sessions")),
        (json!("Ann"), json!(false), json!(2))
    );
    assert_eq!(users.as_array().unwrap().len(), 2);
    assert!(!users.to_string().contains(&token));
    assert_eq!(forge.get("/api/admin/users").await.ok(), users);
}

#[tokio::test]
async fn an_account_has_a_bounded_number_of_sessions() {
    let forge = Forge::with(|config| config.login_rate_limit = 0).await;
    let token = forge.token(json!({"name": "Ann", "scopes": ["submit"]})).await;
    let first = forge.log_in(&token).await;
    for _ in 0..50 {
        forge.log_in(&token).await;
    }
    assert_eq!(forge.get("/api/users").await.ok()[1]["sessions"], 50);
    let page = forge.bare(Method::GET, "/").header("cookie", first).send().await.unwrap();
    assert_eq!(page.status(), 303, "the oldest went");
}
