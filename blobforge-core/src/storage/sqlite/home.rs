//! Whether a file was last open here, or came back from a backup.
//!
//! A copy of a database does not know that it is one: the leases in it look as good as ever, and the ids that it would give out
//! next may have been given out already. So each file bears a mark, and the same mark lies in a small file beside it, which
//! Litestream and whoever else copies only the database leaves out. The mark has a turn that goes on with the commits, so that an
//! earlier state of the same file is told as well, and the number of the file on its disk, so that a whole folder that was
//! copied along with both is.
//!
//! Where they disagree the database was restored, and what a restore asks for is done in the transaction that gives it a
//! new mark. What is broken off is done again, and what was done is not done twice: the new mark lies beside the
//! file first, and the two agree from the commit on.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::{
    copying::beside,
    filesystem::keeps_numbers,
    open::explain,
    rows::SqliteRows,
    statements::{Sql, Statements},
};
use crate::{
    Clock, Generation,
    storage::{StorageError, execute},
};

/// How the file beside a database is called, behind the name of that.
const ENDING: &str = "-home";
/// What is written behind the mark, for people who find the file.
const NOTE: &str = "BlobForge tells by this file that the database beside it was not restored from a backup since. \
                    Leave it out of copies.\n";

/// What a file and the one beside it have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    home: String,
    turn: u64,
}

/// What lies beside a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Beside {
    mark: Mark,
    /// The number of the file on its disk, where such numbers last.
    number: Option<u64>,
}

/// What a file is that is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It was last open here.
    Here,
    /// It never had a mark.
    New,
    /// It came back from a backup.
    Restored,
}

/// What a restore did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restored {
    pub(super) generation: Generation,
}

/// A file, and where the one beside it lies.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    beside: PathBuf,
    number: Option<u64>,
}

impl Home {
    /// That of a file which is there.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        // Beside the file itself, by whatever link it is opened.
        let path = fs::canonicalize(path)?;
        Ok(Self { beside: beside(&path, ENDING), number: number_of(&path)?, path })
    }

    /// Compares the marks, and does what a restore asks for if they disagree or if it is `asked` for.
    pub(super) fn settle(
        &self,
        writer: &mut Connection,
        clock: &dyn Clock,
        asked: bool,
    ) -> Result<Option<Restored>, StorageError> {
        let failed = |error: rusqlite::Error| explain(&self.path, &error);
        if !asked && self.look(writer)? == Found::Here {
            return Ok(None);
        }
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        // Looked at again under the lock: another process may have settled it meanwhile.
        match if asked { Found::Restored } else { self.look(&transaction)? } {
            Found::Here => Ok(None),
            Found::Restored => self.mark_anew(transaction, |within| restore(within, clock)).map(Some),
            Found::New => {
                // What is there can be read on a full disk, too; the next one who opens it tries again.
                if let Err(error) = self.mark_anew(transaction, |_| Ok(())) {
                    tracing::warn!(%error, "this database has no mark yet: a restore may go unnoticed");
                }
                Ok(None)
            }
        }
    }

    /// Gives the file a new mark in the transaction in which something else is done, too.
    fn mark_anew<T>(
        &self,
        transaction: Transaction<'_>,
        act: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StorageError> {
        let failed = |error: rusqlite::Error| explain(&self.path, &error);
        let home = transaction.query_row(DRAW, [], |row| row.get(0)).map_err(failed)?;
        let first = Mark { home, turn: 0 };
        self.write(&first).map_err(|error| self.unusable(&error))?;
        let mark = Mark { turn: 1, ..first };
        put(&transaction, &mark).map_err(failed)?;
        let done = act(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        self.note(&mark);
        Ok(done)
    }

    fn look(&self, connection: &Connection) -> Result<Found, StorageError> {
        let failed = |error: rusqlite::Error| explain(&self.path, &error);
        let stored = connection.query_row(STORED, [], |row| {
            let home: Option<String> = row.get(0)?;
            let turn: Option<i64> = row.get(1)?;
            Ok(home.map(|home| Mark { home, turn: turn.unwrap_or(0).cast_unsigned() }))
        });
        let has_had_jobs = connection.query_row(HAS_HAD_JOBS, [], |row| row.get(0)).map_err(failed)?;
        let beside = self.read().map_err(|error| self.unreadable(&error))?;
        Ok(judge(stored.map_err(failed)?.as_ref(), beside.as_ref(), self.number, has_had_jobs))
    }

    /// Notes how far the file has come. It may have come further: then less is noticed of what is lost, but nothing is
    /// noticed that did not happen.
    pub(super) fn note(&self, mark: &Mark) {
        // In place, since no program that is killed leaves so little half written, and who is not killed has it on the disk
        // some time.
        let noted = match File::options().write(true).open(&self.beside) {
            Ok(mut file) => file.write_all(self.line(mark).as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.write(mark),
            Err(error) => Err(error),
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "{} cannot be written: a restore may go unnoticed", self.beside.display());
        }
    }

    /// Puts a mark beside the file, whole or not at all, and for good.
    fn write(&self, mark: &Mark) -> io::Result<()> {
        let mut draft = self.beside.clone().into_os_string();
        draft.push("-new");
        let mut file = File::create(&draft)?;
        file.write_all(self.line(mark).as_bytes())?;
        file.write_all(NOTE.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &self.beside)?;
        sync_folder_of(&self.beside)
    }

    /// A mark as it is written: always as long.
    fn line(&self, mark: &Mark) -> String {
        format!("{} {:020} {:020}\n", mark.home, mark.turn, self.number.unwrap_or(0))
    }

    /// What lies beside the file, if anything does that makes sense.
    fn read(&self) -> io::Result<Option<Beside>> {
        match fs::read(&self.beside) {
            Ok(text) => Ok(Self::parse(&String::from_utf8_lossy(&text))),
            // Whatever else keeps it from being read is no restore.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Option<Beside> {
        let mut words = text.lines().next()?.split(' ');
        let (home, turn, number) = (words.next()?, words.next()?, words.next()?);
        let number = number.parse().ok()?;
        let mark = Mark { home: home.to_owned(), turn: turn.parse().ok()? };
        Some(Beside { mark, number: (number != 0).then_some(number) })
    }

    fn unreadable(&self, error: &io::Error) -> StorageError {
        let beside = self.beside.display();
        StorageError::Unusable(format!(
            "{beside} cannot be read ({error}): it tells whether this database was restored from a backup; let this user read it"
        ))
    }

    fn unusable(&self, error: &io::Error) -> StorageError {
        let beside = self.beside.display();
        StorageError::Unusable(format!(
            "{beside} cannot be written ({error}): without it a restored database is not told from one that was not; the \
             folder must be writable for this user, and its disk must have room"
        ))
    }
}

const DRAW: &str = "SELECT lower(hex(randomblob(16)))";
const STORED: &str =
    "SELECT (SELECT value FROM meta WHERE key = 'home'), (SELECT value FROM meta WHERE key = 'turn')";
const HAS_HAD_JOBS: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'jobs')";

fn judge(stored: Option<&Mark>, beside: Option<&Beside>, number: Option<u64>, has_had_jobs: bool) -> Found {
    match (stored, beside) {
        // A copy from before files had marks, in the place of one that had one. What has no jobs is a new file.
        (None, Some(beside)) if beside.mark.turn > 0 && has_had_jobs => Found::Restored,
        (None, _) => Found::New,
        (Some(stored), Some(Beside { mark, number: noted })) => {
            let same_file = number.is_none() || noted.is_none() || number == *noted;
            let here = stored.home == mark.home && mark.turn <= stored.turn && same_file;
            if here { Found::Here } else { Found::Restored }
        }
        (Some(_), None) => Found::Restored,
    }
}

fn put(transaction: &Transaction<'_>, mark: &Mark) -> rusqlite::Result<()> {
    let put = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
    transaction.execute(put, ("home", &mark.home))?;
    transaction.execute(put, ("turn", mark.turn.cast_signed()))?;
    Ok(())
}

fn restore(transaction: &Transaction<'_>, clock: &dyn Clock) -> rusqlite::Result<Restored> {
    let mut sql = Statements::new(transaction);
    let generation = sql.get(Sql::Generation)?.query_row([], |row| row.get(0))?;
    let mut rows = SqliteRows { sql: &mut sql, generation: Generation::new(generation) };
    let (generation, voided) = execute::restored(&mut rows, clock.now())?;
    tracing::warn!(
        generation = generation.get(),
        "this database was restored from a backup: {voided} jobs that ran wait again, and older leases count for nothing"
    );
    Ok(Restored { generation })
}

/// Goes on by a turn, in a transaction that changes something.
pub(super) fn turn(sql: &mut Statements<'_>) -> rusqlite::Result<Option<Mark>> {
    let turned = sql
        .get(Sql::Turn)?
        .query_row([], |row| Ok(Mark { turn: row.get::<_, i64>(0)?.cast_unsigned(), home: row.get(1)? }));
    turned.optional()
}

/// Notes beside the place of a database which is not there yet that whatever comes there came back from a backup.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let (path, backup) = (folder.path().join("queue.db"), folder.path().join("backup.db"));
/// use blobforge_core::{Generation, NewJob, Queue, storage::{Storage, sqlite::{SqliteStorage, note_restore}}};
/// # let queue = Queue::builder().open(&backup).await.unwrap();
/// # queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
/// # queue.close().await;
/// # drop(queue);
/// note_restore(&path).unwrap();
/// std::fs::copy(backup, &path).unwrap();
/// let storage = SqliteStorage::open(&path, Default::default()).await.unwrap();
/// assert!(storage.came_back());
/// assert!(storage.generation() > Generation::new(1), "older leases count for nothing");
/// # });
/// ```
///
/// # Errors
/// When the note cannot be written.
pub fn note_restore(path: &Path) -> io::Result<()> {
    let home = Home { path: path.to_owned(), beside: beside(path, ENDING), number: None };
    home.write(&Mark { home: "restored".to_owned(), turn: 1 })
}

/// The number of a file on its disk, and when it was made: the number alone is given to another file once this one is gone.
#[cfg(unix)]
fn number_of(path: &Path) -> io::Result<Option<u64>> {
    use std::os::unix::fs::MetadataExt;
    let file = fs::metadata(path)?;
    let made = file.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let made =
        made.map_or(0, |at| at.as_secs().wrapping_mul(1_000_000_000).wrapping_add(at.subsec_nanos().into()));
    let number = file.ino().rotate_left(32) ^ made;
    Ok(path.parent().filter(|folder| keeps_numbers(folder)).map(|_| number.max(1)))
}

#[cfg(not(unix))]
fn number_of(_: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(unix)]
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Elsewhere a folder cannot be opened, nor need it.
#[cfg(not(unix))]
pub(super) fn sync_folder_of(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mark(home: &str, turn: u64) -> Mark {
        Mark { home: home.to_owned(), turn }
    }

    #[test]
    fn a_file_is_here_if_nothing_disagrees() {
        let beside = |home: &str, turn, number| Some(Beside { mark: mark(home, turn), number });
        let judged = |stored: Option<Mark>, beside: Option<Beside>, number, jobs| {
            judge(stored.as_ref(), beside.as_ref(), number, jobs)
        };
        let rows = [
            ("new", None, None, Some(1), false, Found::New),
            ("of an earlier program", None, None, Some(1), true, Found::New),
            (
                "broken off while it got its first mark",
                None,
                beside("a", 0, Some(1)),
                Some(1),
                true,
                Found::New,
            ),
            ("new, where another one was", None, beside("a", 5, Some(1)), Some(2), false, Found::New),
            (
                "a copy from before there were marks",
                None,
                beside("a", 5, Some(1)),
                Some(1),
                true,
                Found::Restored,
            ),
            ("as it was left", Some(mark("a", 5)), beside("a", 5, Some(1)), Some(1), true, Found::Here),
            (
                "killed before it was noted",
                Some(mark("a", 6)),
                beside("a", 5, Some(1)),
                Some(1),
                true,
                Found::Here,
            ),
            ("an earlier state", Some(mark("a", 4)), beside("a", 5, Some(1)), Some(1), true, Found::Restored),
            ("restored elsewhere", Some(mark("a", 5)), None, Some(1), true, Found::Restored),
            (
                "another one's place",
                Some(mark("b", 5)),
                beside("a", 5, Some(1)),
                Some(1),
                true,
                Found::Restored,
            ),
            (
                "a folder copied whole",
                Some(mark("a", 5)),
                beside("a", 5, Some(1)),
                Some(2),
                true,
                Found::Restored,
            ),
            (
                "where numbers do not last",
                Some(mark("a", 5)),
                beside("a", 5, Some(1)),
                None,
                true,
                Found::Here,
            ),
            ("moved from there", Some(mark("a", 5)), beside("a", 5, None), Some(2), true, Found::Here),
        ];
        for (what, stored, beside, number, jobs, found) in rows {
            assert_eq!(judged(stored, beside, number, jobs), found, "{what}");
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_and_goes_on_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let home = Home { beside: beside(&path, ENDING), path, number: Some(u64::MAX) };
        assert_eq!(home.read().unwrap(), None);
        let name = "0123456789abcdef0123456789abcdef";
        home.write(&mark(name, 0)).unwrap();
        let length = fs::metadata(&home.beside).unwrap().len();
        home.note(&mark(name, u64::MAX));
        assert_eq!(home.read().unwrap(), Some(Beside { mark: mark(name, u64::MAX), number: Some(u64::MAX) }));
        assert_eq!(fs::metadata(&home.beside).unwrap().len(), length, "it was overwritten in place");
        assert!(fs::read_to_string(&home.beside).unwrap().ends_with(NOTE));
        fs::write(&home.beside, "what is this").unwrap();
        assert_eq!(home.read().unwrap(), None);
        fs::remove_file(&home.beside).unwrap();
        fs::create_dir(&home.beside).unwrap();
        assert!(home.read().is_err(), "what cannot be read says nothing");
    }

    fn opened(path: &Path) -> (Connection, Home) {
        let opened = crate::storage::sqlite::open::open(path, &Default::default()).unwrap();
        (opened.writer, opened.home)
    }

    #[test]
    fn what_is_broken_off_is_done_again_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db");
        let (mut writer, home) = opened(&path);
        let generation = |writer: &Connection| -> u32 {
            writer.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0)).unwrap()
        };
        let broken_off = |writer: &mut Connection| {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
            let done = home.mark_anew(transaction, |within| {
                restore(within, &crate::SystemClock)?;
                Err::<(), _>(rusqlite::Error::InvalidQuery)
            });
            assert!(done.is_err());
        };
        broken_off(&mut writer);
        broken_off(&mut writer);
        assert_eq!(generation(&writer), 1, "nothing was committed");
        let settle = |writer: &mut Connection| home.settle(writer, &crate::SystemClock, false).unwrap();
        assert!(settle(&mut writer).is_some(), "the next one who opens it does it");
        // Killed behind the commit, before that was noted.
        let marked = home.read().unwrap().unwrap().mark;
        home.note(&Mark { turn: 0, ..marked });
        let restored = generation(&writer);
        assert!(restored > 1);
        assert_eq!((settle(&mut writer), generation(&writer)), (None, restored));
    }

    #[test]
    fn a_folder_that_was_copied_whole_is_told_where_files_keep_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        drop(opened(&from.join("jobs.db")));
        fs::create_dir(&to).unwrap();
        for name in ["jobs.db", "jobs.db-home"] {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
        let copied = crate::storage::sqlite::open::open(&to.join("jobs.db"), &Default::default()).unwrap();
        assert_eq!(copied.restored.is_some(), keeps_numbers(folder.path()));
        drop(copied);
        // Put back where the first one was: files may get the numbers of those that are gone.
        fs::remove_dir_all(&from).unwrap();
        fs::create_dir(&from).unwrap();
        for name in ["jobs.db", "jobs.db-home"] {
            fs::copy(to.join(name), from.join(name)).unwrap();
        }
        let back = crate::storage::sqlite::open::open(&from.join("jobs.db"), &Default::default()).unwrap();
        assert_eq!(back.restored.is_some(), keeps_numbers(folder.path()));
    }
}
