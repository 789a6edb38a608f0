//! How long to wait before trying again.

use std::time::Duration;

use blobforge_core::{Jitter, RetryPolicy};

/// Waits that grow from half a second to half a minute.
const POLICY: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(500), longest: Duration::from_secs(30) };

/// Counts failures in a row and says how long to wait after each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure; how long to wait after it.
    pub(crate) fn next(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let mut bits = [0; 2];
        // Without randomness workers only lose the spread between them.
        let _ = getrandom::fill(&mut bits);
        POLICY.delay(self.failures, Jitter::from_bits(u16::from_ne_bytes(bits)))
    }

    /// Counts a failure and waits.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}
