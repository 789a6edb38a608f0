//! A mark in the environment, by which processes are found again that left their group or outlived their supervisor.
//!
//! Whoever starts a process hands its environment on, so that the mark goes to grandchildren as well, also to those
//! that called `setsid`. Only a program that throws its environment away gets rid of it.

use std::ffi::OsString;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// The variable that bears it.
const VARIABLE: &str = "BLOBFORGE_RUN";

/// How often to look again for processes that were started while we looked.
const ROUNDS: usize = 10;

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
            let found = self.kill_once();
            killed += found;
            if found == 0 {
                break;
            }
        }
        killed
    }

    fn kill_once(&self) -> usize {
        let Ok(processes) = fs::read_dir("/proc") else { return 0 };
        let number = |name: OsString| name.to_str().and_then(|name| name.parse::<i32>().ok());
        let others = processes.flatten().filter_map(|entry| number(entry.file_name()));
        others
            .filter_map(Pid::from_raw)
            .filter(|process| *process != getpid())
            .filter(|p| self.kill(*p))
            .count()
    }

    /// Kills this process if it bears the mark. The handle is opened before its environment is read: it cannot come to
    /// stand for a stranger.
    fn kill(&self, process: Pid) -> bool {
        let Ok(handle) = pidfd_open(process, PidfdFlags::empty()) else { return false };
        self.is_borne_by(process) && pidfd_send_signal(&handle, Signal::KILL).is_ok()
    }

    /// A process that is dead already has no environment any more.
    fn is_borne_by(&self, process: Pid) -> bool {
        let file = format!("/proc/{}/environ", process.as_raw_nonzero());
        let environment = fs::read(file).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(self.0.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_no_beginning_of_another_childs() {
        let (first, second) = (Mark("RUN=a.1.".to_owned()), Mark("RUN=a.10.".to_owned()));
        assert!(!second.0.starts_with(&first.0));
        assert!(first.0.starts_with(&Mark("RUN=a.".to_owned()).0));
        assert_eq!(first.variable(), ("RUN".into(), "a.1.".into()));
    }
}
