//! Fails when an arrow of the architecture turns round: each test is one of ARCHITECTURE.md's invariants.
//!
//! What is read is the text of the sources without comments, so a rule is kept by what the code says, not by what is
//! said about it. Where something is allowed all the same, the exception is named here with its reason.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "architecture/examples.rs"]
mod examples;

use std::{
    fs,
    path::{Path, PathBuf},
};

const CRATES: [&str; 3] = ["blobforge-core", "blobforge-worker-sdk", "blobforge-service"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

/// A source file: its path from the workspace's root, and its text without comments.
struct Source {
    path: String,
    code: String,
}

/// All Rust and SQL sources below these paths, none of which may be missing.
fn sources(paths: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        collect(&root().join(path), path, &mut found);
        assert!(
            found.len() > before,
            "there is no source under {path}: was it moved? Then move its rule too"
        );
    }
    found
}

fn collect(path: &Path, name: &str, found: &mut Vec<Source>) {
    if path.is_dir() {
        let mut entries: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        entries.sort();
        for entry in entries {
            collect(&path.join(&entry), &format!("{name}/{entry}"), found);
        }
    } else if name.ends_with(".rs") || name.ends_with(".sql") {
        let text = fs::read_to_string(path).unwrap();
        found.push(Source { path: name.to_owned(), code: without_comments(&text) });
    }
}

fn without_comments(text: &str) -> String {
    let is_comment = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("-- ")
    };
    text.lines().filter(|line| !is_comment(line)).collect::<Vec<_>>().join("\n")
}

/// Fails if any of the `words` stands, as a whole word, in a source that is not excepted.
fn forbid(sources: &[Source], words: &[&str], except: &[&str], why: &str) {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !except.contains(&source.path.as_str())) {
        for word in words.iter().filter(|word| has_word(&source.code, word)) {
            found.push(format!("  {} names `{word}`", source.path));
        }
    }
    assert!(found.is_empty(), "{why}\n{}", found.join("\n"));
}

fn has_word(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let starts = !word.starts_with(part_of_word) || !before.is_some_and(part_of_word);
        let ends = !word.ends_with(part_of_word) || !after.is_some_and(part_of_word);
        starts && ends
    })
}

/// The names in the dependency tables of a crate, those for tests left out.
fn dependencies(of: &str) -> Vec<String> {
    let manifest = read(&format!("{of}/Cargo.toml"));
    let mut counts = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            let table = line.trim_matches(['[', ']']);
            counts = table.ends_with("dependencies") && !table.ends_with("dev-dependencies");
            // `[dependencies.name]` is a table of its own.
            if let Some((_, name)) = table.split_once("dependencies.") {
                names.push(name.to_owned());
            }
        } else if counts && let Some(end) = line.find(['.', '=', ' ']) {
            names.push(line[..end].to_owned());
        }
    }
    assert!(
        !names.is_empty(),
        "no dependency was found in {of}/Cargo.toml: is it still written the same way?"
    );
    names
}

fn forbid_dependencies(of: &str, forbidden: &[&str], why: &str) {
    let there: Vec<String> =
        dependencies(of).into_iter().filter(|name| forbidden.contains(&name.as_str())).collect();
    assert!(there.is_empty(), "{why}\n  {of}/Cargo.toml names {}", there.join(", "));
}

#[test]
fn dependencies_point_from_the_service_to_the_sdk_to_the_core() {
    let why = "dependencies point one way: service → sdk → core";
    forbid_dependencies("blobforge-core", &["blobforge-worker-sdk", "blobforge-service"], why);
    forbid_dependencies("blobforge-worker-sdk", &["blobforge-service"], why);
    assert!(
        dependencies("blobforge-worker-sdk").contains(&"blobforge-core".to_owned()),
        "the check no longer sees an arrow that is there: repair the check"
    );
}

#[test]
fn the_core_speaks_no_http() {
    let why = "the core is linked by programs that want a queue and no server";
    let http = ["poem", "poem-openapi", "reqwest", "hyper", "axum", "http"];
    forbid_dependencies("blobforge-core", &http, why);
    forbid_dependencies("blobforge-worker-sdk", &["poem", "poem-openapi", "rusqlite", "pdf_oxide"], why);
}

#[test]
fn the_lifecycle_is_pure() {
    forbid(
        &sources(&["blobforge-core/src/lifecycle.rs", "blobforge-core/src/retry.rs"]),
        &[
            "tokio",
            "rusqlite",
            "async",
            "await",
            "SystemTime",
            "Instant",
            "Clock",
            "SystemClock",
            "rand",
            "getrandom",
            "draw",
            "fs",
            "net",
            "storage",
            "queue",
            "blob",
            "broker",
            "unsafe",
        ],
        &[],
        "the lifecycle is pure: time, secrets and jitter are its inputs, and it knows of nobody who calls it",
    );
}

#[test]
fn the_lifecycle_alone_decides_where_a_job_is() {
    forbid(
        &sources(&["blobforge-core/src", "blobforge-service/src"]),
        &[".phase = ", ".failures = ", ".losses = ", ".failures += ", ".losses += ", ".epoch = "],
        // Decides; and reads a stored row back into the life that it was written from.
        &["blobforge-core/src/lifecycle.rs", "blobforge-core/src/storage/sqlite/columns.rs"],
        "a job's phase and counters are written by lifecycle::apply alone: make it a step",
    );
}

#[test]
fn what_is_said_is_plain_data_and_pure_functions() {
    forbid(
        &sources(&[
            "blobforge-core/src/job.rs",
            "blobforge-core/src/lease.rs",
            "blobforge-core/src/worker.rs",
            "blobforge-core/src/condition.rs",
            "blobforge-core/src/limits.rs",
            "blobforge-core/src/requirement.rs",
            "blobforge-core/src/bounds.rs",
            "blobforge-core/src/trace_parent.rs",
            "blobforge-core/src/settings.rs",
            "blobforge-core/src/failure_group.rs",
            "blobforge-core/src/storage/rows/front.rs",
        ]),
        &[
            "storage::",
            "queue",
            "blob",
            "broker",
            "tokio",
            "rusqlite",
            "Clock",
            "SystemTime",
            "Instant",
            "fs",
            "async",
        ],
        &[],
        "what callers say and what is worked out from it is plain: it knows nothing of where it is kept",
    );
}

#[test]
fn what_is_committed_together_is_decided_without_time_or_io() {
    let all = sources(&["blobforge-core/src/queue/committer.rs", "blobforge-core/src/queue/parked.rs"]);
    let words =
        ["tokio", "async", "await", "Clock", "SystemTime", "Instant", "rusqlite", "fs", "sleep", "uptime()"];
    forbid(
        &all,
        &words,
        &[],
        "the committer is a state machine: its driver reads the clock and does the work",
    );
}

#[test]
fn the_map_shows_what_is_there() {
    let map = read("ARCHITECTURE.md");
    let mut shown = Vec::new();
    for name in map.split('`').skip(1).step_by(2) {
        // `{a,b}.rs` are two.
        let names = match (name.split_once('{'), name.rsplit_once('}')) {
            (Some((before, _)), Some((within, after))) => {
                let within = &within[before.len() + 1..];
                within.split(',').map(|part| format!("{before}{part}{after}")).collect()
            }
            _ => vec![name.to_owned()],
        };
        shown.extend(names.into_iter().filter(|name| name.ends_with(".rs") || name.ends_with('/')));
    }
    let is_there = |path: &&String| {
        ["", "blobforge-core/src/", "blobforge-core/src/queue/"]
            .iter()
            .any(|at| root().join(at).join(path).exists())
    };
    let gone: Vec<_> = shown.iter().filter(|path| !is_there(path)).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md shows what is not there: {gone:?}");
    assert!(shown.len() > 40, "the check does not see what the map shows any more: {shown:?}");
    let rooms =
        fs::read_dir(root().join("blobforge-core/src")).unwrap().map(|entry| entry.unwrap().file_name());
    for room in rooms.map(|name| name.to_string_lossy().into_owned()) {
        let known = ["lib.rs", "entropy.rs", "time.rs"].contains(&room.as_str())
            || shown.iter().any(|path| path.trim_end_matches('/').starts_with(room.trim_end_matches(".rs")));
        assert!(known, "ARCHITECTURE.md does not show blobforge-core/src/{room}");
    }
}

#[test]
fn the_storage_does_not_know_who_uses_it() {
    forbid(
        &sources(&["blobforge-core/src/storage.rs", "blobforge-core/src/storage"]),
        &["queue::", "Queue", "broker::", "Broker", "blob::", "BlobStore", "object_store"],
        &[],
        "the queue uses the storage, never the other way round, and neither broker nor files are its business",
    );
}

#[test]
fn the_blob_store_does_not_know_of_jobs_in_storage() {
    forbid(
        &sources(&["blobforge-core/src/blob.rs", "blobforge-core/src/blob"]),
        &["storage::", "Storage", "queue::", "Queue", "broker::", "Broker", "rusqlite"],
        &[],
        "the blob store keeps files: which of them matter is for the queue to know",
    );
}

#[test]
fn sql_is_spoken_in_the_storage_alone() {
    let all = sources(&CRATES.map(|name| format!("{name}/src")).each_ref().map(String::as_str));
    let elsewhere: Vec<Source> =
        all.into_iter().filter(|source| !source.path.starts_with("blobforge-core/src/storage/")).collect();
    forbid(
        &elsewhere,
        &["SELECT ", "INSERT INTO", "DELETE FROM", "rusqlite::Connection", "PRAGMA "],
        &[],
        "SQL is spoken below blobforge-core/src/storage alone: add what is missing to the Storage trait",
    );
}

#[test]
fn nothing_counts_jobs_or_pages_by_number() {
    let all = sources(&CRATES.map(|name| format!("{name}/src")).each_ref().map(String::as_str));
    let mut found = Vec::new();
    for source in &all {
        let sql: String = source.code.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let counted = sql.match_indices("count(").any(|(at, _)| {
            let next: String = sql[at..].chars().take(60).collect();
            ["count(*)", "count(1)", "count(id)"].iter().any(|how| next.starts_with(how))
                && next.contains("from jobs")
        });
        // Who looks through a whole copy, which nobody else uses, reads all of it.
        let whole = ["blobforge-core/src/storage/sqlite/copying.rs"];
        if counted && !whole.contains(&source.path.as_str()) {
            found.push(format!("  {} counts the rows of jobs", source.path));
        }
        // A cursor that skips within a bounded number of index entries, to know where a page's walk ends.
        let bounded = ["blobforge-core/src/storage/sqlite/listing.rs"];
        if has_word(&source.code, "OFFSET") && !bounded.contains(&source.path.as_str()) {
            found.push(format!("  {} pages by OFFSET", source.path));
        }
    }
    assert!(
        found.is_empty(),
        "a store of ten million jobs answers at once: counts are kept, and pages go by key\n{}",
        found.join("\n")
    );
}

#[test]
fn the_core_takes_its_time_from_a_clock() {
    forbid(
        &sources(&["blobforge-core/src"]),
        &["SystemTime::now", "Utc::now", "Local::now"],
        &["blobforge-core/src/time.rs"],
        "what the time is, is asked of the Clock: tests stand it still, and every decision uses one reading of it",
    );
}

#[test]
fn no_file_is_named_after_nothing() {
    let nothing = ["util", "utils", "common", "helper", "helpers", "manager", "misc", "shared"];
    for source in sources(&CRATES.map(|name| format!("{name}/src")).each_ref().map(String::as_str)) {
        let named = source.path.split(['/', '.']).find(|part| nothing.contains(part));
        assert!(
            named.is_none(),
            "{}: name a file after the thing in it, not `{}`",
            source.path,
            named.unwrap()
        );
    }
}

#[test]
fn the_checks_themselves_see_what_they_look_for() {
    let source = |text: &str| Source { path: "x.rs".to_owned(), code: without_comments(text) };
    assert!(has_word(&source("use tokio::sync;").code, "tokio"));
    assert!(has_word(&source("life.phase = Phase::Pending").code, ".phase = "));
    assert!(
        !has_word(&source("life.phase == Phase::Pending").code, ".phase = "),
        "a comparison is no assignment"
    );
    assert!(!has_word(&source("/// Uses tokio.\nlet mytokio = tokios;").code, "tokio"));
}
