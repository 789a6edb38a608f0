//! How much came over.

use blobforge_core::Status;
use serde::Serialize;

use super::{OldJob, OldState};

/// What came over, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Imported {
    /// Done there, and here now.
    pub(crate) done: u64,
    /// Waiting.
    pub(crate) to_do: u64,
    /// Failed.
    pub(crate) dead: u64,
    /// Called off.
    pub(crate) cancelled: u64,
    /// Here already.
    pub(crate) existing: u64,
    /// Of those that came over, whose source is not there.
    pub(crate) without_source: u64,
    /// Of those, whose source is there and is another file.
    pub(crate) damaged: Vec<NotTaken>,
    /// What did not come over.
    pub(crate) failed: Vec<NotTaken>,
}

/// Something that did not come over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NotTaken {
    /// The hash of a file, or the row of a table.
    pub(crate) name: String,
    pub(crate) why: String,
}

impl Imported {
    /// How many jobs came over.
    pub(crate) fn jobs(&self) -> u64 {
        self.done + self.to_do + self.dead + self.cancelled
    }
}

/// What became of a job, or would.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Taken { with_source: bool, damaged: Option<String> },
    Existing,
    Failed(String),
}

impl Imported {
    /// Counts a job that came over.
    pub(super) fn count_one(&mut self, status: Status, with_source: bool) {
        self.without_source += u64::from(!with_source);
        let count = match status {
            Status::Completed => &mut self.done,
            Status::Failed => &mut self.dead,
            Status::Cancelled => &mut self.cancelled,
            Status::Uploading | Status::Pending | Status::Running => &mut self.to_do,
        };
        *count += 1;
    }

    /// Counts a job.
    pub(super) fn count(&mut self, job: &OldJob, fate: &Fate) {
        match fate {
            Fate::Taken { with_source, damaged } => {
                let name = job.sha256.to_string();
                self.damaged.extend(damaged.clone().map(|why| NotTaken { name, why }));
                let status = match job.state {
                    OldState::Done => Status::Completed,
                    OldState::ToDo => Status::Pending,
                    OldState::Dead(_) => Status::Failed,
                    OldState::Cancelled => Status::Cancelled,
                };
                self.count_one(status, *with_source);
            }
            Fate::Existing => self.existing += 1,
            Fate::Failed(why) => {
                self.failed.push(NotTaken { name: job.sha256.to_string(), why: why.clone() });
            }
        }
    }
}
