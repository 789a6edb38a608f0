//! Limits that a child sets for itself, and those that it is started with.

use std::io;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, write};
use rustix::process::{Resource, Rlimit, Signal, getgid, getuid, set_parent_process_death_signal, setrlimit};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::ChildSpec;

/// Address space beyond the memory limit: reserved stacks, arenas and mapped code, most of which is never touched.
const ADDRESS_HEADROOM_BYTES: u64 = 1 << 30;

/// Confines the calling process; a child calls this first, before it reads anything.
///
/// Allocations beyond `memory_bytes` and a headroom of 1 GiB fail, which ends most programs at once, where the
/// supervisor's samples would come too late. No file may grow past `output_bytes`. There are no core dumps, since a
/// core holds the document. And when the supervisor dies, so does this process.
///
/// # Errors
///
/// Fails if the system refuses a limit, for instance because a lower one is already in force.
pub fn confine_self(memory_bytes: u64, output_bytes: u64) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    setrlimit(Resource::Core, limit(0))?;
    setrlimit(Resource::Fsize, limit(output_bytes))?;
    setrlimit(Resource::As, limit(memory_bytes.saturating_add(ADDRESS_HEADROOM_BYTES)))?;
    Ok(())
}

fn limit(bytes: u64) -> Rlimit {
    Rlimit { current: Some(bytes), maximum: Some(bytes) }
}

/// What a child is started with: it dies with its supervisor, leaves no core, writes no file larger than its output may
/// be, and has no network if it needs none.
#[derive(Debug, Clone)]
pub(super) struct Confinement {
    file_bytes: u64,
    network: Option<Seclusion>,
}

/// What a process writes to keep its user in a namespace of its own.
#[derive(Debug, Clone)]
struct Seclusion {
    user: String,
    group: String,
}

impl Confinement {
    pub(super) fn of(spec: &ChildSpec) -> Self {
        let file_bytes = spec.limits.output_bytes.max(spec.limits.scratch_bytes);
        let network = (!spec.network).then(|| Seclusion {
            user: format!("{0} {0} 1", getuid().as_raw()),
            group: format!("{0} {0} 1", getgid().as_raw()),
        });
        Self { file_bytes, network }
    }

    /// Has the command confine its child before anything else runs in it.
    #[allow(unsafe_code, reason = "only the child itself, between fork and exec, can set these for itself")]
    pub(super) fn applied_to(self, command: &mut tokio::process::Command) {
        // SAFETY: between fork and exec only async-signal-safe calls are made: system calls, with everything they read
        // allocated before. `a_child_dies_with_its_supervisor` and `a_child_without_network_reaches_nobody` test it.
        unsafe {
            command.pre_exec(move || self.confine().map_err(io::Error::from));
        }
    }

    fn confine(&self) -> Result<(), Errno> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        setrlimit(Resource::Core, limit(0))?;
        // Where a lower limit holds already, that is as good.
        let _ = setrlimit(Resource::Fsize, limit(self.file_bytes));
        self.network.as_ref().map_or(Ok(()), Seclusion::seclude)
    }
}

impl Seclusion {
    /// Leaves the network for one of its own, in which nobody else is.
    fn seclude(&self) -> Result<(), Errno> {
        match leave(UnshareFlags::NEWNET) {
            Err(Errno::PERM) => {}
            decided => return decided,
        }
        // Who may not do that may do it as the root of a namespace of users, in which it stays who it was.
        leave(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
        say("/proc/self/setgroups", "deny")?;
        say("/proc/self/uid_map", &self.user)?;
        say("/proc/self/gid_map", &self.group)
    }
}

#[allow(unsafe_code, reason = "rustix marks the call as unsafe for the sake of UnshareFlags::FILES")]
fn leave(what: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: the table of file descriptors is not unshared, and the process has one thread.
    unsafe { unshare_unsafe(what) }
}

fn say(file: &str, text: &str) -> Result<(), Errno> {
    write(open(file, OFlags::WRONLY, Mode::empty())?, text.as_bytes()).map(|_| ())
}

/// Whether this machine lets a process leave its network; tried once.
pub fn network_can_be_cut() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let mut spec = ChildSpec::new("/bin/true", "");
        spec.network = false;
        let mut trial = tokio::process::Command::from(Command::new(&spec.program));
        trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Confinement::of(&spec).applied_to(&mut trial);
        trial.as_std_mut().status().is_ok_and(|status| status.success())
    })
}
