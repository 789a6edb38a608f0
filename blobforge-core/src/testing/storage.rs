//! A storage that fails when it is told to.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;

use super::{Fault, Faults, faults::Fate};
use crate::{
    Checkpoint, Clock, FailureGroup, Generation, Job, JobId, JobType, Subscriber, Timestamp, TypeRecord,
    WorkerId, WorkerRecord,
    storage::{
        Attempt, Command, Committed, Counts, Hour, JobFilter, JobPage, Storage, StorageError, Workload,
    },
};

/// Any storage, with the faults that its [`Faults`] ask for.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use blobforge_core::{SystemClock, storage::{Command, Storage, memory::MemoryStorage}};
/// use blobforge_core::testing::{Fault, FaultyStorage};
/// use std::sync::Arc;
/// let storage = FaultyStorage::new(Arc::new(MemoryStorage::default()), Arc::new(SystemClock));
/// storage.faults().next_write(Fault::Unknown);
/// let note = || Command::PutRecord { collection: "notes".into(), key: "a".into(), value: 1.into() };
/// assert!(storage.commit(vec![note()]).await.unwrap_err().may_have_been_kept());
/// assert_eq!(storage.record("notes", "a").await.unwrap(), Some(1.into()), "it was kept");
/// # });
/// ```
#[derive(Debug)]
pub struct FaultyStorage {
    inner: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    faults: Faults,
}

impl FaultyStorage {
    /// `inner` without faults so far; slow calls measure their time by `clock`.
    ///
    /// As in [`FaultyStorage`].
    pub fn new(inner: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, faults: Faults::new() }
    }

    /// The handle that says what goes wrong.
    ///
    /// As in [`FaultyStorage`].
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// The storage, if a read may go on to it.
    async fn read(&self) -> Result<&dyn Storage, StorageError> {
        match self.faults.read(&*self.clock).await {
            Fate::Fine => Ok(&*self.inner),
            Fate::Fails(fault) => Err(failure(fault, true)),
            Fate::Broken => Err(broken()),
        }
    }
}

fn failure(fault: Fault, read: bool) -> StorageError {
    let text = "a test asked for it".to_owned();
    match fault {
        Fault::Full => StorageError::Full(text),
        Fault::Unknown if !read => StorageError::Unknown(text),
        _ => StorageError::Busy(text),
    }
}

fn broken() -> StorageError {
    StorageError::Broken("a test asked for it".to_owned())
}

#[async_trait]
impl Storage for FaultyStorage {
    async fn commit(&self, commands: Vec<Command>) -> Result<Committed, StorageError> {
        match self.faults.write(&*self.clock).await {
            Fate::Fine => self.inner.commit(commands).await,
            Fate::Fails(Fault::Unknown) => {
                self.inner.commit(commands).await?;
                Err(failure(Fault::Unknown, false))
            }
            Fate::Fails(fault) => Err(failure(fault, false)),
            Fate::Broken => Err(broken()),
        }
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError> {
        self.read().await?.job(id).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, StorageError> {
        self.read().await?.jobs(filter).await
    }

    async fn types(&self) -> Result<Vec<TypeRecord>, StorageError> {
        self.read().await?.types().await
    }

    async fn counts(&self) -> Result<Counts, StorageError> {
        self.read().await?.counts().await
    }

    async fn hours(&self) -> Result<Vec<(JobType, Hour)>, StorageError> {
        self.read().await?.hours().await
    }

    async fn ahead(&self, id: JobId) -> Result<Option<u64>, StorageError> {
        self.read().await?.ahead(id).await
    }

    async fn workload(&self) -> Result<Workload, StorageError> {
        self.read().await?.workload().await
    }

    async fn attempts(&self, id: JobId) -> Result<Vec<Attempt>, StorageError> {
        self.read().await?.attempts(id).await
    }

    async fn failure_groups(
        &self,
        job_type: Option<&JobType>,
        limit: usize,
    ) -> Result<Vec<FailureGroup>, StorageError> {
        self.read().await?.failure_groups(job_type, limit).await
    }

    async fn checkpoints(&self, id: JobId) -> Result<Vec<Checkpoint>, StorageError> {
        self.read().await?.checkpoints(id).await
    }

    async fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRecord>, StorageError> {
        self.read().await?.worker(id).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, StorageError> {
        self.read().await?.workers().await
    }

    async fn subscribers(&self) -> Result<Vec<Subscriber>, StorageError> {
        self.read().await?.subscribers().await
    }

    async fn next_message(&self) -> Result<Option<Timestamp>, StorageError> {
        self.read().await?.next_message().await
    }

    async fn record(&self, collection: &str, key: &str) -> Result<Option<Value>, StorageError> {
        self.read().await?.record(collection, key).await
    }

    async fn records(&self, collection: &str) -> Result<Vec<(String, Value)>, StorageError> {
        self.read().await?.records(collection).await
    }

    async fn log(
        &self,
        log: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Value)>, StorageError> {
        self.read().await?.log(log, before, limit).await
    }

    async fn has_file(&self, key: &str) -> Result<bool, StorageError> {
        self.read().await?.has_file(key).await
    }

    fn generation(&self) -> Generation {
        self.inner.generation()
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn statements(&self) -> Option<u64> {
        self.inner.statements()
    }

    fn is_shared(&self) -> Option<Duration> {
        self.inner.is_shared()
    }

    async fn changed_elsewhere(&self) -> Result<bool, StorageError> {
        self.inner.changed_elsewhere().await
    }

    async fn upkeep(&self) -> Result<bool, StorageError> {
        self.inner.upkeep().await
    }

    async fn settle(&self) -> Result<(), StorageError> {
        self.inner.settle().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::{ManualClock, storage::memory::MemoryStorage};

    fn storage() -> (FaultyStorage, Faults, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
        let storage = FaultyStorage::new(Arc::new(MemoryStorage::new(clock.clone())), clock.clone());
        let faults = storage.faults();
        (storage, faults, clock)
    }

    fn note() -> Vec<Command> {
        vec![Command::PutRecord { collection: "notes".into(), key: "a".into(), value: 1.into() }]
    }

    async fn is_kept(storage: &FaultyStorage) -> bool {
        storage.record("notes", "a").await.unwrap().is_some()
    }

    #[tokio::test]
    async fn what_fails_before_the_commit_is_not_kept_and_can_be_tried_again() {
        let (storage, faults, _) = storage();
        faults.next_write(Fault::Busy);
        faults.next_write(Fault::Full);
        assert!(matches!(storage.commit(note()).await, Err(StorageError::Busy(_))));
        assert!(matches!(storage.commit(note()).await, Err(StorageError::Full(_))));
        assert!(!is_kept(&storage).await);
        storage.commit(note()).await.unwrap();
        assert!(is_kept(&storage).await);
    }

    #[tokio::test]
    async fn a_slow_commit_ends_when_its_time_has_passed() {
        let (storage, faults, clock) = storage();
        faults.next_write(Fault::Slow(Duration::from_secs(10)));
        let mut commit = storage.commit(note());
        assert!((&mut commit).now_or_never().is_none());
        assert_eq!(faults.waiting(), 1);
        clock.jump_forward(Duration::from_secs(3600));
        assert!((&mut commit).now_or_never().is_none(), "no time has passed");
        clock.advance(Duration::from_secs(10));
        commit.await.unwrap();
        assert_eq!(faults.waiting(), 0);
    }

    #[tokio::test]
    async fn what_is_held_goes_on_when_released_and_fails_when_the_store_breaks() {
        let (storage, faults, _) = storage();
        faults.next_write(Fault::Held);
        faults.next_write(Fault::Held);
        let mut commit = storage.commit(note());
        assert!((&mut commit).now_or_never().is_none());
        assert!(!is_kept(&storage).await);
        faults.release();
        commit.await.unwrap();
        let mut commit = storage.commit(note());
        assert!((&mut commit).now_or_never().is_none());
        faults.break_for_good();
        assert!(matches!(commit.await, Err(StorageError::Broken(_))));
        assert!(storage.counts().await.is_err());
    }

    #[tokio::test]
    async fn every_write_fails_until_the_faults_are_cleared() {
        let (storage, faults, _) = storage();
        faults.every_write(Fault::Full);
        for _ in 0..3 {
            assert!(storage.commit(note()).await.is_err());
        }
        faults.clear();
        storage.commit(note()).await.unwrap();
    }
}
