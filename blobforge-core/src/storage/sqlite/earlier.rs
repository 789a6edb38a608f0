//! The database of the BlobForge that was written in Go, as far as its jobs go.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row, types::ValueRef};

use super::failure::storage_error;
use crate::storage::StorageError;

/// A job of the earlier BlobForge, as it lies there.
///
/// As in [`earlier_jobs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierJob {
    /// Its number there.
    pub id: i64,
    /// What kind of work it is.
    pub job_type: Option<String>,
    /// The SHA-256 of its source, in hexadecimal.
    pub source_hash: Option<String>,
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

const JOBS: &str = "SELECT id, type, source_hash, source_size, source_path, tags, priority, status, last_error, attempts, \
                    max_attempts, CAST(created_at AS TEXT), \
                    CAST(coalesce(completed_at, updated_at, created_at) AS TEXT) \
                    FROM jobs ORDER BY id";

/// The jobs in a database of the earlier BlobForge, which is only read.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("old.db");
/// # rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE jobs (id INTEGER PRIMARY KEY, type TEXT, source_hash TEXT,
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
        id: row.get(0)?,
        job_type: text(row, 1)?,
        source_hash: text(row, 2)?,
        source_size: number(row, 3)?,
        source_path: text(row, 4)?,
        tags: text(row, 5)?,
        priority: number(row, 6)?,
        status: text(row, 7)?.unwrap_or_default(),
        last_error: text(row, 8)?,
        attempts: number(row, 9)?,
        max_attempts: number(row, 10)?,
        created_at: text(row, 11)?,
        ended_at: text(row, 12)?,
    })
}

/// Whatever is in a column, as text: SQLite does not hold programs to what they declared.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) | ValueRef::Blob(text) => Some(String::from_utf8_lossy(text).into_owned()),
    })
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<i64>> {
    Ok(row.get_ref(column)?.as_i64().ok())
}
