//! What a queue tells whoever measures it.

use std::{fmt, time::Duration};

use crate::storage::AttemptChange;

/// Hears what there is to be measured in a queue. It is called by the one task that runs the queue: it must be quick,
/// and only take note.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
/// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
/// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
/// use blobforge_core::{NewJob, Queue, queue::{Measure, Meter}, storage::AttemptChange};
/// #[derive(Debug, Default)]
/// struct Begun(AtomicUsize);
///
/// impl Meter for Begun {
///     fn measured(&self, measure: &Measure) {
///         if let Measure::Attempt(AttemptChange::Begun { .. }) = measure {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let begun = Arc::new(Begun::default());
/// let queue = Queue::builder().meter(begun.clone()).open_in_memory().unwrap();
/// # queue.register(blobforge_core::Registration::new(smith.clone(), pdf.clone(), "secret")).await.unwrap();
/// queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
/// queue.claim(&smith, &pdf, 1, std::time::Duration::ZERO).await.unwrap();
/// assert_eq!(begun.0.load(Ordering::Relaxed), 1);
/// # });
/// ```
pub trait Meter: Send + Sync + fmt::Debug {
    /// Takes note of something.
    ///
    /// As in [`Meter`].
    fn measured(&self, measure: &Measure);
}

/// Something that can be measured. What other processes do to the same store is theirs to measure.
///
/// As in [`Meter`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// A batch was committed.
    Commit {
        /// How many commands it had.
        commands: usize,
        /// How long it took, from its beginning to the store's answer.
        took: Duration,
        /// How much of that it took to make it durable, where that is a step of its own.
        flush: Option<Duration>,
    },
    /// An attempt began or ended.
    Attempt(AttemptChange),
}
