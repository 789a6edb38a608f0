//! Deleting the files that nobody needs any more, and nothing else.
//!
//! Only keys that the store recorded before they were written are ever deleted; no folder or bucket is listed. Files
//! die by what happens to jobs, and are kept for [`QueueBuilder::keep_deleted_files_for`] after that. Then they are
//! deleted in two steps: a commit marks them, so that the same content submitted again gets another key; and once they
//! are gone, another commit forgets them. What a crash leaves in between is finished later.
//!
//! [`QueueBuilder::keep_deleted_files_for`]: super::QueueBuilder::keep_deleted_files_for

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{StreamExt, stream};

use super::{Halted, Queue, QueueError, SIGNED_URL_LIFETIME, Shared};
use crate::{
    Clock, Timestamp,
    blob::{BlobError, BlobStore},
    storage::{Command, Done, MarkGarbage, MarkedGarbage},
};

/// The shortest time for which deleted files are kept. A worker that lost its lease can write by a signed URL for as long
/// as that works, and finish what it began.
///
/// As in [`QueueBuilder::keep_deleted_files_for`](crate::QueueBuilder::keep_deleted_files_for).
pub const MIN_KEPT: Duration = Duration::from_secs(60 * 60);
const _: () = assert!(MIN_KEPT.as_secs() >= 4 * SIGNED_URL_LIFETIME.as_secs());

/// How often files are collected in the background.
const COLLECT_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long after its opening a queue begins to, and goes on when there is more than one round takes.
const COLLECT_SOON: Duration = Duration::from_secs(60);
/// How many files one commit marks.
const MARKED_AT_ONCE: usize = 100;
/// How many commits one collection takes.
const COMMITS_AT_MOST: usize = 20;
/// How many files are deleted at the same time.
const DELETED_AT_ONCE: usize = 8;
/// How many keys are told of, as examples.
const EXAMPLES: usize = 10;

/// What a collection did, or would do.
///
/// As in [`Queue::collect_garbage`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// How many files were deleted, or would be.
    pub files: u64,
    /// How many bytes they had. A file that was never written has none.
    pub bytes: u64,
    /// How many could not be deleted; they are tried again later.
    pub failed: u64,
    /// How many files that were being sent in parts, and that nobody waits for any more, were thrown away.
    pub uploads: u64,
    /// The keys of some of the files.
    pub examples: Vec<String>,
    /// There are more: this many are looked at in one call. Call again.
    pub more: bool,
    /// Nothing is deleted before this time, because the database was restored from a backup.
    pub paused_until: Option<Timestamp>,
}

impl Queue {
    /// Deletes the files that died long enough ago, up to 2,000 in one call. A dry run changes nothing, and counts.
    ///
    /// The queue does the same every hour by itself. One collection runs at a time: this one waits for another.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::Queue;
    /// let queue = Queue::builder().open_in_memory().unwrap();
    /// let garbage = queue.collect_garbage(true).await.unwrap();
    /// assert_eq!((garbage.files, garbage.more), (0, false));
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the store fails. Files that cannot be deleted are no error: they are counted.
    pub async fn collect_garbage(&self, dry_run: bool) -> Result<Garbage, QueueError> {
        collect(&Arc::downgrade(&self.shared), dry_run).await
    }

    async fn mark_garbage(&self, wish: MarkGarbage) -> Result<MarkedGarbage, QueueError> {
        match self.run(Command::MarkGarbage(wish)).await? {
            Done::Garbage(marked) => Ok(marked),
            other => Err(QueueError::unexpected(&other)),
        }
    }
}

/// Collects every hour until the queue ends.
pub(super) async fn run(queue: Weak<Shared>, clock: Arc<dyn Clock>, halted: Halted) {
    let mut pause = COLLECT_SOON;
    loop {
        tokio::select! {
            biased;
            () = halted.wait() => return,
            () = clock.sleep(pause) => {}
        }
        pause = match collect(&queue, false).await {
            Ok(garbage) if garbage.files + garbage.failed > 0 => {
                let Garbage { files, bytes, failed, more, .. } = garbage;
                tracing::info!(files, bytes, failed, "files that nobody needed were deleted");
                if more && failed == 0 { COLLECT_SOON } else { COLLECT_EVERY }
            }
            Ok(_) => COLLECT_EVERY,
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "files could not be collected");
                COLLECT_EVERY
            }
            Err(_) => return,
        };
    }
}

/// Holds the queue only while it commits: while files are deleted, its owner may let it go.
async fn collect(queue: &Weak<Shared>, dry_run: bool) -> Result<Garbage, QueueError> {
    let open = || queue.upgrade().map(|shared| Queue { shared }).ok_or(QueueError::Closed);
    let (blobs, collecting, dead_for) = {
        let shared = open()?.shared;
        (shared.blobs.clone(), shared.collecting.clone(), shared.settings.keep_deleted_files)
    };
    let _alone = collecting.lock().await;
    let mut garbage = Garbage::default();
    if !dry_run {
        garbage.uploads = open()?.abort_unwanted_uploads().await?;
    }
    let mut after = None;
    for _ in 0..COMMITS_AT_MOST {
        let wish = MarkGarbage { dead_for, dry_run, after: after.take(), limit: MARKED_AT_ONCE };
        let MarkedGarbage { keys, next, paused_until } = open()?.mark_garbage(wish).await?;
        garbage.paused_until = paused_until;
        garbage.more = next.is_some();
        let gone = clear_away(&*blobs, keys, dry_run, &mut garbage).await;
        if !gone.is_empty() {
            open()?.run(Command::ForgetFiles(gone)).await?;
        }
        if next.is_none() {
            break;
        }
        after = next.filter(|_| dry_run);
    }
    Ok(garbage)
}

/// Deletes files, or only looks at them; the keys of those that are gone now.
async fn clear_away(
    blobs: &dyn BlobStore,
    keys: Vec<String>,
    dry_run: bool,
    garbage: &mut Garbage,
) -> Vec<String> {
    let clear = |key: String| async move {
        let cleared = async {
            let size = match blobs.size(&key).await {
                // Under a key that the store never took there is nothing.
                Err(BlobError::BadKey(_)) => return Ok(0),
                size => size?,
            };
            if !dry_run {
                blobs.delete(&key).await?;
            }
            Ok::<_, BlobError>(size.unwrap_or(0))
        };
        let cleared = cleared.await;
        (key, cleared)
    };
    let mut clearing = stream::iter(keys).map(clear).buffer_unordered(DELETED_AT_ONCE);
    let mut gone = Vec::new();
    while let Some((key, cleared)) = clearing.next().await {
        match cleared {
            Ok(bytes) => {
                garbage.files += 1;
                garbage.bytes = garbage.bytes.saturating_add(bytes);
                if garbage.examples.len() < EXAMPLES {
                    garbage.examples.push(key.clone());
                }
                if !dry_run {
                    gone.push(key);
                }
            }
            Err(error) => {
                tracing::warn!(%error, key, "a file that nobody needs could not be deleted");
                garbage.failed += 1;
            }
        }
    }
    gone
}
