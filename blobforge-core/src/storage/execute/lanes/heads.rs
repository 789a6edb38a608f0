//! The heads of a class, in the order in which claims want them.

use std::collections::BTreeSet;

use super::{lane::Lane, named::Named};
use crate::{
    JobType, Priority,
    storage::rows::{LaneId, LaneRow, LaneRows, LaneState},
};

/// The most heads that are read at once.
const WIDEST_WINDOW: usize = 64;

/// A head: the priority and the turn of a lane, and its position among those that the batch knows. Among heads, the
/// best comes first.
pub(super) type Known = (Priority, i64, usize);

/// The heads that are known, read window by window as claims need them.
pub(super) struct Heads {
    /// The heads of all lanes that the batch knows. One may promise a more urgent job than its lane still has.
    known: BTreeSet<Known>,
    /// Up to where the stored heads have been read: all others come after it, or are of lanes that the batch knows.
    read_to: ReadTo,
    /// How many to read next.
    window: usize,
}

#[derive(Clone, Copy)]
enum ReadTo {
    Nowhere,
    Head(Priority, i64, LaneId),
    End,
}

impl Heads {
    /// None is known yet.
    pub(super) fn unread() -> Self {
        Self { known: BTreeSet::new(), read_to: ReadTo::Nowhere, window: 2 }
    }

    /// Shows the lane at a position with this priority at its turn, or hides it.
    pub(super) fn show(&mut self, position: usize, lane: &mut Lane, priority: Option<Priority>) {
        let shown = priority.map(|priority| (priority, lane.turn));
        if shown == lane.shown {
            return;
        }
        if let Some((priority, turn)) = lane.shown {
            self.known.remove(&(priority, turn, position));
        }
        lane.shown = shown;
        self.note(position, lane);
    }

    /// Notes what is shown for a lane.
    pub(super) fn note(&mut self, position: usize, lane: &Lane) {
        if let Some((priority, turn)) = lane.shown {
            self.known.insert((priority, turn, position));
        }
    }

    /// The best head, as far as is known; reads on until no stored one can be better.
    pub(super) fn best<R: LaneRows>(
        &mut self,
        rows: &mut R,
        job_type: &JobType,
        class: u8,
        lanes: &mut Named<Lane>,
    ) -> Result<Option<Known>, R::Error> {
        loop {
            let best = self.known.first();
            let after = match (self.read_to, best) {
                (ReadTo::End, best) => return Ok(best.copied()),
                (ReadTo::Head(priority, turn, _), Some(best)) if (best.0, best.1) <= (priority, turn) => {
                    return Ok(Some(*best));
                }
                (ReadTo::Nowhere, _) => None,
                (ReadTo::Head(priority, turn, lane), _) => Some((priority, turn, lane)),
            };
            let window = rows.heads(job_type, class, after, self.window)?;
            self.read_to = match window.last() {
                Some((_, LaneRow { id, state: LaneState { head: Some(head), .. }, .. }))
                    if window.len() == self.window =>
                {
                    ReadTo::Head(head.priority, head.turn, *id)
                }
                _ => ReadTo::End,
            };
            self.window = (self.window * 2).min(WIDEST_WINDOW);
            for (key, row) in window {
                if lanes.position(&key).is_none() {
                    let position = lanes.insert(key, Lane::stored(row));
                    self.note(position, lanes.at(position).1);
                }
            }
        }
    }

    /// The position of the only lane that shows a head, if it is the only one for sure.
    pub(super) fn sole(&self) -> Option<usize> {
        match (self.read_to, self.known.len()) {
            (ReadTo::End, 1) => self.known.first().map(|(.., position)| *position),
            _ => None,
        }
    }

    /// Whether at most one lane shows a head, for sure.
    pub(super) fn is_sole(&self) -> bool {
        matches!(self.read_to, ReadTo::End) && self.known.len() <= 1
    }
}
