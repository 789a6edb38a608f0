//! How much, how often and how slowly somebody may ask.

use std::sync::Arc;

use blobforge_core::{ManualClock, Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

impl Forge {
    /// A service whose budgets grow back only when the test lets time pass.
    async fn with_budgets(changes: u32, logins: u32) -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
        let forge = Self::with(|config| {
            config.clock = Some(clock.clone());
            (config.rate_limit, config.login_rate_limit) = (changes, logins);
        });
        (forge.await, clock)
    }

    async fn try_login(&self) -> Response {
        let login = self.bare(Method::POST, "/auth/login");
        let login = login.header("content-type", "application/x-www-form-urlencoded");
        login.body("token=nonsense").send().await.unwrap()
    }

    /// Sends raw bytes and reads until the service closes the connection.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.service.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut text = String::new();
        // It may also be closed the hard way.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("it is closed");
        text
    }
}

fn header(reply: &Response, name: &str) -> String {
    reply.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_account_may_change_so_much_a_minute_and_is_told_what_is_left() {
    let (forge, clock) = Forge::with_budgets(6, 10).await;
    let job = json!({"type": "work", "source": "none", "dedup": false});
    let submit = async || forge.request(Method::POST, "/api/jobs").json(&job).send().await.unwrap();
    for left in (0..6).rev() {
        let reply = submit().await;
        assert_eq!(reply.status(), 201);
        assert_eq!(header(&reply, "ratelimit-policy"), "\"account\";q=6;w=60");
        assert_eq!(header(&reply, "ratelimit"), format!("\"account\";r={left};t={}", (6 - left) * 10));
    }
    let refused = submit().await;
    assert_eq!(
        (header(&refused, "retry-after"), header(&refused, "ratelimit")),
        ("10".into(), "\"account\";r=0;t=60".into())
    );
    assert!(!header(&refused, "x-request-id").is_empty());
    let detail = Reply::of(refused).await.refused(429, "too_many_requests");
    assert!(detail.contains("6 changes a minute"), "{detail}");
    // Looking is free, and so is what another account has.
    let looked = forge.request(Method::GET, "/api/stats").send().await.unwrap();
    assert_eq!((looked.status().as_u16(), header(&looked, "ratelimit")), (200, String::new()));
    assert_eq!(forge.get("/api/stats").await.ok()["total_jobs"], 6, "nothing was changed");
    clock.advance(Duration::from_secs(10));
    assert_eq!(submit().await.status(), 201);
}

#[tokio::test]
async fn workers_are_heard_when_submitters_are_told_to_wait() {
    let (forge, _) = Forge::with_budgets(2, 10).await;
    forge.register("a", "work").await;
    for _ in 0..2 {
        forge.submit("work").await;
    }
    let job = json!({"type": "work", "source": "none", "dedup": false});
    forge.post("/api/jobs", job).await.refused(429, "too_many_requests");
    forge.post("/api/workers/a/heartbeat", Value::Null).await.ok();
    assert!(forge.claim("a", "work").await["lease"].is_string());
}

#[tokio::test]
async fn an_address_is_limited_before_anybody_is_recognised() {
    let (forge, _) = Forge::with_budgets(1, 10).await;
    for _ in 0..10 {
        let reply = forge.bare(Method::POST, "/api/jobs").send().await.unwrap();
        Reply::of(reply).await.refused(401, "unauthenticated");
    }
    let reply = forge.bare(Method::POST, "/api/jobs").send().await.unwrap();
    let detail = Reply::of(reply).await.refused(429, "too_many_requests");
    assert!(detail.contains("address"), "{detail}");
}

#[tokio::test]
async fn logins_are_limited_by_the_address_that_trusted_proxies_name() {
    let (forge, clock) = Forge::with_budgets(0, 3).await;
    for _ in 0..3 {
        assert_eq!(forge.try_login().await.status(), 403);
    }
    let refused = forge.try_login().await;
    assert_eq!(header(&refused, "ratelimit-policy"), "\"login\";q=3;w=60");
    Reply::of(refused).await.refused(429, "too_many_requests");
    clock.advance(Duration::from_secs(20));
    assert_eq!(forge.try_login().await.status(), 403);
    let proxied = Forge::with(|config| {
        config.login_rate_limit = 1;
        config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.clock = Some(clock);
    });
    let proxied = proxied.await;
    let from = async |address: &str| {
        let login = proxied.bare(Method::POST, "/auth/login").header("x-forwarded-for", address);
        let login = login.header("content-type", "application/x-www-form-urlencoded");
        login.body("token=nonsense").send().await.unwrap().status().as_u16()
    };
    assert_eq!([from("192.0.2.1").await, from("192.0.2.2").await, from("192.0.2.1").await], [403, 403, 429]);
    assert_eq!(from("9.9.9.9, 192.0.2.2").await, 429, "what a client claims counts for nothing");
}

#[tokio::test]
async fn headers_and_forms_have_a_largest_size() {
    let forge = Forge::start().await;
    let reply =
        forge.request(Method::GET, "/api/stats").header("x-large", "x".repeat(20_000)).send().await.unwrap();
    assert!(!header(&reply, "x-request-id").is_empty());
    Reply::of(reply).await.refused(431, "headers_too_large");
    let login = forge.bare(Method::POST, "/auth/login");
    let login = login.header("content-type", "application/x-www-form-urlencoded");
    let reply = login.body(format!("token={}", "x".repeat(20_000))).send().await.unwrap();
    Reply::of(reply).await.refused(413, "body_too_large");
}

#[tokio::test]
async fn who_sends_too_slowly_is_cut_off() {
    let forge = Forge::with(|config| config.read_timeout = Duration::from_secs(1)).await;
    // A head that never ends, and none at all.
    for head in ["GET /api/health HTTP/1.1\r\nHost: x\r\nX-Slow: ", ""] {
        assert_eq!(forge.raw(head.as_bytes()).await, "", "{head:?}");
    }
    // A body that never ends, of a form and of a file.
    let form = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                Content-Length: 100\r\n\r\ntoken=";
    let token = forge.service.admin_token();
    let file = format!(
        "PUT /api/jobs/upload?type=work HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 100\r\n\r\nhalf a file"
    );
    for request in [form, &file] {
        let reply = forge.raw(request.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 408 ") && reply.contains("body_too_slow"), "{reply}");
    }
    // Waiting for an answer is another thing.
    let job = forge.submit("work").await;
    let waited = forge.get(&format!("/api/jobs/{job}?wait_seconds=2")).await;
    assert_eq!(waited.ok()["status"], "pending");
}
