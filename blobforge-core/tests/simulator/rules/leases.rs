//! What must hold for claims, and for the leases that they give.

use super::*;

pub(super) fn the_epoch_counts_the_claims(change: &Change, _: &Record) {
    for (before, after) in change.jobs() {
        let old = before.map_or(Epoch::NONE, |before| before.life.epoch);
        let taken = change.started().filter(|taken| taken.job.id == after.id).count() as u32;
        assert_eq!(after.life.epoch.get(), old.get() + taken, "the epoch of job {}", after.id);
    }
}

pub(super) fn a_claim_takes_what_is_free(change: &Change, record: &Record) {
    let Command::Claim(claim) = &change.command else { return };
    assert!(change.started().count() <= claim.secrets.len(), "more than was asked for");
    for taken in change.started() {
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

pub(super) fn a_claim_meets_what_its_jobs_require(change: &Change, record: &Record) {
    let Command::Claim(claim) = &change.command else { return };
    for taken in change.started() {
        let (requires, labels) = (&taken.job.body.requires, &record.labels[&claim.worker]);
        assert!(
            requires.are_met_by(labels),
            "job {} asks for {requires}, and {} offers {labels:?}",
            taken.job.id,
            claim.worker
        );
    }
}

pub(super) fn a_heartbeat_tells_the_truth(change: &Change, _: &Record) {
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

pub(super) fn a_lease_lapses_no_earlier_than_it_may(change: &Change, record: &Record) {
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

pub(super) fn every_claim_is_an_attempt(change: &Change, _: &Record) {
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
