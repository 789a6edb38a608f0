//! What must hold for jobs and their states.

use super::*;

pub(super) fn a_refused_command_changes_nothing(change: &Change, _: &Record) {
    if let Err(refusal) = &change.outcome {
        let changed = change.jobs().map(|(_, job)| job.id);
        let changed: Vec<_> = changed.chain(change.deleted().map(|job| job.id)).collect();
        assert!(changed.is_empty(), "{refusal}, and still {changed:?} changed");
    }
}

pub(super) fn a_command_changes_what_it_names(change: &Change, _: &Record) {
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

/// Whether a command ran an ended job again, rather than handing it over with another tag.
pub(super) fn ran_again(before: &Job, after: &Job) -> bool {
    before.status().is_final() && before.life != after.life
}

pub(super) fn what_has_ended_stays_ended(change: &Change, _: &Record) {
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

pub(super) fn completes(before: Option<&Job>, after: &Job) -> bool {
    after.status() == Status::Completed && before.is_none_or(|before| before.status() != Status::Completed)
}

pub(super) fn a_job_completes_once_and_only_by_a_report(change: &Change, record: &Record) {
    for (_, after) in change.jobs().filter(|(before, after)| completes(*before, after)) {
        let times = record.completions.get(&after.id).copied().unwrap_or_default();
        assert_eq!(times, 0, "job {} was completed before", after.id);
        let complete = matches!(&change.command,
            Command::Report { report, .. } if matches!(**report, Report::Complete { .. }));
        assert!(complete, "job {} was completed by no completion", after.id);
    }
}

pub(super) fn a_cancel_is_not_forgotten(change: &Change, record: &Record) {
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

pub(super) fn counts_agree_with_the_jobs(change: &Change, _: &Record) {
    let mut counted = BTreeMap::new();
    for job in change.after.jobs.values() {
        *counted.entry((job.job_type.clone(), job.status())).or_insert(0) += 1;
    }
    assert_eq!(change.after.counts.0, counted, "the kept counts");
}

pub(super) fn every_change_of_state_is_told(change: &Change, _: &Record) {
    for (before, after) in change.jobs() {
        let (was, status) = (before.map(Job::status), after.status());
        let told = change.events.iter().any(
            |event| matches!(event, Event::Job { id, status: s, .. } if *id == after.id && *s == status),
        );
        assert!(told || was == Some(status), "nobody is told that job {} is {status}", after.id);
    }
}

pub(super) fn what_is_submitted_is_there(change: &Change, _: &Record) {
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
