//! What limits leave room for, of a type and of each of its keys.

use super::{ASKS_NOTHING, Lanes, TypeIndex};
use crate::{
    Limits, Timestamp,
    storage::{
        execute::earlier,
        rows::{LaneRows, Load},
    },
};

/// Whether one more may start.
enum Room {
    Yes,
    /// Not before another one ends.
    Full,
    /// Not before this time.
    Until(Timestamp),
}

impl Load {
    fn room(&mut self, limits: &Limits, now: Timestamp) -> Room {
        if limits.running.is_some_and(|most| self.running >= most) {
            return Room::Full;
        }
        if let Some(rate) = limits.starts {
            self.started = self.started.believable(rate, now);
        }
        match limits.starts.map(|rate| self.started.start(rate, now)) {
            Some(Err(later)) => Room::Until(later),
            Some(Ok(_)) | None => Room::Yes,
        }
    }

    pub(super) fn start(&mut self, limits: &Limits, now: Timestamp) {
        if let Some(Ok(started)) = limits.starts.map(|rate| self.started.start(rate, now)) {
            self.started = started;
        }
    }

    /// Notes that a claim was turned away, and when the clock makes room, if it does.
    fn block(&mut self, until: Option<Timestamp>, due: &mut Option<Timestamp>) {
        self.blocked = true;
        self.reopens_at = until;
        if let Some(until) = until {
            earlier(due, until);
        }
    }

    /// Looks again after something made room, or less need of it. Returns whether there is room now; `due` hears when
    /// the clock makes it otherwise.
    fn look_again(&mut self, limits: &Limits, now: Timestamp, due: &mut Option<Timestamp>) -> bool {
        match self.room(limits, now) {
            Room::Yes => true,
            Room::Full => false,
            Room::Until(later) => {
                self.reopens_at = Some(later);
                earlier(due, later);
                false
            }
        }
    }

    fn open(&mut self) {
        self.blocked = false;
        self.reopens_at = None;
    }
}

impl Lanes {
    /// Whether jobs of a type, or of one of its keys, are known to have to wait for room.
    pub(in super::super) fn is_held_back(&self, of: TypeIndex, key: Option<&str>) -> bool {
        let state = &self.types[of];
        state.row.paused || state.row.load.blocked || key.is_some_and(|key| self.is_blocked(of, key))
    }

    /// Changes how many jobs run under the limits of a type and of a key. Returns whether that made room for a claim
    /// that was turned away; `due` hears when the clock will, if a job that ends leaves that to it.
    pub(in super::super) fn occupy<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        of: TypeIndex,
        key: Option<&str>,
        change: i32,
        due: &mut Option<Timestamp>,
    ) -> Result<bool, R::Error> {
        let row = &mut self.types[of].row;
        row.load.running = row.load.running.saturating_add_signed(change);
        let mut reopened = false;
        if row.load.blocked && row.load.look_again(&row.settings.limits, now, due) {
            row.load.open();
            reopened = true;
        }
        if let Some(key) = key {
            let limits = self.key_limits(of);
            let load = self.load_of_key(rows, of, key)?;
            load.running = load.running.saturating_add_signed(change);
            if load.blocked && load.look_again(&limits, now, due) {
                self.reopen_key(rows, of, key)?;
                reopened = true;
            }
        }
        Ok(reopened)
    }

    /// Lets everything that limits hold back be looked at again at `now`, after they were changed.
    pub(in super::super) fn limits_changed<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        now: Timestamp,
    ) -> Result<(), R::Error> {
        let state = &mut self.types[of];
        if state.row.load.blocked {
            state.row.load.reopens_at = Some(now);
        }
        let lanes = state.classes[ASKS_NOTHING].lanes.values_mut();
        for lane in lanes.filter(|lane| lane.load.blocked) {
            lane.load.reopens_at = Some(now);
        }
        rows.reopen_keys(&state.job_type, now)
    }

    /// Lets a type start jobs again.
    pub(in super::super) fn reopen_type(&mut self, of: TypeIndex) {
        self.types[of].row.load.open();
    }

    /// Lets the jobs of a key start again: its lanes show their heads, behind those that wait already.
    pub(in super::super) fn reopen_key<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        key: &str,
    ) -> Result<(), R::Error> {
        let classes = self.classes_of_key(rows, of, key)?;
        for class in &classes {
            // Looked at while it is known that its jobs were held back. If there are none, it goes.
            self.lane(rows, of, *class, key)?.changed = true;
        }
        self.load_of_key(rows, of, key)?.open();
        self.next_turn(rows, of, key)?;
        for class in classes {
            let first = self.first(rows, of, class, key)?;
            self.show(of, class, key, first.map(|first| first.priority));
        }
        Ok(())
    }

    pub(super) fn key_limits(&self, of: TypeIndex) -> Limits {
        self.types[of].row.settings.per_key.as_ref().map_or_else(Limits::default, |per_key| per_key.limits)
    }

    /// Whether a claim may take a job of this type at all; notes that it was turned away if not.
    pub(super) fn has_room(&mut self, of: TypeIndex, now: Timestamp, due: &mut Option<Timestamp>) -> bool {
        let row = &mut self.types[of].row;
        let until = match row.load.room(&row.settings.limits, now) {
            _ if row.paused => return false,
            Room::Yes => return true,
            Room::Full => None,
            Room::Until(later) => Some(later),
        };
        row.load.block(until, due);
        false
    }

    /// Whether one more job of a key may start; hides the heads of its lanes if not.
    pub(super) fn key_has_room<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        of: TypeIndex,
        key: &str,
        due: &mut Option<Timestamp>,
    ) -> Result<bool, R::Error> {
        let limits = self.key_limits(of);
        if key.is_empty() || limits.is_none() {
            return Ok(true);
        }
        let load = self.load_of_key(rows, of, key)?;
        let until = match load.room(&limits, now) {
            Room::Yes => return Ok(true),
            Room::Full => None,
            Room::Until(later) => Some(later),
        };
        load.block(until, due);
        // Also where the batch knows of a lane that is not stored any more.
        for class in 0..self.types[of].classes.len() {
            self.show(of, class, key, None);
        }
        for class in self.classes_of_key(rows, of, key)? {
            self.lane(rows, of, class, key)?.changed = true;
            self.show(of, class, key, None);
        }
        Ok(false)
    }

    /// What goes on under the limits of a key: it stands in its lane of the class that asks for nothing.
    pub(super) fn load_of_key<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        key: &str,
    ) -> Result<&mut Load, R::Error> {
        Ok(&mut self.lane(rows, of, ASKS_NOTHING, key)?.load)
    }

    /// Whether a key is known to have to wait for room.
    pub(super) fn is_blocked(&self, of: TypeIndex, key: &str) -> bool {
        self.types[of].classes[ASKS_NOTHING].lanes.get(key).is_some_and(|lane| lane.load.blocked)
    }

    /// Whether nothing has to be remembered of a key that has no jobs in its lane of the class that asks for nothing.
    /// One whose starts are not paid for yet is remembered until they are.
    pub(super) fn may_forget<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        of: TypeIndex,
        key: &str,
    ) -> Result<bool, R::Error> {
        let load = self.load_of_key(rows, of, key)?;
        let (idle, paid_at) = (load.running == 0 && !load.blocked, load.started.0);
        if !idle || rows.lanes_of_key(&self.types[of].job_type, key)?.iter().any(|class| *class != 0) {
            return Ok(false);
        }
        if paid_at > now {
            self.load_of_key(rows, of, key)?.reopens_at = Some(paid_at);
        }
        Ok(paid_at <= now)
    }
}
