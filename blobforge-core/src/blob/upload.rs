//! A file on its way into a store.

use std::{mem, sync::Arc};

use bytes::Bytes;
use object_store::{Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, Result, path::Path};
use tokio::task::JoinSet;

/// How much of a file is written at once, in bytes.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// How many such parts are under way at once.
const PARTS_AT_ONCE: usize = 2;

/// A file on its way: in one piece if it is small, else in parts of the same size. Nothing of it is visible before
/// [`Upload::finish`] has returned.
///
/// The writer of `object_store` does nearly the same, but tells of a failed end that the upload was aborted, and not
/// why: a full disk has to be known as one.
pub(super) struct Upload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// What the next part is made of.
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    parts: Option<Box<dyn MultipartUpload>>,
    under_way: JoinSet<Result<()>>,
}

impl Upload {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path) -> Self {
        Self { store, path, gathered: Vec::new(), gathered_bytes: 0, parts: None, under_way: JoinSet::new() }
    }

    pub(super) async fn write(&mut self, mut piece: Bytes) -> Result<()> {
        while !piece.is_empty() {
            let room = PART_BYTES - self.gathered_bytes;
            let taken = piece.split_to(room.min(piece.len()));
            self.gathered_bytes += taken.len();
            self.gathered.push(taken);
            if self.gathered_bytes == PART_BYTES {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    pub(super) async fn finish(&mut self) -> Result<()> {
        if self.parts.is_none() {
            let whole = self.gathered_payload();
            self.store.put(&self.path, whole).await?;
            return Ok(());
        }
        if self.gathered_bytes > 0 {
            self.send_part().await?;
        }
        self.wait_until_under_way(0).await?;
        if let Some(parts) = &mut self.parts {
            parts.complete().await?;
        }
        Ok(())
    }

    /// Clears away what was written, as far as that is possible: it is invisible anyway.
    pub(super) async fn abort(&mut self) {
        self.under_way.shutdown().await;
        if let Some(parts) = &mut self.parts {
            // The error that led here is the one to tell.
            let _ = parts.abort().await;
        }
    }

    async fn send_part(&mut self) -> Result<()> {
        self.wait_until_under_way(PARTS_AT_ONCE - 1).await?;
        let payload = self.gathered_payload();
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => self.parts.insert(self.store.put_multipart(&self.path).await?),
        };
        self.under_way.spawn(parts.put_part(payload));
        Ok(())
    }

    async fn wait_until_under_way(&mut self, at_most: usize) -> Result<()> {
        while self.under_way.len() > at_most
            && let Some(sent) = self.under_way.join_next().await
        {
            sent.map_err(|source| Error::JoinError { source })??;
        }
        Ok(())
    }

    fn gathered_payload(&mut self) -> PutPayload {
        self.gathered_bytes = 0;
        mem::take(&mut self.gathered).into_iter().collect()
    }
}
