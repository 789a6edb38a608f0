//! What must hold for every single command, whoever sent it and whatever went wrong around it.
//!
//! To add one: write a function and put it into [`RULES`].

use std::{collections::BTreeMap, time::Duration};

use blobforge_core::{
    End, Epoch, FinishKind, Finished, Job, JobId, LeaseToken, MAX_LOSSES, Refused, Status, WorkerId,
    storage::{Command, Done, Event, LeaseState, Refusal, Report},
};

use crate::ledger::Change;

/// A lease as the simulator remembers it, apart from the store.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) token: LeaseToken,
    pub(crate) worker: WorkerId,
    pub(crate) given: Duration,
    renewed: Duration,
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
    /// The uptime at which the store was last known to be away, or the time of day jumped.
    pub(crate) away_at: Duration,
}

type Rule = fn(&Change, &Record);

const RULES: &[Rule] = &[
    a_refused_command_changes_nothing,
    no_job_disappears,
    a_command_changes_what_it_names,
    the_epoch_counts_the_claims,
    a_claim_takes_what_is_free,
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
];

impl Record {
    /// Holds a change against every rule, and remembers it.
    pub(crate) fn take(&mut self, change: &Change) {
        for rule in RULES {
            rule(change, self);
        }
        self.learn(change);
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
                let grant = Grant {
                    token: lease.token,
                    worker: lease.worker.clone(),
                    given: change.uptime,
                    renewed: change.uptime,
                    delivered: false,
                    ended: None,
                };
                self.grants.insert((after.id, lease.token.epoch), grant);
            }
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
            _ => {}
        }
    }
}

/// The lease token of a job that runs.
fn holder(job: Option<&Job>) -> Option<LeaseToken> {
    Some(job?.lease()?.token)
}

fn a_refused_command_changes_nothing(change: &Change, _: &Record) {
    if let Err(refusal) = &change.outcome {
        let changed: Vec<_> = change.jobs().map(|(_, job)| job.id).collect();
        assert!(changed.is_empty(), "{refusal}, and still {changed:?} changed");
    }
}

fn no_job_disappears(change: &Change, _: &Record) {
    for id in change.before.jobs.keys() {
        assert!(change.after.jobs.contains_key(id), "job {id} has disappeared");
    }
}

fn a_command_changes_what_it_names(change: &Change, _: &Record) {
    let named = |id: JobId| match &change.command {
        Command::Report { job, .. }
        | Command::Checkpoint { job, .. }
        | Command::SourceReady { job, .. }
        | Command::RejectSource { job, .. }
        | Command::SourceVerified { job, .. }
        | Command::Cancel(job)
        | Command::Retry(job)
        | Command::Reprioritise(job, _) => *job == id,
        Command::Heartbeat(beat) => beat.leases.iter().any(|held| held.job == id),
        Command::Submit(_) => matches!(&change.outcome, Ok(Done::Submitted(s)) if s.id == id),
        Command::Claim(claim) => claim.types.contains(&change.after.jobs[&id].job_type),
        Command::Maintain(_) => true,
        Command::Register { registration: of, .. } => ran_on(change, id, &of.id),
        Command::Unregister { worker, .. } | Command::RemoveWorker(worker) => ran_on(change, id, worker),
        _ => false,
    };
    for (_, job) in change.jobs() {
        assert!(named(job.id), "job {} is no business of this command", job.id);
    }
}

fn ran_on(change: &Change, id: JobId, worker: &WorkerId) -> bool {
    change.was(id).and_then(Job::lease).is_some_and(|lease| lease.worker == *worker)
}

fn the_epoch_counts_the_claims(change: &Change, _: &Record) {
    for (before, after) in change.jobs() {
        let old = before.map_or(Epoch::NONE, |before| before.life.epoch);
        let taken = match &change.outcome {
            Ok(Done::Claimed(claimed)) => claimed.iter().filter(|c| c.job.id == after.id).count() as u32,
            _ => 0,
        };
        assert_eq!(after.life.epoch.get(), old.get() + taken, "the epoch of job {}", after.id);
    }
}

fn a_claim_takes_what_is_free(change: &Change, record: &Record) {
    let (Command::Claim(claim), Ok(Done::Claimed(claimed))) = (&change.command, &change.outcome) else {
        return;
    };
    assert!(claimed.len() <= claim.secrets.len(), "more than was asked for");
    for taken in claimed {
        let id = taken.job.id;
        let before = change.was(id).expect("only what was there can be claimed");
        match before.lease() {
            None => {
                assert_eq!(before.status(), Status::Pending, "job {id} was claimed");
                assert!(before.life.ready_at <= change.now, "job {id} was claimed before its time");
            }
            Some(lease) => assert!(lease.lapsed, "job {id} was taken from a holder that is alive"),
        }
        let lease = change.after.jobs[&id].lease().expect("a claimed job runs");
        assert_eq!((lease.token, &lease.worker), (taken.token, &claim.worker), "who holds job {id}");
        assert!(claim.types.contains(&taken.job.job_type), "job {id} is of a type that nobody asked for");
        assert!(claim.secrets.contains(&taken.token.secret), "the secret of job {id} is another's");
        let given = record.grants.values().any(|grant| grant.token.secret == taken.token.secret);
        assert!(!given, "a lease secret was given twice");
    }
}

fn a_report_needs_the_current_lease(change: &Change, record: &Record) {
    let Command::Report { job, token, report } = &change.command else { return };
    let current = holder(change.was(*job)) == Some(*token);
    let ended = record.grants.get(&(*job, token.epoch)).filter(|grant| grant.token == *token);
    let ended = ended.and_then(|grant| grant.ended);
    match (&change.outcome, current, ended) {
        (Ok(_), true, _) | (Err(Refusal::UnknownFile(_)), true, _) => {}
        (Ok(Done::Finished(told)), false, Some((kind, finished))) => {
            assert_eq!((report.kind(), *told), (kind, finished), "a repeated report gets the first reply");
            assert_eq!(change.jobs().count(), 0, "a repeated report changes nothing");
        }
        (Ok(told), false, _) => panic!("{told:?} to a report on job {job} under a lease that is not current"),
        (Err(refusal), true, _) => panic!("the holder of job {job} is told: {refusal}"),
        (Err(refusal), false, Some((kind, _))) => {
            assert_ne!(kind, report.kind(), "a repeated report on job {job} is told: {refusal}");
            let already = matches!(refusal, Refusal::Lifecycle(Refused::AlreadyEnded { .. }));
            assert!(already, "another report on an attempt that ended is told: {refusal}");
        }
        (Err(refusal), false, None) => {
            let lost =
                matches!(refusal, Refusal::Lifecycle(Refused::LeaseLost { .. }) | Refusal::NoSuchJob(_));
            assert!(lost, "a report under a lost lease is told: {refusal}");
        }
    }
}

fn a_report_does_what_it_says(change: &Change, _: &Record) {
    let (Command::Report { job, token, report }, Ok(Done::Finished(finished))) =
        (&change.command, &change.outcome)
    else {
        return;
    };
    let before = change.was(*job).expect("only a job that is there has a lease");
    if holder(Some(before)) != Some(*token) {
        return;
    }
    let after = &change.after.jobs[job];
    let called_off = before.lease().is_some_and(|lease| lease.cancel_requested);
    let fails_for_good = |retryable: bool| !retryable || before.life.failures + 1 >= before.life.max_attempts;
    let expected = match &**report {
        Report::Complete { .. } => Status::Completed,
        _ if called_off => Status::Cancelled,
        Report::Fail { retryable, .. } if fails_for_good(*retryable) => Status::Failed,
        _ => Status::Pending,
    };
    assert_eq!((after.status(), finished.status), (expected, expected), "job {job} after {report:?}");
    let last = change.attempts[job].last().expect("the attempt that ended");
    let end = match (&**report, expected) {
        (_, Status::Cancelled) => End::Cancelled,
        (Report::Complete { .. }, _) => End::Completed,
        (Report::Fail { .. }, _) => End::Failed,
        (Report::Release, _) => End::Released,
        (Report::Snooze(_), _) => End::Snoozed,
    };
    assert_eq!((last.epoch, last.end), (token.epoch, Some(end)), "the history of job {job}");
    if expected != Status::Pending {
        return;
    }
    assert_eq!(finished.ready_at, Some(after.life.ready_at));
    match &**report {
        Report::Release => assert_eq!(after.life.ready_at, before.life.ready_at, "job {job} loses its place"),
        Report::Snooze(until) => assert_eq!(after.life.ready_at, (*until).max(change.now)),
        Report::Fail { policy, .. } => {
            let wait = policy.first * 2_u32.pow(before.life.failures.min(10));
            let earliest = change.now + wait.min(policy.longest);
            assert!(after.life.ready_at >= earliest, "job {job} is tried again too early");
        }
        Report::Complete { .. } => unreachable!("a completed job is not pending"),
    }
}

fn completes(before: Option<&Job>, after: &Job) -> bool {
    after.status() == Status::Completed && before.is_none_or(|before| before.status() != Status::Completed)
}

fn a_job_completes_once_and_only_by_a_report(change: &Change, record: &Record) {
    for (_, after) in change.jobs().filter(|(before, after)| completes(*before, after)) {
        let times = record.completions.get(&after.id).copied().unwrap_or_default();
        assert_eq!(times, 0, "job {} was completed before", after.id);
        let complete = matches!(&change.command,
            Command::Report { report, .. } if matches!(**report, Report::Complete { .. }));
        assert!(complete, "job {} was completed by no completion", after.id);
    }
}

/// Whether a command ran an ended job again, rather than handing it over with another tag.
fn ran_again(before: &Job, after: &Job) -> bool {
    before.status().is_final() && before.life != after.life
}

fn what_has_ended_stays_ended(change: &Change, _: &Record) {
    for (before, after) in change.jobs() {
        let Some(before) = before.filter(|before| before.status().is_final()) else { continue };
        if matches!(change.command, Command::Submit(_)) && !ran_again(before, after) {
            continue;
        }
        let (was, is) = (before.status(), after.status());
        let revived = match &change.command {
            Command::Retry(_) => was != Status::Completed,
            Command::Submit(submit) => submit.job.retry_failed && was == Status::Failed,
            _ => false,
        };
        assert!(revived, "job {} had ended as {was} and is {is}", after.id);
        assert!(matches!(is, Status::Pending | Status::Uploading), "a retried job is {is}");
        assert_eq!((after.life.failures, after.life.losses), (0, 0), "a retried job starts afresh");
    }
}

fn failures_are_counted_fairly(change: &Change, _: &Record) {
    for (before, after) in change.jobs() {
        let Some(before) = before else {
            assert_eq!(after.life.failures, 0);
            continue;
        };
        let expected = match &change.command {
            Command::Report { report, .. } if matches!(**report, Report::Fail { .. }) => {
                before.life.failures + 1
            }
            Command::Retry(_) => 0,
            Command::Submit(_) if ran_again(before, after) => 0,
            _ => before.life.failures,
        };
        assert_eq!(after.life.failures, expected, "the failures of job {}", after.id);
        let (failures, max) = (after.life.failures, after.life.max_attempts);
        assert!(after.status().is_final() || failures < max, "job {} goes on after {failures}", after.id);
    }
}

fn losses_are_counted_fairly(change: &Change, _: &Record) {
    for (before, after) in change.jobs() {
        let Some(before) = before else { continue };
        let (was, is) = (before.life.losses, after.life.losses);
        let called_off = before.lease().is_some_and(|lease| lease.cancel_requested);
        let lost =
            before.lease().filter(|_| after.life.epoch != before.life.epoch || after.lease().is_none());
        let expected = match &change.command {
            Command::Claim(_) | Command::Register { .. } | Command::RemoveWorker(_) if lost.is_some() => {
                if called_off {
                    was
                } else {
                    was + 1
                }
            }
            Command::Checkpoint { .. } | Command::Retry(_) => 0,
            Command::Submit(_) if ran_again(before, after) => 0,
            _ => was,
        };
        assert_eq!(is, expected, "the losses of job {}", after.id);
        assert!(after.status().is_final() || is < MAX_LOSSES, "job {} goes on after {is} losses", after.id);
        if expected > was && is < MAX_LOSSES {
            assert!(!after.status().is_final(), "job {} was given up after {is} losses", after.id);
        }
    }
}

fn a_cancel_is_not_forgotten(change: &Change, record: &Record) {
    for (before, after) in change.jobs() {
        let Some(before) = before else { continue };
        let id = after.id;
        if let (Command::Cancel(_), Ok(_)) = (&change.command, &change.outcome) {
            let asked = after.lease().is_some_and(|lease| lease.cancel_requested && !lease.lapsed);
            assert!(after.status() == Status::Cancelled || asked, "job {id} was not called off");
            assert!(before.lease().is_none_or(|l| l.lapsed) || asked, "job {id} was torn from its holder");
        }
        if before.lease().is_some_and(|lease| lease.cancel_requested) {
            let asked = after.lease().is_some_and(|lease| lease.cancel_requested);
            let ended = matches!(after.status(), Status::Cancelled | Status::Completed);
            assert!(asked || ended, "job {id} forgot that it was called off");
        }
        if after.status() == Status::Completed {
            let cancelled = record.cancelled.get(&id).is_some_and(|epoch| *epoch == after.life.epoch);
            assert!(!cancelled, "job {id} was completed by a lease that was cancelled");
        }
    }
}

fn a_heartbeat_tells_the_truth(change: &Change, _: &Record) {
    let (Command::Heartbeat(beat), Ok(Done::Beat(reply))) = (&change.command, &change.outcome) else {
        return;
    };
    assert_eq!(reply.leases.len(), beat.leases.len());
    for (held, (id, state)) in beat.leases.iter().zip(&reply.leases) {
        assert_eq!(*id, held.job);
        let lease = change.was(held.job).and_then(Job::lease).filter(|lease| lease.token == held.token);
        let expected = match lease {
            None => LeaseState::Lost,
            Some(lease) if lease.cancel_requested => LeaseState::Cancel,
            Some(_) => LeaseState::Held,
        };
        assert_eq!(*state, expected, "what the holder of job {id} is told");
        if let Some(lease) = lease {
            let renewed = change.after.jobs[id].lease().expect("a renewed lease is there");
            assert_eq!(renewed.expires_at, change.now + lease.duration, "how long the lease of {id} is good");
            assert!(!renewed.lapsed, "the holder of job {id} is alive");
        }
    }
}

fn a_lease_lapses_no_earlier_than_it_may(change: &Change, record: &Record) {
    for (before, after) in change.jobs() {
        let Some(lease) = before.and_then(Job::lease).filter(|lease| !lease.lapsed) else { continue };
        let Command::Maintain(_) = &change.command else {
            assert!(after.lease().is_none_or(|lease| !lease.lapsed), "job {} lapsed by itself", after.id);
            continue;
        };
        let grant = &record.grants[&(after.id, lease.token.epoch)];
        let earliest = grant.renewed.max(record.away_at) + lease.duration;
        assert!(
            change.uptime >= earliest,
            "the lease of job {} lapses at {:?} though it was renewed at {:?}, and the store was away at {:?}",
            after.id,
            change.uptime,
            grant.renewed,
            record.away_at
        );
        let expected = if lease.cancel_requested { Status::Cancelled } else { Status::Running };
        assert_eq!(after.status(), expected, "job {} after its holder's silence", after.id);
    }
}

fn counts_agree_with_the_jobs(change: &Change, _: &Record) {
    let mut counted = BTreeMap::new();
    for job in change.after.jobs.values() {
        *counted.entry((job.job_type.clone(), job.status())).or_insert(0) += 1;
    }
    assert_eq!(change.after.counts.0, counted, "the kept counts");
}

fn every_claim_is_an_attempt(change: &Change, _: &Record) {
    for (before, after) in change.jobs() {
        let attempts = &change.attempts[&after.id];
        let epochs: Vec<u32> = attempts.iter().map(|attempt| attempt.epoch.get()).collect();
        let expected: Vec<u32> = (1..=after.life.epoch.get()).collect();
        assert_eq!(epochs, expected, "the attempts of job {}", after.id);
        for attempt in attempts {
            let runs = after.lease().is_some_and(|lease| lease.token.epoch == attempt.epoch);
            assert_eq!(attempt.end.is_none(), runs, "attempt {attempt:?} of job {}", after.id);
        }
        if let Some(lease) = before.and_then(Job::lease) {
            let attempt = &attempts[lease.token.epoch.get() as usize - 1];
            assert_eq!(attempt.worker, lease.worker, "who ran job {}", after.id);
            let lost = matches!(
                &change.command,
                Command::Claim(_) | Command::Register { .. } | Command::RemoveWorker(_)
            );
            if lost && attempt.end.is_some() && !lease.cancel_requested {
                assert_eq!(attempt.end, Some(End::Lost), "how an attempt of job {} ended", after.id);
            }
        }
    }
}

fn every_change_of_state_is_told(change: &Change, _: &Record) {
    for (before, after) in change.jobs() {
        let (was, status) = (before.map(Job::status), after.status());
        let told = change.events.iter().any(
            |event| matches!(event, Event::Job { id, status: s, .. } if *id == after.id && *s == status),
        );
        assert!(told || was == Some(status), "nobody is told that job {} is {status}", after.id);
    }
}

fn what_is_submitted_is_there(change: &Change, _: &Record) {
    let (Command::Submit(submit), Ok(Done::Submitted(told))) = (&change.command, &change.outcome) else {
        return;
    };
    let job = &change.after.jobs[&told.id];
    assert_eq!(change.was(told.id).is_some(), told.existing, "whether job {} is new", told.id);
    assert_eq!(told.status, job.status());
    assert_eq!(job.job_type, submit.job.job_type, "job {} does other work", told.id);
    assert_eq!(job.body.params, submit.job.body.params, "job {} does other work", told.id);
    assert_eq!(told.upload_key.is_some(), job.status() == Status::Uploading);
    if !told.existing {
        assert_eq!(job.body.tags, submit.job.body.tags);
    }
}
