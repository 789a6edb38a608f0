//! The pages, as people see them.

use crate::{
    forge::Forge,
    node::{run, script},
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn who_has_a_token_logs_in() {
    let forge = Forge::start(30).await;
    let mut login = script("login.mjs");
    login.env("SERVICE", forge.url()).env("TOKEN", forge.token());
    tokio::task::spawn_blocking(move || run(login)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn people_log_in_and_out_over_plain_http_as_well() {
    let forge = Forge::start(30).await;
    let mut login = script("lan.mjs");
    login.env("SERVICE", forge.url().replace("127.0.0.1", "forge.lan")).env("TOKEN", forge.token());
    tokio::task::spawn_blocking(move || run(login)).await.unwrap();
}
