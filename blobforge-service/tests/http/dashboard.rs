//! The pages of the dashboard, as far as that can be seen without a browser.

use blobforge_core::{JobType, Output, WorkerId, blob::read_bytes, queue::UPLOAD_LIMIT, storage::Report};

use super::*;

async fn page(forge: &Forge, path: &str) -> String {
    let reply = forge.request(Method::GET, path).send().await.unwrap();
    assert_eq!(reply.status(), 200, "{path}");
    let policy = reply.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    reply.text().await.unwrap()
}

/// The numbers of the jobs in a list, in its order.
fn rows(page: &str) -> Vec<i64> {
    let rows = page.split("<tr id=\"job-").skip(1);
    rows.map(|row| row.split('"').next().unwrap().parse().unwrap()).collect()
}

async fn named(forge: &Forge, name: &str, more: Value) -> i64 {
    let mut job = json!({"type": "work", "source": "none", "dedup": false, "source_path": name});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    forge.post("/api/jobs", job).await.ok()["job_id"].as_i64().unwrap()
}

#[tokio::test]
async fn pages_load_nothing_but_files_of_the_service_and_hold_no_script() {
    let forge = Forge::start().await;
    named(&forge, "a.pdf", json!({})).await;
    for path in ["/", "/jobs", "/jobs/1", "/library", "/submit", "/auth/login"] {
        let html = page(&forge, path).await;
        for attribute in [" src=\"", " href=\""] {
            for part in html.split(attribute).skip(1) {
                let to = part.split('"').next().unwrap();
                assert!(to.starts_with('/') || to.starts_with('#'), "{path}: {to}");
                if to.starts_with("/assets/") {
                    let asset = forge.bare(Method::GET, to).send().await.unwrap();
                    assert_eq!(asset.status(), 200, "{to}");
                    let tag = asset.headers()["etag"].clone();
                    let known = forge.bare(Method::GET, to).header("if-none-match", tag);
                    assert_eq!(known.send().await.unwrap().status(), 304, "{to}");
                }
            }
        }
        assert!(
            !html.contains("<script>") && !html.contains(" style=") && !html.contains(" onclick"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn an_address_that_makes_no_sense_is_answered_by_a_page() {
    let forge = Forge::start().await;
    for (path, status) in [
        ("/jobs/abc", 400),
        ("/jobs?status=failed&status=pending", 400),
        ("/jobs?order=up", 400),
        ("/jobs/9", 404),
    ] {
        let reply = forge.request(Method::GET, path).send().await.unwrap();
        assert_eq!(reply.status(), status, "{path}");
        let kind = reply.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("text/html"), "{path}: {kind}");
        assert!(reply.text().await.unwrap().contains("<h1>"), "{path}");
    }
}

#[tokio::test]
async fn a_type_that_is_asked_for_stays_chosen_though_there_is_none_like_it() {
    let forge = Forge::start().await;
    let html = page(&forge, "/jobs?type=nothing-like-it").await;
    assert!(html.contains("<option selected>nothing-like-it</option>"), "{html}");
}

#[tokio::test]
async fn the_list_shows_what_its_address_asks_for() {
    let forge = Forge::start().await;
    let first = named(&forge, "/books/Ash.pdf", json!({"tags": ["old", "a&b"], "priority": "high"})).await;
    let second = named(&forge, "/books/Sea.pdf", json!({"tags": ["old"]})).await;
    let third = named(&forge, "/letters/Ash.pdf", json!({})).await;
    forge.post(&format!("/api/jobs/{third}/cancel"), Value::Null).await.ok();
    for (query, found) in [
        ("", vec![third, second, first]),
        ("?q=&status=&type=", vec![third, second, first]),
        ("?status=cancelled", vec![third]),
        ("?priority=high", vec![first]),
        ("?tag=old", vec![second, first]),
        ("?tag=a%26b", vec![first]),
        ("?q=tag:old&status=pending", vec![second, first]),
        ("?q=ash", vec![third, first]),
        (&format!("?q=%23{second}"), vec![second]),
        (&format!("?q={second}&status=cancelled"), vec![]),
        (&format!("?from={third}"), vec![second, first]),
        ("?order=oldest", vec![first, second, third]),
        (&format!("?order=oldest&from={first}&status=pending"), vec![second]),
        ("?q=nothing+of+that", vec![]),
    ] {
        let html = page(&forge, &format!("/jobs{query}")).await;
        assert_eq!(rows(&html), found, "{query}");
    }
    let html = page(&forge, "/jobs?tag=a%26b").await;
    assert!(html.contains("href=\"/jobs?tag=a%26b\"") && !html.contains("2 selected"), "{html}");
    for wrong in ["?status=lost", "?priority=9", "?from=x", "?order=up", "?failure_group=x"] {
        let reply = forge.request(Method::GET, &format!("/jobs{wrong}")).send().await.unwrap();
        assert_eq!(reply.status(), 400, "{wrong}");
        assert!(reply.text().await.unwrap().contains("<h1>Bad Request</h1>"), "{wrong}");
    }
}

#[tokio::test]
async fn a_long_list_leads_on_by_key_and_keeps_its_filters() {
    let forge = Forge::start().await;
    for _ in 0..120 {
        forge.submit("work").await;
    }
    let (mut path, mut seen) = ("/jobs?type=work".to_owned(), Vec::new());
    loop {
        let html = page(&forge, &path).await;
        seen.extend(rows(&html));
        let Some((before, _)) = html.split_once("\" rel=\"next\"") else { break };
        path = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
        assert!(path.starts_with("/jobs?type=work&from="), "{path}");
    }
    assert_eq!(seen, (1..=120).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn who_may_not_change_anything_is_offered_nothing_to_change() {
    let forge = Forge::start().await;
    forge.submit("work").await;
    let token = forge.token(json!({"name": "a worker's", "scopes": ["worker"]})).await;
    for (path, offers) in [
        ("/jobs", vec!["data-send", "data-select", "data-bulk", "class=\"button main\" href=\"/submit\""]),
        ("/jobs/1", vec!["id=\"cancel\"", "id=\"priority\""]),
        ("/submit", vec!["id=\"drop\""]),
    ] {
        let reply = forge.bare(Method::GET, path).bearer_auth(&token).send().await.unwrap();
        let html = reply.text().await.unwrap();
        for offer in offers {
            assert!(!html.contains(offer), "{path}: {offer}");
            assert!(page(&forge, path).await.contains(offer), "{path}: {offer}");
        }
    }
}

/// A job that has completed with these files.
async fn finished(forge: &Forge, files: &[(&str, &str)]) -> i64 {
    let queue = forge.service.queue();
    let id = named(forge, "/shelf/Ash.pdf", json!({"tags": ["old"]})).await;
    forge.register("w", "work").await;
    let (worker, kind) = (WorkerId::new("w").unwrap(), [JobType::new("work").unwrap()]);
    let held = queue.claim(&worker, &kind, 1, Duration::ZERO).await.unwrap().remove(0);
    assert_eq!(held.job.id.get(), id);
    let mut outputs = Vec::new();
    for (name, content) in files {
        let key = queue.reserve_output(held.job.id, held.token, name).await.unwrap();
        let stored = queue.blobs().put(&key, read_bytes((*content).to_owned()), UPLOAD_LIMIT).await.unwrap();
        outputs.push(Output {
            name: (*name).to_owned(),
            size: stored.size,
            sha256: Some(stored.sha256),
            key,
        });
    }
    queue.report(held.job.id, held.token, Report::Complete { outputs, result: None }).await.unwrap();
    id
}

#[tokio::test]
async fn a_document_is_shown_in_a_sandbox_with_its_own_pictures_alone() {
    let forge = Forge::start().await;
    let text = "# Ash\n\n![map](images/map.svg) <script>alert(1)</script> ![far](https://evil.example/p.png)";
    let id =
        finished(&forge, &[("text/document.md", text), ("text/images/map.svg", "<svg/>"), ("data.bin", "x")])
            .await;
    let html = page(&forge, &format!("/jobs/{id}")).await;
    assert!(html.contains(&format!("src=\"/jobs/{id}/preview?name=text%2Fdocument.md\"")), "{html}");
    assert!(
        html.contains("sandbox=\"allow-same-origin allow-popups allow-popups-to-escape-sandbox\""),
        "{html}"
    );
    let reply = forge.request(Method::GET, &format!("/jobs/{id}/preview")).send().await.unwrap();
    let policy = reply.headers()["content-security-policy"].to_str().unwrap().to_owned();
    for word in
        ["default-src 'none'", "img-src 'self'", "sandbox allow-same-origin", "frame-ancestors 'self'"]
    {
        assert!(policy.contains(word), "{word}: {policy}");
    }
    assert!(!policy.contains("script") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(reply.headers()["x-frame-options"], "SAMEORIGIN");
    let html = reply.text().await.unwrap();
    let picture = format!("/jobs/{id}/files/text/images/map.svg");
    assert!(html.contains(&format!("src=\"{picture}\"")), "{html}");
    assert!(!html.contains("<script") && !html.contains("evil.example"), "{html}");
    let reply = forge.request(Method::GET, &picture).send().await.unwrap();
    let kind = reply.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!((reply.status().as_u16(), kind.as_str()), (200, "image/svg+xml"));
    assert!(reply.headers()["content-security-policy"].to_str().unwrap().ends_with("sandbox"));
    for gone in [
        "files/data.bin",
        "files/text/document.md",
        "files/images/map.svg",
        "preview?name=data.bin",
        "source",
    ] {
        let reply = forge.request(Method::GET, &format!("/jobs/{id}/{gone}")).send().await.unwrap();
        assert_eq!(reply.status(), 404, "{gone}");
    }
    let library = page(&forge, "/library?q=tag:old").await;
    assert_eq!(rows(&library), [id]);
    assert!(rows(&page(&forge, "/library?q=sea").await).is_empty());
}

#[tokio::test]
async fn a_job_tells_its_life_and_its_place_in_line() {
    let forge = Forge::start().await;
    for _ in 0..3 {
        forge.submit("work").await;
    }
    let waiting = page(&forge, "/jobs/3").await;
    assert!(
        waiting.contains("2 jobs before it") && waiting.contains("no live worker serves type work"),
        "{waiting}"
    );
    forge.register("w", "work").await;
    let claim = forge.claim("w", "work").await;
    let failure = json!({"lease": claim["lease"], "error": "page 3 <b>has</b> no text", "kind": "no_text", "retryable": false});
    forge.post("/api/jobs/1/fail", failure).await.ok();
    let failed = page(&forge, "/jobs/1").await;
    for said in [
        "Attempt 1 failed",
        "by w",
        "no_text",
        "page 3 &#60;b&#62;has&#60;/b&#62; no text",
        "id=\"retry\"",
        "id=\"delete\"",
    ] {
        assert!(failed.contains(said), "{said}: {failed}");
    }
    assert!(page(&forge, "/jobs/2").await.contains("next in line"));
    let overview = page(&forge, "/").await;
    assert!(
        overview.contains("1 × no_text") && overview.contains("0 jobs were completed and 1 failed"),
        "{overview}"
    );
    let gone = forge.request(Method::GET, "/jobs/99").send().await.unwrap();
    assert_eq!(gone.status(), 404);
    assert!(gone.text().await.unwrap().contains("<h1>Not Found</h1>"));
}

#[tokio::test]
async fn a_source_is_fetched_from_where_it_lies() {
    let forge = Forge::start().await;
    let put = forge.request(Method::PUT, "/api/jobs/upload?type=work&name=letter.txt").body("dear");
    let id = Reply::of(put.send().await.unwrap()).await.ok()["job_id"].clone();
    let reply = forge.request(Method::GET, &format!("/jobs/{id}/source")).send().await.unwrap();
    assert_eq!(reply.status(), 302);
    let place = reply.headers()["location"].to_str().unwrap().to_owned();
    let file = forge.bare(Method::GET, &place).send().await.unwrap();
    assert!(file.headers()["content-disposition"].to_str().unwrap().contains("letter.txt"));
    assert_eq!(file.text().await.unwrap(), "dear");
}
