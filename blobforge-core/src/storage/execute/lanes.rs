//! Who is next: lanes, the classes of requirements, the turns of keys, and what limits leave room for.
//!
//! A lane is a line of jobs of one type, one requirement class and one limit key. A lane that has jobs which may start
//! shows a head, and a claim looks at heads alone: limits and turns change heads, never the jobs that wait.
//!
//! While a batch runs nobody else writes, so what it has learnt holds until it changes it itself. Changes are kept
//! here and written at the end. The heads of a class are read window by window, the best first, as claims need them.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    mem,
};

use super::earlier;
use crate::{
    JobType, Limits, Priority, Requirements, Status, Timestamp,
    storage::{
        command::Refusal,
        rows::{ClassRow, Head, LaneId, LaneRows, Load, Place, Rows, TypeRow},
    },
};

/// The most requirement classes of a type, the one that asks for nothing included.
pub(crate) const MAX_CLASSES: usize = 64;

/// A type within this batch.
pub(super) type TypeIndex = usize;
/// A class within its type, within this batch.
pub(super) type ClassIndex = usize;

/// What a batch knows of types and lanes.
#[derive(Default)]
pub(super) struct Lanes {
    types: Vec<TypeState>,
    by_name: HashMap<JobType, TypeIndex>,
}

struct TypeState {
    job_type: JobType,
    row: TypeRow,
    kept: Option<TypeRow>,
    classes: Vec<ClassState>,
    keys: HashMap<String, KeyState>,
    counts: [i64; Status::ALL.len()],
}

struct ClassState {
    row: ClassRow,
    kept: Option<ClassRow>,
    lanes: HashMap<String, Lane>,
    heads: Heads,
}

/// The heads of a class in the order in which claims want them.
struct Heads {
    /// The heads of all lanes that the batch knows. One may promise a more urgent job than its lane still has.
    known: BTreeSet<(Priority, i64, String)>,
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

/// The most heads that are read at once.
const WIDEST_WINDOW: usize = 64;

struct KeyState {
    load: Load,
    kept: Option<Load>,
}

/// One lane. A lane without jobs has no id until it gets one.
struct Lane {
    id: Option<LaneId>,
    kept: Option<Head>,
    /// What stands for it among the known heads.
    shown: Option<(Priority, i64)>,
    turn: i64,
    oldest: Timestamp,
    first: First,
    /// What is stored of it may no longer be true.
    changed: bool,
}

/// Who stands first in a lane, as far as is known.
#[derive(Clone, Copy)]
enum First {
    Unknown,
    Nobody,
    Job(Place),
}

/// A job that a claim may take.
pub(super) struct Choice {
    pub(super) of: TypeIndex,
    class: ClassIndex,
    key: String,
    turn: i64,
    pub(super) place: Place,
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

    fn start(&mut self, limits: &Limits, now: Timestamp) {
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
    /// Finds a type, known to the store or not.
    pub(super) fn of<R: LaneRows>(
        &mut self,
        rows: &mut R,
        job_type: &JobType,
    ) -> Result<TypeIndex, R::Error> {
        if let Some(known) = self.by_name.get(job_type) {
            return Ok(*known);
        }
        let kept = rows.job_type(job_type)?;
        let classes = rows.classes(job_type)?.into_iter();
        let mut classes: Vec<_> = classes.map(|row| ClassState::new(row.clone(), Some(row))).collect();
        if classes.first().is_none_or(|first| first.row.class != 0) {
            let row = ClassRow { class: 0, requires: Requirements::default(), passed: 0, live: 0 };
            classes.insert(0, ClassState::new(row, None));
        }
        let index = self.types.len();
        self.by_name.insert(job_type.clone(), index);
        self.types.push(TypeState {
            job_type: job_type.clone(),
            row: kept.clone().unwrap_or_default(),
            kept,
            classes,
            keys: HashMap::new(),
            counts: [0; Status::ALL.len()],
        });
        Ok(index)
    }

    /// What is kept of a type, to be read and changed.
    pub(super) fn row(&mut self, of: TypeIndex) -> &mut TypeRow {
        &mut self.types[of].row
    }

    /// Changes how many jobs of a type are in a state.
    pub(super) fn count(&mut self, of: TypeIndex, status: Status, change: i64) {
        self.types[of].counts[status as usize] += change;
    }

    /// The class of what a job asks for; a new one if there is none.
    ///
    /// # Errors
    /// When that would be one class too many.
    pub(super) fn class(&mut self, of: TypeIndex, requires: &Requirements) -> Result<ClassIndex, Refusal> {
        let state = &mut self.types[of];
        if let Some(known) = state.classes.iter().position(|class| class.row.requires == *requires) {
            return Ok(known);
        }
        let fresh = |class| ClassRow { class, requires: requires.clone(), passed: 0, live: 0 };
        if state.classes.len() < MAX_CLASSES {
            let taken = |number: u8| state.classes.iter().any(|class| class.row.class == number);
            // There is a free one: fewer are taken than there are numbers.
            let number = (1..=u8::MAX).find(|number| !taken(*number)).unwrap_or(u8::MAX);
            let class = ClassState::new(fresh(number), None);
            state.classes.push(class);
            return Ok(state.classes.len() - 1);
        }
        // A class that no job is in any more makes room for another one; its lanes are empty.
        let unused = |class: &ClassState| class.row.class != 0 && class.row.live == 0;
        match state.classes.iter().position(unused) {
            Some(unused) => {
                let class = &mut state.classes[unused];
                class.row = fresh(class.row.class);
                Ok(unused)
            }
            None => Err(Refusal::TooManyClasses(state.job_type.clone())),
        }
    }

    /// Changes how many jobs of a class have not ended.
    pub(super) fn live(&mut self, of: TypeIndex, requires: &Requirements, change: i32) {
        if requires.is_empty() {
            return;
        }
        if let Ok(class) = self.class(of, requires) {
            let live = &mut self.types[of].classes[class].row.live;
            *live = live.saturating_add_signed(change);
        }
    }

    /// Puts a job into its lane.
    pub(super) fn push<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        class: ClassIndex,
        key: &str,
        place: Place,
    ) -> Result<(), R::Error> {
        let turn = match self.lane(rows, of, class, key)?.first {
            First::Nobody => Some(self.turn_of_newcomer(rows, of, class, key)?),
            First::Unknown | First::Job(_) => None,
        };
        let TypeState { job_type, classes, keys, .. } = &mut self.types[of];
        let ClassState { row: class, lanes, heads, .. } = &mut classes[class];
        let Some(lane) = lanes.get_mut(key) else { return Ok(()) };
        let id = match lane.id {
            Some(id) => id,
            None => *lane.id.insert(rows.insert_lane(job_type, class.class, key)?),
        };
        rows.push_ready(id, &place)?;
        lane.changed = true;
        match lane.first {
            First::Nobody => {
                lane.first = First::Job(place);
                lane.oldest = place.ready_at;
                lane.turn = turn.unwrap_or(lane.turn);
            }
            First::Job(first) if first < place => {}
            First::Job(_) => lane.first = First::Job(place),
            First::Unknown => {}
        }
        lane.oldest = lane.oldest.min(place.ready_at);
        if !keys.get(key).is_some_and(|key| key.load.blocked) {
            let urgent = lane.shown.map_or(place.priority, |(priority, _)| priority.min(place.priority));
            heads.show(key, lane, Some(urgent));
        }
        Ok(())
    }

    /// The turn of a lane that gets its first job: behind every lane that waits already, for keys take turns; but
    /// that of its key, if it waits in another class.
    fn turn_of_newcomer<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        class: ClassIndex,
        key: &str,
    ) -> Result<i64, R::Error> {
        if self.types[of].classes.len() > 1 {
            for other in self.classes_of_key(rows, of, key)? {
                let lane = self.lane(rows, of, other, key)?;
                if other != class && !matches!(lane.first, First::Nobody) {
                    return Ok(lane.turn);
                }
            }
        }
        self.types[of].row.turn += 1;
        Ok(self.types[of].row.turn)
    }

    /// Takes a job out of its lane, if it is there.
    pub(super) fn remove<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        class: ClassIndex,
        key: &str,
        place: Place,
    ) -> Result<bool, R::Error> {
        let lane = self.lane(rows, of, class, key)?;
        let Some(id) = lane.id else { return Ok(false) };
        lane.changed = true;
        if matches!(lane.first, First::Job(first) if first == place) {
            lane.first = First::Unknown;
        }
        rows.remove_ready(id, &place)
    }

    /// Whether jobs of a type, or of one of its keys, are known to have to wait for room.
    pub(super) fn is_held_back(&self, of: TypeIndex, key: Option<&str>) -> bool {
        let state = &self.types[of];
        let blocked = |key| state.keys.get(key).is_some_and(|key| key.load.blocked);
        state.row.paused || state.row.load.blocked || key.is_some_and(blocked)
    }

    /// Takes a chosen job out of its lane.
    pub(super) fn clear<R: LaneRows>(&mut self, rows: &mut R, choice: &Choice) -> Result<(), R::Error> {
        self.remove(rows, choice.of, choice.class, &choice.key, choice.place).map(drop)
    }

    /// Whether any job of a type asks anything of its worker.
    pub(super) fn asks_anything(&self, of: TypeIndex) -> bool {
        self.types[of].classes.len() > 1
    }

    /// Changes how many jobs run under the limits of a type and of a key. Returns whether that made room for a claim
    /// that was turned away; `due` hears when the clock will, if a job that ends leaves that to it.
    pub(super) fn occupy<R: LaneRows>(
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
            let load = &mut self.key(rows, of, key)?.load;
            load.running = load.running.saturating_add_signed(change);
            if load.blocked && load.look_again(&limits, now, due) {
                self.reopen_key(rows, of, key)?;
                reopened = true;
            }
        }
        Ok(reopened)
    }

    /// Lets everything that limits hold back be looked at again at `now`, after they were changed.
    pub(super) fn limits_changed<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        now: Timestamp,
    ) -> Result<(), R::Error> {
        let state = &mut self.types[of];
        if state.row.load.blocked {
            state.row.load.reopens_at = Some(now);
        }
        for key in state.keys.values_mut().filter(|key| key.load.blocked) {
            key.load.reopens_at = Some(now);
        }
        rows.reopen_keys(&state.job_type, now)
    }

    /// Lets a type start jobs again.
    pub(super) fn reopen_type(&mut self, of: TypeIndex) {
        self.types[of].row.load.open();
    }

    /// Lets the jobs of a key start again: its lanes show their heads, behind those that wait already.
    pub(super) fn reopen_key<R: LaneRows>(
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
        self.key(rows, of, key)?.load.open();
        self.next_turn(rows, of, key)?;
        for class in classes {
            let first = self.first(rows, of, class, key)?;
            self.show(of, class, key, first.map(|first| first.priority));
        }
        Ok(())
    }

    /// The job that a claim of these types takes: the most urgent, or now and then the oldest. `able` says which
    /// requirements its worker meets, and `due` hears when limits that hold jobs back will have room again.
    pub(super) fn choose<R: LaneRows>(
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
    pub(super) fn started<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        choice: &Choice,
    ) -> Result<(), R::Error> {
        if !choice.key.is_empty() {
            let limits = self.key_limits(choice.of);
            self.key(rows, choice.of, &choice.key)?.load.start(&limits, now);
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
    fn next_turn<R: LaneRows>(&mut self, rows: &mut R, of: TypeIndex, key: &str) -> Result<(), R::Error> {
        self.types[of].row.turn += 1;
        let turn = self.types[of].row.turn;
        for class in self.classes_of_key(rows, of, key)? {
            self.lane(rows, of, class, key)?;
            let ClassState { lanes, heads, .. } = &mut self.types[of].classes[class];
            if let Some(lane) = lanes.get_mut(key) {
                lane.turn = turn;
                lane.changed = true;
                let urgent = lane.shown.map(|(priority, _)| priority);
                heads.show(key, lane, urgent);
            }
        }
        Ok(())
    }

    /// Writes what the batch changed, before it commits.
    pub(super) fn settle<R: Rows>(&mut self, rows: &mut R, now: Timestamp) -> Result<(), R::Error> {
        for of in 0..self.types.len() {
            for class in 0..self.types[of].classes.len() {
                self.settle_class(rows, of, class)?;
            }
            self.settle_keys(rows, of, now)?;
            let TypeState { job_type, row, kept, counts, classes, .. } = &mut self.types[of];
            for class in classes.iter_mut().filter(|class| class.kept.as_ref() != Some(&class.row)) {
                // The class that asks for nothing needs no row before it has something to say.
                if class.kept.is_some() || class.row.class != 0 || class.row.passed != 0 {
                    rows.put_class(job_type, &class.row)?;
                    class.kept = Some(class.row.clone());
                }
            }
            if kept.as_ref() != Some(row) && (kept.is_some() || *row != TypeRow::default()) {
                rows.put_type(job_type, row)?;
                *kept = Some(row.clone());
            }
            for (status, change) in Status::ALL.into_iter().zip(counts).filter(|(_, change)| **change != 0) {
                rows.add_count(job_type, status, mem::take(change))?;
            }
        }
        Ok(())
    }

    fn key_limits(&self, of: TypeIndex) -> Limits {
        self.types[of].row.settings.per_key.as_ref().map_or_else(Limits::default, |per_key| per_key.limits)
    }

    /// Whether a claim may take a job of this type at all; notes that it was turned away if not.
    fn has_room(&mut self, of: TypeIndex, now: Timestamp, due: &mut Option<Timestamp>) -> bool {
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

    /// The first job of a class that may start.
    fn best<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        of: TypeIndex,
        class: ClassIndex,
        due: &mut Option<Timestamp>,
    ) -> Result<Option<Choice>, R::Error> {
        while let Some((priority, turn, key)) = self.best_head(rows, of, class)? {
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
        Ok(None)
    }

    /// The priority, turn and key of the best head of a class, as far as is known.
    fn best_head<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        class: ClassIndex,
    ) -> Result<Option<(Priority, i64, String)>, R::Error> {
        let TypeState { job_type, classes, .. } = &mut self.types[of];
        let ClassState { row, lanes, heads, .. } = &mut classes[class];
        loop {
            let best = heads.known.first();
            let after = match (heads.read_to, best) {
                (ReadTo::End, best) => return Ok(best.cloned()),
                (ReadTo::Head(priority, turn, _), Some(best)) if (best.0, best.1) <= (priority, turn) => {
                    return Ok(Some(best.clone()));
                }
                (ReadTo::Nowhere, _) => None,
                (ReadTo::Head(priority, turn, lane), _) => Some((priority, turn, lane)),
            };
            let window = rows.heads(job_type, row.class, after, heads.window)?;
            heads.read_to = match window.last() {
                Some((lane, _, head)) if window.len() == heads.window => {
                    ReadTo::Head(head.priority, head.turn, *lane)
                }
                _ => ReadTo::End,
            };
            heads.window = (heads.window * 2).min(WIDEST_WINDOW);
            for (id, key, head) in window {
                if let Entry::Vacant(unknown) = lanes.entry(key) {
                    heads.known.insert((head.priority, head.turn, unknown.key().clone()));
                    unknown.insert(Lane::stored(id, Some(head)));
                }
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
            let sole = self.types[of].classes[class].heads.sole();
            let oldest = match &sole {
                Some(key) => Some(key.clone()),
                None => {
                    self.settle_class(rows, of, class)?;
                    let state = &self.types[of];
                    rows.oldest_head(&state.job_type, state.classes[class].row.class)?
                }
            };
            let Some(key) = oldest else { return Ok(None) };
            if !self.key_has_room(rows, now, of, &key, due)? {
                continue;
            }
            let lane = self.lane(rows, of, class, &key)?;
            match lane.id.map(|id| rows.oldest_ready(id)).transpose()?.flatten() {
                // The head may promise an older one than there is: then another lane's may be older.
                Some(place) if place.ready_at > lane.oldest && sole.is_none() => {
                    lane.oldest = place.ready_at;
                    lane.changed = true;
                }
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

    /// Shows a lane as it is, or hides it.
    fn show(&mut self, of: TypeIndex, class: ClassIndex, key: &str, priority: Option<Priority>) {
        let ClassState { lanes, heads, .. } = &mut self.types[of].classes[class];
        if let Some(lane) = lanes.get_mut(key) {
            heads.show(key, lane, priority);
        }
    }

    /// Whether one more job of a key may start; hides the heads of its lanes if not.
    fn key_has_room<R: LaneRows>(
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
        let load = &mut self.key(rows, of, key)?.load;
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

    fn key<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        key: &str,
    ) -> Result<&mut KeyState, R::Error> {
        let TypeState { job_type, keys, .. } = &mut self.types[of];
        if !keys.contains_key(key) {
            let kept = rows.key(job_type, key)?;
            keys.insert(key.to_owned(), KeyState { load: kept.unwrap_or_default(), kept });
        }
        Ok(keys.entry(key.to_owned()).or_insert_with(|| KeyState { load: Load::default(), kept: None }))
    }

    /// The classes in which a key may have lanes, of which all that the batch made are among its own.
    fn classes_of_key<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        key: &str,
    ) -> Result<Vec<ClassIndex>, R::Error> {
        let state = &self.types[of];
        if state.classes.len() == 1 {
            return Ok(vec![0]);
        }
        let numbers = rows.lanes_of_key(&state.job_type, key)?;
        let is_there = |class: &ClassState| numbers.contains(&class.row.class);
        Ok((0..state.classes.len()).filter(|index| is_there(&state.classes[*index])).collect())
    }

    fn lane<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        class: ClassIndex,
        key: &str,
    ) -> Result<&mut Lane, R::Error> {
        if !self.types[of].classes[class].lanes.contains_key(key) {
            let state = &self.types[of];
            let found = rows.lane(&state.job_type, state.classes[class].row.class, key)?;
            let held_back = !key.is_empty() && self.key(rows, of, key)?.load.blocked;
            let lane = match found {
                Some((id, head)) => Lane::stored(id, head),
                None => Lane::empty(),
            };
            // A lane that shows no head although nothing holds it back is empty.
            let first = if lane.kept.is_none() && !held_back { First::Nobody } else { lane.first };
            let ClassState { lanes, heads, .. } = &mut self.types[of].classes[class];
            if let Some(head) = lane.kept {
                heads.known.insert((head.priority, head.turn, key.to_owned()));
            }
            lanes.insert(key.to_owned(), Lane { first, ..lane });
        }
        let lanes = &mut self.types[of].classes[class].lanes;
        Ok(lanes.entry(key.to_owned()).or_insert_with(Lane::empty))
    }

    fn first<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        class: ClassIndex,
        key: &str,
    ) -> Result<Option<Place>, R::Error> {
        self.lane(rows, of, class, key)?.first(rows)
    }

    /// Shows the heads of a class as they are now.
    fn settle_class<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        class: ClassIndex,
    ) -> Result<(), R::Error> {
        let TypeState { classes, keys, .. } = &mut self.types[of];
        let ClassState { lanes, heads, .. } = &mut classes[class];
        for (key, lane) in lanes.iter_mut().filter(|(_, lane)| lane.changed) {
            lane.changed = false;
            let Some(id) = lane.id else { continue };
            let blocked = keys.get(key).is_some_and(|key| key.load.blocked);
            let first = if blocked { None } else { lane.first(rows)? };
            let head =
                first.map(|first| Head { priority: first.priority, turn: lane.turn, oldest: lane.oldest });
            heads.show(key, lane, head.map(|head| head.priority));
            if head != lane.kept {
                rows.set_head(id, head.as_ref())?;
                lane.kept = head;
            }
            // A key may never come again; the lane without a key always does.
            if head.is_none() && !blocked && !key.is_empty() {
                rows.delete_lane(id)?;
                *lane = Lane::empty();
            }
        }
        Ok(())
    }

    /// Writes the loads of keys, and forgets those of keys that have neither jobs nor a debt.
    fn settle_keys<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        now: Timestamp,
    ) -> Result<(), R::Error> {
        let TypeState { job_type, keys, .. } = &mut self.types[of];
        for (key, state) in keys {
            let load = &mut state.load;
            if state.kept.is_none() && *load == Load::default() {
                continue;
            }
            let idle = load.running == 0 && !load.blocked && rows.lanes_of_key(job_type, key)?.is_empty();
            if idle && load.started.0 > now {
                load.reopens_at = Some(load.started.0);
            } else if idle {
                if state.kept.take().is_some() {
                    rows.delete_key(job_type, key)?;
                }
                continue;
            }
            if state.kept != Some(*load) {
                rows.put_key(job_type, key, load)?;
                state.kept = Some(*load);
            }
        }
        Ok(())
    }
}

impl ClassState {
    fn new(row: ClassRow, kept: Option<ClassRow>) -> Self {
        let heads = Heads { known: BTreeSet::new(), read_to: ReadTo::Nowhere, window: 2 };
        Self { row, kept, lanes: HashMap::new(), heads }
    }
}

impl Heads {
    /// Shows a lane with this priority at its turn, or hides it.
    fn show(&mut self, key: &str, lane: &mut Lane, priority: Option<Priority>) {
        let shown = priority.map(|priority| (priority, lane.turn));
        if shown == lane.shown {
            return;
        }
        let mut name = None;
        if let Some((priority, turn)) = lane.shown {
            name = self.known.take(&(priority, turn, key.to_owned())).map(|(.., name)| name);
        }
        if let Some((priority, turn)) = shown {
            self.known.insert((priority, turn, name.unwrap_or_else(|| key.to_owned())));
        }
        lane.shown = shown;
    }

    /// The key of the only lane that shows a head, if it is the only one for sure.
    fn sole(&self) -> Option<String> {
        match (self.read_to, self.known.len()) {
            (ReadTo::End, 1) => self.known.first().map(|(.., key)| key.clone()),
            _ => None,
        }
    }

    fn is_sole(&self) -> bool {
        matches!(self.read_to, ReadTo::End) && self.known.len() <= 1
    }
}

impl Lane {
    fn empty() -> Self {
        Self {
            id: None,
            kept: None,
            shown: None,
            turn: 0,
            oldest: Timestamp::ZERO,
            first: First::Nobody,
            changed: false,
        }
    }

    /// A lane as it is stored, whose first job was not looked at yet.
    fn stored(id: LaneId, kept: Option<Head>) -> Self {
        Self {
            id: Some(id),
            kept,
            shown: kept.map(|head| (head.priority, head.turn)),
            turn: kept.map_or(0, |head| head.turn),
            oldest: kept.map_or(Timestamp::ZERO, |head| head.oldest),
            first: First::Unknown,
            changed: false,
        }
    }

    fn first<R: LaneRows>(&mut self, rows: &mut R) -> Result<Option<Place>, R::Error> {
        if let (First::Unknown, Some(id)) = (self.first, self.id) {
            self.first = rows.first_ready(id)?.map_or(First::Nobody, First::Job);
        }
        Ok(match self.first {
            First::Job(place) => Some(place),
            First::Unknown | First::Nobody => None,
        })
    }
}
