//! Nothing that is secret is said, logged or kept in plain text.

use std::{fs, path::Path};

use super::*;

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// Asks every address that only reads, and adds what it says.
async fn read_everything(forge: &Forge, token: &str, said: &mut Vec<(String, Vec<u8>)>) {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let document: serde_json::Value =
        http.get(format!("{}/api/openapi.json", forge.url)).send().await.unwrap().json().await.unwrap();
    let operations = document["paths"].as_object().unwrap().iter();
    let reads = operations.filter(|(_, methods)| methods.get("get").is_some()).map(|(path, _)| path.as_str());
    // An event stream never ends.
    let reads =
        reads.filter(|path| !path.ends_with("/events")).chain(["/", "/docs", "/metrics", "/auth/login"]);
    for path in reads {
        let path = path
            .replace("{id}", "1")
            .replace("{type}", "work")
            .replace("{job_id}", "1")
            .replace("{name}", "a");
        for token in [Some(token), None, Some("bf_of-nobody")] {
            let mut request = http.get(format!("{}{path}", forge.url));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let reply = request.send().await.unwrap();
            let headers = format!("{:?}", reply.headers());
            said.push((format!("the headers of {path}"), headers.into_bytes()));
            said.push((path.clone(), reply.bytes().await.unwrap().to_vec()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_reply_log_or_error_and_no_token_in_the_store() {
    let admin = "canary-admin-0123456789abcdef0123456789abcdef";
    let signing = "canary-signing-0123456789abcdef0123456789";
    let mut forge =
        Forge::serve_with(&[], &[("BLOBFORGE_ADMIN_TOKEN", admin), ("RUST_LOG", "debug,hyper=trace")]);
    let post = async |path: &str, body: serde_json::Value| {
        let request =
            reqwest::Client::new().post(format!("{}{path}", forge.url)).bearer_auth(admin).json(&body);
        request.send().await.unwrap().json::<serde_json::Value>().await.unwrap()
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let made = post("/api/admin/tokens", serde_json::json!({"name": "a", "scopes": ["submit"]})).await;
    let bound = post("/api/admin/workers", serde_json::json!({"id": "smith"})).await;
    let (made, bound) = (text(&made["token"]), text(&bound["token"]));
    let hook = serde_json::json!({"url": "https://hooks.example.net/done", "secret": signing});
    assert!(post("/api/webhooks", hook).await["id"].is_string());
    let job =
        serde_json::json!({"type": "work", "source": "none", "webhook": "https://hooks.example.net/done"});
    post("/api/jobs", job).await;
    let mut said = Vec::new();
    read_everything(&forge, admin, &mut said).await;
    for body in [serde_json::json!({"url": 1, "secret": 2}), serde_json::json!([])] {
        for path in ["/api/webhooks", "/api/admin/tokens", "/api/admin/workers", "/api/jobs"] {
            said.push((path.to_owned(), post(path, body.clone()).await.to_string().into_bytes()));
        }
    }
    let shown = blobforge().args(["config", "show"]).env("BLOBFORGE_ADMIN_TOKEN", admin).output().unwrap();
    said.push(("config show".to_owned(), [shown.stdout, shown.stderr].concat()));
    let folder = forge.folder.path().to_owned();
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap().trim().to_owned();
    let in_files = [read("url-secret"), read("webhook-secret")];
    kill_process(Pid::from_child(&forge.service), Signal::TERM).unwrap();
    // Only then does nobody write any more.
    assert!(forge.service.wait().unwrap().success());
    said.push(("the log".to_owned(), forge.log().into_bytes()));

    assert!(said.iter().any(|(_, bytes)| holds(bytes, "hooks.example.net")), "what is no secret was read");
    for (what, bytes) in &said {
        for secret in [admin, signing, &made, &bound, &in_files[0], &in_files[1]] {
            assert!(secret.len() >= 24 && !holds(bytes, secret), "{what} has a secret");
        }
    }
    let kept: Vec<_> =
        files(&folder).into_iter().filter(|path| path.to_str().unwrap().contains("blobforge.db")).collect();
    assert!(!kept.is_empty());
    for path in kept {
        let bytes = fs::read(&path).unwrap();
        for token in [admin, &made, &bound] {
            assert!(!holds(&bytes, token), "{} has a token", path.display());
        }
    }
}
