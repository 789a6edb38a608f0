//! Reads, each within one snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{CachedStatement, OptionalExtension, Transaction, params};
use serde_json::Value;

use super::{columns, history, statements::Sql};
use crate::{
    Checkpoint, Job, JobId, JobType, Status, TypeRecord, WorkerId, WorkerRecord,
    storage::{
        Attempt, Counts, Hour, MAX_EXAMINED, MAX_PAGE, Workload,
        query::left_bytes,
        record::{entry_key, entry_number},
        rows::Place,
    },
};

/// One state of the store, read within a transaction.
pub(super) struct Snapshot<'c> {
    transaction: Transaction<'c>,
    statements: &'c AtomicU64,
}

impl<'c> Snapshot<'c> {
    /// `statements` counts what is read.
    pub(super) fn new(transaction: Transaction<'c>, statements: &'c AtomicU64) -> Self {
        Self { transaction, statements }
    }

    pub(super) fn prepare_cached(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        self.transaction.prepare_cached(sql)
    }
}

pub(super) fn job(snapshot: &Snapshot<'_>, id: JobId) -> rusqlite::Result<Option<Job>> {
    snapshot.prepare_cached(Sql::Job.text())?.query_row([id.get()], columns::job).optional()
}

pub(super) fn types(snapshot: &Snapshot<'_>) -> rusqlite::Result<Vec<TypeRecord>> {
    snapshot.prepare_cached(Sql::Types.text())?.query_map([], columns::type_record)?.collect()
}

pub(super) fn counts(snapshot: &Snapshot<'_>) -> rusqlite::Result<Counts> {
    let mut counts = snapshot.prepare_cached(Sql::Counts.text())?;
    Ok(Counts(counts.query_map([], columns::count)?.collect::<Result<_, _>>()?))
}

/// How many jobs ended in each of the last hours.
pub(super) fn hours(snapshot: &Snapshot<'_>) -> rusqlite::Result<Vec<(JobType, Hour)>> {
    let mut hours = snapshot.prepare_cached(Sql::Hours.text())?;
    hours.query_map([], columns::hour_of_type)?.collect()
}

/// What waits for longest, who runs how much, and how large what is left is.
pub(super) fn workload(snapshot: &Snapshot<'_>) -> rusqlite::Result<Workload> {
    let mut workload = Workload::default();
    let mut oldest = snapshot.prepare_cached(Sql::OldestByClass.text())?;
    for class in oldest.query_map([], columns::type_and_time)? {
        let (job_type, at) = class?;
        let known = workload.oldest.entry(job_type).or_insert(at);
        *known = at.min(*known);
    }
    let mut running = snapshot.prepare_cached(Sql::RunningByWorker.text())?;
    workload.running = running.query_map([], columns::worker_and_number)?.collect::<Result<_, _>>()?;
    let mut counted = snapshot.prepare_cached(Sql::CountedBytes.text())?;
    let counted = counted.query_map([], columns::count)?.collect::<Result<Vec<_>, _>>()?;
    workload.left = left_bytes(counted);
    Ok(workload)
}

/// How many jobs stand before one in its lane.
pub(super) fn ahead(snapshot: &Snapshot<'_>, id: JobId) -> rusqlite::Result<Option<u64>> {
    let Some(job) = job(snapshot, id)?.filter(|job| job.status() == Status::Pending) else { return Ok(None) };
    let name = job.job_type.as_str();
    let mut classes = snapshot.prepare_cached(Sql::Classes.text())?;
    let classes = classes.query_map([name], columns::class)?.collect::<Result<Vec<_>, _>>()?;
    let class =
        classes.iter().find(|class| class.requires == job.body.requires).map_or(0, |class| class.class);
    let key = job.limit_key.as_deref().unwrap_or_default();
    let mut lane = snapshot.prepare_cached(Sql::Lane.text())?;
    let Some(lane) = lane.query_row(params![name, class, key], columns::lane).optional()? else {
        return Ok(None);
    };
    let (place, front) = (Place::of(&job), lane.front.places());
    if let Ok(at) = front.binary_search(&place) {
        return Ok(Some(at as u64));
    }
    let (priority, ready_at) = (u8::from(place.priority), place.ready_at.as_millis());
    let in_line = params![lane.id.0, priority, ready_at, id.get()];
    if !snapshot.prepare_cached(Sql::IsReady.text())?.exists(in_line)? {
        return Ok(None);
    }
    let most = i64::try_from(MAX_EXAMINED).unwrap_or(i64::MAX);
    let mut before = snapshot.prepare_cached(Sql::ReadyBefore.text())?;
    let mut rows = before.query(params![lane.id.0, priority, ready_at, id.get(), most])?;
    let mut ahead = front.len();
    while rows.next()?.is_some() {
        ahead += 1;
    }
    Ok(Some(ahead.min(MAX_EXAMINED) as u64))
}

pub(super) fn attempts(snapshot: &Snapshot<'_>, id: JobId) -> rusqlite::Result<Vec<Attempt>> {
    let mut ended = snapshot.prepare_cached(Sql::Attempts.text())?;
    let ended = ended.query_map([id.get()], |row| Ok(columns::attempt(row)?.to_attempt()))?;
    let mut attempts = ended.collect::<Result<Vec<_>, _>>()?;
    if let Some(running) = job(snapshot, id)?.as_ref().and_then(Attempt::running) {
        attempts.push(Attempt { log_tail: history::log(snapshot, id)?, ..running });
    }
    Ok(attempts)
}

pub(super) fn checkpoints(snapshot: &Snapshot<'_>, id: JobId) -> rusqlite::Result<Vec<Checkpoint>> {
    let mut checkpoints = snapshot.prepare_cached(Sql::Checkpoints.text())?;
    checkpoints.query_map([id.get()], columns::checkpoint)?.collect()
}

pub(super) fn worker(snapshot: &Snapshot<'_>, id: &WorkerId) -> rusqlite::Result<Option<WorkerRecord>> {
    let mut worker = snapshot.prepare_cached(Sql::Worker.text())?;
    worker.query_row([id.as_str()], columns::worker).optional()
}

pub(super) fn workers(snapshot: &Snapshot<'_>) -> rusqlite::Result<Vec<WorkerRecord>> {
    snapshot.prepare_cached(Sql::Workers.text())?.query_map([], columns::worker)?.collect()
}

pub(super) fn record(
    snapshot: &Snapshot<'_>,
    collection: &str,
    key: &str,
) -> rusqlite::Result<Option<Value>> {
    let mut record = snapshot.prepare_cached(Sql::Record.text())?;
    record.query_row([collection, key], |row| columns::json(row, 0)).optional()
}

pub(super) fn records(snapshot: &Snapshot<'_>, collection: &str) -> rusqlite::Result<Vec<(String, Value)>> {
    let mut records = snapshot.prepare_cached(Sql::Records.text())?;
    records.query_map([collection], |row| Ok((row.get(0)?, columns::json(row, 1)?)))?.collect()
}

pub(super) fn log(
    snapshot: &Snapshot<'_>,
    log: &str,
    before: Option<u64>,
    limit: usize,
) -> rusqlite::Result<Vec<(u64, Value)>> {
    let mut entries = snapshot.prepare_cached(Sql::LogEntries.text())?;
    let before = entry_key(before.unwrap_or(u64::MAX));
    let limit = i64::try_from(limit.min(MAX_PAGE)).unwrap_or(i64::MAX);
    let page = params![log, before, limit];
    let entry =
        |row: &rusqlite::Row<'_>| Ok((entry_number(&row.get::<_, String>(0)?), columns::json(row, 1)?));
    entries.query_map(page, entry)?.collect()
}

pub(super) fn has_file(snapshot: &Snapshot<'_>, key: &str) -> rusqlite::Result<bool> {
    snapshot.prepare_cached(Sql::HasFile.text())?.exists([key])
}
