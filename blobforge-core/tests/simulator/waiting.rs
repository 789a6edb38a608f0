//! Nobody waits while there is something that they could have.

use std::{sync::Arc, time::Duration};

use blobforge_core::{Job, Status, WorkerRecord, storage::Command};

use crate::{
    call::{Asked, Call},
    checks::GRACE,
    ledger::Snapshot,
    world::World,
};

/// A job that waits for nothing but a worker, as far as pauses and what else runs are concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Free {
    since: Duration,
    /// Time or settings made it so: maintenance finds that out.
    by_maintenance: bool,
}

impl World {
    /// Every claim that waits is held against every job that is free.
    pub(crate) fn check_no_claim_is_deaf(&mut self) {
        let (uptime, snapshot) = (self.uptime(), self.ledger.now());
        self.find_free_jobs(&snapshot);
        for (id, free) in &self.watch.free {
            let job = &snapshot.jobs[id];
            if self.is_found_later(job, *free) && uptime < self.watch.trouble_at + GRACE {
                continue;
            }
            for call in &self.calls {
                let could =
                    self.could_have(call, job, &snapshot) && self.may_start(job, free.since.max(call.since));
                assert!(!could, "{:?} waits, though job {id} is free since {:?}", call.by, free.since);
            }
        }
    }

    fn find_free_jobs(&mut self, snapshot: &Snapshot) {
        let (now, uptime) = (self.now(), self.uptime());
        let is_free = |job: &Job| {
            let waits = match job.lease() {
                None => job.status() == Status::Pending && job.life.ready_at <= now,
                Some(lease) => lease.lapsed,
            };
            waits && self.record.types.of(&job.job_type).has_room(snapshot, job)
        };
        let (set, scheduled) = &mut self.watch.unmaintained;
        for change in &self.changes[self.watch.looked_at..] {
            match &change.command {
                Command::SetType { job_type, .. } => drop(set.insert(job_type.clone())),
                Command::Maintain(_) => (set.clear(), scheduled.clear()).0,
                _ => {}
            }
        }
        let waits_for_its_time = |job: &&Arc<Job>| job.status() == Status::Pending && job.life.ready_at > now;
        scheduled.extend(snapshot.jobs.values().filter(waits_for_its_time).map(|job| job.id));
        let (set, scheduled) = &self.watch.unmaintained;
        let free = snapshot.jobs.values().filter(|job| is_free(job)).map(|job| {
            let by_time =
                job.lease().is_none() && (job.life.ready_at > job.updated_at || scheduled.contains(&job.id));
            let known = self.watch.free.get(&job.id).copied();
            let mut free = known.unwrap_or(Free { since: uptime, by_maintenance: by_time });
            // Also what was free before: a limit that is gone may hold it back until somebody looks.
            free.by_maintenance |= set.contains(&job.job_type);
            (job.id, free)
        });
        self.watch.free = free.collect();
        self.watch.looked_at = self.changes.len();
    }

    /// Whether only time or settings made a job ready: that is found at the very moment, or after trouble within a minute.
    fn is_found_later(&self, job: &Job, free: Free) -> bool {
        let by_clock = job.lease().is_none() && self.jumps_back > 0;
        let by_rate = self.record.types.of(&job.job_type).has_rate(job.limit_key.as_deref());
        free.by_maintenance || by_clock || by_rate
    }

    /// Whether the rates surely allow a job to start that somebody has asked for since then.
    fn may_start(&self, job: &Job, asked: Duration) -> bool {
        let known = self.record.types.of(&job.job_type);
        known.may_start(job.limit_key.as_deref(), asked, self.now(), self.uptime(), GRACE)
    }

    /// Whether a call is a claim that may be given this job.
    fn could_have(&self, call: &Call, job: &Job, snapshot: &Snapshot) -> bool {
        let Asked::Claim { worker, types, .. } = &call.asked else { return false };
        let known = snapshot.workers.iter().find(|known| known.registration.id == *worker);
        types.contains(&job.job_type) && known.is_some_and(|worker| may_run(worker, job))
    }
}

/// Whether a worker may be given this job.
fn may_run(worker: &WorkerRecord, job: &Job) -> bool {
    let able = job.body.requires.are_met_by(&worker.registration.labels);
    able && !worker.draining && !worker.unregistered
}
