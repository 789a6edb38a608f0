//! What the service does when what it is kept on fails.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Instant,
};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{PATIENCE, blobforge, run};

const TOKEN: &str = "a-token-that-was-given-from-outside-to-a-service-in-trouble";

/// A service whose data lies in `folder`, started by another program.
struct Troubled {
    service: Child,
    url: String,
    http: reqwest::Client,
}

impl Troubled {
    fn start(command: &mut Command, folder: &Path) -> Self {
        let log = fs::File::create(folder.join("service.log")).unwrap();
        command.env("BLOBFORGE_ADMIN_TOKEN", TOKEN).stdin(Stdio::null());
        let mut service = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(service.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let url = first.trim().split_once("serves ").unwrap_or_else(|| panic!("{first:?}")).1.to_owned();
        Self { service, url, http: reqwest::Client::new() }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN)
    }

    async fn submit(&self, bytes: usize) -> Result<Response, reqwest::Error> {
        let body = json!({"type": "work", "source": "none", "params": {"text": "x".repeat(bytes)}});
        self.request(Method::POST, "/api/jobs").json(&body).send().await
    }

    async fn jobs(&self) -> usize {
        let reply = self.request(Method::GET, "/api/jobs?limit=500").send().await.unwrap();
        assert_eq!(reply.status(), 200);
        reply.json::<Value>().await.unwrap()["jobs"].as_array().unwrap().len()
    }

    fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.service.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the service goes on");
            std::thread::yield_now();
        }
    }
}

impl Drop for Troubled {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

/// A service on a disk of its own with 8 MiB, of which a file named `ballast` takes 4.
fn on_a_small_disk(folder: &Path) -> (Troubled, PathBuf) {
    let disk = folder.join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = r#"mount -t tmpfs -o size=8m tmpfs "$1" && head -c 4194304 /dev/zero > "$1/ballast" &&
        exec "$2" serve --port 0 --db-path "$1/blobforge.db""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]).arg(&disk);
    command.arg(env!("CARGO_BIN_EXE_blobforge"));
    let service = Troubled::start(&mut command, folder);
    // As the service sees it: nobody else has that disk.
    let seen = PathBuf::from(format!("/proc/{}/root{}/ballast", service.service.id(), disk.display()));
    (service, seen)
}

/// A service whose flushes fail once this file is there.
fn on_a_dying_disk(folder: &Path) -> (Troubled, PathBuf) {
    let (library, sign) = (folder.join("flushes.so"), folder.join("the disk dies"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/flushes.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(built.unwrap().success());
    let mut command = blobforge();
    command.args(["serve", "--port", "0", "--db-path"]).arg(folder.join("blobforge.db"));
    command.env("LD_PRELOAD", library).env("FLUSHES_FAIL_WHEN", &sign);
    (Troubled::start(&mut command, folder), sign)
}

/// How a service ends that is to start on this database.
fn started_on(database: &Path) -> super::Said {
    run(blobforge().args(["serve", "--port", "0", "--db-path"]).arg(database))
}

/// Promise 10.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_acknowledges_nothing_a_failed_flush_ends_the_service_and_damage_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (service, ballast) = on_a_small_disk(folder.path());
    let mut acknowledged = 0;
    let refused = loop {
        let reply = service.submit(60_000).await.unwrap();
        if reply.status() != 201 {
            break reply;
        }
        acknowledged += 1;
        assert!(acknowledged < 400, "the disk does not get full");
    };
    assert_eq!(refused.status(), 507);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "disk_full");
    assert_eq!(service.jobs().await, acknowledged, "what was refused is not there, and reads go on");
    fs::remove_file(ballast).unwrap();
    assert_eq!(service.submit(60_000).await.unwrap().status(), 201, "with room it goes on");
    drop(service);

    let folder = tempfile::tempdir().unwrap();
    let (mut service, sign) = on_a_dying_disk(folder.path());
    assert_eq!(service.submit(10).await.unwrap().status(), 201);
    fs::write(&sign, "").unwrap();
    let refused = service.submit(10).await.map(|reply| reply.status().as_u16());
    assert!(refused.as_ref().map_or(true, |status| *status >= 500), "{refused:?}");
    let (ended, log) = (service.ended(), fs::read_to_string(folder.path().join("service.log")).unwrap());
    assert_eq!(ended.code(), Some(1), "{log}");
    assert!(log.contains("disk I/O error"), "{log}");
    // What was not acknowledged may have reached the disk all the same.
    let there = started_on_a_good_disk(folder.path()).await;
    assert!((1..=2).contains(&there), "what was acknowledged is there: {there}");

    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("blobforge.db");
    fs::write(&database, vec![7; 8192]).unwrap();
    let said = started_on(&database);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("is not an SQLite database: move it away"), "{}", said.err);
    // One that was cut off, and so is its copy.
    let (whole, copy) = (folder.path().join("whole.db"), folder.path().join("copy.db"));
    let queue = blobforge_core::Queue::open(&whole).await.unwrap();
    queue.close().await;
    drop(queue);
    let bytes = fs::read(&whole).unwrap();
    fs::write(&database, &bytes[..bytes.len() / 2 / 4096 * 4096]).unwrap();
    fs::copy(&database, &copy).unwrap();
    let said = started_on(&database);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("is damaged") && said.err.contains("blobforge backup restore"), "{}", said.err);
    fs::remove_file(&database).unwrap();
    let mut restore = blobforge();
    restore.args(["backup", "restore", "--from"]).arg(&copy).arg("--db-path").arg(&database);
    let said = run(&mut restore);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("cannot be used") && said.err.contains("Nothing was changed"), "{}", said.err);
    assert!(!database.exists());
}

async fn started_on_a_good_disk(folder: &Path) -> usize {
    let mut command = blobforge();
    command.args(["serve", "--port", "0", "--db-path"]).arg(folder.join("blobforge.db"));
    Troubled::start(&mut command, folder).jobs().await
}
