//! Which files are being written at this moment.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::problem::Problem;

/// The keys of the files that are on their way in. A file is written by one request at a time, and nothing is decided
/// about a file while it is: otherwise a late upload could replace what was checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    held: Mutex<BTreeMap<String, For>>,
    /// A look has ended.
    looked: Notify,
}

/// What a key is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// Its file is being written, or what its writer says of it is being checked.
    Writer,
    /// Somebody looks whether its file has come, which takes a moment.
    Look,
}

/// Holds a key until it is dropped.
#[derive(Debug)]
pub(crate) struct Arrival {
    arrivals: Arrivals,
    key: String,
}

impl Arrivals {
    /// Reserves a key for one request. A look at it is waited for: whoever sends a file is not refused because of that.
    pub(crate) async fn begin(&self, key: &str) -> Result<Arrival, Problem> {
        loop {
            let looked = self.0.looked.notified();
            match self.hold(key, For::Writer) {
                Ok(arrival) => return Ok(arrival),
                Err(For::Writer) => return Err(in_progress()),
                Err(For::Look) => looked.await,
            }
        }
    }

    /// Reserves a key for a look, if nobody else has it.
    pub(crate) fn look(&self, key: &str) -> Option<Arrival> {
        self.hold(key, For::Look).ok()
    }

    fn hold(&self, key: &str, what: For) -> Result<Arrival, For> {
        match self.held().entry(key.to_owned()) {
            Entry::Occupied(held) => Err(*held.get()),
            Entry::Vacant(free) => {
                free.insert(what);
                Ok(Arrival { arrivals: self.clone(), key: key.to_owned() })
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, For>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.arrivals.held().remove(&self.key) == Some(For::Look) {
            self.arrivals.0.looked.notify_waiters();
        }
    }
}

fn in_progress() -> Problem {
    Problem::conflict("upload_in_progress", "this file is being sent at this moment")
        .hint("wait for that upload to end")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_writer_waits_for_a_look_and_no_second_writer_is_let_in() {
        let arrivals = Arrivals::default();
        let look = arrivals.look("a").unwrap();
        let mut writer = Box::pin(arrivals.begin("a"));
        assert!(futures_util::poll!(&mut writer).is_pending());
        drop(look);
        let writing = writer.await.unwrap();
        assert!(arrivals.look("a").is_none() && arrivals.begin("a").await.is_err());
        drop(writing);
        assert!(arrivals.begin("a").await.is_ok());
    }
}
