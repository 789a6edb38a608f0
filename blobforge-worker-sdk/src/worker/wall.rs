//! A clock on the wall for tests.

use std::{pin::Pin, time::Duration};

use blobforge_core::{Clock, Timestamp};
use tokio::time::{Instant, sleep};

/// Goes with Tokio's clock, also when that is paused.
#[derive(Debug)]
pub(super) struct Wall {
    began: Instant,
    at: Timestamp,
}

impl Wall {
    /// It shows this time now.
    pub(super) fn at(at: Timestamp) -> Self {
        Self { began: Instant::now(), at }
    }
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        self.at + self.uptime()
    }

    fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(sleep(span))
    }
}
