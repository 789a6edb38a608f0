//! What must hold between the queue and those who ask it: answers are true, and nobody waits in vain.
//!
//! To add one: write a method and name it in [`World::check`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use blobforge_core::{
    Clock, JobId, JobType, Lease, QueueError,
    queue::{BulkOutcome, Notice},
    storage::{Command, Done, StorageError},
};
use futures_util::FutureExt;

use crate::{
    call::{Answer, Asked, Call},
    ledger::Change,
    rules::Record,
    waiting::Free,
    world::World,
};

/// For so long after trouble the queue may rest before it looks again.
pub(crate) const GRACE: Duration = Duration::from_secs(62);

/// How a queue ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopping {
    Closes,
    Dies,
}

/// What is known of the store's health and of what is due.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The uptime at which something last went wrong.
    pub(crate) trouble_at: Duration,
    pub(crate) stopping: Option<Stopping>,
    /// How many faults have come to pass.
    met: u64,
    /// A batch may have been kept without that the queue knows.
    pub(crate) unknown: bool,
    /// The jobs that wait for nothing but a worker.
    pub(crate) free: BTreeMap<JobId, Free>,
    /// How many changes there were when they were last looked for.
    pub(crate) looked_at: usize,
    /// What maintenance has not looked at since: types that were set, and jobs that waited for a time.
    pub(crate) unmaintained: (BTreeSet<JobType>, BTreeSet<JobId>),
    slow_since: Option<Duration>,
    /// The store was away until this uptime: leases are judged by it from the next commit on.
    pub(crate) away_at: Duration,
}

impl Watch {
    /// Something went wrong now.
    pub(crate) fn trouble(&mut self, clock: &dyn Clock, record: &mut Record) {
        self.trouble_at = clock.uptime();
        record.away_at = clock.uptime();
    }

    pub(crate) fn restarted(&mut self) {
        (self.met, self.slow_since, self.stopping) = (0, None, None);
    }
}

impl World {
    /// Everything that must hold whenever the queue rests.
    pub(crate) fn check(&mut self) {
        let uptime = self.uptime();
        self.notice_trouble();
        if self.faults.waiting() > 0 {
            // Whoever waits now waits for the store.
            self.watch.slow_since.get_or_insert(uptime);
            return;
        }
        self.record.away_at = self.record.away_at.max(self.watch.away_at);
        self.check_everybody_was_answered();
        self.check_listeners_heard();
        self.check_no_claim_is_deaf();
        self.check_silence_is_noticed();
        self.check_nothing_is_kept_for_too_long();
        self.check_nobody_holds_what_nobody_got();
    }

    /// Learns of the faults that came to pass, before anything is judged by them.
    pub(crate) fn notice_trouble(&mut self) {
        let (uptime, met) = (self.uptime(), self.faults.met());
        if met > std::mem::replace(&mut self.watch.met, met) {
            self.watch.trouble_at = uptime;
            if self.faults.waiting() == 0 {
                self.watch.away_at = uptime;
            }
        }
        if let Some(since) = self.watch.slow_since {
            self.watch.trouble_at = uptime;
            if self.faults.waiting() == 0 {
                self.watch.slow_since = None;
                if uptime > since + Duration::from_secs(5) {
                    self.watch.away_at = uptime;
                }
            }
        }
    }

    /// The store is at rest and well: only claims may wait, and only until their time.
    fn check_everybody_was_answered(&self) {
        for call in &self.calls {
            let waits = call.until.is_some_and(|until| until > self.uptime());
            assert!(waits, "{:?} is not answered: {:?}, asked at {:?}", call.by, call.asked, call.since);
        }
    }

    /// Events come in order and without a gap, unless listeners are told of one.
    fn check_listeners_heard(&mut self) {
        let mut missed = false;
        while let Some(Some(notice)) = self.feed.next().now_or_never() {
            let Notice::Event(event) = notice else {
                missed = true;
                continue;
            };
            loop {
                let Some(expected) = self.events.get(self.heard) else {
                    panic!("{event:?} was told, but never happened")
                };
                self.heard += 1;
                if *expected == event {
                    break;
                }
                assert!(missed || self.watch.unknown, "{expected:?} was told to nobody");
            }
        }
        let all = self.heard == self.events.len();
        assert!(missed || self.watch.unknown || all, "listeners were not told of everything");
        self.heard = self.events.len();
    }

    /// A lease whose holder has been silent for long enough is found so.
    fn check_silence_is_noticed(&self) {
        let (now, uptime) = (self.now(), self.uptime());
        for job in self.ledger.now().jobs.values() {
            // Trouble is noticed within one grace, from then on the lease has its whole time, and within another one that
            // is seen to be over.
            let noticed = |lease: &&Lease| uptime >= self.watch.trouble_at + GRACE + lease.duration + GRACE;
            if let Some(lease) = job.lease().filter(|lease| !lease.lapsed).filter(noticed) {
                assert!(lease.expires_at > now, "nobody notices that job {} was abandoned", job.id);
            }
        }
    }

    /// What has been kept for long enough is deleted.
    fn check_nothing_is_kept_for_too_long(&self) {
        let (now, uptime) = (self.now(), self.uptime());
        for job in self.ledger.now().jobs.values() {
            let known = self.record.types.of(&job.job_type);
            let kept = known.settings.retention.of(job.status()).zip(job.ended_at);
            let Some((kept, ended)) = kept else { continue };
            let excused = uptime < self.watch.trouble_at.max(known.changed_at) + GRACE;
            assert!(excused || now < ended + kept, "job {} ended at {ended}, and is still there", job.id);
        }
    }

    /// What was claimed for somebody who had left is given back.
    fn check_nobody_holds_what_nobody_got(&self) {
        for job in self.ledger.now().jobs.values() {
            let Some(lease) = job.lease() else { continue };
            let grant = &self.record.grants[&(job.id, lease.token.epoch)];
            // One that has a name may be asked for again, or lapses.
            let excused = grant.given <= self.watch.trouble_at || grant.claim_id.is_some();
            assert!(grant.delivered || excused, "{} holds job {}, and was never told", grant.worker, job.id);
        }
    }

    /// An answer is what the store did for this very request.
    pub(crate) fn check_answer(&mut self, call: &Call, answer: &Answer) {
        match answer.error() {
            None => self.check_success(call, answer),
            Some(QueueError::Storage(error)) => self.check_failure(call, &error.clone()),
            Some(QueueError::Refused(refusal)) => {
                let same = |at: usize| self.changes[at].outcome.as_ref().err() == Some(refusal);
                assert!((call.begun..self.changes.len()).any(same), "nothing refused {:?}", call.asked);
            }
            Some(QueueError::Blob(_)) => {}
            Some(QueueError::Closed) => {
                // A queue that closes finishes what it took in; only who waits, or had more to ask, is sent away.
                let fine = match self.watch.stopping {
                    None => false,
                    Some(Stopping::Dies) => true,
                    Some(Stopping::Closes) => call.asked.may_be_unfinished(),
                };
                assert!(fine, "{:?} is told that the queue is closed", call.asked);
            }
            Some(other) => panic!("{:?} is told {other}", call.asked),
        }
    }

    fn check_success(&mut self, call: &Call, answer: &Answer) {
        if let (Answer::Claimed(Ok(claimed)), Asked::Claim { worker, claim_id, .. }) = (answer, &call.asked) {
            if claimed.is_empty() {
                let waited = call.until.is_none_or(|until| self.uptime() >= until);
                let turned_away = |at: usize| {
                    let draining =
                        |w: &blobforge_core::WorkerRecord| w.registration.id == *worker && w.draining;
                    self.changes[at].before.workers.iter().any(draining)
                };
                let drained = (call.begun..self.changes.len()).any(turned_away);
                // Whoever waited before its worker started again is sent away: it may be a process that is gone.
                let anew = |at: usize| {
                    let command = &self.changes[at].command;
                    matches!(command, Command::Register { registration, .. } if registration.id == *worker)
                };
                let started = (call.begun..self.changes.len()).any(anew);
                assert!(waited || drained || started, "a claim came back before its time");
                return;
            }
            for taken in claimed {
                let grant = self.record.grants.get_mut(&(taken.job.id, taken.token.epoch));
                let grant = grant.expect("a claim is told of a lease that was never given");
                assert_eq!((&grant.worker, grant.token), (worker, taken.token), "whose lease it is");
                let again = claim_id.is_some() && grant.claim_id == *claim_id;
                assert!(!grant.delivered || again, "the lease of job {} was told twice", taken.job.id);
                assert!(!grant.given_back, "the lease of job {} was given back, and then told", taken.job.id);
                grant.delivered = true;
            }
        }
        if let Answer::Bulk(Ok(outcome)) = answer {
            return self.check_bulk(call, outcome);
        }
        let told = (call.begun..self.changes.len()).find(|at| {
            let change = &self.changes[*at];
            let same = |done: &Done| answer.tells(done);
            !self.told[*at] && call.asked.is(&change.command) && change.outcome.as_ref().is_ok_and(same)
        });
        let Some(told) = told else { panic!("{:?} is told of what was never done: {answer:?}", call.asked) };
        self.told[told] = true;
    }

    /// What is done to many is done to each, and what was not is counted.
    fn check_bulk(&self, call: &Call, outcome: &BulkOutcome) {
        let Asked::DeleteAll(filter) = &call.asked else { panic!("{:?} was nothing for many", call.asked) };
        let done = |change: &&Change| matches!(change.command, Command::Delete(_)) && change.outcome.is_ok();
        let done: Vec<_> = self.changes[call.begun..].iter().filter(done).collect();
        let matching =
            done.iter().flat_map(|change| change.deleted()).filter(|job| filter.matches(job)).count() as u64;
        assert!(matching >= outcome.changed, "{outcome:?}, and {matching} were deleted");
        let refused: u64 = outcome.refused.values().map(|refusals| refusals.jobs).sum();
        assert_eq!(outcome.matched, outcome.changed + refused, "{outcome:?}");
    }

    /// Whoever is told that the store failed, is told the truth about what it kept.
    fn check_failure(&self, call: &Call, error: &StorageError) {
        // One that was sent again may have been kept when it was.
        if let Asked::Submit { tag } = &call.asked
            && !self.repeated.contains(tag)
            && !error.may_have_been_kept()
        {
            let kept = self.changes[call.begun..].iter().any(|change| call.asked.is(&change.command));
            assert!(!kept, "a job was taken in, and its submitter was told that nothing was changed");
        }
    }
}
