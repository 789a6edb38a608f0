//! An embeddable, durable job queue for large files and slow work.
//!
//! A program that links it has a queue in one SQLite file, with the jobs' files in a folder beside it, and no server.
//! Jobs go in; workers, in this process or in another one, claim them under a lease, say by heartbeats that they are
//! alive, and report how it ended. What was accepted is durable. A job may start more than once, since machines die; but
//! of each job one completion at most is accepted, and a worker that lost its lease can change nothing any more.
//!
//! ```
//! use blobforge_core::{JobType, NewJob, Queue, Registration, Status, WorkerId, storage::Report};
//! use std::{error::Error, time::Duration};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn Error>> {
//!     let queue = Queue::in_memory(); // or: Queue::open("jobs.db").await?
//!     let id = queue.submit(NewJob::new("greet")?.param("name", "Margaret")).await?.id;
//!
//!     let (smith, types) = (WorkerId::new("smith")?, [JobType::new("greet")?]);
//!     queue.register(Registration::new(smith.clone(), types.clone(), "secret of this process")).await?;
//!     for claimed in queue.claim(&smith, &types, 1, Duration::from_secs(30)).await? {
//!         let greeting = format!("Hello, {}.", claimed.job.body.params["name"].as_str().unwrap_or("you"));
//!         let done = Report::Complete { outputs: Vec::new(), result: Some(greeting.into()) };
//!         queue.report(claimed.job.id, claimed.token, done).await?;
//!     }
//!
//!     let job = queue.job(id).await?;
//!     assert_eq!((job.status(), job.result), (Status::Completed, Some("Hello, Margaret.".into())));
//!     queue.close().await;
//!     Ok(())
//! }
//! ```
//!
//! The worker's loop, its heartbeats and files are what the crate `blobforge-worker-sdk` is for.
//!
//! # Where things are
//!
//! | to | look at |
//! |---|---|
//! | open a queue | [`Queue::open`], [`Queue::in_memory`], [`QueueBuilder`] |
//! | hand in a job | [`NewJob`], [`Queue::submit`], [`Queue::submit_file`]; with parameters of your own types, [`Task`] |
//! | find jobs, wait, listen | [`Queue::list`], [`Queue::wait`], [`queue::Feed`], [`Job`] |
//! | work | [`Registration`], [`Queue::claim`], [`Queue::heartbeat`], [`Queue::report`] |
//! | steer | [`Queue::cancel`], [`Queue::retry`], [`Queue::bulk`], [`Queue::pause`] |
//! | tell others of ends | [`Subscriber`], [`NewJob::notify`], [`queue::Notice::Outbox`] |
//! | say what holds for a type | [`TypeSettings`], [`Limits`], [`RetryPolicy`], [`Retention`] |
//! | say which worker can do what | [`Requirement`], [`Registration::labels`] |
//! | know what went wrong | [`QueueError`], [`Queue::failure_groups`], [`Queue::obstacle`] |
//!
//! The modules, from the outside in:
//!
//! - [`queue`]: what a program holds.
//! - [`broker`]: the queue as a worker sees it, embedded or over a network.
//! - [`storage`]: where jobs are kept, in memory or in SQLite, and the contract of every other store.
//! - [`blob`]: where files are kept.
//! - [`lifecycle`]: what may become of a job, as pure functions.
//! - `testing`: stores that fail when they are told to, and randomness that repeats; behind the feature of that name.
//! - `conformance`: the suite that every store, blob store and broker passes; behind the feature of that name.
//!
//! Spans are a [`Duration`](std::time::Duration), points in time a [`Timestamp`], sizes are bytes. Everything is bounded:
//! a constant such as [`MAX_TAGS`] says how, and what is beyond it is an error that names the field.

pub mod blob;
mod bounds;
pub mod broker;
mod condition;
#[cfg(feature = "conformance")]
pub mod conformance;
mod entropy;
mod failure_group;
mod hash_beginning;
mod inline;
mod job;
mod lease;
pub mod lifecycle;
mod limits;
mod new_job;
mod outbox;
mod past;
pub mod queue;
mod requirement;
mod retry;
mod saved_names;
mod settings;
pub mod storage;
mod task;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod trace_parent;
mod worker;

pub use bounds::{MAX_ATTEMPTS_LIMIT, MAX_FILE_BYTES, MAX_JSON_DEPTH, MAX_SPAN};
pub use condition::{Condition, Gauges, GpuGauges, MAX_GPU_NAME_BYTES, MAX_GPUS, MAX_TROUBLE_BYTES};
pub use entropy::{Entropy, SystemEntropy};
pub use failure_group::{
    FailureGroup, FailureGroupId, MAX_FAILURE_GROUPS, MAX_GROUP_MESSAGE_BYTES, normalised,
};
pub use hash_beginning::HashBeginning;
pub use inline::{
    MAX_FAILURE_DETAILS_BYTES, MAX_FAILURE_KIND_BYTES, MAX_FAILURE_MESSAGE_BYTES, MAX_LOG_TAIL_BYTES,
    MAX_PROGRESS_TEXT_BYTES, MAX_RESULT_BYTES, check_failure_kind, check_result,
};
pub use job::{
    Body, Checkpoint, Failure, Invalid, Job, JobId, JobType, Output, Priority, Progress, Sha256, Source,
    Status,
};
pub use lease::{BadLeaseToken, Epoch, Generation, Lease, LeaseSecret, LeaseToken};
pub use lifecycle::{
    End, EndedLease, Finish, FinishKind, Finished, Life, MAX_LOSSES, NewLease, Phase, Refused, Reply, Step,
    Transition,
};
pub use limits::{KeyLimits, LimitBy, Limits, MAX_LIMIT_KEY_BYTES, Rate, StartedUpTo};
pub use new_job::{
    MAX_JSON_BYTES, MAX_KEY_BYTES, MAX_SOURCE_PATH_BYTES, MAX_SOURCE_PATHS, MAX_SUBMITTER_BYTES,
    MAX_TAG_BYTES, MAX_TAGS, NewJob, NewSource, check_key, file_name,
};
pub use outbox::{
    Ends, MAX_NOTIFY, MAX_NOTIFY_BYTES, MAX_SUBSCRIBERS, Message, Notify, Recipient, Subscriber,
};
pub use past::{Past, PastEnd};
#[cfg(feature = "sqlite")]
pub use queue::files_beside;
pub use queue::{Queue, QueueBuilder, QueueError};
pub use requirement::{
    MAX_LABEL_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_REQUIREMENTS, Requirement, Requirements,
};
pub use retry::{Jitter, RetryPolicy};
#[cfg(feature = "sqlite")]
pub use rusqlite;
pub use saved_names::saved_names;
pub use settings::{
    MAX_OLDEST_SHARE, MIN_RETENTION, OLDEST_SHARE, Retention, TypeChange, TypeRecord, TypeSettings,
};
pub use task::Task;
pub use time::{BadTimestamp, Clock, ManualClock, SystemClock, Timestamp};
pub use trace_parent::{BadTraceParent, TraceParent};
pub use worker::{
    MAX_HOST_BYTES, MAX_INSTANCE_BYTES, MAX_WORKER_NAME_BYTES, MAX_WORKER_TYPES, Registration, WorkerId,
    WorkerRecord,
};
