//! What browsers see.

use super::*;

#[tokio::test]
async fn a_page_sends_to_the_login_and_a_link_or_a_token_opens_the_door() {
    let forge = Forge::start().await;
    let sent = forge.bare(Method::GET, "/").send().await.unwrap();
    assert_eq!((sent.status().as_u16(), sent.headers()["location"].to_str().unwrap()), (303, "/auth/login"));
    let login = forge.bare(Method::GET, "/login").send().await.unwrap();
    let policy = login.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(login.text().await.unwrap().contains("login"));
    let link = forge.service.login_link().unwrap();
    let code = link.split_once("link=").unwrap().1.to_owned();
    let page = forge.http.get(&link).send().await.unwrap().text().await.unwrap();
    assert!(page.contains(&code), "the page asks before it uses the link up");
    for (name, value) in [("link", code.as_str()), ("token", forge.service.admin_token())] {
        let form = format!("{name}={value}");
        let post = |form: String| {
            forge
                .bare(Method::POST, "/auth/login")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form)
        };
        let reply = post(form.clone()).send().await.unwrap();
        assert_eq!(reply.status(), 303, "{name}");
        let cookie = reply.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let page = forge.bare(Method::GET, "/").header("cookie", &cookie).send().await.unwrap();
        assert!(page.text().await.unwrap().contains("No jobs yet"));
        if name == "link" {
            assert_eq!(post(form).send().await.unwrap().status(), 403, "it opens once");
        }
        // A session changes things only from the service's own pages.
        let job = json!({"type": "work", "source": "none"});
        let submit = || forge.bare(Method::POST, "/api/jobs").header("cookie", &cookie).json(&job);
        let foreign = submit().header("origin", "https://evil.example").send().await.unwrap();
        Reply::of(foreign).await.refused(403, "cross_site");
        Reply::of(submit().send().await.unwrap()).await.refused(403, "cross_site");
        let own =
            submit().header("origin", forge.service.url()).header("x-csrf-token", forge.csrf(&cookie).await);
        Reply::of(own.send().await.unwrap()).await.ok();
        let out = forge
            .bare(Method::POST, "/auth/logout")
            .header("cookie", &cookie)
            .header("sec-fetch-site", "same-origin");
        assert_eq!(out.send().await.unwrap().status(), 303);
        assert_eq!(
            forge.bare(Method::GET, "/").header("cookie", &cookie).send().await.unwrap().status(),
            303
        );
        let id = forge.get("/api/jobs").await.ok()["jobs"][0]["id"].clone();
        forge.post(&format!("/api/jobs/{id}/cancel"), Value::Null).await;
        if name == "link" {
            break;
        }
    }
    let bad =
        forge.bare(Method::POST, "/auth/login").header("content-type", "application/x-www-form-urlencoded");
    let bad = bad.body("token=nonsense").send().await.unwrap();
    assert_eq!(bad.status(), 403);
    assert!(bad.text().await.unwrap().contains("This is no token"));
}

impl Forge {
    /// What the pages of a session send with every change.
    async fn csrf(&self, cookie: &str) -> String {
        let info = self.bare(Method::GET, "/api/auth/info").header("cookie", cookie).send().await.unwrap();
        Reply::of(info).await.ok()["csrf_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_session_changes_nothing_without_the_value_that_its_own_pages_know() {
    let forge = Forge::start().await;
    let (cookie, other) =
        (forge.log_in(forge.service.admin_token()).await, forge.log_in(forge.service.admin_token()).await);
    let (of_this, of_other) = (forge.csrf(&cookie).await, forge.csrf(&other).await);
    let job = json!({"type": "work", "source": "none"});
    let submit = |value: Option<&str>| {
        let request = forge.bare(Method::POST, "/api/jobs").header("sec-fetch-site", "same-origin");
        let request = request.header("cookie", &cookie).json(&job);
        value.map_or(request.try_clone().unwrap(), |value| request.header("x-csrf-token", value)).send()
    };
    for bad in [None, Some(""), Some("00"), Some(of_other.as_str())] {
        Reply::of(submit(bad).await.unwrap()).await.refused(403, "csrf");
    }
    assert!(forge.get("/api/jobs").await.ok()["jobs"].as_array().unwrap().is_empty());
    Reply::of(submit(Some(&of_this)).await.unwrap()).await.ok();
    // Only sessions have one, and to look at something it is not needed.
    let info = forge.get("/api/auth/info").await.ok();
    assert_eq!((&info["csrf_token"], &info["account"]["id"]), (&Value::Null, &json!("admin")));
    let nobody = Reply::of(forge.bare(Method::GET, "/api/auth/info").send().await.unwrap()).await.ok();
    assert!(nobody.get("account").is_none() && nobody.get("csrf_token").is_none(), "{nobody}");
    let jobs = forge.bare(Method::GET, "/api/jobs").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(jobs.status(), 200);
}

#[tokio::test]
async fn a_login_leads_back_to_the_page_that_was_wanted() {
    let forge = Forge::start().await;
    let place = |reply: &Response| reply.headers()["location"].to_str().unwrap().to_owned();
    let sent = forge.bare(Method::GET, "/?status=failed").send().await.unwrap();
    assert_eq!(place(&sent), "/auth/login?next=%2F%3Fstatus%3Dfailed");
    let page = forge.bare(Method::GET, &place(&sent)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("name=\"next\" value=\"/?status=failed\""), "{page}");
    let login = async |next: &str| {
        let form = format!("token={}&next={next}", forge.service.admin_token());
        let login = forge.bare(Method::POST, "/auth/login").body(form);
        login.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap()
    };
    assert_eq!(place(&login("/?status=failed").await), "/?status=failed");
    assert_eq!(place(&login("//evil.example").await), "/", "and nowhere else");
    // A page that asks for a part of itself loads itself anew: a login cannot be a part of it.
    for path in ["/", "/api/jobs"] {
        let part = forge.bare(Method::GET, path).header("hx-request", "true").send().await.unwrap();
        assert_eq!((part.status().as_u16(), &part.headers()["hx-refresh"]), (401, &"true".parse().unwrap()));
    }
    // Without a provider there is no login with one.
    for path in ["/auth/oidc", "/auth/callback?code=a&state=b"] {
        let reply = forge.bare(Method::GET, path).send().await.unwrap();
        assert_eq!(reply.status(), 404);
        assert!(reply.text().await.unwrap().contains("log in with a token"));
    }
}

#[tokio::test]
async fn what_strangers_wrote_is_shown_as_text() {
    let forge = Forge::start().await;
    let job = json!({"type": "work", "source": "none", "source_path": "<script>alert(1)</script>"});
    forge.post("/api/jobs", job).await.ok();
    let page = forge.request(Method::GET, "/").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script"), "{page}");
}

#[tokio::test]
async fn the_api_page_loads_everything_from_the_service() {
    let forge = Forge::start().await;
    let page = forge.bare(Method::GET, "/docs").send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self';"), "no inline scripts: {policy}");
    let html = page.text().await.unwrap();
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for part in html.split(attribute).skip(1) {
            let path = part.split('"').next().unwrap();
            let reply = forge.bare(Method::GET, path).send().await.unwrap();
            assert!(reply.status().is_success(), "{path}");
            assert!(reply.text().await.unwrap().len() > 50, "{path}");
            loaded += 1;
        }
    }
    assert_eq!(loaded, 3);
    assert!(!html.contains("<script>"));
}

#[tokio::test]
async fn every_reply_has_an_id_and_is_careful_in_browsers() {
    let forge = Forge::start().await;
    let reply = forge
        .request(Method::GET, "/api/stats")
        .header("x-request-id", "given-by-a-proxy")
        .send()
        .await
        .unwrap();
    assert_eq!(reply.headers()["x-request-id"], "given-by-a-proxy");
    assert_eq!(reply.headers()["x-content-type-options"], "nosniff");
    assert_eq!(reply.headers()["cache-control"], "no-store");
    let problem = forge.bare(Method::GET, "/nothing").header("x-request-id", "bad id!").send().await.unwrap();
    let id = problem.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_ne!(id, "bad id!");
    assert_eq!(problem.headers()["content-type"], "application/problem+json");
    assert_eq!(Reply::of(problem).await.body["request_id"], id.as_str());
}
