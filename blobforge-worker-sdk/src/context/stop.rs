//! How a handler learns that it has to stop.

use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Why a handler has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody called the job off.
    Cancelled,
    /// The right to run the job is gone, or can no longer be trusted: another worker may have it already.
    LeaseLost,
    /// It was silent for longer than its type allows: no progress, checkpoint or output. The attempt has failed.
    NoProgress,
    /// The worker stops. The job goes back to its place in line, at no cost.
    Shutdown,
    /// The run windows of the worker have closed. The job goes back to its place in line, at no cost.
    Suspended,
}

/// A cancellation token that knows why it fired.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    reason: Mutex<Option<StopReason>>,
}

impl Stop {
    /// Tells the handler to stop. The first reason stays, but a lost lease overrides the others: then nothing may be
    /// reported at all.
    pub(crate) fn set(&self, why: StopReason) {
        {
            let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
            if reason.is_none() || why == StopReason::LeaseLost {
                *reason = Some(why);
            }
        }
        self.token.cancel();
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(crate) async fn wait(&self) -> StopReason {
        self.token.cancelled().await;
        // A handler can fire the token that it was given, too; then it wants what a shutdown would want.
        self.reason().unwrap_or(StopReason::Shutdown)
    }
}
