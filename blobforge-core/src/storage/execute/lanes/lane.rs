//! One lane within a batch.

use crate::{
    Priority, Timestamp,
    storage::rows::{Front, Head, LaneId, LaneRow, LaneRows, MAX_FRONT, Place},
};

/// One line of jobs. A lane without jobs has no id until it gets one.
pub(super) struct Lane {
    pub(super) id: Option<LaneId>,
    /// Its head as it is stored.
    kept: Option<Head>,
    /// What stands for it among the known heads.
    pub(super) shown: Option<(Priority, i64)>,
    pub(super) turn: i64,
    /// No job in it is ready since before this.
    pub(super) oldest: Timestamp,
    front: Front,
    /// The front is not as it is stored.
    front_changed: bool,
    /// What is stored of it may no longer be true.
    pub(super) changed: bool,
}

impl Lane {
    pub(super) fn empty() -> Self {
        Self {
            id: None,
            kept: None,
            shown: None,
            turn: 0,
            oldest: Timestamp::ZERO,
            front: Front::default(),
            front_changed: false,
            changed: false,
        }
    }

    /// A lane as it is stored.
    pub(super) fn stored(LaneRow { id, head, front }: LaneRow) -> Self {
        let (turn, oldest) = head.map_or((0, Timestamp::ZERO), |head| (head.turn, head.oldest));
        let shown = head.map(|head| (head.priority, head.turn));
        Self { id: Some(id), kept: head, shown, turn, oldest, front, ..Self::empty() }
    }

    /// Whether there is no job in it.
    pub(super) fn is_empty(&self) -> bool {
        self.front.is_all_empty()
    }

    /// Takes a job in.
    pub(super) fn push<R: LaneRows>(
        &mut self,
        rows: &mut R,
        id: LaneId,
        place: Place,
    ) -> Result<(), R::Error> {
        self.oldest = if self.is_empty() { place.ready_at } else { self.oldest.min(place.ready_at) };
        self.changed = true;
        self.front_changed = true;
        match self.front.push(place) {
            Some(behind) => rows.push_ready(id, &behind),
            None => Ok(()),
        }
    }

    /// Takes a job out, if it is there.
    pub(super) fn remove<R: LaneRows>(&mut self, rows: &mut R, place: &Place) -> Result<bool, R::Error> {
        let Some(id) = self.id else { return Ok(false) };
        self.changed = true;
        if self.front.remove(place) {
            self.front_changed = true;
            return Ok(true);
        }
        if self.front.has_more() { rows.remove_ready(id, place) } else { Ok(false) }
    }

    /// Who stands first in it.
    pub(super) fn first<R: LaneRows>(&mut self, rows: &mut R) -> Result<Option<Place>, R::Error> {
        if let Some(id) = self.id.filter(|_| self.front.is_used_up()) {
            self.front.refill(rows.take_ready(id, MAX_FRONT)?);
            self.changed = true;
            self.front_changed = true;
        }
        Ok(self.front.places().first().copied())
    }

    /// The one that has waited longest in it, whatever its priority.
    pub(super) fn oldest<R: LaneRows>(&self, rows: &mut R) -> Result<Option<Place>, R::Error> {
        let in_line = match self.id {
            Some(id) if self.front.has_more() => rows.oldest_ready(id)?,
            _ => None,
        };
        let all = self.front.places().iter().copied().chain(in_line);
        Ok(all.min_by_key(|place| (place.ready_at, place.id)))
    }

    /// Writes what is no longer as it is stored, with this head.
    pub(super) fn settle<R: LaneRows>(
        &mut self,
        rows: &mut R,
        id: LaneId,
        head: Option<Head>,
    ) -> Result<(), R::Error> {
        if self.front_changed || head != self.kept {
            rows.update_lane(id, self.kept.as_ref(), head.as_ref(), &self.front)?;
            self.kept = head;
            self.front_changed = false;
        }
        Ok(())
    }
}
