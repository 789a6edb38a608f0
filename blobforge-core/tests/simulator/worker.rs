//! A process that claims jobs: mostly diligent, sometimes asleep, sometimes a ghost of itself.

use std::time::Duration;

use blobforge_core::{
    Checkpoint, Failure, FinishKind, Finished, JobId, JobType, LeaseToken, Output, Progress, QueueError,
    Registration, Sha256, WorkerId,
    broker::Wish,
    storage::{Beat, BeatReply, Claimed, Command, HeldLease, LeaseState, Refusal, Report},
};
use rand::RngExt;
use serde_json::{Map, Value};

use crate::{
    call::{Answer, Asked, By},
    labels,
    world::World,
};

/// How often a worker says that it lives.
pub(crate) const BEAT_EVERY: Duration = Duration::from_secs(20);
/// The most jobs that one worker holds.
const MAX_HELD: usize = 3;

#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) job: JobId,
    pub(crate) token: LeaseToken,
    pub(crate) called_off: bool,
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) types: Vec<JobType>,
    /// Whether it names its types when it registers, or only when it claims.
    pub(crate) names_types: bool,
    pub(crate) labels: Map<String, Value>,
    pub(crate) instance: String,
    previous: Option<String>,
    starts: u32,
    pub(crate) registered: bool,
    pub(crate) held: Vec<Held>,
    /// What it held once and may still believe in.
    old: Vec<Held>,
    /// How many claims it has given a name.
    claims: u32,
    /// The name of a claim that was not answered.
    unanswered: Option<String>,
    /// The name of the last one that had any.
    last_claim: Option<String>,
    last_report: Option<(JobId, LeaseToken, Report)>,
    pub(crate) asleep_until: Duration,
    last_beat: Duration,
}

impl Worker {
    pub(crate) fn new(name: &str, types: Vec<JobType>, labels: Map<String, Value>) -> Self {
        Self {
            id: WorkerId::new(name).unwrap(),
            types,
            names_types: true,
            labels,
            instance: format!("{name} 0"),
            previous: None,
            starts: 0,
            registered: false,
            held: Vec::new(),
            old: Vec::new(),
            claims: 0,
            unanswered: None,
            last_claim: None,
            last_report: None,
            asleep_until: Duration::ZERO,
            last_beat: Duration::ZERO,
        }
    }

    fn lose(&mut self, token: &LeaseToken) {
        if let Some(at) = self.held.iter().position(|held| held.token == *token) {
            let lost = self.held.remove(at);
            self.remember(lost);
        }
    }

    fn remember(&mut self, lost: Held) {
        self.old.push(lost);
        if self.old.len() > 6 {
            self.old.remove(0);
        }
    }

    /// It repeats no claim that it made before.
    pub(crate) fn forget_claims(&mut self) {
        (self.unanswered, self.last_claim) = (None, None);
    }

    /// A new process takes its place, which knows nothing of what the last one held.
    pub(crate) fn restart(&mut self, remembers: bool) {
        self.starts += 1;
        let last = std::mem::replace(&mut self.instance, format!("{} {}", self.id, self.starts));
        self.previous = remembers.then_some(last);
        self.registered = false;
        self.forget_claims();
        for held in std::mem::take(&mut self.held) {
            self.remember(held);
        }
    }
}

impl World {
    /// One thing that a worker does.
    pub(crate) fn worker_acts(&mut self, at: usize) {
        if self.is_asleep(at) {
            return;
        }
        if !self.workers[at].registered {
            return self.register(at);
        }
        let has_work = !self.workers[at].held.is_empty();
        match self.rng.random_range(0..100) {
            0..24 => self.claim(at, Duration::ZERO),
            24..42 => {
                let wait = Duration::from_secs(self.rng.random_range(1..120));
                self.claim(at, wait);
            }
            42..75 if has_work => self.finish_something(at),
            75..80 => self.beat(at),
            80..85 if has_work => self.save_checkpoint(at),
            85..89 => self.report_again(at),
            89..92 => self.report_as_a_ghost(at),
            92..95 => {
                let span = Duration::from_secs(self.rng.random_range(30..400));
                self.workers[at].asleep_until = self.uptime() + span;
                self.trace(format!("{} sleeps for {span:?}", self.workers[at].id));
            }
            95..97 => self.crash(at),
            97 => self.unregister(at),
            _ => {
                // Somebody plugs a card in, or pulls it out.
                self.change_labels(at);
                self.register(at);
            }
        }
    }

    /// What the first worker can do never changes.
    fn change_labels(&mut self, at: usize) {
        if at > 0 {
            self.workers[at].labels = labels::some(&mut self.rng);
        }
    }

    pub(crate) fn is_asleep(&self, at: usize) -> bool {
        self.workers[at].asleep_until > self.uptime()
    }

    fn by(&self, at: usize) -> By {
        By::Worker(at, self.workers[at].instance.clone())
    }

    pub(crate) fn register(&mut self, at: usize) {
        let (queue, worker) = (self.queue.clone(), &self.workers[at]);
        let registration = Registration {
            id: worker.id.clone(),
            types: if worker.names_types { worker.types.clone() } else { Vec::new() },
            name: None,
            instance: worker.instance.clone(),
            previous_instance: worker.previous.clone(),
            labels: worker.labels.clone(),
            host: None,
            metadata: Default::default(),
        };
        let asked = Asked::Register { worker: worker.id.clone(), instance: worker.instance.clone() };
        self.call(self.by(at), asked, async move { Answer::Done(queue.register(registration).await) });
    }

    pub(crate) fn claim(&mut self, at: usize, wait: Duration) {
        let by = self.by(at);
        let claiming =
            self.calls.iter().any(|call| call.by == by && matches!(call.asked, Asked::Claim { .. }));
        let free = MAX_HELD.saturating_sub(self.workers[at].held.len());
        if claiming || free == 0 {
            return;
        }
        let limit = self.rng.random_range(1..=free);
        let (queue, worker) = (self.queue.clone(), &self.workers[at]);
        let (id, types) = (worker.id.clone(), worker.types.clone());
        let claim_id = self.claim_id(at);
        let asked = Asked::Claim { worker: id.clone(), types: types.clone(), claim_id: claim_id.clone() };
        let wish = Wish { worker: id, types, limit, wait, claim_id };
        let claim = async move { Answer::Claimed(queue.claim_wish(wish).await) };
        self.call(by, asked, claim);
        let until = self.uptime() + wait;
        self.calls.last_mut().unwrap().until = Some(until);
    }

    /// What a worker calls its next claim: as it called one that was not answered, if there is one.
    fn claim_id(&mut self, at: usize) -> Option<String> {
        let worker = &mut self.workers[at];
        let name = match self.rng.random_range(0..20) {
            0..14 if worker.unanswered.is_some() => worker.unanswered.clone(),
            0..2 => worker.last_claim.clone(),
            2..10 => {
                worker.claims += 1;
                Some(format!("{} claim {}", worker.instance, worker.claims))
            }
            _ => None,
        };
        worker.unanswered.clone_from(&name);
        if name.is_some() {
            worker.last_claim.clone_from(&name);
        }
        name
    }

    pub(crate) fn beat(&mut self, at: usize) {
        let progress = self.rng.random_bool(0.5).then(|| Progress {
            done: self.rng.random_range(0..9),
            total: Some(9),
            stage: None,
            message: None,
        });
        self.workers[at].last_beat = self.uptime();
        let (queue, worker) = (self.queue.clone(), &self.workers[at]);
        let held = |held: &Held| HeldLease {
            job: held.job,
            token: held.token,
            progress: progress.clone(),
            log_tail: None,
            ahead: None,
        };
        let leases: Vec<_> = worker.held.iter().map(held).collect();
        let beat = Beat { worker: worker.id.clone(), leases: leases.clone(), condition: None };
        let asked = Asked::Beat { leases };
        self.call(self.by(at), asked, async move { Answer::Beat(queue.heartbeat(beat).await) });
    }

    /// What a worker does without being told: it says that it lives, if it holds something.
    pub(crate) fn beat_if_due(&mut self, at: usize) {
        let worker = &self.workers[at];
        let due = worker.registered
            && !worker.held.is_empty()
            && self.uptime() >= worker.last_beat + BEAT_EVERY
            && !self.is_asleep(at);
        if due {
            self.beat(at);
        }
    }

    fn finish_something(&mut self, at: usize) {
        let chosen = self.rng.random_range(0..self.workers[at].held.len());
        let held = self.workers[at].held[chosen].clone();
        let report = match self.rng.random_range(0..20) {
            _ if held.called_off => Report::Release,
            0..9 => return self.complete(at, &held, true),
            9..14 => {
                let retryable = self.rng.random_bool(0.8);
                self.failure(retryable)
            }
            14..16 => self.killed(),
            16..18 => Report::Release,
            _ => Report::Snooze(self.now() + Duration::from_secs(self.rng.random_range(0..600))),
        };
        self.report(at, held.job, held.token, report);
    }

    fn failure(&mut self, retryable: bool) -> Report {
        let failure = Failure::new("handler_error", "the page is torn");
        let jitter = blobforge_core::Jitter::from_bits(self.rng.random());
        Report::Fail { failure, retryable, policy: self.queue.settings().retry, jitter }
    }

    fn killed(&mut self) -> Report {
        let failure = Failure::new("host_oom", "the machine is full");
        let jitter = blobforge_core::Jitter::from_bits(self.rng.random());
        Report::Crash { failure, policy: self.queue.settings().retry, jitter }
    }

    /// Says that the work is done; with a file, or with one that was never announced.
    pub(crate) fn complete(&mut self, at: usize, held: &Held, announced: bool) {
        let (queue, job, token) = (self.queue.clone(), held.job, held.token);
        let with_file = self.rng.random_bool(0.3);
        let result = Some(serde_json::json!({ "by": self.workers[at].id }));
        let plain = Report::Complete { outputs: Vec::new(), result: result.clone() };
        self.workers[at].last_report = Some((job, token, plain));
        let asked = Asked::Report { job, token, kind: FinishKind::Complete };
        self.call(self.by(at), asked, async move {
            let mut outputs = Vec::new();
            if with_file {
                let key = match queue.reserve_output(job, token, "text.md").await {
                    Ok(key) if announced => key,
                    Ok(_) => "outputs/unheard-of".to_owned(),
                    Err(error) => return Answer::Finished(Err(error)),
                };
                outputs.push(Output { name: "text.md".to_owned(), size: 3, sha256: None, key });
            }
            Answer::Finished(queue.report(job, token, Report::Complete { outputs, result }).await)
        });
    }

    pub(crate) fn report(&mut self, at: usize, job: JobId, token: LeaseToken, report: Report) {
        let asked = Asked::Report { job, token, kind: report.kind() };
        self.workers[at].last_report = Some((job, token, report.clone()));
        if report == Report::Release {
            self.record.released.insert((job, token.epoch));
        }
        let queue = self.queue.clone();
        self.call(
            self.by(at),
            asked,
            async move { Answer::Finished(queue.report(job, token, report).await) },
        );
    }

    fn save_checkpoint(&mut self, at: usize) {
        let chosen = self.rng.random_range(0..self.workers[at].held.len());
        let (job, token) = (self.workers[at].held[chosen].job, self.workers[at].held[chosen].token);
        let sha256 = Sha256::from_bytes([self.rng.random_range(0..3); 32]);
        let queue = self.queue.clone();
        self.call(self.by(at), Asked::Checkpoint { job, token }, async move {
            let key = match queue.reserve_checkpoint(job, token, "state").await {
                Ok(key) => key,
                Err(error) => return Answer::Job(Err(error)),
            };
            let checkpoint = Checkpoint { name: "state".to_owned(), size: 1, sha256, key };
            Answer::Done(queue.run(Command::Checkpoint { job, token, checkpoint }).await.map(drop))
        });
    }

    /// The reply was lost, or so it seems: the same report again, or in the confusion another one.
    fn report_again(&mut self, at: usize) {
        let Some((job, token, report)) = self.workers[at].last_report.clone() else { return };
        let again = match self.rng.random_range(0..6) {
            0 => Report::Release,
            1 => self.failure(true),
            2 => Report::Complete { outputs: Vec::new(), result: None },
            _ => report,
        };
        self.report(at, job, token, again);
    }

    fn report_as_a_ghost(&mut self, at: usize) {
        if self.workers[at].old.is_empty() {
            return;
        }
        let chosen = self.rng.random_range(0..self.workers[at].old.len());
        let mut ghost = self.workers[at].old[chosen].clone();
        if self.rng.random_bool(0.1) {
            // A guess at what its successor holds.
            ghost.token.epoch = ghost.token.epoch.next();
        }
        match self.rng.random_range(0..6) {
            0..2 => self.complete(at, &ghost, true),
            2 => self.report(at, ghost.job, ghost.token, Report::Release),
            3 => {
                let report = self.failure(true);
                self.report(at, ghost.job, ghost.token, report);
            }
            4 => self.complete(at, &ghost, false),
            _ => {
                // It believes in it again, and its heartbeats say so.
                self.workers[at].held.push(ghost);
            }
        }
    }

    fn crash(&mut self, at: usize) {
        let (by, remembers) = (self.by(at), self.rng.random_bool(0.7));
        self.trace(format!("{} crashes", self.workers[at].id));
        if self.rng.random_bool(0.7) {
            self.calls.retain(|call| call.by != by);
        }
        self.workers[at].restart(remembers);
        if self.rng.random_bool(0.3) {
            self.change_labels(at);
        }
    }

    fn unregister(&mut self, at: usize) {
        let (queue, id) = (self.queue.clone(), self.workers[at].id.clone());
        let instance = self.workers[at].instance.clone();
        let asked = Asked::Unregister { worker: id.clone() };
        self.call(
            self.by(at),
            asked,
            async move { Answer::Done(queue.unregister(id, Some(instance)).await) },
        );
    }

    /// What a worker makes of an answer.
    pub(crate) fn worker_hears(&mut self, at: usize, asked: Asked, answer: Answer) {
        let worker = &mut self.workers[at];
        if let Some(QueueError::Refused(Refusal::WorkerNotRegistered(_))) = answer.error() {
            worker.registered = false;
        }
        match (asked, answer) {
            (Asked::Register { .. }, Answer::Done(result)) => worker.registered = result.is_ok(),
            (Asked::Unregister { .. }, Answer::Done(Ok(()))) => {
                worker.registered = false;
                for held in std::mem::take(&mut worker.held) {
                    worker.remember(held);
                }
            }
            (Asked::Claim { .. }, Answer::Claimed(Ok(claimed))) => {
                worker.unanswered = None;
                let news = |c: &&Claimed| worker.held.iter().all(|held| held.token != c.token);
                let held = |c: &Claimed| Held { job: c.job.id, token: c.token, called_off: false };
                let news: Vec<Held> = claimed.iter().filter(news).map(held).collect();
                worker.held.extend(news);
            }
            (Asked::Beat { leases }, Answer::Beat(Ok(BeatReply { leases: states, .. }))) => {
                for (lease, (_, state)) in leases.iter().zip(states) {
                    match state {
                        LeaseState::Held | LeaseState::Awaited => {}
                        LeaseState::Lost => worker.lose(&lease.token),
                        LeaseState::Cancel => {
                            let mut held = worker.held.iter_mut();
                            if let Some(held) = held.find(|held| held.token == lease.token) {
                                held.called_off = true;
                            }
                        }
                    }
                }
            }
            (Asked::Report { token, .. }, Answer::Finished(Ok(Finished { .. }))) => worker.lose(&token),
            (Asked::Report { token, .. } | Asked::Checkpoint { token, .. }, answer)
                // An unknown file is the worker's own fault, and it still holds the job.
                if answer.error().is_some_and(|error| {
                    !error.is_retryable() && !matches!(error, QueueError::Refused(Refusal::UnknownFile(_)))
                }) =>
            {
                worker.lose(&token);
            }
            _ => {}
        }
    }
}
