//! The command line as people use it: real processes, and what they print.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod backup;
mod commands;
mod crowd;
mod deploy;
mod export;
mod folders;
mod help;
mod host;
mod import;
mod large;
mod logs;
mod reference;
mod secrets;
mod settings;
mod shutdown;
mod trouble;
mod worker;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Far longer than anything takes; only so that a test which has failed ends.
const PATIENCE: Duration = Duration::from_secs(120);
const LETTER: &[u8] = include_bytes!("../../samples/letter.pdf");

fn blobforge() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
    for name in
        ["BLOBFORGE_API_TOKEN", "BLOBFORGE_SERVER_URL", "BLOBFORGE_DB_PATH", "BLOBFORGE_PORT", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    // Whatever whoever runs the tests works with is none of theirs.
    command.env("XDG_CONFIG_HOME", "/nonexistent").env_remove("BLOBFORGE_PROFILE");
    command.stdin(Stdio::null());
    command
}

/// What a command printed, and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs a command to its end; one that has none is a failure like any other.
fn run(command: &mut Command) -> Said {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let process = Pid::from_child(&child);
    let (said, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || said.send(child.wait_with_output()));
    match heard.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap().into(),
        Err(_) => {
            let _ = kill_process(process, Signal::KILL);
            let output = Said::from(heard.recv().unwrap().unwrap());
            panic!("{command:?} goes on and on: {output:?}")
        }
    }
}

/// `blobforge serve` in a folder of its own.
struct Forge {
    folder: tempfile::TempDir,
    service: Child,
    url: String,
    http: reqwest::Client,
}

impl Forge {
    fn serve(more: &[&str]) -> Self {
        Self::serve_with(more, &[])
    }

    fn serve_with(more: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::serve_in(tempfile::tempdir().unwrap(), more, environment)
    }

    /// A service on the data that lie in a folder.
    fn serve_in(folder: tempfile::TempDir, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = blobforge();
        command.envs(environment.iter().copied());
        command
            .args(["serve", "--port", "0", "--db-path"])
            .arg(folder.path().join("blobforge.db"))
            .args(more);
        let log = fs::File::create(folder.path().join("service.log")).unwrap();
        let mut service = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(service.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let url = first.trim().split_once("serves ").unwrap_or_else(|| panic!("{first:?}")).1.to_owned();
        Self { folder, service, url, http: reqwest::Client::new() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("service.log")).unwrap()
    }

    fn token(&self) -> String {
        fs::read_to_string(self.folder.path().join("admin-token")).unwrap().trim().to_owned()
    }

    /// A request of the admin's.
    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(self.token())
    }

    /// A command that reaches this service as people on the same machine do.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = blobforge();
        command.args(args);
        command.env("BLOBFORGE_DB_PATH", self.folder.path().join("blobforge.db"));
        command
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// All jobs, once all have ended.
    fn all_ended(&self) -> Vec<serde_json::Value> {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "jobs do not end");
            let said = run(&mut self.command(&["jobs", "list", "--json"]));
            assert_eq!(said.code, Some(0), "{said:?}");
            let jobs: Vec<serde_json::Value> =
                said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            if jobs.iter().all(|job| job["completed_at"].is_string()) {
                return jobs;
            }
        }
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.service), Signal::TERM).unwrap();
        let status = self.service.wait().unwrap();
        let log = fs::read_to_string(self.folder.path().join("service.log")).unwrap();
        assert!(status.success(), "{status}: {log}");
        assert!(!self.folder.path().join("address").exists(), "nobody is there any more");
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

#[test]
fn the_demo_converts_what_can_be_read_and_says_why_the_rest_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(blobforge().args(["demo", "--dir"]).arg(folder.path()));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("# A Letter from the Forge"), "{}", said.out);
    assert!(said.out.contains("| Month | Reams |"), "{}", said.out);
    assert!(said.out.contains("This PDF needs a password"), "{}", said.out);
    assert!(said.out.contains("This PDF is damaged"), "{}", said.out);
    let last = said.out.lines().last().unwrap();
    assert!(last.starts_with("4 converted, 2 refused, 104 pages in "), "{last}");
    let book = fs::read_to_string(folder.path().join("documents/book-100-pages/document.md")).unwrap();
    assert!(book.contains("Entry 100"));
}

#[test]
fn the_demo_takes_files_and_fails_when_one_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (letter, text) = (write("mine.pdf", LETTER), write("notes.pdf", b"these are notes"));
    let said = run(blobforge().args(["demo", "--dir"]).arg(folder.path()).args([&letter, &text]));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("not a PDF"), "{}", said.out);
    assert!(said.out.contains("1 converted, 1 refused, 2 pages"), "{}", said.out);
    let missing = folder.path().join("missing.pdf");
    let said = run(blobforge().args(["demo", "--dir"]).arg(folder.path()).arg(&missing));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("missing.pdf is no file") && said.out.is_empty(), "{said:?}");
}

#[test]
fn the_demo_stays_up_when_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let letter = folder.path().join("letter.pdf");
    fs::write(&letter, LETTER).unwrap();
    let mut demo = blobforge()
        .args(["demo", "--keep", "--dir"])
        .arg(folder.path())
        .arg(&letter)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let link = lines.find(|line| line.starts_with("log in")).unwrap();
    assert!(link.contains("/auth/login?link="), "{link}");
    kill_process(Pid::from_child(&demo), Signal::TERM).unwrap();
    assert!(demo.wait().unwrap().success());
}

#[test]
fn files_are_handed_in_listed_and_counted() {
    let forge = Forge::serve(&[]);
    let said = run(&mut forge.command(&["jobs", "list"]));
    assert!(said.out.contains("no jobs match"), "{said:?}");
    let (letter, missing) = (forge.write("letter.pdf", LETTER), forge.folder.path().join("missing.pdf"));
    let said = run(forge
        .command(&["submit", "--tags", "a,b", "--priority", "1_critical"])
        .args([&letter, &missing]));
    assert_eq!(said.code, Some(1), "one file is missing: {said:?}");
    assert!(said.out.contains("no live worker serves type pdf-text"), "{}", said.out);
    assert!(said.out.ends_with("1 submitted, 0 existing, 1 failed\n"), "{}", said.out);
    let said = run(forge.command(&["submit"]).arg(&letter));
    assert!(said.out.ends_with("0 submitted, 1 existing, 0 failed\n"), "{said:?}");
    let said = run(&mut forge.command(&["stats"]));
    assert!(said.out.contains("pending") && said.out.contains('1'), "{}", said.out);
    let stats = run(&mut forge.command(&["stats", "--json"]));
    let stats: serde_json::Value = serde_json::from_str(&stats.out).unwrap();
    assert_eq!(stats["pending_jobs"], 1);
    let worker_folder = forge.folder.path().join("worker");
    let mut worker = forge.command(&["worker", "--id", "cli"]);
    worker.arg("--work-dir").arg(&worker_folder).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut worker = worker.spawn().unwrap();
    let jobs = forge.all_ended();
    assert_eq!((&jobs[0]["status"], &jobs[0]["priority"]), (&"completed".into(), &1.into()));
    assert_eq!(jobs[0]["outputs"][0]["name"], "document.md");
    kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut worker.stdout.take().unwrap(), &mut said).unwrap();
    assert!(worker.wait().unwrap().success());
    assert!(said.ends_with("1 completed\n"), "{said}");
    let said = run(&mut forge.command(&["jobs", "list", "--status", "completed"]));
    assert!(said.out.contains("letter.pdf") && said.out.contains("completed"), "{}", said.out);
    forge.stop();
}

#[test]
fn bad_files_fail_with_a_reason_and_the_worker_lives_on() {
    let forge = Forge::serve(&["--with-worker"]);
    let encrypted: &[u8] = include_bytes!("../../samples/encrypted.pdf");
    let nested =
        [b"%PDF-1.4\n1 0 obj\n".as_slice(), &[b'['; 50_000], b"\nendobj\nstartxref\n0\n%%EOF"].concat();
    let files: [(&str, &[u8], &str); 5] = [
        ("empty.pdf", b"", "empty_file"),
        ("picture.pdf", b"\x89PNG\r\n\x1a\nnothing", "not_a_pdf"),
        ("truncated.pdf", &LETTER[..LETTER.len() / 2], "damaged"),
        ("encrypted.pdf", encrypted, "encrypted"),
        ("nested.pdf", &nested, "damaged"),
    ];
    let mut paths: Vec<PathBuf> = files.iter().map(|(name, bytes, _)| forge.write(name, bytes)).collect();
    paths.push(forge.write("letter.pdf", LETTER));
    let said = run(forge.command(&["submit"]).args(&paths));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.ends_with("6 submitted, 0 existing, 0 failed\n"), "{}", said.out);
    let jobs = forge.all_ended();
    let job = |name: &str| {
        let is = |job: &&serde_json::Value| Path::new(job["source_path"].as_str().unwrap()).ends_with(name);
        jobs.iter().find(is).unwrap_or_else(|| panic!("{name}"))
    };
    for (name, _, kind) in files {
        let job = job(name);
        assert_eq!(
            (&job["status"], &job["last_error"]["kind"]),
            (&"failed".into(), &kind.into()),
            "{name}: {job}"
        );
        assert_eq!(job["failures"], 1, "a bad file is not tried again");
        assert!(job["last_error"]["message"].as_str().unwrap().ends_with('.'), "a sentence: {job}");
    }
    assert_eq!(job("letter.pdf")["status"], "completed");
    forge.stop();
}

#[test]
fn what_is_wrong_with_a_command_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let there = |command: &mut Command| run(command.current_dir(folder.path()));
    let said = there(blobforge().arg("stats"));
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("no API token is given") && said.err.contains("BLOBFORGE_API_TOKEN"),
        "{}",
        said.err
    );
    let said = there(blobforge().args(["stats", "--server", "localhost"]).env("BLOBFORGE_API_TOKEN", "x"));
    assert!(said.err.contains("use an address such as http://localhost:8080"), "{}", said.err);
    let said = there(blobforge().arg("serve").env("BLOBFORGE_S3_ENDPOINT", "https://s3.example"));
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("BLOBFORGE_S3_ACCESS_KEY"), "{}", said.err);
    assert!(!folder.path().join("data").exists(), "nothing was begun");
    let said = there(blobforge().args(["submit", "--priority", "7", "x.pdf"]));
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("1 (critical) to 5 (background)"), "{}", said.err);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = there(blobforge().args(["serve", "--port", &port]));
    assert!(said.err.contains("cannot listen on") && said.err.contains("--port"), "{}", said.err);
}

#[test]
fn the_admin_token_is_made_anew_on_the_machine_of_the_service() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(blobforge().args(["tokens", "reset-admin"]).current_dir(folder.path()));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("no database at ./data/blobforge.db"), "{}", said.err);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was begun");
    let forge = Forge::serve(&[]);
    let old = fs::read_to_string(forge.folder.path().join("admin-token")).unwrap();
    let reset = |forge: &Forge| {
        let mut command = blobforge();
        command.args(["tokens", "reset-admin", "--db-path"]).arg(forge.folder.path().join("blobforge.db"));
        command
    };
    let said = run(&mut reset(&forge));
    assert_eq!(said.code, Some(0), "{said:?}");
    let new = fs::read_to_string(forge.folder.path().join("admin-token")).unwrap();
    assert_ne!(new, old);
    assert!(said.out.contains("admin-token") && !said.out.contains(new.trim()), "{}", said.out);
    // The service that runs goes by the new one at once.
    let said = run(forge.command(&["stats"]).env("BLOBFORGE_API_TOKEN", old.trim()));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("revoked"), "{}", said.err);
    assert_eq!(run(&mut forge.command(&["stats"])).code, Some(0));
    let said = run(reset(&forge).env("BLOBFORGE_ADMIN_TOKEN", "x".repeat(32)));
    assert!(said.err.contains("is provided by"), "{said:?}");
    forge.stop();
}
