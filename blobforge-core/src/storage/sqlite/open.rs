//! Opening the file: what is refused, and how its connections are set up.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::{
    SqliteOptions, copying,
    failure::storage_error,
    filesystem::network_filesystem_of,
    home::{Home, Restored},
    migrations::{self, APPLICATION_ID},
};
use crate::{Generation, storage::StorageError};

/// Before it, a write during another connection's checkpoint could corrupt the file.
const OLDEST_SQLITE: i32 = 3_051_003;

/// For how long the writer waits while somebody else, such as a backup, holds the file.
pub(super) const WRITER_PATIENCE: Duration = Duration::from_secs(5);

/// About what it takes to switch a new file to its write-ahead log.
const SWITCHING: Duration = Duration::from_millis(5);

/// Enough for the ends of every table that grows and all of those that do not.
///
/// More is slower: a commit that moved pages of an index goes through the whole table of cached pages, which at 64 MiB
/// took an eighth of the time of claims among many keys.
const WRITER_CACHE_KIB: i64 = 16 * 1024;

/// To how many pages the log may grow that another program is to work into the file: to 256 MiB. That one keeps it far shorter
/// while it runs.
const LOG_OF_ANOTHER: u32 = 64 * 1024;

/// Reads the store's number.
pub(super) const GENERATION: &str = "SELECT value FROM meta WHERE key = 'generation'";

/// More than there are statements.
const READER_STATEMENTS: usize = 64;

/// A file that was found good, and the connection that writes it.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) path: PathBuf,
    pub(super) generation: Generation,
    /// SQLite's number for what other connections have written.
    pub(super) version: i64,
    pub(super) home: Home,
    /// What was done because the file came back from a backup.
    pub(super) restored: Option<Restored>,
    /// Whether somebody else works the log into the file.
    pub(super) log_is_anothers: bool,
}

/// Opens the file for writing, and makes it if it is not there.
pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<Opened, StorageError> {
    check_library(rusqlite::version_number(), rusqlite::version())?;
    let path = absolute(path)?;
    let at = path.display();
    let refused = |error: &rusqlite::Error| explain(&path, error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut writer = Connection::open_with_flags(&path, flags).map_err(|e| refused(&e))?;
    writer.busy_timeout(WRITER_PATIENCE).map_err(|e| refused(&e))?;
    // Whose file it is is asked before anything is written to it.
    let contents = contents(&writer).map_err(|e| refused(&e))?;
    check_contents(&at.to_string(), &contents)?;
    if (1..migrations::latest()).contains(&contents.version) {
        copying::keep_as_it_was(&path, contents.version)?;
    }
    set_up(&mut writer, options).map_err(|e| refused(&e))?;
    let mode: String =
        writer.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(|e| refused(&e))?;
    if mode != "wal" {
        return Err(StorageError::Unusable(format!(
            "{at} cannot have a write-ahead log here (its journal is {mode:?}): put the database on a local disk"
        )));
    }
    let home = Home::of(&path)
        .map_err(|e| StorageError::Unusable(format!("{at} cannot be looked at ({e}): put it right")))?;
    let restored = home.settle(&mut writer, &*options.clock, false)?;
    if let Some(pages) = options.max_pages {
        writer.pragma_update(None, "max_page_count", pages).map_err(|e| refused(&e))?;
    }
    let (version, generation) = state_of(&writer).map_err(|e| refused(&e))?;
    let log_is_anothers = options.wal_autocheckpoint == 0;
    Ok(Opened { writer, path, generation, version, home, restored, log_is_anothers })
}

/// What is seen of a database without changing it.
///
/// As in [`check_file`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedFile {
    /// The version of its tables; 0 if it has none yet.
    pub schema: i32,
    /// How many jobs it has.
    pub jobs: u64,
}

/// Whether a file is a database of this program, or can become one, without changing it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let (path, notes) = (folder.path().join("queue.db"), folder.path().join("notes.db"));
/// use blobforge_core::{NewJob, Queue, storage::sqlite::check_file};
/// std::fs::write(&notes, "these are notes, and no database").unwrap();
/// assert!(check_file(&notes).is_err());
/// let queue = Queue::open(&path).await.unwrap();
/// queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
/// assert_eq!(check_file(&path).unwrap().jobs, 1);
/// # });
/// ```
///
/// # Errors
/// When it is another program's or an earlier version's, or cannot be read.
pub fn check_file(path: &Path) -> Result<CheckedFile, StorageError> {
    let wrong = |error: rusqlite::Error| explain(path, &error);
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(wrong)?;
    let contents = contents(&database).map_err(wrong)?;
    check_contents(&path.display().to_string(), &contents)?;
    let jobs = match contents.version {
        0 => 0,
        _ => database.query_row(ALL_JOBS, [], |row| row.get::<_, i64>(0)).map_err(wrong)?,
    };
    Ok(CheckedFile { schema: contents.version, jobs: u64::try_from(jobs).unwrap_or(0) })
}

/// By the counts that are kept, for a table of millions is not read for it.
const ALL_JOBS: &str = "SELECT coalesce(sum(n), 0) FROM counts";

/// Sets up a connection that only reads.
pub(super) fn set_up_reader(connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(READER_STATEMENTS);
    keep_plans(connection)?;
    connection.busy_timeout(patience)?;
    connection.pragma_update(None, "query_only", true)
}

fn set_up(writer: &mut Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    use_write_ahead_log(writer)?;
    keep_plans(writer)?;
    writer.pragma_update(None, "synchronous", "full")?;
    writer.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    let pages = if options.wal_autocheckpoint == 0 { LOG_OF_ANOTHER } else { options.wal_autocheckpoint };
    writer.pragma_update(None, "wal_autocheckpoint", pages)?;
    // After a huge batch the log is cut back to this rather than kept at its longest.
    writer.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    migrations::migrate(writer)
}

fn state_of(writer: &Connection) -> rusqlite::Result<(i64, Generation)> {
    // Before anything is read that another process can change: what it changes later is seen by this number.
    let version = writer.pragma_query_value(None, "data_version", |row| row.get(0))?;
    let generation = writer.query_row(GENERATION, [], |row| row.get(0))?;
    Ok((version, Generation::new(generation)))
}

/// Has statements prepared once, whatever values they are given later.
///
/// SQLite would otherwise look at the values too, and prepare every statement with a `LIMIT` again each time it is run.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Switches the file to its write-ahead log, if it has none yet.
///
/// Two connections that switch a new file at once would wait for each other, so that SQLite turns one of them away
/// without any patience: that one tries again, and finds the file switched.
fn use_write_ahead_log(writer: &Connection) -> rusqlite::Result<()> {
    let begun = Instant::now();
    loop {
        match writer.pragma_update(None, "journal_mode", "wal") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && begun.elapsed() < WRITER_PATIENCE =>
            {
                thread::sleep(SWITCHING);
            }
            switched => return switched,
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, StorageError> {
    let unusable =
        |why: String| StorageError::Unusable(format!("{} cannot hold the database: {why}", path.display()));
    let Some(name) = path.file_name() else {
        return Err(unusable("it is no path to a file".to_owned()));
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .map_err(|e| unusable(format!("its folder could not be made ({e}): make it, or choose another")))?;
    // Absolute, so that SQLite takes no path for a URI, and readers find the same file wherever the process goes.
    let folder = fs::canonicalize(folder).map_err(|e| unusable(e.to_string()))?;
    if let Some(name) = network_filesystem_of(&folder) {
        return Err(unusable(format!(
            "its folder lies on a network filesystem ({name}), on which SQLite loses data: put it on a local disk"
        )));
    }
    Ok(folder.join(name))
}

pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> StorageError {
    let at = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StorageError::Unusable(format!(
            "{at} is not an SQLite database: move it away, or name another file"
        )),
        Some(ErrorCode::DatabaseCorrupt) => StorageError::Unusable(format!(
            "{at} is damaged ({error}): move it away, with the files beside it that begin with its name, and bring back a copy \
             of it, for example by `blobforge backup restore`"
        )),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            StorageError::Unusable(format!(
                "{at} cannot be opened for writing ({error}): it and its folder must be writable for this user"
            ))
        }
        _ => storage_error(error),
    }
}

fn check_library(number: i32, name: &str) -> Result<(), StorageError> {
    if number >= OLDEST_SQLITE {
        return Ok(());
    }
    Err(StorageError::Unusable(format!(
        "this program was linked with SQLite {name}, which can corrupt the database: build it with 3.51.3 or later, or with the `bundled` feature of rusqlite"
    )))
}

/// What can be seen of a file without changing it.
#[derive(Debug, Default)]
pub(super) struct Contents {
    application_id: i32,
    pub(super) version: i32,
    tables: Vec<String>,
}

/// Looks at one state of the file: another process may be making it.
pub(super) fn contents(connection: &Connection) -> rusqlite::Result<Contents> {
    let state = connection.unchecked_transaction()?;
    let application_id = state.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = migrations::version(&state)?;
    let mut names = state.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let tables = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(Contents { application_id, version, tables })
}

pub(super) fn check_contents(at: &str, found: &Contents) -> Result<(), StorageError> {
    let refuse = |why: String| Err(StorageError::Unusable(format!("{at} {why}")));
    let has = |name: &str| found.tables.iter().any(|table| table == name);
    if found.application_id == APPLICATION_ID {
        if found.version > migrations::latest() {
            return refuse(format!(
                "was written by a newer BlobForge (its version is {}, this program knows {}): install that one, or restore a backup made before the upgrade",
                found.version,
                migrations::latest()
            ));
        }
        return Ok(());
    }
    if found.application_id == 0 && found.tables.is_empty() {
        return Ok(());
    }
    if found.application_id == 0 && has("jobs") && has("api_tokens") {
        return refuse(
            "is the database of an earlier BlobForge, written in Go: this version cannot read it as it is; keep it, name another file, and bring the jobs over with `blobforge import`"
                .to_owned(),
        );
    }
    refuse("is the database of another program, and left as it is: name another file".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sqlite_that_corrupts_files_is_refused() {
        assert!(check_library(3_051_003, "3.51.3").is_ok());
        let refused = check_library(3_051_002, "3.51.2").unwrap_err();
        assert!(matches!(&refused, StorageError::Unusable(text) if text.contains("3.51.2")), "{refused}");
    }

    #[test]
    fn a_file_that_may_not_be_written_says_who_has_to_be_able_to() {
        use rusqlite::ffi;
        for code in
            [ffi::SQLITE_READONLY, ffi::SQLITE_READONLY_DIRECTORY, ffi::SQLITE_CANTOPEN, ffi::SQLITE_PERM]
        {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let refused = explain(Path::new("/forge/jobs.db"), &error);
            assert!(matches!(refused, StorageError::Unusable(_)) && !refused.is_retryable(), "{code}");
            let said = refused.to_string();
            assert!(said.contains("/forge/jobs.db") && said.contains("must be writable"), "{said}");
        }
    }

    #[test]
    fn the_library_in_use_is_new_enough() {
        assert!(check_library(rusqlite::version_number(), rusqlite::version()).is_ok());
    }

    #[test]
    fn a_log_that_another_program_looks_after_cannot_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { wal_autocheckpoint: 0, ..SqliteOptions::default() };
        let opened = open(&folder.path().join("jobs.db"), &options).unwrap();
        let pages: u32 =
            opened.writer.pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0)).unwrap();
        assert_eq!(u64::from(pages) * 4096, 256 << 20);
        assert!(opened.log_is_anothers);
    }
}
