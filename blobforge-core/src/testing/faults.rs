//! What is to go wrong, and when.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::Clock;

/// Something that goes wrong with one read or write of a store.
///
/// As in [`Faults`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done: somebody else holds the store. The same call can succeed later.
    Busy,
    /// Nothing is done: there is no space. The same call can succeed later.
    Full,
    /// It is done, but the caller is told that nobody knows. A read fails as [`Fault::Busy`] does.
    Unknown,
    /// It is done once somebody calls [`Faults::release`].
    Held,
    /// It is done once this much uptime has passed.
    Slow(Duration),
}

/// The handle by which a test says what goes wrong with a faulty store. Clones share it.
///
/// Faults are used up in the order in which they were asked for, one for each read or write.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use blobforge_core::{SystemClock, storage::{Storage, memory::MemoryStorage}};
/// use blobforge_core::testing::{Fault, FaultyStorage};
/// use std::sync::Arc;
/// let storage = FaultyStorage::new(Arc::new(MemoryStorage::default()), Arc::new(SystemClock));
/// let faults = storage.faults();
/// faults.next_read(Fault::Busy);
/// assert!(storage.counts().await.is_err());
/// assert!(storage.counts().await.is_ok(), "the fault is used up");
/// faults.break_for_good();
/// assert!(!storage.counts().await.unwrap_err().is_retryable());
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    /// Counts the releases; who is held waits for the next one.
    releases: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Plan {
    writes: VecDeque<Fault>,
    reads: VecDeque<Fault>,
    every_write: Option<Fault>,
    broken: bool,
    waiting: usize,
    met: u64,
}

/// What becomes of a read or write, once its waiting is over.
pub(super) enum Fate {
    Fine,
    Fails(Fault),
    Broken,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self { plan: Arc::default(), releases: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets one more of the coming writes go wrong, after those that were asked for before.
    ///
    /// As in [`FaultyStorage`](crate::testing::FaultyStorage).
    pub fn next_write(&self, fault: Fault) {
        self.plan().writes.push_back(fault);
    }

    /// Lets one more of the coming reads go wrong, after those that were asked for before.
    ///
    /// As in [`Faults`].
    pub fn next_read(&self, fault: Fault) {
        self.plan().reads.push_back(fault);
    }

    /// Lets every write go wrong that has no fault of its own, until [`Faults::clear`].
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{SystemClock, storage::{Storage, memory::MemoryStorage}};
    /// use blobforge_core::testing::{Fault, FaultyStorage};
    /// use std::sync::Arc;
    /// let storage = FaultyStorage::new(Arc::new(MemoryStorage::default()), Arc::new(SystemClock));
    /// let faults = storage.faults();
    /// faults.every_write(Fault::Full);
    /// for _ in 0..3 {
    ///     assert!(storage.commit(Vec::new()).await.is_err());
    /// }
    /// faults.clear();
    /// assert!(storage.commit(Vec::new()).await.is_ok());
    /// assert_eq!(faults.met(), 3);
    /// # });
    /// ```
    pub fn every_write(&self, fault: Fault) {
        self.plan().every_write = Some(fault);
    }

    /// Lets every read and write fail for good from now on, those that are being held included.
    ///
    /// As in [`Faults`].
    pub fn break_for_good(&self) {
        self.plan().broken = true;
        self.release();
    }

    /// Lets go on who is held or slow now.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{SystemClock, storage::{Storage, memory::MemoryStorage}};
    /// use blobforge_core::testing::{Fault, FaultyStorage};
    /// use std::sync::Arc;
    /// let storage = FaultyStorage::new(Arc::new(MemoryStorage::default()), Arc::new(SystemClock));
    /// let faults = storage.faults();
    /// faults.next_write(Fault::Held);
    /// let mut commit = storage.commit(Vec::new());
    /// assert!(futures_util::poll!(commit.as_mut()).is_pending());
    /// assert_eq!(faults.waiting(), 1);
    /// faults.release();
    /// assert!(commit.await.is_ok());
    /// # });
    /// ```
    pub fn release(&self) {
        self.releases.send_modify(|count| *count += 1);
    }

    /// Forgets every fault that has not come to pass, and lets go on who is held or slow. What is broken stays so.
    ///
    /// As in [`Faults::every_write`].
    pub fn clear(&self) {
        let mut plan = self.plan();
        *plan = Plan { broken: plan.broken, waiting: plan.waiting, met: plan.met, ..Plan::default() };
        drop(plan);
        self.release();
    }

    /// How many reads and writes are held or slow now.
    ///
    /// As in [`Faults::release`].
    pub fn waiting(&self) -> usize {
        self.plan().waiting
    }

    /// How many faults have come to pass, the waits that are not over included.
    ///
    /// As in [`Faults::every_write`].
    pub fn met(&self) -> u64 {
        self.plan().met
    }

    pub(super) async fn write(&self, clock: &dyn Clock) -> Fate {
        let fault = {
            let mut plan = self.plan();
            plan.writes.pop_front().or(plan.every_write)
        };
        self.meet(fault, clock).await
    }

    pub(super) async fn read(&self, clock: &dyn Clock) -> Fate {
        let fault = self.plan().reads.pop_front();
        self.meet(fault, clock).await
    }

    async fn meet(&self, fault: Option<Fault>, clock: &dyn Clock) -> Fate {
        if fault.is_some() {
            self.plan().met += 1;
        }
        match fault {
            _ if self.plan().broken => {}
            Some(Fault::Held) => self.wait(std::future::pending()).await,
            Some(Fault::Slow(span)) => self.wait(clock.sleep(span)).await,
            _ => {}
        }
        match fault {
            _ if self.plan().broken => Fate::Broken,
            Some(fault @ (Fault::Busy | Fault::Full | Fault::Unknown)) => Fate::Fails(fault),
            _ => Fate::Fine,
        }
    }

    async fn wait(&self, over: impl Future<Output = ()>) {
        let mut releases = self.releases.subscribe();
        let _waiting = Waits::new(self);
        tokio::select! {
            biased;
            _ = releases.changed() => {}
            () = over => {}
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits, until this is dropped: with the end of the wait, or with the whole call.
struct Waits<'a>(&'a Faults);

impl<'a> Waits<'a> {
    fn new(faults: &'a Faults) -> Self {
        faults.plan().waiting += 1;
        Self(faults)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.plan().waiting -= 1;
    }
}
