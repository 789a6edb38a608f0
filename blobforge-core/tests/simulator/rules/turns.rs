//! What must hold for keys that wait in one line: they take turns.

use std::sync::Arc;

use blobforge_core::JobType;

use super::*;
use crate::limits::running;

/// How often jobs of one key were started while another key waited and could have been given instead: by type, the key
/// that waited, and the one that was started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(BTreeMap<(JobType, String, String), u32>);

impl Turns {
    /// What they are after a change.
    pub(super) fn after(&self, change: &Change, record: &Record) -> Self {
        if self.0.is_empty() && change.started().next().is_none() {
            return Self::default();
        }
        let mut turns = self.clone();
        let shown_again = match (&change.command, &change.outcome) {
            (Command::Maintain(_), Ok(Done::Maintained(done))) => done.reopened > 0,
            (command, _) => matches!(command, Command::SetType { .. } | Command::TimeMoved),
        };
        if shown_again {
            // Who was held back stands behind those who were not.
            turns.0.clear();
        }
        let mut waiting = change.before.as_ref().clone();
        for taken in change.started() {
            turns.pass_over(change, record, &waiting, &taken.job);
            waiting.jobs.insert(taken.job.id, taken.job.clone().into());
        }
        let keeps_waiting = |job_type: &JobType, key: &str| {
            let its = |job: &&Arc<Job>| job.job_type == *job_type && job.limit_key.as_deref() == Some(key);
            change.after.jobs.values().filter(its).any(|job| may_start(change, record, &change.after, job))
        };
        turns.0.retain(|(job_type, key, _), _| keeps_waiting(job_type, key));
        turns
    }

    /// Notes whom the start of a job passes over.
    fn pass_over(&mut self, change: &Change, record: &Record, waiting: &Snapshot, started: &Job) {
        let (Command::Claim(claim), Some(key)) = (&change.command, &started.limit_key) else { return };
        self.0.retain(|(job_type, waits, _), _| (job_type, waits) != (&started.job_type, key));
        if record.types.of(&started.job_type).settings.oldest_share != Some(0) {
            return;
        }
        let could_have_been = |job: &&Arc<Job>| {
            job.job_type == started.job_type
                && job.priority <= started.priority
                && job.limit_key.as_ref().is_some_and(|other| other != key)
                && job.body.requires.are_met_by(&record.labels[&claim.worker])
                && may_start(change, record, waiting, job)
        };
        let passed: BTreeSet<&String> =
            waiting.jobs.values().filter(could_have_been).filter_map(|job| job.limit_key.as_ref()).collect();
        for other in passed {
            *self.0.entry((started.job_type.clone(), other.clone(), key.clone())).or_default() += 1;
        }
    }
}

/// Whether a job stands in line, and its key has room.
fn may_start(change: &Change, record: &Record, snapshot: &Snapshot, job: &Job) -> bool {
    let in_line = match job.lease() {
        None => job.status() == Status::Pending && job.life.ready_at <= job.updated_at,
        Some(lease) => lease.lapsed,
    };
    let known = record.types.of(&job.job_type);
    let Some(key) = job.limit_key.as_deref() else { return false };
    let [_, limits] = known.limits(Some(key));
    let is_full = limits.running.is_some_and(|most| running(snapshot, &job.job_type, Some(key)) >= most);
    let due = job.life.ready_at.max(known.key_starts_by(key));
    in_line && due <= change.now && !is_full
}

pub(super) fn no_key_is_passed_over_twice(change: &Change, record: &Record) {
    for ((job_type, waits, started), times) in record.turns.after(change, record).0 {
        assert!(times < 2, "{started} got {times} turns of {job_type} while {waits} waited for one");
    }
}
