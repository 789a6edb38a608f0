//! The right to work, and to send what came of it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One job's place among those that work. Once the work is done it moves on to those that only send files, so that the
/// next job can begin.
#[derive(Clone, Debug)]
pub(crate) struct Slot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    working: Mutex<Option<OwnedSemaphorePermit>>,
    senders: Arc<Semaphore>,
    sending: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Slot {
    /// A job that works. At most as many as `senders` allows send at the same time.
    pub(super) fn new(working: Option<OwnedSemaphorePermit>, senders: Arc<Semaphore>) -> Self {
        Self(Arc::new(Inner { working: Mutex::new(working), senders, sending: Mutex::default() }))
    }

    /// Takes the place that was waited for.
    pub(super) fn take(&self, working: OwnedSemaphorePermit) {
        *self.working() = Some(working);
    }

    /// Leaves the place to another job, once there is room among those that send.
    pub(crate) async fn leave(&self) {
        if self.working().is_none() {
            return;
        }
        // The semaphore is never closed.
        let room = self.0.senders.clone().acquire_owned().await.ok();
        *self.0.sending.lock().unwrap_or_else(PoisonError::into_inner) = room;
        self.working().take();
    }

    /// Gives up whatever place it has. Clones that a handler kept hold nothing any more.
    pub(super) fn end(&self) {
        self.working().take();
        self.0.sending.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn working(&self) -> std::sync::MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.0.working.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
