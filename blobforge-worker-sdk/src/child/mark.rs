//! A mark in the environment, by which processes are found again that left their group or outlived their supervisor.
//!
//! Whoever starts a process hands its environment on, so that the mark goes to grandchildren as well, also to those
//! that called `setsid`. Only a program that throws its environment away gets rid of it.

use std::ffi::OsString;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// The variable that bears it.
const VARIABLE: &str = "BLOBFORGE_RUN";

/// How often to look again for processes that were started while we looked.
const ROUNDS: usize = 10;

/// How long to wait for a process that is just becoming another program.
const EXEC_TAKES: Duration = Duration::from_millis(2);

/// What one child and everything it starts bears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark(String);

impl Mark {
    /// The mark of everything that a run of a worker starts. `run` is the name of its folder.
    pub(crate) fn of_run(run: &str) -> Self {
        Self(format!("{VARIABLE}={run}."))
    }

    /// A mark for one more child of that run.
    pub(crate) fn next_of_run(run: &str) -> Self {
        static CHILDREN: AtomicU64 = AtomicU64::new(0);
        let Self(run) = Self::of_run(run);
        // With an end, lest the first child's mark be the beginning of the tenth's.
        Self(format!("{run}{}.", CHILDREN.fetch_add(1, Ordering::Relaxed)))
    }

    /// The variable to start a child with.
    pub(crate) fn variable(&self) -> (OsString, OsString) {
        let (name, value) = self.0.split_once('=').unwrap_or((&self.0, ""));
        (name.into(), value.into())
    }

    /// Kills every process that bears it, and says how many there were.
    pub(crate) fn kill_bearers(&self) -> usize {
        let mut killed = 0;
        for _ in 0..ROUNDS {
            let (found, undecided) = self.kill_once();
            killed += found;
            if found == 0 && undecided == 0 {
                break;
            }
            if found == 0 {
                thread::sleep(EXEC_TAKES);
            }
        }
        killed
    }

    /// How many were killed, and of how many it cannot be said yet.
    fn kill_once(&self) -> (usize, usize) {
        let Ok(processes) = fs::read_dir("/proc") else { return (0, 0) };
        let number = |name: OsString| name.to_str().and_then(|name| name.parse::<i32>().ok());
        let all = processes.flatten().filter_map(|entry| Pid::from_raw(number(entry.file_name())?));
        let (mut killed, mut undecided) = (0, 0);
        for process in all.filter(|process| *process != getpid()) {
            match self.kill(process) {
                Some(true) => killed += 1,
                Some(false) => {}
                None => undecided += 1,
            }
        }
        (killed, undecided)
    }

    /// Kills this process if it bears the mark; `None` if that cannot be said yet. The handle is opened before its
    /// environment is read: it cannot come to stand for a stranger.
    fn kill(&self, process: Pid) -> Option<bool> {
        let Ok(handle) = pidfd_open(process, PidfdFlags::empty()) else { return Some(false) };
        Some(self.is_borne_by(process)? && pidfd_send_signal(&handle, Signal::KILL).is_ok())
    }

    /// Whether a process bears it; `None` while it is becoming another program, when it has no environment for an instant.
    fn is_borne_by(&self, process: Pid) -> Option<bool> {
        let folder = format!("/proc/{}", process.as_raw_nonzero());
        // One that is dead already, or somebody else's, has none that could be read.
        let Ok(environment) = fs::read(format!("{folder}/environ")) else { return Some(false) };
        if environment.is_empty() {
            let stat = fs::read_to_string(format!("{folder}/stat")).unwrap_or_default();
            return if may_be_in_exec(&stat) { None } else { Some(false) };
        }
        Some(environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(self.0.as_bytes())))
    }
}

/// Whether a process without an environment may get one: by what `/proc/PID/stat` says, neither dead nor of the kernel.
fn may_be_in_exec(stat: &str) -> bool {
    /// The flag of threads of the kernel.
    const KERNEL_THREAD: u64 = 0x0020_0000;
    // The name comes first, in brackets, and may hold anything.
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_ascii_whitespace();
    let is_alive = fields.next().is_some_and(|state| !matches!(state, "Z" | "X"));
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u64>().ok());
    is_alive && flags.is_some_and(|flags| flags & KERNEL_THREAD == 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lives_and_is_not_of_the_kernel_may_be_becoming_another_program() {
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(may_be_in_exec(&own), "{own}");
        assert!(may_be_in_exec("7 (a) Z (b) R 1 7 7 0 -1 4194304 0 0"));
        assert!(!may_be_in_exec("7 (dead) Z 1 7 7 0 -1 4194304 0 0"));
        assert!(!may_be_in_exec("7 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        assert!(!may_be_in_exec(""));
    }

    #[test]
    fn a_mark_is_no_beginning_of_another_childs() {
        let (first, second) = (Mark("RUN=a.1.".to_owned()), Mark("RUN=a.10.".to_owned()));
        assert!(!second.0.starts_with(&first.0));
        assert!(first.0.starts_with(&Mark("RUN=a.".to_owned()).0));
        assert_eq!(first.variable(), ("RUN".into(), "a.1.".into()));
    }
}
