//! What a handler hands over: outputs and checkpoints.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::Duration,
};

use blobforge_core::{Checkpoint, broker::BrokerError, file_name};
use tokio::time::Instant;

use super::{JobContext, source::write_stream};
use crate::{JobError, backoff::Backoff};

/// How long a transfer is tried before the handler is told that it failed. It is stopped sooner if its lease runs out.
const TRY_FOR: Duration = Duration::from_secs(60 * 60);

impl JobContext {
    /// Sends a file as an output of the job under `name`, a relative path such as `images/p1.png`. Outputs become
    /// visible together, when the completion is accepted. A name that is sent twice keeps the later file.
    ///
    /// # Errors
    /// When the name is no plain relative path (permanent `bad_file_name`), or the file cannot be read or sent.
    pub async fn output(&self, name: &str, file: impl AsRef<Path>) -> Result<(), JobError> {
        checked(name)?;
        let file = file.as_ref();
        let assignment = &self.inner.assignment;
        let put = || self.inner.broker.put_output(assignment, name, file);
        let output = self.persist("send an output", put).await?;
        let mut outputs = self.inner.outputs.lock().unwrap_or_else(PoisonError::into_inner);
        outputs.insert(name.to_owned(), output);
        Ok(())
    }

    /// As [`JobContext::output`], from memory.
    ///
    /// # Errors
    /// As [`JobContext::output`].
    pub async fn output_bytes(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), JobError> {
        checked(name)?;
        let file = self.spill(bytes.as_ref()).await?;
        self.output(name, &file).await
    }

    /// Keeps a partial result under `name`. It survives the attempt: the next one finds it among its
    /// [`JobContext::checkpoints`]. A name that is kept twice has the later file.
    ///
    /// Losing a worker costs a job nothing as long as its checkpoints advance.
    ///
    /// # Errors
    /// As [`JobContext::output`].
    pub async fn checkpoint(&self, name: &str, file: impl AsRef<Path>) -> Result<(), JobError> {
        checked(name)?;
        let file = file.as_ref();
        let put = || self.inner.broker.put_checkpoint(&self.inner.assignment, name, file);
        self.persist("keep a checkpoint", put).await
    }

    /// As [`JobContext::checkpoint`], from memory.
    ///
    /// # Errors
    /// As [`JobContext::checkpoint`].
    pub async fn checkpoint_bytes(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), JobError> {
        checked(name)?;
        let file = self.spill(bytes.as_ref()).await?;
        self.checkpoint(name, &file).await
    }

    /// Fetches what an earlier attempt kept under `name`. `None` when there is nothing, or nothing whole: then the work
    /// begins afresh rather than failing for ever.
    ///
    /// # Errors
    /// When it is there but cannot be fetched just now.
    pub async fn load_checkpoint(&self, name: &str) -> Result<Option<PathBuf>, JobError> {
        let Some((place, kept)) = self.checkpoints().iter().enumerate().find(|(_, kept)| kept.name == name)
        else {
            return Ok(None);
        };
        let path = self.folder().join(format!("checkpoint-{place}"));
        let fetched =
            self.persist("fetch a checkpoint", async || match self.fetch_checkpoint(kept, &path).await {
                Err(BrokerError::Refused(reason)) => {
                    tracing::warn!(name, reason, "a checkpoint is gone: the work begins afresh");
                    Ok(false)
                }
                other => other,
            });
        Ok(fetched.await?.then_some(path))
    }

    async fn fetch_checkpoint(&self, kept: &Checkpoint, path: &Path) -> Result<bool, BrokerError> {
        let content = self.inner.broker.checkpoint(&self.inner.assignment, kept).await?;
        let found = write_stream(content, path).await?;
        let whole = (found.size, found.sha256) == (kept.size, kept.sha256);
        if !whole {
            tracing::warn!(name = kept.name, "a checkpoint is damaged: the work begins afresh");
        }
        Ok(whole)
    }

    /// Puts bytes into a file, which is removed when it is dropped.
    async fn spill(&self, bytes: &[u8]) -> Result<tempfile::TempPath, JobError> {
        let path = tempfile::NamedTempFile::new_in(self.folder())?.into_temp_path();
        tokio::fs::write(&path, bytes).await?;
        Ok(path)
    }

    /// Tries until it works, as long as trying again makes sense and the handler may go on: a handler should not lose
    /// hours of work because the queue restarts.
    pub(super) async fn persist<T, F, Fut>(&self, what: &str, mut call: F) -> Result<T, JobError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, BrokerError>>,
    {
        // While a file is under way the handler cannot be asked for news. What stands still is broken off elsewhere.
        let _moving = self.inner.held.moving();
        let (mut backoff, begun) = (Backoff::default(), Instant::now());
        loop {
            let error = match call().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.is_retryable() || begun.elapsed() >= TRY_FOR {
                return Err(self.refused(error));
            }
            tracing::warn!(%error, "could not {what}; trying again");
            tokio::select! {
                () = backoff.wait() => {}
                _ = self.stopped() => return Err(self.refused(error)),
            }
        }
    }
}

fn checked(name: &str) -> Result<(), JobError> {
    file_name(name).map_err(|invalid| JobError::permanent("bad_file_name", invalid.to_string()))
}
