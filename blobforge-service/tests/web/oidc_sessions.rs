//! What becomes of a session that a real provider has opened.

use reqwest::{Method, StatusCode, Url};

use crate::{
    house::{HOUR, House},
    provider::IdTokens,
    visitor::Visitor,
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn the_service_runs_while_the_provider_is_away() {
    let mut house = House::open(IdTokens::Subject).await;
    house.provider.end();
    let mut bob = Visitor::new();
    let page = bob.visit(&house.at("/auth/oidc")).await;
    page.refused(503, "does not answer");
    assert!(page.text.contains("API token"), "there is another way: {page:?}");
    let mut admin = Visitor::new();
    admin.submit(&house.at("/auth/login"), &format!("token={}", house.service.admin_token())).await.unwrap();
    assert_eq!(house.stats(&admin).await.0, 200);
    house.provider.again();
    house.clock.advance(HOUR / 100);
    assert!(house.log_in(&mut bob, "bob").await.status.is_success());
    // Who was let in goes on, but not for ever.
    house.provider.end();
    for _ in 0..11 {
        house.clock.advance(HOUR);
        assert_eq!(house.stats(&bob).await.1["code"], "session_unconfirmed");
        assert!(bob.visit(&house.at("/")).await.text.contains("No jobs yet"));
        assert_eq!(house.stats(&bob).await.0, 200);
    }
    house.clock.advance(HOUR);
    bob.visit(&house.at("/")).await.refused(503, "does not answer");
    assert_eq!(house.stats(&bob).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn a_provider_that_fails_halfway_is_away_too() {
    let house = House::open(IdTokens::Subject).await;
    let mut bob = Visitor::new();
    house.log_in(&mut bob, "bob").await;
    house.clock.advance(HOUR);
    house.provider.lie("failing").await;
    let page = bob.visit(&house.at("/?page=2")).await;
    assert_eq!((page.url.as_str(), page.status), (house.at("/?page=2").as_str(), StatusCode::OK));
    assert_eq!(house.stats(&bob).await.0, 200);
    house.clock.advance(11 * HOUR);
    bob.visit(&house.at("/")).await.refused(503, "503");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn who_may_not_come_in_is_taken_down_once_an_hour() {
    let house = House::open(IdTokens::Subject).await;
    for _ in 0..5 {
        house.log_in(&mut Visitor::new(), "eve").await.refused(403, "may not use this service");
    }
    assert_eq!(house.recorded().await.len(), 1);
    house.clock.advance(HOUR);
    house.log_in(&mut Visitor::new(), "eve").await.refused(403, "may not use this service");
    assert_eq!(house.recorded().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn what_the_provider_says_of_somebody_is_asked_again_every_hour() {
    let house = House::open(IdTokens::Subject).await;
    let mut bob = Visitor::new();
    house.log_in(&mut bob, "bob").await;
    let before = house.session(&bob).unwrap();
    house.clock.advance(HOUR);
    assert_eq!(house.stats(&bob).await.1["code"], "session_unconfirmed");
    house.provider.put_in_groups("bob", &["forge-admins"]).await;
    // The provider still knows them and asks nothing: a page goes there and back.
    let page = bob.visit(&house.at("/?page=2")).await;
    assert_eq!((page.url.as_str(), page.status), (house.at("/?page=2").as_str(), StatusCode::OK));
    assert_eq!(house.account(&bob).await["is_admin"], true);
    assert_eq!(house.session(&bob).unwrap(), before, "open pages go on");
    house.provider.put_in_groups("bob", &[]).await;
    house.clock.advance(HOUR);
    bob.visit(&house.at("/")).await.refused(403, "may not use this service");
    assert_eq!(house.stats(&bob).await.1["code"], "unauthenticated", "the session has ended");
    assert_eq!(house.people().await[0]["sessions"], 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn a_session_ends_when_it_is_left_and_when_an_administrator_says_so() {
    let house = House::open(IdTokens::Subject).await;
    let (mut here, mut there) = (Visitor::new(), Visitor::new());
    house.log_in(&mut here, "bob").await;
    house.clock.advance(11 * HOUR);
    house.log_in(&mut there, "bob").await;
    house.clock.advance(HOUR);
    assert_eq!(house.stats(&here).await.1["code"], "unauthenticated", "12 hours without a request");
    assert_eq!(house.stats(&there).await.1["code"], "session_unconfirmed");
    there.visit(&house.at("/")).await;
    assert_eq!(house.stats(&there).await.0, 200);
    let bob = house.people().await[0]["id"].as_str().unwrap().to_owned();
    let ended = house.admin(Method::DELETE, &format!("/api/admin/users/{bob}/sessions")).await;
    assert_eq!(ended["sessions"], 1, "the one that was left has gone: {ended}");
    assert_eq!(house.stats(&there).await.1["code"], "unauthenticated");
    let recorded = house.recorded().await;
    assert_eq!(recorded[0].1, "sessions_ended", "{recorded:?}");
    assert_eq!(recorded[1], ("Bob".to_owned(), "logged_in".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn a_login_never_goes_on_with_a_secret_that_was_there_before() {
    let house = House::open(IdTokens::Subject).await;
    let mut bob = Visitor::new();
    let key = (house.service.url(), "bf_session".to_owned());
    bob.cookies.insert(key.clone(), "planted".to_owned());
    house.log_in(&mut bob, "bob").await;
    assert_ne!(house.session(&bob).as_deref(), Some("planted"));
    // Nor with the session of somebody else, which ends.
    let bobs = bob.clone();
    house.log_in(&mut bob, "ann").await;
    assert_eq!(house.account(&bob).await["name"], "Bob", "the provider still knows who is there");
    let mut ann = Visitor::new();
    ann.cookies.insert(key, house.session(&bobs).unwrap());
    house.log_in(&mut ann, "ann").await;
    assert_eq!(house.account(&ann).await["name"], "Ann");
    assert_eq!(house.stats(&bobs).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn logging_out_reaches_the_provider() {
    let house = House::open(IdTokens::Subject).await;
    let mut bob = Visitor::new();
    house.log_in(&mut bob, "bob").await;
    let left = bob.submit(&house.at("/auth/logout"), "").await.unwrap_err();
    let farewell = left.refresh.unwrap().split_once("url=").unwrap().1.to_owned();
    let farewell = Url::parse(&farewell).unwrap();
    assert!(farewell.as_str().starts_with(&house.provider.issuer), "{farewell}");
    assert!(farewell.query().unwrap().contains("client_id=blobforge"), "{farewell}");
    assert_eq!(house.stats(&bob).await.0, 401);
    assert_eq!(house.recorded().await[0], ("Bob".to_owned(), "logged_out".to_owned()));
    // So does one that had ended by itself.
    let mut left_open = Visitor::new();
    left_open.cookies.insert((house.service.url(), "bf_session".to_owned()), "0".repeat(64));
    let left = left_open.submit(&house.at("/auth/logout"), "").await.unwrap_err();
    assert!(left.refresh.unwrap().contains(&house.provider.issuer));
    // It asks, and leads back.
    let page = bob.visit(farewell.as_str()).await;
    let after = |mark: &str| page.text.split(mark).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let (action, xsrf) = (after("action=\""), after("name=\"xsrf\" value=\""));
    let next = bob.submit(&action, &format!("xsrf={xsrf}&logout=yes")).await.unwrap();
    assert_eq!(next.as_str(), house.at("/auth/login"));
    // And it no longer knows who is there.
    let question = house.begin(&mut bob, "/").await;
    let back = bob.follow(question.as_str(), |url| url.path() == "/auth/callback").await.unwrap();
    assert!(back.query().unwrap().contains("error=access_denied"), "{back}");
}
