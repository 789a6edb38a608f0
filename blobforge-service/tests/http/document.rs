//! The API's document, as it is committed.

use std::{env, fs, path::Path};

use super::*;

#[tokio::test]
async fn the_document_that_is_committed_is_the_one_that_is_served() {
    let forge = Forge::start().await;
    let served =
        forge.bare(Method::GET, "/api/openapi.json").send().await.unwrap().text().await.unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("openapi.json");
    if env::var_os("UPDATE_OPENAPI").is_some() {
        fs::write(&path, &served).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == served,
        "the API has changed: write openapi.json anew with UPDATE_OPENAPI=1 and look whether that is what you want"
    );
}

#[tokio::test]
async fn what_may_be_left_out_may_be_null_and_a_wrong_method_is_told_the_right_ones() {
    let forge = Forge::start().await;
    let document = forge.get("/api/openapi.json").await.ok();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Job"]["properties"]["worker_id"]["nullable"], true);
    assert_eq!(schemas["Job"]["properties"]["id"].get("nullable"), None);
    assert!(schemas["JobList"].get("type").is_none(), "it is one of several things");
    let wrong = forge.bare(Method::TRACE, "/api/jobs").send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), &wrong.headers()["allow"]), (405, &"POST, GET".parse().unwrap()));
}
