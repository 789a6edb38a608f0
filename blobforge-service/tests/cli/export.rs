//! Out of an installation and into another one.

use serde_json::{Value, json};

use super::*;

impl Forge {
    /// A command that works in the data folder of this service.
    fn at_home(&self, args: &[&str], path: &Path) -> Said {
        let mut command = blobforge();
        command.args(args).arg(path).arg("--db-path").arg(self.folder.path().join("blobforge.db"));
        run(&mut command)
    }

    fn everything(&self) -> Vec<Value> {
        let said = run(&mut self.command(&["jobs", "list", "--json"]));
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn send_job(&self, job: Value) -> Value {
        let reply = self.request(reqwest::Method::POST, "/api/jobs").json(&job).send().await.unwrap();
        assert!(reply.status().is_success(), "{reply:?}");
        reply.json().await.unwrap()
    }
}

/// What must be the same of a job wherever it is: all but its number, and what the service there makes of it.
fn lasting(job: &Value) -> Value {
    let mut job = job.clone();
    let outputs = job["outputs"].as_array_mut().into_iter().flatten();
    outputs.for_each(|output| {
        let fields = output.as_object_mut().unwrap();
        fields.retain(|name, _| ["name", "size", "sha256"].contains(&name.as_str()));
    });
    let fields = job.as_object_mut().unwrap();
    for here in [
        "id",
        "updated_at",
        "failure_group",
        "attempts",
        "started_at",
        "progress",
        "worker_id",
        "waits_for",
        "ahead",
    ] {
        fields.remove(here);
    }
    job
}

fn all_lasting(jobs: &[Value]) -> Vec<String> {
    let mut all: Vec<_> = jobs.iter().map(|job| lasting(job).to_string()).collect();
    all.sort();
    all
}

/// A service in which something of everything has happened.
async fn lived_in() -> Forge {
    let forge = Forge::serve(&["--with-worker"]);
    let (letter, bad) =
        (forge.write("letter.pdf", LETTER), forge.write("bad.pdf", &LETTER[..LETTER.len() / 2]));
    let said =
        run(forge.command(&["submit", "--wait", "--tags", "shelf a,2025", "--priority", "2"]).arg(&letter));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(run(forge.command(&["submit", "--wait"]).arg(&bad)).code, Some(1));
    // Of a type that nobody serves: they wait. The same file again, and jobs without one.
    let said = run(forge.command(&["submit", "--type", "scan", "--param", "dpi=300"]).arg(&letter));
    assert_eq!(said.code, Some(0), "{said:?}");
    for number in 0..3 {
        forge
            .send_job(
                json!({"type": "mail", "source": "none", "params": {"number": number}, "metadata": {"order": [number, null]}}),
            )
            .await;
    }
    // Two that are the same, and are two.
    for _ in 0..2 {
        forge.send_job(json!({"type": "mail", "source": "none", "params": {"number": "same"}, "dedup": false, "run_at": "2099-01-01T00:00:00Z"})).await;
    }
    forge.send_job(json!({"type": "upload", "source_size": 9})).await;
    let cancelled =
        forge.send_job(json!({"type": "mail", "source": "none", "tags": ["no more"]})).await["job_id"]
            .to_string();
    assert_eq!(run(&mut forge.command(&["jobs", "cancel", &cancelled])).code, Some(0));
    forge
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_elsewhere_what_it_was_and_comes_once() {
    let (old, new) = (lived_in().await, Forge::serve(&[]));
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    // While the service runs.
    let said = old.at_home(&["export"], &export);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.starts_with("10 jobs exported, 4 files") && said.out.contains(" 0 failed"),
        "{}",
        said.out
    );
    // What has its hash for a name has that hash, and each file is there once.
    let kept = run(Command::new("sh").current_dir(export.join("files")).args(["-c", "sha256sum */*"]));
    for line in kept.out.lines() {
        let (hash, path) = line.split_once("  ").unwrap();
        assert!(path.ends_with(hash), "{line}");
    }
    assert_eq!(
        kept.out.lines().count(),
        4,
        "letter and bad file, the document and what is told of it: {}",
        kept.out
    );
    let again = old.at_home(&["export"], &export);
    assert!(again.out.starts_with("10 jobs exported, 0 files"), "{}", again.out);
    // The history is in it, for whoever reads it.
    let text = fs::read_to_string(export.join("jobs.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let attempts =
        lines.iter().filter_map(|line| line["job"]["attempts"].as_array()).map(Vec::len).sum::<usize>();
    assert_eq!((lines.len(), attempts), (12, 2), "a head, ten jobs and an end");

    let tried = new.at_home(&["import", "--dry-run"], &export);
    assert!(tried.out.ends_with("10 to take over, 0 here already, 0 failed\n"), "{tried:?}");
    assert!(new.everything().is_empty());
    let said = new.at_home(&["import"], &export);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.ends_with("10 taken over, 0 here already, 0 failed\n"), "{}", said.out);
    let (before, after) = (old.everything(), new.everything());
    let is_upload = |job: &&Value| job["type"] == "upload";
    let without = |jobs: &[Value]| jobs.iter().filter(|job| !is_upload(job)).cloned().collect::<Vec<_>>();
    assert_eq!(all_lasting(&without(&after)), all_lasting(&without(&before)));
    assert_eq!(after.iter().find(is_upload).unwrap()["status"], "uploading", "its file is still to come");
    // They stand in line as they did.
    let waiting = |jobs: &[Value]| {
        let mut waiting: Vec<_> = jobs.iter().filter(|job| job["type"] == "mail").collect();
        waiting.sort_by_key(|job| job["id"].as_i64());
        waiting.iter().map(|job| job["params"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(waiting(&after), waiting(&before));
    let done = after.iter().find(|job| job["status"] == "completed").unwrap()["id"].to_string();
    let said = run(&mut new.command(&[
        "download",
        &done,
        "--output",
        folder.path().join("results").to_str().unwrap(),
    ]));
    assert_eq!(said.code, Some(0), "{said:?}");
    let found =
        run(Command::new("grep").args(["-rl", "A Letter from the Forge"]).arg(folder.path().join("results")));
    assert_eq!(found.code, Some(0), "{found:?}");

    // Also when the service has long forgotten under what name it was handed in.
    let database = rusqlite::Connection::open(new.folder.path().join("blobforge.db")).unwrap();
    assert_eq!(database.execute("DELETE FROM idempotency", []).unwrap(), 10);
    drop(database);
    let again = new.at_home(&["import"], &export);
    assert!(again.out.ends_with("0 taken over, 10 here already, 0 failed\n"), "{again:?}");
    assert_eq!(new.everything(), after, "nothing has changed");
    // Who hands the letter in again is told that it is done.
    let said = run(new.command(&["submit"]).arg(new.write("letter.pdf", LETTER)));
    assert!(said.out.ends_with("0 submitted, 1 existing, 0 failed\n"), "{said:?}");
    // What is new since comes with the next export, and alone.
    old.send_job(json!({"type": "mail", "source": "none", "params": {"number": 9}})).await;
    assert_eq!(old.at_home(&["export"], &export).code, Some(0));
    let more = new.at_home(&["import"], &export);
    assert!(more.out.ends_with("1 taken over, 10 here already, 0 failed\n"), "{more:?}");
    old.stop();
    new.stop();
}

/// Changes one byte of a file.
fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_export_names_the_line_and_keeps_nothing_else_back() {
    let old = lived_in().await;
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    assert_eq!(old.at_home(&["export"], &export).code, Some(0));
    let jobs = export.join("jobs.jsonl");
    let whole = fs::read_to_string(&jobs).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let line_of = |wanted: &str| lines.iter().position(|line| line.contains(wanted)).unwrap() + 1;
    // A letter of a parameter, a byte of a document, and the end is missing.
    let (mail, done) = (line_of("\"number\":1"), line_of("\"status\":\"completed\""));
    let other = lines[mail - 1].replace("\"number\":1", "\"number\":7");
    let mut broken: Vec<&str> = lines.clone();
    broken[mail - 1] = &other;
    broken.pop();
    fs::write(&jobs, broken.join("\n") + "\n").unwrap();
    let line: Value = serde_json::from_str(lines[done - 1]).unwrap();
    let hash = line["job"]["outputs"][0]["sha256"].as_str().unwrap();
    damage(&export.join("files").join(&hash[..2]).join(hash), 3);

    let new = Forge::serve(&[]);
    let said = new.at_home(&["import"], &export);
    assert_eq!(said.code, Some(1), "{said:?}");
    for named in [
        format!("jobs.jsonl, line {mail} "),
        format!("jobs.jsonl, line {done} "),
        "jobs.jsonl, after line 11".to_owned(),
        "it is not as it was written".to_owned(),
        hash.to_owned(),
        "export again".to_owned(),
    ] {
        assert!(said.out.contains(&named), "{named} in {}", said.out);
    }
    assert!(said.out.ends_with("8 taken over, 0 here already, 3 failed\n"), "{}", said.out);
    // A file that is damaged there is written anew only if it has another size: take it away, and export again.
    fs::remove_dir_all(export.join("files").join(&hash[..2])).unwrap();
    let said = old.at_home(&["export"], &export);
    assert!(said.out.starts_with("10 jobs exported, 1 files"), "{said:?}");
    let said = new.at_home(&["import"], &export);
    assert!(said.out.ends_with("2 taken over, 8 here already, 0 failed\n"), "{said:?}");
    assert_eq!(new.everything().len(), 10);

    // What is no export that can be read is refused as a whole.
    for (text, named) in [
        ("", "does not begin"),
        ("{\"check\":\"", "line 1: it has no end"),
        ("{\"jobs\": []}\n", "line 1: it is damaged"),
    ] {
        fs::write(&jobs, text).unwrap();
        let said = new.at_home(&["import"], &export);
        assert!(said.code == Some(1) && said.err.contains(named), "{named}: {said:?}");
    }
    old.stop();
    new.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_on_where_it_was_and_writes_over_nothing_else() {
    let old = lived_in().await;
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("export");
    assert_eq!(old.at_home(&["export"], &export).code, Some(0));
    // As one that was killed leaves it: files, and the beginning of the jobs.
    let jobs = fs::read(export.join("jobs.jsonl")).unwrap();
    fs::remove_file(export.join("jobs.jsonl")).unwrap();
    for begun in [&jobs[..jobs.len() / 2], b""] {
        fs::write(export.join("jobs.jsonl.part"), begun).unwrap();
        let said = old.at_home(&["export"], &export);
        assert!(said.out.starts_with("10 jobs exported, 0 files"), "{said:?}");
        assert!(!export.join("jobs.jsonl.part").exists());
    }
    // Another one that writes there meanwhile is not disturbed.
    let held = fs::File::open(&export).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let said = old.at_home(&["export"], &export);
    assert!(said.code == Some(1) && said.err.contains("another export writes into"), "{said:?}");
    drop(held);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(export.join("jobs.jsonl")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "all jobs stand in it");
    // A file that is gone from the store is named, and the rest is exported.
    let source =
        fs::read_dir(old.folder.path().join("files/sources")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&source).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    let said = old.at_home(&["export"], &elsewhere);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("source of job") && said.out.contains("10 jobs exported"), "{}", said.out);
    // Folders that are something else.
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "mine").unwrap();
    let said = old.at_home(&["export"], &other);
    assert!(said.code == Some(1) && said.err.contains("has something in it"), "{said:?}");
    let new = Forge::serve(&[]);
    let said = new.at_home(&["export"], &export);
    assert!(said.code == Some(1) && said.err.contains("another installation"), "{said:?}");
    let said = run(blobforge().args(["export", "x", "--db-path", "nowhere.db"]).current_dir(folder.path()));
    assert!(said.code == Some(1) && said.err.contains("there is no database at nowhere.db"), "{said:?}");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
    old.stop();
    new.stop();
}
