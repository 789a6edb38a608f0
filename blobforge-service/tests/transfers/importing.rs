//! Moving in from an earlier installation of which only its bucket is left.

use std::{io::Write as _, path::Path, process::Command};

use blobforge_core::{
    Sha256, Status,
    blob::{BlobStore as _, ObjectBlobs, S3Options, read_bytes},
};
use blobforge_service::{ServeConfig, Service};
use sha2::Digest as _;

use crate::bucket::{ACCESS_KEY, Bucket, SECRET_KEY};

fn hash(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

fn below(bucket: &Bucket, prefix: &str) -> S3Options {
    S3Options { prefix: prefix.to_owned(), ..bucket.options() }
}

fn result() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("content.md", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(b"# Book").unwrap();
    zip.finish().unwrap().into_inner()
}

fn import(data: &Path, bucket: &Bucket, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
    command.arg("import").args(args).arg("--db-path").arg(data.join("blobforge.db"));
    command.env("BLOBFORGE_S3_ENDPOINT", &bucket.endpoint).env("BLOBFORGE_S3_PREFIX", "new");
    command.env("S3_ACCESS_KEY_ID", ACCESS_KEY).env("S3_SECRET_ACCESS_KEY", SECRET_KEY);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_in_a_bucket_comes_over() {
    let (data, bucket) = (tempfile::tempdir().unwrap(), Bucket::start().await);
    let old = ObjectBlobs::s3(&below(&bucket, "old")).unwrap();
    let (done, to_do) = (hash(b"done"), hash(b"to do"));
    for (key, bytes) in [
        (format!("store/raw/{done}.pdf"), b"done".to_vec()),
        (format!("store/out/{done}.zip"), result()),
        (format!("store/raw/{to_do}.pdf"), b"to do".to_vec()),
        (format!("store/raw/{}.json", hash(b"notes")), b"notes".to_vec()),
    ] {
        old.put(&key, read_bytes(bytes), 1000).await.unwrap();
    }
    let said = import(data.path(), &bucket, &["--bucket-prefix", "old", "--dry-run"]);
    assert!(said.ends_with("2 to take over, 0 here already, 0 failed\n"), "{said}");
    let said = import(data.path(), &bucket, &["--bucket-prefix", "old"]);
    assert!(said.ends_with("2 taken over, 0 here already, 0 failed\n"), "{said}");
    let said = import(data.path(), &bucket, &["--bucket-prefix", "old"]);
    assert!(said.ends_with("0 taken over, 2 here already, 0 failed\n"), "{said}");
    let config = ServeConfig { s3: Some(below(&bucket, "new")), ..ServeConfig::local(data.path()) };
    let service = Service::start(config).await.unwrap();
    let counts = service.queue().counts().await.unwrap();
    assert_eq!((counts.of_status(Status::Completed), counts.of_status(Status::Pending)), (1, 1));
    service.stop().await.unwrap();
    assert!(old.size(&format!("store/raw/{to_do}.pdf")).await.unwrap().is_some(), "it was only read");
}
