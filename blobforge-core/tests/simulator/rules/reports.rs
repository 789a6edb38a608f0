//! What must hold for reports, and for how failures and losses are counted.

use super::*;

pub(super) fn a_report_needs_the_current_lease(change: &Change, record: &Record) {
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
        (Err(refusal), false, _) if change.was(*job).is_none() => {
            assert_eq!(*refusal, Refusal::NoSuchJob(*job), "a report on a job that is gone");
        }
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

pub(super) fn a_report_does_what_it_says(change: &Change, _: &Record) {
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
        Report::Crash { .. } if before.life.losses + 1 >= MAX_LOSSES => Status::Failed,
        _ => Status::Pending,
    };
    assert_eq!((after.status(), finished.status), (expected, expected), "job {job} after {report:?}");
    let last = change.attempts[job].last().expect("the attempt that ended");
    let end = match (&**report, expected) {
        (_, Status::Cancelled) => End::Cancelled,
        (Report::Complete { .. }, _) => End::Completed,
        (Report::Fail { .. }, _) => End::Failed,
        (Report::Crash { .. }, _) => End::Lost,
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
        Report::Fail { policy, .. } => backs_off(change, *job, policy, before.life.failures),
        Report::Crash { policy, .. } => backs_off(change, *job, policy, before.life.losses),
        Report::Complete { .. } => unreachable!("a completed job is not pending"),
    }
}

fn backs_off(change: &Change, job: JobId, policy: &blobforge_core::RetryPolicy, before: u32) {
    let wait = policy.first * 2_u32.pow(before.min(10));
    let earliest = change.now + wait.min(policy.longest);
    assert!(change.after.jobs[&job].life.ready_at >= earliest, "job {job} is tried again too early");
}

pub(super) fn failures_are_counted_fairly(change: &Change, _: &Record) {
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

pub(super) fn losses_are_counted_fairly(change: &Change, _: &Record) {
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
            Command::Report { report, .. } if matches!(**report, Report::Crash { .. }) && lost.is_some() => {
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
