//! The runtime around handlers.

mod attempt;
mod builder;
mod cards;
mod folder;
mod gauges;
mod identity;
mod leases;
mod link;
mod pace;
mod run;
mod shutdown;
mod slot;
mod standing;
mod surroundings;
#[cfg(test)]
mod wall;
mod windows;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use blobforge_core::{GpuGauges, Invalid, JobId, WorkerId, broker::Broker, broker::BrokerError};
use serde_json::{Map, Value};

pub use builder::WorkerBuilder;
pub use shutdown::{Shutdown, shutdown_signal};
pub use windows::RunWindow;

pub use folder::Workplace;

pub(crate) use leases::Held;
pub(crate) use slot::Slot;

use crate::{Handler, JobError};
use identity::Identity;
use surroundings::Surroundings;

/// A process that claims jobs, runs their handlers, keeps their leases alive, and reports how they ended.
///
/// # Trust
///
/// A worker may act on a lease only as long as no other worker can have been given the job. It cannot see the queue's
/// clock, so it counts on its own monotonic one, from just before the request that last renewed the lease was sent:
/// that is never later than the queue's own count. Once this window has passed without a renewal, the handler is
/// stopped and nothing is reported under that lease.
pub struct Worker {
    broker: Arc<dyn Broker>,
    handlers: BTreeMap<String, Arc<dyn Handler>>,
    identity: Identity,
    work_dir: PathBuf,
    settings: Settings,
    surroundings: Surroundings,
}

#[derive(Clone, Debug)]
struct Settings {
    name: Option<String>,
    concurrency: usize,
    labels: Map<String, Value>,
    metadata: Map<String, Value>,
    grace: Duration,
    stop_grace: Duration,
    patience: Duration,
    poll: Duration,
    heartbeat: Option<Duration>,
    fetch_ahead: bool,
    windows: Vec<RunWindow>,
    abort_outside_window: bool,
}

impl Settings {
    /// Whether it offers a graphics card, so that one that is missing is its trouble.
    fn needs_gpu(&self) -> bool {
        self.labels.get("gpu").is_some_and(|offered| !matches!(offered, Value::Null | Value::Bool(false)))
    }
}

impl Worker {
    /// A worker of this queue: an embedded [`blobforge_core::Queue`], or a [`crate::client::Client`] of a service.
    pub fn builder(broker: Arc<dyn Broker>) -> WorkerBuilder {
        WorkerBuilder::new(broker)
    }

    /// The name it goes by. A worker that made up its own draws another one if the queue knows this one as somebody else.
    pub fn id(&self) -> &WorkerId {
        self.identity.id()
    }

    /// Where the files of running jobs lie.
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", self.id())
            .field("types", &self.handlers.keys())
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The graphics cards of this machine, as far as `nvidia-smi` is found and tells of them. Blocks for some seconds at most.
pub fn graphics_cards() -> Vec<GpuGauges> {
    let cards = cards::Cards::found_in(std::env::var_os("PATH").as_deref());
    cards.map(|mut cards| cards.look().gauges).unwrap_or_default()
}

/// What became of the jobs that a worker ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Done, and the result was accepted.
    pub completed: u64,
    /// Failed, whether or not they will run again.
    pub failed: u64,
    /// Asked to be run again later.
    pub snoozed: u64,
    /// Given back unfinished.
    pub released: u64,
    /// Called off while they ran.
    pub cancelled: u64,
    /// Lost to this worker, so that nothing could be reported.
    pub lost: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.completed, "completed"),
            (self.failed, "failed"),
            (self.snoozed, "snoozed"),
            (self.released, "released"),
            (self.cancelled, "cancelled"),
            (self.lost, "lost"),
        ];
        let said = counts.iter().filter(|(count, what)| *count > 0 || *what == "completed");
        let said: Vec<String> = said.map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&said.join(", "))
    }
}

/// Why a worker did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Something about it is set wrongly.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Another process on this machine works under this id.
    #[error(
        "another process on this machine is worker {id} already: give each process an id of its own, or none"
    )]
    IdInUse {
        /// Which.
        id: WorkerId,
    },
    /// The folder in which the worker keeps its name or its work cannot be used.
    #[error("the worker's folder {path} cannot be used: {source}. Make it writable, or choose another one")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The queue does not take this worker.
    #[error("the queue does not take this worker: {0}")]
    Refused(#[source] BrokerError),
    /// A handler cannot work as things are.
    #[error("the handler of {job_type} cannot work: {}", why.message())]
    NotReady {
        /// Which.
        job_type: String,
        /// Why.
        why: JobError,
    },
    /// A job was due again and again while the queue was being drained.
    #[error("job {job} is at its attempt {attempts} and still due: does it snooze for no time?")]
    Endless {
        /// Which.
        job: JobId,
        /// How often it was claimed.
        attempts: u32,
    },
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness,
}
