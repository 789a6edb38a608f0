//! Write workers for BlobForge: implement one trait, and run it against an embedded queue or a remote service.
//!
//! A [`Handler`] does one type of work. A [`Worker`] claims jobs, keeps their leases alive while handlers run, moves
//! their files, and reports how they ended. It talks to a [`Broker`](blobforge_core::broker::Broker): a
//! [`Queue`](blobforge_core::Queue) in the same process, or a service through [`client::Client`].

mod backoff;
pub mod child;
pub mod client;
mod context;
mod handler;
mod worker;

pub use context::{JobContext, StopReason};
pub use handler::{Handler, JobError};
pub use worker::{Shutdown, Summary, Worker, WorkerBuilder, WorkerError, shutdown_signal};
