//! What must hold for every step in every state, each rule said independently of how the lifecycle works it out.

use std::time::Duration;

use blobforge_core::{
    End, EndedLease, Epoch, Finish, FinishKind, Lease, Life, MAX_LOSSES, Phase, Refused, Reply, Status, Step,
    Timestamp, Transition,
};

use crate::space::{Edge, MAX_ATTEMPTS, token_of};

type Rule = fn(&Edge<'_>) -> bool;

const RULES: &[(&str, Rule)] = &[
    ("the epoch grows by claims alone, by exactly one", epoch_counts_claims),
    ("a running job's lease bears the life's epoch, and no other job has a lease", lease_bears_the_epoch),
    ("a report under the current token is always taken", current_reports_are_taken),
    ("a report under any other token changes nothing and is told why", other_reports_change_nothing),
    ("an ended attempt's token is never current again", ended_tokens_stay_ended),
    ("a job completes only by its holder's word", only_the_holder_completes),
    ("nothing leads out of completed", completed_is_for_ever),
    ("a completed attempt's job stays completed, at that epoch", one_completion_per_job),
    ("failures change only by a failure, by one, and by a retry, to zero", failures_count_errors),
    ("losses change only by a loss, by one, and by an advance or a retry, to zero", losses_count_vanished),
    ("a release costs nothing and keeps the place in line", release_is_free),
    ("a restore costs nothing and keeps the place in line", void_is_free),
    ("a snooze costs nothing and waits until its time", snooze_is_free),
    ("a failure that may be retried waits for its backoff", failure_backs_off),
    ("a job fails for four reasons only", failed_for_a_reason),
    ("a job whose chances are used up fails", used_up_means_failed),
    ("with a cancel asked for, every end but completion is cancelled", cancel_wins_over_all_but_completion),
    ("a cancel asked for is never forgotten, and its holder is told", cancel_is_remembered),
    ("a job that was called off is not left to be claimed", called_off_is_not_claimable),
    ("a cancel ends what nobody is running, and only asks of what somebody is", cancel_spares_the_living),
    ("a pending job is claimable from its time on and not before", pending_is_claimable_when_due),
    ("a running job is claimable if and only if its lease has lapsed", only_lapsed_leases_are_taken),
    ("a new lease is what was asked for", new_lease_is_as_asked),
    ("only time lets a lease lapse", only_expired_leases_lapse),
    ("a renewal revives a lease and gives it a whole duration from now", renewal_revives),
    ("nothing but a renewal prolongs a lease", only_renewal_prolongs),
    ("heartbeats and checkpoints never end anything", heartbeats_end_nothing),
    ("an attempt is recorded exactly when its lease disappears or is replaced", endings_are_recorded),
    ("the record says how the attempt ended, by whom, and what its holder was told", records_are_true),
    (
        "a job waits from when its source is there, or from the time that was wished for",
        acceptance_sets_the_time,
    ),
    ("an upload ends by its arrival, its rejection, its limit or a cancel", uploads_end_in_four_ways),
    ("a retry by hand starts afresh, from failed and cancelled alone", retry_starts_afresh),
    ("what the submitter said never changes", wishes_are_kept),
    ("time matters to what is pending or held, and moves only what waits", ready_at_changes_for_a_reason),
    ("a refusal says truly where the job is", refusals_are_true),
];

/// The first rule that an edge breaks, by name.
pub(crate) fn check(edge: &Edge<'_>) -> Result<(), String> {
    match RULES.iter().find(|(_, holds)| !holds(edge)) {
        Some((name, _)) => Err(format!("BROKEN RULE: {name}")),
        None => Ok(()),
    }
}

impl<'a> Edge<'a> {
    fn life(&self) -> &'a Life {
        &self.before.life
    }

    fn status(&self) -> Status {
        self.life().phase.status()
    }

    fn done(&self) -> Option<&'a Transition> {
        self.result.as_ref().ok()
    }

    /// The life afterwards: the same if the step was refused.
    fn after(&self) -> &'a Life {
        self.done().map_or(self.life(), |done| &done.life)
    }

    fn held(&self) -> Option<&'a Lease> {
        lease(self.life())
    }

    /// The step is a report of the current holder.
    fn by_holder(&self) -> bool {
        self.held().is_some_and(|lease| token_of(self.step).is_some_and(|token| same(lease, token)))
    }

    /// How the current holder ends its attempt, if that is the step.
    fn finish(&self) -> Option<&'a Finish> {
        match self.step {
            Step::Finish(_, how) if self.by_holder() => Some(how),
            _ => None,
        }
    }

    /// The step found that the holder is gone: it is said so, or somebody claims, or nobody needs to.
    fn loses_holder(&self) -> bool {
        let silent = |lease: &Lease| lease.lapsed || lease.expires_at <= self.now;
        match (self.step, self.held()) {
            (Step::Lose, Some(_)) => true,
            (Step::Claim(_), Some(lease)) => lease.lapsed,
            (Step::Lapse, Some(lease)) => !lease.lapsed && lease.cancel_requested && silent(lease),
            (Step::Cancel, Some(lease)) => lease.lapsed,
            _ => false,
        }
    }

    fn cancel_asked(&self) -> bool {
        self.held().is_some_and(|lease| lease.cancel_requested) || *self.step == Step::Cancel
    }

    fn claimed(&self) -> bool {
        matches!(self.step, Step::Claim(_)) && self.done().is_some_and(|done| done.reply == Reply::Done)
    }

    fn enters(&self, status: Status) -> bool {
        self.status() != status && self.after().phase.status() == status
    }
}

fn lease(life: &Life) -> Option<&Lease> {
    match &life.phase {
        Phase::Running(lease) => Some(lease),
        _ => None,
    }
}

/// Compares a token part by part, so that the rules do not rest on the equality that they are to check.
fn same(lease: &Lease, token: &blobforge_core::LeaseToken) -> bool {
    lease.token.generation.get() == token.generation.get()
        && lease.token.epoch.get() == token.epoch.get()
        && lease.token.secret.as_bytes() == token.secret.as_bytes()
}

/// `claim implies consequence`, in the order in which one says it.
fn when(condition: bool, consequence: impl FnOnce() -> bool) -> bool {
    !condition || consequence()
}

fn epoch_counts_claims(edge: &Edge<'_>) -> bool {
    let claims = u32::from(edge.claimed());
    edge.after().epoch.get() == edge.life().epoch.get() + claims
}

fn lease_bears_the_epoch(edge: &Edge<'_>) -> bool {
    lease(edge.after()).is_none_or(|lease| lease.token.epoch == edge.after().epoch)
        && when(edge.after().epoch == Epoch::NONE, || edge.after().phase.status() != Status::Running)
}

fn current_reports_are_taken(edge: &Edge<'_>) -> bool {
    when(edge.by_holder(), || match (edge.step, edge.done().map(|done| done.reply)) {
        (Step::Renew(_), Some(Reply::Renewed { .. })) | (Step::Advance(_), Some(Reply::Done)) => true,
        (Step::Finish(..), Some(Reply::Finished(_))) => edge.after().phase.status() != Status::Running,
        _ => false,
    })
}

fn other_reports_change_nothing(edge: &Edge<'_>) -> bool {
    let Some(token) = token_of(edge.step).filter(|_| !edge.by_holder()) else { return true };
    let known = edge.named.filter(|ended| {
        ended.token.generation.get() == token.generation.get()
            && ended.token.epoch.get() == token.epoch.get()
            && ended.token.secret.as_bytes() == token.secret.as_bytes()
    });
    let lost = || matches!(edge.result, Err(Refused::LeaseLost { .. }));
    let Step::Finish(_, how) = edge.step else { return lost() };
    match known.map(|ended| (ended, ended.reported)) {
        // The same report again: the same answer, and nothing else.
        Some((ended, Some(kind))) if kind == how.kind() => edge.done().is_some_and(|done| {
            done.reply == Reply::Finished(ended.finished) && done.ended.is_none() && done.life == *edge.life()
        }),
        Some((ended, Some(_))) => *edge.result == Err(Refused::AlreadyEnded { end: ended.end }),
        // Somebody else ended it, or it never was.
        Some((_, None)) | None => lost(),
    }
}

fn ended_tokens_stay_ended(edge: &Edge<'_>) -> bool {
    edge.before.witness.as_ref().is_none_or(|ended| {
        ended.token.epoch <= edge.after().epoch
            && lease(edge.after()).is_none_or(|lease| ended.token.epoch < lease.token.epoch)
    })
}

fn only_the_holder_completes(edge: &Edge<'_>) -> bool {
    let said = edge.finish() == Some(&Finish::Complete);
    edge.enters(Status::Completed) == said
}

fn completed_is_for_ever(edge: &Edge<'_>) -> bool {
    when(edge.status() == Status::Completed, || edge.after() == edge.life())
}

fn one_completion_per_job(edge: &Edge<'_>) -> bool {
    let completed = |ended: &EndedLease| ended.end == End::Completed;
    edge.before.witness.as_ref().filter(|ended| completed(ended)).is_none_or(|ended| {
        edge.status() == Status::Completed
            && ended.token.epoch == edge.life().epoch
            && edge.done().is_none_or(|done| done.ended.is_none())
    })
}

fn failures_count_errors(edge: &Edge<'_>) -> bool {
    let expected = match edge.step {
        Step::Finish(_, Finish::Fail { .. }) if edge.by_holder() => edge.life().failures + 1,
        Step::Retry { .. } if edge.done().is_some() => 0,
        _ => edge.life().failures,
    };
    edge.after().failures == expected
}

fn losses_count_vanished(edge: &Edge<'_>) -> bool {
    let expected = match edge.step {
        _ if edge.loses_holder() && !edge.cancel_asked() => edge.life().losses + 1,
        Step::Finish(_, Finish::Crash { .. }) if edge.by_holder() && !edge.cancel_asked() => {
            edge.life().losses + 1
        }
        Step::Advance(_) if edge.by_holder() => 0,
        Step::Retry { .. } if edge.done().is_some() => 0,
        _ => edge.life().losses,
    };
    edge.after().losses == expected
}

fn release_is_free(edge: &Edge<'_>) -> bool {
    when(edge.finish() == Some(&Finish::Release) && !edge.cancel_asked(), || {
        *edge.after() == Life { phase: Phase::Pending, ..edge.life().clone() }
    })
}

fn void_is_free(edge: &Edge<'_>) -> bool {
    when(*edge.step == Step::Void, || match edge.held() {
        Some(lease) => {
            let phase = if lease.cancel_requested { Phase::Cancelled } else { Phase::Pending };
            *edge.after() == Life { phase, ..edge.life().clone() }
        }
        None => edge.done().is_none(),
    })
}

fn snooze_is_free(edge: &Edge<'_>) -> bool {
    let Some(Finish::Snooze(until)) = edge.finish() else { return true };
    when(!edge.cancel_asked(), || {
        *edge.after()
            == Life { phase: Phase::Pending, ready_at: (*until).max(edge.now), ..edge.life().clone() }
    })
}

fn failure_backs_off(edge: &Edge<'_>) -> bool {
    let (policy, before) = match edge.finish() {
        Some(Finish::Fail { policy, .. }) => (policy, edge.life().failures),
        Some(Finish::Crash { policy, .. }) => (policy, edge.life().losses),
        _ => return true,
    };
    when(edge.after().phase == Phase::Pending, || {
        let wait = if before == 0 { policy.first } else { policy.longest };
        edge.after().ready_at == edge.now + wait
    })
}

fn failed_for_a_reason(edge: &Edge<'_>) -> bool {
    when(edge.enters(Status::Failed), || match edge.step {
        Step::SourceRejected => edge.status() == Status::Uploading,
        Step::Finish(_, Finish::Fail { retryable, .. }) => {
            edge.by_holder() && (!retryable || edge.after().failures == MAX_ATTEMPTS)
        }
        Step::Finish(_, Finish::Crash { .. }) => edge.by_holder() && edge.after().losses == MAX_LOSSES,
        _ => edge.loses_holder() && edge.after().losses == MAX_LOSSES,
    })
}

fn used_up_means_failed(edge: &Edge<'_>) -> bool {
    let after = edge.after();
    let chances_left = after.failures < MAX_ATTEMPTS && after.losses < MAX_LOSSES;
    chances_left || matches!(after.phase.status(), Status::Failed | Status::Cancelled)
}

fn cancel_wins_over_all_but_completion(edge: &Edge<'_>) -> bool {
    let asked = edge.held().is_some_and(|lease| lease.cancel_requested);
    when(asked && lease(edge.after()).is_none(), || {
        let done = edge.finish() == Some(&Finish::Complete);
        let (status, end) =
            if done { (Status::Completed, End::Completed) } else { (Status::Cancelled, End::Cancelled) };
        let recorded = edge.done().and_then(|done| done.ended.as_ref()).map(|ended| ended.end);
        edge.after().phase.status() == status && recorded == Some(end)
    })
}

fn cancel_is_remembered(edge: &Edge<'_>) -> bool {
    let Some(before) = edge.held().filter(|lease| lease.cancel_requested) else { return true };
    let told = match (edge.step, edge.by_holder(), edge.done().map(|done| done.reply)) {
        (Step::Renew(_), true, reply) => reply == Some(Reply::Renewed { cancel_requested: true }),
        _ => true,
    };
    told && lease(edge.after()).is_none_or(|after| after.cancel_requested && after.token == before.token)
}

fn called_off_is_not_claimable(edge: &Edge<'_>) -> bool {
    lease(edge.after()).is_none_or(|lease| !(lease.cancel_requested && lease.lapsed))
}

fn cancel_spares_the_living(edge: &Edge<'_>) -> bool {
    when(*edge.step == Step::Cancel, || match edge.held() {
        Some(held) if !held.lapsed => {
            lease(edge.after()) == Some(&Lease { cancel_requested: true, ..held.clone() })
        }
        _ if edge.status().is_final() => edge.done().is_none(),
        _ => edge.after().phase == Phase::Cancelled,
    })
}

fn pending_is_claimable_when_due(edge: &Edge<'_>) -> bool {
    let ready_at = edge.life().ready_at;
    when(edge.status() == Status::Pending && matches!(edge.step, Step::Claim(_)), || {
        if ready_at <= edge.now { edge.claimed() } else { *edge.result == Err(Refused::NotDue { ready_at }) }
    })
}

fn only_lapsed_leases_are_taken(edge: &Edge<'_>) -> bool {
    let Some(held) = edge.held().filter(|_| matches!(edge.step, Step::Claim(_))) else { return true };
    let last_chance = edge.life().losses + 1 == MAX_LOSSES;
    match edge.done().map(|done| done.reply) {
        None => !held.lapsed,
        Some(Reply::Done) => held.lapsed && !last_chance,
        Some(Reply::Buried) => held.lapsed && last_chance && edge.after().phase == Phase::Failed,
        Some(_) => false,
    }
}

fn new_lease_is_as_asked(edge: &Edge<'_>) -> bool {
    let Step::Claim(asked) = edge.step else { return true };
    when(edge.claimed(), || {
        lease(edge.after()).is_some_and(|lease| {
            lease.worker == asked.worker
                && lease.token.generation == asked.generation
                && lease.token.secret == asked.secret
                && lease.started_at == edge.now
                && lease.duration == asked.duration
                && lease.expires_at == edge.now + asked.duration
                && !lease.lapsed
                && !lease.cancel_requested
        })
    })
}

fn only_expired_leases_lapse(edge: &Edge<'_>) -> bool {
    let Some(held) = edge.held() else { return true };
    let lapses = !held.lapsed && lease(edge.after()).is_some_and(|after| after.lapsed);
    let due = *edge.step == Step::Lapse && held.expires_at <= edge.now && !held.lapsed;
    lapses == (due && !held.cancel_requested)
        && when(lapses, || edge.after().phase == Phase::Running(Lease { lapsed: true, ..held.clone() }))
}

fn renewal_revives(edge: &Edge<'_>) -> bool {
    when(edge.by_holder() && matches!(edge.step, Step::Renew(_)), || {
        lease(edge.after())
            .is_some_and(|lease| !lease.lapsed && lease.expires_at == edge.now + lease.duration)
    })
}

fn only_renewal_prolongs(edge: &Edge<'_>) -> bool {
    let (Some(before), Some(after)) = (edge.held(), lease(edge.after())) else { return true };
    let renewed = matches!(edge.step, Step::Renew(_));
    let flags = |lease: &Lease| Lease {
        expires_at: Timestamp::ZERO,
        lapsed: false,
        cancel_requested: false,
        ..lease.clone()
    };
    before.token != after.token
        || (flags(before) == flags(after)
            && when(!renewed, || before.expires_at == after.expires_at)
            && when(before.lapsed && !after.lapsed, || renewed && edge.by_holder())
            && when(!before.cancel_requested && after.cancel_requested, || *edge.step == Step::Cancel))
}

fn heartbeats_end_nothing(edge: &Edge<'_>) -> bool {
    when(matches!(edge.step, Step::Renew(_) | Step::Advance(_)), || {
        edge.after().phase.status() == edge.status() && edge.done().is_none_or(|done| done.ended.is_none())
    })
}

fn endings_are_recorded(edge: &Edge<'_>) -> bool {
    let (before, after) = (edge.held(), lease(edge.after()));
    let gone = before.filter(|before| after.is_none_or(|after| after.token != before.token));
    let recorded = edge.done().and_then(|done| done.ended.as_ref());
    gone.map(|lease| lease.token) == recorded.map(|ended| ended.token)
}

fn records_are_true(edge: &Edge<'_>) -> bool {
    let Some(ended) = edge.done().and_then(|done| done.ended.as_ref()) else { return true };
    let (end, reported) = match edge.finish() {
        Some(Finish::Complete) => (End::Completed, Some(FinishKind::Complete)),
        Some(how) if edge.cancel_asked() => (End::Cancelled, Some(how.kind())),
        Some(Finish::Fail { .. }) => (End::Failed, Some(FinishKind::Fail)),
        Some(Finish::Crash { .. }) => (End::Lost, Some(FinishKind::Crash)),
        Some(Finish::Release) => (End::Released, Some(FinishKind::Release)),
        Some(Finish::Snooze(_)) => (End::Snoozed, Some(FinishKind::Snooze)),
        None if edge.cancel_asked() => (End::Cancelled, None),
        None if *edge.step == Step::Void => (End::Voided, None),
        None => (End::Lost, None),
    };
    let after = edge.after();
    // Whose job was taken over at once was left with a pending one, if only for an instant.
    let status = if edge.claimed() { Status::Pending } else { after.phase.status() };
    let ready_at = (status == Status::Pending).then_some(after.ready_at);
    (ended.end, ended.reported) == (end, reported)
        && (ended.finished.status, ended.finished.ready_at) == (status, ready_at)
        && when(reported.is_some(), || {
            edge.done().is_some_and(|done| done.reply == Reply::Finished(ended.finished))
        })
}

fn acceptance_sets_the_time(edge: &Edge<'_>) -> bool {
    let accepted = match edge.step {
        Step::SourceReady | Step::Retry { source_present: true } => edge.done().is_some(),
        _ => false,
    };
    when(accepted, || {
        edge.after().phase == Phase::Pending
            && edge.after().ready_at.since(edge.now)
                == edge.life().run_at.map_or(Duration::ZERO, |run_at| run_at.since(edge.now))
            && edge.after().ready_at >= edge.now
    })
}

fn uploads_end_in_four_ways(edge: &Edge<'_>) -> bool {
    let expected = match edge.step {
        Step::SourceReady => Phase::Pending,
        Step::SourceRejected => Phase::Failed,
        Step::UploadExpired => Phase::Cancelled,
        Step::Cancel => return true,
        _ => return when(edge.status() == Status::Uploading, || edge.after() == edge.life()),
    };
    match edge.status() {
        Status::Uploading => edge.done().is_some_and(|done| done.life.phase == expected),
        _ => matches!(edge.result, Err(Refused::WrongState { .. })),
    }
}

fn retry_starts_afresh(edge: &Edge<'_>) -> bool {
    let Step::Retry { source_present } = edge.step else { return true };
    let ended_badly = matches!(edge.status(), Status::Failed | Status::Cancelled);
    let phase = if *source_present { Phase::Pending } else { Phase::Uploading };
    edge.done().is_some() == ended_badly
        && when(ended_badly, || {
            let after = edge.after();
            after.phase == phase && (after.failures, after.losses) == (0, 0)
        })
}

fn wishes_are_kept(edge: &Edge<'_>) -> bool {
    edge.after().max_attempts == MAX_ATTEMPTS && edge.after().run_at == edge.life().run_at
}

fn ready_at_changes_for_a_reason(edge: &Edge<'_>) -> bool {
    let reason = match edge.step {
        Step::SourceReady | Step::Retry { .. } => true,
        Step::Finish(_, Finish::Fail { .. } | Finish::Crash { .. } | Finish::Snooze(_)) => edge.by_holder(),
        _ => false,
    };
    reason || edge.after().ready_at == edge.life().ready_at
}

fn refusals_are_true(edge: &Edge<'_>) -> bool {
    match edge.result {
        Ok(_) => true,
        Err(Refused::LeaseLost { status, holder }) => {
            let current = edge.held().map(|lease| (lease.worker.clone(), lease.started_at));
            *status == edge.status() && *holder == current && token_of(edge.step).is_some()
        }
        Err(Refused::WrongState { status, .. }) => *status == edge.status() && token_of(edge.step).is_none(),
        Err(Refused::NotDue { ready_at }) => *ready_at > edge.now,
        Err(Refused::AlreadyEnded { .. }) => matches!(edge.step, Step::Finish(..)),
        // That is for deletions, which are no step.
        Err(Refused::NotEnded { .. }) => false,
    }
}
