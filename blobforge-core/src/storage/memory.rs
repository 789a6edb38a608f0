//! A store in memory: the model that every other backend is compared with, and a store for tests.
//!
//! It keeps the [contract](super) except that nothing survives the process.

mod history;
mod lanes;
mod outbox;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde_json::Value;

use super::{
    Attempt, Command, Committed, Counts, JobFilter, JobPage, MAX_EXAMINED, MAX_PAGE, Storage, StorageError,
    Workload,
    execute::{execute, restored},
    query::{Hour, left_bytes},
    record::{entry_key, entry_number},
    rows::{AttemptRow, Claimer, EndedRow, FileRow, Rows, TypeRow},
};
use crate::{
    Checkpoint, Clock, Condition, EndedLease, Epoch, FailureGroup, Generation, Job, JobId, JobType, Lease,
    Sha256, Status, Subscriber, SystemClock, Timestamp, TypeRecord, WorkerId, WorkerRecord,
};
use history::MemoryHistory;
use lanes::MemoryLanes;
use outbox::MemoryOutbox;

/// Jobs in memory.
///
/// As in [`Storage`].
#[derive(Debug)]
pub struct MemoryStorage {
    clock: Arc<dyn Clock>,
    rows: Mutex<MemoryRows>,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl MemoryStorage {
    /// An empty store that takes its time from `clock`.
    ///
    /// As in [`Maintain`](super::Maintain).
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, rows: Mutex::default() }
    }

    /// Does what restoring a backup does: the generation rises, so that leases given before count for nothing, whatever
    /// ran waits again, ids go on far behind, and for a while no file is deleted. For tests of what comes after a restore.
    ///
    /// ```
    /// use blobforge_core::{Generation, storage::{Storage, memory::MemoryStorage}};
    /// let storage = MemoryStorage::default();
    /// let generation = storage.mark_restored();
    /// assert!(generation > Generation::new(1));
    /// assert_eq!(storage.generation(), generation);
    /// ```
    pub fn mark_restored(&self) -> Generation {
        let now = self.clock.now();
        let Ok((generation, _)) = restored(&mut *self.rows(), now);
        generation
    }

    fn rows(&self) -> MutexGuard<'_, MemoryRows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct MemoryRows {
    jobs: BTreeMap<JobId, Job>,
    last_id: i64,
    lanes: MemoryLanes,
    history: MemoryHistory,
    outbox: MemoryOutbox,
    scheduled: BTreeSet<(Timestamp, JobId)>,
    attempts: BTreeMap<(JobId, Epoch), AttemptRow>,
    checkpoints: BTreeMap<(JobId, String), Checkpoint>,
    duplicates: BTreeMap<([u8; 32], String), JobId>,
    contents: BTreeMap<Sha256, (String, u64)>,
    files: BTreeMap<String, FileRow>,
    /// The files recorded for each job.
    of_jobs: BTreeSet<(JobId, Option<Epoch>, String)>,
    /// Which jobs have their source under which key.
    sources: BTreeMap<String, BTreeSet<JobId>>,
    /// The last restore: the generation that began, and when.
    restored: Option<(Generation, Timestamp)>,
    expiries: BTreeMap<JobId, Timestamp>,
    rescans: BTreeMap<JobType, JobId>,
    workers: BTreeMap<WorkerId, WorkerRecord>,
    records: BTreeMap<(String, String), Value>,
    /// How many jobs, and how many bytes their sources have.
    counts: BTreeMap<(JobType, Status), (i64, i64)>,
    /// By type and slot.
    hours: BTreeMap<(JobType, i64), Hour>,
}

impl MemoryRows {
    fn put_job(&mut self, job: Job) {
        self.forget_source(job.id);
        if let Some(source) = &job.source {
            self.sources.entry(source.key.clone()).or_default().insert(job.id);
        }
        self.jobs.insert(job.id, job);
    }

    fn forget_source(&mut self, id: JobId) {
        let Some(source) = self.jobs.get(&id).and_then(|job| job.source.as_ref()) else { return };
        if let Some(jobs) = self.sources.get_mut(&source.key) {
            jobs.remove(&id);
            if jobs.is_empty() {
                self.sources.remove(&source.key);
            }
        }
    }

    fn leases(&self) -> impl Iterator<Item = (JobId, &Lease)> {
        self.jobs.values().filter_map(|job| Some((job.id, job.lease()?)))
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn commit(&self, commands: Vec<Command>) -> Result<Committed, StorageError> {
        let now = self.clock.now();
        match execute(&mut *self.rows(), now, commands) {
            Ok(committed) => Ok(committed),
        }
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError> {
        Ok(self.rows().jobs.get(&id).cloned())
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, StorageError> {
        let rows = self.rows();
        let limit = filter.page_size();
        let below = Bound::Excluded(filter.below.unwrap_or(JobId::new(i64::MAX)));
        let above = Bound::Excluded(filter.above.unwrap_or(JobId::new(i64::MIN)));
        let mut page = JobPage::default();
        let mut walked: Box<dyn Iterator<Item = (&JobId, &Job)>> = match (filter.above, filter.below) {
            (Some(above), Some(below)) if above >= below => return Ok(page),
            _ if filter.oldest_first => Box::new(rows.jobs.range((above, below))),
            _ => Box::new(rows.jobs.range((above, below)).rev()),
        };
        for examined in 0.. {
            let Some((_, job)) = walked.next() else { break };
            if page.items.len() == limit || examined == MAX_EXAMINED {
                let step = if filter.oldest_first { -1 } else { 1 };
                page.next = Some(JobId::new(job.id.get() + step));
                break;
            }
            if filter.matches(job) {
                page.items.push(job.clone());
            }
        }
        Ok(page)
    }

    async fn types(&self) -> Result<Vec<TypeRecord>, StorageError> {
        let rows = self.rows();
        let record = |(name, row): (&JobType, &TypeRow)| TypeRecord {
            job_type: name.clone(),
            settings: row.settings.clone(),
            paused: row.paused,
        };
        Ok(rows.lanes.types.iter().map(record).collect())
    }

    async fn counts(&self) -> Result<Counts, StorageError> {
        let rows = self.rows();
        let known = rows.counts.iter().filter(|(_, (jobs, _))| *jobs != 0);
        Ok(Counts(known.map(|(key, (jobs, _))| (key.clone(), jobs.unsigned_abs())).collect()))
    }

    async fn hours(&self) -> Result<Vec<(JobType, Hour)>, StorageError> {
        let rows = self.rows();
        let mut hours: Vec<_> = rows.hours.iter().map(|((name, _), hour)| (name.clone(), *hour)).collect();
        hours.sort_by(|a, b| (&a.0, a.1.start).cmp(&(&b.0, b.1.start)));
        Ok(hours)
    }

    async fn workload(&self) -> Result<Workload, StorageError> {
        let rows = self.rows();
        let mut running = BTreeMap::new();
        for (_, lease) in rows.leases() {
            *running.entry(lease.worker.clone()).or_insert(0) += 1;
        }
        let counted = rows.counts.iter().filter(|(_, (jobs, _))| *jobs != 0);
        let left = left_bytes(counted.map(|(key, (_, bytes))| (key.clone(), bytes.unsigned_abs())));
        Ok(Workload { oldest: rows.lanes.oldest_by_type(), running, left })
    }

    async fn attempts(&self, id: JobId) -> Result<Vec<Attempt>, StorageError> {
        let rows = self.rows();
        let ended = rows.attempts.range((id, Epoch::NONE)..=(id, Epoch::new(u32::MAX)));
        let ended = ended.map(|(_, row)| row.to_attempt());
        let running = rows.jobs.get(&id).and_then(Attempt::running);
        let running = running.map(|attempt| Attempt { log_tail: rows.history.log(id), ..attempt });
        Ok(ended.chain(running).collect())
    }

    async fn ahead(&self, id: JobId) -> Result<Option<u64>, StorageError> {
        let rows = self.rows();
        let waiting = rows.jobs.get(&id).filter(|job| job.status() == Status::Pending);
        Ok(waiting.and_then(|job| rows.lanes.ahead(job)))
    }

    async fn failure_groups(
        &self,
        job_type: Option<&JobType>,
        limit: usize,
    ) -> Result<Vec<FailureGroup>, StorageError> {
        Ok(self.rows().history.groups(job_type, limit.clamp(1, MAX_PAGE)))
    }

    async fn checkpoints(&self, id: JobId) -> Result<Vec<Checkpoint>, StorageError> {
        match self.rows().checkpoints(id) {
            Ok(checkpoints) => Ok(checkpoints),
        }
    }

    async fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRecord>, StorageError> {
        Ok(self.rows().workers.get(id).cloned())
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, StorageError> {
        Ok(self.rows().workers.values().cloned().collect())
    }

    async fn subscribers(&self) -> Result<Vec<Subscriber>, StorageError> {
        Ok(self.rows().outbox.subscribers())
    }

    async fn next_message(&self) -> Result<Option<Timestamp>, StorageError> {
        Ok(self.rows().outbox.next_message())
    }

    async fn record(&self, collection: &str, key: &str) -> Result<Option<Value>, StorageError> {
        Ok(self.rows().records.get(&(collection.to_owned(), key.to_owned())).cloned())
    }

    async fn records(&self, collection: &str) -> Result<Vec<(String, Value)>, StorageError> {
        let rows = self.rows();
        let of_collection = rows.records.iter().filter(|((name, _), _)| name == collection);
        Ok(of_collection.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    async fn log(
        &self,
        log: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Value)>, StorageError> {
        let before = entry_key(before.unwrap_or(u64::MAX));
        let rows = self.rows();
        let entries = rows.records.iter().rev().filter(|((name, key), _)| name == log && *key < before);
        let page = entries.take(limit.min(MAX_PAGE));
        Ok(page.map(|((_, key), value)| (entry_number(key), value.clone())).collect())
    }

    async fn has_file(&self, key: &str) -> Result<bool, StorageError> {
        Ok(self.rows().files.get(key).is_some_and(|file| file.deleting_since.is_none()))
    }

    fn generation(&self) -> Generation {
        Rows::generation(&*self.rows())
    }

    fn is_durable(&self) -> bool {
        false
    }
}

impl Rows for MemoryRows {
    fn generation(&self) -> Generation {
        self.restored.map_or(Generation::new(1), |(generation, _)| generation)
    }

    fn job(&mut self, id: JobId) -> Result<Option<Job>, Infallible> {
        Ok(self.jobs.get(&id).cloned())
    }

    fn newest_job(&mut self) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.jobs.last_key_value().map(|(_, job)| job.created_at))
    }

    fn skip_ids(&mut self, by: u64) -> Result<(), Infallible> {
        self.last_id = self.last_id.saturating_add_unsigned(by);
        Ok(())
    }

    fn insert_job(&mut self, job: &Job) -> Result<JobId, Infallible> {
        self.last_id += 1;
        let id = JobId::new(self.last_id);
        self.put_job(Job { id, ..job.clone() });
        Ok(id)
    }

    fn update_job(&mut self, _before: &Job, after: &Job) -> Result<(), Infallible> {
        self.put_job(after.clone());
        Ok(())
    }

    fn delete_job(&mut self, id: JobId) -> Result<(), Infallible> {
        self.forget_source(id);
        self.jobs.remove(&id);
        let of_job = (id, Epoch::NONE)..=(id, Epoch::new(u32::MAX));
        let attempts: Vec<_> = self.attempts.range(of_job).map(|(key, _)| *key).collect();
        for attempt in attempts {
            self.attempts.remove(&attempt);
        }
        self.delete_checkpoints(id)
    }

    fn push_scheduled(&mut self, at: Timestamp, id: JobId) -> Result<(), Infallible> {
        self.scheduled.insert((at, id));
        Ok(())
    }

    fn remove_scheduled(&mut self, at: Timestamp, id: JobId) -> Result<(), Infallible> {
        self.scheduled.remove(&(at, id));
        Ok(())
    }

    fn due_scheduled(&mut self, now: Timestamp, limit: usize) -> Result<Vec<(Timestamp, JobId)>, Infallible> {
        Ok(self.scheduled.iter().take_while(|(at, _)| *at <= now).take(limit).copied().collect())
    }

    fn next_scheduled(&mut self) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.scheduled.first().map(|(at, _)| *at))
    }

    fn due_leases(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, Infallible> {
        let mut due: Vec<_> = self.leases().filter(|(_, l)| !l.lapsed && l.expires_at <= now).collect();
        due.sort_by_key(|(id, lease)| (lease.expires_at, *id));
        Ok(due.into_iter().take(limit).map(|(id, _)| id).collect())
    }

    fn next_lease_expiry(&mut self) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.leases().filter(|(_, lease)| !lease.lapsed).map(|(_, lease)| lease.expires_at).min())
    }

    fn leases_after(&mut self, after: JobId, limit: usize) -> Result<Vec<JobId>, Infallible> {
        Ok(self.leases().map(|(id, _)| id).filter(|id| *id > after).take(limit).collect())
    }

    fn leases_of(&mut self, worker: &WorkerId) -> Result<Vec<JobId>, Infallible> {
        Ok(self.leases().filter(|(_, lease)| lease.worker == *worker).map(|(id, _)| id).collect())
    }

    fn stale_uploads(&mut self, before: Timestamp, limit: usize) -> Result<Vec<JobId>, Infallible> {
        let stale = |job: &&Job| job.status() == Status::Uploading && job.updated_at <= before;
        let mut found: Vec<_> = self.jobs.values().filter(stale).collect();
        found.sort_by_key(|job| (job.updated_at, job.id));
        Ok(found.into_iter().take(limit).map(|job| job.id).collect())
    }

    fn insert_attempt(&mut self, job: JobId, attempt: &AttemptRow) -> Result<(), Infallible> {
        self.attempts.insert((job, attempt.lease.token.epoch), attempt.clone());
        Ok(())
    }

    fn delete_attempt(&mut self, job: JobId, epoch: Epoch) -> Result<(), Infallible> {
        self.attempts.remove(&(job, epoch));
        Ok(())
    }

    fn ended_lease(&mut self, job: JobId, epoch: Epoch) -> Result<Option<EndedLease>, Infallible> {
        Ok(self.attempts.get(&(job, epoch)).map(|row| row.lease.clone()))
    }

    fn checkpoints(&mut self, job: JobId) -> Result<Vec<Checkpoint>, Infallible> {
        let of_job = self.checkpoints.range((job, String::new())..).take_while(|((id, _), _)| *id == job);
        Ok(of_job.map(|(_, checkpoint)| checkpoint.clone()).collect())
    }

    fn put_checkpoint(&mut self, job: JobId, checkpoint: &Checkpoint) -> Result<(), Infallible> {
        self.checkpoints.insert((job, checkpoint.name.clone()), checkpoint.clone());
        Ok(())
    }

    fn delete_checkpoints(&mut self, job: JobId) -> Result<(), Infallible> {
        self.checkpoints.retain(|(id, _), _| *id != job);
        Ok(())
    }

    fn duplicate(&mut self, work: &[u8; 32], scope: &str) -> Result<Option<JobId>, Infallible> {
        Ok(self.duplicates.get(&(*work, scope.to_owned())).copied())
    }

    fn put_duplicate(&mut self, work: &[u8; 32], scope: &str, job: JobId) -> Result<(), Infallible> {
        let known = self.duplicates.entry((*work, scope.to_owned())).or_insert(job);
        if !self.jobs.contains_key(known) {
            *known = job;
        }
        Ok(())
    }

    fn delete_duplicate(&mut self, work: &[u8; 32], scope: &str, job: JobId) -> Result<(), Infallible> {
        let key = (*work, scope.to_owned());
        if self.duplicates.get(&key) == Some(&job) {
            self.duplicates.remove(&key);
        }
        Ok(())
    }

    fn content(&mut self, sha256: &Sha256) -> Result<Option<(String, u64)>, Infallible> {
        Ok(self.contents.get(sha256).cloned())
    }

    fn put_content(&mut self, sha256: &Sha256, key: &str, size: u64) -> Result<(), Infallible> {
        self.contents.entry(*sha256).or_insert_with(|| (key.to_owned(), size));
        Ok(())
    }

    fn forget_content(&mut self, key: &str) -> Result<(), Infallible> {
        self.contents.retain(|_, (known, _)| known != key);
        Ok(())
    }

    fn file(&mut self, key: &str) -> Result<Option<FileRow>, Infallible> {
        Ok(self.files.get(key).cloned())
    }

    fn put_file(&mut self, file: &FileRow) -> Result<(), Infallible> {
        self.delete_file(&file.key)?;
        if let Some(job) = file.job {
            self.of_jobs.insert((job, file.epoch, file.key.clone()));
        }
        self.files.insert(file.key.clone(), file.clone());
        Ok(())
    }

    fn delete_file(&mut self, key: &str) -> Result<(), Infallible> {
        if let Some(file) = self.files.remove(key)
            && let Some(job) = file.job
        {
            self.of_jobs.remove(&(job, file.epoch, file.key));
        }
        Ok(())
    }

    fn files_of(&mut self, job: JobId, epoch: Option<Epoch>) -> Result<Vec<FileRow>, Infallible> {
        let of_job = self.of_jobs.range((job, None, String::new())..).take_while(|(id, ..)| *id == job);
        let wanted = of_job.filter(|(_, of, _)| epoch.is_none() || *of == epoch);
        Ok(wanted.filter_map(|(.., key)| self.files.get(key).cloned()).collect())
    }

    fn dead_files(
        &mut self,
        after: &(Timestamp, String),
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<FileRow>, Infallible> {
        let waiting = self.files.values().filter(|file| file.deleting_since.is_none());
        let dead = waiting.filter_map(|file| Some(((file.dead_since?, file.key.clone()), file.clone())));
        let mut dead: Vec<_> = dead.filter(|(place, _)| place.0 <= until && place > after).collect();
        dead.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(dead.into_iter().take(limit).map(|(_, file)| file).collect())
    }

    fn deleting_files(&mut self, until: Timestamp, limit: usize) -> Result<Vec<FileRow>, Infallible> {
        let begun = |file: &&FileRow| file.deleting_since.is_some_and(|at| at <= until);
        let mut files: Vec<_> = self.files.values().filter(begun).cloned().collect();
        files.sort_by_key(|file| file.deleting_since);
        files.truncate(limit);
        Ok(files)
    }

    fn is_source(&mut self, key: &str) -> Result<bool, Infallible> {
        let needs = |job: &Job| {
            let arrived = job.source.as_ref().is_some_and(|source| source.arrived);
            arrived || job.status() == Status::Uploading
        };
        let jobs = self.sources.get(key).into_iter().flatten();
        Ok(jobs.filter_map(|id| self.jobs.get(id)).any(needs))
    }

    fn has_arrived(&mut self, key: &str) -> Result<bool, Infallible> {
        let arrived = |job: &Job| job.source.as_ref().is_some_and(|source| source.arrived);
        let jobs = self.sources.get(key).into_iter().flatten();
        Ok(jobs.filter_map(|id| self.jobs.get(id)).any(arrived))
    }

    fn begin_generation(&mut self, generation: Generation, now: Timestamp) -> Result<(), Infallible> {
        self.restored = Some((generation, now));
        Ok(())
    }

    fn restored_at(&mut self) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.restored.map(|(_, at)| at))
    }

    fn put_expiry(&mut self, job: JobId, at: Timestamp) -> Result<(), Infallible> {
        self.expiries.insert(job, at);
        Ok(())
    }

    fn delete_expiry(&mut self, job: JobId) -> Result<(), Infallible> {
        self.expiries.remove(&job);
        Ok(())
    }

    fn due_expiries(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, Infallible> {
        let due = self.expiries.iter().filter(|(_, at)| **at <= now);
        let mut due: Vec<_> = due.map(|(id, at)| (*at, *id)).collect();
        due.sort();
        Ok(due.into_iter().take(limit).map(|(_, id)| id).collect())
    }

    fn next_expiry(&mut self) -> Result<Option<Timestamp>, Infallible> {
        Ok(self.expiries.values().min().copied())
    }

    fn put_rescan(&mut self, job_type: &JobType, below: Option<JobId>) -> Result<(), Infallible> {
        match below {
            Some(below) => self.rescans.insert(job_type.clone(), below),
            None => self.rescans.remove(job_type),
        };
        Ok(())
    }

    fn first_rescan(&mut self) -> Result<Option<(JobType, JobId)>, Infallible> {
        Ok(self.rescans.first_key_value().map(|(job_type, below)| (job_type.clone(), *below)))
    }

    fn jobs_below(&mut self, below: JobId, limit: usize) -> Result<Vec<EndedRow>, Infallible> {
        let ended = |job: &Job| EndedRow {
            id: job.id,
            job_type: job.job_type.clone(),
            status: job.status(),
            ended_at: job.ended_at,
        };
        Ok(self.jobs.range(..below).rev().take(limit).map(|(_, job)| ended(job)).collect())
    }

    fn is_draining(&mut self, id: &WorkerId) -> Result<Option<bool>, Infallible> {
        Ok(self.workers.get(id).filter(|worker| !worker.unregistered).map(|worker| worker.draining))
    }

    fn claimer(&mut self, id: &WorkerId) -> Result<Option<Claimer>, Infallible> {
        let known = self.workers.get(id).filter(|worker| !worker.unregistered);
        Ok(known.map(|worker| Claimer { draining: worker.draining, host: worker.registration.host.clone() }))
    }

    fn leases_of_claim(&mut self, worker: &WorkerId, claim_id: &str) -> Result<Vec<JobId>, Infallible> {
        let got = |lease: &Lease| lease.worker == *worker && lease.claim_id.as_deref() == Some(claim_id);
        Ok(self.leases().filter(|(_, lease)| got(lease)).map(|(id, _)| id).collect())
    }

    fn worker(&mut self, id: &WorkerId) -> Result<Option<WorkerRecord>, Infallible> {
        Ok(self.workers.get(id).cloned())
    }

    fn put_worker(&mut self, worker: &WorkerRecord) -> Result<(), Infallible> {
        self.workers.insert(worker.registration.id.clone(), worker.clone());
        Ok(())
    }

    fn silent_workers(&mut self, until: Timestamp, limit: usize) -> Result<Vec<WorkerId>, Infallible> {
        let silent = self.workers.values().filter(|worker| worker.last_seen_at <= until);
        let mut silent: Vec<_> =
            silent.map(|worker| (worker.last_seen_at, &worker.registration.id)).collect();
        silent.sort();
        Ok(silent.into_iter().take(limit).map(|(_, id)| id.clone()).collect())
    }

    fn touch_worker(
        &mut self,
        id: &WorkerId,
        now: Timestamp,
        condition: Option<&Condition>,
    ) -> Result<(), Infallible> {
        if let Some(worker) = self.workers.get_mut(id) {
            worker.last_seen_at = now;
            if let Some(condition) = condition {
                worker.condition.clone_from(condition);
            }
        }
        Ok(())
    }

    fn delete_worker(&mut self, id: &WorkerId) -> Result<(), Infallible> {
        self.workers.remove(id);
        Ok(())
    }

    fn put_record(&mut self, collection: &str, key: &str, value: &Value) -> Result<(), Infallible> {
        self.records.insert((collection.to_owned(), key.to_owned()), value.clone());
        Ok(())
    }

    fn delete_record(&mut self, collection: &str, key: &str) -> Result<(), Infallible> {
        self.records.remove(&(collection.to_owned(), key.to_owned()));
        Ok(())
    }

    fn last_record(&mut self, collection: &str) -> Result<Option<String>, Infallible> {
        let of_collection = self.records.keys().rev().find(|(name, _)| name == collection);
        Ok(of_collection.map(|(_, key)| key.clone()))
    }

    fn delete_records_up_to(&mut self, collection: &str, key: &str) -> Result<(), Infallible> {
        self.records.retain(|(name, at), _| name != collection || at.as_str() > key);
        Ok(())
    }

    fn add_ended(&mut self, job_type: &JobType, hour: Hour) -> Result<(), Infallible> {
        let slot = (job_type.clone(), hour.slot());
        let sum = hour.with(self.hours.get(&slot).copied());
        self.hours.insert(slot, sum);
        Ok(())
    }

    fn add_count(
        &mut self,
        job_type: &JobType,
        status: Status,
        jobs: i64,
        bytes: i64,
    ) -> Result<(), Infallible> {
        let count = self.counts.entry((job_type.clone(), status)).or_default();
        *count = (count.0 + jobs, count.1.saturating_add(bytes));
        Ok(())
    }
}
