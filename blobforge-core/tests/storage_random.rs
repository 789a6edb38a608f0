//! Random sequences of commands do the same to the SQLite store as to the one in memory.
//!
//! A failure prints the seed of its sequence; `BLOBFORGE_SEED=<seed>` runs that one alone. `BLOBFORGE_SEED_FROM=<seed>`
//! begins elsewhere, for campaigns.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "storage_random/commands.rs"]
mod commands;
#[path = "storage_random/invariants.rs"]
mod invariants;

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    Clock, FailureGroupId, JobId, JobType, ManualClock, Priority, Status, Timestamp, WorkerId,
    storage::{
        Committed, JobFilter, JobPage, Storage,
        memory::MemoryStorage,
        sqlite::{SqliteOptions, SqliteStorage},
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use commands::World;

const SEQUENCES: u64 = 64;
const COMMANDS: usize = 200;

/// Runs a quarter of the sequences, so that the four tests share the machine's cores.
async fn quarter(first: u64) {
    if let Ok(seed) = std::env::var("BLOBFORGE_SEED") {
        let seed = seed.parse().expect("BLOBFORGE_SEED is a number");
        if seed % 4 == first {
            sequence(seed).await;
        }
        return;
    }
    let from = std::env::var("BLOBFORGE_SEED_FROM").map_or(0, |from| from.parse().expect("a number"));
    for n in from..from + SEQUENCES {
        sequence(n * 4 + first).await;
    }
}

#[tokio::test]
async fn random_commands_do_the_same_as_in_memory_1() {
    quarter(0).await;
}

#[tokio::test]
async fn random_commands_do_the_same_as_in_memory_2() {
    quarter(1).await;
}

#[tokio::test]
async fn random_commands_do_the_same_as_in_memory_3() {
    quarter(2).await;
}

#[tokio::test]
async fn random_commands_do_the_same_as_in_memory_4() {
    quarter(3).await;
}

/// Says which seed failed, whichever assertion it was.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was BLOBFORGE_SEED={}", self.0);
        }
    }
}

async fn sequence(seed: u64) {
    let named = Seed(seed);
    let mut rng = StdRng::seed_from_u64(seed);
    let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let options = SqliteOptions {
        clock: clock.clone(),
        readers: 1,
        // A machine that is busy with other tests must not fail this one.
        read_limit: Duration::from_secs(60),
        ..SqliteOptions::default()
    };
    let sqlite = SqliteStorage::open(&path, options).await.unwrap();
    let memory = MemoryStorage::new(clock.clone());
    let mut world = World::new(clock.now());

    let mut done = 0;
    while done < COMMANDS {
        move_clock(&mut rng, &clock);
        let batch = world.batch(&mut rng, clock.now());
        done += batch.len();
        let expected = memory.commit(batch.clone()).await.unwrap();
        // How long it takes to make a batch durable is another matter.
        let found = Committed { flush: None, ..sqlite.commit(batch.clone()).await.unwrap() };
        assert_eq!(found, expected, "after {done} commands, the last of them {batch:#?}");
        world.learn(&expected);
        glance(&mut rng, &memory, &sqlite, &world).await;
    }
    compare(&memory, &sqlite, &world).await;
    drop(sqlite);
    invariants::check(&path);
    invariants::check_files(&path);
    drop(named);
}

fn move_clock(rng: &mut StdRng, clock: &ManualClock) {
    match rng.random_range(0..20) {
        0..8 => {}
        8..15 => clock.advance(Duration::from_millis(rng.random_range(1..5_000))),
        15..19 => clock.advance(Duration::from_secs(rng.random_range(5..90))),
        // So that what was sent in vain dies.
        19 if rng.random_bool(0.2) => clock.advance(Duration::from_secs(25 * 60 * 60)),
        _ => clock.set(clock.now() - Duration::from_secs(rng.random_range(1..60))),
    }
}

/// Reads one job in both stores now and then, so that a difference is found near where it arose.
async fn glance(rng: &mut StdRng, memory: &MemoryStorage, sqlite: &SqliteStorage, world: &World) {
    let id = JobId::new(rng.random_range(0..=world.last_id + 1));
    assert_eq!(sqlite.job(id).await.unwrap(), memory.job(id).await.unwrap(), "job {id}");
}

async fn compare(memory: &MemoryStorage, sqlite: &SqliteStorage, world: &World) {
    for id in (0..=world.last_id + 1).map(JobId::new) {
        assert_eq!(sqlite.job(id).await.unwrap(), memory.job(id).await.unwrap(), "job {id}");
        assert_eq!(
            sqlite.attempts(id).await.unwrap(),
            memory.attempts(id).await.unwrap(),
            "attempts of {id}"
        );
        let (found, expected) =
            (sqlite.checkpoints(id).await.unwrap(), memory.checkpoints(id).await.unwrap());
        assert_eq!(found, expected, "checkpoints of {id}");
    }
    assert_eq!(sqlite.counts().await.unwrap(), memory.counts().await.unwrap());
    for job_type in [None, Some(JobType::new("pdf").unwrap())] {
        let (found, expected) = (
            sqlite.failure_groups(job_type.as_ref(), 5).await.unwrap(),
            memory.failure_groups(job_type.as_ref(), 5).await.unwrap(),
        );
        assert_eq!(found, expected);
    }
    assert_eq!(sqlite.types().await.unwrap(), memory.types().await.unwrap());
    assert_eq!(sqlite.workers().await.unwrap(), memory.workers().await.unwrap());
    for worker in sqlite.workers().await.unwrap() {
        let id = &worker.registration.id;
        assert_eq!(sqlite.worker(id).await.unwrap(), memory.worker(id).await.unwrap());
    }
    for key in &world.keys {
        assert_eq!(sqlite.has_file(key).await.unwrap(), memory.has_file(key).await.unwrap(), "{key}");
    }
    for collection in ["notes", "rules", "book", "nothing"] {
        let (found, expected) =
            (sqlite.records(collection).await.unwrap(), memory.records(collection).await.unwrap());
        assert_eq!(found, expected);
    }
    assert_eq!(sqlite.subscribers().await.unwrap(), memory.subscribers().await.unwrap());
    assert_eq!(sqlite.next_message().await.unwrap(), memory.next_message().await.unwrap());
    let log = async |of: &dyn Storage| of.log("book", None, 4).await.unwrap();
    assert_eq!(log(sqlite).await, log(memory).await);
    for filter in filters() {
        assert_eq!(walk(sqlite, &filter).await, walk(memory, &filter).await, "{filter:?}");
    }
}

fn filters() -> Vec<JobFilter> {
    let all = JobFilter::all(7);
    let mut filters =
        vec![all.clone(), JobFilter::all(1000), JobFilter { below: Some(JobId::new(20)), ..all.clone() }];
    filters.extend(Status::ALL.map(|status| JobFilter { status: Some(status), ..all.clone() }));
    let pdf = JobType::new("pdf").unwrap();
    filters.extend([
        JobFilter { job_type: Some(pdf.clone()), ..all.clone() },
        JobFilter { job_type: Some(pdf), status: Some(Status::Running), ..all.clone() },
        JobFilter { priority: Some(Priority::High), status: Some(Status::Pending), ..all.clone() },
        JobFilter { worker: Some(WorkerId::new("w1").unwrap()), ..all.clone() },
        JobFilter {
            worker: Some(WorkerId::new("w2").unwrap()),
            status: Some(Status::Pending),
            ..all.clone()
        },
        JobFilter { tag: Some("ta\"g".to_owned()), ..all.clone() },
        JobFilter { tag: Some("ta".to_owned()), ..all.clone() },
        JobFilter { text: Some("ÄRGER".to_owned()), ..all.clone() },
        JobFilter { text: Some("worker".to_owned()), status: Some(Status::Failed), ..all.clone() },
        JobFilter { failure_group: Some(FailureGroupId::new(1)), ..all.clone() },
        JobFilter {
            failure_group: Some(FailureGroupId::new(1)),
            status: Some(Status::Running),
            ..all.clone()
        },
        JobFilter { created_from: Some(middle()), ..all.clone() },
        JobFilter {
            created_before: Some(middle()),
            job_type: Some(JobType::new("b").unwrap()),
            ..all.clone()
        },
        JobFilter { above: Some(JobId::new(5)), below: Some(JobId::new(20)), ..all.clone() },
        JobFilter { above: Some(JobId::new(20)), below: Some(JobId::new(5)), ..all },
    ]);
    let turned = filters.clone().into_iter().map(|filter| JobFilter { oldest_first: true, ..filter });
    filters.extend(turned);
    filters
}

fn middle() -> Timestamp {
    "2026-03-01T12:05:00Z".parse().unwrap()
}

/// All pages of a list, which no page may exceed. Where pages end in between is each store's affair.
async fn walk(storage: &dyn Storage, filter: &JobFilter) -> Vec<blobforge_core::Job> {
    let mut filter = filter.clone();
    let mut all = Vec::new();
    loop {
        let JobPage { items, next } = storage.jobs(&filter).await.unwrap();
        assert!(items.len() <= filter.limit, "a page of {} exceeds {filter:?}", items.len());
        all.extend(items);
        let Some(next) = next else { return all };
        let before = if filter.oldest_first { filter.above } else { filter.below };
        let advances =
            before.is_none_or(|before| if filter.oldest_first { next > before } else { next < before });
        assert!(advances, "{next} leads nowhere: {filter:?}");
        filter = filter.from_place(Some(next));
    }
}
