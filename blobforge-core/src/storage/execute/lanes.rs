//! Who is next: lanes, the classes of requirements, the turns of keys, and what limits leave room for.
//!
//! A lane is a line of jobs of one type, one requirement class and one limit key. A lane that has jobs which may start
//! shows a head, and a claim looks at heads alone: limits and turns change heads, never the jobs that wait.
//!
//! While a batch runs nobody else writes, so what it has learnt holds until it changes it itself. Changes are kept
//! here and written at the end.

mod choice;
mod heads;
mod lane;
mod named;
mod room;

use std::{collections::HashMap, mem, rc::Rc, time::Duration};

use crate::{
    Job, JobType, Priority, Requirements, Status, Timestamp,
    storage::{
        command::Refusal,
        query::{Hour, counted_bytes},
        rows::{ClassRow, Head, LaneRows, Load, Place, Rows, TypeRow},
    },
};
pub(super) use choice::Choice;
use heads::Heads;
use lane::Lane;
use named::Named;

/// The most requirement classes of a type, the one that asks for nothing included.
pub(crate) const MAX_CLASSES: usize = 64;

/// A type within this batch.
pub(super) type TypeIndex = usize;
/// A class within its type, within this batch.
pub(super) type ClassIndex = usize;

/// The class that asks for nothing: the first of every type.
const ASKS_NOTHING: ClassIndex = 0;

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
    counts: [Change; Status::ALL.len()],
    ended: Hour,
}

/// By how much more or less there is in a state.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Change {
    jobs: i64,
    bytes: i64,
}

struct ClassState {
    row: ClassRow,
    kept: Option<ClassRow>,
    lanes: Named<Lane>,
    heads: Heads,
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
            counts: Default::default(),
            ended: Hour::default(),
        });
        Ok(index)
    }

    /// What is kept of a type, to be read and changed.
    pub(super) fn row(&mut self, of: TypeIndex) -> &mut TypeRow {
        &mut self.types[of].row
    }

    /// A job of a type is in its state now (1), or is not any more (-1).
    pub(super) fn count(&mut self, of: TypeIndex, job: &Job, change: i64) {
        let count = &mut self.types[of].counts[job.status() as usize];
        count.jobs += change;
        count.bytes += counted_bytes(job).cast_signed() * change;
    }

    /// One more job of a type has ended; the attempt at it began so long ago.
    pub(super) fn ended(&mut self, of: TypeIndex, job: &Job, worked: Duration) {
        let ended = &mut self.types[of].ended;
        match job.status() {
            Status::Completed => {
                ended.completed += 1;
                ended.bytes = ended.bytes.saturating_add(counted_bytes(job));
                ended.worked = ended.worked.saturating_add(worked);
            }
            Status::Failed => ended.failed += 1,
            _ => {}
        }
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
        let turn = match self.lane(rows, of, class, key)? {
            // One whose last job was taken out in this batch and comes back, such as with another priority, is no newcomer.
            lane if lane.is_empty() && lane.turn == 0 => self.turn_of_newcomer(rows, of, class, key)?,
            lane => lane.turn,
        };
        let blocked = self.is_blocked(of, key);
        let TypeState { job_type, classes, .. } = &mut self.types[of];
        let ClassState { row: class, lanes, heads, .. } = &mut classes[class];
        let Some(position) = lanes.position(key) else { return Ok(()) };
        let lane = lanes.at(position).1;
        let id = match lane.id {
            Some(id) => id,
            None => *lane.id.insert(rows.insert_lane(job_type, class.class, key)?),
        };
        lane.turn = turn;
        lane.push(rows, id, place)?;
        if !blocked {
            let urgent = lane.shown.map_or(place.priority, |(priority, _)| priority.min(place.priority));
            heads.show(position, lane, Some(urgent));
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
                if other != class && !lane.is_empty() {
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
        self.lane(rows, of, class, key)?.remove(rows, &place)
    }

    /// Takes a chosen job out of its lane.
    pub(super) fn clear<R: LaneRows>(&mut self, rows: &mut R, choice: &Choice) -> Result<(), R::Error> {
        self.remove(rows, choice.of, choice.class, &choice.key, choice.place).map(drop)
    }

    /// Whether any job of a type asks anything of its worker.
    pub(super) fn asks_anything(&self, of: TypeIndex) -> bool {
        self.types[of].classes.len() > 1
    }

    /// Writes what the batch changed, before it commits.
    pub(super) fn settle<R: Rows>(&mut self, rows: &mut R, now: Timestamp) -> Result<(), R::Error> {
        for of in 0..self.types.len() {
            // The first one last: in it stands what has to be remembered of keys with lanes in the others.
            for class in (0..self.types[of].classes.len()).rev() {
                self.settle_class(rows, now, of, class)?;
            }
            let TypeState { job_type, row, kept, counts, classes, ended } = &mut self.types[of];
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
            let changed = Status::ALL.into_iter().zip(counts);
            for (status, change) in changed.filter(|(_, change)| **change != Change::default()) {
                let Change { jobs, bytes } = mem::take(change);
                rows.add_count(job_type, status, jobs, bytes)?;
            }
            if *ended != Hour::default() {
                rows.add_ended(job_type, Hour { start: Hour::beginning(now), ..mem::take(ended) })?;
            }
        }
        Ok(())
    }

    /// Shows the heads of a class as they are now.
    fn settle_class<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        of: TypeIndex,
        class: ClassIndex,
    ) -> Result<(), R::Error> {
        for position in 0..self.types[of].classes[class].lanes.len() {
            if self.types[of].classes[class].lanes.at(position).1.is_unsettled() {
                self.settle_lane(rows, now, of, class, position)?;
            }
        }
        Ok(())
    }

    fn settle_lane<R: LaneRows>(
        &mut self,
        rows: &mut R,
        now: Timestamp,
        of: TypeIndex,
        class: ClassIndex,
        position: usize,
    ) -> Result<(), R::Error> {
        let (key, lane) = self.types[of].classes[class].lanes.at(position);
        let (key, blocked) = (Rc::clone(key), lane.load.blocked);
        let blocked = blocked || (class != ASKS_NOTHING && self.is_blocked(of, &key));
        let ClassState { lanes, heads, .. } = &mut self.types[of].classes[class];
        let lane = lanes.at(position).1;
        let first = if blocked { None } else { lane.first(rows)? };
        let head = first.zip(lane.promised());
        let head = head.map(|(first, oldest)| Head { priority: first.priority, turn: lane.turn, oldest });
        heads.show(position, lane, head.map(|head| head.priority));
        // A key may never come again; the lane without a key always does.
        let has_no_jobs = head.is_none() && !blocked && !key.is_empty();
        let goes = has_no_jobs && (class != ASKS_NOTHING || self.may_forget(rows, now, of, &key)?);
        let TypeState { job_type, classes, .. } = &mut self.types[of];
        let ClassState { row, lanes, .. } = &mut classes[class];
        let lane = lanes.at(position).1;
        if goes {
            let id = mem::replace(lane, Lane::empty()).id;
            id.map_or(Ok(()), |id| rows.delete_lane(id))?;
            if class != ASKS_NOTHING {
                self.lane(rows, of, ASKS_NOTHING, &key)?.changed = true;
            }
            return Ok(());
        }
        match lane.id {
            Some(id) => lane.settle(rows, id, head),
            None if lane.load == Load::default() => {
                lane.changed = false;
                Ok(())
            }
            None => {
                let id = *lane.id.insert(rows.insert_lane(job_type, row.class, &key)?);
                lane.settle(rows, id, head)
            }
        }
    }

    /// Shows a lane as it is, or hides it.
    fn show(&mut self, of: TypeIndex, class: ClassIndex, key: &str, priority: Option<Priority>) {
        let ClassState { lanes, heads, .. } = &mut self.types[of].classes[class];
        if let Some(position) = lanes.position(key) {
            heads.show(position, lanes.at(position).1, priority);
        }
    }

    fn lane<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        class: ClassIndex,
        key: &str,
    ) -> Result<&mut Lane, R::Error> {
        let position = match self.types[of].classes[class].lanes.position(key) {
            Some(position) => position,
            None => self.read_lane(rows, of, class, key)?,
        };
        Ok(self.types[of].classes[class].lanes.at(position).1)
    }

    fn read_lane<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        class: ClassIndex,
        key: &str,
    ) -> Result<usize, R::Error> {
        let state = &self.types[of];
        let found = rows.lane(&state.job_type, state.classes[class].row.class, key)?;
        let lane = found.map_or_else(Lane::empty, Lane::stored);
        // One that shows no head is empty or held back with its key.
        if class != ASKS_NOTHING && lane.shown.is_none() && !key.is_empty() {
            self.load_of_key(rows, of, key)?;
        }
        let ClassState { lanes, heads, .. } = &mut self.types[of].classes[class];
        let position = lanes.insert(key, lane);
        heads.note(position, lanes.at(position).1);
        Ok(position)
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

    fn first<R: LaneRows>(
        &mut self,
        rows: &mut R,
        of: TypeIndex,
        class: ClassIndex,
        key: &str,
    ) -> Result<Option<Place>, R::Error> {
        self.lane(rows, of, class, key)?.first(rows)
    }
}

impl ClassState {
    fn new(row: ClassRow, kept: Option<ClassRow>) -> Self {
        Self { row, kept, lanes: Named::new(), heads: Heads::unread() }
    }
}
