//! What the store really did, command by command: the truth that every check starts from.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use blobforge_core::{
    Checkpoint, Clock, FailureGroup, Generation, Job, JobId, JobType, ManualClock, Subscriber, Timestamp,
    TypeRecord, WorkerId, WorkerRecord,
    storage::{
        Attempt, Claimed, Command, Committed, Counts, Done, Event, Hour, JobFilter, JobPage, MAX_PAGE,
        Outcome, Storage, StorageError, Workload, memory::MemoryStorage,
    },
};
use serde_json::Value;

/// What a store holds at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) jobs: BTreeMap<JobId, Arc<Job>>,
    pub(crate) counts: Counts,
    pub(crate) workers: Vec<WorkerRecord>,
}

/// One command, and all that it changed.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) now: Timestamp,
    pub(crate) uptime: Duration,
    pub(crate) command: Command,
    pub(crate) outcome: Outcome,
    pub(crate) events: Vec<Event>,
    pub(crate) before: Arc<Snapshot>,
    pub(crate) after: Arc<Snapshot>,
    /// The attempts of every job that changed, as they are afterwards.
    pub(crate) attempts: BTreeMap<JobId, Vec<Attempt>>,
}

impl Change {
    /// The jobs that are not as they were; `None` for one that was not there.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = (Option<&Job>, &Job)> {
        let differs = |(id, after): &(&JobId, &Arc<Job>)| {
            !self.before.jobs.get(id).is_some_and(|before| Arc::ptr_eq(before, after))
        };
        let both = |(id, after): (&JobId, _)| (self.before.jobs.get(id).map(|job| &**job), after);
        self.after.jobs.iter().filter(differs).map(move |(id, after)| both((id, &**after)))
    }

    /// The jobs that are gone.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = &Job> {
        self.before.jobs.values().filter(|job| !self.after.jobs.contains_key(&job.id)).map(|job| &**job)
    }

    /// The jobs that a claim started.
    pub(crate) fn started(&self) -> impl Iterator<Item = &Claimed> {
        self.claimed().iter().filter(|taken| self.has_started(taken))
    }

    /// The jobs of a claim that had them already.
    pub(crate) fn told_again(&self) -> impl Iterator<Item = &Claimed> {
        self.claimed().iter().filter(|taken| !self.has_started(taken))
    }

    /// Whether a job that a claim is told of was started by it.
    pub(crate) fn has_started(&self, taken: &Claimed) -> bool {
        self.was(taken.job.id).is_none_or(|before| before.life.epoch != taken.token.epoch)
    }

    fn claimed(&self) -> &[Claimed] {
        match &self.outcome {
            Ok(Done::Claimed(claimed)) => claimed,
            _ => &[],
        }
    }

    pub(crate) fn was(&self, id: JobId) -> Option<&Job> {
        self.before.jobs.get(&id).map(|job| &**job)
    }
}

/// A store in memory that keeps a record of everything it does. It carries a batch out one command at a time, which to
/// its users is the same, and lets every change be seen.
#[derive(Debug)]
pub(crate) struct Ledger {
    storage: MemoryStorage,
    clock: Arc<ManualClock>,
    log: Mutex<(Vec<Change>, Arc<Snapshot>)>,
}

impl Ledger {
    pub(crate) fn new(clock: Arc<ManualClock>) -> Self {
        Self { storage: MemoryStorage::new(clock.clone()), clock, log: Mutex::default() }
    }

    fn log(&self) -> MutexGuard<'_, (Vec<Change>, Arc<Snapshot>)> {
        self.log.lock().unwrap()
    }

    /// How many commands were carried out.
    pub(crate) fn len(&self) -> usize {
        self.log().0.len()
    }

    /// The changes from this one on.
    pub(crate) fn since(&self, index: usize) -> Vec<Change> {
        self.log().0[index..].to_vec()
    }

    /// What the store holds now.
    pub(crate) fn now(&self) -> Arc<Snapshot> {
        self.log().1.clone()
    }

    /// Does what restoring a backup does to who held leases.
    pub(crate) async fn restore(&self) -> Arc<Snapshot> {
        self.storage.mark_restored();
        let before = self.now();
        let after = Arc::new(self.snapshot(&before).await.expect("a store in memory can be read"));
        self.log().1 = after.clone();
        after
    }

    async fn snapshot(&self, before: &Snapshot) -> Result<Snapshot, StorageError> {
        let page = self.storage.jobs(&JobFilter::all(MAX_PAGE)).await?;
        let job = |job: Job| match before.jobs.get(&job.id) {
            Some(known) if **known == job => (job.id, known.clone()),
            _ => (job.id, Arc::new(job)),
        };
        Ok(Snapshot {
            jobs: page.items.into_iter().map(job).collect(),
            counts: self.storage.counts().await?,
            workers: self.storage.workers().await?,
        })
    }
}

#[async_trait]
impl Storage for Ledger {
    async fn commit(&self, commands: Vec<Command>) -> Result<Committed, StorageError> {
        let mut all = Committed::default();
        for command in commands {
            let committed = self.storage.commit(vec![command.clone()]).await?;
            // Field by field: a new one has to be put together here, too.
            let Committed { mut outcomes, events, ready, woken, outbox, next_due, attempts, flush } =
                committed;
            let outcome = outcomes.pop().expect("an outcome for every command");
            let before = self.now();
            let after = Arc::new(self.snapshot(&before).await?);
            let mut change = Change {
                now: self.clock.now(),
                uptime: self.clock.uptime(),
                command,
                outcome: outcome.clone(),
                events: events.clone(),
                before,
                after: after.clone(),
                attempts: BTreeMap::new(),
            };
            let changed: Vec<JobId> = change.jobs().map(|(_, job)| job.id).collect();
            for id in changed {
                change.attempts.insert(id, self.storage.attempts(id).await?);
            }
            let mut log = self.log();
            log.0.push(change);
            log.1 = after;
            drop(log);
            all.outcomes.push(outcome);
            all.events.extend(events);
            all.ready.extend(ready);
            all.woken.extend(woken);
            all.attempts.extend(attempts);
            all.flush = [all.flush, flush].into_iter().flatten().reduce(|a, b| a + b);
            all.outbox |= outbox;
            all.next_due = [all.next_due, next_due].into_iter().flatten().min();
        }
        Ok(all)
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError> {
        self.storage.job(id).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, StorageError> {
        self.storage.jobs(filter).await
    }

    async fn types(&self) -> Result<Vec<TypeRecord>, StorageError> {
        self.storage.types().await
    }

    async fn counts(&self) -> Result<Counts, StorageError> {
        self.storage.counts().await
    }

    async fn hours(&self) -> Result<Vec<(JobType, Hour)>, StorageError> {
        self.storage.hours().await
    }

    async fn ahead(&self, id: JobId) -> Result<Option<u64>, StorageError> {
        self.storage.ahead(id).await
    }

    async fn workload(&self) -> Result<Workload, StorageError> {
        self.storage.workload().await
    }

    async fn attempts(&self, id: JobId) -> Result<Vec<Attempt>, StorageError> {
        self.storage.attempts(id).await
    }

    async fn failure_groups(
        &self,
        job_type: Option<&JobType>,
        limit: usize,
    ) -> Result<Vec<FailureGroup>, StorageError> {
        self.storage.failure_groups(job_type, limit).await
    }

    async fn checkpoints(&self, id: JobId) -> Result<Vec<Checkpoint>, StorageError> {
        self.storage.checkpoints(id).await
    }

    async fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRecord>, StorageError> {
        self.storage.worker(id).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, StorageError> {
        self.storage.workers().await
    }

    async fn subscribers(&self) -> Result<Vec<Subscriber>, StorageError> {
        self.storage.subscribers().await
    }

    async fn next_message(&self) -> Result<Option<Timestamp>, StorageError> {
        self.storage.next_message().await
    }

    async fn record(&self, collection: &str, key: &str) -> Result<Option<Value>, StorageError> {
        self.storage.record(collection, key).await
    }

    async fn records(&self, collection: &str) -> Result<Vec<(String, Value)>, StorageError> {
        self.storage.records(collection).await
    }

    async fn log(
        &self,
        log: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Value)>, StorageError> {
        self.storage.log(log, before, limit).await
    }

    async fn has_file(&self, key: &str) -> Result<bool, StorageError> {
        self.storage.has_file(key).await
    }

    fn generation(&self) -> Generation {
        self.storage.generation()
    }
}
