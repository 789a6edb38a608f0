//! The claims that found nothing and wait for work.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use super::committer::{Patience, Ticket};
use crate::{JobType, WorkerId};

/// Claims that wait, to be found by who has waited longest, by type, and by deadline.
#[derive(Debug)]
pub(super) struct Parked<T> {
    /// By number, which grows with the time of their coming.
    claims: BTreeMap<u64, (Patience, T)>,
    by_type: HashMap<JobType, BTreeSet<u64>>,
    deadlines: BTreeSet<(Duration, u64)>,
}

impl<T: Ticket> Parked<T> {
    pub(super) fn new() -> Self {
        Self { claims: BTreeMap::new(), by_type: HashMap::new(), deadlines: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.claims.len()
    }

    pub(super) fn insert(&mut self, patience: Patience, ticket: T) {
        let number = patience.number;
        for job_type in &patience.claim.types {
            self.by_type.entry(job_type.clone()).or_default().insert(number);
        }
        self.deadlines.insert((patience.until, number));
        self.claims.insert(number, (patience, ticket));
    }

    /// Takes out the claim that has waited longest for a job of this type, and forgets those that it meets whose callers
    /// have left.
    pub(super) fn longest_waiting(&mut self, job_type: &JobType) -> Option<(Patience, T)> {
        loop {
            let number = *self.by_type.get(job_type)?.first()?;
            let waits = self.remove(number)?;
            if !waits.1.is_abandoned() {
                return Some(waits);
            }
        }
    }

    /// Whether somebody else than this worker waits for a job of this type.
    pub(super) fn has_another(&self, job_type: &JobType, worker: &WorkerId) -> bool {
        let mut waiting = self.by_type.get(job_type).into_iter().flatten();
        waiting.any(|number| {
            let claim = self.claims.get(number);
            claim.is_some_and(|(patience, ticket)| patience.claim.worker != *worker && !ticket.is_abandoned())
        })
    }

    /// Takes out every claim of this type, who has waited longest first.
    pub(super) fn all_of(&mut self, job_type: &JobType) -> Vec<(Patience, T)> {
        let numbers = self.by_type.get(job_type).cloned().unwrap_or_default();
        self.take(numbers)
    }

    /// Takes out every claim of this worker, who has waited longest first.
    pub(super) fn all_by(&mut self, worker: &WorkerId) -> Vec<(Patience, T)> {
        let theirs = self.claims.iter().filter(|(_, (patience, _))| patience.claim.worker == *worker);
        let numbers: Vec<u64> = theirs.map(|(number, _)| *number).collect();
        self.take(numbers)
    }

    /// Takes out every claim, who has waited longest first.
    pub(super) fn all(&mut self) -> Vec<(Patience, T)> {
        let numbers: Vec<u64> = self.claims.keys().copied().collect();
        self.take(numbers)
    }

    /// Takes out the claims that have waited long enough at this uptime.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((_, number)) = self.deadlines.first().copied().filter(|(until, _)| *until <= now) {
            expired.extend(self.remove(number).map(|(_, ticket)| ticket));
        }
        expired
    }

    /// The uptime at which the next one has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Forgets the claims whose callers have left.
    pub(super) fn forget_abandoned(&mut self) {
        let left = self.claims.iter().filter(|(_, (_, ticket))| ticket.is_abandoned());
        let numbers: Vec<u64> = left.map(|(number, _)| *number).collect();
        self.take(numbers);
    }

    /// Takes out the claims of these numbers, without those whose callers have left.
    fn take(&mut self, numbers: impl IntoIterator<Item = u64>) -> Vec<(Patience, T)> {
        let waits = numbers.into_iter().filter_map(|number| self.remove(number));
        waits.filter(|(_, ticket)| !ticket.is_abandoned()).collect()
    }

    fn remove(&mut self, number: u64) -> Option<(Patience, T)> {
        let (patience, ticket) = self.claims.remove(&number)?;
        for job_type in &patience.claim.types {
            if let Some(numbers) = self.by_type.get_mut(job_type) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_type.remove(job_type);
                }
            }
        }
        self.deadlines.remove(&(patience.until, number));
        Some((patience, ticket))
    }
}
