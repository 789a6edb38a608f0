//! A process group that does not outlive its guard.

use rustix::process::{Pid, Signal, kill_process_group};

use super::mark::Mark;

/// Kills its process group when dropped, and whoever left it but still bears its mark.
///
/// The group's number is its leader's process id, which stays taken until somebody waits for the leader. Whoever
/// holds a `Group` calls [`Group::end`] before waiting; so no signal can reach a stranger that got the number next.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    mark: Option<Mark>,
    ended: bool,
}

impl Group {
    /// The group of a child started with `process_group(0)`, not yet waited for.
    pub(super) fn of(leader: Pid, mark: Option<Mark>) -> Self {
        Self { leader, mark, ended: false }
    }

    pub(super) fn leader(&self) -> Pid {
        self.leader
    }

    pub(super) fn number(&self) -> i32 {
        self.leader.as_raw_nonzero().get()
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
            if let Some(mark) = &self.mark {
                mark.kill_bearers();
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}
