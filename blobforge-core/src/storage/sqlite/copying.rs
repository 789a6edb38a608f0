//! Whole copies of a database, and whether one can be used.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension,
    backup::{Backup, StepResult},
};
use serde_json::Value;

use super::{
    failure::storage_error,
    migrations,
    open::{check_contents, contents, explain},
};
use crate::{Generation, storage::StorageError};

/// How many complaints of SQLite are shown.
const COMPLAINTS: usize = 3;
/// How many files of earlier versions are kept beside a database.
const KEPT_AS_THEY_WERE: usize = 2;

/// What was found in a database that was looked through.
///
/// As in [`examine`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The version of its tables.
    pub schema: i32,
    /// Its generation.
    pub generation: Generation,
    /// How many jobs it has.
    pub jobs: u64,
}

/// Reads a whole database, which nobody writes meanwhile, and says whether it can be used.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let (path, copy) = (folder.path().join("jobs.db"), folder.path().join("copy.db"));
/// use blobforge_core::{NewJob, Queue, storage::sqlite::{copy_database, examine}};
/// let queue = Queue::open(&path).await.unwrap();
/// queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
/// copy_database(&path, &copy).unwrap();
/// assert_eq!(examine(&copy).unwrap().jobs, 1, "as it was at one moment, while the queue goes on");
/// std::fs::write(&copy, "cut off").unwrap();
/// assert!(examine(&copy).is_err());
/// # });
/// ```
///
/// # Errors
/// When it is damaged, another program's, of a newer version, or empty.
pub fn examine(path: &Path) -> Result<Examined, StorageError> {
    let wrong = |error: rusqlite::Error| unreadable(path, &error);
    let at = path.display();
    let refuse = |why: String| Err(StorageError::Unusable(format!("{at} {why}")));
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(wrong)?;
    let found = contents(&database).map_err(wrong)?;
    check_contents(&at.to_string(), &found)?;
    if found.version == 0 {
        return refuse("is an empty database".to_owned());
    }
    let complaints = complaints(&database, "integrity_check").map_err(wrong)?;
    if !complaints.is_empty() {
        return refuse(format!("is damaged: {}", complaints.join("; ")));
    }
    let number = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(wrong);
    let (jobs, counted) =
        (number("SELECT count(*) FROM jobs")?, number("SELECT coalesce(sum(n), 0) FROM counts")?);
    if jobs != counted {
        return refuse(format!("is damaged: it has {jobs} jobs, and counted {counted}"));
    }
    let generation = number(super::open::GENERATION)?;
    Ok(Examined {
        schema: found.version,
        generation: Generation::new(u32::try_from(generation).unwrap_or(u32::MAX)),
        jobs: u64::try_from(jobs).unwrap_or(0),
    })
}

/// What is wrong with a file that is only looked at. What to do about it depends on where it comes from.
fn unreadable(path: &Path, error: &rusqlite::Error) -> StorageError {
    let at = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StorageError::Unusable(format!("{at} is not an SQLite database")),
        Some(ErrorCode::DatabaseCorrupt) => StorageError::Unusable(format!("{at} is damaged ({error})")),
        _ => explain(path, error),
    }
}

/// Has SQLite read every page of a database, which others may use meanwhile.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("jobs.db");
/// use blobforge_core::{Queue, storage::sqlite::check_pages};
/// let queue = Queue::open(&path).await.unwrap();
/// assert!(check_pages(&path).is_ok());
/// # });
/// ```
///
/// # Errors
/// When it is damaged, or cannot be read.
pub fn check_pages(path: &Path) -> Result<(), StorageError> {
    let wrong = |error: rusqlite::Error| unreadable(path, &error);
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(wrong)?;
    let complaints = complaints(&database, "quick_check").map_err(wrong)?;
    if complaints.is_empty() {
        return Ok(());
    }
    Err(StorageError::Unusable(format!("{} is damaged: {}", path.display(), complaints.join("; "))))
}

/// What SQLite has to complain of.
fn complaints(database: &Connection, check: &str) -> rusqlite::Result<Vec<String>> {
    let mut check = database.prepare(&format!("PRAGMA {check}({COMPLAINTS})"))?;
    let said = check.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(said.into_iter().filter(|line| line != "ok").collect())
}

/// What an embedding program keeps in a file under a key of a collection, without opening it as a store.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("jobs.db");
/// use blobforge_core::{Queue, storage::{Command, sqlite::record_in}};
/// let queue = Queue::open(&path).await.unwrap();
/// let (collection, key) = ("notes".to_owned(), "one".to_owned());
/// queue.run(Command::PutRecord { collection, key, value: 7.into() }).await.unwrap();
/// assert_eq!(record_in(&path, "notes", "one").unwrap(), Some(7.into()));
/// assert_eq!(record_in(&path, "notes", "two").unwrap(), None);
/// # });
/// ```
///
/// # Errors
/// When the file is no such database.
pub fn record_in(path: &Path, collection: &str, key: &str) -> Result<Option<Value>, StorageError> {
    let wrong = |error: rusqlite::Error| unreadable(path, &error);
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(wrong)?;
    let select = "SELECT value FROM records WHERE collection = ?1 AND key = ?2";
    let text: Option<String> =
        database.query_row(select, (collection, key), |row| row.get(0)).optional().map_err(wrong)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Copies a database to a file that is not there, as it is at one moment, while others use it.
///
/// As in [`examine`].
///
/// # Errors
/// When it cannot be read, or the copy cannot be written: then nothing of it is left.
pub fn copy_database(from: &Path, to: &Path) -> Result<(), StorageError> {
    if to.exists() {
        return Err(StorageError::Unusable(format!("{} is there already: name another file", to.display())));
    }
    let database = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|error| explain(from, &error))?;
    only_for_its_owner(to).map_err(|error| unwritable(to, &error))?;
    copy(&database, to).inspect_err(|_| {
        // Half a copy is none.
        let _ = fs::remove_file(to);
    })
}

fn copy(database: &Connection, to: &Path) -> Result<(), StorageError> {
    let failed = |error: rusqlite::Error| storage_error(&error);
    let mut copy = Connection::open(to).map_err(failed)?;
    // All of it in one step, since a source that changes between two would have it begin again.
    match Backup::new(database, &mut copy).and_then(|backup| backup.step(-1)).map_err(failed)? {
        StepResult::Done => {}
        other => {
            return Err(StorageError::Busy(format!("it could not be copied at one moment ({other:?})")));
        }
    }
    // Whole in one file, without a log beside it.
    copy.pragma_update(None, "journal_mode", "delete").map_err(failed)?;
    copy.close().map_err(|(_, error)| failed(error))?;
    File::open(to).and_then(|file| file.sync_all()).map_err(|error| unwritable(to, &error))
}

fn unwritable(file: &Path, error: &io::Error) -> StorageError {
    StorageError::Unusable(format!("{} could not be written ({error})", file.display()))
}

/// Makes an empty file that nobody else may read, for SQLite to fill.
fn only_for_its_owner(path: &Path) -> io::Result<()> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create_new(true).open(path).map(drop)
}

/// Keeps a file as it is before its tables change, beside it and under the name of their version. There is no other way back to
/// the program that wrote it.
pub(super) fn keep_as_it_was(path: &Path, version: i32) -> Result<(), StorageError> {
    let kept = beside(path, &format!("-schema-{version}"));
    let draft = beside(path, &format!("-schema-{version}-new"));
    let unkept = |why: String| {
        StorageError::Unusable(format!(
            "{} is to get new tables, and could not be kept as it is before ({why}): make room on its disk for a copy of it",
            path.display()
        ))
    };
    let _ = fs::remove_file(&draft);
    copy_database(path, &draft).map_err(|error| unkept(error.to_string()))?;
    // Another process may have changed its tables meanwhile, and then has kept it.
    let copied = Connection::open(&draft).and_then(|copy| migrations::version(&copy));
    let done = match copied {
        Ok(copied) if copied == version => fs::rename(&draft, &kept),
        Ok(copied) if copied > version => fs::remove_file(&draft),
        Ok(copied) => return Err(unkept(format!("the copy says that its version is {copied}"))),
        Err(error) => return Err(unkept(error.to_string())),
    };
    done.map_err(|error| unkept(error.to_string()))?;
    forget_the_oldest(path, version);
    Ok(())
}

/// Deletes what was kept of all but the last versions.
fn forget_the_oldest(path: &Path, version: i32) {
    let kept = (1..=version).rev().map(|version| beside(path, &format!("-schema-{version}")));
    for one in kept.filter(|one| one.exists()).skip(KEPT_AS_THEY_WERE) {
        if let Err(error) = fs::remove_file(&one) {
            tracing::warn!(%error, "{} cannot be deleted", one.display());
        }
    }
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// Makes what was written to a file, and the name that it has now, outlast a power cut.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("jobs.db");
/// std::fs::write(&path, "something").unwrap();
/// use blobforge_core::storage::sqlite::make_durable;
/// assert!(make_durable(&path).is_ok());
/// assert!(make_durable(&folder.path().join("nothing.db")).is_err());
/// ```
///
/// # Errors
/// When it is not there, or the disk refuses.
pub fn make_durable(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    super::home::sync_folder_of(path)
}
