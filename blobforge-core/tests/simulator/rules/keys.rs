//! What must hold for submissions and claims that are repeated under a name.

use super::*;
use crate::submitter::said;

/// For how long a submission is known by its key.
const KNOWN_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// A submission that has a key.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    job: NewJob,
    id: JobId,
    until: Timestamp,
}

impl Record {
    /// Remembers what a submission with a key got.
    pub(super) fn learn_key(&mut self, change: &Change) {
        self.latest = self.latest.max(change.now);
        let (Command::Submit(submit), Ok(Done::Submitted(told))) = (&change.command, &change.outcome) else {
            return;
        };
        if let (Some(key), false) = (key(&submit.job), told.replayed) {
            let named = Named { job: said(&submit.job), id: told.id, until: change.now + KNOWN_FOR };
            self.named.insert(key, named);
        }
    }

    /// What a claim of this name got and still holds.
    fn held_by_name(&self, claim: &Claim, before: &Snapshot) -> BTreeMap<JobId, LeaseToken> {
        let holds = |(id, grant): (JobId, &Grant)| {
            let current = holder(before.jobs.get(&id).map(|job| &**job)) == Some(grant.token);
            let theirs = grant.worker == claim.worker && grant.claim_id == claim.claim_id;
            (current && theirs && claim.claim_id.is_some()).then_some((id, grant.token))
        };
        self.grants.iter().filter_map(|((id, _), grant)| holds((*id, grant))).collect()
    }
}

/// Whose key it is, and which.
fn key(job: &NewJob) -> Option<(Option<String>, String)> {
    Some((job.body.submitter.clone(), job.idempotency_key.clone()?))
}

pub(super) fn one_key_is_one_job(change: &Change, record: &Record) {
    let Command::Submit(submit) = &change.command else { return };
    let Some(key) = key(&submit.job) else { return };
    let known = record.named.get(&key).filter(|known| change.now < known.until);
    let same = known.is_some_and(|known| known.job == said(&submit.job));
    match (&change.outcome, known) {
        (Ok(Done::Submitted(told)), Some(known)) if told.replayed => {
            assert!(same, "another job than {key:?} was named by is told to be that");
            assert_eq!((told.id, told.existing), (known.id, true), "{key:?} names another job");
            assert_eq!(change.jobs().count(), 0, "a repeated submission changes nothing");
        }
        (Err(Refusal::IdempotencyKeyReused(_)), Some(_)) => {
            assert!(!same, "{key:?} is repeated, and refused")
        }
        (Err(Refusal::IdempotencyKeyOfDeleted(_, id)), Some(known)) => {
            assert!(same && *id == known.id && change.was(*id).is_none(), "{key:?} is told of job {id}");
        }
        (Ok(Done::Submitted(_)), Some(known)) => {
            // The clock may have been past its time, and been set back.
            assert!(record.latest >= known.until, "{key:?} is forgotten before its time");
        }
        (Ok(Done::Submitted(told)), None) => assert!(!told.replayed, "{key:?} is new, or its time is over"),
        (Err(Refusal::UnknownFile(_) | Refusal::FileTaken(_)), None) => {}
        (outcome, known) => panic!("{outcome:?} to {key:?}, known as {known:?}"),
    }
}

pub(super) fn a_repeated_claim_gets_what_it_got(change: &Change, record: &Record) {
    let (Command::Claim(claim), Ok(Done::Claimed(told))) = (&change.command, &change.outcome) else {
        return;
    };
    let held = record.held_by_name(claim, &change.before);
    let again: BTreeMap<JobId, LeaseToken> =
        change.told_again().map(|taken| (taken.job.id, taken.token)).collect();
    assert_eq!(again, held, "what the claim {:?} is told again", claim.claim_id);
    if held.is_empty() {
        return;
    }
    assert_eq!(told.len(), held.len(), "the repeated claim {:?} takes more", claim.claim_id);
    for told in told {
        let lease = change.after.jobs[&told.job.id].lease().expect("a lease that is held is there");
        assert_eq!(
            told.expires_at,
            change.now + lease.duration,
            "how long the lease of {} is good",
            told.job.id
        );
        assert_eq!((lease.expires_at, lease.lapsed), (told.expires_at, false), "its holder is alive");
    }
    for (_, job) in change.jobs() {
        assert!(held.contains_key(&job.id), "job {} is no business of a repeated claim", job.id);
    }
}
