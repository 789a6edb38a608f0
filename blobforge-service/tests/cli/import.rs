//! Moving in from an earlier installation.

use std::io::Write as _;

use super::*;
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How many files the earlier installation has.
const FILES: usize = 1000;

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn content(number: usize) -> Vec<u8> {
    format!("%PDF-1.4 book {number}").into_bytes()
}

/// A result as the earlier installation has it.
fn result(number: usize) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let info = json!({"hash": hash(&content(number)), "marker_meta": {"pages": number}}).to_string();
    let files = [
        ("content.md", format!("# Book {number}\n\n![map](assets/map.png)\n")),
        ("assets/map.png", format!("map {number}")),
        ("info.json", info),
    ];
    for (name, text) in files {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// What became of a file there: half of them are done.
fn status(number: usize) -> &'static str {
    match number % 10 {
        0..5 => "done",
        5 => "dead",
        6 => "processing",
        7 => "failed",
        _ => "todo",
    }
}

/// An earlier installation with a coordinator, and its backup.
fn earlier(folder: &Path) -> PathBuf {
    for name in ["store/raw", "store/out", "backups/coordinator"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let (mut files, mut paths, mut tags, mut jobs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..FILES {
        let (bytes, status) = (content(number), status(number));
        let hash = hash(&bytes);
        fs::write(folder.join(format!("store/raw/{hash}.pdf")), &bytes).unwrap();
        if status == "done" {
            fs::write(folder.join(format!("store/out/{hash}.zip")), result(number)).unwrap();
        }
        files.push(json!({"hash": hash, "original_name": format!("{number}.pdf"), "size_bytes": bytes.len(),
            "source": "ingest", "created_at": 1_740_000_000_000_i64, "updated_at": 1_740_000_000_000_i64}));
        paths.push(json!({"file_hash": hash, "path": format!("shelf/{number}.pdf")}));
        tags.push(json!({"file_hash": hash, "tag": format!("shelf {}", number % 7)}));
        jobs.push(json!({"file_hash": hash, "status": status, "priority": "4_low", "retry_count": 2,
            "max_retries": 3, "worker_id": null, "lease_token": null, "created_at": 1_740_000_000_000_i64,
            "updated_at": 1_740_000_500_000_i64, "completed_at": 1_740_000_900_000_i64,
            "error_message": (status == "dead").then_some("CUDA out of memory")}));
    }
    let failures = vec![json!({"id": 1, "file_hash": hash(&content(5)), "attempt": 3, "worker_id": "w",
        "failed_at": 1_740_000_100_000_i64, "error_message": "CUDA out of memory", "traceback": "Traceback"})];
    let backup = json!({"format": "blobforge-coordinator-backup", "version": 1, "created_at": 1_740_000_999_000_i64,
        "schema": ["CREATE TABLE files (…)"], "tables": {"files": files, "file_paths": paths, "file_tags": tags,
        "jobs": jobs, "job_failures": failures, "workers": [], "config": [{"key": "x", "value": "y"}]}});
    let path = folder.join("backups/coordinator/2025-06-01.json");
    fs::write(&path, backup.to_string()).unwrap();
    path
}

impl Forge {
    fn import(&self, args: &[&str], from: &Path) -> Said {
        let mut command = blobforge();
        command.arg("import").arg(from).args(args);
        run(command.env("BLOBFORGE_DB_PATH", self.folder.path().join("blobforge.db")))
    }

    fn jobs(&self, args: &[&str]) -> Vec<Value> {
        let said = run(&mut self.command(&[&["jobs", "list", "--json", "--limit", "2000"], args].concat()));
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn an_installation_that_is_half_done_comes_over_and_is_as_it_was() {
    let old = tempfile::tempdir().unwrap();
    let backup = earlier(old.path());
    let forge = Forge::serve(&[]);
    let summary = |said: &Said| said.out.lines().last().unwrap().to_owned();
    let said = forge.import(&["--dry-run"], &backup);
    assert_eq!(
        (said.code, summary(&said).as_str()),
        (Some(0), "1000 to take over, 0 here already, 0 failed"),
        "{said:?}"
    );
    assert_eq!(forge.jobs(&[]).len(), 0);
    let said = forge.import(&["--json"], &backup);
    let imported: Value = serde_json::from_str(&said.out).unwrap();
    let expected = json!({"done": 500, "to_do": 400, "dead": 100, "cancelled": 0, "existing": 0, "without_source": 0, "damaged": [], "failed": []});
    assert_eq!(imported, expected, "{said:?}");
    let stats: Value = serde_json::from_str(&run(&mut forge.command(&["stats", "--json"])).out).unwrap();
    let counts =
        ["total_jobs", "completed_jobs", "pending_jobs", "failed_jobs"].map(|name| stats[name].as_u64());
    assert_eq!(counts, [1000, 500, 400, 100].map(Some));
    let before = forge.jobs(&[]);
    let dead = before.iter().find(|job| job["source_hash"] == hash(&content(5))).unwrap();
    assert_eq!(
        (&dead["status"], &dead["priority"], &dead["failures"]),
        (&"failed".into(), &4.into(), &2.into())
    );
    assert_eq!(dead["last_error"]["message"], "CUDA out of memory");
    assert_eq!(dead["last_error"]["details"]["traceback"], "Traceback");
    let done = before.iter().find(|job| job["source_hash"] == hash(&content(3))).unwrap();
    assert_eq!((&done["source_path"], &done["tags"]), (&"shelf/3.pdf".into(), &json!(["shelf 3"])));
    assert_eq!(done["completed_at"], "2025-02-19T21:35:00.000Z");
    assert_eq!(done["result"]["marker_meta"]["pages"], 3);

    // What is done is put beside its source.
    let shelf = forge.folder.path().join("shelf");
    fs::create_dir(&shelf).unwrap();
    (0..FILES).for_each(|number| fs::write(shelf.join(format!("{number}.pdf")), content(number)).unwrap());
    let said = run(forge.command(&["hydrate"]).arg(&shelf));
    assert_eq!(
        summary(&said),
        "500 written, 0 there already, 0 kept, 500 without a result, 0 failed",
        "{said:?}"
    );
    let text = fs::read_to_string(shelf.join("3.md")).unwrap();
    assert_eq!(text, "# Book 3\n\n![map](3.assets/map.png)\n");
    assert_eq!(fs::read_to_string(shelf.join("3.assets/map.png")).unwrap(), "map 3");

    // Nothing is done again, by whichever way it comes.
    let said = forge.import(&[], &backup);
    assert_eq!(summary(&said), "0 taken over, 1000 here already, 0 failed", "{said:?}");
    let said = forge.import(&[], old.path());
    assert_eq!(summary(&said), "0 taken over, 1000 here already, 0 failed", "{said:?}");
    let said = run(forge.command(&["ingest", "--type", "pdf", "--no-path-tags", "--dry-run"]).arg(&shelf));
    assert_eq!(summary(&said), "0 to submit, 1000 existing, 0 failed", "{said:?}");
    assert_eq!(forge.jobs(&[]), before, "nothing has changed");
    assert_eq!(fs::read_dir(old.path().join("store/raw")).unwrap().count(), FILES, "it was only read");
    forge.stop();
}

/// The database that was written in Go, with its files beside it.
fn go_installation(folder: &Path) -> PathBuf {
    let path = folder.join("old.db");
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch(
            "CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, status TEXT NOT NULL,
             priority INTEGER NOT NULL DEFAULT 3, source_hash TEXT NOT NULL, source_path TEXT, source_size INTEGER,
             worker_id TEXT, started_at DATETIME, completed_at DATETIME, attempts INTEGER DEFAULT 0,
             max_attempts INTEGER DEFAULT 3, last_error TEXT, tags TEXT, metadata TEXT, result TEXT, output_path TEXT,
             created_at DATETIME, updated_at DATETIME, UNIQUE(type, source_hash));
             CREATE TABLE api_tokens (id INTEGER PRIMARY KEY, token_hash TEXT);
             CREATE TABLE files (job_id INTEGER, type TEXT, s3_key TEXT);
             PRAGMA user_version = 6;",
        )
        .unwrap();
    fs::create_dir_all(folder.join("sources")).unwrap();
    fs::create_dir_all(folder.join("outputs")).unwrap();
    let statuses = ["pending", "running", "completed", "dead", "cancelled", "completed"];
    let insert = "INSERT INTO jobs (type, status, priority, source_hash, source_path, created_at, updated_at, tags, attempts)
                  VALUES (?6, ?1, 2, ?2, ?3, ?4, ?4, ?5, 3)";
    for (number, status) in statuses.into_iter().enumerate() {
        let hash = hash(&content(number));
        let (name, at, tags) = (format!("{number}.pdf"), "2025-03-01 08:00:00", "[\"old\"]");
        let job_type = if status == "cancelled" { "scan" } else { "pdf" };
        database.execute(insert, params![status, hash, name, at, tags, job_type]).unwrap();
        // The source of one that is done was deleted, and the result of another one.
        if number != 2 {
            fs::write(folder.join("sources").join(&hash), content(number)).unwrap();
        }
        if number == 2 {
            fs::write(folder.join("outputs").join(&hash), result(number)).unwrap();
        }
    }
    // Rows as they should not be: one that tells of no file, and one with numbers where words should be.
    database.execute(insert, params!["completed", "", rusqlite::types::Null, 7, 8, "pdf"]).unwrap();
    path
}

#[test]
fn the_database_that_was_written_in_go_is_refused_by_the_service_and_taken_over_by_import() {
    let old = tempfile::tempdir().unwrap();
    let database = go_installation(old.path());
    let bytes = fs::read(&database).unwrap();
    let said = run(blobforge().args(["serve", "--port", "0"]).env("BLOBFORGE_DB_PATH", &database));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("written in Go") && said.err.contains("blobforge import"), "{}", said.err);
    let forge = Forge::serve(&[]);
    let said = forge.import(&[], &database);
    assert_eq!(said.code, Some(1), "one has lost its result: {said:?}");
    assert!(said.out.contains("its result is not there"), "{}", said.out);
    assert!(said.out.contains("job 7 "), "a bad row keeps no other back: {}", said.out);
    assert!(said.out.ends_with("5 taken over, 0 here already, 2 failed\n"), "{}", said.out);
    assert_eq!(forge.jobs(&["--type", "scan"]).len(), 1, "each is of the type that it was of");
    let mut statuses: Vec<_> =
        forge.jobs(&[]).iter().map(|job| job["status"].as_str().unwrap().to_owned()).collect();
    statuses.sort();
    assert_eq!(statuses, ["cancelled", "completed", "failed", "pending", "pending"]);
    let job = &forge.jobs(&["--status", "completed"])[0];
    assert_eq!((&job["priority"], &job["created_at"]), (&2.into(), &"2025-03-01T08:00:00.000Z".into()));
    assert_eq!(job["outputs"][1]["name"], "content.md");
    // Whoever hands the file in again is told that it is done, though nobody has it any more.
    let file = forge.write("2.pdf", &content(2));
    let said = run(forge.command(&["submit", "--type", "pdf"]).arg(&file));
    assert!(said.out.ends_with("0 submitted, 1 existing, 0 failed\n"), "{said:?}");
    assert_eq!(fs::read(&database).unwrap(), bytes, "it was only read");
    forge.stop();
}

#[test]
fn what_is_damaged_or_none_is_said_to_be_so() {
    let old = tempfile::tempdir().unwrap();
    fs::create_dir_all(old.path().join("store/raw")).unwrap();
    let forge = Forge::serve(&[]);
    let named = old.path().join(format!("store/raw/{}.pdf", hash(b"other")));
    fs::write(&named, b"something else").unwrap();
    let said = forge.import(&[], old.path());
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("it is damaged"), "{}", said.out);
    assert!(said.out.ends_with("0 taken over, 0 here already, 1 failed\n"), "it was to be done: {said:?}");
    // What is done needs its source no more.
    fs::create_dir_all(old.path().join("store/out")).unwrap();
    fs::write(old.path().join(format!("store/out/{}.zip", hash(b"other"))), result(1)).unwrap();
    fs::write(old.path().join(format!("store/out/{}.txt", hash(b"no result"))), "notes").unwrap();
    let said = forge.import(&[], old.path());
    assert!(said.out.contains("1 came without their file"), "{}", said.out);
    assert!(said.out.contains("it is damaged"), "{}", said.out);
    assert!(said.out.ends_with("1 taken over, 0 here already, 0 failed\n"), "{said:?}");
    let empty = tempfile::tempdir().unwrap();
    assert!(forge.import(&[], empty.path()).err.contains("neither store/raw nor store/out"));
    let file = empty.path().join("notes.json");
    fs::write(&file, "{\"format\": \"notes\", \"version\": 1, \"tables\": {\"jobs\": []}}").unwrap();
    assert!(forge.import(&[], &file).err.contains("blobforge-coordinator-backup"));
    assert!(forge.import(&[], &empty.path().join("missing")).err.contains("No such file"));
    forge.stop();
}

#[test]
fn a_row_that_is_bad_keeps_no_other_from_coming_over() {
    let old = tempfile::tempdir().unwrap();
    let forge = Forge::serve(&[]);
    let names = [b"first", b"other"].map(|bytes| hash(bytes));
    fs::create_dir_all(old.path().join("store/raw")).unwrap();
    fs::write(old.path().join(format!("store/raw/{}.pdf", names[0])), b"first").unwrap();
    let long = format!("{}/shelf/first.pdf", "x".repeat(5000));
    let backup = json!({"format": "blobforge-coordinator-backup", "version": 1, "tables": {
        "files": [{"hash": names[0], "size_bytes": 5}, {"hash": "no hash"}],
        "file_paths": [{"file_hash": names[0], "path": long}],
        "jobs": [
            {"file_hash": names[0], "status": "todo"},
            {"file_hash": names[1], "status": "todo"},
            {"file_hash": names[1]},
        ],
    }});
    let path = old.path().join("backup.json");
    fs::write(&path, backup.to_string()).unwrap();
    let import =
        |more: &[&str]| forge.import(&[&["--files", old.path().to_str().unwrap()], more].concat(), &path);
    let said = import(&["--dry-run"]);
    assert!(said.out.ends_with("1 to take over, 0 here already, 3 failed\n"), "{said:?}");
    let said = import(&[]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.ends_with("1 taken over, 0 here already, 3 failed\n"), "as the dry run said: {said:?}");
    for row in ["files, row 2", "jobs, row 3", "its file is not there"] {
        assert!(said.out.contains(row), "{row}: {}", said.out);
    }
    let job = &forge.jobs(&[])[0];
    let kept = job["source_path"].as_str().unwrap();
    assert!(kept.len() == 4096 && kept.ends_with("/shelf/first.pdf"), "{kept}");
    forge.stop();
}
