//! What must hold for keys that wait in one line: they take turns.

use std::sync::Arc;

use blobforge_core::JobType;

use super::*;
use crate::limits::running;

/// Who was started while others waited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns {
    /// How often jobs of one key were started while another key waited and could have been given instead: by type, the
    /// key that waited, and the one that was started.
    passed: BTreeMap<(JobType, String, String), u32>,
    /// The pending jobs that stand in line: others are due, and maintenance has not found that out.
    in_line: BTreeSet<JobId>,
}

impl Turns {
    /// What they are after a change.
    pub(super) fn after(&self, change: &Change, record: &Record) -> Self {
        let mut turns = self.clone();
        turns.pass_over_all(change, record);
        turns.line_up(change);
        turns
    }

    fn pass_over_all(&mut self, change: &Change, record: &Record) {
        if self.passed.is_empty() && change.started().next().is_none() {
            return;
        }
        let shown_again = match (&change.command, &change.outcome) {
            (Command::Maintain(_), Ok(Done::Maintained(done))) => done.reopened > 0,
            (command, _) => matches!(command, Command::SetType { .. } | Command::TimeMoved),
        };
        if shown_again {
            // Who was held back stands behind those who were not.
            self.passed.clear();
        }
        let mut waiting = change.before.as_ref().clone();
        for taken in change.started() {
            self.pass_over(change, record, &waiting, &taken.job);
            waiting.jobs.insert(taken.job.id, taken.job.clone().into());
        }
        let keeps_waiting = |job_type: &JobType, key: &str, in_line: &BTreeSet<JobId>| {
            let its = |job: &&Arc<Job>| job.job_type == *job_type && job.limit_key.as_deref() == Some(key);
            change
                .after
                .jobs
                .values()
                .filter(its)
                .any(|job| may_start(change, record, &change.after, job, in_line))
        };
        let in_line = &self.in_line;
        self.passed.retain(|(job_type, key, _), _| keeps_waiting(job_type, key, in_line));
    }

    /// Notes who stands in line after a change.
    fn line_up(&mut self, change: &Change) {
        let due = |job: &Job| job.status() == Status::Pending && job.life.ready_at <= change.now;
        for (before, after) in change.jobs() {
            let place = |job: &Job| (job.status(), job.priority, job.life.ready_at);
            if before.is_none_or(|before| place(before) != place(after)) {
                self.in_line.insert(after.id);
            }
        }
        if let Command::Maintain(_) = &change.command {
            self.in_line.extend(change.after.jobs.keys());
        }
        self.in_line.retain(|id| change.after.jobs.get(id).is_some_and(|job| due(job)));
    }

    /// Notes whom the start of a job passes over.
    fn pass_over(&mut self, change: &Change, record: &Record, waiting: &Snapshot, started: &Job) {
        let (Command::Claim(claim), Some(key)) = (&change.command, &started.limit_key) else { return };
        self.passed.retain(|(job_type, waits, _), _| (job_type, waits) != (&started.job_type, key));
        if record.types.of(&started.job_type).settings.oldest_share != Some(0) {
            return;
        }
        let could_have_been = |job: &&Arc<Job>| {
            job.job_type == started.job_type
                && job.priority <= started.priority
                && job.limit_key.as_ref().is_some_and(|other| other != key)
                && job.body.requires.are_met_by(&record.labels[&claim.worker])
                && may_start(change, record, waiting, job, &self.in_line)
        };
        let passed: BTreeSet<&String> =
            waiting.jobs.values().filter(could_have_been).filter_map(|job| job.limit_key.as_ref()).collect();
        for other in passed {
            *self.passed.entry((started.job_type.clone(), other.clone(), key.clone())).or_default() += 1;
        }
    }
}

/// Whether a job stands in line, and its key has room.
fn may_start(
    change: &Change,
    record: &Record,
    snapshot: &Snapshot,
    job: &Job,
    in_line: &BTreeSet<JobId>,
) -> bool {
    let in_line = match job.lease() {
        None => in_line.contains(&job.id),
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
    for ((job_type, waits, started), times) in record.turns.after(change, record).passed {
        assert!(times < 2, "{started} got {times} turns of {job_type} while {waits} waited for one");
    }
}
