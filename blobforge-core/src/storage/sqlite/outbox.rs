//! The outbox, in SQLite.

use rusqlite::{OptionalExtension, Row, params};

use super::{
    columns::{Columns, status, status_code},
    reads::Snapshot,
    rows::{SqliteRows, rows},
    statements::Sql,
};
use crate::{
    Ends, Epoch, Generation, JobId, JobType, Message, Recipient, Subscriber, Timestamp,
    storage::rows::OutboxRows,
};

/// What each end counts in `ends`.
const COMPLETED: u8 = 1;
const FAILED: u8 = 2;
const CANCELLED: u8 = 4;

/// All subscribers, by name.
pub(super) fn subscribers(snapshot: &Snapshot<'_>) -> rusqlite::Result<Vec<Subscriber>> {
    snapshot.prepare_cached(Sql::Subscribers.text())?.query_map([], subscriber)?.collect()
}

/// When the first message is due.
pub(super) fn next_message(snapshot: &Snapshot<'_>) -> rusqlite::Result<Option<Timestamp>> {
    let next = snapshot.prepare_cached(Sql::NextMessage.text())?.query_row([], |row| row.get(0))?;
    Ok(Option::map(next, Timestamp::from_millis))
}

impl OutboxRows for SqliteRows<'_, '_> {
    fn subscribers(&mut self) -> rusqlite::Result<Vec<Subscriber>> {
        self.sql.get(Sql::Subscribers)?.query_map([], subscriber)?.collect()
    }

    fn put_subscriber(&mut self, subscriber: &Subscriber) -> rusqlite::Result<()> {
        let Subscriber { name, job_type, ends } = subscriber;
        let row = params![name, job_type.as_ref().map(JobType::as_str), ends_code(*ends)];
        self.sql.get(Sql::PutSubscriber)?.execute(row)?;
        Ok(())
    }

    fn delete_subscriber(&mut self, name: &str) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteSubscriber)?.execute([name])?;
        Ok(())
    }

    fn insert_message(&mut self, message: &Message, due_at: Timestamp) -> rusqlite::Result<()> {
        self.write(None, message, due_at)
    }

    fn put_message(&mut self, message: &Message, due_at: Timestamp) -> rusqlite::Result<()> {
        self.write(Some(message.number.cast_signed()), message, due_at)
    }

    fn message(&mut self, number: u64) -> rusqlite::Result<Option<Message>> {
        self.sql.get(Sql::Message)?.query_row([number.cast_signed()], message).optional()
    }

    fn delete_message(&mut self, number: u64) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteMessage)?.execute([number.cast_signed()])?;
        Ok(())
    }

    fn due_messages(&mut self, until: Timestamp, limit: usize) -> rusqlite::Result<Vec<Message>> {
        let params = params![until.as_millis(), rows(limit)];
        self.sql.get(Sql::DueMessages)?.query_map(params, message)?.collect()
    }

    fn due_numbers(&mut self, until: Timestamp, limit: usize) -> rusqlite::Result<Vec<u64>> {
        let number = |row: &Row<'_>| row.get(0).map(i64::cast_unsigned);
        self.sql.get(Sql::DueNumbers)?.query_map(params![until.as_millis(), rows(limit)], number)?.collect()
    }

    fn hasten_messages(&mut self, at: Timestamp) -> rusqlite::Result<usize> {
        self.sql.get(Sql::HastenMessages)?.execute([at.as_millis()])
    }
}

impl SqliteRows<'_, '_> {
    /// Writes a message under a number, or under the next one.
    fn write(&mut self, number: Option<i64>, message: &Message, due_at: Timestamp) -> rusqlite::Result<()> {
        let (subscriber, address) = match &message.to {
            Recipient::Subscriber(name) => (Some(name), None),
            Recipient::Address(to) => (None, Some(to)),
        };
        self.sql.get(Sql::PutMessage)?.execute(params![
            number,
            message.generation.get(),
            subscriber,
            address,
            message.job.get(),
            message.job_type.as_str(),
            status_code(message.status),
            message.epoch.get(),
            message.ended_at.as_millis(),
            message.tries,
            due_at.as_millis(),
        ])?;
        Ok(())
    }
}

fn subscriber(row: &Row<'_>) -> rusqlite::Result<Subscriber> {
    let mut c = Columns::of(row);
    Ok(Subscriber {
        name: c.take()?,
        job_type: c.checked(|name: Option<String>| name.map(JobType::new).transpose())?,
        ends: ends_of(c.take()?),
    })
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    let mut c = Columns::of(row);
    let number = c.take::<i64>()?.cast_unsigned();
    let generation = Generation::new(c.take()?);
    let subscriber: Option<String> = c.take()?;
    let to = c.checked(|address: Option<String>| match (subscriber, address) {
        (Some(name), None) => Ok(Recipient::Subscriber(name)),
        (None, Some(to)) => Ok(Recipient::Address(to)),
        _ => Err("a message is for a subscriber or for an address".to_owned()),
    })?;
    Ok(Message {
        number,
        generation,
        to,
        job: JobId::new(c.take()?),
        job_type: c.checked(|name: String| JobType::new(name))?,
        status: c.checked(status)?,
        epoch: Epoch::new(c.take()?),
        ended_at: Timestamp::from_millis(c.take()?),
        tries: c.take()?,
    })
}

fn ends_code(ends: Ends) -> u8 {
    let code = |is_wanted: bool, code: u8| if is_wanted { code } else { 0 };
    code(ends.completed, COMPLETED) | code(ends.failed, FAILED) | code(ends.cancelled, CANCELLED)
}

fn ends_of(code: u8) -> Ends {
    let has = |wanted: u8| code & wanted != 0;
    Ends { completed: has(COMPLETED), failed: has(FAILED), cancelled: has(CANCELLED) }
}
