//! What must hold for every single command, whoever sent it and whatever went wrong around it.
//!
//! To add one: write a function in the file of its subject and put it into [`RULES`].

mod deletion;
mod files;
mod jobs;
mod keys;
mod leases;
mod limits;
mod reports;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use blobforge_core::{
    End, Epoch, FinishKind, Finished, Job, JobId, LeaseToken, MAX_LOSSES, NewJob, Refused, Source, Status,
    Timestamp, WorkerId,
    storage::{Claim, Command, Done, Event, LeaseState, Refusal, Report},
};

use serde_json::{Map, Value};

use crate::{
    ledger::{Change, Snapshot},
    limits::Types,
};
use deletion::*;
use files::*;
use jobs::*;
use keys::*;
use leases::*;
use limits::*;
use reports::*;
use turns::*;

/// A lease as the simulator remembers it, apart from the store.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) token: LeaseToken,
    pub(crate) worker: WorkerId,
    pub(crate) given: Duration,
    renewed: Duration,
    /// What its worker called the claim.
    pub(crate) claim_id: Option<String>,
    /// Whether the queue gave it back, since nobody waited for it.
    pub(crate) given_back: bool,
    /// Whether whoever asked for it was told.
    pub(crate) delivered: bool,
    ended: Option<(FinishKind, Finished)>,
}

/// What the simulator remembers of all that happened.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) grants: BTreeMap<(JobId, Epoch), Grant>,
    completions: BTreeMap<JobId, u32>,
    cancelled: BTreeMap<JobId, Epoch>,
    pub(crate) types: Types,
    turns: Turns,
    pub(crate) files: Files,
    /// The submissions that have a key, by whose it is.
    named: BTreeMap<(Option<String>, String), Named>,
    /// The leases that their holders wanted to give back themselves.
    pub(crate) released: BTreeSet<(JobId, Epoch)>,
    /// The latest time of day that there was.
    latest: Timestamp,
    /// What each worker can do, as it last said.
    labels: BTreeMap<WorkerId, Map<String, Value>>,
    /// The uptime at which the store was last known to be away, or the time of day jumped.
    pub(crate) away_at: Duration,
}

type Rule = fn(&Change, &Record);

const RULES: &[Rule] = &[
    a_refused_command_changes_nothing,
    only_what_has_ended_is_deleted,
    what_is_to_be_deleted_is,
    every_deletion_is_told,
    what_has_ended_knows_since_when,
    a_command_changes_what_it_names,
    the_epoch_counts_the_claims,
    a_claim_takes_what_is_free,
    a_claim_meets_what_its_jobs_require,
    a_repeated_claim_gets_what_it_got,
    a_paused_type_gives_nothing,
    no_more_run_than_may,
    no_start_before_its_rate,
    no_key_is_passed_over_twice,
    a_job_keeps_the_key_of_its_submission,
    a_report_needs_the_current_lease,
    a_report_does_what_it_says,
    a_job_completes_once_and_only_by_a_report,
    what_has_ended_stays_ended,
    failures_are_counted_fairly,
    losses_are_counted_fairly,
    a_cancel_is_not_forgotten,
    a_heartbeat_tells_the_truth,
    a_lease_lapses_no_earlier_than_it_may,
    counts_agree_with_the_jobs,
    every_claim_is_an_attempt,
    every_change_of_state_is_told,
    what_is_submitted_is_there,
    one_key_is_one_job,
    no_needed_file_is_deleted,
    no_deleted_file_is_named,
];

impl Record {
    /// Holds a change against every rule, and remembers it.
    pub(crate) fn take(&mut self, change: &Change) {
        for rule in RULES {
            rule(change, self);
        }
        self.learn(change);
    }

    /// The store was restored from a backup: whatever ran waits again, or has ended if it was called off.
    pub(crate) fn restored(&mut self, before: &Snapshot, after: &Snapshot, now: Timestamp) {
        self.files.restored_at = Some(now);
        for (id, was) in &before.jobs {
            let is = &after.jobs[id];
            let Some(lease) = was.lease() else {
                assert_eq!(is, was, "job {id} did not run, and a restore changed it");
                continue;
            };
            let expected = if lease.cancel_requested { Status::Cancelled } else { Status::Pending };
            assert_eq!(is.status(), expected, "the lease of job {id} outlives a restore");
            let life = |job: &Job| (job.life.epoch, job.life.failures, job.life.losses, job.life.ready_at);
            assert_eq!(life(is), life(was), "a restore costs job {id} something");
            if is.status() == Status::Cancelled {
                self.cancelled.insert(*id, is.life.epoch);
            }
        }
    }

    fn learn(&mut self, change: &Change) {
        for (before, after) in change.jobs() {
            if completes(before, after) {
                *self.completions.entry(after.id).or_default() += 1;
            }
            if after.status() == Status::Cancelled {
                self.cancelled.insert(after.id, after.life.epoch);
            }
            if let Some(lease) = after.lease()
                && before.is_none_or(|before| before.life.epoch != after.life.epoch)
            {
                let claim_id = match &change.command {
                    Command::Claim(claim) => claim.claim_id.clone(),
                    _ => None,
                };
                let grant = Grant {
                    token: lease.token,
                    claim_id,
                    given_back: false,
                    worker: lease.worker.clone(),
                    given: change.uptime,
                    renewed: change.uptime,
                    delivered: false,
                    ended: None,
                };
                self.grants.insert((after.id, lease.token.epoch), grant);
            }
        }
        self.turns = self.turns.after(change, self);
        self.learn_key(change);
        self.files.learn(change);
        for taken in change.told_again() {
            self.grants
                .get_mut(&(taken.job.id, taken.token.epoch))
                .expect("a lease that was given")
                .renewed = change.uptime;
        }
        for taken in change.started() {
            self.types.started(&taken.job, change.now, change.uptime);
        }
        match (&change.command, &change.outcome) {
            (Command::Heartbeat(beat), Ok(Done::Beat(reply))) => {
                for (held, (_, state)) in beat.leases.iter().zip(&reply.leases) {
                    if *state != LeaseState::Lost
                        && let Some(grant) = self.grants.get_mut(&(held.job, held.token.epoch))
                    {
                        grant.renewed = change.uptime;
                    }
                }
            }
            (Command::Report { job, token, report }, Ok(Done::Finished(finished))) => {
                let grant = self.grants.get_mut(&(*job, token.epoch)).expect("a lease that was given");
                let by_hand = self.released.contains(&(*job, token.epoch));
                if **report == Report::Release && !by_hand && grant.ended.is_none() {
                    assert!(!grant.delivered, "the queue gives back job {job}, whose holder was told");
                    grant.given_back = true;
                }
                grant.ended.get_or_insert((report.kind(), *finished));
            }
            // Who leaves releases what it has; saying so again is a repetition.
            (Command::Unregister { .. }, Ok(_)) => {
                for (before, after) in change.jobs() {
                    let Some(lease) = before.and_then(Job::lease) else { continue };
                    let status = after.status();
                    let ready_at = (status == Status::Pending).then_some(after.life.ready_at);
                    let grant =
                        self.grants.get_mut(&(after.id, lease.token.epoch)).expect("a lease that was given");
                    grant.ended = Some((FinishKind::Release, Finished { status, ready_at }));
                }
            }
            (Command::Register { registration, .. }, Ok(_)) => {
                self.labels.insert(registration.id.clone(), registration.labels.clone());
            }
            (Command::SetType { job_type, settings }, Ok(_)) => {
                self.types.set(job_type, (**settings).clone(), change.uptime);
            }
            (Command::SetPaused(job_type, paused), Ok(_)) => self.types.pause(job_type, *paused),
            (Command::RemoveWorker(worker), Ok(_)) => {
                self.labels.remove(worker);
            }
            _ => {}
        }
    }
}

/// The lease token of a job that runs.
fn holder(job: Option<&Job>) -> Option<LeaseToken> {
    Some(job?.lease()?.token)
}
