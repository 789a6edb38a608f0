//! How values stand in columns.

use std::{error::Error as StdError, rc::Rc, time::Duration};

use rusqlite::{
    Row,
    types::{FromSql, Type},
};
use serde::{Serialize, de::DeserializeOwned};

use super::front;
use crate::{
    Body, Checkpoint, End, EndedLease, Epoch, FailureGroup, FailureGroupId, FinishKind, Finished, Generation,
    Job, JobId, JobType, Lease, LeaseSecret, LeaseToken, Life, Phase, Priority, Sha256, Source, StartedUpTo,
    Status, Timestamp, TypeRecord, WorkerId, WorkerRecord,
    storage::{
        Hour,
        rows::{
            AttemptRow, ClassRow, EndedRow, FileRow, Head, LaneId, LaneRow, LaneState, Load, Place, TypeRow,
        },
    },
};

/// What [`job`] reads, of `jobs j LEFT JOIN leases l`.
macro_rules! job_columns {
    () => {
        "j.id, j.type, j.priority, j.status, j.epoch, j.failures, j.losses, j.max_attempts, j.run_at, \
         j.ready_at, j.created_at, j.started_at, j.ended_at, j.updated_at, j.source_key, j.source_size, \
         j.source_sha256, j.source_verified, j.source_arrived, j.last_error, j.failure_group, j.progress, j.result, \
         j.outputs, j.limit_key, j.dedup, j.body, l.generation, l.epoch, l.secret, l.worker, l.host, l.claim_id, l.started_at, \
         l.expires_at, l.duration, l.lapsed, l.cancel_requested, l.progress, l.updated_at"
    };
}
pub(super) use job_columns;

/// What [`lane`] reads, of `lanes`.
macro_rules! lane_columns {
    () => {
        "id, front, behind, running, started, blocked, reopens_at, priority, turn, oldest"
    };
}
pub(super) use lane_columns;

/// What [`attempt`] reads, of `attempts`.
macro_rules! attempt_columns {
    () => {
        "epoch, generation, secret, worker, started_at, ended_at, end, reported, finished_status, \
         finished_ready_at, failure, progress, host, log_tail"
    };
}
pub(super) use attempt_columns;

/// What [`file()`] reads, of `files`.
macro_rules! file_columns {
    () => {
        "key, job_id, epoch, created_at, dead_since, deleting_since"
    };
}
pub(super) use file_columns;

/// What a message of the outbox is read from.
macro_rules! message_columns {
    () => {
        "number, generation, subscriber, address, job_id, type, status, epoch, ended_at, tries"
    };
}
pub(super) use message_columns;

/// The columns of a row, taken one after another.
pub(super) struct Columns<'r, 's> {
    row: &'r Row<'s>,
    next: usize,
}

impl<'r, 's> Columns<'r, 's> {
    /// From the first one on.
    pub(super) fn of(row: &'r Row<'s>) -> Self {
        Self { row, next: 0 }
    }

    pub(super) fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    fn time(&mut self) -> rusqlite::Result<Timestamp> {
        Ok(Timestamp::from_millis(self.take()?))
    }

    pub(super) fn time_or_null(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp::from_millis))
    }

    fn json<T: DeserializeOwned>(&mut self) -> rusqlite::Result<Option<T>> {
        let column = self.next;
        self.next += 1;
        let text = self.row.get_ref(column)?.as_str_or_null()?;
        text.map(serde_json::from_str).transpose().map_err(|e| unreadable(column, Type::Text, e))
    }

    /// A value whose constructor checks it.
    pub(super) fn checked<T: FromSql, U, E>(
        &mut self,
        check: impl FnOnce(T) -> Result<U, E>,
    ) -> rusqlite::Result<U>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let value = self.take()?;
        check(value).map_err(|e| unreadable(self.next - 1, Type::Null, e))
    }

    fn name(&mut self) -> rusqlite::Result<Rc<str>> {
        self.next += 1;
        Ok(self.row.get_ref(self.next - 1)?.as_str()?.into())
    }

    /// What bytes stand for, read where they lie.
    pub(super) fn blob<T>(&mut self, read: impl FnOnce(&[u8]) -> Result<T, String>) -> rusqlite::Result<T> {
        let column = self.next;
        self.next += 1;
        read(self.row.get_ref(column)?.as_blob()?).map_err(|e| unreadable(column, Type::Blob, e))
    }

    fn skip(&mut self, columns: usize) {
        self.next += columns;
    }
}

fn unreadable(column: usize, kind: Type, why: impl Into<Box<dyn StdError + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, why.into())
}

/// Reads a job with its lease; what cannot be read of it is said to be this job's.
pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    let mut c = Columns::of(row);
    let id = JobId::new(c.take()?);
    job_behind(id, c).map_err(|error| match error {
        rusqlite::Error::FromSqlConversionFailure(column, kind, why) => {
            unreadable(column, kind, format!("job {id}: {why}"))
        }
        other => other,
    })
}

fn job_behind(id: JobId, mut c: Columns<'_, '_>) -> rusqlite::Result<Job> {
    let job_type = c.checked(|name: String| JobType::new(name))?;
    let priority = c.checked(|number: u8| Priority::try_from(number))?;
    let status = c.checked(status)?;
    let epoch = Epoch::new(c.take()?);
    let (failures, losses, max_attempts) = (c.take()?, c.take()?, c.take()?);
    let (run_at, ready_at) = (c.time_or_null()?, c.time()?);
    let (created_at, started_at, ended_at, updated_at) =
        (c.time()?, c.time_or_null()?, c.time_or_null()?, c.time()?);
    let source = source(&mut c)?;
    let last_error = c.json()?;
    let failure_group = c.take::<Option<i64>>()?.map(FailureGroupId::new);
    let progress = c.json()?;
    let result = c.json()?;
    let outputs = c.json()?.unwrap_or_default();
    let (limit_key, dedup) = (c.take()?, c.take()?);
    let body = c.checked(|text: String| body(&text))?;
    let phase = match status {
        Status::Uploading => Phase::Uploading,
        Status::Pending | Status::Running => Phase::Pending,
        Status::Completed => Phase::Completed,
        Status::Failed => Phase::Failed,
        Status::Cancelled => Phase::Cancelled,
    };
    let life = Life { phase, epoch, failures, losses, max_attempts, run_at, ready_at };
    let mut job = Job {
        id,
        job_type,
        priority,
        life,
        body,
        limit_key,
        dedup,
        source,
        progress,
        last_error,
        failure_group,
        result,
        outputs,
        created_at,
        started_at,
        ended_at,
        updated_at,
    };
    if let Some(lease) = lease(&mut c)? {
        job.life.epoch = lease.token.epoch;
        job.started_at = Some(lease.started_at);
        job.life.phase = Phase::Running(lease);
        job.progress = c.json()?;
        job.updated_at = c.time()?;
    }
    Ok(job)
}

fn source(c: &mut Columns<'_, '_>) -> rusqlite::Result<Option<Source>> {
    let Some(key) = c.take()? else {
        c.skip(4);
        return Ok(None);
    };
    let size = c.take::<Option<i64>>()?.map(i64::cast_unsigned);
    let sha256 = c.take::<Option<[u8; 32]>>()?.map(Sha256::from_bytes);
    Ok(Some(Source { key, size, sha256, verified: c.take()?, arrived: c.take()? }))
}

fn lease(c: &mut Columns<'_, '_>) -> rusqlite::Result<Option<Lease>> {
    let Some(generation) = c.take()? else { return Ok(None) };
    let epoch = Epoch::new(c.take()?);
    let secret = LeaseSecret::from_bytes(c.take()?);
    Ok(Some(Lease {
        token: LeaseToken::new(Generation::new(generation), epoch, secret),
        worker: c.checked(|id: String| WorkerId::new(id))?,
        host: c.take()?,
        claim_id: c.take()?,
        started_at: c.time()?,
        expires_at: c.time()?,
        duration: Duration::from_millis(c.take::<i64>()?.unsigned_abs()),
        lapsed: c.take()?,
        cancel_requested: c.take()?,
    }))
}

/// Reads an attempt that has ended.
pub(super) fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    let mut c = Columns::of(row);
    let epoch = Epoch::new(c.take()?);
    let generation = Generation::new(c.take()?);
    let token = LeaseToken::new(generation, epoch, LeaseSecret::from_bytes(c.take()?));
    let worker = c.checked(|id: String| WorkerId::new(id))?;
    let (started_at, ended_at) = (c.time()?, c.time()?);
    let end = c.checked(|name: String| named(&ENDS, &name))?;
    let reported = c.checked(|name: Option<String>| name.map(|name| named(&FINISHES, &name)).transpose())?;
    let finished = Finished { status: c.checked(status)?, ready_at: c.time_or_null()? };
    let lease = EndedLease { token, end, reported, finished };
    let (failure, progress) = (c.json()?, c.json()?);
    let (host, log_tail) = (c.take()?, c.take()?);
    Ok(AttemptRow { lease, worker, started_at, ended_at, failure, progress, host, log_tail })
}

/// Reads a file's record.
pub(super) fn file(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    let mut c = Columns::of(row);
    Ok(FileRow {
        key: c.take()?,
        job: c.take::<Option<i64>>()?.map(JobId::new),
        epoch: c.take::<Option<u32>>()?.map(Epoch::new),
        created_at: c.time()?,
        dead_since: c.time_or_null()?,
        deleting_since: c.time_or_null()?,
    })
}

/// Reads `type, below`.
pub(super) fn rescan(row: &Row<'_>) -> rusqlite::Result<(JobType, JobId)> {
    let mut c = Columns::of(row);
    Ok((c.checked(|name: String| JobType::new(name))?, JobId::new(c.take()?)))
}

/// Reads `id, type, status, ended_at`.
pub(super) fn ended(row: &Row<'_>) -> rusqlite::Result<EndedRow> {
    let mut c = Columns::of(row);
    Ok(EndedRow {
        id: JobId::new(c.take()?),
        job_type: c.checked(|name: String| JobType::new(name))?,
        status: c.checked(status)?,
        ended_at: c.time_or_null()?,
    })
}

/// Reads `priority, ready_at, id`.
pub(super) fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    let mut c = Columns::of(row);
    Ok(Place {
        priority: c.checked(|number: u8| Priority::try_from(number))?,
        ready_at: c.time()?,
        id: JobId::new(c.take()?),
    })
}

/// Reads `settings, paused, running, started, blocked, reopens_at, turn`.
pub(super) fn type_row(row: &Row<'_>) -> rusqlite::Result<TypeRow> {
    let mut c = Columns::of(row);
    let settings = c.checked(|text: String| serde_json::from_str(&text))?;
    let paused = c.take()?;
    Ok(TypeRow { settings, paused, load: load_of(&mut c)?, turn: c.take()? })
}

/// Reads `running, started, blocked, reopens_at`.
fn load_of(c: &mut Columns<'_, '_>) -> rusqlite::Result<Load> {
    let running = c.take()?;
    let started = StartedUpTo(c.time()?);
    Ok(Load { running, started, blocked: c.take()?, reopens_at: c.time_or_null()? })
}

/// Reads `type, settings, paused`.
pub(super) fn type_record(row: &Row<'_>) -> rusqlite::Result<TypeRecord> {
    let mut c = Columns::of(row);
    Ok(TypeRecord {
        job_type: c.checked(|name: String| JobType::new(name))?,
        settings: c.checked(|text: String| serde_json::from_str(&text))?,
        paused: c.take()?,
    })
}

/// Reads `class, requires, passed, live`.
pub(super) fn class(row: &Row<'_>) -> rusqlite::Result<ClassRow> {
    let mut c = Columns::of(row);
    Ok(ClassRow {
        class: c.take()?,
        requires: c.checked(|text: String| serde_json::from_str(&text))?,
        passed: c.take()?,
        live: c.take()?,
    })
}

/// Reads [`lane_columns`].
pub(super) fn lane(row: &Row<'_>) -> rusqlite::Result<LaneRow> {
    lane_of(&mut Columns::of(row))
}

/// Reads `key` and what [`lane`] reads.
pub(super) fn keyed_lane(row: &Row<'_>) -> rusqlite::Result<(Rc<str>, LaneRow)> {
    let mut c = Columns::of(row);
    Ok((c.name()?, lane_of(&mut c)?))
}

fn lane_of(c: &mut Columns<'_, '_>) -> rusqlite::Result<LaneRow> {
    let (id, front, load) = (LaneId(c.take()?), front::of(c)?, load_of(c)?);
    let priority = c.checked(|number: Option<u8>| number.map(Priority::try_from).transpose())?;
    let head = match priority {
        Some(priority) => Some(Head { priority, turn: c.take()?, oldest: c.time()? }),
        None => None,
    };
    Ok(LaneRow { id, state: LaneState { head, load }, front })
}

/// Reads a worker's id from the first column.
pub(super) fn worker_id(row: &Row<'_>) -> rusqlite::Result<WorkerId> {
    Columns::of(row).checked(|id: String| WorkerId::new(id))
}

/// Reads a type's name from the first column.
pub(super) fn job_type(row: &Row<'_>) -> rusqlite::Result<JobType> {
    Columns::of(row).checked(|name: String| JobType::new(name))
}

/// Reads `name, size, sha256, key`.
pub(super) fn checkpoint(row: &Row<'_>) -> rusqlite::Result<Checkpoint> {
    let mut c = Columns::of(row);
    Ok(Checkpoint {
        name: c.take()?,
        size: c.take::<i64>()?.cast_unsigned(),
        sha256: Sha256::from_bytes(c.take()?),
        key: c.take()?,
    })
}

/// Reads `registration, registered_at, last_seen_at, draining, unregistered, condition`.
pub(super) fn worker(row: &Row<'_>) -> rusqlite::Result<WorkerRecord> {
    let mut c = Columns::of(row);
    Ok(WorkerRecord {
        registration: c.checked(|text: String| serde_json::from_str(&text))?,
        registered_at: c.time()?,
        last_seen_at: c.time()?,
        draining: c.take()?,
        unregistered: c.take()?,
        condition: c.checked(|text: String| serde_json::from_str(&text))?,
    })
}

/// Reads `id, type, kind, message, jobs, failures, first_seen, last_seen`.
pub(super) fn failure_group(row: &Row<'_>) -> rusqlite::Result<FailureGroup> {
    let mut c = Columns::of(row);
    Ok(FailureGroup {
        id: FailureGroupId::new(c.take()?),
        job_type: c.checked(|name: String| JobType::new(name))?,
        kind: c.take()?,
        message: c.take()?,
        jobs: c.take::<i64>()?.unsigned_abs(),
        failures: c.take::<i64>()?.unsigned_abs(),
        first_seen: c.time()?,
        last_seen: c.time()?,
    })
}

/// Reads `type, status` and a number.
pub(super) fn count(row: &Row<'_>) -> rusqlite::Result<((JobType, Status), u64)> {
    let mut c = Columns::of(row);
    let key = (c.checked(|name: String| JobType::new(name))?, c.checked(status)?);
    Ok((key, c.take::<i64>()?.unsigned_abs()))
}

/// Reads `hour, completed, failed, bytes, worked`.
pub(super) fn hour(row: &Row<'_>) -> rusqlite::Result<Hour> {
    hour_columns(&mut Columns::of(row))
}

/// Reads `type, hour, completed, failed, bytes, worked`.
pub(super) fn hour_of_type(row: &Row<'_>) -> rusqlite::Result<(JobType, Hour)> {
    let mut c = Columns::of(row);
    Ok((c.checked(|name: String| JobType::new(name))?, hour_columns(&mut c)?))
}

fn hour_columns(c: &mut Columns<'_, '_>) -> rusqlite::Result<Hour> {
    Ok(Hour {
        start: c.time()?,
        completed: c.take::<i64>()?.unsigned_abs(),
        failed: c.take::<i64>()?.unsigned_abs(),
        bytes: c.take::<i64>()?.unsigned_abs(),
        worked: Duration::from_millis(c.take::<i64>()?.unsigned_abs()),
    })
}

/// Reads `type` and a time.
pub(super) fn type_and_time(row: &Row<'_>) -> rusqlite::Result<(JobType, Timestamp)> {
    let mut c = Columns::of(row);
    Ok((c.checked(|name: String| JobType::new(name))?, c.time()?))
}

/// Reads `worker` and a number.
pub(super) fn worker_and_number(row: &Row<'_>) -> rusqlite::Result<(WorkerId, u64)> {
    let mut c = Columns::of(row);
    Ok((c.checked(|id: String| WorkerId::new(id))?, c.take::<i64>()?.unsigned_abs()))
}

/// Reads one JSON column.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|e| unreadable(column, Type::Text, e))
}

/// The number that stands for a status.
pub(super) const fn status_code(status: Status) -> u8 {
    match status {
        Status::Uploading => 0,
        Status::Pending => 1,
        Status::Running => 2,
        Status::Completed => 3,
        Status::Failed => 4,
        Status::Cancelled => 5,
    }
}

/// The status that a number stands for.
pub(super) fn status(code: u8) -> Result<Status, String> {
    let found = Status::ALL.into_iter().find(|status| status_code(*status) == code);
    found.ok_or_else(|| format!("{code} is no status"))
}

/// The words that stand for how attempts end.
pub(super) const ENDS: [(End, &str); 7] = [
    (End::Completed, "completed"),
    (End::Failed, "failed"),
    (End::Released, "released"),
    (End::Snoozed, "snoozed"),
    (End::Lost, "lost"),
    (End::Cancelled, "cancelled"),
    (End::Voided, "voided"),
];

/// The words that stand for what holders report.
pub(super) const FINISHES: [(FinishKind, &str); 5] = [
    (FinishKind::Complete, "complete"),
    (FinishKind::Fail, "fail"),
    (FinishKind::Crash, "crash"),
    (FinishKind::Release, "release"),
    (FinishKind::Snooze, "snooze"),
];

/// The word for a value.
pub(super) fn name_of<T: PartialEq>(words: &[(T, &'static str)], value: &T) -> &'static str {
    words.iter().find(|(known, _)| known == value).map_or("", |(_, word)| word)
}

fn named<T: Copy>(words: &[(T, &str)], name: &str) -> Result<T, String> {
    let found = words.iter().find(|(_, word)| *word == name);
    found.map(|(value, _)| *value).ok_or_else(|| format!("{name:?} is not known here"))
}

/// The text that stands for a value.
pub(super) fn to_json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

/// The text that stands for a value, NULL for none.
pub(super) fn to_json_or_null<T: Serialize>(value: Option<&T>) -> rusqlite::Result<Option<String>> {
    value.map(to_json).transpose()
}

/// The text of a body; empty for an empty one, which is common.
pub(super) fn body_text(value: &Body) -> rusqlite::Result<String> {
    if *value == Body::default() { Ok(String::new()) } else { to_json(value) }
}

fn body(text: &str) -> Result<Body, serde_json::Error> {
    if text.is_empty() { Ok(Body::default()) } else { serde_json::from_str(text) }
}

/// A span in whole milliseconds.
pub(super) fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
