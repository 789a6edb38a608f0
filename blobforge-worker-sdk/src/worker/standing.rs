//! Whether a worker may take on work, and what it says of itself.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use blobforge_core::{Condition, Failure, Gauges, Jitter, RetryPolicy, Timestamp};
use futures_util::future::OptionFuture;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::gauges::Reading;

/// A span that is never over.
const FOR_EVER: Duration = Duration::MAX;

/// How long nothing is claimed after a job found something wrong with this machine, such as a full disk, and how long when
/// the jobs after it did too. Only another job can tell whether it is well again.
const PAUSES: RetryPolicy =
    RetryPolicy { first: Duration::from_secs(30), longest: Duration::from_secs(10 * 60) };

/// How the worker is now.
#[derive(Debug, Default)]
struct Now {
    suspended_until: Option<Timestamp>,
    /// What its machine lacks.
    missing: Option<String>,
    /// What its handlers say that they lack.
    unready: Option<String>,
    /// What jobs found wrong with its machine.
    illness: Option<Illness>,
    gauges: Option<Gauges>,
    /// When its run windows close, as far as that is known.
    open_until: Option<Instant>,
}

/// Something that is wrong with the machine until a job is completed.
#[derive(Debug)]
struct Illness {
    why: String,
    /// How many jobs in a row found it.
    jobs: u32,
    /// When another one may be tried.
    until: Instant,
}

impl Now {
    /// For how long it may claim, if it may.
    fn may_claim(&self) -> Option<Duration> {
        let stopped = self.suspended_until.is_some()
            || self.missing.is_some()
            || self.unready.is_some()
            || self.pauses_until().is_some();
        let left = self.open_until.map_or(FOR_EVER, |until| until.saturating_duration_since(Instant::now()));
        (!stopped).then_some(left)
    }

    /// Until when nothing is tried because of what jobs found.
    fn pauses_until(&self) -> Option<Instant> {
        self.illness.as_ref().map(|illness| illness.until).filter(|until| *until > Instant::now())
    }

    /// What is told of it.
    fn condition(&self) -> Condition {
        let lacks = self.missing.as_ref().or(self.unready.as_ref()).cloned();
        let trouble = lacks.or_else(|| Some(self.illness.as_ref()?.why.clone()));
        Condition { suspended_until: self.suspended_until, trouble, gauges: self.gauges.clone() }
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
            now.suspended_until = None;
            now.open_until = until;
        });
    }

    /// It is not to run before this time.
    pub(super) fn suspend(&self, until: Timestamp) {
        self.change(|now| now.suspended_until = Some(until));
    }

    /// What its machine is doing, and what is wrong with it, if anything is. Gauges alone make no heartbeat come sooner.
    pub(super) fn read(&self, reading: Reading) {
        let Reading { gauges, trouble } = reading;
        self.lack(trouble, |now| &mut now.missing);
        self.now.send_modify(|now| now.gauges = gauges);
    }

    /// What its handlers say that they lack, if anything.
    pub(super) fn heed(&self, trouble: Option<String>) {
        self.lack(trouble, |now| &mut now.unready);
    }

    /// Something is missing, or is back.
    fn lack(&self, lacks: Option<String>, of: impl Fn(&mut Now) -> &mut Option<String>) {
        let is_news = self.now.send_if_modified(|now| {
            let known = of(now);
            let is_news = *known != lacks;
            known.clone_from(&lacks);
            is_news
        });
        if !is_news {
            return;
        }
        match lacks {
            Some(lacks) => tracing::error!("nothing is claimed: {lacks}"),
            None => tracing::info!("what was missing is back: claiming again"),
        }
        self.news.notify_one();
    }

    /// A job found something wrong with this machine.
    pub(super) fn fall_ill(&self, failure: &Failure) {
        // What several jobs find at the same time is one thing.
        if self.now.borrow().pauses_until().is_some() {
            return;
        }
        let jobs = self.now.borrow().illness.as_ref().map_or(0, |illness| illness.jobs).saturating_add(1);
        // Workers that share a machine need no spread.
        let pause = PAUSES.delay(jobs, Jitter::from_bits(0));
        let why = format!("{}: {}", failure.kind, failure.message);
        tracing::error!(
            kind = failure.kind,
            "something is wrong with this machine: the job is given back, and nothing is claimed for {pause:?}. {}",
            failure.message
        );
        self.change(|now| now.illness = Some(Illness { why, jobs, until: Instant::now() + pause }));
    }

    /// A job was completed.
    pub(super) fn is_well(&self) {
        if self.now.borrow().illness.is_some() {
            self.change(|now| now.illness = None);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Now)) {
        self.now.send_modify(change);
        self.news.notify_one();
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.now.borrow().suspended_until.is_some()
    }

    /// Whether it may take on work.
    pub(super) fn is_fit(&self) -> bool {
        self.now.borrow().may_claim().is_some()
    }

    /// Waits until it may take on work, and says for how long it then may, as far as that is known.
    pub(super) async fn fit(&self) -> Duration {
        let mut changes = self.now.subscribe();
        loop {
            let pause = {
                let now = changes.borrow_and_update();
                if let Some(left) = now.may_claim() {
                    return left;
                }
                now.pauses_until()
            };
            tokio::select! {
                // The sender lives as long as `self`.
                _ = changes.changed() => {}
                Some(()) = OptionFuture::from(pause.map(tokio::time::sleep_until)) => {}
            }
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
        self.said().as_ref().map(urgent) != Some(urgent(&self.now.borrow().condition()))
    }

    /// What a heartbeat says of it, if the queue does not know that yet.
    pub(super) fn beat(&self) -> Option<Condition> {
        let condition = self.now.borrow().condition();
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
    use super::*;

    fn standing() -> Standing {
        Standing::new(Arc::default())
    }

    #[test]
    fn only_what_the_queue_does_not_know_is_said() {
        let standing = standing();
        assert_eq!(standing.beat(), Some(Condition::default()), "it may have been another way before");
        standing.lack(Some("the GPU is gone".to_owned()), |now| &mut now.missing);
        assert!(standing.has_news());
        let said = standing.beat().unwrap();
        assert_eq!(said.trouble.as_deref(), Some("the GPU is gone"));
        assert!(!standing.has_news() && standing.beat().is_none());
        standing.unsaid();
        assert!(standing.has_news(), "it did not arrive");
        assert_eq!(standing.beat(), Some(said));
        standing.lack(None, |now| &mut now.missing);
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
        standing.lack(Some("the GPU is gone".to_owned()), |now| &mut now.missing);
        standing.open(Duration::from_secs(60));
        assert!(!standing.is_fit(), "the GPU is still gone");
        standing.lack(None, |now| &mut now.missing);
        standing.heed(Some("the server is down".to_owned()));
        assert!(!standing.is_fit(), "the server is down");
        assert_eq!(standing.beat().unwrap().trouble.as_deref(), Some("the server is down"));
        standing.heed(None);
        assert_eq!(standing.fit().await, Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_is_ill_is_left_alone_for_longer_and_longer_until_a_job_is_done() {
        let standing = standing();
        let full = Failure::new("disk_full", "No space left on device.");
        let waited = async || {
            let begun = Instant::now();
            standing.fit().await;
            begun.elapsed()
        };
        standing.fall_ill(&full);
        let first = waited().await;
        assert!(first >= PAUSES.first, "{first:?}");
        assert_eq!(standing.beat().unwrap().trouble.as_deref(), Some("disk_full: No space left on device."));
        assert!(standing.is_fit(), "one job is tried");
        standing.fall_ill(&full);
        standing.fall_ill(&full);
        let second = waited().await;
        assert!(second > first && second < first * 3, "two jobs found the same thing: {second:?}");
        standing.fall_ill(&full);
        standing.is_well();
        assert_eq!(waited().await, Duration::ZERO);
        assert_eq!(standing.beat(), Some(Condition::default()));
    }
}
