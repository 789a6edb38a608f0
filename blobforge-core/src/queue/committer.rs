//! Decides what is committed together: a state machine without I/O, clock or timer.
//!
//! Whatever arrives while a commit is under way forms the next batch, so that an idle queue answers at once and a busy
//! one batches by itself. A claim that finds nothing stays here until its deadline, and goes into the very batch whose
//! submission it could take. Deadlines are spans of uptime, so that nobody waits a day longer or
//! less because somebody set the clock.

use std::{collections::VecDeque, mem, time::Duration};

use super::parked::Parked;
use crate::{
    JobId, JobType, NewSource, WorkerId,
    storage::{BeatReply, Claim, Command, Committed, Done, LeaseState, Outcome, Wake},
};

/// The most commands in one batch.
pub(super) const MAX_BATCH: usize = 1024;

/// Where an outcome goes.
pub(super) trait Ticket {
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: T,
    /// For a claim that may wait if there is nothing for it.
    patience: Option<Patience>,
    /// For a heartbeat of a worker that holds jobs ahead of time.
    ahead: Option<Ahead>,
    /// For a worker that starts.
    starts: Option<WorkerId>,
}

/// The jobs that a worker has claimed and not begun.
#[derive(Debug)]
struct Ahead {
    worker: WorkerId,
    jobs: Vec<(JobId, JobType)>,
}

/// A claim that may wait.
#[derive(Debug)]
pub(super) struct Patience {
    /// Its place among the claims that wait, which it keeps however often it looks.
    pub(super) number: u64,
    /// The uptime until which it waits.
    pub(super) until: Duration,
    pub(super) claim: Claim,
    /// It was woken, alone, for a job of this type that was left.
    woken_for: Option<JobType>,
}

/// What waits to be committed, what is being committed, and which claims wait for work.
#[derive(Debug)]
pub(super) struct Committer<T> {
    inbox: VecDeque<(Command, Waiting<T>)>,
    in_flight: Option<Vec<Waiting<T>>>,
    parked: Parked<T>,
    last_number: u64,
}

impl<T: Ticket> Committer<T> {
    pub(super) fn new() -> Self {
        Self { inbox: VecDeque::new(), in_flight: None, parked: Parked::new(), last_number: 0 }
    }

    /// Takes a command in. A claim with a deadline waits until then if there is nothing for it.
    pub(super) fn push(&mut self, command: Command, ticket: T, wait_until: Option<Duration>) {
        let patience = match (&command, wait_until) {
            (Command::Claim(claim), Some(until)) => {
                self.last_number += 1;
                let claim = claim.clone();
                Some(Patience { number: self.last_number, until, claim, woken_for: None })
            }
            _ => None,
        };
        let ahead = ahead_of(&command);
        let starts = match &command {
            Command::Register { registration, .. } => Some(registration.id.clone()),
            _ => None,
        };
        self.inbox.push_back((command, Waiting { ticket, patience, ahead, starts }));
    }

    /// How many commands wait to be committed.
    pub(super) fn backlog(&self) -> usize {
        self.inbox.len()
    }

    /// How many claims wait for work.
    pub(super) fn waiting_claims(&self) -> usize {
        self.parked.len()
    }

    /// Whether one more claim may wait, if so many may at most.
    pub(super) fn may_wait(&mut self, most: usize) -> bool {
        if self.parked.len() >= most {
            self.parked.forget_abandoned();
        }
        self.parked.len() < most
    }

    /// Whether nothing waits and nothing is being committed; waiting claims do not count.
    pub(super) fn is_idle(&self) -> bool {
        self.inbox.is_empty() && self.in_flight.is_none()
    }

    /// The next batch to commit, if there is one and the last one is done.
    pub(super) fn next_batch(&mut self) -> Option<Vec<Command>> {
        if self.in_flight.is_some() || self.inbox.is_empty() {
            return None;
        }
        let mut commands = Vec::with_capacity(self.inbox.len().min(MAX_BATCH));
        let mut waiting = Vec::with_capacity(commands.capacity());
        let mut woken = Vec::new();
        while commands.len() < MAX_BATCH
            && let Some((command, waits)) = self.inbox.pop_front()
        {
            // If it cannot take the job after all, the answer says whom to wake.
            if let Some(waits) = ready_at_once(&command).and_then(|of| self.parked.longest_waiting(of)) {
                woken.push(looks_again(waits, None));
            }
            commands.push(command);
            waiting.push(waits);
        }
        for (command, waits) in woken {
            commands.push(command);
            waiting.push(waits);
        }
        self.in_flight = Some(waiting);
        Some(commands)
    }

    /// Hands out what a batch came to. Claims that found nothing wait on, and claims that now could find something
    /// go into the next batch.
    pub(super) fn committed(&mut self, committed: &mut Committed) -> Vec<(T, Outcome)> {
        let waiting = self.in_flight.take().unwrap_or_default();
        let mut replies = Vec::with_capacity(waiting.len());
        // Jobs that are there, or may be, although somebody was woken to take them.
        let mut left = Vec::new();
        for (waits, mut outcome) in waiting.into_iter().zip(mem::take(&mut committed.outcomes)) {
            if let (Some(ahead), Ok(Done::Beat(reply))) = (&waits.ahead, &mut outcome) {
                self.ask_back(ahead, reply);
            }
            if let (Some(worker), Ok(_)) = (&waits.starts, &outcome) {
                let stale = self.claims_by(worker);
                replies.extend(stale.into_iter().map(|ticket| (ticket, Ok(Done::Claimed(Vec::new())))));
            }
            left.extend(waits.leaves(&outcome));
            match (waits.patience, &outcome) {
                (Some(patience), Ok(Done::Claimed(found))) if found.is_empty() => {
                    self.parked.insert(patience, waits.ticket);
                }
                _ => replies.push((waits.ticket, outcome)),
            }
        }
        for ready in &committed.ready {
            match ready.wake {
                Wake::One => {
                    let woken = self.parked.longest_waiting(&ready.job_type);
                    self.inbox.extend(woken.map(|waits| looks_again(waits, Some(ready.job_type.clone()))));
                }
                Wake::All => self.wake_all(&ready.job_type),
            }
        }
        for worker in &committed.woken {
            let woken = self.parked.all_by(worker);
            self.wake(woken);
        }
        // The claim that was to take a job could not, or somebody was faster: the others should look for themselves.
        for job_type in left {
            self.wake_all(&job_type);
        }
        replies
    }

    /// Takes out what a worker claimed before it started: whatever it got would go to a process that is gone.
    fn claims_by(&mut self, worker: &WorkerId) -> Vec<T> {
        let parked = self.parked.all_by(worker).into_iter().map(|(_, ticket)| ticket);
        let mut stale: Vec<T> = parked.collect();
        let of_it = |waits: &Waiting<T>| {
            waits.patience.as_ref().is_some_and(|patience| patience.claim.worker == *worker)
        };
        for (command, waits) in mem::take(&mut self.inbox) {
            if of_it(&waits) { stale.push(waits.ticket) } else { self.inbox.push_back((command, waits)) }
        }
        stale
    }

    /// Asks for the jobs that a worker holds ahead of time and that others wait for.
    fn ask_back(&self, ahead: &Ahead, reply: &mut BeatReply) {
        for (job, state) in &mut reply.leases {
            let held = ahead.jobs.iter().find(|(held, _)| held == job && *state == LeaseState::Held);
            if held.is_some_and(|(_, job_type)| self.parked.has_another(job_type, &ahead.worker)) {
                *state = LeaseState::Awaited;
            }
        }
    }

    /// Who waited for a batch that failed. What a claim was woken for is left to the others.
    pub(super) fn failed(&mut self) -> Vec<T> {
        let waiting = self.in_flight.take().unwrap_or_default();
        let left: Vec<JobType> =
            waiting.iter().filter_map(|waits| waits.patience.as_ref()?.woken_for.clone()).collect();
        for job_type in left {
            self.wake_all(&job_type);
        }
        waiting.into_iter().map(|waits| waits.ticket).collect()
    }

    /// Tries every waiting claim again: what was made ready is not known.
    pub(super) fn retry_waiting(&mut self) {
        let waiting = self.parked.all();
        self.wake(waiting);
    }

    /// Everybody who still waits for anything.
    pub(super) fn drain(&mut self) -> Vec<T> {
        let inbox = self.inbox.drain(..).map(|(_, waits)| waits.ticket);
        let parked = self.parked.all().into_iter().map(|(_, ticket)| ticket);
        inbox.chain(parked).collect()
    }

    /// The claims that have waited long enough at this uptime.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<T> {
        self.parked.expired(now)
    }

    /// The uptime at which the next waiting claim has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.parked.next_deadline()
    }

    /// Lets every claim of this type look.
    fn wake_all(&mut self, job_type: &JobType) {
        let waiting = self.parked.all_of(job_type);
        self.wake(waiting);
    }

    /// Lets these claims look.
    fn wake(&mut self, waiting: Vec<(Patience, T)>) {
        self.inbox.extend(waiting.into_iter().map(|waits| looks_again(waits, None)));
    }
}

impl<T> Waiting<T> {
    /// The type of the job that a claim was woken for, alone, and did not take: it found nothing, was refused, or took
    /// a job of another type.
    fn leaves(&self, outcome: &Outcome) -> Option<JobType> {
        let job_type = self.patience.as_ref()?.woken_for.as_ref()?;
        let took = match outcome {
            Ok(Done::Claimed(found)) => found.iter().any(|claimed| claimed.job.job_type == *job_type),
            _ => false,
        };
        (!took).then(|| job_type.clone())
    }
}

/// A claim that looks again.
fn looks_again<T>((patience, ticket): (Patience, T), woken_for: Option<JobType>) -> (Command, Waiting<T>) {
    let command = Command::Claim(patience.claim.clone());
    (
        command,
        Waiting { ticket, patience: Some(Patience { woken_for, ..patience }), ahead: None, starts: None },
    )
}

/// What a heartbeat says of jobs that were claimed ahead of time.
fn ahead_of(command: &Command) -> Option<Ahead> {
    let Command::Heartbeat(beat) = command else { return None };
    let jobs = beat.leases.iter().filter_map(|held| Some((held.job, held.ahead.clone()?)));
    let jobs: Vec<_> = jobs.collect();
    (!jobs.is_empty()).then(|| Ahead { worker: beat.worker.clone(), jobs })
}

/// The type of the job that a command makes ready for anybody, where that is known beforehand.
fn ready_at_once(command: &Command) -> Option<&JobType> {
    match command {
        Command::Submit(submit)
            if submit.job.run_at.is_none()
                && submit.job.body.requires.is_empty()
                && !matches!(submit.job.source, NewSource::Upload { .. }) =>
        {
            Some(&submit.job.job_type)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;
    use crate::{
        Job, NewJob, Timestamp,
        storage::{Claimed, Maintain, Ready, Submit},
    };

    #[derive(Clone, Debug)]
    struct Caller(&'static str, Rc<Cell<bool>>);

    impl Ticket for Caller {
        fn is_abandoned(&self) -> bool {
            self.1.get()
        }
    }

    fn caller(name: &'static str) -> Caller {
        Caller(name, Rc::default())
    }

    fn submit(job_type: &str) -> Command {
        Command::Submit(Box::new(Submit {
            job: NewJob::new(job_type).unwrap(),
            upload_key: String::new(),
            default_max_attempts: 3,
        }))
    }

    fn claim(job_type: &str) -> Command {
        Command::Claim(Claim {
            worker: WorkerId::new("w").unwrap(),
            types: vec![JobType::new(job_type).unwrap()],
            secrets: Vec::new(),
            lease: Duration::from_secs(1),
            claim_id: None,
        })
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn nothing_found(outcomes: usize) -> Committed {
        let empty = || Ok(Done::Claimed(Vec::new()));
        Committed { outcomes: (0..outcomes).map(|_| empty()).collect(), ..Committed::default() }
    }

    fn names(replies: &[(Caller, Outcome)]) -> Vec<&'static str> {
        replies.iter().map(|(caller, _)| caller.0).collect()
    }

    #[test]
    fn what_arrives_during_a_commit_is_the_next_batch() {
        let mut committer = Committer::new();
        committer.push(submit("a"), caller("first"), None);
        assert_eq!(committer.next_batch().unwrap().len(), 1, "an idle queue commits at once");
        committer.push(submit("a"), caller("second"), None);
        committer.push(submit("a"), caller("third"), None);
        assert!(committer.next_batch().is_none(), "one commit at a time");
        assert_eq!(names(&committer.committed(&mut nothing_found(1))), ["first"]);
        assert_eq!(committer.next_batch().unwrap().len(), 2);
        assert_eq!(names(&committer.committed(&mut nothing_found(2))), ["second", "third"]);
        assert!(committer.is_idle());
    }

    #[test]
    fn a_batch_has_a_limit() {
        let mut committer = Committer::new();
        for _ in 0..MAX_BATCH + 1 {
            committer.push(submit("a"), caller("any"), None);
        }
        assert_eq!(committer.next_batch().unwrap().len(), MAX_BATCH);
        assert_eq!(committer.backlog(), 1);
    }

    #[test]
    fn a_waiting_claim_goes_into_the_batch_of_the_submission_it_could_take() {
        let mut committer = Committer::new();
        committer.push(claim("a"), caller("other"), Some(at(100)));
        committer.push(claim("b"), caller("wanted"), Some(at(100)));
        committer.next_batch();
        assert!(committer.committed(&mut nothing_found(2)).is_empty(), "both wait");
        assert_eq!(committer.waiting_claims(), 2);
        committer.push(submit("b"), caller("submitter"), None);
        let batch = committer.next_batch().unwrap();
        assert!(matches!(&batch[..], [Command::Submit(_), Command::Claim(c)] if c.types[0].as_str() == "b"));
        assert_eq!(committer.waiting_claims(), 1);
    }

    #[test]
    fn one_submission_wakes_one_claim_the_longest_waiting() {
        let mut committer = Committer::new();
        for name in ["early", "late"] {
            committer.push(claim("a"), caller(name), Some(at(100)));
        }
        committer.next_batch();
        committer.committed(&mut nothing_found(2));
        committer.push(submit("a"), caller("submitter"), None);
        assert_eq!(committer.next_batch().unwrap().len(), 2);
        let job = || unreachable_job();
        let mut committed = nothing_found(1);
        committed.outcomes.push(Ok(Done::Claimed(vec![job()])));
        assert_eq!(names(&committer.committed(&mut committed)), ["submitter", "early"]);
    }

    fn unreachable_job() -> Claimed {
        use crate::{Body, Epoch, Generation, LeaseSecret, LeaseToken, Life, Priority};
        let now = Timestamp::ZERO;
        Claimed {
            job: Job {
                id: JobId::new(1),
                job_type: JobType::new("a").unwrap(),
                priority: Priority::Normal,
                life: Life::new(true, 1, None, now),
                body: Body::default(),
                limit_key: None,
                dedup: true,
                source: None,
                progress: None,
                last_error: None,
                failure_group: None,
                result: None,
                outputs: Vec::new(),
                created_at: now,
                started_at: None,
                ended_at: None,
                updated_at: now,
            },
            token: LeaseToken::new(Generation::new(1), Epoch::new(1), LeaseSecret::from_bytes([0; 32])),
            expires_at: now,
            checkpoints: Vec::new(),
            no_progress: None,
        }
    }

    #[test]
    fn work_that_a_batch_made_ready_wakes_a_claim_into_the_next() {
        let mut committer = Committer::new();
        committer.push(claim("a"), caller("waiting"), Some(at(100)));
        committer.next_batch();
        committer.committed(&mut nothing_found(1));
        let maintain = Maintain {
            asked_at: Timestamp::ZERO,
            available_since: Timestamp::ZERO,
            upload_limit: Duration::ZERO,
            limit: 1,
        };
        committer.push(Command::Maintain(maintain), caller("clock"), None);
        committer.next_batch();
        let ready = vec![ready("a", Wake::One)];
        committer.committed(&mut Committed { outcomes: vec![Ok(Done::Ok)], ready, ..Committed::default() });
        assert!(matches!(&committer.next_batch().unwrap()[..], [Command::Claim(_)]));
    }

    fn ready(job_type: &str, wake: Wake) -> Ready {
        Ready { job_type: JobType::new(job_type).unwrap(), wake }
    }

    fn waiting(names: &[&'static str]) -> Committer<Caller> {
        let mut committer = Committer::new();
        for name in names {
            committer.push(claim("a"), caller(name), Some(at(100)));
        }
        committer.next_batch();
        committer.committed(&mut nothing_found(names.len()));
        committer
    }

    #[test]
    fn what_not_every_worker_can_take_wakes_every_claim() {
        let mut committer = waiting(&["one", "two"]);
        committer.push(claim("b"), caller("maintains"), None);
        committer.next_batch();
        let ready = vec![ready("a", Wake::All)];
        committer.committed(&mut Committed { ready, ..nothing_found(1) });
        assert_eq!(committer.next_batch().unwrap().len(), 2);
        committer.committed(&mut nothing_found(2));
        assert!(committer.next_batch().is_none(), "they wait again, and nobody is woken in circles");
        assert_eq!(committer.waiting_claims(), 2);
    }

    /// Has a job submitted that the claim beside it does not take, so that one claim is woken for it.
    fn leave_a_job(committer: &mut Committer<Caller>) {
        committer.push(submit("a"), caller("submitter"), None);
        assert_eq!(committer.next_batch().unwrap().len(), 2, "the submission and one claim");
        let ready = vec![ready("a", Wake::One)];
        let replies = committer.committed(&mut Committed { ready, ..nothing_found(2) });
        assert_eq!(names(&replies), ["submitter"]);
    }

    #[test]
    fn a_submission_that_nobody_may_start_lets_nobody_else_look() {
        let mut committer = waiting(&["one", "two"]);
        committer.push(submit("a"), caller("submitter"), None);
        assert_eq!(committer.next_batch().unwrap().len(), 2);
        committer.committed(&mut nothing_found(2));
        assert!(committer.next_batch().is_none(), "its type is paused, or its limit is reached");
        assert_eq!(committer.waiting_claims(), 2);
    }

    #[test]
    fn a_worker_that_can_do_more_than_before_looks_again() {
        let mut committer = waiting(&["one", "two"]);
        committer.push(claim("b"), caller("registers"), None);
        committer.next_batch();
        let woken = vec![WorkerId::new("w").unwrap(), WorkerId::new("other").unwrap()];
        committer.committed(&mut Committed { woken, ..nothing_found(1) });
        assert_eq!(committer.next_batch().unwrap().len(), 2);
    }

    #[test]
    fn who_left_takes_no_place_among_those_who_wait() {
        let mut committer = waiting(&["here"]);
        let gone = caller("gone");
        committer.push(claim("a"), gone.clone(), Some(at(100)));
        committer.next_batch();
        committer.committed(&mut nothing_found(1));
        assert!(!committer.may_wait(2));
        gone.1.set(true);
        assert!(committer.may_wait(2));
        assert_eq!(committer.waiting_claims(), 1);
    }

    #[test]
    fn a_claim_woken_in_vain_lets_the_others_look_and_keeps_its_place() {
        let mut committer = waiting(&["draining", "able"]);
        leave_a_job(&mut committer);
        assert_eq!(committer.next_batch().unwrap().len(), 1, "one is woken");
        committer.committed(&mut nothing_found(1));
        assert_eq!(
            committer.next_batch().unwrap().len(),
            2,
            "both look: the one that could not take it first"
        );
        let mut found = nothing_found(1);
        found.outcomes.push(Ok(Done::Claimed(vec![unreachable_job()])));
        assert_eq!(names(&committer.committed(&mut found)), ["able"]);
        assert!(committer.next_batch().is_none());
    }

    #[test]
    fn a_claim_waits_until_its_deadline_and_no_longer() {
        let mut committer = Committer::new();
        committer.push(claim("a"), caller("short"), Some(at(100)));
        committer.push(claim("a"), caller("long"), Some(at(200)));
        committer.push(claim("a"), caller("not at all"), None);
        committer.next_batch();
        assert_eq!(names(&committer.committed(&mut nothing_found(3))), ["not at all"]);
        assert_eq!(committer.next_deadline(), Some(at(100)));
        assert!(committer.expire(at(99)).is_empty());
        assert_eq!(committer.expire(at(100))[0].0, "short");
        assert_eq!(committer.next_deadline(), Some(at(200)));
    }

    #[test]
    fn nobody_claims_for_a_caller_who_left() {
        let mut committer = Committer::new();
        let gone = caller("gone");
        committer.push(claim("a"), gone.clone(), Some(at(100)));
        committer.push(claim("a"), caller("here"), Some(at(100)));
        committer.next_batch();
        committer.committed(&mut nothing_found(2));
        gone.1.set(true);
        committer.push(submit("a"), caller("submitter"), None);
        assert_eq!(committer.next_batch().unwrap().len(), 2, "the submission and one claim");
        assert_eq!(committer.waiting_claims(), 0, "the one who left is forgotten");
    }

    #[test]
    fn a_failed_batch_tells_everybody_in_it_and_nobody_else() {
        let mut committer = Committer::new();
        committer.push(submit("a"), caller("failed"), None);
        committer.next_batch();
        committer.push(submit("a"), caller("next"), None);
        assert_eq!(committer.failed().iter().map(|c| c.0).collect::<Vec<_>>(), ["failed"]);
        assert_eq!(committer.next_batch().unwrap().len(), 1);
    }

    #[test]
    fn after_a_commit_with_unknown_result_every_waiting_claim_is_tried_again() {
        let mut committer = waiting(&["one", "two"]);
        committer.retry_waiting();
        assert_eq!(committer.next_batch().unwrap().len(), 2);
        assert!(committer.committed(&mut nothing_found(2)).is_empty());
        assert_eq!(committer.next_deadline(), Some(at(100)), "they wait as long as before");
    }

    #[test]
    fn a_job_that_is_left_by_who_was_woken_for_it_lets_the_others_look() {
        let refused = || Err(crate::storage::Refusal::WorkerNotRegistered(WorkerId::new("w").unwrap()));
        let mut other = unreachable_job();
        other.job.job_type = JobType::new("b").unwrap();
        for early in [refused(), Ok(Done::Claimed(vec![other]))] {
            let mut committer = waiting(&["early", "late"]);
            leave_a_job(&mut committer);
            committer.next_batch();
            let outcomes = vec![early];
            let replies = committer.committed(&mut Committed { outcomes, ..Committed::default() });
            assert_eq!(names(&replies), ["early"]);
            assert_eq!(committer.next_batch().unwrap().len(), 1, "late looks");
        }
    }

    #[test]
    fn what_a_claim_of_a_failed_batch_was_woken_for_is_left_to_the_others() {
        let mut committer = waiting(&["early", "late"]);
        leave_a_job(&mut committer);
        committer.next_batch();
        assert_eq!(names_of(&committer.failed()), ["early"]);
        assert_eq!(committer.next_batch().unwrap().len(), 1, "late looks");
    }

    fn names_of(callers: &[Caller]) -> Vec<&'static str> {
        callers.iter().map(|caller| caller.0).collect()
    }
}
