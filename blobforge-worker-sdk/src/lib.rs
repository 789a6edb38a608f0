//! Write workers for BlobForge: implement one trait, and run it against an embedded queue or a remote service.
//!
//! A [`Handler`] does one type of work. A [`Worker`] claims jobs, keeps their leases alive while handlers run, moves
//! their files, and reports how they ended. It talks to a [`Broker`](blobforge_core::broker::Broker): a
//! [`Queue`](blobforge_core::Queue) in the same process, or a service through [`client::Client`].
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use blobforge_core::{NewJob, Queue, Status};
//! use blobforge_worker_sdk::{JobContext, Shutdown, Worker};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let queue = Queue::builder().open_in_memory()?;
//! let worker = Worker::builder(Arc::new(queue.clone()))
//!     .handle("shout", async |job: JobContext| {
//!         let text = job.raw_params()["text"].as_str().unwrap_or_default();
//!         Ok(text.to_uppercase().into())
//!     })
//! #   .state_dir(folder.path())
//!     .build()?;
//! let shutdown = Shutdown::new();
//! let running = tokio::spawn(worker.run(shutdown.clone()));
//!
//! let job = queue.submit(NewJob::new("shout")?.param("text", "dear smith")).await?;
//! let job = queue.wait(job.id, Duration::from_secs(60)).await?;
//! assert_eq!(job.status(), Status::Completed);
//! assert_eq!(job.result, Some("DEAR SMITH".into()));
//!
//! shutdown.begin();
//! assert_eq!(running.await??.completed, 1);
//! # Ok(()) }
//! ```

mod backoff;
pub mod child;
pub mod client;
mod context;
mod handler;
mod lock;
#[cfg(feature = "marker")]
pub mod marker;
pub mod program;
mod version;
mod worker;

pub use context::{JobContext, StopReason};
pub use handler::{Handler, JobError};
pub use version::version_difference;
pub use worker::{
    RunWindow, Shutdown, Summary, Worker, WorkerBuilder, WorkerError, Workplace, graphics_cards,
    shutdown_signal,
};
