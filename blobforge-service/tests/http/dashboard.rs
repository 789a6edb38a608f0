//! The pages of the dashboard, as far as that can be seen without a browser.

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
    for path in ["/", "/jobs", "/auth/login"] {
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
        (&format!("?below={third}"), vec![second, first]),
        ("?q=nothing+of+that", vec![]),
    ] {
        let html = page(&forge, &format!("/jobs{query}")).await;
        assert_eq!(rows(&html), found, "{query}");
    }
    let html = page(&forge, "/jobs?tag=a%26b").await;
    assert!(html.contains("href=\"/jobs?tag=a%26b\"") && html.contains("2 selected") == false, "{html}");
    for wrong in ["?status=lost", "?priority=9", "?below=x", "?failure_group=x"] {
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
        assert!(path.starts_with("/jobs?type=work&below="), "{path}");
    }
    assert_eq!(seen, (1..=120).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn who_may_not_change_anything_is_offered_nothing_to_change() {
    let forge = Forge::start().await;
    forge.submit("work").await;
    let token = forge.token(json!({"name": "a worker's", "scopes": ["worker"]})).await;
    for path in ["/", "/jobs"] {
        let reply = forge.bare(Method::GET, path).bearer_auth(&token).send().await.unwrap();
        let html = reply.text().await.unwrap();
        for offer in ["data-send", "data-select", "data-bulk", "href=\"/submit\""] {
            assert!(!html.contains(offer), "{path}: {offer}");
            assert!(path == "/" || page(&forge, path).await.contains(offer), "{path}: {offer}");
        }
    }
}
