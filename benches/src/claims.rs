//! What a claim costs when few and when very many jobs wait.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use blobforge_core::{
    JobType, LeaseSecret, WorkerId,
    storage::{Claim, Command, Done},
};

use crate::{
    Failure,
    through_queue::{self, TYPE, WORKER},
};

/// How many claims go into one batch.
const BATCH: usize = 256;
/// How many batches are measured: the few that a thousand jobs allow.
const BATCHES: usize = 3;

/// The median time of one claim, while about so many jobs wait.
pub(crate) async fn median(path: &Path, waiting: usize) -> Result<Duration, Failure> {
    let queue = through_queue::open(path).await?;
    for _ in 0..waiting / 1000 {
        let jobs = (0..1000).map(|_| through_queue::job()).collect::<Result<_, _>>()?;
        for submitted in queue.submit_many(jobs).await? {
            submitted?;
        }
    }
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let claims = (0..BATCH).map(|_| claim()).collect::<Result<Vec<_>, Failure>>()?;
        let begun = Instant::now();
        let committed = queue.storage().commit(claims).await?;
        times.push(begun.elapsed() / u32::try_from(BATCH)?);
        let found = |outcome: &_| matches!(outcome, Ok(Done::Claimed(jobs)) if jobs.len() == 1);
        if !committed.outcomes.iter().all(found) {
            return Err("a claim found nothing".into());
        }
    }
    times.sort();
    queue.close().await;
    Ok(times[BATCHES / 2])
}

fn claim() -> Result<Command, Failure> {
    Ok(Command::Claim(Claim {
        worker: WorkerId::new(WORKER)?,
        types: vec![JobType::new(TYPE)?],
        secrets: vec![LeaseSecret::draw()?],
        lease: Duration::from_secs(180),
    }))
}
