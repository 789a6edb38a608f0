//! The faults stop, and then everything has to come to an end.

use std::time::Duration;

use blobforge_core::{Job, JobType, Status};
use rand::RngExt;

use crate::{
    TYPES,
    call::By,
    world::{LEASE, World},
};

const HOUR: Duration = Duration::from_secs(3600);

impl World {
    /// With workers that are well, every job ends within the time that uploads and jumps of the clock explain.
    pub(crate) async fn finish(&mut self) {
        self.trace("all is well from here on".to_owned());
        self.faults.clear();
        self.reads.clear();
        self.blobs.faults().clear();
        self.settle().await;
        // One of them never comes back, and what it held is lost.
        let dead = self.workers.len() - 1;
        self.workers[dead].restart(false);
        let by_the_dead = |by: &By| matches!(by, By::Worker(at, _) if *at == dead);
        self.calls.retain(|call| !by_the_dead(&call.by));
        for worker in &mut self.workers {
            worker.asleep_until = Duration::ZERO;
        }
        let limit = self.uptime() + HOUR * (30 + 24 * self.jumps_back);
        while let Some(unfinished) = self.unfinished().first().cloned() {
            assert!(
                self.uptime() < limit,
                "no progress: job {} is {} since {}",
                unfinished.id,
                unfinished.status(),
                unfinished.updated_at
            );
            self.work(dead).await;
        }
        self.settle().await;
        for call in &self.calls {
            assert!(call.until.is_some(), "{:?} is never answered", call.asked);
        }
    }

    fn unfinished(&self) -> Vec<std::sync::Arc<Job>> {
        let snapshot = self.ledger.now();
        snapshot.jobs.values().filter(|job| !job.status().is_final()).cloned().collect()
    }

    /// Everybody does what there is to do, and time passes until there is more.
    async fn work(&mut self, dead: usize) {
        let draining: Vec<_> = self
            .ledger
            .now()
            .workers
            .iter()
            .filter(|w| w.draining)
            .map(|w| w.registration.id.clone())
            .collect();
        for job_type in TYPES.map(|name| JobType::new(name).unwrap()) {
            if self.record.types.of(&job_type).paused {
                self.pause(job_type, false);
            }
        }
        for at in (0..self.workers.len()).filter(|at| *at != dead) {
            if draining.contains(&self.workers[at].id) {
                self.drain(at, false);
            }
            if !self.workers[at].registered {
                self.register(at);
                continue;
            }
            for held in self.workers[at].held.clone() {
                if held.called_off {
                    self.report(at, held.job, held.token, blobforge_core::storage::Report::Release);
                } else {
                    self.complete(at, &held, true);
                }
            }
            let wait = Duration::from_secs(self.rng.random_range(0..600));
            self.claim(at, wait);
        }
        for job in self.unfinished() {
            if job.status() == Status::Uploading && self.rng.random_bool(0.1) {
                self.send_source(By::Operator, job.id);
            }
        }
        self.settle().await;
        if self.workers.iter().all(|worker| worker.held.is_empty()) {
            let span = self.until_something();
            self.leap(span).await;
        } else {
            self.pass(Duration::from_secs(5)).await;
        }
    }

    /// How long until the next job or lease is due, at most six hours.
    fn until_something(&self) -> Duration {
        let now = self.now();
        let due = |job: &std::sync::Arc<Job>| match (job.status(), job.lease()) {
            (Status::Pending, _) => {
                let starts_by = self.record.types.of(&job.job_type).starts_by(job.limit_key.as_deref());
                job.life.ready_at.max(starts_by).since(now)
            }
            (_, Some(lease)) => lease.expires_at.since(now).max(LEASE),
            _ => HOUR * 6,
        };
        let next = self.unfinished().iter().map(due).min().unwrap_or(HOUR);
        next.clamp(Duration::from_secs(5), HOUR * 6)
    }
}
