//! The commands that concern workers.

use std::time::Duration;

use sha2::{Digest, Sha256 as Hasher};

use super::{Batch, accept};
use crate::{
    Condition, Finish, Lease, Registration, Step, WorkerId, WorkerRecord, lifecycle,
    storage::{
        command::{Done, Event, Outcome, Refusal},
        rows::Rows,
    },
};

/// After how much silence a worker is forgotten: machines come and go, and each of them may have had a name of its own.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl<R: Rows> Batch<'_, R> {
    pub(super) fn register(
        &mut self,
        mut new: Registration,
        alive_for: Duration,
    ) -> Result<Outcome, R::Error> {
        let id = new.id.clone();
        let instance = fingerprint(&new.instance);
        let previous = new.previous_instance.take().map(|secret| fingerprint(&secret));
        let known = self.rows.worker(&id)?;
        if let Some(known) = &known {
            let same = known.registration.instance == instance;
            let inherits = previous.as_ref() == Some(&known.registration.instance);
            if known.is_online(self.now, alive_for) && !same && !inherits {
                return Ok(Err(Refusal::WorkerInUse(id)));
            }
            if inherits && !same {
                self.end_leases(&id, |_| Step::Lose)?;
            }
        }
        new.instance = instance;
        // Claims of it that wait were turned away by what it could before; also of one that was removed meanwhile.
        if known.as_ref().is_none_or(|known| known.registration.labels != new.labels) {
            self.can_do_more(&id);
        }
        let record = WorkerRecord {
            registration: new,
            registered_at: known.as_ref().map_or(self.now, |known| known.registered_at),
            last_seen_at: self.now,
            draining: known.is_some_and(|known| known.draining),
            unregistered: false,
            condition: Condition::default(),
        };
        self.rows.put_worker(&record)?;
        self.committed.events.push(Event::WorkerOnline(id));
        Ok(Ok(Done::Ok))
    }

    pub(super) fn unregister(&mut self, id: WorkerId, instance: Option<&str>) -> Result<Outcome, R::Error> {
        let mut record = accept!(self.known(&id)?);
        if instance.is_some_and(|instance| fingerprint(instance) != record.registration.instance) {
            return Ok(Err(Refusal::WorkerInUse(id)));
        }
        self.end_leases(&id, |lease| Step::Finish(lease.token, Finish::Release))?;
        record.unregistered = true;
        self.rows.put_worker(&record)?;
        self.committed.events.push(Event::WorkerOffline(id));
        Ok(Ok(Done::Ok))
    }

    pub(super) fn set_draining(&mut self, id: WorkerId, draining: bool) -> Result<Outcome, R::Error> {
        let record = accept!(self.known(&id)?);
        self.rows.put_worker(&WorkerRecord { draining, ..record })?;
        if !draining {
            self.can_do_more(&id);
        }
        Ok(Ok(Done::Ok))
    }

    pub(super) fn remove_worker(&mut self, id: WorkerId) -> Result<Outcome, R::Error> {
        accept!(self.known(&id)?);
        self.forget(&id)?;
        Ok(Ok(Done::Ok))
    }

    /// Lets the claims of a worker look again: there may have been work for it while it was not allowed to have any.
    fn can_do_more(&mut self, id: &WorkerId) {
        self.labels.remove(id);
        self.committed.woken.push(id.clone());
    }

    /// Forgets workers that nobody has heard of for very long. Returns how many.
    pub(super) fn forget_silent_workers(&mut self, limit: usize) -> Result<usize, R::Error> {
        let silent = self.rows.silent_workers(self.now - FORGOTTEN_AFTER, limit)?;
        for id in &silent {
            self.forget(id)?;
        }
        Ok(silent.len())
    }

    /// Forgets a worker; what it still holds is lost to it.
    fn forget(&mut self, id: &WorkerId) -> Result<(), R::Error> {
        self.end_leases(id, |_| Step::Lose)?;
        self.rows.delete_worker(id)?;
        self.labels.remove(id);
        self.committed.events.push(Event::WorkerOffline(id.clone()));
        Ok(())
    }

    fn known(&mut self, id: &WorkerId) -> super::Ran<WorkerRecord, R::Error> {
        Ok(self.rows.worker(id)?.ok_or_else(|| Refusal::NoSuchWorker(id.clone())))
    }

    /// Ends every attempt of a worker by the step that fits its lease.
    fn end_leases(&mut self, id: &WorkerId, step: impl Fn(&Lease) -> Step) -> Result<(), R::Error> {
        for job in self.rows.leases_of(id)? {
            let Some(job) = self.rows.job(job)? else { continue };
            let Some(lease) = job.lease() else { continue };
            if let Ok(transition) = lifecycle::apply(&job.life, None, &step(lease), self.now) {
                self.follow(job, transition, |_| {})?;
            }
        }
        Ok(())
    }
}

/// What is kept of an instance secret.
fn fingerprint(secret: &str) -> String {
    hex::encode(Hasher::digest(secret))
}
