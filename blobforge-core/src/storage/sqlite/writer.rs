//! The one thread that writes.

use std::{sync::Arc, thread};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    failure::storage_error,
    rows::SqliteRows,
    statements::{Sql, Statements},
};
use crate::{
    Clock, Generation,
    storage::{Command, Committed, StorageError, execute::execute},
};

/// How many batches may wait for the writer; more wait with their callers.
const WAITING_BATCHES: usize = 16;

type Answer = Result<Committed, StorageError>;

/// The way to the thread that writes. Dropping it ends the thread after what was handed to it.
#[derive(Debug)]
pub(super) struct Writer {
    batches: Option<mpsc::Sender<Batch>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Batch {
    commands: Vec<Command>,
    answer: oneshot::Sender<Answer>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        connection: Connection,
        clock: Arc<dyn Clock>,
        generation: Generation,
    ) -> std::io::Result<Self> {
        let (batches, inbox) = mpsc::channel(WAITING_BATCHES);
        let name = "blobforge-sqlite".to_owned();
        let write = move || write(&connection, &*clock, generation, inbox);
        let thread = thread::Builder::new().name(name).spawn(write)?;
        Ok(Self { batches: Some(batches), thread: Some(thread) })
    }

    /// Has a batch committed. It still is when the caller stops waiting.
    pub(super) async fn commit(&self, commands: Vec<Command>) -> Answer {
        let Some(batches) = &self.batches else { return Err(StorageError::Closed) };
        let (answer, answered) = oneshot::channel();
        if batches.send(Batch { commands, answer }).await.is_err() {
            return Err(gone());
        }
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.batches = None;
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
    connection: &Connection,
    clock: &dyn Clock,
    generation: Generation,
    mut inbox: mpsc::Receiver<Batch>,
) {
    let sql = Statements::new(connection);
    let mut transactions = Transactions { sql, generation, broken: None };
    while let Some(Batch { commands, answer }) = inbox.blocking_recv() {
        // Who stopped waiting does not need the answer.
        let _ = answer.send(transactions.commit(clock, commands));
    }
}

struct Transactions<'c> {
    sql: Statements<'c>,
    generation: Generation,
    /// The error after which nothing is written any more.
    broken: Option<StorageError>,
}

impl Transactions<'_> {
    fn commit(&mut self, clock: &dyn Clock, commands: Vec<Command>) -> Answer {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        self.try_commit(clock, commands).map_err(|error| {
            let error = self.roll_back().map_or_else(|failed| failed, |()| storage_error(&error));
            if matches!(error, StorageError::Broken(_)) {
                self.broken = Some(error.clone());
            }
            error
        })
    }

    fn try_commit(&mut self, clock: &dyn Clock, commands: Vec<Command>) -> rusqlite::Result<Committed> {
        self.sql.get(Sql::Begin)?.execute([])?;
        // Read under the lock: a batch that had to wait for it must not be dated before the one it waited for.
        let now = clock.now();
        let mut rows = SqliteRows { sql: &mut self.sql, generation: self.generation };
        let committed = execute(&mut rows, now, commands)?;
        self.sql.get(Sql::Commit)?.execute([])?;
        Ok(committed)
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
