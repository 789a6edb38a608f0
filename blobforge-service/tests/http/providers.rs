//! Logging in with an identity provider, as far as it takes none: one that is not there.

use std::{net::TcpListener, sync::Arc};

use blobforge_core::{ManualClock, Timestamp};
use blobforge_service::{Guests, OidcOptions};

use super::*;

fn everybody() -> Guests {
    Guests { everybody: true, ..Guests::default() }
}

/// A provider at this address.
fn provider(issuer: &str, guests: Guests) -> OidcOptions {
    OidcOptions { guests, ..OidcOptions::new(issuer, "forge", "http://127.0.0.1:8080/auth/callback") }
}

/// A service whose provider does not answer.
async fn alone(clock: &Arc<ManualClock>) -> Forge {
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let forge = Forge::with(|config| {
        config.clock = Some(clock.clone());
        config.oidc = Some(provider(&format!("http://{nowhere}"), everybody()));
    });
    forge.await
}

#[tokio::test]
async fn a_service_does_not_start_that_would_let_in_who_was_not_named() {
    let public = "https://accounts.google.com";
    for (options, why) in [
        (provider(public, Guests::default()), "public provider"),
        (provider(public, everybody()), "public provider"),
        (provider("http://auth.example.org", everybody()), "not encrypted"),
        (provider("http://127.0.0.1:1", Guests::default()), "nobody"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = ServeConfig { oidc: Some(options), ..ServeConfig::local(folder.path()) };
        let refusal = Service::start(config).await.unwrap_err().to_string();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[tokio::test]
async fn an_address_is_sent_to_the_provider_and_comes_back_so_often_a_minute() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let forge = alone(&clock).await;
    let get = async |path: &str| forge.bare(Method::GET, path).send().await.unwrap().status().as_u16();
    for _ in 0..30 {
        assert_eq!(get("/auth/oidc").await, 503);
        assert_eq!(get("/auth/callback?state=x&code=y").await, 403);
    }
    for path in ["/auth/oidc", "/auth/callback?state=x&code=y"] {
        assert_eq!(get(path).await, 429, "{path}");
    }
    assert_eq!(get("/auth/login").await, 200, "with a token people still log in");
    clock.advance(Duration::from_secs(1));
    assert_eq!(get("/auth/oidc").await, 503);
}
