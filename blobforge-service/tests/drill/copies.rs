//! Copies that are good, that are not, and that are not there.

use std::{
    fs,
    pin::Pin,
    process::{Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use blobforge_core::{
    Clock, SystemClock, Timestamp,
    blob::{BlobStore, ObjectBlobs, S3Options},
};
use blobforge_service::{BackupOptions, ServeConfig, Service};
use futures_util::TryStreamExt;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::house::{House, TOKEN, litestream, old_litestream};
use crate::bucket::{ACCESS_KEY, BUCKET, Bucket, SECRET_KEY};

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A house with one job that was copied, stopped in good order.
async fn stopped() -> (House, i64) {
    let mut house = House::new().await;
    house.serve().await;
    house.copied_after(0.0).await;
    let id = house.submit("work").await.unwrap();
    assert_eq!(house.stop().code(), Some(0), "{}", house.log());
    (house, id)
}

/// Damages everything in the bucket, as a disk does that lost its last blocks.
fn damage(bucket: &Bucket) {
    let folder = bucket.folder.path().join(BUCKET);
    let files =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    for file in files {
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn a_service_that_stops_has_copied_everything() {
    let (mut house, id) = stopped().await;
    house.lose_disk();
    house.serve().await;
    assert!(house.jobs().contains_key(&id));
    let next = house.submit("work").await.unwrap();
    assert_eq!(house.stop().code(), Some(0));
    let restored = house.generation();
    assert!(restored > 1);
    // Started again on the disk that is there, it is no restore.
    house.serve().await;
    assert_eq!(house.generation(), restored);
    assert!(house.jobs().contains_key(&next));
    let log = house.database().with_file_name("blobforge.db-wal");
    assert!(log.exists(), "who copies the log also works it into the file");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn litestream_is_started_again_when_it_dies_and_the_lag_is_told() {
    let mut house = House::new().await;
    house.serve().await;
    let copied = house.copied_after(0.0).await;
    let died = house.litestream_process().unwrap();
    kill_process(Pid::from_raw(died).unwrap(), Signal::KILL).unwrap();
    house
        .eventually("it runs again", async || {
            let again = house.litestream_process().filter(|number| *number != died);
            let told = house.metric("blobforge_backup_restarts_total").await.filter(|number| *number >= 1.0);
            again.and(told)
        })
        .await;
    let id = house.submit("work").await.unwrap();
    let copied = house.copied_after(copied).await;
    house.copied_after(copied).await;
    house.kill();
    house.lose_disk();
    house.serve().await;
    assert!(house.jobs().contains_key(&id));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn a_copy_that_is_damaged_keeps_the_service_from_starting() {
    let (mut house, _) = stopped().await;
    house.lose_disk();
    damage(&house.bucket);
    let why = house.refusal(&[]).await;
    assert!(why.contains("litestream could not restore the database"), "{why}");
    let kept = house.refusal(&[("SKIP_RESTORE", "true")]).await;
    assert!(kept.contains("which would be lost: name another BLOBFORGE_LITESTREAM_PATH"), "{kept}");
    // Until somebody says that it does not matter.
    house
        .try_serve(&[("SKIP_RESTORE", "true"), ("BLOBFORGE_LITESTREAM_PATH", "litestream/another")])
        .await
        .unwrap();
    assert_eq!(house.jobs().len(), 0);
}

/// The keys of the copy that are there.
async fn copied(blobs: &ObjectBlobs) -> Vec<String> {
    blobs.list("litestream").map_ok(|found| found.0).try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn a_copy_with_a_hole_is_not_taken_for_none() {
    let (mut house, _) = stopped().await;
    house.lose_disk();
    let options = S3Options { prefix: "forge".to_owned(), ..house.bucket.options() };
    let blobs = ObjectBlobs::s3(&options).unwrap();
    let mut keys = copied(&blobs).await;
    keys.sort();
    // Where Litestream keeps what is new: all but its last piece is lost, and so is everything else.
    let piece = keys.iter().rposition(|key| key.contains("/0000/")).expect("there is a piece");
    let kept = keys.remove(piece);
    assert!(!keys.is_empty(), "{kept}");
    for key in &keys {
        blobs.delete(key).await.unwrap();
    }
    let why = house.refusal(&[]).await;
    assert!(why.contains("no state of the database can be made of them"), "{why}");
    assert_eq!(copied(&blobs).await, [kept], "and nothing was written over it");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn wrong_credentials_keep_the_service_from_starting() {
    let (mut house, id) = stopped().await;
    house.lose_disk();
    let keys = [("LITESTREAM_ACCESS_KEY_ID", ACCESS_KEY), ("LITESTREAM_SECRET_ACCESS_KEY", "another secret")];
    let why = house.refusal(&keys).await;
    assert!(why.contains("litestream could not restore the database"), "{why}");
    let why = house.refusal(&[("BLOBFORGE_S3_SECRET_KEY", "another secret")]).await;
    assert!(why.contains("cannot be used"), "{why}");
    let keys = [("LITESTREAM_ACCESS_KEY_ID", ACCESS_KEY), ("LITESTREAM_SECRET_ACCESS_KEY", SECRET_KEY)];
    house.try_serve(&keys).await.unwrap();
    assert!(house.jobs().contains_key(&id), "with the right ones it comes back");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn a_copy_of_a_newer_version_is_refused() {
    let (mut house, _) = stopped().await;
    Connection::open(house.database()).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let config = said(&house.command(&["backup", "config"]).output().unwrap()).1;
    let file = house.disk().join("litestream.yml");
    fs::write(&file, config).unwrap();
    let mut once = std::process::Command::new(litestream());
    once.args(["replicate", "-once", "-no-expand-env", "-config"]).arg(file).env_clear();
    once.env("LITESTREAM_ACCESS_KEY_ID", ACCESS_KEY).env("LITESTREAM_SECRET_ACCESS_KEY", SECRET_KEY);
    let copied = said(&once.output().unwrap());
    assert_eq!(copied.0, Some(0), "{copied:?}");
    house.lose_disk();
    let why = house.refusal(&[]).await;
    assert!(why.contains("written by a newer BlobForge") && why.contains("Nothing was changed"), "{why}");
}

/// The copy of a database of the earlier BlobForge, as its Litestream made it.
async fn old_copy(bucket: &Arc<Bucket>) {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("blobforge.db");
    let earlier = Connection::open(&database).unwrap();
    earlier.pragma_update(None, "journal_mode", "wal").unwrap();
    earlier
        .execute_batch("CREATE TABLE jobs (id); CREATE TABLE api_tokens (id); INSERT INTO jobs VALUES (1)")
        .unwrap();
    let file = folder.path().join("litestream.yml");
    let config = format!(
        "dbs:\n  - path: {}\n    replicas:\n      - type: s3\n        bucket: {BUCKET}\n        path: forge/db\n        \
         endpoint: {}\n        region: us-east-1\n        force-path-style: true\n        sync-interval: 1s\n",
        database.display(),
        bucket.endpoint
    );
    fs::write(&file, config).unwrap();
    let mut old = std::process::Command::new(old_litestream());
    old.args(["replicate", "-config"]).arg(&file).env_clear();
    old.env("LITESTREAM_ACCESS_KEY_ID", ACCESS_KEY).env("LITESTREAM_SECRET_ACCESS_KEY", SECRET_KEY);
    let running = Running(old.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let blobs = bucket.folder.path().join(BUCKET);
    let begun = std::time::Instant::now();
    // A snapshot and a piece of the log.
    while fs::read_dir(&blobs).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count() < 2 {
        assert!(begun.elapsed().as_secs() < 120, "the old litestream copies nothing");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(running);
}

/// A process that dies with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn an_old_copy_is_left_alone_or_refused() {
    let bucket = Arc::new(Bucket::start().await);
    old_copy(&bucket).await;
    let mut there = House::on(bucket.clone());
    let why = there.refusal(&[("BLOBFORGE_LITESTREAM_PATH", "db")]).await;
    assert!(why.contains("earlier BlobForge, written in Go"), "{why}");
    let mut elsewhere = House::on(bucket);
    elsewhere.serve().await;
    assert_eq!((elsewhere.generation(), elsewhere.jobs().len()), (1, 0), "it has a place of its own");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn a_copy_is_tried_beside_the_service_and_its_damage_is_told() {
    let mut house = House::new().await;
    house.serve().await;
    for _ in 0..3 {
        house.submit("work").await.unwrap();
    }
    house.copied_after(0.0).await;
    let (code, out, err) = said(&house.command(&["backup", "verify", "--json"]).output().unwrap());
    assert_eq!(code, Some(0), "{out}{err}");
    let trial: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(trial["jobs"], 3);
    assert!(trial["came_back_after"].is_u64(), "{trial}");
    assert!(house.metric("blobforge_backup_verified_timestamp_seconds").await.unwrap() > 0.0);
    let health = async || -> Value {
        house.http.get(house.url("/api/health")).send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(health().await["status"], "ok");

    damage(&house.bucket);
    let (code, _, err) = said(&house.command(&["backup", "verify"]).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(err.contains("litestream could not restore"), "{err}");
    assert_eq!(health().await["status"], "degraded");
    assert!(house.metric("blobforge_backup_failed_timestamp_seconds").await.unwrap() > 0.0);
    let doctor = house
        .command(&["doctor", "--json", "--server", &house.url(""), "--token", TOKEN])
        .env("BLOBFORGE_REPLICATE", "true")
        .output();
    let (_, out, _) = said(&doctor.unwrap());
    let line = out.lines().find(|line| line.contains("restore on trial")).unwrap_or_else(|| panic!("{out}"));
    assert!(line.contains("\"fail\""), "{line}");
}

/// A clock on which everything takes so many times as long.
#[derive(Debug)]
struct Fast {
    times: u32,
    begun: Instant,
    at: Timestamp,
}

impl Fast {
    fn new(times: u32) -> Self {
        Self { times, begun: Instant::now(), at: SystemClock.now() }
    }
}

impl Clock for Fast {
    fn now(&self) -> Timestamp {
        self.at + self.uptime()
    }

    fn uptime(&self) -> Duration {
        self.begun.elapsed() * self.times
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(span / self.times))
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn a_service_tries_its_copy_by_itself_and_its_page_says_so() {
    let house = House::new().await;
    let service = Service::start(ServeConfig {
        clock: Some(Arc::new(Fast::new(120))),
        s3: Some(S3Options { prefix: "forge".to_owned(), ..house.bucket.options() }),
        backup: BackupOptions {
            replicate: true,
            program: Some(litestream()),
            // As often as the trial asks for it.
            sync: Duration::from_secs(600),
            ..BackupOptions::default()
        },
        ..ServeConfig::local(house.disk())
    })
    .await
    .unwrap();
    let page = async || {
        let request = house.http.get(format!("{}/admin/system", service.url()));
        let reply = request.bearer_auth(service.admin_token()).send().await.unwrap();
        reply.error_for_status().unwrap().text().await.unwrap()
    };
    let untried = "<dt>Restored on trial</dt><dd><span class=\"quiet\">not yet</span>";
    let first = page().await;
    assert!(first.contains(untried) && first.contains("never restored"), "{first}");
    let tried = house
        .eventually("the copy is tried", async || Some(page().await).filter(|page| !page.contains(untried)))
        .await;
    assert!(tried.contains("<dt>Restored on trial</dt><dd><time"), "{tried}");
    assert!(tried.contains("<dt>Copied</dt><dd><time") && tried.contains("id=\"backup-lag\""), "{tried}");
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn snapshots_in_the_bucket_come_back_and_the_last_ones_are_kept() {
    let mut house = House::new().await;
    house.serve().await;
    let id = house.submit("work").await.unwrap();
    for _ in 0..3 {
        let taken =
            said(&house.command(&["backup", "snapshot", "--to-bucket", "--keep", "2"]).output().unwrap());
        assert_eq!(taken.0, Some(0), "{taken:?}");
    }
    house.submit("work").await.unwrap();
    house.kill();
    house.lose_disk();
    let back = said(&house.command(&["backup", "restore", "--from-bucket"]).output().unwrap());
    assert_eq!(back.0, Some(0), "{back:?}");
    assert_eq!(house.jobs().into_keys().collect::<Vec<_>>(), [id]);
    let options = S3Options { prefix: "forge".to_owned(), ..house.bucket.options() };
    let bucket = ObjectBlobs::s3(&options).unwrap();
    assert!(bucket.size("snapshots/index.json").await.unwrap().is_some());
    let unknown = said(
        &House::on(house.bucket.clone())
            .command(&["backup", "restore", "--from-bucket", "none"])
            .output()
            .unwrap(),
    );
    assert_eq!(unknown.0, Some(1));
    assert_eq!(unknown.2.matches("blobforge-2").count(), 2, "{}", unknown.2);
}
