//! The database of the BlobForge that was written in Go, as far as its jobs go.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

use super::failure::storage_error;
use crate::storage::StorageError;

/// A job of the earlier BlobForge, as it lies there.
///
/// As in [`earlier_jobs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierJob {
    /// The SHA-256 of its source, in hexadecimal.
    pub source_hash: String,
    /// The size of that in bytes.
    pub source_size: Option<i64>,
    /// What that was called.
    pub source_path: Option<String>,
    /// JSON: a list of words.
    pub tags: Option<String>,
    /// 1 to 5.
    pub priority: Option<i64>,
    /// `pending`, `running`, `completed`, `dead` or `cancelled`.
    pub status: String,
    /// Why it failed.
    pub last_error: Option<String>,
    /// How often it was begun.
    pub attempts: Option<i64>,
    /// How often it might fail.
    pub max_attempts: Option<i64>,
    /// When it was submitted, as Go or SQLite writes times.
    pub created_at: Option<String>,
    /// When it last changed.
    pub ended_at: Option<String>,
}

const JOBS: &str = "SELECT source_hash, source_size, source_path, tags, priority, status, last_error, attempts, \
                    max_attempts, CAST(created_at AS TEXT), \
                    CAST(coalesce(completed_at, updated_at, created_at) AS TEXT) \
                    FROM jobs WHERE source_hash IS NOT NULL ORDER BY id";

/// The jobs in a database of the earlier BlobForge, which is only read.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("old.db");
/// # rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE jobs (id INTEGER PRIMARY KEY, source_hash TEXT,
/// #     source_size INTEGER, source_path TEXT, tags TEXT, priority INTEGER, status TEXT, last_error TEXT, attempts INTEGER,
/// #     max_attempts INTEGER, created_at DATETIME, completed_at DATETIME, updated_at DATETIME);
/// #     INSERT INTO jobs (source_hash, status, created_at) VALUES ('9f86', 'dead', '2025-03-01 08:00:00');").unwrap();
/// use blobforge_core::storage::sqlite::earlier_jobs;
/// let jobs = earlier_jobs(&path).unwrap();
/// assert_eq!((jobs[0].status.as_str(), jobs[0].ended_at.as_deref()), ("dead", Some("2025-03-01 08:00:00")));
/// assert!(earlier_jobs(&folder.path().join("missing.db")).is_err());
/// ```
///
/// # Errors
/// When it cannot be read, or is another program's.
pub fn earlier_jobs(path: &Path) -> Result<Vec<EarlierJob>, StorageError> {
    let read = || {
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut jobs = database.prepare(JOBS)?;
        jobs.query_map([], job)?.collect::<rusqlite::Result<_>>()
    };
    read().map_err(|error| storage_error(&error))
}

fn job(row: &Row<'_>) -> rusqlite::Result<EarlierJob> {
    Ok(EarlierJob {
        source_hash: row.get(0)?,
        source_size: row.get(1)?,
        source_path: row.get(2)?,
        tags: row.get(3)?,
        priority: row.get(4)?,
        status: row.get(5)?,
        last_error: row.get(6)?,
        attempts: row.get(7)?,
        max_attempts: row.get(8)?,
        created_at: row.get(9)?,
        ended_at: row.get(10)?,
    })
}
