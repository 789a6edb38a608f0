//! Which job a claim takes.

use std::rc::Rc;

use super::{ClassIndex, ClassState, Lanes, TypeIndex, TypeState};
use crate::{
    Requirements, Timestamp,
    storage::rows::{LaneRows, Place},
};

/// A job that a claim may take.
pub(in super::super) struct Choice {
    pub(in super::super) of: TypeIndex,
    pub(super) class: ClassIndex,
    pub(super) key: Rc<str>,
    turn: i64,
    pub(in super::super) place: Place,
    /// The classes whose wait is over if it was chosen for its age, as the oldest of all of them; else none.
    for_age: Vec<ClassIndex>,
}

/// What a claim could take of one type.
struct Candidates {
    /// The classes that have something for it.
    classes: Vec<ClassIndex>,
    /// The most urgent, by turns.
    best: Choice,
}

impl Lanes {
    /// The job that a claim of these types takes: the most urgent, or now and then the oldest. `able` says which
    /// requirements its worker meets, and `due` hears when limits that hold jobs back will have room again.
    pub(in super::super) fn choose<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        types: &[TypeIndex],
        able: &dyn Fn(&Requirements) -> bool,
        due: &mut Option<Timestamp>,
    ) -> Result<Option<Choice>, R::Error> {
        let mut candidates = Vec::new();
        for &of in types {
            if self.has_room(of, now, due) {
                candidates.extend(self.candidates(rows, now, of, able, due)?);
            }
        }
        if let Some(due_for_age) = self.due_for_age(&candidates) {
            let Candidates { classes, best } = candidates.swap_remove(due_for_age);
            return Ok(Some(self.oldest_of(rows, now, best, classes, due)?));
        }
        Ok(candidates.into_iter().map(|candidates| candidates.best).min_by_key(|choice| choice.place))
    }

    /// What a claim could take of a type, if there is anything.
    fn candidates<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        of: TypeIndex,
        able: &dyn Fn(&Requirements) -> bool,
        due: &mut Option<Timestamp>,
    ) -> Result<Option<Candidates>, R::Error> {
        let mut classes = Vec::new();
        let mut best: Option<Choice> = None;
        for class in 0..self.types[of].classes.len() {
            let requires = &self.types[of].classes[class].row.requires;
            if !(requires.is_empty() || able(requires)) {
                continue;
            }
            let Some(choice) = self.best(rows, now, of, class, due)? else { continue };
            classes.push(class);
            // The lanes of a key have the same turn: between them its jobs go as in one line.
            let rank = |choice: &Choice| (choice.place.priority, choice.turn, choice.place);
            if best.as_ref().is_none_or(|best| rank(&choice) < rank(best)) {
                best = Some(choice);
            }
        }
        Ok(best.map(|best| Candidates { classes, best }))
    }

    /// Which of the types, if any, it is the turn of to have its oldest job taken. Types that come due together get
    /// their turns one after another, so the first of them gets it early enough for the last. Where there are more
    /// types than claims in a share that cannot be: then every other claim is left to the most urgent.
    ///
    /// How many claims a job had to see pass is counted for its class, by the claims that could have taken it, so that
    /// those of workers that cannot are not held for its turn.
    fn due_for_age(&mut self, candidates: &[Candidates]) -> Option<usize> {
        let types = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        let mut due: Option<((u32, Place), usize)> = None;
        for (index, Candidates { classes, best }) in candidates.iter().enumerate() {
            let state = &mut self.types[best.of];
            let share = state.row.settings.oldest_share();
            if share == 0 {
                continue;
            }
            let mut longest = 0;
            for class in classes {
                let passed = &mut state.classes[*class].row.passed;
                *passed = passed.saturating_add(1);
                longest = longest.max(*passed);
            }
            let from = if types <= share { share + 1 - types } else { types.saturating_mul(2) };
            // Of two that have waited as long, the one that a claim takes otherwise can wait.
            let rank = (longest, best.place);
            if longest >= from && due.is_none_or(|(longest, _)| rank > longest) {
                due = Some((rank, index));
            }
        }
        due.map(|(_, index)| index)
    }

    /// The oldest job of several classes of a type; the one that a claim would take otherwise, if there is none.
    fn oldest_of<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        otherwise: Choice,
        classes: Vec<ClassIndex>,
        due: &mut Option<Timestamp>,
    ) -> Result<Choice, R::Error> {
        let mut oldest = otherwise;
        let age = |choice: &Choice| (choice.place.ready_at, choice.place.id);
        for &class in &classes {
            if let Some(choice) = self.oldest(rows, now, oldest.of, class, due)?
                && age(&choice) < age(&oldest)
            {
                oldest = choice;
            }
        }
        Ok(Choice { for_age: classes, ..oldest })
    }

    /// Notes that a chosen job was started.
    pub(in super::super) fn started<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        choice: &Choice,
    ) -> Result<(), R::Error> {
        if !choice.key.is_empty() {
            let limits = self.key_limits(choice.of);
            self.load_of_key(rows, choice.of, &choice.key)?.start(&limits, now);
        }
        let state = &mut self.types[choice.of];
        state.row.load.start(&state.row.settings.limits, now);
        for class in &choice.for_age {
            state.classes[*class].row.passed = 0;
        }
        // A lane that is alone needs no turns.
        if state.classes.len() > 1 || !state.classes[choice.class].heads.is_sole() {
            self.next_turn(rows, choice.of, &choice.key)?;
        }
        Ok(())
    }

    /// Puts a key behind all others, with the lanes that it has in any class.
    pub(super) fn next_turn<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        key: &str,
    ) -> Result<(), R::Error> {
        self.types[of].row.turn += 1;
        let turn = self.types[of].row.turn;
        for class in self.classes_of_key(rows, of, key)? {
            self.lane(rows, of, class, key)?;
            let ClassState { lanes, heads, .. } = &mut self.types[of].classes[class];
            if let Some(position) = lanes.position(key) {
                let lane = lanes.at(position).1;
                lane.turn = turn;
                lane.changed = true;
                let urgent = lane.shown.map(|(priority, _)| priority);
                heads.show(position, lane, urgent);
            }
        }
        Ok(())
    }

    /// The first job of a class that may start.
    fn best<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        of: TypeIndex,
        class: ClassIndex,
        due: &mut Option<Timestamp>,
    ) -> Result<Option<Choice>, R::Error> {
        loop {
            let TypeState { job_type, classes, .. } = &mut self.types[of];
            let ClassState { row, lanes, heads, .. } = &mut classes[class];
            let Some((priority, turn, position)) = heads.best(rows, job_type, row.class, lanes)? else {
                return Ok(None);
            };
            let key = Rc::clone(lanes.at(position).0);
            if !self.key_has_room(rows, now, of, &key, due)? {
                continue;
            }
            let first = self.first(rows, of, class, &key)?;
            match first {
                Some(place) if place.priority == priority => {
                    return Ok(Some(Choice { of, class, key, turn, place, for_age: Vec::new() }));
                }
                // The head promised a more urgent job than there is.
                _ => self.show(of, class, &key, first.map(|place| place.priority)),
            }
        }
    }

    /// The job of a class that has waited longest of those that may start.
    fn oldest<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        of: TypeIndex,
        class: ClassIndex,
        due: &mut Option<Timestamp>,
    ) -> Result<Option<Choice>, R::Error> {
        loop {
            let ClassState { lanes, heads, .. } = &mut self.types[of].classes[class];
            let sole = heads.sole();
            let oldest = match sole {
                Some(position) => Some(Rc::clone(lanes.at(position).0)),
                None => {
                    self.settle_class(rows, now, of, class)?;
                    let state = &self.types[of];
                    rows.oldest_head(&state.job_type, state.classes[class].row.class)?.map(Rc::from)
                }
            };
            let Some(key) = oldest else { return Ok(None) };
            if !self.key_has_room(rows, now, of, &key, due)? {
                continue;
            }
            let lane = self.lane(rows, of, class, &key)?;
            let promised = lane.promised();
            match lane.oldest(rows)? {
                // The head promised an older one than there is: then another lane's may be older.
                Some(place) if Some(place.ready_at) > promised && sole.is_none() => {}
                Some(place) => {
                    let turn = lane.turn;
                    return Ok(Some(Choice { of, class, key, turn, place, for_age: Vec::new() }));
                }
                None => {
                    lane.changed = true;
                    self.show(of, class, &key, None);
                }
            }
        }
    }
}
