//! Whether a worker may take on work, and what it says of itself.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use blobforge_core::{Condition, Timestamp};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::gauges::Reading;

/// A span that is never over.
const FOR_EVER: Duration = Duration::MAX;

/// How the worker is now.
#[derive(Debug, Default)]
struct Now {
    condition: Condition,
    /// When its run windows close, as far as that is known.
    open_until: Option<Instant>,
}

impl Now {
    /// For how long it may claim, if it may.
    fn may_claim(&self) -> Option<Duration> {
        let stopped = self.condition.suspended_until.is_some() || self.condition.trouble.is_some();
        let left = self.open_until.map_or(FOR_EVER, |until| until.saturating_duration_since(Instant::now()));
        (!stopped).then_some(left)
    }
}

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Standing {
    now: watch::Sender<Now>,
    /// What the queue knows of it, as far as that is known here.
    said: Mutex<Option<Condition>>,
    /// Wakes the heartbeat.
    news: Arc<Notify>,
}

impl Standing {
    pub(super) fn new(news: Arc<Notify>) -> Self {
        Self { now: watch::Sender::default(), said: Mutex::default(), news }
    }

    /// It may run for so long.
    pub(super) fn open(&self, left: Duration) {
        let until = Instant::now().checked_add(left);
        self.change(|now| {
            now.condition.suspended_until = None;
            now.open_until = until;
        });
    }

    /// It is not to run before this time.
    pub(super) fn suspend(&self, until: Timestamp) {
        self.change(|now| now.condition.suspended_until = Some(until));
    }

    /// What its machine is doing, and what is wrong with it, if anything is. Gauges alone make no heartbeat come sooner.
    pub(super) fn read(&self, reading: Reading) {
        let Reading { gauges, trouble } = reading;
        if self.set_trouble(trouble.clone()) {
            match trouble {
                Some(trouble) => tracing::error!("{trouble}"),
                None => tracing::info!("what was missing is back: claiming again"),
            }
        }
        self.now.send_modify(|now| now.condition.gauges = gauges);
    }

    /// Says whether that is news.
    fn set_trouble(&self, trouble: Option<String>) -> bool {
        let is_news = self.now.borrow().condition.trouble != trouble;
        if is_news {
            self.change(|now| now.condition.trouble = trouble);
        }
        is_news
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        self.now.send_modify(change);
        self.news.notify_one();
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.now.borrow().condition.suspended_until.is_some()
    }

    /// Whether it may take on work.
    pub(super) fn is_fit(&self) -> bool {
        self.now.borrow().may_claim().is_some()
    }

    /// Waits until it may take on work, and says for how long it then may, as far as that is known.
    pub(super) async fn fit(&self) -> Duration {
        let mut changes = self.now.subscribe();
        loop {
            if let Some(left) = changes.borrow_and_update().may_claim() {
                return left;
            }
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    /// Waits until it may not take on work any more.
    pub(super) async fn unfit(&self) {
        // The sender lives as long as `self`.
        let _ = self.now.subscribe().wait_for(|now| now.may_claim().is_none()).await;
    }

    /// Whether there is something that the queue should hear soon.
    pub(super) fn has_news(&self) -> bool {
        let urgent = |condition: &Condition| (condition.suspended_until, condition.trouble.clone());
        self.said().as_ref().map(urgent) != Some(urgent(&self.now.borrow().condition))
    }

    /// What a heartbeat says of it, if the queue does not know that yet.
    pub(super) fn beat(&self) -> Option<Condition> {
        let condition = self.now.borrow().condition.clone();
        let mut said = self.said();
        let is_known = said.as_ref() == Some(&condition);
        *said = Some(condition.clone());
        (!is_known).then_some(condition)
    }

    /// The queue knows nothing of it any more: it registered anew, or a heartbeat may not have arrived.
    pub(super) fn unsaid(&self) {
        *self.said() = None;
        self.news.notify_one();
    }

    fn said(&self) -> MutexGuard<'_, Option<Condition>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use blobforge_core::Gauges;

    use super::*;

    fn standing() -> Standing {
        Standing::new(Arc::default())
    }

    #[test]
    fn only_what_the_queue_does_not_know_is_said() {
        let standing = standing();
        assert_eq!(standing.beat(), Some(Condition::default()), "it may have been another way before");
        standing.set_trouble(Some("the GPU is gone".to_owned()));
        assert!(standing.has_news());
        let said = standing.beat().unwrap();
        assert_eq!(said.trouble.as_deref(), Some("the GPU is gone"));
        assert!(!standing.has_news() && standing.beat().is_none());
        standing.unsaid();
        assert!(standing.has_news(), "it did not arrive");
        assert_eq!(standing.beat(), Some(said));
        standing.set_trouble(None);
        assert_eq!(standing.beat(), Some(Condition::default()));
    }

    #[test]
    fn gauges_go_along_and_make_no_heartbeat_come_sooner() {
        let standing = standing();
        standing.beat();
        let gauges = Some(Gauges { cpu_percent: 12.5, ..Gauges::default() });
        standing.read(Reading { gauges, trouble: None });
        assert!(!standing.has_news());
        assert_eq!(standing.beat().unwrap().gauges.unwrap().cpu_percent, 12.5);
    }

    #[tokio::test(start_paused = true)]
    async fn it_may_claim_only_while_nothing_stands_against_it() {
        let standing = standing();
        assert_eq!(standing.fit().await, FOR_EVER);
        standing.suspend(Timestamp::ZERO);
        standing.set_trouble(Some("the GPU is gone".to_owned()));
        standing.open(Duration::from_secs(60));
        assert!(!standing.is_fit(), "the GPU is still gone");
        standing.set_trouble(None);
        assert_eq!(standing.fit().await, Duration::from_secs(60));
    }
}
