//! A store of your own: `cargo run -p blobforge-examples --bin custom_storage`.
//!
//! This one counts its commits and leaves the rest to another one. What a store has to keep is said in the documentation of
//! [`Storage`], and checked by the suite at the end, which is the same for all of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use blobforge_core::storage::{
    Attempt, Command, Committed, Counts, Hour, JobFilter, JobPage, Storage, StorageError, Workload,
    memory::MemoryStorage,
};
use blobforge_core::{
    Checkpoint, FailureGroup, Generation, Job, JobId, JobType, NewJob, Subscriber, Timestamp, TypeRecord,
    WorkerId, WorkerRecord,
};
use serde_json::Value;

#[derive(Debug)]
struct Counting {
    inner: MemoryStorage,
    commits: AtomicU64,
}

type Read<T> = Result<T, StorageError>;

#[rustfmt::skip] // Most of it is handed on, in a line each.
#[async_trait]
impl Storage for Counting {
    async fn commit(&self, commands: Vec<Command>) -> Result<Committed, StorageError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.inner.commit(commands).await
    }
    async fn job(&self, id: JobId) -> Read<Option<Job>> { self.inner.job(id).await }
    async fn jobs(&self, filter: &JobFilter) -> Read<JobPage> { self.inner.jobs(filter).await }
    async fn types(&self) -> Read<Vec<TypeRecord>> { self.inner.types().await }
    async fn counts(&self) -> Read<Counts> { self.inner.counts().await }
    async fn hours(&self) -> Read<Vec<(JobType, Hour)>> { self.inner.hours().await }
    async fn ahead(&self, id: JobId) -> Read<Option<u64>> { self.inner.ahead(id).await }
    async fn workload(&self) -> Read<Workload> { self.inner.workload().await }
    async fn attempts(&self, id: JobId) -> Read<Vec<Attempt>> { self.inner.attempts(id).await }
    async fn failure_groups(&self, of: Option<&JobType>, limit: usize) -> Read<Vec<FailureGroup>> {
        self.inner.failure_groups(of, limit).await
    }
    async fn checkpoints(&self, id: JobId) -> Read<Vec<Checkpoint>> { self.inner.checkpoints(id).await }
    async fn worker(&self, id: &WorkerId) -> Read<Option<WorkerRecord>> { self.inner.worker(id).await }
    async fn workers(&self) -> Read<Vec<WorkerRecord>> { self.inner.workers().await }
    async fn subscribers(&self) -> Read<Vec<Subscriber>> { self.inner.subscribers().await }
    async fn next_message(&self) -> Read<Option<Timestamp>> { self.inner.next_message().await }
    async fn record(&self, of: &str, key: &str) -> Read<Option<Value>> { self.inner.record(of, key).await }
    async fn records(&self, of: &str) -> Read<Vec<(String, Value)>> { self.inner.records(of).await }
    async fn log(&self, of: &str, before: Option<u64>, limit: usize) -> Read<Vec<(u64, Value)>> { self.inner.log(of, before, limit).await }
    async fn has_file(&self, key: &str) -> Read<bool> { self.inner.has_file(key).await }
    fn generation(&self) -> Generation { self.inner.generation() }
    fn is_durable(&self) -> bool { self.inner.is_durable() }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = Arc::new(Counting { inner: MemoryStorage::default(), commits: AtomicU64::new(0) });
    let queue = blobforge_core::Queue::builder().open_on(store.clone())?;
    let letters = (0..500).map(|number| Ok(NewJob::new("letter")?.param("number", number)));
    queue.submit_many(letters.collect::<Result<_, Box<dyn Error>>>()?).await?;
    // What arrives while a commit is under way shares the next one.
    println!("500 jobs in {} commits", store.commits.load(Ordering::Relaxed));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn counting(clock: Arc<blobforge_core::ManualClock>) -> (Arc<dyn Storage>, ()) {
        (Arc::new(Counting { inner: MemoryStorage::new(clock), commits: AtomicU64::new(0) }), ())
    }

    blobforge_core::storage_conformance!(counting);
}
