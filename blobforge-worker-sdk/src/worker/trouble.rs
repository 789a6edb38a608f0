//! Whether this machine is fit for another job.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use blobforge_core::{Failure, Jitter, RetryPolicy};
use tokio::time::Instant;

/// How long nothing is claimed after a job found something wrong with this machine, such as a full disk, and how long when
/// the jobs after it did too. Only another job can tell whether it is well again.
const PAUSES: RetryPolicy =
    RetryPolicy { first: Duration::from_secs(30), longest: Duration::from_secs(10 * 60) };

/// What jobs have found.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    /// How many jobs in a row found something wrong.
    jobs: u32,
    /// Until when nothing is claimed.
    until: Option<Instant>,
}

impl Trouble {
    /// A job found something wrong with this machine.
    pub(super) fn met(&self, failure: &Failure) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.jobs = found.jobs.saturating_add(1);
        // Workers that share a machine need no spread.
        let pause = PAUSES.delay(found.jobs, Jitter::from_bits(0));
        found.until = Some(Instant::now() + pause);
        tracing::error!(
            kind = failure.kind,
            "something is wrong with this machine: the job is given back, and nothing is claimed for {pause:?}. {}",
            failure.message
        );
    }

    /// A job was completed.
    pub(super) fn is_over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Found::default();
    }

    /// Whether nothing is to be claimed now.
    pub(super) fn is_here(&self) -> bool {
        let until = self.0.lock().unwrap_or_else(PoisonError::into_inner).until;
        until.is_some_and(|until| until > Instant::now())
    }

    /// Waits until another job may be tried.
    pub(super) async fn wait(&self) {
        loop {
            let until = self.0.lock().unwrap_or_else(PoisonError::into_inner).until;
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_machine_in_trouble_is_left_alone_for_longer_and_longer_until_a_job_is_done() {
        let trouble = Trouble::default();
        let full = Failure::new("disk_full", "No space left on device.");
        let waited = async || {
            let begun = Instant::now();
            trouble.wait().await;
            begun.elapsed()
        };
        assert_eq!(waited().await, Duration::ZERO);
        trouble.met(&full);
        let first = waited().await;
        assert!(first >= Duration::from_secs(15), "{first:?}");
        trouble.met(&full);
        assert!(waited().await > first);
        trouble.met(&full);
        trouble.is_over();
        assert_eq!(waited().await, Duration::ZERO);
    }
}
