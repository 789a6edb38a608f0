//! Which program, and what it may use.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use blobforge_core::Invalid;

use super::environment;
use crate::{
    JobError, Workplace,
    child::{ChildLimits, ChildSpec, network_can_be_cut},
};

/// What a program may use before it is stopped.
pub type Limits = ChildLimits;

/// When a runner that works is replaced by a fresh one all the same: what leaks a little is harmless then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recycling {
    /// After so many jobs.
    pub jobs: Option<u64>,
    /// When its process group holds more memory than this after a job, in bytes.
    pub memory_bytes: Option<u64>,
}

/// A program of any language that does the work: how it is called, and what it may use.
///
/// ```
/// use blobforge_worker_sdk::program::{Command, Program};
/// let program = Program::new(["pandoc", "{source}", "-o", "{outdir}/book.html"])?.pass("PANDOC_DATA_DIR");
/// let handler = Command::new("book", program);
/// # Ok::<(), blobforge_core::Invalid>(())
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    passed: Vec<String>,
    set: Vec<(OsString, OsString)>,
    pub(super) limits: Limits,
    /// What was said of it, if anything was.
    silence: Option<Option<Duration>>,
    pub(super) ready_within: Duration,
    pub(super) recycling: Recycling,
    network: bool,
}

impl Program {
    /// What a program may use unless something else is said: 16 GiB of memory for its process group, as much of output, and
    /// 64 GiB of temporary files. How long it may be silent is said by the handler.
    pub const LIMITS: Limits = Limits {
        no_progress: None,
        total: None,
        memory_bytes: 16 << 30,
        output_bytes: 16 << 30,
        scratch_bytes: 64 << 30,
        grace: Duration::from_secs(5),
    };

    /// A program and its arguments, with the [usual limits](Self::LIMITS).
    ///
    /// # Errors
    /// When there is nothing to call.
    pub fn new(call: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, Invalid> {
        let mut call = call.into_iter().map(Into::into);
        let Some(program) = call.next().filter(|program: &OsString| !program.is_empty()) else {
            return Err(Invalid::new("program", "say which program does the work"));
        };
        Ok(Self {
            program: program.into(),
            args: call.collect(),
            passed: Vec::new(),
            set: Vec::new(),
            limits: Self::LIMITS,
            silence: None,
            ready_within: Duration::from_secs(5 * 60),
            recycling: Recycling::default(),
            network: true,
        })
    }

    /// Hands on a variable of the worker's own environment, if it is set. Besides what every program needs (such as
    /// `PATH`, `HOME` and `CUDA_VISIBLE_DEVICES`) it gets none: no credential of the worker is among what it sees.
    #[must_use]
    pub fn pass(mut self, variable: impl Into<String>) -> Self {
        self.passed.push(variable.into());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, variable: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.set.push((variable.into(), value.into()));
        self
    }

    /// Sets what it may use. Without `no_progress` it is the handler that says how long it may be silent; it may be so for as
    /// long as it likes by [`Program::silence`] alone.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long it may show no progress; `None` for as long as it likes. By default a [`Runner`](super::Runner) may for 10
    /// minutes and a [`Command`](super::Command), for which whatever it says or writes is progress, for an hour.
    #[must_use]
    pub fn silence(mut self, time: Option<Duration>) -> Self {
        self.silence = Some(time);
        self
    }

    pub(crate) fn silent_at_most(mut self, by_default: Duration) -> Self {
        let said = self.limits.no_progress.or(Some(by_default));
        self.limits.no_progress = self.silence.unwrap_or(said);
        self
    }

    /// How long a [`Runner`](super::Runner) may take until it is ready; 5 minutes by default.
    #[must_use]
    pub fn ready_within(mut self, time: Duration) -> Self {
        self.ready_within = time;
        self
    }

    /// When a [`Runner`](super::Runner) is replaced by a fresh one; never by default.
    #[must_use]
    pub fn recycling(mut self, recycling: Recycling) -> Self {
        self.recycling = recycling;
        self
    }

    /// Cuts it off the network: for handlers that need none. The program sees a network of its own with nobody else in it.
    ///
    /// # Errors
    /// When this machine does not let processes leave their network.
    pub fn without_network(mut self) -> Result<Self, Invalid> {
        if !network_can_be_cut() {
            let reason = "this machine does not allow network namespaces, so the program cannot be cut off: allow them \
                          (user.max_net_namespaces, or run the worker with CAP_SYS_ADMIN), or let it have the network";
            return Err(Invalid::new("no_network", reason));
        }
        self.network = false;
        Ok(self)
    }

    /// Looks whether it is there.
    pub(super) fn check(&self) -> Result<(), JobError> {
        let found = environment::find(&self.program);
        found.map(|_| ()).map_err(|error| {
            let program = self.program.display();
            let message =
                format!("the program {program} cannot be called: {error}. Install it, or correct its name");
            JobError::host_trouble("spawn_failed", message)
        })
    }

    /// What to start, with its arguments filled in by `fill`.
    pub(super) fn spec(
        &self,
        place: &Workplace,
        output_dir: &Path,
        fill: impl Fn(&OsString) -> OsString,
    ) -> ChildSpec {
        let mut spec = ChildSpec::new(&self.program, output_dir).limits(self.limits.clone());
        spec.args = self.args.iter().map(fill).collect();
        spec.env = environment::inherited(&self.passed);
        spec.env.extend(self.set.iter().cloned());
        spec.network = self.network;
        spec.mark = Some(place.next_mark());
        spec
    }
}
