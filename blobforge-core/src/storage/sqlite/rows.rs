//! The rows of one transaction, in SQLite.

use rusqlite::{OptionalExtension, Row, params};
use serde_json::Value;

use super::{
    columns::{self, ENDS, FINISHES, body_text, name_of, span, status_code, to_json, to_json_or_null},
    search,
    statements::{Sql, Statements},
};
use crate::{
    Checkpoint, Condition, EndedLease, Epoch, FailureGroupId, Generation, Job, JobId, JobType, Lease, Output,
    Sha256, Source, Status, Timestamp, WorkerId, WorkerRecord,
    storage::{
        Hour,
        rows::{AttemptRow, Claimer, EndedRow, FileRow, Rows},
    },
};

/// The rows as the writer's open transaction sees them.
pub(super) struct SqliteRows<'a, 'c> {
    pub(super) sql: &'a mut Statements<'c>,
    pub(super) generation: Generation,
}

impl SqliteRows<'_, '_> {
    fn put_lease(&mut self, job: &Job, lease: &Lease) -> rusqlite::Result<()> {
        self.sql.get(Sql::PutLease)?.execute(params![
            job.id.get(),
            lease.token.generation.get(),
            lease.token.epoch.get(),
            lease.token.secret.as_bytes(),
            lease.worker.as_str(),
            lease.host,
            lease.claim_id,
            lease.started_at.as_millis(),
            lease.expires_at.as_millis(),
            span(lease.duration),
            lease.lapsed,
            lease.cancel_requested,
            to_json_or_null(job.progress.as_ref())?,
            job.updated_at.as_millis(),
        ])?;
        Ok(())
    }

    fn update_lease(&mut self, job: &Job, lease: &Lease) -> rusqlite::Result<()> {
        self.sql.get(Sql::UpdateLease)?.execute(params![
            job.id.get(),
            lease.expires_at.as_millis(),
            lease.lapsed,
            lease.cancel_requested,
            to_json_or_null(job.progress.as_ref())?,
            job.updated_at.as_millis(),
        ])?;
        Ok(())
    }

    fn update_row(&mut self, job: &Job) -> rusqlite::Result<()> {
        let source = SourceColumns::of(job.source.as_ref());
        self.sql.get(Sql::UpdateJob)?.execute(params![
            job.id.get(),
            u8::from(job.priority),
            kept_status(job),
            job.life.epoch.get(),
            job.life.failures,
            job.life.losses,
            job.life.max_attempts,
            job.life.run_at.map(Timestamp::as_millis),
            job.life.ready_at.as_millis(),
            job.started_at.map(Timestamp::as_millis),
            job.ended_at.map(Timestamp::as_millis),
            job.updated_at.as_millis(),
            source.key,
            source.size,
            source.sha256,
            source.verified,
            source.arrived,
            to_json_or_null(job.last_error.as_ref())?,
            to_json_or_null(job.progress.as_ref())?,
            to_json_or_null(job.result.as_ref())?,
            outputs_text(&job.outputs)?,
            job.failure_group.map(FailureGroupId::get),
        ])?;
        Ok(())
    }
}

impl Rows for SqliteRows<'_, '_> {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn job(&mut self, id: JobId) -> rusqlite::Result<Option<Job>> {
        self.sql.get(Sql::Job)?.query_row([id.get()], columns::job).optional()
    }

    fn newest_job(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        let millis = self.sql.get(Sql::NewestJob)?.query_row([], |row| row.get(0)).optional()?;
        Ok(millis.map(Timestamp::from_millis))
    }

    fn skip_ids(&mut self, by: u64) -> rusqlite::Result<()> {
        let by = i64::try_from(by).unwrap_or(i64::MAX);
        if self.sql.get(Sql::SkipIds)?.execute([by])? == 0 {
            self.sql.get(Sql::BeginIdsBehind)?.execute([by])?;
        }
        Ok(())
    }

    fn insert_job(&mut self, job: &Job) -> rusqlite::Result<JobId> {
        let source = SourceColumns::of(job.source.as_ref());
        self.sql.get(Sql::InsertJob)?.execute(params![
            job.job_type.as_str(),
            u8::from(job.priority),
            kept_status(job),
            job.life.epoch.get(),
            job.life.failures,
            job.life.losses,
            job.life.max_attempts,
            job.life.run_at.map(Timestamp::as_millis),
            job.life.ready_at.as_millis(),
            job.created_at.as_millis(),
            job.started_at.map(Timestamp::as_millis),
            job.ended_at.map(Timestamp::as_millis),
            job.updated_at.as_millis(),
            source.key,
            source.size,
            source.sha256,
            source.verified,
            source.arrived,
            to_json_or_null(job.last_error.as_ref())?,
            to_json_or_null(job.progress.as_ref())?,
            to_json_or_null(job.result.as_ref())?,
            outputs_text(&job.outputs)?,
            job.limit_key,
            job.dedup,
            body_text(&job.body)?,
        ])?;
        Ok(JobId::new(self.sql.connection().last_insert_rowid()))
    }

    fn update_job(&mut self, before: &Job, after: &Job) -> rusqlite::Result<()> {
        search::note_change(self.sql, before, after)?;
        match (before.lease(), after.lease()) {
            (Some(old), Some(new)) if old.token == new.token => self.update_lease(after, new)?,
            (_, Some(lease)) => self.put_lease(after, lease)?,
            (Some(_), None) => {
                self.sql.get(Sql::DeleteLease)?.execute([after.id.get()])?;
            }
            (None, None) => {}
        }
        if after.lease().is_none() || kept_differs(before, after) {
            self.update_row(after)?;
        }
        if before.body != after.body {
            let body = body_text(&after.body)?;
            self.sql.get(Sql::UpdateBody)?.execute(params![after.id.get(), body])?;
        }
        Ok(())
    }

    fn delete_job(&mut self, id: JobId) -> rusqlite::Result<()> {
        let of_it = [Sql::DeleteAttempts, Sql::DeleteCheckpoints, Sql::DeleteText, Sql::ForgetChangedText];
        for sql in of_it.into_iter().chain([Sql::DeleteJob]) {
            self.sql.get(sql)?.execute([id.get()])?;
        }
        Ok(())
    }

    fn push_scheduled(&mut self, at: Timestamp, id: JobId) -> rusqlite::Result<()> {
        self.sql.get(Sql::InsertScheduled)?.execute([at.as_millis(), id.get()])?;
        Ok(())
    }

    fn remove_scheduled(&mut self, at: Timestamp, id: JobId) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteScheduled)?.execute([at.as_millis(), id.get()])?;
        Ok(())
    }

    fn due_scheduled(&mut self, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<(Timestamp, JobId)>> {
        self.sql
            .get(Sql::DueScheduled)?
            .query_map(params![now.as_millis(), rows(limit)], |row| {
                Ok((Timestamp::from_millis(row.get(0)?), JobId::new(row.get(1)?)))
            })?
            .collect()
    }

    fn next_scheduled(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        self.earliest(Sql::NextScheduled)
    }

    fn due_leases(&mut self, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<JobId>> {
        self.ids(Sql::DueLeases, params![now.as_millis(), rows(limit)])
    }

    fn next_lease_expiry(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        self.earliest(Sql::NextLeaseExpiry)
    }

    fn leases_after(&mut self, after: JobId, limit: usize) -> rusqlite::Result<Vec<JobId>> {
        self.ids(Sql::LeasesAfter, params![after.get(), rows(limit)])
    }

    fn leases_of(&mut self, worker: &WorkerId) -> rusqlite::Result<Vec<JobId>> {
        self.ids(Sql::LeasesOf, params![worker.as_str()])
    }

    fn stale_uploads(&mut self, before: Timestamp, limit: usize) -> rusqlite::Result<Vec<JobId>> {
        self.ids(Sql::StaleUploads, params![before.as_millis(), rows(limit)])
    }

    fn insert_attempt(&mut self, job: JobId, attempt: &AttemptRow) -> rusqlite::Result<()> {
        let lease = &attempt.lease;
        self.sql.get(Sql::InsertAttempt)?.execute(params![
            job.get(),
            lease.token.epoch.get(),
            lease.token.generation.get(),
            lease.token.secret.as_bytes(),
            attempt.worker.as_str(),
            attempt.started_at.as_millis(),
            attempt.ended_at.as_millis(),
            name_of(&ENDS, &lease.end),
            lease.reported.map(|kind| name_of(&FINISHES, &kind)),
            status_code(lease.finished.status),
            lease.finished.ready_at.map(Timestamp::as_millis),
            to_json_or_null(attempt.failure.as_ref())?,
            to_json_or_null(attempt.progress.as_ref())?,
            attempt.host,
            attempt.log_tail,
        ])?;
        Ok(())
    }

    fn delete_attempt(&mut self, job: JobId, epoch: Epoch) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteAttempt)?.execute(params![job.get(), epoch.get()])?;
        Ok(())
    }

    fn ended_lease(&mut self, job: JobId, epoch: Epoch) -> rusqlite::Result<Option<EndedLease>> {
        let attempt = self
            .sql
            .get(Sql::Attempt)?
            .query_row(params![job.get(), epoch.get()], columns::attempt)
            .optional()?;
        Ok(attempt.map(|attempt| attempt.lease))
    }

    fn checkpoints(&mut self, job: JobId) -> rusqlite::Result<Vec<Checkpoint>> {
        self.sql.get(Sql::Checkpoints)?.query_map([job.get()], columns::checkpoint)?.collect()
    }

    fn put_checkpoint(&mut self, job: JobId, checkpoint: &Checkpoint) -> rusqlite::Result<()> {
        self.sql.get(Sql::PutCheckpoint)?.execute(params![
            job.get(),
            checkpoint.name,
            checkpoint.size.cast_signed(),
            checkpoint.sha256.as_bytes(),
            checkpoint.key,
        ])?;
        Ok(())
    }

    fn delete_checkpoints(&mut self, job: JobId) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteCheckpoints)?.execute([job.get()])?;
        Ok(())
    }

    fn duplicate(&mut self, work: &[u8; 32], scope: &str) -> rusqlite::Result<Option<JobId>> {
        let row = self.sql.get(Sql::Duplicate)?.query_row(params![work, scope], |row| row.get(0));
        Ok(row.optional()?.map(JobId::new))
    }

    fn put_duplicate(&mut self, work: &[u8; 32], scope: &str, job: JobId) -> rusqlite::Result<()> {
        self.sql.get(Sql::PutDuplicate)?.execute(params![work, scope, job.get()])?;
        Ok(())
    }

    fn delete_duplicate(&mut self, work: &[u8; 32], scope: &str, job: JobId) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteDuplicate)?.execute(params![work, scope, job.get()])?;
        Ok(())
    }

    fn content(&mut self, sha256: &Sha256) -> rusqlite::Result<Option<(String, u64)>> {
        self.sql
            .get(Sql::Content)?
            .query_row([sha256.as_bytes()], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))
            .optional()
    }

    fn put_content(&mut self, sha256: &Sha256, key: &str, size: u64) -> rusqlite::Result<()> {
        let row = params![sha256.as_bytes(), key, size.cast_signed()];
        self.sql.get(Sql::PutContent)?.execute(row)?;
        Ok(())
    }

    fn forget_content(&mut self, key: &str) -> rusqlite::Result<()> {
        self.sql.get(Sql::ForgetContent)?.execute([key])?;
        Ok(())
    }

    fn file(&mut self, key: &str) -> rusqlite::Result<Option<FileRow>> {
        self.sql.get(Sql::File)?.query_row([key], columns::file).optional()
    }

    fn put_file(&mut self, file: &FileRow) -> rusqlite::Result<()> {
        self.sql.get(Sql::PutFile)?.execute(params![
            file.key,
            file.job.map(JobId::get),
            file.epoch.map(Epoch::get),
            file.created_at.as_millis(),
            file.dead_since.map(Timestamp::as_millis),
            file.deleting_since.map(Timestamp::as_millis),
        ])?;
        Ok(())
    }

    fn delete_file(&mut self, key: &str) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteFile)?.execute([key])?;
        Ok(())
    }

    fn files_of(&mut self, job: JobId, epoch: Option<Epoch>) -> rusqlite::Result<Vec<FileRow>> {
        match epoch {
            Some(epoch) => self.files(Sql::FilesOfAttempt, params![job.get(), epoch.get()]),
            None => self.files(Sql::FilesOf, params![job.get()]),
        }
    }

    fn dead_files(
        &mut self,
        after: &(Timestamp, String),
        until: Timestamp,
        limit: usize,
    ) -> rusqlite::Result<Vec<FileRow>> {
        let (at, key) = (after.0.as_millis(), &after.1);
        self.files(Sql::DeadFiles, params![at, key, until.as_millis(), rows(limit)])
    }

    fn deleting_files(&mut self, until: Timestamp, limit: usize) -> rusqlite::Result<Vec<FileRow>> {
        self.files(Sql::DeletingFiles, params![until.as_millis(), rows(limit)])
    }

    fn is_source(&mut self, key: &str) -> rusqlite::Result<bool> {
        self.sql.get(Sql::IsSource)?.exists([key])
    }

    fn has_arrived(&mut self, key: &str) -> rusqlite::Result<bool> {
        self.sql.get(Sql::HasArrived)?.exists([key])
    }

    fn begin_generation(&mut self, generation: Generation, now: Timestamp) -> rusqlite::Result<()> {
        self.sql.get(Sql::BeginGeneration)?.execute([generation.get()])?;
        self.sql.get(Sql::PutRestoredAt)?.execute([now.as_millis()])?;
        self.generation = generation;
        Ok(())
    }

    fn restored_at(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        let millis = self.sql.get(Sql::RestoredAt)?.query_row([], |row| row.get(0)).optional()?;
        Ok(millis.map(Timestamp::from_millis))
    }

    fn put_expiry(&mut self, job: JobId, at: Timestamp) -> rusqlite::Result<()> {
        self.sql.get(Sql::PutExpiry)?.execute([job.get(), at.as_millis()])?;
        Ok(())
    }

    fn delete_expiry(&mut self, job: JobId) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteExpiry)?.execute([job.get()])?;
        Ok(())
    }

    fn due_expiries(&mut self, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<JobId>> {
        self.ids(Sql::DueExpiries, params![now.as_millis(), rows(limit)])
    }

    fn next_expiry(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        self.earliest(Sql::NextExpiry)
    }

    fn put_rescan(&mut self, job_type: &JobType, below: Option<JobId>) -> rusqlite::Result<()> {
        match below {
            Some(below) => self.sql.get(Sql::PutRescan)?.execute(params![job_type.as_str(), below.get()])?,
            None => self.sql.get(Sql::DeleteRescan)?.execute([job_type.as_str()])?,
        };
        Ok(())
    }

    fn first_rescan(&mut self) -> rusqlite::Result<Option<(JobType, JobId)>> {
        self.sql.get(Sql::FirstRescan)?.query_row([], columns::rescan).optional()
    }

    fn jobs_below(&mut self, below: JobId, limit: usize) -> rusqlite::Result<Vec<EndedRow>> {
        let jobs = self.sql.get(Sql::JobsBelow)?;
        jobs.query_map(params![below.get(), rows(limit)], columns::ended)?.collect()
    }

    fn is_draining(&mut self, id: &WorkerId) -> rusqlite::Result<Option<bool>> {
        self.sql.get(Sql::IsDraining)?.query_row([id.as_str()], |row| row.get(0)).optional()
    }

    fn claimer(&mut self, id: &WorkerId) -> rusqlite::Result<Option<Claimer>> {
        let claimer = |row: &Row<'_>| Ok(Claimer { draining: row.get(0)?, host: row.get(1)? });
        self.sql.get(Sql::Claimer)?.query_row([id.as_str()], claimer).optional()
    }

    fn leases_of_claim(&mut self, worker: &WorkerId, claim_id: &str) -> rusqlite::Result<Vec<JobId>> {
        self.ids(Sql::LeasesOfClaim, params![worker.as_str(), claim_id])
    }

    fn worker(&mut self, id: &WorkerId) -> rusqlite::Result<Option<WorkerRecord>> {
        self.sql.get(Sql::Worker)?.query_row([id.as_str()], columns::worker).optional()
    }

    fn put_worker(&mut self, worker: &WorkerRecord) -> rusqlite::Result<()> {
        self.sql.get(Sql::PutWorker)?.execute(params![
            worker.registration.id.as_str(),
            worker.registered_at.as_millis(),
            worker.last_seen_at.as_millis(),
            worker.draining,
            worker.unregistered,
            worker.registration.host,
            to_json(&worker.registration)?,
            to_json(&worker.condition)?,
        ])?;
        Ok(())
    }

    fn silent_workers(&mut self, until: Timestamp, limit: usize) -> rusqlite::Result<Vec<WorkerId>> {
        let silent = params![until.as_millis(), rows(limit)];
        self.sql.get(Sql::SilentWorkers)?.query_map(silent, columns::worker_id)?.collect()
    }

    fn touch_worker(
        &mut self,
        id: &WorkerId,
        now: Timestamp,
        condition: Option<&Condition>,
    ) -> rusqlite::Result<()> {
        let condition = condition.map(to_json).transpose()?;
        self.sql.get(Sql::TouchWorker)?.execute(params![id.as_str(), now.as_millis(), condition])?;
        Ok(())
    }

    fn delete_worker(&mut self, id: &WorkerId) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteWorker)?.execute([id.as_str()])?;
        Ok(())
    }

    fn put_record(&mut self, collection: &str, key: &str, value: &Value) -> rusqlite::Result<()> {
        self.sql.get(Sql::PutRecord)?.execute(params![collection, key, to_json(value)?])?;
        Ok(())
    }

    fn delete_record(&mut self, collection: &str, key: &str) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteRecord)?.execute([collection, key])?;
        Ok(())
    }

    fn last_record(&mut self, collection: &str) -> rusqlite::Result<Option<String>> {
        self.sql.get(Sql::LastRecord)?.query_row([collection], |row| row.get(0)).optional()
    }

    fn delete_records_up_to(&mut self, collection: &str, key: &str) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteRecordsUpTo)?.execute([collection, key])?;
        Ok(())
    }

    fn add_ended(&mut self, job_type: &JobType, hour: Hour) -> rusqlite::Result<()> {
        let (name, slot) = (job_type.as_str(), hour.slot());
        let kept = self.sql.get(Sql::Hour)?.query_row(params![name, slot], columns::hour).optional()?;
        let Hour { start, completed, failed, bytes, worked } = hour.with(kept);
        let [completed, failed, bytes] =
            [completed, failed, bytes].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let row = params![name, slot, start.as_millis(), completed, failed, bytes, span(worked)];
        self.sql.get(Sql::PutHour)?.execute(row)?;
        Ok(())
    }

    fn add_count(
        &mut self,
        job_type: &JobType,
        status: Status,
        jobs: i64,
        bytes: i64,
    ) -> rusqlite::Result<()> {
        let row = params![job_type.as_str(), status_code(status), jobs, bytes];
        self.sql.get(Sql::AddCount)?.execute(row)?;
        Ok(())
    }
}

impl SqliteRows<'_, '_> {
    fn ids(&mut self, sql: Sql, params: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<Vec<JobId>> {
        self.sql.get(sql)?.query_map(params, |row| row.get(0).map(JobId::new))?.collect()
    }

    fn files(&mut self, sql: Sql, params: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<Vec<FileRow>> {
        self.sql.get(sql)?.query_map(params, columns::file)?.collect()
    }

    pub(super) fn earliest(&mut self, sql: Sql) -> rusqlite::Result<Option<Timestamp>> {
        let millis: Option<i64> = self.sql.get(sql)?.query_row([], |row| row.get(0))?;
        Ok(millis.map(Timestamp::from_millis))
    }
}

/// A source spread over its columns; all NULL without one.
#[derive(Default)]
struct SourceColumns<'a> {
    key: Option<&'a str>,
    size: Option<i64>,
    sha256: Option<&'a [u8; 32]>,
    verified: Option<bool>,
    arrived: Option<bool>,
}

impl<'a> SourceColumns<'a> {
    fn of(source: Option<&'a Source>) -> Self {
        source.map_or_else(Self::default, |source| Self {
            key: Some(&source.key),
            size: source.size.map(u64::cast_signed),
            sha256: source.sha256.as_ref().map(Sha256::as_bytes),
            verified: Some(source.verified),
            arrived: Some(source.arrived),
        })
    }
}

/// The status in a job's own row: that a job runs is said by its lease.
fn kept_status(job: &Job) -> u8 {
    match job.status() {
        Status::Running => status_code(Status::Pending),
        status => status_code(status),
    }
}

/// Whether something changed in a running job that its lease's row does not hold. A claim and a heartbeat must not
/// rewrite the wide row.
fn kept_differs(before: &Job, after: &Job) -> bool {
    let life = |job: &Job| {
        let life = &job.life;
        (job.priority, life.failures, life.losses, life.max_attempts, life.run_at, life.ready_at)
    };
    life(before) != life(after)
        || before.ended_at != after.ended_at
        || before.source != after.source
        || before.last_error != after.last_error
        || before.result != after.result
        || before.outputs != after.outputs
}

fn outputs_text(outputs: &[Output]) -> rusqlite::Result<Option<String>> {
    to_json_or_null(Some(&outputs).filter(|outputs| !outputs.is_empty()))
}

/// A limit as SQLite counts.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
