//! What is wrong with a bucket is said at the start, with what to do about it.

use std::net::Ipv4Addr;

use blobforge_core::blob::S3Options;
use blobforge_service::{ServeConfig, Service};
use poem::{
    Route, Server, handler,
    http::StatusCode,
    listener::{Acceptor, Listener, TcpListener},
};

use crate::bucket::Bucket;

/// What the start says with these options.
async fn refused(change: impl FnOnce(&mut S3Options)) -> String {
    let bucket = Bucket::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut options = bucket.options();
    change(&mut options);
    let config = ServeConfig { s3: Some(options), ..ServeConfig::local(folder.path()) };
    match Service::start(config).await {
        Ok(_) => panic!("it starts"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_good_bucket_is_left_as_it_was() {
    let bucket = Bucket::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = ServeConfig { s3: Some(bucket.options()), ..ServeConfig::local(folder.path()) };
    Service::start(config).await.unwrap().stop().await.unwrap();
    let left = std::fs::read_dir(bucket.folder.path().join(crate::bucket::BUCKET)).unwrap().count();
    assert_eq!(left, 0, "nothing of the probe");
    assert!(!folder.path().join("files").exists(), "no folder for files that lie elsewhere");
}

#[tokio::test]
async fn a_wrong_secret_is_named() {
    let said = refused(|options| options.secret_key = "guessed".to_owned()).await;
    assert!(said.contains("BLOBFORGE_S3_SECRET_KEY"), "{said}");
    assert!(!said.contains("guessed"), "{said}");
}

#[tokio::test]
async fn a_wrong_access_key_is_named() {
    let said = refused(|options| options.access_key = "AKIANOBODY".to_owned()).await;
    assert!(said.contains("BLOBFORGE_S3_ACCESS_KEY"), "{said}");
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let said = refused(|options| options.bucket = "nowhere".to_owned()).await;
    assert!(said.contains("\"nowhere\"") && said.contains("BLOBFORGE_S3_BUCKET"), "{said}");
}

#[tokio::test]
async fn an_address_where_nothing_answers_is_named() {
    let nobody = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let said = refused(|options| options.endpoint = address.clone()).await;
    assert!(said.contains(&address) && said.contains("nothing answers"), "{said}");
    let said = refused(|options| options.public_endpoint = Some(address.clone())).await;
    assert!(said.contains(&address) && said.contains("writing by URL"), "{said}");
}

#[handler]
fn blocked() -> (StatusCode, &'static str) {
    (StatusCode::FORBIDDEN, "<html>your administrator does not like this</html>")
}

#[tokio::test]
async fn a_proxy_that_blocks_is_told_from_the_store() {
    let acceptor = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).into_acceptor().await.unwrap();
    let address = acceptor.local_addr()[0].as_socket_addr().copied().unwrap();
    let proxy = tokio::spawn(Server::new_with_acceptor(acceptor).run(Route::new().at("/*path", blocked)));
    let said = refused(|options| options.public_endpoint = Some(format!("http://{address}"))).await;
    assert!(said.contains("proxy") && said.contains("BLOBFORGE_S3_PUBLIC_ENDPOINT"), "{said}");
    proxy.abort();
}

#[tokio::test]
async fn clocks_that_are_apart_are_named() {
    let bucket = Bucket::start().await;
    let folder = tempfile::tempdir().unwrap();
    let clock = blobforge_core::ManualClock::new("2020-01-01T00:00:00Z".parse().unwrap());
    let config = ServeConfig {
        s3: Some(bucket.options()),
        clock: Some(std::sync::Arc::new(clock)),
        ..ServeConfig::local(folder.path())
    };
    let said = Service::start(config).await.unwrap_err().to_string();
    assert!(said.contains("clocks") && said.contains("NTP"), "{said}");
}
