//! Stores that fail when they are told to, and randomness that repeats: what tests of a program on top of a queue
//! cannot do without. Behind the feature `testing`.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use blobforge_core::{ManualClock, NewJob, Queue, Timestamp};
//! use blobforge_core::{storage::memory::MemoryStorage, testing::{Fault, FaultyStorage, SeededEntropy}};
//! use std::sync::Arc;
//! let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
//! let storage = FaultyStorage::new(Arc::new(MemoryStorage::new(clock.clone())), clock.clone());
//! let faults = storage.faults();
//! let queue = Queue::builder().clock(clock).entropy(Arc::new(SeededEntropy::new(7)));
//! let queue = queue.open_on(Arc::new(storage)).unwrap();
//!
//! faults.next_write(Fault::Busy);
//! let busy = queue.submit(NewJob::new("work").unwrap()).await.unwrap_err();
//! assert!(busy.is_retryable());
//! assert!(queue.submit(NewJob::new("work").unwrap()).await.is_ok());
//! # });
//! ```

mod blobs;
mod entropy;
mod faults;
mod storage;

pub use blobs::FaultyBlobs;
pub use entropy::SeededEntropy;
pub use faults::{Fault, Faults};
pub use storage::FaultyStorage;
