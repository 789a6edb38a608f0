//! The bare side: one connection, one loop, the rows that the queue writes and nothing else.
//!
//! As many lifecycles go into one transaction as there are callers: what the queue's group commit can reach at best.

use std::{collections::VecDeque, path::Path, time::Duration};

use rusqlite::{Connection, params};

use crate::{
    Failure,
    through_queue::{self, TYPE, WORKER},
    timed,
};

const PENDING: i64 = 1;
const RUNNING: i64 = 2;
const COMPLETED: i64 = 3;
const LEASE_MS: i64 = 180_000;
/// How many jobs stand in the front of a lane, and what each takes there.
const FRONT: usize = 16;
const PLACE_BYTES: usize = 17;

pub(crate) fn run(
    path: &Path,
    callers: usize,
    lifecycles: usize,
    runtime: &tokio::runtime::Runtime,
) -> Result<Duration, Failure> {
    // The queue makes the tables and its worker, so that both sides have the same ones.
    runtime.block_on(async {
        let queue = through_queue::open(path).await?;
        queue.close().await;
        Ok::<_, Failure>(())
    })?;
    let database = Connection::open(path)?;
    database.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16384;")?;
    database.set_prepared_statement_cache_capacity(64);
    database.execute(
        "INSERT INTO lanes (type, class, key, front, running, started, blocked) VALUES (?1, 0, '', x'', 0, 0, 0)",
        [TYPE],
    )?;
    let lane = database.last_insert_rowid();
    database.execute(
        "INSERT INTO types (type, settings, paused, running, started, blocked, turn) VALUES (?1, '{}', 0, 0, 0, 0, 0)",
        [TYPE],
    )?;
    database.execute(
        "INSERT INTO classes (type, class, requires, passed, live) VALUES (?1, 0, '[]', 0, 0)",
        [TYPE],
    )?;
    let body = serde_json::to_string(&through_queue::job()?.body)?;
    timed(|| {
        for _ in 0..lifecycles / callers {
            submit(&database, callers, lane, &body)?;
            let claimed = claim(&database, callers, lane)?;
            complete(&database, &claimed)?;
        }
        Ok(())
    })
}

fn now() -> i64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

fn submit(database: &Connection, jobs: usize, lane: i64, body: &str) -> Result<(), Failure> {
    database.execute_batch("BEGIN IMMEDIATE")?;
    let now = now();
    let mut insert = database.prepare_cached(
        "INSERT INTO jobs (type, priority, status, epoch, failures, losses, max_attempts, ready_at, created_at, \
         updated_at, dedup, body) VALUES (?1, 3, 1, 0, 0, 0, 3, ?2, ?2, ?2, 1, ?3)",
    )?;
    let mut line =
        database.prepare_cached("INSERT INTO ready (lane, priority, ready_at, id) VALUES (?1, 3, ?2, ?3)")?;
    let mut front = Vec::with_capacity(FRONT);
    for at in 0..jobs {
        insert.execute(params![TYPE, now, body])?;
        let id = database.last_insert_rowid();
        if at < FRONT {
            front.push((now, id));
        } else {
            line.execute([lane, now, id])?;
        }
    }
    show(database, lane, Some(now), &front, (jobs > FRONT).then_some(now))?;
    count(database, PENDING, jobs)?;
    Ok(database.execute_batch("COMMIT")?)
}

struct Claimed {
    id: i64,
    secret: [u8; 32],
    started_at: i64,
}

fn claim(database: &Connection, jobs: usize, lane: i64) -> Result<Vec<Claimed>, Failure> {
    database.execute_batch("BEGIN IMMEDIATE")?;
    let now = now();
    let mut shown = database.prepare_cached("SELECT front FROM lanes WHERE id = ?1")?;
    let front: Vec<u8> = shown.query_row([lane], |row| row.get(0))?;
    let mut front = places(&front);
    let mut next = database.prepare_cached(
        "SELECT ready_at, id FROM ready WHERE lane = ?1 ORDER BY priority, ready_at, id LIMIT ?2",
    )?;
    let mut leave = database
        .prepare_cached("DELETE FROM ready WHERE lane = ?1 AND (priority, ready_at, id) <= (3, ?2, ?3)")?;
    let mut job = database.prepare_cached("SELECT type, body FROM jobs WHERE id = ?1")?;
    let mut lease = database.prepare_cached(
        "INSERT INTO leases (job_id, generation, epoch, secret, worker, started_at, expires_at, duration, lapsed, \
         cancel_requested, updated_at) VALUES (?1, 1, 1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?4)",
    )?;
    let mut claimed = Vec::with_capacity(jobs);
    for at in 0..jobs {
        if front.is_empty() {
            let line = next.query_map([lane, i64::try_from(FRONT)?], |row| Ok((row.get(0)?, row.get(1)?)))?;
            front = line.collect::<Result<_, _>>()?;
            let (ready_at, last) = front.back().ok_or("nobody stands in line")?;
            leave.execute([lane, *ready_at, *last])?;
        }
        let (_, id) = front.pop_front().ok_or("nobody stands in front")?;
        job.query_row([id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&(id * 31 + i64::try_from(at)?).to_ne_bytes());
        lease.execute(params![id, secret, WORKER, now, now + LEASE_MS, LEASE_MS])?;
        claimed.push(Claimed { id, secret, started_at: now });
    }
    show(database, lane, None, &[], None)?;
    running(database, i64::try_from(jobs)?)?;
    let mut passed =
        database.prepare_cached("UPDATE classes SET passed = (passed + ?2) % 20 WHERE type = ?1")?;
    passed.execute(params![TYPE, i64::try_from(jobs)?])?;
    moved(database, PENDING, RUNNING, jobs)?;
    database.execute_batch("COMMIT")?;
    Ok(claimed)
}

fn complete(database: &Connection, claimed: &[Claimed]) -> Result<(), Failure> {
    database.execute_batch("BEGIN IMMEDIATE")?;
    let now = now();
    let mut held = database.prepare_cached("SELECT secret FROM leases WHERE job_id = ?1")?;
    let mut unlease = database.prepare_cached("DELETE FROM leases WHERE job_id = ?1")?;
    let mut attempt = database.prepare_cached(
        "INSERT INTO attempts (job_id, epoch, generation, secret, worker, started_at, ended_at, end, reported, \
         finished_status) VALUES (?1, 1, 1, ?2, ?3, ?4, ?5, 'completed', 'complete', 3)",
    )?;
    let mut job = database.prepare_cached(
        "UPDATE jobs SET status = 3, epoch = 1, started_at = ?2, ended_at = ?3, updated_at = ?3 WHERE id = ?1",
    )?;
    for held_by in claimed {
        let secret: Vec<u8> = held.query_row([held_by.id], |row| row.get(0))?;
        if secret != held_by.secret {
            return Err("the lease is another's".into());
        }
        unlease.execute([held_by.id])?;
        attempt.execute(params![held_by.id, held_by.secret, WORKER, held_by.started_at, now])?;
        job.execute([held_by.id, held_by.started_at, now])?;
    }
    running(database, -i64::try_from(claimed.len())?)?;
    moved(database, RUNNING, COMPLETED, claimed.len())?;
    Ok(database.execute_batch("COMMIT")?)
}

/// Shows the lane with a head, or hides it, and keeps its front.
fn show(
    database: &Connection,
    lane: i64,
    oldest: Option<i64>,
    front: &[(i64, i64)],
    behind: Option<i64>,
) -> Result<(), Failure> {
    let mut bytes = Vec::with_capacity(front.len() * PLACE_BYTES);
    for (ready_at, id) in front {
        bytes.push(3);
        bytes.extend(ready_at.to_be_bytes());
        bytes.extend(id.to_be_bytes());
    }
    let mut update = database.prepare_cached(
        "UPDATE lanes SET front = ?2, behind = ?3, priority = ?4, turn = ?5, oldest = ?6 WHERE id = ?1",
    )?;
    let shown = oldest.map(|_| (3, 0));
    update.execute(params![lane, bytes, behind, shown.map(|at| at.0), shown.map(|at| at.1), oldest])?;
    Ok(())
}

/// What of a front a claim needs: the times and the numbers.
fn places(front: &[u8]) -> VecDeque<(i64, i64)> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte));
    front.chunks_exact(PLACE_BYTES).map(|place| (number(&place[1..9]), number(&place[9..]))).collect()
}

fn running(database: &Connection, by: i64) -> Result<(), Failure> {
    let mut update = database.prepare_cached("UPDATE types SET running = running + ?2 WHERE type = ?1")?;
    update.execute(params![TYPE, by])?;
    Ok(())
}

fn moved(database: &Connection, from: i64, to: i64, jobs: usize) -> Result<(), Failure> {
    change(database, from, -i64::try_from(jobs)?)?;
    count(database, to, jobs)
}

fn count(database: &Connection, status: i64, jobs: usize) -> Result<(), Failure> {
    change(database, status, i64::try_from(jobs)?)
}

fn change(database: &Connection, status: i64, by: i64) -> Result<(), Failure> {
    let mut upsert = database.prepare_cached(
        "INSERT INTO counts (type, status, n) VALUES (?1, ?2, ?3) \
         ON CONFLICT (type, status) DO UPDATE SET n = n + excluded.n",
    )?;
    upsert.execute(params![TYPE, status, by])?;
    Ok(())
}
