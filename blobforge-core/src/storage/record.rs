//! What the embedding program keeps beside its jobs: records by collection and key, and logs.

use serde_json::Value;

/// A change to what the embedding program keeps beside its jobs.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::storage::{Command, RecordChange};
/// let log = |entry: &str| RecordChange::Append { log: "book".to_owned(), entry: entry.into(), keep: 2 };
/// let key = || ("accounts".to_owned(), "ann".to_owned());
/// let put = Command::PutRecord { collection: key().0, key: key().1, value: "may submit".into() };
/// queue.run(Command::Recorded { command: Some(Box::new(put)), records: vec![log("ann came")] }).await.unwrap();
/// let delete = RecordChange::Delete { collection: key().0, key: key().1 };
/// let records = vec![delete, log("ann went"), log("and locked the door")];
/// queue.run(Command::Recorded { command: None, records }).await.unwrap();
/// let newest_first = queue.storage().log("book", None, 10).await.unwrap();
/// assert_eq!(newest_first, [(3, "and locked the door".into()), (2, "ann went".into())], "two are kept");
/// assert_eq!(queue.storage().log("book", Some(3), 10).await.unwrap(), newest_first[1..]);
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordChange {
    /// Keep a record.
    Put {
        /// Its collection.
        collection: String,
        /// Its key.
        key: String,
        /// The record.
        value: Value,
    },
    /// Forget one, if it is there.
    Delete {
        /// Its collection.
        collection: String,
        /// Its key.
        key: String,
    },
    /// Write an entry at the end of a log, under the next number from 1 on. A log is a collection of its own, in which
    /// nothing is put.
    Append {
        /// Which log.
        log: String,
        /// The entry.
        entry: Value,
        /// How many entries are kept: the last ones.
        keep: u64,
    },
}

/// The key of an entry of a log: keys are in the order of the numbers.
pub(super) fn entry_key(number: u64) -> String {
    format!("{number:020}")
}

/// The number of the entry under this key.
pub(super) fn entry_number(key: &str) -> u64 {
    key.parse().unwrap_or(0)
}
