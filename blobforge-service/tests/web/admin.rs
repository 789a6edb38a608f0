//! Workers and the pages for administrators, in a browser.

use blobforge_service::{ServeConfig, Service};

use crate::{forge::Forge, lived_in::LivedIn, pages::browse, staffed::staff};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn workers_and_the_pages_for_administrators_fit_and_are_there_for_everybody_in_both_themes() {
    let lived = LivedIn::start().await;
    let hook = staff(&lived.service).await;
    let mut more = vec![("HOOK", hook)];
    if let Some(folder) = std::env::var_os("BLOBFORGE_TEST_PICTURES") {
        std::fs::create_dir_all(&folder).unwrap();
        more.push(("PICTURES", folder.into_string().unwrap()));
    }
    browse("admin_pages.mjs", &lived.service.url(), lived.service.admin_token(), &more).await;
    // How a service is set up is known where it is a process of its own.
    let forge = Forge::start(30).await;
    browse("admin_pages.mjs", &forge.url(), &forge.token(), &more[1..]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn administrators_let_in_pause_drain_and_revoke_from_pages() {
    let forge = Forge::start(30).await;
    let program = env!("CARGO_BIN_EXE_blobforge").to_owned();
    browse("administering.mjs", &forge.url(), &forge.token(), &[("PROGRAM", program)]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn what_strangers_named_runs_on_no_page_for_administrators() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(ServeConfig::local(folder.path())).await.unwrap();
    browse("admin_hostile.mjs", &service.url(), service.admin_token(), &[]).await;
}
