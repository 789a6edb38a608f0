//! What a claim costs when few and when very many jobs wait.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use blobforge_core::{
    JobType, KeyLimits, LeaseSecret, LimitBy, Limits, NewJob, Queue, Rate, SystemEntropy, TypeSettings,
    WorkerId,
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

/// Jobs that wait to be claimed.
pub(crate) struct Backlog {
    pub(crate) waiting: usize,
    pub(crate) keys: usize,
    queue: Queue,
    /// How long one claim took, within each batch so far.
    times: Vec<Duration>,
}

impl Backlog {
    /// About so many jobs, of so many keys with limits of their own.
    pub(crate) async fn fill(path: &Path, waiting: usize, keys: usize) -> Result<Self, Failure> {
        let queue = through_queue::open(path).await?;
        if keys > 0 {
            let limits = Limits {
                running: Some(STARTS),
                starts: Some(Rate { starts: STARTS, per: HOUR, burst: STARTS }),
            };
            let per_key = Some(KeyLimits { by: LimitBy::Submitter, limits });
            queue.set_type(JobType::new(TYPE)?, TypeSettings { per_key, ..TypeSettings::default() }).await?;
        }
        for _ in 0..waiting / 1000 {
            let jobs = (0..1000).map(|n| job_of(n, keys)).collect::<Result<_, _>>()?;
            for submitted in queue.submit_many(jobs).await? {
                submitted?;
            }
        }
        Ok(Self { waiting, keys, queue, times: Vec::new() })
    }

    async fn claim_batch(&mut self) -> Result<(), Failure> {
        let claims = (0..BATCH).map(|_| claim()).collect::<Result<Vec<_>, Failure>>()?;
        let begun = Instant::now();
        let committed = self.queue.storage().commit(claims).await?;
        self.times.push(begun.elapsed() / u32::try_from(BATCH)?);
        let found = |outcome: &_| matches!(outcome, Ok(Done::Claimed(jobs)) if jobs.len() == 1);
        if committed.outcomes.iter().all(found) { Ok(()) } else { Err("a claim found nothing".into()) }
    }

    /// The median time of one claim.
    pub(crate) fn median(&mut self) -> Duration {
        self.times.sort();
        self.times[self.times.len() / 2]
    }
}

/// Claims from each in turn, so that whatever else the machine does falls upon all of them alike.
pub(crate) async fn measure(backlogs: &mut [Backlog]) -> Result<(), Failure> {
    for batch in 1..=BATCHES {
        for backlog in backlogs.iter_mut().filter(|backlog| batch * BATCH <= backlog.waiting) {
            backlog.claim_batch().await?;
        }
    }
    for backlog in backlogs {
        backlog.queue.close().await;
    }
    Ok(())
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
