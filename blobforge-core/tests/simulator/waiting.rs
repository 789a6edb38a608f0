//! Nobody waits while there is something that they could have.

use blobforge_core::{Job, Status, WorkerRecord};

use crate::{call::Asked, checks::GRACE, world::World};

impl World {
    /// Every claim that waits is held against every job that is free.
    pub(crate) fn check_no_claim_is_deaf(&mut self) {
        let (now, uptime, snapshot) = (self.now(), self.uptime(), self.ledger.now());
        let free = |job: &Job| match job.lease() {
            None => job.status() == Status::Pending && job.life.ready_at <= now,
            Some(lease) => lease.lapsed,
        };
        self.watch.claimable.retain(|id, _| snapshot.jobs.get(id).is_some_and(|job| free(job)));
        for job in snapshot.jobs.values().filter(|job| free(job)) {
            let since = *self.watch.claimable.entry(job.id).or_insert(uptime);
            // What only time made ready is found at the very moment, or after trouble within a minute.
            let by_time =
                job.lease().is_none() && (job.life.ready_at > job.updated_at || self.jumps_back > 0);
            if by_time && uptime < self.watch.trouble_at + GRACE {
                continue;
            }
            let deaf = self.calls.iter().find(|call| match &call.asked {
                Asked::Claim { worker, types } => {
                    let known = snapshot.workers.iter().find(|w| w.registration.id == *worker);
                    types.contains(&job.job_type) && known.is_some_and(|worker| may_run(worker, job))
                }
                _ => false,
            });
            if let Some(call) = deaf {
                panic!("{:?} waits, though job {} is free since {since:?}", call.by, job.id);
            }
        }
    }
}

/// Whether a worker may be given this job.
fn may_run(worker: &WorkerRecord, job: &Job) -> bool {
    let able = job.body.requires.are_met_by(&worker.registration.labels);
    able && !worker.draining && !worker.unregistered
}
