//! Types, classes, limit keys and lanes, in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    ops::Bound,
    rc::Rc,
};

use super::MemoryRows;
use crate::{
    Job, JobType, Priority, Timestamp,
    storage::MAX_EXAMINED,
    storage::rows::{ClassRow, Front, Head, LaneId, LaneRow, LaneRows, LaneState, Place, TypeRow},
};

/// The heads of each class of each type, in some order.
type ByClass<T> = BTreeMap<(JobType, u8), BTreeSet<T>>;

#[derive(Debug, Default)]
pub(super) struct MemoryLanes {
    pub(super) types: BTreeMap<JobType, TypeRow>,
    classes: BTreeMap<(JobType, u8), ClassRow>,
    lanes: BTreeMap<LaneId, MemoryLane>,
    ids: BTreeMap<(JobType, String, u8), LaneId>,
    last_id: i64,
    /// The heads of each class, the best first.
    best: ByClass<(Priority, i64, LaneId)>,
    /// The same heads, the one first that promises the oldest job.
    oldest: ByClass<(Timestamp, LaneId)>,
}

#[derive(Debug)]
struct MemoryLane {
    job_type: JobType,
    class: u8,
    key: String,
    state: LaneState,
    front: Front,
    ready: BTreeSet<Place>,
}

impl MemoryLane {
    fn new(job_type: JobType, class: u8, key: String) -> Self {
        Self {
            job_type,
            class,
            key,
            state: LaneState::default(),
            front: Front::default(),
            ready: BTreeSet::new(),
        }
    }

    fn to_row(&self, id: LaneId) -> LaneRow {
        LaneRow { id, state: self.state, front: self.front.clone() }
    }
}

impl MemoryLanes {
    /// Shows a lane with this head, or hides it.
    fn show(&mut self, lane: LaneId, head: Option<&Head>) {
        let Self { lanes, best, oldest, .. } = self;
        let Some(row) = lanes.get_mut(&lane) else { return };
        let class = (row.job_type.clone(), row.class);
        let best = best.entry(class.clone()).or_default();
        let oldest = oldest.entry(class).or_default();
        if let Some(old) = row.state.head.take() {
            best.remove(&(old.priority, old.turn, lane));
            oldest.remove(&(old.oldest, lane));
        }
        if let Some(new) = head {
            best.insert((new.priority, new.turn, lane));
            oldest.insert((new.oldest, lane));
        }
        row.state.head = head.copied();
    }

    /// Since when no job of each type has been ready that may start.
    pub(super) fn oldest_by_type(&self) -> BTreeMap<JobType, Timestamp> {
        let mut all = BTreeMap::new();
        let firsts = self.oldest.iter().filter_map(|((name, _), heads)| Some((name, heads.first()?.0)));
        for (job_type, oldest) in firsts {
            let known = all.entry(job_type.clone()).or_insert(oldest);
            *known = oldest.min(*known);
        }
        all
    }

    /// How many jobs stand before one in its lane.
    pub(super) fn ahead(&self, job: &Job) -> Option<u64> {
        let of_type = (job.job_type.clone(), 0)..=(job.job_type.clone(), u8::MAX);
        let class = match self.classes.range(of_type).find(|(_, class)| class.requires == job.body.requires) {
            Some(((_, number), _)) => *number,
            None => 0,
        };
        let key = job.limit_key.clone().unwrap_or_default();
        let lane = self.lanes.get(self.ids.get(&(job.job_type.clone(), key, class))?)?;
        let place = Place::of(job);
        if let Ok(at) = lane.front.places().binary_search(&place) {
            return Some(at as u64);
        }
        lane.ready.contains(&place).then(|| {
            let before = lane.ready.range(..place).take(MAX_EXAMINED).count();
            (lane.front.places().len() + before).min(MAX_EXAMINED) as u64
        })
    }

    fn key_of(&self, lane: LaneId) -> Option<String> {
        self.lanes.get(&lane).map(|lane| lane.key.clone())
    }
}

impl LaneRows for MemoryRows {
    type Error = Infallible;

    fn job_type(&mut self, job_type: &JobType) -> Result<Option<TypeRow>, Infallible> {
        Ok(self.lanes.types.get(job_type).cloned())
    }

    fn put_type(&mut self, job_type: &JobType, row: &TypeRow) -> Result<(), Infallible> {
        self.lanes.types.insert(job_type.clone(), row.clone());
        Ok(())
    }

    fn reopening_types(&mut self, now: Timestamp) -> Result<Vec<JobType>, Infallible> {
        let due = |row: &TypeRow| row.load.reopens_at.is_some_and(|at| at <= now);
        Ok(self.lanes.types.iter().filter(|(_, row)| due(row)).map(|(name, _)| name.clone()).collect())
    }

    fn classes(&mut self, job_type: &JobType) -> Result<Vec<ClassRow>, Infallible> {
        let of_type = (job_type.clone(), 0)..=(job_type.clone(), u8::MAX);
        Ok(self.lanes.classes.range(of_type).map(|(_, row)| row.clone()).collect())
    }

    fn put_class(&mut self, job_type: &JobType, row: &ClassRow) -> Result<(), Infallible> {
        self.lanes.classes.insert((job_type.clone(), row.class), row.clone());
        Ok(())
    }

    fn reopen_keys(&mut self, job_type: &JobType, at: Timestamp) -> Result<(), Infallible> {
        for lane in self.lanes.lanes.values_mut() {
            if lane.job_type == *job_type && lane.state.load.blocked {
                lane.state.load.reopens_at = Some(at);
            }
        }
        Ok(())
    }

    fn reopening_keys(&mut self, now: Timestamp, limit: usize) -> Result<Vec<(JobType, String)>, Infallible> {
        let lanes = self.lanes.lanes.values();
        let due = lanes.filter_map(|lane| Some((lane.state.load.reopens_at?, &lane.job_type, &lane.key)));
        let mut due: Vec<_> = due.filter(|(at, ..)| *at <= now).collect();
        due.sort();
        Ok(due.into_iter().take(limit).map(|(_, of, key)| (of.clone(), key.clone())).collect())
    }

    fn reopen_all_at(&mut self, at: Timestamp) -> Result<(), Infallible> {
        let types = self.lanes.types.values_mut().map(|row| &mut row.load);
        let lanes = self.lanes.lanes.values_mut().map(|lane| &mut lane.state.load);
        for load in types.chain(lanes) {
            load.reopens_at = load.reopens_at.map(|later| later.min(at));
        }
        Ok(())
    }

    fn next_reopening(&mut self) -> Result<Option<Timestamp>, Infallible> {
        let types = self.lanes.types.values().filter_map(|row| row.load.reopens_at);
        let keys = self.lanes.lanes.values().filter_map(|lane| lane.state.load.reopens_at);
        Ok(types.chain(keys).min())
    }

    fn lane(&mut self, job_type: &JobType, class: u8, key: &str) -> Result<Option<LaneRow>, Infallible> {
        let id = self.lanes.ids.get(&(job_type.clone(), key.to_owned(), class)).copied();
        let lane = id.and_then(|id| Some((id, self.lanes.lanes.get(&id)?)));
        Ok(lane.map(|(id, lane)| lane.to_row(id)))
    }

    fn lanes_of_key(&mut self, job_type: &JobType, key: &str) -> Result<Vec<u8>, Infallible> {
        let of_key = |class| (job_type.clone(), key.to_owned(), class);
        Ok(self.lanes.ids.range(of_key(0)..=of_key(u8::MAX)).map(|((.., class), _)| *class).collect())
    }

    fn insert_lane(&mut self, job_type: &JobType, class: u8, key: &str) -> Result<LaneId, Infallible> {
        self.lanes.last_id += 1;
        let id = LaneId(self.lanes.last_id);
        let (job_type, key) = (job_type.clone(), key.to_owned());
        self.lanes.ids.insert((job_type.clone(), key.clone(), class), id);
        self.lanes.lanes.insert(id, MemoryLane::new(job_type, class, key));
        Ok(id)
    }

    fn delete_lane(&mut self, lane: LaneId) -> Result<(), Infallible> {
        self.lanes.show(lane, None);
        if let Some(lane) = self.lanes.lanes.remove(&lane) {
            self.lanes.ids.remove(&(lane.job_type, lane.key, lane.class));
        }
        Ok(())
    }

    fn update_lane(
        &mut self,
        lane: LaneId,
        _kept: &LaneState,
        state: &LaneState,
        front: &Front,
    ) -> Result<(), Infallible> {
        self.lanes.show(lane, state.head.as_ref());
        if let Some(lane) = self.lanes.lanes.get_mut(&lane) {
            lane.state = *state;
            lane.front = front.clone();
        }
        Ok(())
    }

    fn heads(
        &mut self,
        job_type: &JobType,
        class: u8,
        after: Option<(Priority, i64, LaneId)>,
        limit: usize,
    ) -> Result<Vec<(Rc<str>, LaneRow)>, Infallible> {
        let Some(best) = self.lanes.best.get(&(job_type.clone(), class)) else { return Ok(Vec::new()) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let lanes = best.range((from, Bound::Unbounded)).take(limit);
        let head =
            |id: LaneId| self.lanes.lanes.get(&id).map(|lane| (lane.key.as_str().into(), lane.to_row(id)));
        Ok(lanes.filter_map(|(.., lane)| head(*lane)).collect())
    }

    fn oldest_head(&mut self, job_type: &JobType, class: u8) -> Result<Option<String>, Infallible> {
        let heads = self.lanes.oldest.get(&(job_type.clone(), class));
        Ok(heads.and_then(BTreeSet::first).and_then(|(_, lane)| self.lanes.key_of(*lane)))
    }

    fn push_ready(&mut self, lane: LaneId, place: &Place) -> Result<(), Infallible> {
        if let Some(lane) = self.lanes.lanes.get_mut(&lane) {
            lane.ready.insert(*place);
        }
        Ok(())
    }

    fn remove_ready(&mut self, lane: LaneId, place: &Place) -> Result<bool, Infallible> {
        Ok(self.lanes.lanes.get_mut(&lane).is_some_and(|lane| lane.ready.remove(place)))
    }

    fn take_ready(&mut self, lane: LaneId, limit: usize) -> Result<Vec<Place>, Infallible> {
        let Some(lane) = self.lanes.lanes.get_mut(&lane) else { return Ok(Vec::new()) };
        let first = std::iter::from_fn(|| lane.ready.pop_first());
        Ok(first.take(limit).collect())
    }

    fn oldest_ready(&mut self, lane: LaneId) -> Result<Option<Place>, Infallible> {
        let ready = self.lanes.lanes.get(&lane).into_iter().flat_map(|lane| &lane.ready);
        Ok(ready.min_by_key(|place| (place.ready_at, place.id)).copied())
    }
}
