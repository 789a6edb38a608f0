//! Which files are being written at this moment.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::problem::Problem;

/// The keys of the files that are on their way in. A file is written by one request at a time, and nothing is decided
/// about a file while it is: otherwise a late upload could replace what was checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrivals(Arc<Mutex<BTreeSet<String>>>);

/// Holds a key until it is dropped, with the request that writes the file.
#[derive(Debug)]
pub(crate) struct Arrival {
    arrivals: Arrivals,
    key: String,
}

impl Arrivals {
    /// Reserves a key for one request.
    pub(crate) fn begin(&self, key: &str) -> Result<Arrival, Problem> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned()) {
            Ok(Arrival { arrivals: self.clone(), key: key.to_owned() })
        } else {
            Err(in_progress())
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.arrivals.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn in_progress() -> Problem {
    Problem::conflict("upload_in_progress", "this file is being sent at this moment")
        .hint("wait for that upload to end")
}
