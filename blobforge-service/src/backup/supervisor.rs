//! Keeps Litestream running, and has it say how far its copy has come.

use std::{convert::Infallible, fs::File, path::Path, sync::Arc, time::Duration};

use blobforge_core::Clock;
use blobforge_worker_sdk::child::{ChildError, accompany};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    BackupError, Litestream, Standing,
    litestream::{Folder, LAST_COPY, copy_now},
    locked,
    restoring::beside,
};

/// How long is waited before it is started again, at first and at most: twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After how long one that runs counts as having started well.
const STARTED_WELL: Duration = Duration::from_secs(60);
/// How long it may take to copy what is new.
const COPY_WITHIN: Duration = Duration::from_secs(60);

/// What it means that somebody holds the lock on copying.
const TAKEN: &str = "another service has Litestream copy this database: start this one without --replicate";

/// Litestream, running for as long as the service does.
#[derive(Debug)]
pub(crate) struct Replication {
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Held for as long as this one copies the database.
    _lock: File,
}

impl Replication {
    /// # Errors
    /// When another service copies this database: two that do destroy both copies.
    pub(crate) fn start(
        litestream: Litestream,
        standing: Arc<Standing>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BackupError> {
        let lock = locked(&beside(litestream.database(), "-copying"), TAKEN)?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep_running(litestream, standing, clock, stop.clone()));
        Ok(Self { stop, task, _lock: lock })
    }

    /// Has it copy what is left, and waits until it has ended.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!("what keeps litestream running panicked");
        }
    }
}

async fn keep_running(
    litestream: Litestream,
    standing: Arc<Standing>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    while !stop.is_cancelled() {
        let began = clock.uptime();
        let why = run(&litestream, &standing, &clock, &stop).await;
        if stop.is_cancelled() {
            return;
        }
        standing.ended(&why);
        if clock.uptime().saturating_sub(began) >= STARTED_WELL {
            pause = FIRST_PAUSE;
        }
        tracing::error!(
            "litestream ended: {why}. It is started again in {pause:?}; until then nothing is copied"
        );
        let _ = stop.run_until_cancelled(clock.sleep(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Runs it once, and says why it ended.
async fn run(
    litestream: &Litestream,
    standing: &Standing,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
) -> String {
    let prepared =
        Folder::new().and_then(|folder| litestream.replicating(&folder).map(|spec| (folder, spec)));
    let (folder, spec) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return error.to_string(),
    };
    standing.begun();
    let (socket, end) = (folder.socket(), CancellationToken::new());
    let running = accompany(spec, end.clone(), |line| standing.heard(line));
    tokio::select! {
        ended = running => match ended {
            Ok(()) => "it said that it was done".to_owned(),
            Err(ChildError::Cancelled) => "it was told to".to_owned(),
            Err(error) => error.to_string(),
        },
        never = keep_track(&socket, litestream, standing, &**clock) => match never {},
        never = end_in_order(&socket, litestream, stop, &end) => match never {},
    }
}

/// Once it is to stop, has it copy what is left, and then end: told to end alone, it would not copy what was written in the
/// second in which it began.
async fn end_in_order(
    socket: &Path,
    litestream: &Litestream,
    stop: &CancellationToken,
    end: &CancellationToken,
) -> Infallible {
    stop.cancelled().await;
    if let Err(error) = copy_now(socket, litestream.database(), LAST_COPY).await {
        tracing::warn!(%error, "what was written last could not be copied any more: it is on this disk alone");
    }
    end.cancel();
    std::future::pending().await
}

/// Notes again and again how far the copy has come: as far as the database was when it was asked for a copy that it then made.
async fn keep_track(
    socket: &Path,
    litestream: &Litestream,
    standing: &Standing,
    clock: &dyn Clock,
) -> Infallible {
    loop {
        clock.sleep(litestream.sync()).await;
        let begun = clock.now();
        match copy_now(socket, litestream.database(), COPY_WITHIN).await {
            Ok(()) => standing.copied(begun),
            Err(error) => tracing::debug!(%error, "litestream did not copy what is new"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_at_a_time_copies_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.db-copying");
        let held = locked(&path, TAKEN).unwrap();
        assert!(locked(&path, TAKEN).unwrap_err().to_string().contains("another service"));
        drop(held);
        assert!(locked(&path, TAKEN).is_ok());
    }
}
