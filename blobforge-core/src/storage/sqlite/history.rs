//! Keys of submissions, groups of failures and logs, in SQLite.

use rusqlite::{OptionalExtension, params};

use super::{
    columns,
    reads::Snapshot,
    rows::{SqliteRows, rows},
    statements::Sql,
};
use crate::{
    FailureGroup, FailureGroupId, JobId, JobType, Timestamp,
    failure_group::Sameness,
    storage::rows::{FailureGroupRows, KeyRow, KeyRows, LogRows},
};

/// The groups of a type or of all, the one with most failed jobs first, then the one met last.
pub(super) fn failure_groups(
    snapshot: &Snapshot<'_>,
    job_type: Option<&JobType>,
    limit: usize,
) -> rusqlite::Result<Vec<FailureGroup>> {
    let limit = rows(limit);
    match job_type {
        Some(job_type) => snapshot
            .prepare_cached(Sql::FailureGroupsOf.text())?
            .query_map(params![job_type.as_str(), limit], columns::failure_group)?
            .collect(),
        None => snapshot
            .prepare_cached(Sql::FailureGroups.text())?
            .query_map([limit], columns::failure_group)?
            .collect(),
    }
}

/// What the handler of a running attempt said last.
pub(super) fn log(snapshot: &Snapshot<'_>, job: JobId) -> rusqlite::Result<Option<String>> {
    snapshot.prepare_cached(Sql::Log.text())?.query_row([job.get()], |row| row.get(0)).optional()
}

impl LogRows for SqliteRows<'_, '_> {
    fn put_log(&mut self, job: JobId, log_tail: &str) -> rusqlite::Result<()> {
        self.sql.get(Sql::PutLog)?.execute(params![job.get(), log_tail])?;
        Ok(())
    }

    fn take_log(&mut self, job: JobId) -> rusqlite::Result<Option<String>> {
        let log = self.sql.get(Sql::Log)?.query_row([job.get()], |row| row.get(0)).optional()?;
        if log.is_some() {
            self.sql.get(Sql::DeleteLog)?.execute([job.get()])?;
        }
        Ok(log)
    }
}

impl KeyRows for SqliteRows<'_, '_> {
    fn submission_key(&mut self, scope: &str, key: &str) -> rusqlite::Result<Option<KeyRow>> {
        self.sql
            .get(Sql::SubmissionKey)?
            .query_row([scope, key], |row| {
                Ok(KeyRow {
                    fingerprint: row.get(0)?,
                    job: JobId::new(row.get(1)?),
                    expires_at: Timestamp::from_millis(row.get(2)?),
                })
            })
            .optional()
    }

    fn put_submission_key(&mut self, scope: &str, key: &str, row: &KeyRow) -> rusqlite::Result<()> {
        let row = params![scope, key, row.fingerprint, row.job.get(), row.expires_at.as_millis()];
        self.sql.get(Sql::PutSubmissionKey)?.execute(row)?;
        Ok(())
    }

    fn delete_submission_key(&mut self, scope: &str, key: &str) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteSubmissionKey)?.execute([scope, key])?;
        Ok(())
    }

    fn expired_submission_keys(
        &mut self,
        now: Timestamp,
        limit: usize,
    ) -> rusqlite::Result<Vec<(String, String)>> {
        let expired = self.sql.get(Sql::ExpiredSubmissionKeys)?;
        expired.query_map([now.as_millis(), rows(limit)], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }
}

impl FailureGroupRows for SqliteRows<'_, '_> {
    fn failure_group(
        &mut self,
        job_type: &JobType,
        same: &Sameness,
    ) -> rusqlite::Result<Option<FailureGroupId>> {
        let row = [job_type.as_str(), &same.kind, &same.message];
        let id = self.sql.get(Sql::FailureGroup)?.query_row(row, |row| row.get(0)).optional()?;
        Ok(id.map(FailureGroupId::new))
    }

    fn failure_groups_of(&mut self, job_type: &JobType) -> rusqlite::Result<usize> {
        let groups: i64 =
            self.sql.get(Sql::CountFailureGroups)?.query_row([job_type.as_str()], |row| row.get(0))?;
        Ok(usize::try_from(groups).unwrap_or(usize::MAX))
    }

    fn unused_failure_group(&mut self, job_type: &JobType) -> rusqlite::Result<Option<FailureGroupId>> {
        let unused = self.sql.get(Sql::UnusedFailureGroup)?;
        let id = unused.query_row([job_type.as_str()], |row| row.get(0)).optional()?;
        Ok(id.map(FailureGroupId::new))
    }

    fn delete_failure_group(&mut self, id: FailureGroupId) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteFailureGroup)?.execute([id.get()])?;
        Ok(())
    }

    fn insert_failure_group(
        &mut self,
        job_type: &JobType,
        same: &Sameness,
        at: Timestamp,
    ) -> rusqlite::Result<FailureGroupId> {
        let row = params![job_type.as_str(), same.kind, same.message, at.as_millis()];
        self.sql.get(Sql::InsertFailureGroup)?.execute(row)?;
        Ok(FailureGroupId::new(self.sql.connection().last_insert_rowid()))
    }

    fn add_to_failure_group(
        &mut self,
        id: FailureGroupId,
        jobs: u32,
        failures: u32,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        let row = params![id.get(), jobs, failures, now.as_millis()];
        self.sql.get(Sql::AddToFailureGroup)?.execute(row)?;
        Ok(())
    }

    fn leave_failure_group(&mut self, id: FailureGroupId) -> rusqlite::Result<()> {
        self.sql.get(Sql::LeaveFailureGroup)?.execute([id.get()])?;
        Ok(())
    }
}
