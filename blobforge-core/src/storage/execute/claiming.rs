//! Giving work to workers.

use super::{Batch, lanes::Choice};
use crate::{
    Job, NewLease, Phase, Refused, Reply, Requirements, Step, lifecycle,
    storage::{
        command::{Claim, Claimed, Done, Outcome, Refusal, Wake},
        rows::Rows,
    },
};

/// How many jobs that are not due any more, since the clock was set back, a claim puts away before it is answered.
const MAX_NOT_DUE: usize = 256;

impl<R: Rows> Batch<'_, R> {
    pub(super) fn claim(&mut self, claim: Claim) -> Result<Outcome, R::Error> {
        let Some(claimer) = self.rows.claimer(&claim.worker)? else {
            return Ok(Err(Refusal::WorkerNotRegistered(claim.worker)));
        };
        let repeated = self.claimed_before(&claim)?;
        if claimer.draining || !repeated.is_empty() {
            return Ok(Ok(Done::Claimed(repeated)));
        }
        let mut types = Vec::with_capacity(claim.types.len());
        for job_type in &claim.types {
            let of = self.lanes.of(self.rows, job_type)?;
            if !types.contains(&of) {
                types.push(of);
            }
        }
        let mut claimed = Vec::with_capacity(claim.secrets.len().min(16));
        let mut secrets = claim.secrets.iter();
        let mut secret = secrets.next();
        let mut not_due = 0;
        while let Some(drawn) = secret
            && let Some(choice) = self.choose(&claim, &types)?
        {
            let Some(job) = self.rows.job(choice.place.id)? else {
                // A place without a job is nobody's: clear it rather than meet it for ever.
                self.lanes.clear(self.rows, &choice)?;
                continue;
            };
            let settings = &self.lanes.row(choice.of).settings;
            let lease = NewLease {
                generation: self.rows.generation(),
                secret: *drawn,
                worker: claim.worker.clone(),
                host: claimer.host.clone(),
                claim_id: claim.claim_id.clone(),
                duration: settings.lease.unwrap_or(claim.lease),
            };
            match lifecycle::apply(&job.life, None, &Step::Claim(lease), self.now) {
                Ok(transition) => {
                    let taken = transition.reply == Reply::Done;
                    let job = self.follow(job, transition, |_| {})?;
                    if taken {
                        self.lanes.started(self.rows, self.now, &choice)?;
                        claimed.push(self.claimed(job, choice.of)?);
                        secret = secrets.next();
                    }
                }
                // The clock was set back: the job waits for its time again.
                Err(Refused::NotDue { .. }) => {
                    self.lanes.clear(self.rows, &choice)?;
                    self.enter_line(&job)?;
                    not_due += 1;
                    if not_due == MAX_NOT_DUE {
                        // Very many may stand there: whoever waits goes on with them in a batch of its own.
                        self.becomes_ready(&job.job_type, Wake::All);
                        break;
                    }
                }
                Err(_) => self.lanes.clear(self.rows, &choice)?,
            }
        }
        Ok(Ok(Done::Claimed(claimed)))
    }

    fn choose(&mut self, claim: &Claim, types: &[usize]) -> Result<Option<Choice>, R::Error> {
        let asked = types.iter().any(|of| self.lanes.asks_anything(*of));
        if asked && !self.labels.contains_key(&claim.worker) {
            let worker = self.rows.worker(&claim.worker)?;
            let labels = worker.map(|worker| worker.registration.labels).unwrap_or_default();
            self.labels.insert(claim.worker.clone(), labels);
        }
        let labels = self.labels.get(&claim.worker);
        let able = |asks: &Requirements| labels.is_some_and(|labels| asks.are_met_by(labels));
        self.lanes.choose(self.rows, self.now, types, &able, &mut self.committed.next_due)
    }

    /// What a claim of this name got before and still holds, renewed: its holder counts from when it asked again.
    fn claimed_before(&mut self, claim: &Claim) -> Result<Vec<Claimed>, R::Error> {
        let Some(claim_id) = &claim.claim_id else { return Ok(Vec::new()) };
        let mut held = Vec::new();
        for id in self.rows.leases_of_claim(&claim.worker, claim_id)? {
            let Some(job) = self.rows.job(id)? else { continue };
            let Some(lease) = job.lease() else { continue };
            let renewal = Step::Renew(lease.token);
            if let Ok(transition) = lifecycle::apply(&job.life, None, &renewal, self.now) {
                let job = self.follow(job, transition, |_| {})?;
                let of = self.lanes.of(self.rows, &job.job_type)?;
                held.push(self.claimed(job, of)?);
            }
        }
        Ok(held)
    }

    fn claimed(&mut self, job: Job, of: usize) -> Result<Claimed, R::Error> {
        let no_progress = self.lanes.row(of).settings.no_progress;
        // Only an earlier attempt can have left something.
        let checkpoints = if job.life.epoch.get() > 1 { self.rows.checkpoints(job.id)? } else { Vec::new() };
        let Phase::Running(lease) = &job.life.phase else { unreachable!("a claimed job is running") };
        Ok(Claimed { token: lease.token, expires_at: lease.expires_at, checkpoints, job, no_progress })
    }
}
