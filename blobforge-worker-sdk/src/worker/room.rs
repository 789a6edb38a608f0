//! Whether the disk of this machine has room for another job.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use blobforge_core::{Jitter, RetryPolicy};
use tokio::time::Instant;

/// How long nothing is claimed after a job found the disk full, and how long when the jobs after it did too. What the job
/// itself had written is gone by then, so only another job can tell whether there is room.
const PAUSES: RetryPolicy =
    RetryPolicy { first: Duration::from_secs(30), longest: Duration::from_secs(10 * 60) };

/// What jobs have found.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    /// How many jobs in a row found the disk full.
    full: u32,
    /// Until when nothing is claimed.
    until: Option<Instant>,
}

impl Room {
    /// A job found the disk full.
    pub(super) fn was_full(&self) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.full = found.full.saturating_add(1);
        // Workers that share a disk need no spread.
        let pause = PAUSES.delay(found.full, Jitter::from_bits(0));
        found.until = Some(Instant::now() + pause);
        tracing::error!("nothing is claimed for {pause:?}: make room on the disk of the work folder");
    }

    /// A job had room enough.
    pub(super) fn was_enough(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Found::default();
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
    async fn a_full_disk_is_left_alone_for_longer_and_longer_until_a_job_has_room() {
        let room = Room::default();
        let waited = async || {
            let begun = Instant::now();
            room.wait().await;
            begun.elapsed()
        };
        assert_eq!(waited().await, Duration::ZERO);
        room.was_full();
        let first = waited().await;
        assert!(first >= Duration::from_secs(15), "{first:?}");
        room.was_full();
        assert!(waited().await > first);
        room.was_full();
        room.was_enough();
        assert_eq!(waited().await, Duration::ZERO);
    }
}
