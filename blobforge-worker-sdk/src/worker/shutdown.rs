//! How a worker is told to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells a worker to stop: first in good order, then at once.
///
/// A [`CancellationToken`] becomes one that only knows the good order.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    begun: CancellationToken,
    at_once: CancellationToken,
}

impl Shutdown {
    /// One that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins the shutdown: nothing more is claimed, and what runs is finished or given back.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Ends it at once: handlers get no time to tidy up.
    pub fn at_once(&self) {
        self.begun.cancel();
        self.at_once.cancel();
    }

    /// Waits until the shutdown has begun.
    pub async fn cancelled(&self) {
        self.begun.cancelled().await;
    }

    /// Whether the shutdown has begun.
    pub fn is_cancelled(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Fires when the shutdown has begun, for whoever wants a plain token.
    pub fn token(&self) -> CancellationToken {
        self.begun.clone()
    }

    pub(super) async fn hurried(&self) {
        self.at_once.cancelled().await;
    }
}

impl From<CancellationToken> for Shutdown {
    fn from(begun: CancellationToken) -> Self {
        Self { begun, at_once: CancellationToken::new() }
    }
}

/// A shutdown that begins with SIGTERM or SIGINT (Ctrl-C); the second one ends it at once.
///
/// Call it within a Tokio runtime. From then on these signals no longer end the process by themselves.
pub fn shutdown_signal() -> Shutdown {
    let shutdown = Shutdown::new();
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => {
            tokio::spawn(listen(terminate, interrupt, shutdown.clone()));
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals cannot be listened to: they end the process without a shutdown");
        }
    }
    shutdown
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, shutdown: Shutdown) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    tracing::info!("stopping; a second signal stops at once");
    shutdown.begin();
    next().await;
    tracing::warn!("stopping at once");
    shutdown.at_once();
}
