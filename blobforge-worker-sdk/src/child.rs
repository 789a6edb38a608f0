//! Supervision of one child process that does one piece of work and speaks JSON lines on its standard output.
//!
//! Work that may crash, hang or eat the machine's memory runs in a child, so that it takes nothing but itself down.
//! The child gets its own process group, an explicit environment, no standard input, and limits. However [`run`]
//! ends, also when its future is dropped, the whole group is killed first: nothing that the child forked lives on,
//! unless it left the group by `setsid`.
//!
//! # What the child says
//!
//! One JSON object a line, at most 64 KiB each. Unknown types and lines that are not JSON are ignored.
//!
//! ```text
//! {"type":"progress","done":3,"total":10,"stage":"convert","message":"page 3"}
//! {"type":"heartbeat"}
//! {"type":"result","result":{"pages":10}}
//! {"type":"error","kind":"encrypted","message":"This PDF needs a password.","retryable":false}
//! ```
//!
//! Progress keeps the child alive only where something advanced: `done` passed its highest value in that stage, or
//! a stage began that was not seen before. A heartbeat proves that the process lives, not that the work moves, and
//! therefore extends nothing. The first `result` or `error` is the answer; a result counts only if the child then
//! exits with status 0, or has to be stopped because it lingers.
//!
//! # Example
//!
//! ```
//! use blobforge_worker_sdk::child::{self, ChildSpec};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let spec = ChildSpec::new("/bin/sh", folder.path())
//!     .arg("-c")
//!     .arg(r#"echo '{"type":"result","result":{"pages":2}}'"#);
//! let result = child::run(spec, CancellationToken::new(), |_progress| {}).await?;
//! assert_eq!(result["pages"], 2);
//! # Ok(())
//! # }
//! ```

mod confine;
mod error;
mod group;
mod kinds;
mod lines;
mod mark;
mod message;
mod process;
mod spawner;
mod supervise;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
mod usage;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use confine::{confine_self, network_can_be_cut};
pub use error::ChildError;
pub use message::ChildProgress;
pub use supervise::{accompany, run};

pub(crate) use kinds::{Policy, policy};
pub(crate) use lines::TextLines;
pub(crate) use mark::Mark;
pub(crate) use message::{Advance, Message, NewCheckpoint, Ready, parse};
pub(crate) use process::{Finished, Heard, Listener, Process, Verdict, Watch};
pub(crate) use usage::Folders;

/// What a child may use before it is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildLimits {
    /// How long the child may go without progress that advances; `None` for as long as it likes. Default: 120 seconds.
    pub no_progress: Option<Duration>,
    /// How long the child may run in all. Default: no such limit, since long work is what children are for.
    pub total: Option<Duration>,
    /// Resident memory of the whole process group, in bytes. Sampled, so a child may pass it for an instant; what it
    /// may never pass is what it asked for itself with [`confine_self`]. Default: 2 GiB.
    pub memory_bytes: u64,
    /// Total size of the files below the output folder, in bytes. Sampled. Default: 1 GiB.
    pub output_bytes: u64,
    /// Total size of the files below the scratch folder, if there is one, in bytes. Sampled. Default: 16 GiB.
    pub scratch_bytes: u64,
    /// How long the group may take to end after SIGTERM before SIGKILL follows. Default: 5 seconds.
    pub grace: Duration,
}

impl Default for ChildLimits {
    fn default() -> Self {
        Self {
            no_progress: Some(Duration::from_secs(120)),
            total: None,
            memory_bytes: 2 << 30,
            output_bytes: 1 << 30,
            scratch_bytes: 16 << 30,
            grace: Duration::from_secs(5),
        }
    }
}

impl ChildLimits {
    /// None but the grace: for what no job decides about.
    ///
    /// ```
    /// use blobforge_worker_sdk::child::ChildLimits;
    /// assert_eq!(ChildLimits::none().total, None);
    /// ```
    pub fn none() -> Self {
        Self {
            no_progress: None,
            memory_bytes: u64::MAX,
            output_bytes: u64::MAX,
            scratch_bytes: u64::MAX,
            ..Self::default()
        }
    }
}

/// The child to start.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// The executable. It is not looked up in `PATH`: the child has none.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment; nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// What it may use.
    pub limits: ChildLimits,
    /// Where it writes, and what [`ChildLimits::output_bytes`] measures.
    pub output_dir: PathBuf,
    /// Where its temporary files lie, and what [`ChildLimits::scratch_bytes`] measures.
    pub scratch_dir: Option<PathBuf>,
    /// Whether it may use the network. Without it the child is started in a network of its own, in which nobody else is;
    /// [`network_can_be_cut`] says whether this machine can do that, and where it cannot the child is not started.
    pub network: bool,
    /// By what its descendants are known, also those that left its group.
    pub(crate) mark: Option<Mark>,
}

impl ChildSpec {
    /// A child without arguments and environment, with the default limits.
    pub fn new(program: impl Into<PathBuf>, output_dir: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            limits: ChildLimits::default(),
            output_dir: output_dir.into(),
            scratch_dir: None,
            network: true,
            mark: None,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds one variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    pub(crate) fn folders(&self) -> Folders {
        Folders { output: self.output_dir.clone(), scratch: self.scratch_dir.iter().cloned().collect() }
    }

    /// Cuts the network off.
    #[must_use]
    pub fn without_network(mut self) -> Self {
        self.network = false;
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: ChildLimits) -> Self {
        self.limits = limits;
        self
    }
}
