//! A blob store that fails when it is told to.

use std::{io, ops::Range, sync::Arc};

use async_trait::async_trait;

use super::{Fault, Faults, faults::Fate};
use crate::{
    Clock,
    blob::{BlobError, BlobStore, ByteStream, DirectAccess, Stored},
};

/// Any blob store, with the faults that its [`Faults`] ask for. A deletion is a write.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use blobforge_core::{SystemClock, blob::{BlobStore, ObjectBlobs, read_bytes}};
/// use blobforge_core::testing::{Fault, FaultyBlobs};
/// use std::sync::Arc;
/// let blobs = FaultyBlobs::new(Arc::new(ObjectBlobs::in_memory()), Arc::new(SystemClock));
/// blobs.faults().next_write(Fault::Unknown);
/// assert!(blobs.put("a", read_bytes("content"), 100).await.unwrap_err().is_retryable());
/// assert_eq!(blobs.size("a").await.unwrap(), Some(7), "it was written all the same");
/// # });
/// ```
#[derive(Debug)]
pub struct FaultyBlobs {
    inner: Arc<dyn BlobStore>,
    clock: Arc<dyn Clock>,
    faults: Faults,
}

impl FaultyBlobs {
    /// `inner` without faults so far; slow calls measure their time by `clock`.
    ///
    /// As in [`FaultyBlobs`].
    pub fn new(inner: Arc<dyn BlobStore>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, faults: Faults::new() }
    }

    /// The handle that says what goes wrong.
    ///
    /// As in [`FaultyBlobs`].
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// The blob store, if a read may go on to it.
    async fn read(&self) -> Result<&dyn BlobStore, BlobError> {
        match self.faults.read(&*self.clock).await {
            Fate::Fine => Ok(&*self.inner),
            Fate::Fails(fault) => Err(failure(Some(fault))),
            Fate::Broken => Err(failure(None)),
        }
    }
}

/// What a fault is called here. Nothing that a blob store says is final, so one that is broken only never gets better.
fn failure(fault: Option<Fault>) -> BlobError {
    let error = |state: &str| object_store::Error::Generic {
        store: "faulty",
        source: format!("{state}: a test asked for it").into(),
    };
    match fault {
        Some(Fault::Full) => BlobError::Full(error("full")),
        Some(Fault::Unknown) => BlobError::BrokenOff(io::Error::other("a test asked for it")),
        Some(_) => BlobError::Store(error("busy")),
        None => BlobError::Store(error("broken")),
    }
}

#[async_trait]
impl BlobStore for FaultyBlobs {
    async fn put(&self, key: &str, content: ByteStream, max_bytes: u64) -> Result<Stored, BlobError> {
        match self.faults.write(&*self.clock).await {
            Fate::Fine => self.inner.put(key, content, max_bytes).await,
            Fate::Fails(fault) => {
                if fault == Fault::Unknown {
                    self.inner.put(key, content, max_bytes).await?;
                }
                Err(failure(Some(fault)))
            }
            Fate::Broken => Err(failure(None)),
        }
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<ByteStream, BlobError> {
        self.read().await?.get(key, range).await
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, BlobError> {
        self.read().await?.size(key).await
    }

    async fn delete(&self, key: &str) -> Result<(), BlobError> {
        match self.faults.write(&*self.clock).await {
            Fate::Fine => self.inner.delete(key).await,
            Fate::Fails(fault) => {
                if fault == Fault::Unknown {
                    self.inner.delete(key).await?;
                }
                Err(failure(Some(fault)))
            }
            Fate::Broken => Err(failure(None)),
        }
    }

    fn direct(&self) -> Option<&dyn DirectAccess> {
        self.inner.direct()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        SystemClock,
        blob::{ObjectBlobs, read_bytes},
    };

    #[tokio::test]
    async fn a_write_that_fails_leaves_no_file_and_one_that_nobody_knows_of_does() {
        let blobs = FaultyBlobs::new(Arc::new(ObjectBlobs::in_memory()), Arc::new(SystemClock));
        let faults = blobs.faults();
        for (fault, kept) in
            [(Fault::Busy, None), (Fault::Full, None), (Fault::Unknown, Some(3)), (Fault::Busy, Some(3))]
        {
            faults.next_write(fault);
            let error = blobs.put("a", read_bytes("abc"), 9).await.unwrap_err();
            assert!(error.is_retryable(), "{error}");
            assert_eq!(blobs.size("a").await.unwrap(), kept, "{fault:?}");
        }
        faults.next_write(Fault::Unknown);
        assert!(blobs.delete("a").await.is_err());
        assert_eq!(blobs.size("a").await.unwrap(), None, "it was deleted all the same");
    }

    #[tokio::test]
    async fn a_broken_store_stays_broken() {
        let blobs = FaultyBlobs::new(Arc::new(ObjectBlobs::in_memory()), Arc::new(SystemClock));
        blobs.faults().break_for_good();
        blobs.faults().clear();
        assert!(blobs.put("a", read_bytes("abc"), 9).await.is_err());
        assert!(blobs.get("a", None).await.is_err());
    }
}
