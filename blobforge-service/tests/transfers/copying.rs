//! Files move from the data folder into a bucket and back.

use std::{fs, path::Path, process::Command};

use blobforge_core::{NewJob, Queue, blob::ObjectBlobs};

use crate::bucket::{ACCESS_KEY, Bucket, SECRET_KEY};

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn copy(data: &Path, bucket: &Bucket, args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
    command.args(["blobs", "copy"]).args(args).arg("--db-path").arg(data.join("blobforge.db"));
    command.env("BLOBFORGE_S3_ENDPOINT", &bucket.endpoint);
    command.env("S3_ACCESS_KEY_ID", ACCESS_KEY).env("S3_SECRET_ACCESS_KEY", SECRET_KEY);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

async fn queue_on(data: &Path, blobs: ObjectBlobs) -> Queue {
    Queue::builder().blobs(std::sync::Arc::new(blobs)).open(data.join("blobforge.db")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_copied_to_a_bucket_and_back_and_each_is_checked() {
    let (data, bucket) = (tempfile::tempdir().unwrap(), Bucket::start().await);
    let files = || ObjectBlobs::local(data.path().join("files")).unwrap();
    let queue = queue_on(data.path(), files()).await;
    let mut keys = Vec::new();
    for n in 0..7 {
        let path = data.path().join(format!("{n}.pdf"));
        fs::write(&path, crate::content(&n.to_string(), 1000 * n)).unwrap();
        let id = queue.submit_file(NewJob::new("pdf").unwrap(), &path).await.unwrap().id;
        keys.push(queue.job(id).await.unwrap().source.unwrap().key);
    }
    queue.close().await;
    let to_s3 = ["--from", "local", "--to", "s3"];
    let said = copy(data.path(), &bucket, &[&to_s3[..], &["--dry-run"]].concat());
    assert!(said.out.contains("7 files (21.00 kB) to copy"), "{} {}", said.out, said.err);

    // One is damaged, and one is gone.
    let damaged = data.path().join("files").join(&keys[2]);
    let whole = fs::read(&damaged).unwrap();
    fs::write(&damaged, vec![7; whole.len()]).unwrap();
    let gone = data.path().join("files").join(&keys[3]);
    let kept = fs::read(&gone).unwrap();
    fs::remove_file(&gone).unwrap();
    let said = copy(data.path(), &bucket, &to_s3);
    assert_eq!(said.code, Some(1), "{} {}", said.out, said.err);
    assert!(
        said.out.contains("damaged where it lies") && said.out.contains("there is no file"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("5 files (16.00 kB) copied and checked, 0 there already, 2 failed"),
        "{}",
        said.out
    );

    fs::write(&damaged, whole).unwrap();
    fs::write(&gone, kept).unwrap();
    let said = copy(data.path(), &bucket, &to_s3);
    assert_eq!(said.code, Some(0), "{} {}", said.out, said.err);
    assert!(
        said.out.contains("2 files (5.00 kB) copied and checked, 5 there already, 0 failed"),
        "{}",
        said.out
    );

    // The bucket alone has them all, and gives them back.
    fs::remove_dir_all(data.path().join("files")).unwrap();
    let said = copy(data.path(), &bucket, &to_s3);
    assert_eq!(said.code, Some(0), "{} {}", said.out, said.err);
    assert!(said.out.contains("0 files (0 B) copied and checked, 7 there already"), "{}", said.out);
    let said = copy(data.path(), &bucket, &["--from", "s3", "--to", "local"]);
    assert!(said.out.contains("7 files (21.00 kB) copied and checked"), "{} {}", said.out, said.err);
    for (n, key) in keys.iter().enumerate() {
        let copied = fs::read(data.path().join("files").join(key)).unwrap();
        assert!(copied == crate::content(&n.to_string(), 1000 * n), "{n}");
    }
    let said = copy(data.path(), &bucket, &["--from", "s3", "--to", "s3"]);
    assert!(said.err.contains("both s3"), "{}", said.err);
}
