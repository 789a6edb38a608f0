//! How much came over.

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
    /// Counts a job.
    pub(super) fn count(&mut self, job: &OldJob, fate: &Fate) {
        match fate {
            Fate::Taken { with_source, damaged } => {
                self.without_source += u64::from(!with_source);
                let name = job.sha256.to_string();
                self.damaged.extend(damaged.clone().map(|why| NotTaken { name, why }));
                let count = match job.state {
                    OldState::Done => &mut self.done,
                    OldState::ToDo => &mut self.to_do,
                    OldState::Dead(_) => &mut self.dead,
                    OldState::Cancelled => &mut self.cancelled,
                };
                *count += 1;
            }
            Fate::Existing => self.existing += 1,
            Fate::Failed(why) => {
                self.failed.push(NotTaken { name: job.sha256.to_string(), why: why.clone() });
            }
        }
    }
}
