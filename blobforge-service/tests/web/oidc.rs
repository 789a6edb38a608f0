//! Logging in with a real provider.

use std::{collections::BTreeMap, process::Command};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    house::{HOUR, House},
    node::{run, script},
    provider::IdTokens,
    visitor::Visitor,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn groups_open_the_door_whether_they_are_in_the_id_token_or_told_when_asked() {
    for id_tokens in [IdTokens::Everything, IdTokens::Subject] {
        let house = House::open(id_tokens).await;
        let (mut bob, mut ann) = (Visitor::new(), Visitor::new());
        let page = house.log_in(&mut bob, "bob").await;
        assert!(page.status.is_success() && page.text.contains("No jobs yet"), "{page:?}");
        assert_eq!(house.account(&bob).await["scopes"], json!(["submit"]));
        house.log_in(&mut ann, "ann").await;
        let account = house.account(&ann).await;
        assert_eq!((&account["name"], &account["is_admin"]), (&json!("Ann"), &json!(true)));
        let people = house.people().await;
        let mut shown: Vec<_> = people.iter().map(|one| (&one["subject"], &one["email"])).collect();
        shown.sort_by_key(|(subject, _)| subject.to_string());
        let expected = [(json!("ann"), json!("ann@example.test")), (json!("bob"), json!("bob@example.test"))];
        assert_eq!(shown, expected.each_ref().map(|(subject, email)| (subject, email)), "{id_tokens:?}");
        assert!(people.iter().all(|one| one["sessions"] == 1 && one["issuer"] == *house.provider.issuer));
        // Administrators alone see who there is.
        assert_eq!(ann.ask(&house.at("/api/admin/users")).await.0, 200);
        assert_eq!(bob.ask(&house.at("/api/admin/users")).await.0, 403);
        assert!(!house.keeps(&house.session(&bob).unwrap()), "of a session its hash alone is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn who_is_in_no_group_that_may_stays_outside_and_a_text_is_no_list_of_groups() {
    for id_tokens in [IdTokens::Everything, IdTokens::Subject] {
        let house = House::open(id_tokens).await;
        for who in ["eve", "tom"] {
            let mut visitor = Visitor::new();
            let page = house.log_in(&mut visitor, who).await;
            page.refused(403, "may not use this service");
            assert_eq!(house.session(&visitor), None);
            assert_eq!(house.stats(&visitor).await.0, 401);
        }
        let refusals = [("Tom", "login_refused"), ("Eve", "login_refused")];
        let refusals = refusals.map(|(who, what)| (who.to_owned(), what.to_owned()));
        assert_eq!(house.recorded().await, refusals, "{id_tokens:?}");
        assert!(house.people().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn people_are_named_by_an_address_only_if_it_is_verified() {
    let house = House::open_for(IdTokens::Subject, |guests| {
        guests.groups = Vec::new();
        guests.users = vec!["eve@example.test".to_owned(), "BOB@example.test".to_owned(), "tom".to_owned()];
    })
    .await;
    for (who, may) in [("bob", true), ("eve", false), ("tom", true)] {
        let page = house.log_in(&mut Visitor::new(), who).await;
        assert_eq!(page.status.is_success(), may, "{who}: {page:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn a_login_is_finished_once_and_in_the_browser_that_began_it() {
    let house = House::open(IdTokens::Subject).await;
    let (mut bob, mut other) = (Visitor::new(), Visitor::new());
    let question = house.begin(&mut bob, "/").await;
    let asked: Vec<_> = question.query_pairs().map(|(name, _)| name.into_owned()).collect();
    for name in ["code_challenge", "state", "nonce"] {
        assert!(asked.iter().any(|asked| asked == name), "{question}");
    }
    assert!(question.as_str().contains("code_challenge_method=S256"), "{question}");
    let back = house.answer(&mut bob, &question, "bob").await;
    // Whoever is sent a link that somebody else began.
    let page = other.visit(back.as_str()).await;
    page.refused(403, "begun in another browser");
    assert_eq!(house.session(&other), None);
    // A state that nobody drew.
    let mut forged = back.clone();
    let others =
        back.query_pairs().filter(|(name, _)| name != "state").map(|(n, v)| (n.into_owned(), v.into_owned()));
    let others: Vec<_> = others.collect();
    forged.query_pairs_mut().clear().extend_pairs(others).append_pair("state", "forged");
    bob.visit(forged.as_str()).await.refused(403, "finished already");
    let without = house.at("/auth/callback?code=x");
    bob.visit(&without).await.refused(403, "finished already");
    assert!(bob.visit(back.as_str()).await.status.is_success());
    bob.visit(back.as_str()).await.refused(403, "finished already");
    assert_eq!(house.stats(&bob).await.0, 200, "the session that there is goes on");
    // And not after its time.
    let question = house.begin(&mut other, "/").await;
    let back = house.answer(&mut other, &question, "bob").await;
    house.clock.advance(HOUR / 6);
    other.visit(back.as_str()).await.refused(403, "longer than 10 minutes");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn a_code_that_somebody_has_caught_opens_nothing() {
    let house = House::open(IdTokens::Subject).await;
    let (mut ann, mut thief) = (Visitor::new(), Visitor::new());
    let question = house.begin(&mut ann, "/").await;
    let back = house.answer(&mut ann, &question, "ann").await;
    let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    // Into a login of the thief's own, which has another verifier and nonce.
    let own = house.begin(&mut thief, "/").await;
    let state = own.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let page = thief.visit(&house.at(&format!("/auth/callback?code={code}&state={state}"))).await;
    page.refused(502, "cannot be trusted");
    assert_eq!(house.session(&thief), None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn an_id_token_of_another_login_or_another_key_is_no_good() {
    let house = House::open(IdTokens::Subject).await;
    let mut bob = Visitor::new();
    let mut question = house.begin(&mut bob, "/").await;
    let others: Vec<(String, String)> = question
        .query_pairs()
        .filter(|(name, _)| name != "nonce")
        .map(|(n, v)| (n.into(), v.into()))
        .collect();
    question.query_pairs_mut().clear().extend_pairs(others).append_pair("nonce", "of-another-login");
    let back = house.answer(&mut bob, &question, "bob").await;
    bob.visit(back.as_str()).await.refused(502, "Invalid nonce");
    for how in ["other key", "unknown key"] {
        house.provider.lie(how).await;
        house.log_in(&mut bob, "bob").await.refused(502, "cannot be trusted");
        assert_eq!(house.session(&bob), None, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn what_a_provider_says_wrongly_is_not_believed() {
    let house = House::open(IdTokens::Subject).await;
    for (lie, why) in [
        ("other audience", "audience"),
        ("other issuer", "issuer"),
        ("expired", "expired"),
        ("from the future", "from the future"),
        ("later", "holds later only"),
        ("other client", "another client"),
        ("long subject", "255"),
        ("signed with the secret", "algorithm"),
        ("unsigned", "cannot be trusted"),
        ("other person", "subject"),
        ("redirecting", "cannot be trusted"),
    ] {
        house.provider.lie(lie).await;
        let mut bob = Visitor::new();
        let page = house.log_in(&mut bob, "bob").await;
        page.refused(502, "cannot be trusted");
        assert!(page.text.contains(why), "{lie}: {page:?}");
        assert_eq!(house.session(&bob), None, "{lie}");
        house.clock.advance(HOUR / 60);
    }
    for (lie, why) in [("huge", "more than"), ("failing", "503")] {
        house.provider.lie(lie).await;
        house.log_in(&mut Visitor::new(), "bob").await.refused(503, why);
        house.clock.advance(HOUR / 60);
    }
    house.provider.lie("").await;
    assert!(house.log_in(&mut Visitor::new(), "bob").await.status.is_success());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn a_login_leaves_nothing_behind_and_takes_nothing_that_was_planted() {
    let house = House::open(IdTokens::Subject).await;
    let key = (house.service.url(), "bf_login".to_owned());
    let mut bob = Visitor::new();
    let planted = "0".repeat(64);
    bob.cookies.insert(key.clone(), planted.clone());
    let question = house.begin(&mut bob, "/").await;
    assert_ne!(bob.cookies[&key], planted);
    let back = house.answer(&mut bob, &question, "bob").await;
    assert!(bob.visit(back.as_str()).await.status.is_success());
    assert_eq!(bob.cookies.get(&key), None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn new_keys_of_the_provider_are_asked_for_when_one_is_unknown() {
    let house = House::open(IdTokens::Subject).await;
    assert!(house.log_in(&mut Visitor::new(), "bob").await.status.is_success());
    let mut bob = Visitor::new();
    let question = house.begin(&mut bob, "/").await;
    house.provider.change_keys().await;
    // What was heard a moment ago is not asked again, so that nobody makes the service ask for ever.
    house.clock.advance(HOUR / 100);
    let back = house.answer(&mut bob, &question, "bob").await;
    let page = bob.visit(back.as_str()).await;
    assert!(page.status.is_success(), "{page:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn a_login_leads_to_where_somebody_was_going_and_never_elsewhere() {
    let house = House::open(IdTokens::Subject).await;
    let mut bob = Visitor::new();
    // From the page that they wanted, by the page for logging in.
    let page = bob.visit(&house.at("/?status=failed")).await;
    assert!(page.url.path() == "/auth/login" && page.text.contains("Log in with 127.0.0.1"), "{page:?}");
    let link = page.text.split("href=\"/auth/oidc").nth(1).unwrap().split('"').next().unwrap();
    let asked =
        bob.follow(&house.at(&format!("/auth/oidc{link}")), |url| url.path() == "/auth").await.unwrap();
    let back = house.answer(&mut bob, &asked, "bob").await;
    assert_eq!(bob.visit(back.as_str()).await.url.as_str(), house.at("/?status=failed"));
    for evil in ["//evil.example", "/%5Cevil.example", "https:%2F%2Fevil.example", "/%09/evil.example"] {
        let question = house.begin(&mut bob, evil).await;
        let back = house.answer(&mut bob, &question, "bob").await;
        assert_eq!(bob.step(&back).await.unwrap().as_str(), house.at("/"), "{evil}");
        let form = format!("token={}&next={evil}", house.service.admin_token());
        let gone = Visitor::new().submit(&house.at("/auth/login"), &form).await.unwrap();
        assert_eq!(gone.as_str(), house.at("/"), "{evil}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn logins_in_two_tabs_are_both_finished() {
    let house = House::open(IdTokens::Subject).await;
    let mut bob = Visitor::new();
    let (one, two) = (house.begin(&mut bob, "/?tab=1").await, house.begin(&mut bob, "/?tab=2").await);
    for (question, tab) in [(one, "/?tab=1"), (two, "/?tab=2")] {
        let back = house.answer(&mut bob, &question, "bob").await;
        assert_eq!(bob.visit(back.as_str()).await.url.as_str(), house.at(tab));
    }
    assert_eq!(house.people().await[0]["sessions"], 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn what_the_provider_refuses_is_told_as_text() {
    let house = House::open(IdTokens::Subject).await;
    let page = house.log_in(&mut Visitor::new(), "nobody").await;
    page.refused(403, "nobody &lt;b&gt;knows&lt;/b&gt; you");
    // Without a login of one's own nothing is told.
    let link = house.at("/auth/callback?error=access_denied&error_description=call+0900&state=x");
    let page = Visitor::new().visit(&link).await;
    assert!(page.status == StatusCode::FORBIDDEN && !page.text.contains("0900"), "{page:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn people_log_in_and_out_with_a_browser() {
    let house = House::open(IdTokens::Subject).await;
    let mut browser = script("oidc.mjs");
    browser.env("SERVICE", house.service.url()).env("PROVIDER", &house.provider.issuer);
    tokio::task::spawn_blocking(move || run(browser)).await.unwrap();
    let recorded: Vec<_> = house.recorded().await.into_iter().map(|(_, what)| what).collect();
    assert_eq!(recorded, ["logged_out", "logged_in"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn the_doctor_looks_at_the_provider() {
    let house = House::open(IdTokens::Subject).await;
    let folder = tempfile::tempdir().unwrap();
    let found = |issuer: &str, admins: Option<&str>| {
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_blobforge"));
        doctor.args(["doctor", "--json"]).current_dir(folder.path());
        doctor.env("BLOBFORGE_OIDC_ISSUER", issuer).env("BLOBFORGE_OIDC_CLIENT_ID", "blobforge");
        doctor.env("BLOBFORGE_PUBLIC_URL", house.service.url());
        doctor.envs(admins.map(|admins| ("BLOBFORGE_OIDC_ADMIN_GROUPS", admins)));
        let said = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
        let lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let state = |line: &Value| (line["what"].as_str().unwrap().to_owned(), line["state"].clone());
        lines.map(|line| state(&line)).collect::<BTreeMap<_, _>>()
    };
    let well = found(&house.provider.issuer, Some("forge-admins"));
    assert_eq!((&well["OpenID provider"], well.get("administrators")), (&json!("ok"), None), "{well:?}");
    assert_eq!(well["guests"], "warn", "everybody may come in");
    assert_eq!(found(&house.provider.issuer, None)["administrators"], "warn");
    // It has to be called as it calls itself, and to be there.
    assert_eq!(
        found(&house.provider.issuer.replace("127.0.0.1", "localhost"), Some("a"))["OpenID provider"],
        "fail"
    );
    assert_eq!(found("http://127.0.0.1:1", Some("a"))["OpenID provider"], "fail");
}
