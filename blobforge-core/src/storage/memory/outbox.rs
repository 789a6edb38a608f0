//! The outbox, in memory.

use std::{collections::BTreeMap, convert::Infallible};

use super::MemoryRows;
use crate::{Message, Subscriber, Timestamp, storage::rows::OutboxRows};

/// Who is told of ends, and what is still to be told, with when that is due.
#[derive(Debug, Default)]
pub(super) struct MemoryOutbox {
    subscribers: BTreeMap<String, Subscriber>,
    messages: BTreeMap<u64, (Timestamp, Message)>,
    last_number: u64,
}

impl MemoryOutbox {
    /// All subscribers, by name.
    pub(super) fn subscribers(&self) -> Vec<Subscriber> {
        self.subscribers.values().cloned().collect()
    }

    /// When the first message is due.
    pub(super) fn next_message(&self) -> Option<Timestamp> {
        self.messages.values().map(|(due_at, _)| *due_at).min()
    }
}

impl OutboxRows for MemoryRows {
    fn subscribers(&mut self) -> Result<Vec<Subscriber>, Infallible> {
        Ok(self.outbox.subscribers())
    }

    fn put_subscriber(&mut self, subscriber: &Subscriber) -> Result<(), Infallible> {
        self.outbox.subscribers.insert(subscriber.name.clone(), subscriber.clone());
        Ok(())
    }

    fn delete_subscriber(&mut self, name: &str) -> Result<(), Infallible> {
        self.outbox.subscribers.remove(name);
        Ok(())
    }

    fn insert_message(&mut self, message: &Message, due_at: Timestamp) -> Result<(), Infallible> {
        let number = self.outbox.last_number + 1;
        self.put_message(&Message { number, ..message.clone() }, due_at)
    }

    fn put_message(&mut self, message: &Message, due_at: Timestamp) -> Result<(), Infallible> {
        self.outbox.last_number = self.outbox.last_number.max(message.number);
        self.outbox.messages.insert(message.number, (due_at, message.clone()));
        Ok(())
    }

    fn message(&mut self, number: u64) -> Result<Option<Message>, Infallible> {
        Ok(self.outbox.messages.get(&number).map(|(_, message)| message.clone()))
    }

    fn delete_message(&mut self, number: u64) -> Result<(), Infallible> {
        self.outbox.messages.remove(&number);
        Ok(())
    }

    fn due_messages(&mut self, until: Timestamp, limit: usize) -> Result<Vec<Message>, Infallible> {
        let mut due: Vec<_> = self.outbox.messages.values().filter(|(at, _)| *at <= until).collect();
        due.sort_by_key(|(at, message)| (*at, message.number));
        Ok(due.into_iter().take(limit).map(|(_, message)| message.clone()).collect())
    }

    fn due_numbers(&mut self, until: Timestamp, limit: usize) -> Result<Vec<u64>, Infallible> {
        let due = self.due_messages(until, limit)?;
        Ok(due.into_iter().map(|message| message.number).collect())
    }

    fn hasten_messages(&mut self, at: Timestamp) -> Result<usize, Infallible> {
        let later = self.outbox.messages.values_mut().filter(|(due_at, _)| *due_at > at);
        Ok(later.map(|(due_at, _)| *due_at = at).count())
    }
}
