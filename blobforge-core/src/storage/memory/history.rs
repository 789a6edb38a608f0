//! Keys of submissions, groups of failures and logs, in memory.

use std::{collections::BTreeMap, convert::Infallible};

use super::MemoryRows;
use crate::{
    FailureGroup, FailureGroupId, JobId, JobType, Timestamp,
    failure_group::Sameness,
    storage::rows::{FailureGroupRows, KeyRow, KeyRows, LogRows},
};

/// What is remembered of submissions and failures.
#[derive(Debug, Default)]
pub(super) struct MemoryHistory {
    keys: BTreeMap<(String, String), KeyRow>,
    groups: BTreeMap<FailureGroupId, FailureGroup>,
    logs: BTreeMap<JobId, String>,
}

impl MemoryHistory {
    /// The groups of a type or of all, the one with most failed jobs first, then the one met last.
    pub(super) fn groups(&self, job_type: Option<&JobType>, limit: usize) -> Vec<FailureGroup> {
        let wanted = |group: &&FailureGroup| job_type.is_none_or(|job_type| group.job_type == *job_type);
        let mut groups: Vec<FailureGroup> = self.groups.values().filter(wanted).cloned().collect();
        groups.sort_by_key(|group| std::cmp::Reverse((group.jobs, group.last_seen, group.id)));
        groups.truncate(limit);
        groups
    }

    /// What the handler of a running attempt said last.
    pub(super) fn log(&self, job: JobId) -> Option<String> {
        self.logs.get(&job).cloned()
    }
}

impl LogRows for MemoryRows {
    fn put_log(&mut self, job: JobId, log_tail: &str) -> Result<(), Infallible> {
        self.history.logs.insert(job, log_tail.to_owned());
        Ok(())
    }

    fn take_log(&mut self, job: JobId) -> Result<Option<String>, Infallible> {
        Ok(self.history.logs.remove(&job))
    }
}

impl KeyRows for MemoryRows {
    fn submission_key(&mut self, scope: &str, key: &str) -> Result<Option<KeyRow>, Infallible> {
        Ok(self.history.keys.get(&(scope.to_owned(), key.to_owned())).cloned())
    }

    fn put_submission_key(&mut self, scope: &str, key: &str, row: &KeyRow) -> Result<(), Infallible> {
        self.history.keys.insert((scope.to_owned(), key.to_owned()), row.clone());
        Ok(())
    }

    fn delete_submission_key(&mut self, scope: &str, key: &str) -> Result<(), Infallible> {
        self.history.keys.remove(&(scope.to_owned(), key.to_owned()));
        Ok(())
    }

    fn expired_submission_keys(
        &mut self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(String, String)>, Infallible> {
        let mut expired: Vec<_> = self.history.keys.iter().filter(|(_, row)| row.expires_at <= now).collect();
        expired.sort_by_key(|(name, row)| (row.expires_at, *name));
        Ok(expired.into_iter().take(limit).map(|(name, _)| name.clone()).collect())
    }
}

impl FailureGroupRows for MemoryRows {
    fn failure_group(
        &mut self,
        job_type: &JobType,
        same: &Sameness,
    ) -> Result<Option<FailureGroupId>, Infallible> {
        let is_it = |group: &&FailureGroup| {
            group.job_type == *job_type && group.kind == same.kind && group.message == same.message
        };
        Ok(self.history.groups.values().find(is_it).map(|group| group.id))
    }

    fn failure_groups_of(&mut self, job_type: &JobType) -> Result<usize, Infallible> {
        Ok(self.history.groups.values().filter(|group| group.job_type == *job_type).count())
    }

    fn unused_failure_group(&mut self, job_type: &JobType) -> Result<Option<FailureGroupId>, Infallible> {
        let unused = |group: &&FailureGroup| group.job_type == *job_type && group.jobs == 0;
        let oldest =
            self.history.groups.values().filter(unused).min_by_key(|group| (group.last_seen, group.id));
        Ok(oldest.map(|group| group.id))
    }

    fn delete_failure_group(&mut self, id: FailureGroupId) -> Result<(), Infallible> {
        self.history.groups.remove(&id);
        Ok(())
    }

    fn insert_failure_group(
        &mut self,
        job_type: &JobType,
        same: &Sameness,
        at: Timestamp,
    ) -> Result<FailureGroupId, Infallible> {
        let last = self.history.groups.last_key_value().map_or(0, |(id, _)| id.get());
        let id = FailureGroupId::new(last + 1);
        let group = FailureGroup {
            id,
            job_type: job_type.clone(),
            kind: same.kind.clone(),
            message: same.message.clone(),
            jobs: 0,
            failures: 0,
            first_seen: at,
            last_seen: at,
        };
        self.history.groups.insert(id, group);
        Ok(id)
    }

    fn add_to_failure_group(
        &mut self,
        id: FailureGroupId,
        jobs: u32,
        failures: u32,
        now: Timestamp,
    ) -> Result<(), Infallible> {
        if let Some(group) = self.history.groups.get_mut(&id) {
            let FailureGroup { jobs: failed_now, failures: failed_ever, last_seen, .. } = group;
            *failed_now += u64::from(jobs);
            *failed_ever += u64::from(failures);
            *last_seen = now;
        }
        Ok(())
    }

    fn leave_failure_group(&mut self, id: FailureGroupId) -> Result<(), Infallible> {
        if let Some(group) = self.history.groups.get_mut(&id) {
            group.jobs = group.jobs.saturating_sub(1);
        }
        Ok(())
    }
}
