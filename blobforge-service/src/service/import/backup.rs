//! The backup of a coordinator: JSON of its tables.

use std::{collections::HashMap, fs, io, path::Path};

use blobforge_core::{Failure, Priority, Sha256, Timestamp};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Old, OldJob, OldState};

const FORMAT: &str = "blobforge-coordinator-backup";
const VERSION: u32 = 1;
/// The largest backup that is read, in bytes: each file of an installation takes about a thousand.
const MAX_BYTES: u64 = 2 << 30;

#[derive(Deserialize)]
struct Backup {
    format: String,
    version: u32,
    tables: Tables,
}

/// Rows that were not looked at yet: one that is bad keeps no other from coming over.
#[derive(Deserialize)]
struct Tables {
    #[serde(default)]
    files: Vec<Value>,
    #[serde(default)]
    file_paths: Vec<Value>,
    #[serde(default)]
    file_tags: Vec<Value>,
    jobs: Vec<Value>,
    #[serde(default)]
    job_failures: Vec<Value>,
}

#[derive(Deserialize)]
struct FileRow {
    hash: Sha256,
    original_name: Option<String>,
    size_bytes: Option<u64>,
    created_at: Option<i64>,
}

#[derive(Deserialize)]
struct PathRow {
    file_hash: Sha256,
    path: String,
}

#[derive(Deserialize)]
struct TagRow {
    file_hash: Sha256,
    tag: String,
}

#[derive(Deserialize)]
struct JobRow {
    file_hash: Sha256,
    status: String,
    priority: Option<String>,
    retry_count: Option<u32>,
    max_retries: Option<u32>,
    created_at: Option<i64>,
    updated_at: Option<i64>,
    completed_at: Option<i64>,
    error_message: Option<String>,
}

#[derive(Deserialize)]
struct FailureRow {
    file_hash: Sha256,
    error_message: Option<String>,
    traceback: Option<String>,
}

/// The jobs that a backup tells of.
pub(super) fn jobs(file: &Path) -> io::Result<Old> {
    let size = fs::metadata(file)?.len();
    if size > MAX_BYTES {
        let what = format!("it has {size} bytes: a coordinator's backup of at most {MAX_BYTES} is read");
        return Err(io::Error::other(what));
    }
    let backup: Backup = serde_json::from_slice(&fs::read(file)?).map_err(|error| {
        io::Error::other(format!(
            "it is no backup of a coordinator, nor a database or folder of one: {error}"
        ))
    })?;
    if backup.format != FORMAT || backup.version != VERSION {
        let what = format!(
            "it is {:?} of version {}: {FORMAT:?} of version {VERSION} can be read",
            backup.format, backup.version
        );
        return Err(io::Error::other(what));
    }
    let mut unread = Vec::new();
    let Tables { files, file_paths, file_tags, jobs, job_failures } = backup.tables;
    let files: HashMap<_, _> =
        rows::<FileRow>("files", files, &mut unread).into_iter().map(|file| (file.hash, file)).collect();
    let mut paths: HashMap<Sha256, Vec<String>> = HashMap::new();
    for row in rows::<PathRow>("file_paths", file_paths, &mut unread) {
        paths.entry(row.file_hash).or_default().push(row.path);
    }
    let mut tags: HashMap<Sha256, Vec<String>> = HashMap::new();
    for row in rows::<TagRow>("file_tags", file_tags, &mut unread) {
        tags.entry(row.file_hash).or_default().push(row.tag);
    }
    let failures = rows::<FailureRow>("job_failures", job_failures, &mut unread);
    // The last one of each stays.
    let failures: HashMap<_, _> = failures.into_iter().map(|row| (row.file_hash, row)).collect();
    let job = |row: JobRow| {
        let file = files.get(&row.file_hash);
        let mut paths = paths.remove(&row.file_hash).unwrap_or_default();
        if paths.is_empty() {
            paths.extend(file.and_then(|file| file.original_name.clone()));
        }
        let created_at = time(row.created_at.or_else(|| file?.created_at));
        OldJob {
            job_type: None,
            sha256: row.file_hash,
            size: file.and_then(|file| file.size_bytes),
            paths,
            tags: tags.remove(&row.file_hash).unwrap_or_default(),
            priority: row.priority.as_deref().and_then(|name| name.parse().ok()).unwrap_or(Priority::Normal),
            state: state(&row, failures.get(&row.file_hash)),
            failures: row.retry_count.unwrap_or(0),
            max_attempts: row.max_retries,
            created_at,
            ended_at: row.completed_at.or(row.updated_at).map_or(created_at, |at| time(Some(at))),
        }
    };
    let jobs = rows::<JobRow>("jobs", jobs, &mut unread).into_iter().map(job).collect();
    Ok(Old { jobs, unread })
}

/// The rows of a table, as far as they are any.
fn rows<T: DeserializeOwned>(table: &str, rows: Vec<Value>, unread: &mut Vec<(String, String)>) -> Vec<T> {
    let read = |(at, row): (usize, Value)| match serde_json::from_value(row) {
        Ok(row) => Some(row),
        Err(error) => {
            unread.push((format!("{table}, row {}", at + 1), error.to_string()));
            None
        }
    };
    rows.into_iter().enumerate().filter_map(read).collect()
}

fn time(millis: Option<i64>) -> Timestamp {
    Timestamp::from_millis(millis.unwrap_or(0).max(0))
}

/// What runs and what is to be tried again is to be done.
fn state(row: &JobRow, last: Option<&FailureRow>) -> OldState {
    match row.status.as_str() {
        "done" => OldState::Done,
        "dead" => {
            let said = row.error_message.as_deref().or_else(|| last?.error_message.as_deref());
            let mut failure = Failure::new("imported", said.unwrap_or("no reason was given"));
            failure.log_tail = last.and_then(|last| last.traceback.clone());
            failure.details =
                failure.log_tail.take().map(|traceback| serde_json::json!({"traceback": traceback}));
            OldState::Dead(failure)
        }
        _ => OldState::ToDo,
    }
}
