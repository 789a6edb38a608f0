//! One lane within a batch.

use crate::{
    Priority, Timestamp,
    storage::rows::{Front, Head, LaneId, LaneRow, LaneRows, LaneState, Load, MAX_FRONT, Place},
};

/// One line of jobs. A lane without jobs has no id until it gets one.
pub(super) struct Lane {
    pub(super) id: Option<LaneId>,
    /// As it is stored.
    kept: LaneState,
    /// What goes on under the limits of its key; in class 0 alone.
    pub(super) load: Load,
    /// What stands for it among the known heads.
    pub(super) shown: Option<(Priority, i64)>,
    pub(super) turn: i64,
    front: Front,
    /// The front is not as it is stored.
    front_changed: bool,
    /// Its head, as it is stored, may no longer be true.
    pub(super) changed: bool,
}

impl Lane {
    pub(super) fn empty() -> Self {
        Self {
            id: None,
            kept: LaneState::default(),
            load: Load::default(),
            shown: None,
            turn: 0,
            front: Front::default(),
            front_changed: false,
            changed: false,
        }
    }

    /// A lane as it is stored.
    pub(super) fn stored(LaneRow { id, state, front }: LaneRow) -> Self {
        let shown = state.head.map(|head| (head.priority, head.turn));
        let turn = state.head.map_or(0, |head| head.turn);
        Self { id: Some(id), kept: state, load: state.load, shown, turn, front, ..Self::empty() }
    }

    /// Whether it may have to be written.
    pub(super) fn is_unsettled(&self) -> bool {
        self.changed || self.load != self.kept.load
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
        if self.front.behind().is_some() { rows.remove_ready(id, place) } else { Ok(false) }
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

    /// Before when no job of it is ready, as far as is known.
    pub(super) fn promised(&self) -> Option<Timestamp> {
        self.front.oldest()
    }

    /// The one that has waited longest in it, whatever its priority.
    pub(super) fn oldest<R: LaneRows>(&mut self, rows: &mut R) -> Result<Option<Place>, R::Error> {
        let age = |place: &Place| (place.ready_at, place.id);
        let mut oldest = self.front.places().iter().copied().min_by_key(age);
        let may_be_behind = |behind| oldest.is_none_or(|oldest| behind <= oldest.ready_at);
        if let Some(id) = self.id
            && self.front.behind().is_some_and(may_be_behind)
        {
            let behind = rows.oldest_ready(id)?;
            self.front.oldest_behind_is(behind.as_ref());
            self.changed = true;
            self.front_changed = true;
            oldest = oldest.into_iter().chain(behind).min_by_key(age);
        }
        Ok(oldest)
    }

    /// Writes what is no longer as it is stored, with this head.
    pub(super) fn settle<R: LaneRows>(
        &mut self,
        rows: &mut R,
        id: LaneId,
        head: Option<Head>,
    ) -> Result<(), R::Error> {
        let state = LaneState { head, load: self.load };
        if self.front_changed || state != self.kept {
            rows.update_lane(id, &self.kept, &state, &self.front)?;
            self.kept = state;
            self.front_changed = false;
        }
        self.changed = false;
        Ok(())
    }
}
