//! Who may use what: every route of the registry, with every kind of caller.

use std::collections::BTreeSet;

use blobforge_service::{Access, ROUTES};

use super::*;

const CALLERS: [&str; 5] = ["nobody", "submit", "worker", "admin", "revoked"];

fn may_use(caller: &str, access: Access) -> bool {
    match access {
        Access::Public => true,
        // By a signature, which nobody here has.
        Access::Signed => false,
        Access::Any | Access::Page => matches!(caller, "submit" | "worker" | "admin"),
        Access::Submit => matches!(caller, "submit" | "admin"),
        Access::Worker => matches!(caller, "worker" | "admin"),
        Access::Admin | Access::AdminPage => caller == "admin",
    }
}

/// A path that fits a pattern, naming things that do not exist.
fn example(pattern: &str) -> String {
    let fill = |part: &str| {
        match part {
            "{id}" | "{job_id}" => "987654",
            "{type}" => "source",
            "{file}" => "style.css",
            "{key*}" => "sources/nothing",
            "{name*}" => "document.md",
            other => return other.to_owned(),
        }
        .to_owned()
    };
    pattern.split('/').map(fill).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_lets_in_who_may_use_it_and_nobody_else() {
    let forge = Forge::start().await;
    let mut tokens = vec![None];
    for scope in ["submit", "worker", "admin"] {
        tokens.push(Some(forge.token(json!({"name": scope, "scopes": [scope]})).await));
    }
    let revoked = forge.post("/api/admin/tokens", json!({"name": "revoked", "scopes": ["admin"]})).await.ok();
    let path = format!("/api/admin/tokens/{}", revoked["id"].as_str().unwrap());
    assert!(forge.request(Method::DELETE, &path).send().await.unwrap().status().is_success());
    tokens.push(Some(revoked["token"].as_str().unwrap().to_owned()));
    let mut asked = 0;
    for route in ROUTES {
        let method: Method = route.method.parse().unwrap();
        for (caller, token) in CALLERS.iter().zip(&tokens) {
            let mut request = forge.bare(method.clone(), &example(route.pattern));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            // The header alone: an event stream never ends.
            let reply = request.send().await.unwrap();
            let let_in = match reply.status().as_u16() {
                401 => false,
                403 => route.pattern == "/auth/login",
                303 => !matches!(route.access, Access::Page | Access::AdminPage),
                _ => true,
            };
            assert_eq!(
                let_in,
                may_use(caller, route.access),
                "{caller} at {} {}: {}",
                route.method,
                route.pattern,
                reply.status()
            );
            asked += 1;
        }
    }
    assert_eq!(asked, ROUTES.len() * CALLERS.len());
}

#[tokio::test]
async fn the_document_and_the_registry_name_the_same_operations() {
    let forge = Forge::start().await;
    let document = Reply::of(forge.bare(Method::GET, "/api/openapi.json").send().await.unwrap()).await.ok();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            described.insert(format!("{} {path}", method.to_uppercase()));
            assert!(operation["x-access"] != "nobody", "{method} {path}");
            assert!(
                operation["summary"].is_string() && operation["operationId"].is_string(),
                "{method} {path}"
            );
            let is_public = operation["security"].as_array().unwrap().is_empty();
            assert_eq!(is_public, operation["x-access"] == "anybody", "{method} {path}");
        }
    }
    let registered = ROUTES.iter().filter(|route| route.is_operation);
    let registered: BTreeSet<_> =
        registered.map(|route| format!("{} {}", route.method, route.pattern.replace("*}", "}"))).collect();
    assert_eq!(described, registered);
}

#[tokio::test]
async fn a_token_of_one_worker_cannot_act_as_another() {
    let forge = Forge::start().await;
    let token = forge.token(json!({"name": "a's", "scopes": ["worker"], "worker_id": "a"})).await;
    forge.register("b", "work").await;
    forge.submit("work").await;
    let claim = forge.claim("b", "work").await;
    let as_a = |path: &str, body: Value| {
        let request = forge.bare(Method::POST, path).bearer_auth(&token).json(&body);
        async move { Reply::of(request.send().await.unwrap()).await }
    };
    as_a("/api/workers/b/heartbeat", json!({})).await.refused(403, "other_worker");
    as_a("/api/jobs/claim", json!({"worker_id": "b", "job_type": "work"})).await.refused(403, "other_worker");
    let path = format!("/api/jobs/{}/complete", claim["job"]["id"]);
    as_a(&path, json!({"lease": claim["lease"]})).await.refused(403, "other_worker");
    let own = json!({"id": "a", "type": "work", "protocol": 1, "instance": "instance a"});
    as_a("/api/workers/register", own).await.ok();
}

#[tokio::test]
async fn credentials_that_are_none_are_told_so() {
    let forge = Forge::start().await;
    for header in ["Bearer nonsense", "Basic YTpi", "Bearer", "Bearer bf_00"] {
        let request = forge.bare(Method::GET, "/api/jobs").header("authorization", header);
        let reply = request.send().await.unwrap();
        assert_eq!(reply.headers()["www-authenticate"], "Bearer");
        Reply::of(reply).await.refused(401, "unauthenticated");
    }
    // Whoever comes with bad credentials can still ask whether the service is well.
    let request = forge.bare(Method::GET, "/health").header("authorization", "Bearer nonsense");
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_is_never_shown_again() {
    let forge = Forge::start().await;
    let made =
        forge.post("/api/tokens", json!({"description": "old", "is_admin": false, "expires_in": 1})).await;
    assert_eq!(made.status, 201);
    let made = made.ok();
    assert_eq!(made["scopes"], json!(["submit", "worker"]));
    assert!(made["expires_at"].is_string());
    let list = forge.get("/api/tokens").await.ok();
    let text = list.to_string();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    assert!(!text.contains(made["token"].as_str().unwrap()) && !text.contains(forge.service.admin_token()));
    let path = "/api/admin/tokens/admin";
    let reply = Reply::of(forge.request(Method::DELETE, path).send().await.unwrap()).await;
    reply.refused(409, "admin_token");
    forge.post("/api/tokens", json!({"name": "none", "scopes": []})).await.refused(400, "invalid");
    forge.post("/api/tokens", json!({"scopes": ["worker"]})).await.refused(400, "invalid");
    forge.post("/api/tokens", json!({"name": "x", "scopes": ["root"]})).await.refused(400, "invalid");
}

#[tokio::test]
async fn the_admin_token_lies_in_a_file_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let forge = Forge::start().await;
    let file = forge.folder.path().join("admin-token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), forge.service.admin_token());
    // The database knows no more than its hash.
    forge.submit("work").await;
    for entry in std::fs::read_dir(forge.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path != file {
            let bytes = std::fs::read(&path).unwrap();
            let token = forge.service.admin_token().as_bytes();
            assert!(!bytes.windows(token.len()).any(|window| window == token), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn a_restart_knows_the_tokens_and_jobs_of_before() {
    let forge = Forge::start().await;
    let job = forge.submit("work").await;
    let token = forge.service.admin_token().to_owned();
    let Forge { service, folder, http } = forge;
    service.stop().await.unwrap();
    let service = Service::start(ServeConfig::local(folder.path())).await.unwrap();
    assert_eq!(service.admin_token(), token);
    let forge = Forge { service, http, folder };
    assert_eq!(forge.get(&format!("/api/jobs/{job}")).await.ok()["status"], "pending");
}
