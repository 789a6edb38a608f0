//! The rows of the outbox: who is told of ends, and what is still to be told.

use super::LaneRows;
use crate::{Message, Subscriber, Timestamp};

/// Subscribers, and the messages that are not settled.
pub(in crate::storage) trait OutboxRows: LaneRows {
    /// All of them, by name.
    fn subscribers(&mut self) -> Result<Vec<Subscriber>, Self::Error>;
    /// Inserts or replaces.
    fn put_subscriber(&mut self, subscriber: &Subscriber) -> Result<(), Self::Error>;
    fn delete_subscriber(&mut self, name: &str) -> Result<(), Self::Error>;

    /// Inserts a message under a number that no message ever had; its own is ignored.
    fn insert_message(&mut self, message: &Message, due_at: Timestamp) -> Result<(), Self::Error>;
    /// Inserts or replaces one under its own number.
    fn put_message(&mut self, message: &Message, due_at: Timestamp) -> Result<(), Self::Error>;
    fn message(&mut self, number: u64) -> Result<Option<Message>, Self::Error>;
    fn delete_message(&mut self, number: u64) -> Result<(), Self::Error>;
    /// Those due up to `until`, the earliest first.
    fn due_messages(&mut self, until: Timestamp, limit: usize) -> Result<Vec<Message>, Self::Error>;
    /// The numbers of those due up to `until`, the earliest first: also of those that cannot be read.
    fn due_numbers(&mut self, until: Timestamp, limit: usize) -> Result<Vec<u64>, Self::Error>;
    /// Makes all of them that are due later due at `at`; says how many.
    fn hasten_messages(&mut self, at: Timestamp) -> Result<usize, Self::Error>;
}
