//! What a claim costs when few and when very many jobs wait.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use blobforge_core::{
    JobType, KeyLimits, LeaseSecret, LimitBy, Limits, NewJob, Rate, SystemEntropy, TypeSettings, WorkerId,
    storage::{Claim, Command, Done},
};

use crate::{
    Failure,
    through_queue::{self, TYPE, WORKER},
};

/// How many claims go into one batch.
const BATCH: usize = 256;
/// How many jobs of a key may run, and start in an hour: enough for this, so that the limits are kept but block nobody.
const STARTS: u32 = 100;
const HOUR: Duration = Duration::from_secs(60 * 60);
/// How many batches are measured at most; fewer where so many jobs do not wait.
const BATCHES: usize = 60;

/// The median time of one claim, while about so many jobs wait, of so many keys with limits of their own.
pub(crate) async fn median(path: &Path, waiting: usize, keys: usize) -> Result<Duration, Failure> {
    let queue = through_queue::open(path).await?;
    if keys > 0 {
        let limits =
            Limits { running: Some(STARTS), starts: Some(Rate { starts: STARTS, per: HOUR, burst: STARTS }) };
        let per_key = Some(KeyLimits { by: LimitBy::Submitter, limits });
        queue.set_type(JobType::new(TYPE)?, TypeSettings { per_key, ..TypeSettings::default() }).await?;
    }
    for _ in 0..waiting / 1000 {
        let jobs = (0..1000).map(|n| job_of(n, keys)).collect::<Result<_, _>>()?;
        for submitted in queue.submit_many(jobs).await? {
            submitted?;
        }
    }
    let batches = BATCHES.min(waiting / BATCH);
    let mut times = Vec::with_capacity(batches);
    for _ in 0..batches {
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
    Ok(times[batches / 2])
}

fn job_of(n: usize, keys: usize) -> Result<NewJob, Failure> {
    let mut job = through_queue::job()?;
    job.body.submitter = (keys > 0).then(|| format!("submitter {}", n % keys));
    Ok(job)
}

fn claim() -> Result<Command, Failure> {
    Ok(Command::Claim(Claim {
        worker: WorkerId::new(WORKER)?,
        types: vec![JobType::new(TYPE)?],
        secrets: vec![LeaseSecret::draw(&SystemEntropy)?],
        lease: Duration::from_secs(180),
        claim_id: None,
    }))
}
