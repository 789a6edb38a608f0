//! How many event streams are open, and whose.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use poem::http::StatusCode;

use crate::problem::Problem;

/// The streams that are open, by account.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    open: Arc<Mutex<BTreeMap<String, u32>>>,
    /// The most of one account; 0 for no limit.
    most: u32,
}

/// A stream that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    among: Streams,
    account: String,
}

impl Streams {
    pub(crate) fn new(most: u32) -> Self {
        Self { open: Arc::default(), most }
    }

    /// Opens one more for an account, if it may have that.
    pub(crate) fn enter(&self, account: &str) -> Result<Stream, Problem> {
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = all.entry(account.to_owned()).or_default();
        if self.most > 0 && *open >= self.most {
            return Err(too_many(self.most));
        }
        *open += 1;
        Ok(Stream { among: self.clone(), account: account.to_owned() })
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        let all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().map(|open| *open as usize).sum()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut all = self.among.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = all.get_mut(&self.account) {
            *open -= 1;
            if *open == 0 {
                all.remove(&self.account);
            }
        }
    }
}

fn too_many(most: u32) -> Problem {
    let detail = format!("this account has {most} event streams open, which is as many as it may have");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", detail)
        .hint("close one first and let its readers share another; BLOBFORGE_MAX_STREAMS says how many may be open")
        .retry_after(5)
}
