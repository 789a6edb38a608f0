//! What must hold for types: pauses, limits and rates.

use super::*;
use crate::limits::running;

pub(super) fn a_paused_type_gives_nothing(change: &Change, record: &Record) {
    for taken in change.started() {
        let job_type = &taken.job.job_type;
        assert!(!record.types.of(job_type).paused, "job {} is of {job_type}, which is paused", taken.job.id);
    }
}

pub(super) fn no_more_run_than_may(change: &Change, record: &Record) {
    for taken in change.started() {
        let (job_type, key) = (&taken.job.job_type, taken.job.limit_key.as_deref());
        let limits = record.types.of(job_type).limits(key);
        for (limits, key) in limits.iter().zip([None, key]) {
            let runs = running(&change.after, job_type, key);
            let most = limits.running.unwrap_or(u32::MAX);
            assert!(runs <= most, "{runs} jobs of {job_type} run for {key:?}, and {most} may");
        }
    }
}

pub(super) fn no_start_before_its_rate(change: &Change, record: &Record) {
    if change.started().next().is_none() {
        return;
    }
    let mut types = record.types.clone();
    for taken in change.started() {
        let known = types.of(&taken.job.job_type);
        let from = known.starts_from(taken.job.limit_key.as_deref());
        assert!(change.uptime >= from, "job {} may start at {from:?}", taken.job.id);
        types.started(&taken.job, change.now, change.uptime);
    }
}

pub(super) fn a_job_keeps_the_key_of_its_submission(change: &Change, record: &Record) {
    for (before, after) in change.jobs() {
        let expected = match before {
            Some(before) => before.limit_key.clone(),
            None => {
                let settings = &record.types.of(&after.job_type).settings;
                settings.per_key.as_ref().and_then(|_| after.body.submitter.clone())
            }
        };
        assert_eq!(after.limit_key, expected, "the key of job {}", after.id);
    }
}
