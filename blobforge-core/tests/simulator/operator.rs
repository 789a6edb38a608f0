//! The operator, who meddles.

use std::time::Duration;

use blobforge_core::{
    JobType, KeyLimits, LimitBy, Limits, Rate, Retention, Status, TypeSettings,
    queue::{Action, Selection},
    storage::JobFilter,
};
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use crate::{
    TYPES,
    call::{Answer, Asked, By},
    world::World,
};

impl World {
    /// One thing that an operator does.
    pub(crate) fn operator_acts(&mut self) {
        let at = self.rng.random_range(0..self.workers.len());
        let job_type = JobType::new(*TYPES.choose(&mut self.rng).unwrap()).unwrap();
        match self.rng.random_range(0..100) {
            0..5 => self.remove(at),
            5..30 => {
                let draining = self.rng.random_bool(0.4);
                self.drain(at, draining);
            }
            30..38 => self.delete_all(job_type),
            38..66 => {
                let paused = self.rng.random_bool(0.4);
                self.pause(job_type, paused);
            }
            _ => self.set_type(job_type),
        }
    }

    fn delete_all(&mut self, job_type: JobType) {
        let ended = *[Status::Completed, Status::Failed, Status::Cancelled].choose(&mut self.rng).unwrap();
        let filter = match self.rng.random_range(0..3) {
            0 => JobFilter { job_type: Some(job_type), ..JobFilter::default() },
            1 => JobFilter { status: Some(ended), ..JobFilter::default() },
            _ => JobFilter { job_type: Some(job_type), status: Some(ended), ..JobFilter::default() },
        };
        let (queue, asked) = (self.queue.clone(), Asked::DeleteAll(filter.clone()));
        let delete =
            async move { Answer::Bulk(queue.bulk(Action::Delete, Selection::Filter(filter), false).await) };
        self.call(By::Operator, asked, delete);
    }

    fn remove(&mut self, at: usize) {
        let (queue, worker) = (self.queue.clone(), self.workers[at].id.clone());
        let asked = Asked::Remove { worker: worker.clone() };
        let remove = async move { Answer::Done(queue.remove_worker(worker).await) };
        self.call(By::Operator, asked, remove);
    }

    pub(crate) fn drain(&mut self, at: usize, draining: bool) {
        let (queue, worker) = (self.queue.clone(), self.workers[at].id.clone());
        let asked = Asked::Drain { worker: worker.clone(), draining };
        let drain = async move { Answer::Done(queue.set_draining(worker, draining).await) };
        self.call(By::Operator, asked, drain);
    }

    pub(crate) fn pause(&mut self, job_type: JobType, paused: bool) {
        let (queue, asked) = (self.queue.clone(), Asked::Pause { job_type: job_type.clone(), paused });
        self.call(By::Operator, asked, async move {
            Answer::Done(if paused { queue.pause(job_type).await } else { queue.resume(job_type).await })
        });
    }

    pub(crate) fn set_type(&mut self, job_type: JobType) {
        let (queue, settings) = (self.queue.clone(), settings(&mut self.rng));
        let asked = Asked::SetType { job_type: job_type.clone(), settings: Box::new(settings.clone()) };
        let set = async move { Answer::Done(queue.set_type(job_type, settings).await) };
        self.call(By::Operator, asked, set);
    }
}

fn settings(rng: &mut StdRng) -> TypeSettings {
    let per_key = rng.random_bool(0.5).then(|| KeyLimits { by: LimitBy::Submitter, limits: limits(rng) });
    TypeSettings {
        lease: rng.random_bool(0.2).then_some(Duration::from_secs(40)),
        limits: limits(rng),
        per_key,
        retention: Retention { completed: hours(rng), failed: hours(rng), cancelled: hours(rng) },
        oldest_share: *[None, Some(0), Some(0), Some(2)].choose(rng).unwrap(),
        ..TypeSettings::default()
    }
}

fn hours(rng: &mut StdRng) -> Option<Duration> {
    rng.random_bool(0.3).then(|| Duration::from_secs(rng.random_range(1..100) * 3600))
}

fn limits(rng: &mut StdRng) -> Limits {
    let running = rng.random_bool(0.4).then(|| rng.random_range(1..=3));
    let starts = rng.random_bool(0.4).then(|| Rate {
        starts: rng.random_range(1..=3),
        per: Duration::from_secs(rng.random_range(1..120)),
        burst: rng.random_range(1..=3),
    });
    Limits { running, starts }
}
