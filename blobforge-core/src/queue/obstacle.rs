//! Why a job that waits may wait for long.

use std::time::Duration;

use crate::{Job, JobType, Requirements, Timestamp, WorkerRecord};

/// Something that keeps a waiting job from being run, and that somebody has to do something about.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{NewJob, queue::Obstacle};
/// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
/// let job = queue.job(id).await.unwrap();
/// queue.pause(job.job_type.clone()).await.unwrap();
/// assert_eq!(queue.obstacle(&job).await.unwrap(), Some(Obstacle::Paused(job.job_type)));
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Its type is paused.
    #[error("type {0} is paused: resume it to have this job run")]
    Paused(JobType),
    /// No live worker serves its type.
    #[error("no live worker serves type {0}: start one")]
    NoWorker(JobType),
    /// Live workers serve its type, but none has the labels it asks for.
    #[error(
        "no live worker of type {job_type} offers what this job requires ({requires}): start one that does"
    )]
    NoAbleWorker {
        /// Its type.
        job_type: JobType,
        /// What it asks for.
        requires: Requirements,
    },
    /// Live workers could run it, but each of them only finishes what it has.
    #[error(
        "every live worker that could run this job of type {0} is draining: let one of them take work again, or start another"
    )]
    Draining(JobType),
}

impl Obstacle {
    /// A short name in snake_case, for programs to decide by. It never changes.
    ///
    /// ```
    /// use blobforge_core::{JobType, queue::Obstacle};
    /// assert_eq!(Obstacle::NoWorker(JobType::new("pdf").unwrap()).kind(), "no_worker");
    /// ```
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Paused(_) => "type_paused",
            Self::NoWorker(_) => "no_worker",
            Self::NoAbleWorker { .. } => "no_able_worker",
            Self::Draining(_) => "workers_draining",
        }
    }

    /// What stands in the way of a waiting job, given all workers; a worker is alive if it was heard of within
    /// `timeout`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, queue::Obstacle};
    /// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
    /// let (job, lease) = (queue.job(id).await.unwrap(), queue.settings().lease);
    /// let obstacle = Obstacle::of(&job, false, &[], queue.now(), lease);
    /// assert_eq!(obstacle, Some(Obstacle::NoWorker(job.job_type)));
    /// # });
    /// ```
    pub fn of(
        job: &Job,
        paused: bool,
        workers: &[WorkerRecord],
        now: Timestamp,
        timeout: Duration,
    ) -> Option<Self> {
        let job_type = job.job_type.clone();
        if paused {
            return Some(Self::Paused(job_type));
        }
        let serves = |worker: &&WorkerRecord| {
            worker.is_online(now, timeout) && worker.registration.types.contains(&job.job_type)
        };
        let requires = &job.body.requires;
        let is_able = |worker: &&&WorkerRecord| requires.are_met_by(&worker.registration.labels);
        let serving: Vec<_> = workers.iter().filter(serves).collect();
        let able: Vec<_> = serving.iter().filter(is_able).collect();
        if able.iter().any(|worker| !worker.draining) {
            None
        } else if !able.is_empty() {
            Some(Self::Draining(job_type))
        } else if !serving.is_empty() {
            Some(Self::NoAbleWorker { job_type, requires: requires.clone() })
        } else {
            Some(Self::NoWorker(job_type))
        }
    }
}
