//! The queue's side: as many tasks as callers, each with one job after the other.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use blobforge_core::{JobType, NewJob, Queue, Registration, WorkerId, storage::Report};

use crate::Failure;

/// The type that is measured.
pub(crate) const TYPE: &str = "bench";
/// The worker that claims.
pub(crate) const WORKER: &str = "bencher";

/// What a job carries.
pub(crate) fn job() -> Result<NewJob, Failure> {
    Ok(NewJob::new(TYPE)?.param("page", 7).param("of", "a book about a forge"))
}

/// Opens a queue with one registered worker.
pub(crate) async fn open(path: &Path) -> Result<Queue, Failure> {
    let queue = Queue::open(path).await?;
    queue
        .register(Registration {
            id: WorkerId::new(WORKER)?,
            types: vec![JobType::new(TYPE)?],
            name: None,
            instance: "the one that measures".to_owned(),
            previous_instance: None,
            labels: Default::default(),
            host: None,
            metadata: Default::default(),
        })
        .await?;
    Ok(queue)
}

pub(crate) async fn run(path: &Path, callers: usize, lifecycles: usize) -> Result<Duration, Failure> {
    let queue = open(path).await?;
    let begun = Instant::now();
    let tasks: Vec<_> =
        (0..callers).map(|_| tokio::spawn(one_caller(queue.clone(), lifecycles / callers))).collect();
    for task in tasks {
        task.await?.map_err(|error| -> Failure { error.into() })?;
    }
    let took = begun.elapsed();
    queue.close().await;
    Ok(took)
}

async fn one_caller(queue: Queue, lifecycles: usize) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let worker = WorkerId::new(WORKER).map_err(|e| text(&e))?;
    let types = [JobType::new(TYPE).map_err(|e| text(&e))?];
    for _ in 0..lifecycles {
        queue.submit(job().map_err(|e| text(&e))?).await.map_err(|e| text(&e))?;
        let claimed = queue.claim(&worker, &types, 1, Duration::ZERO).await.map_err(|e| text(&e))?;
        // Every caller submits before it claims, so there is a job for each.
        let claimed = claimed.into_iter().next().ok_or("a claim found nothing")?;
        let report = Report::Complete { outputs: Vec::new(), result: None };
        queue.report(claimed.job.id, claimed.token, report).await.map_err(|e| text(&e))?;
    }
    Ok(())
}
