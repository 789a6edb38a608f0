//! What must hold for jobs that are deleted.

use super::*;

pub(super) fn only_what_has_ended_is_deleted(change: &Change, record: &Record) {
    for job in change.deleted() {
        let (id, status) = (job.id, job.status());
        assert!(status.is_final(), "job {id} was {status}, and is gone");
        match (&change.command, &change.outcome) {
            (Command::Delete(named), Ok(_)) => assert_eq!(*named, id, "another job was to be deleted"),
            (Command::Maintain(_), Ok(_)) => {
                let kept = record.types.of(&job.job_type).settings.retention.of(status);
                let over = kept.zip(job.ended_at).is_some_and(|(kept, ended)| ended + kept <= change.now);
                assert!(over, "job {id} is kept for {kept:?} since {:?}, and is gone", job.ended_at);
            }
            (command, outcome) => panic!("job {id} is gone after {command:?}: {outcome:?}"),
        }
    }
}

pub(super) fn what_is_to_be_deleted_is(change: &Change, _: &Record) {
    let Command::Delete(id) = &change.command else { return };
    let was = change.was(*id).map(Job::status);
    match &change.outcome {
        Ok(_) => {
            assert!(was.is_some() && change.deleted().count() == 1, "job {id} is deleted, and still there")
        }
        Err(Refusal::NoSuchJob(_)) => assert_eq!(was, None, "job {id} cannot be found"),
        Err(refusal) => {
            assert!(was.is_some_and(|was| !was.is_final()), "job {id} cannot be deleted: {refusal}")
        }
    }
}

pub(super) fn every_deletion_is_told(change: &Change, _: &Record) {
    let told: Vec<_> =
        change.events.iter().filter(|event| matches!(event, Event::JobDeleted { .. })).collect();
    let gone: Vec<_> = change
        .deleted()
        .map(|job| Event::JobDeleted { id: job.id, job_type: job.job_type.clone(), was: job.status() })
        .collect();
    assert!(
        told.len() == gone.len() && told.iter().all(|told| gone.contains(told)),
        "{told:?} are told of {gone:?}"
    );
}

pub(super) fn what_has_ended_knows_since_when(change: &Change, _: &Record) {
    for (before, after) in change.jobs() {
        let had_ended = before.is_some_and(|before| before.status().is_final());
        let expected = match before {
            _ if !after.status().is_final() => None,
            Some(before) if had_ended => before.ended_at,
            _ => Some(change.now),
        };
        assert_eq!(after.ended_at, expected, "since when job {} is {}", after.id, after.status());
    }
}
