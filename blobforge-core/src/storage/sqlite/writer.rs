//! The one thread that writes.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    failure::storage_error,
    home::{self, Home, Mark},
    open::{Opened, WRITER_PATIENCE},
    place::Place,
    rows::SqliteRows,
    search,
    statements::{Sql, Statements},
};
use crate::{
    Clock, Generation,
    storage::{Command, Committed, StorageError, execute::execute},
};

/// How many requests may wait for the writer; more wait with their callers.
const WAITING_REQUESTS: usize = 16;

/// How many jobs are made findable by their texts in one go, while commits wait.
const TEXTS_AT_ONCE: usize = 200;
/// How often it is noted how far the file has come, while it goes on.
const TURN_EVERY: Duration = Duration::from_secs(10);

type Answer<T> = oneshot::Sender<Result<T, StorageError>>;

/// The way to the thread that writes. Dropping it ends the thread after what was handed to it.
#[derive(Debug)]
pub(super) struct Writer {
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<thread::JoinHandle<()>>,
    /// As the thread last read it.
    generation: Arc<AtomicU32>,
}

#[derive(Debug)]
enum Request {
    Commit(Vec<Command>, Answer<Committed>),
    ChangedElsewhere(Answer<bool>),
    Upkeep(Answer<bool>),
    Settle(Answer<()>),
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        opened: Opened,
        clock: Arc<dyn Clock>,
        statements: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel(WAITING_REQUESTS);
        let place = Place::of(&opened.path)?;
        let generation = Arc::new(AtomicU32::new(opened.generation.get()));
        let shown = generation.clone();
        let name = "blobforge-sqlite".to_owned();
        let write = move || write(&opened, &*clock, place, (&shown, &statements), inbox);
        let thread = thread::Builder::new().name(name).spawn(write)?;
        Ok(Self { requests: Some(requests), thread: Some(thread), generation })
    }

    /// Has a batch committed. It still is when the caller stops waiting.
    pub(super) async fn commit(&self, commands: Vec<Command>) -> Result<Committed, StorageError> {
        self.ask(|answer| Request::Commit(commands, answer)).await
    }

    /// Whether another connection has written since this was last asked.
    pub(super) async fn changed_elsewhere(&self) -> Result<bool, StorageError> {
        self.ask(Request::ChangedElsewhere).await
    }

    /// Has the index of texts brought a little further; whether there is more to do.
    pub(super) async fn upkeep(&self) -> Result<bool, StorageError> {
        self.ask(Request::Upkeep).await
    }

    /// Has all that was written put into the file itself.
    pub(super) async fn settle(&self) -> Result<(), StorageError> {
        self.ask(Request::Settle).await
    }

    pub(super) fn generation(&self) -> Generation {
        Generation::new(self.generation.load(Ordering::Relaxed))
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, StorageError> {
        let Some(requests) = &self.requests else { return Err(StorageError::Closed) };
        let (answer, answered) = oneshot::channel();
        if requests.send(request(answer)).await.is_err() {
            return Err(gone());
        }
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// How long readers are waited for at the end.
const WAIT_FOR_READERS: Duration = Duration::from_millis(500);

impl Drop for Writer {
    fn drop(&mut self) {
        self.requests = None;
        // The file is closed when this returns, so that whoever opens it next finds it whole.
        if let Some(Err(_)) = self.thread.take().map(thread::JoinHandle::join) {
            tracing::error!("the thread that writes the database panicked");
        }
    }
}

fn gone() -> StorageError {
    StorageError::Broken("the thread that writes it is gone".to_owned())
}

fn write(
    opened: &Opened,
    clock: &dyn Clock,
    place: Place,
    (generation, statements): (&AtomicU32, &AtomicU64),
    mut inbox: mpsc::Receiver<Request>,
) {
    let mut transactions = Transactions {
        sql: Statements::new(&opened.writer),
        place,
        home: &opened.home,
        turned_at: None,
        unturned: false,
        generation,
        statements,
        version: opened.version,
        changed: false,
        broken: None,
    };
    while let Some(request) = inbox.blocking_recv() {
        // Who stopped waiting does not need the answer.
        match request {
            Request::Commit(commands, answer) => drop(answer.send(transactions.commit(clock, commands))),
            Request::ChangedElsewhere(answer) => drop(answer.send(transactions.changed_elsewhere())),
            Request::Upkeep(answer) => drop(answer.send(transactions.upkeep())),
            Request::Settle(answer) => drop(answer.send(transactions.settle(opened))),
        }
    }
    // After an error on the disk nothing is touched any more.
    if let Err(error) = transactions.settle(opened) {
        tracing::debug!(%error, "what was written last stays in the log beside the file, where it is as safe");
    }
}

/// Leaves nothing in the log beside the file. The last connection that is closed would do so as well, but that may be a
/// reader's, which ends with the process.
fn put_into_one_file(connection: &Connection) -> rusqlite::Result<()> {
    // Who still reads is waited for, but not long: what is in the log is as safe there.
    connection.busy_timeout(WAIT_FOR_READERS)?;
    let put = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(WRITER_PATIENCE).and(put)
}

/// A turn of the mark of the file that was committed, and the uptime at which it began.
struct Turn {
    mark: Mark,
    at: Duration,
}

struct Transactions<'c> {
    sql: Statements<'c>,
    place: Place,
    home: &'c Home,
    /// The uptime at which it was last noted how far the file has come.
    turned_at: Option<Duration>,
    /// Whether it has come further since.
    unturned: bool,
    generation: &'c AtomicU32,
    /// Counts what is run.
    statements: &'c AtomicU64,
    /// SQLite's number for what other connections have written, as last read.
    version: i64,
    /// Others have written since somebody asked.
    changed: bool,
    /// The error after which nothing is written any more.
    broken: Option<StorageError>,
}

impl Transactions<'_> {
    fn commit(&mut self, clock: &dyn Clock, commands: Vec<Command>) -> Result<Committed, StorageError> {
        self.unless_broken(|this| {
            let committed = this.try_commit(clock, commands);
            let (committed, turn) = committed.map_err(|error| this.failed(&error))?;
            // Looked at last: what is acknowledged was in the file that the path names.
            this.place.check()?;
            if let Some(turn) = turn {
                this.note(&turn);
            }
            Ok(committed)
        })
    }

    fn upkeep(&mut self) -> Result<bool, StorageError> {
        self.unless_broken(|this| {
            this.place.check()?;
            this.try_upkeep().map_err(|error| this.failed(&error))
        })
    }

    fn try_upkeep(&mut self) -> rusqlite::Result<bool> {
        self.sql.get(Sql::Begin)?.execute([])?;
        let more = search::index(&mut self.sql, TEXTS_AT_ONCE)? || search::tidy(&mut self.sql)?;
        self.sql.get(Sql::Commit)?.execute([])?;
        Ok(more)
    }

    fn settle(&mut self, opened: &Opened) -> Result<(), StorageError> {
        self.unless_broken(|this| {
            this.turn_at_the_end();
            // Where somebody else looks after the log, it is left alone.
            if opened.log_is_anothers {
                return Ok(());
            }
            put_into_one_file(&opened.writer).map_err(|error| storage_error(&error))
        })
    }

    fn changed_elsewhere(&mut self) -> Result<bool, StorageError> {
        self.unless_broken(|this| {
            this.place.check()?;
            this.look_elsewhere().map_err(|error| storage_error(&error))?;
            Ok(std::mem::take(&mut this.changed))
        })
    }

    /// Does nothing any more after an error that makes what is there doubtful.
    fn unless_broken<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let acted = act(self).inspect_err(|error| {
            if matches!(error, StorageError::Broken(_)) {
                self.broken = Some(error.clone());
            }
        });
        self.statements.fetch_add(std::mem::take(&mut self.sql.asked_for), Ordering::Relaxed);
        acted
    }

    fn try_commit(
        &mut self,
        clock: &dyn Clock,
        commands: Vec<Command>,
    ) -> rusqlite::Result<(Committed, Option<Turn>)> {
        self.sql.get(Sql::Begin)?.execute([])?;
        self.look_elsewhere()?;
        // Read under the lock: a batch that had to wait for it must not be dated before the one it waited for.
        let now = clock.now();
        let generation = Generation::new(self.generation.load(Ordering::Relaxed));
        let changes = self.sql.connection().total_changes();
        let mut rows = SqliteRows { sql: &mut self.sql, generation };
        let committed = execute(&mut rows, now, commands)?;
        let begun = clock.uptime();
        let changed = self.sql.connection().total_changes() != changes;
        let turn = if changed { self.turn(begun)? } else { None };
        self.sql.get(Sql::Commit)?.execute([])?;
        self.unturned |= changed && turn.is_none();
        let flush = Some(clock.uptime().saturating_sub(begun));
        Ok((Committed { flush, ..committed }, turn))
    }

    /// Goes on by a turn, if the last one is over.
    fn turn(&mut self, uptime: Duration) -> rusqlite::Result<Option<Turn>> {
        let is_over = self.turned_at.is_none_or(|at| uptime.saturating_sub(at) >= TURN_EVERY);
        let mark = if is_over { home::turn(&mut self.sql)? } else { None };
        Ok(mark.map(|mark| Turn { mark, at: uptime }))
    }

    /// Notes a turn that was committed, in the file that lies where it should.
    fn note(&mut self, turn: &Turn) {
        self.home.note(&turn.mark);
        (self.turned_at, self.unturned) = (Some(turn.at), false);
    }

    /// Notes how far the file has come at last, so that every copy that was made until now is told from it.
    fn turn_at_the_end(&mut self) {
        if self.unturned
            && self.place.check().is_ok()
            && let Ok(Some(mark)) = home::turn(&mut self.sql)
        {
            self.home.note(&mark);
            self.unturned = false;
        }
    }

    /// Whether others have written; then the generation may be another one.
    fn look_elsewhere(&mut self) -> rusqlite::Result<()> {
        let version = self.sql.get(Sql::DataVersion)?.query_row([], |row| row.get(0))?;
        if std::mem::replace(&mut self.version, version) == version {
            return Ok(());
        }
        self.changed = true;
        let generation = self.sql.get(Sql::Generation)?.query_row([], |row| row.get(0))?;
        self.generation.store(generation, Ordering::Relaxed);
        Ok(())
    }

    /// What an error comes to, once the transaction that it ended is rolled back.
    fn failed(&mut self, error: &rusqlite::Error) -> StorageError {
        self.roll_back().err().unwrap_or_else(|| storage_error(error))
    }

    fn roll_back(&mut self) -> Result<(), StorageError> {
        // Some errors, a full disk among them, have rolled back already.
        if self.sql.connection().is_autocommit() {
            return Ok(());
        }
        let rolled_back = self.sql.get(Sql::Rollback).and_then(|rollback| rollback.execute([]));
        rolled_back.map(|_| ()).map_err(|e| StorageError::Broken(format!("a rollback failed: {e}")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, path::Path};

    use rusqlite::OpenFlags;

    use super::*;
    use crate::{JobType, SystemClock, storage::sqlite::open};

    fn pause() -> Vec<Command> {
        vec![Command::SetPaused(JobType::new("pdf").unwrap(), true)]
    }

    /// A good file, and a connection to it that may not write.
    fn read_only(path: &Path) -> Opened {
        let opened = open::open(path, &Default::default()).unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Opened { writer: Connection::open_with_flags(path, flags).unwrap(), ..opened }
    }

    #[tokio::test]
    async fn a_store_that_goes_read_only_writes_nothing_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        let opened = read_only(&path);
        let before = fs::read(&path).unwrap();
        let writer = Writer::start(opened, Arc::new(SystemClock), Arc::default()).unwrap();
        let refused = writer.commit(pause()).await.unwrap_err();
        assert!(matches!(&refused, StorageError::Broken(why) if why.contains("readonly")), "{refused}");
        let again = writer.commit(pause()).await.unwrap_err();
        assert_eq!(again.to_string(), refused.to_string(), "and it stays so");
        assert_eq!(fs::read(&path).unwrap(), before);
        let reader = Connection::open(&path).unwrap();
        let types: Option<i64> =
            reader.query_row("SELECT max(paused) FROM types", [], |row| row.get(0)).unwrap();
        assert_eq!(types, None, "whoever reads finds what was there");
    }
}
