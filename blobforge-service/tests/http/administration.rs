//! Workers and the pages for administrators, as far as that can be seen without a browser.

use super::*;

const PAGES: [&str; 7] = [
    "/admin/tokens",
    "/admin/users",
    "/admin/audit",
    "/admin/types",
    "/admin/webhooks",
    "/admin/webhooks/jobs",
    "/admin/system",
];

async fn page(forge: &Forge, path: &str, token: &str) -> (u16, String) {
    let reply = forge.bare(Method::GET, path).bearer_auth(token).send().await.unwrap();
    let policy = reply.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    (reply.status().as_u16(), reply.text().await.unwrap())
}

async fn shown(forge: &Forge, path: &str) -> String {
    let (status, html) = page(forge, path, forge.service.admin_token()).await;
    assert_eq!(status, 200, "{path}: {html}");
    html
}

#[tokio::test]
async fn only_administrators_see_their_pages_and_the_way_there() {
    let forge = Forge::start().await;
    let submitter = forge.token(json!({"name": "scanner", "scopes": ["submit"]})).await;
    for path in PAGES.into_iter().chain(["/workers/add"]) {
        let html = shown(&forge, path).await;
        for part in ["<script>", " style=", " onclick"] {
            assert!(!html.contains(part), "{path} has {part}");
        }
        let (status, html) = page(&forge, path, &submitter).await;
        assert_eq!(status, 403, "{path}");
        assert!(html.contains("this needs the scope admin") && html.contains("/assets/style.css"), "{html}");
    }
    let way = "href=\"/admin/tokens\"";
    assert!(shown(&forge, "/workers").await.contains(way));
    let (status, html) = page(&forge, "/workers", &submitter).await;
    assert_eq!(status, 200);
    assert!(!html.contains(way) && !html.contains("/workers/add"), "{html}");
}

#[tokio::test]
async fn a_worker_is_shown_as_it_is() {
    let forge = Forge::start().await;
    assert!(shown(&forge, "/workers").await.contains("No workers yet"));
    forge.register("attic", "work").await;
    forge.submit("work").await;
    let claim = forge.claim("attic", "work").await;
    let gauges = json!({"cpu_percent": 12.4, "memory_used_bytes": 95, "memory_total_bytes": 100, "disk_free_bytes": 1,
        "disk_total_bytes": 2, "gpus": [{"name": "RTX", "use_percent": 87.2}]});
    let lease =
        json!({"job_id": claim["job"]["id"], "lease": claim["lease"], "progress": {"done": 3, "total": 12}});
    let beat = json!({"leases": [lease], "condition": {"gauges": gauges}});
    forge.post("/api/workers/attic/heartbeat", beat).await.ok();
    let html = shown(&forge, "/workers").await;
    for said in ["working", "RTX", "87 %", "12 %", ", full", "3 of 12", "1 online of 1"] {
        assert!(html.contains(said), "{said} in {html}");
    }
    forge.post("/api/workers/attic/drain", Value::Null).await.ok();
    let done = json!({"lease": claim["lease"]});
    forge.post(&format!("/api/jobs/{}/complete", claim["job"]["id"]), done).await.ok();
    let html = shown(&forge, "/workers").await;
    assert!(html.contains("jobs an hour"), "{html}");
    assert!(shown(&forge, "/workers").await.contains("it finishes what it has, and gets nothing new"));
    let away =
        json!({"condition": {"suspended_until": "2099-01-01T00:00:00Z", "trouble": "the card is gone"}});
    forge.post("/api/workers/attic/heartbeat", away).await.ok();
    let html = shown(&forge, "/workers").await;
    assert!(
        html.contains("in trouble")
            && html.contains("the card is gone")
            && html.contains("2099-01-01 00:00 UTC"),
        "{html}"
    );
    forge.post("/api/workers/attic/unregister", json!({})).await.ok();
    let html = shown(&forge, "/workers").await;
    assert!(html.contains("offline") && html.contains("0 online of 1") && !html.contains("RTX"), "{html}");
}

#[tokio::test]
async fn a_name_that_is_taken_is_not_suggested_and_commands_name_the_service() {
    let forge = Forge::with(|config| config.public_url = Some("https://forge.example".to_owned())).await;
    forge.register("worker-1", "work").await;
    forge.post("/api/admin/workers", json!({"id": "worker-2"})).await.ok();
    let html = shown(&forge, "/workers/add").await;
    assert!(html.contains("value=\"worker-3\""), "{html}");
    assert!(html.contains("BLOBFORGE_SERVER_URL=https://forge.example\n"), "{html}");
    // Whatever a request says of its host becomes no part of a command.
    let forge = Forge::start().await;
    let request = forge.request(Method::GET, "/workers/add").header("host", "$(reboot).example");
    let html = request.send().await.unwrap().text().await.unwrap();
    assert!(
        !html.contains("reboot") && html.contains("BLOBFORGE_SERVER_URL=http://127.0.0.1:8080"),
        "{html}"
    );
}

#[tokio::test]
async fn no_page_shows_a_secret() {
    let forge = Forge::start().await;
    let token = forge.token(json!({"name": "scanner", "scopes": ["worker"]})).await;
    let hook = forge.post("/api/webhooks", json!({"url": "https://example.org/a"})).await.ok();
    let secret = hook["secret"].as_str().unwrap();
    let of_hook = format!("/admin/webhooks/{}", hook["id"].as_str().unwrap());
    for path in PAGES.into_iter().chain([of_hook.as_str()]) {
        let html = shown(&forge, path).await;
        for hidden in [&token, secret, forge.service.admin_token()] {
            assert!(!html.contains(hidden), "{path}");
        }
    }
    assert!(shown(&forge, "/admin/tokens").await.contains("scanner"));
    assert!(shown(&forge, "/admin/webhooks").await.contains("https://example.org/a"));
}

#[tokio::test]
async fn the_audit_is_found_by_who_and_what_and_goes_on_from_page_to_page() {
    let forge = Forge::start().await;
    for number in 0..60 {
        forge.patch("/api/types/work", json!({"limits": {"running": number + 1}})).await.ok();
    }
    forge.post("/api/admin/workers", json!({"id": "attic"})).await.ok();
    let rows = |html: &str| html.matches("<tr id=\"entry-").count();
    let first = shown(&forge, "/admin/audit?action=type_changed&actor=ADMIN").await;
    assert_eq!(rows(&first), 50);
    let older = first.split("href=\"").find(|part| part.contains("before=")).unwrap();
    let older = older.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
    assert_eq!(rows(&shown(&forge, &older).await), 10);
    assert_eq!(rows(&shown(&forge, "/admin/audit?action=worker_created").await), 1);
    assert!(shown(&forge, "/admin/audit?actor=nobody").await.contains("Nobody did anything like this"));
    let (status, html) = page(&forge, "/admin/audit?before=x", forge.service.admin_token()).await;
    assert!(status == 400 && html.contains("is no number"), "{html}");
    let (status, html) = page(&forge, "/admin/webhooks/wh_0", forge.service.admin_token()).await;
    assert!(status == 404 && html.contains("there is no webhook with this id"), "{html}");
}

#[tokio::test]
async fn the_system_page_says_where_everything_is() {
    let forge = Forge::with(|config| {
        config.settings = vec![blobforge_service::Setting {
            name: "BLOBFORGE_PORT".to_owned(),
            value: Some("8080".to_owned()),
            from: "environment".to_owned(),
        }];
    })
    .await;
    let html = shown(&forge, "/admin/system").await;
    let database = forge.folder.path().join("blobforge.db").display().to_string();
    for said in [
        database.as_str(),
        "local files",
        "reachable",
        env!("CARGO_PKG_VERSION"),
        "BLOBFORGE_PORT",
        "environment",
    ] {
        assert!(html.contains(said), "{said} in {html}");
    }
}
