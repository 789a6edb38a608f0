//! A process group that does not outlive its guard.

use rustix::process::{Pid, Signal, kill_process_group};

/// Kills its process group when dropped.
///
/// The group's number is its leader's process id, which stays taken until somebody waits for the leader. Whoever
/// holds a `Group` calls [`Group::end`] before waiting; so no signal can reach a stranger that got the number next.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    ended: bool,
}

impl Group {
    /// The group of a child started with `process_group(0)`, not yet waited for.
    pub(super) fn of(leader: Pid) -> Self {
        Self { leader, ended: false }
    }

    pub(super) fn leader(&self) -> Pid {
        self.leader
    }

    /// Asks every process of the group to end.
    pub(super) fn ask_to_end(&self) {
        if !self.ended {
            // An error means that nobody is left to ask.
            let _ = kill_process_group(self.leader, Signal::TERM);
        }
    }

    /// Kills every process of the group.
    pub(super) fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}
