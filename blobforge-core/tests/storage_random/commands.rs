//! Draws commands that have a chance of meaning something: about jobs that exist, under leases that were given.

use std::time::Duration;

use blobforge_core::{
    Checkpoint, Condition, Ends, Epoch, Failure, Generation, Jitter, JobId, JobType, KeyLimits, LeaseSecret,
    LeaseToken, LimitBy, Limits, Message, NewJob, NewSource, Output, Priority, Progress, Rate, Registration,
    Retention, RetryPolicy, Sha256, Subscriber, Timestamp, TypeChange, TypeSettings, WorkerId,
    storage::{
        Beat, Claim, Command, Committed, Done, HeldLease, Maintain, MarkGarbage, RecordChange, Report,
        Settled, Submit, Submitted,
    },
};
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

const TYPES: [&str; 3] = ["pdf", "b", "a.text_2-x"];
const WORKERS: [&str; 5] = ["w1", "w2", "w3", "w4", "nobody"];
const SUBMITTERS: [Option<&str>; 3] = [None, Some("ann"), Some("bob")];

/// What a sequence has seen so far.
pub(crate) struct World {
    pub(crate) last_id: i64,
    pub(crate) keys: Vec<String>,
    /// Keys of files that are being deleted, or were.
    marked: Vec<String>,
    /// Where the sources of which jobs were to be sent.
    uploads: Vec<(JobId, String)>,
    leases: Vec<(JobId, LeaseToken)>,
    messages: Vec<Message>,
    secrets: u64,
    began: Timestamp,
    fresh: bool,
}

impl World {
    pub(crate) fn new(began: Timestamp) -> Self {
        Self {
            last_id: 0,
            keys: Vec::new(),
            marked: Vec::new(),
            uploads: Vec::new(),
            leases: Vec::new(),
            messages: Vec::new(),
            secrets: 0,
            began,
            fresh: true,
        }
    }

    /// Remembers the jobs and leases that a batch brought.
    pub(crate) fn learn(&mut self, committed: &Committed) {
        for outcome in &committed.outcomes {
            match outcome {
                Ok(Done::Submitted(Submitted { id, upload_key, .. })) => {
                    self.last_id = self.last_id.max(id.get());
                    self.uploads.extend(upload_key.clone().map(|key| (*id, key)));
                }
                Ok(Done::Claimed(claimed)) => {
                    self.leases.extend(claimed.iter().map(|c| (c.job.id, c.token)));
                }
                Ok(Done::Messages(messages)) => self.messages.extend(messages.iter().cloned()),
                Ok(Done::Garbage(garbage)) => self.marked.extend(garbage.keys.iter().cloned()),
                _ => {}
            }
        }
    }

    pub(crate) fn batch(&mut self, rng: &mut StdRng, now: Timestamp) -> Vec<Command> {
        if std::mem::take(&mut self.fresh) {
            return WORKERS[..4].iter().map(|id| register(id, "first", None)).collect();
        }
        let size = if rng.random_bool(0.1) { rng.random_range(10..25) } else { rng.random_range(1..6) };
        (0..size).map(|_| self.command(rng, now)).collect()
    }

    /// Who is told of ends, and what becomes of what is to be told.
    fn outbox(&mut self, rng: &mut StdRng, now: Timestamp) -> Command {
        let name = ["bell", "Ärger", "board"].choose(rng).unwrap().to_string();
        let known = self.messages.choose(rng).cloned();
        match (rng.random_range(0..8), known) {
            (0..2, _) => {
                let job_type = rng.random_bool(0.5).then(|| job_type(rng));
                Command::Subscribe(Subscriber { name, job_type, ends: ends(rng) })
            }
            (2, _) => Command::Unsubscribe(name),
            (3, Some(message)) => Command::SendAgain(Box::new(message)),
            (4..6, Some(message)) => {
                let at = now + Duration::from_secs(rng.random_range(0..60));
                let settled =
                    *[Settled::Told, Settled::Again(at), Settled::NotTried(at)].choose(rng).unwrap();
                Command::SettleMessage { number: message.number, tries: message.tries, settled }
            }
            (6, _) if rng.random_bool(0.1) => Command::TimeMoved,
            _ => {
                let hold = Duration::from_secs(rng.random_range(0..60));
                Command::TakeMessages { limit: *[1, 3, 100].choose(rng).unwrap(), hold }
            }
        }
    }

    fn command(&mut self, rng: &mut StdRng, now: Timestamp) -> Command {
        match rng.random_range(0..150) {
            0..30 => self.submit(rng, now),
            30..58 => self.claim(rng),
            58..68 => self.beat(rng),
            68..86 => self.report(rng, now),
            86..90 => self.checkpoint(rng),
            90..95 => self.reserve(rng),
            95..101 => self.source_ready(rng),
            101..103 => {
                let failure = Failure::new("source_corrupt", "Ärger with the source");
                Command::RejectSource { job: self.job(rng), failure }
            }
            103..105 => {
                let (job, token) = self.lease(rng);
                let size = rng.random_bool(0.5).then(|| size(rng));
                Command::SourceVerified { job, token, size, sha256: hash(rng) }
            }
            105..108 => Command::Cancel(self.job(rng)),
            108..112 => Command::Retry(self.job(rng)),
            112..115 => Command::Reprioritise(self.job(rng), priority(rng)),
            115..118 => self.register(rng),
            118 => {
                let instance = rng.random_bool(0.5).then(|| instance(rng));
                Command::Unregister { worker: worker(rng), instance }
            }
            119 => Command::SetDraining(worker(rng), rng.random_bool(0.3)),
            120 if rng.random_bool(0.5) => Command::RemoveWorker(worker(rng)),
            121 => self.record(rng),
            122..124 => set_type(rng),
            124 => change_type(rng),
            125..127 => Command::SetPaused(job_type(rng), rng.random_bool(0.4)),
            127..131 => Command::Delete(self.job(rng)),
            131..134 => Command::MarkGarbage(MarkGarbage {
                dead_for: Duration::from_secs(rng.random_range(0..100)),
                dry_run: rng.random_bool(0.2),
                after: None,
                limit: *[1, 3, 100].choose(rng).unwrap(),
            }),
            134 => {
                let marked = self.marked.pop();
                Command::ForgetFiles((0..3).map(|_| self.key(rng)).chain(marked).collect())
            }
            135..142 => self.outbox(rng, now),
            _ => Command::Maintain(Maintain {
                asked_at: now - Duration::from_secs(rng.random_range(0..5)),
                available_since: self.began + Duration::from_secs(rng.random_range(0..200)),
                upload_limit: Duration::from_secs(rng.random_range(30..300)),
                limit: *[1, 2, 100].choose(rng).unwrap(),
            }),
        }
    }

    fn submit(&mut self, rng: &mut StdRng, now: Timestamp) -> Command {
        let mut job = NewJob::new(*TYPES.choose(rng).unwrap()).unwrap().priority(priority(rng));
        if rng.random_bool(0.5) {
            job = job.max_attempts(rng.random_range(1..4));
        }
        if rng.random_bool(0.2) {
            job = job.run_at(around(rng, now));
        }
        let params = [
            json!({}),
            json!({"a": 1, "b": [2.5, null]}),
            json!({"b": [2.5, null], "a": 1}),
            json!({"a": 2}),
        ];
        if let Some(Value::Object(params)) = params.choose(rng) {
            job.body.params.clone_from(params);
        }
        for tag in ["tag", "ta\"g", "täg"] {
            if rng.random_bool(0.2) {
                job = job.tag(tag);
            }
        }
        for asked in ["gpu", "vram_gb >= 20", "engine != marker"] {
            if rng.random_bool(0.1) {
                job = job.requires(asked.parse().unwrap());
            }
        }
        if rng.random_bool(0.1) {
            job = job.notify(["ann", "bob"].choose(rng).unwrap().to_string(), ends(rng));
        }
        if rng.random_bool(0.2) {
            job.body.source_path = Some(["/books/ärger.pdf", "rules.pdf"].choose(rng).unwrap().to_string());
            job.body.metadata.insert("shelf".to_owned(), json!({"row": rng.random_range(0..9)}));
        }
        job.body.submitter = SUBMITTERS.choose(rng).unwrap().map(str::to_owned);
        if rng.random_bool(0.2) {
            job = job.idempotency_key(format!("key {}", rng.random_range(0..3)));
        }
        let source = match rng.random_range(0..10) {
            0..5 => NewSource::None,
            5..9 => NewSource::Upload {
                sha256: rng.random_bool(0.8).then(|| hash(rng)),
                size: rng.random_bool(0.5).then(|| size(rng)),
            },
            _ => NewSource::Stored { key: self.key(rng), sha256: hash(rng), size: size(rng) },
        };
        let job = job.source(source).dedup(rng.random_bool(0.8)).retry_failed(rng.random_bool(0.3));
        let upload_key = format!("sources/{}", self.secrets);
        self.secrets += 1;
        self.keys.push(upload_key.clone());
        Command::Submit(Box::new(Submit { job, upload_key, default_max_attempts: 3 }))
    }

    fn claim(&mut self, rng: &mut StdRng) -> Command {
        let mut types: Vec<_> = TYPES.iter().copied().filter(|_| rng.random_bool(0.6)).collect();
        if rng.random_bool(0.2) {
            types.push("unheard-of");
        }
        let secrets = (0..rng.random_range(1..4)).map(|_| self.secret()).collect();
        Command::Claim(Claim {
            worker: worker(rng),
            types: types.into_iter().map(|name| JobType::new(name).unwrap()).collect(),
            secrets,
            lease: Duration::from_secs(rng.random_range(5..60)),
            claim_id: rng.random_bool(0.3).then(|| ["one", "two"].choose(rng).unwrap().to_string()),
        })
    }

    fn beat(&mut self, rng: &mut StdRng) -> Command {
        let held = |world: &mut Self, rng: &mut StdRng| {
            let (job, token) = world.lease(rng);
            let log_tail = rng.random_bool(0.3).then(|| format!("line {}", rng.random_range(0..9)));
            HeldLease {
                job,
                token,
                progress: rng.random_bool(0.5).then(|| progress(rng)),
                log_tail,
                ahead: None,
            }
        };
        let leases = (0..rng.random_range(0..4)).map(|_| held(self, rng)).collect();
        let condition = rng.random_bool(0.5).then(|| Condition {
            suspended_until: rng.random_bool(0.5).then(|| Timestamp::from_millis(rng.random_range(0..9))),
            ..Condition::default()
        });
        Command::Heartbeat(Beat { worker: worker(rng), leases, condition })
    }

    fn report(&mut self, rng: &mut StdRng, now: Timestamp) -> Command {
        let (job, token) = self.lease(rng);
        let report = match rng.random_range(0..10) {
            0..4 => Report::Complete {
                outputs: (0..rng.random_range(0..3)).map(|_| self.output(rng)).collect(),
                result: rng.random_bool(0.5).then(|| json!({"pages": rng.random_range(1..400)})),
            },
            4..7 => Report::Fail {
                failure: Failure {
                    details: rng.random_bool(0.3).then(|| json!({"page": 7})),
                    log_tail: rng.random_bool(0.3).then(|| "the end of it".to_owned()),
                    ..Failure::new(
                        *["encrypted", "io"].choose(rng).unwrap(),
                        format!("there is an ÄRGER on page {}", rng.random_range(1..400)),
                    )
                },
                retryable: rng.random_bool(0.7),
                policy: RetryPolicy { first: Duration::from_secs(2), longest: Duration::from_secs(30) },
                jitter: Jitter::from_bits(rng.random()),
            },
            7..9 => Report::Release,
            _ => Report::Snooze(around(rng, now)),
        };
        Command::Report { job, token, report: Box::new(report) }
    }

    fn output(&mut self, rng: &mut StdRng) -> Output {
        let name = ["text.md", "images/p1.png"].choose(rng).unwrap().to_string();
        Output { name, size: size(rng), sha256: rng.random_bool(0.5).then(|| hash(rng)), key: self.key(rng) }
    }

    fn checkpoint(&mut self, rng: &mut StdRng) -> Command {
        let (job, token) = self.lease(rng);
        let name = ["state", "pages/1"].choose(rng).unwrap().to_string();
        let checkpoint = Checkpoint { name, size: size(rng), sha256: hash(rng), key: self.key(rng) };
        Command::Checkpoint { job, token, checkpoint }
    }

    fn reserve(&mut self, rng: &mut StdRng) -> Command {
        let key = format!("files/{}", rng.random_range(0..20));
        self.keys.push(key.clone());
        let owner = rng.random_bool(0.5).then(|| self.lease(rng));
        Command::ReserveFile { key, owner }
    }

    fn source_ready(&mut self, rng: &mut StdRng) -> Command {
        let sha256 = rng.random_bool(0.6).then(|| hash(rng));
        let sent = self.uploads.choose(rng).filter(|_| rng.random_bool(0.8)).cloned();
        let (job, key) = sent.unwrap_or_else(|| (self.job(rng), self.key(rng)));
        let key = if rng.random_bool(0.2) { self.key(rng) } else { key };
        Command::SourceReady { job, key, size: size(rng), sha256 }
    }

    fn register(&mut self, rng: &mut StdRng) -> Command {
        let id = WORKERS[..4].choose(rng).unwrap();
        let previous = rng.random_bool(0.5).then(|| instance(rng));
        register(id, &instance(rng), previous)
    }

    fn record(&mut self, rng: &mut StdRng) -> Command {
        let collection = ["notes", "rules"].choose(rng).unwrap().to_string();
        let key = ["z", "ä", "A", "b"].choose(rng).unwrap().to_string();
        if rng.random_bool(0.3) {
            return Command::DeleteRecord { collection, key };
        }
        let put = Command::PutRecord { collection, key, value: json!([rng.random_range(0..9), "text"]) };
        if rng.random_bool(0.5) {
            return put;
        }
        let command = if rng.random_bool(0.5) { put } else { Command::Cancel(self.job(rng)) };
        let append =
            RecordChange::Append { log: "book".to_owned(), entry: json!(rng.random_range(0..9)), keep: 5 };
        Command::Recorded { command: Some(Box::new(command)), records: vec![append] }
    }

    /// A job that exists, often a late one; sometimes one that does not.
    fn job(&self, rng: &mut StdRng) -> JobId {
        let last = self.last_id + 1;
        let first = if rng.random_bool(0.7) { (last - 12).max(0) } else { 0 };
        JobId::new(rng.random_range(first..=last))
    }

    /// A lease that was given once, often a late one; sometimes one that never was.
    fn lease(&mut self, rng: &mut StdRng) -> (JobId, LeaseToken) {
        let first = if rng.random_bool(0.8) { self.leases.len().saturating_sub(8) } else { 0 };
        let Some((job, token)) = self.leases[first..].choose(rng).copied() else {
            return (self.job(rng), LeaseToken::new(Generation::new(1), Epoch::new(1), self.secret()));
        };
        match rng.random_range(0..40) {
            0 => (job, LeaseToken { secret: self.secret(), ..token }),
            1 => (job, LeaseToken { epoch: token.epoch.next(), ..token }),
            2 => (job, LeaseToken { generation: Generation::new(2), ..token }),
            3 => (self.job(rng), token),
            _ => (job, token),
        }
    }

    fn key(&self, rng: &mut StdRng) -> String {
        let unknown = || "files/unknown".to_owned();
        if rng.random_bool(0.1) { unknown() } else { self.keys.choose(rng).cloned().unwrap_or_else(unknown) }
    }

    fn secret(&mut self) -> LeaseSecret {
        self.secrets += 1;
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.secrets.to_le_bytes());
        LeaseSecret::from_bytes(bytes)
    }
}

fn register(id: &str, instance: &str, previous_instance: Option<String>) -> Command {
    let registration = Registration {
        id: WorkerId::new(id).unwrap(),
        types: vec![JobType::new("pdf").unwrap()],
        name: Some(format!("the machine {id}")),
        instance: instance.to_owned(),
        previous_instance,
        labels: labels(id).as_object().cloned().unwrap(),
        host: (id != "w1").then(|| format!("host of {id}")),
        metadata: serde_json::Map::new(),
    };
    Command::Register { registration: Box::new(registration), alive_for: Duration::from_secs(60) }
}

fn labels(worker: &str) -> Value {
    match worker {
        "w1" => json!({"gpu": "T4", "vram_gb": 16, "engine": "docling"}),
        "w2" => json!({"gpu": "A5000", "vram_gb": 24, "engine": ["marker", "docling"]}),
        _ => json!({}),
    }
}

fn job_type(rng: &mut StdRng) -> JobType {
    JobType::new(*TYPES.choose(rng).unwrap()).unwrap()
}

fn limits(rng: &mut StdRng) -> Limits {
    let rate =
        Rate { starts: rng.random_range(1..4), per: Duration::from_secs(20), burst: rng.random_range(1..3) };
    Limits {
        running: rng.random_bool(0.5).then(|| rng.random_range(1..4)),
        starts: rng.random_bool(0.3).then_some(rate),
    }
}

fn set_type(rng: &mut StdRng) -> Command {
    let by = [LimitBy::Submitter, LimitBy::Param("a".to_owned()), LimitBy::Tag("ta".to_owned())];
    let by = by.choose(rng).unwrap().clone();
    let mut kept = || rng.random_bool(0.3).then(|| Duration::from_secs(rng.random_range(0..200)));
    let retention = Retention { completed: kept(), failed: kept(), cancelled: kept() };
    let settings = TypeSettings {
        retention,
        max_attempts: rng.random_bool(0.3).then_some(2),
        retry: rng.random_bool(0.3).then_some(RetryPolicy { first: Duration::ZERO, longest: Duration::ZERO }),
        lease: rng.random_bool(0.3).then_some(Duration::from_secs(9)),
        no_progress: rng.random_bool(0.3).then_some(Duration::from_secs(99)),
        limits: limits(rng),
        per_key: rng.random_bool(0.6).then(|| KeyLimits { by, limits: limits(rng) }),
        oldest_share: rng.random_bool(0.5).then(|| rng.random_range(0..4)),
    };
    Command::SetType { job_type: job_type(rng), settings: Box::new(settings) }
}

fn change_type(rng: &mut StdRng) -> Command {
    let kept = rng.random_bool(0.5).then(|| Duration::from_secs(rng.random_range(0..200)));
    let change = match rng.random_range(0..5) {
        0 => TypeChange::Paused(rng.random_bool(0.4)),
        1 => TypeChange::Running(limits(rng).running),
        2 => TypeChange::Starts(limits(rng).starts),
        3 => TypeChange::KeepCancelled(kept),
        _ => TypeChange::PerKey(None),
    };
    Command::ChangeType { job_type: job_type(rng), changes: vec![change] }
}

fn instance(rng: &mut StdRng) -> String {
    ["first", "second", "third"].choose(rng).unwrap().to_string()
}

fn worker(rng: &mut StdRng) -> WorkerId {
    let index = if rng.random_bool(0.02) { 4 } else { rng.random_range(0..4) };
    WorkerId::new(WORKERS[index]).unwrap()
}

fn priority(rng: &mut StdRng) -> Priority {
    *Priority::ALL.choose(rng).unwrap()
}

fn hash(rng: &mut StdRng) -> Sha256 {
    Sha256::from_bytes([rng.random_range(0..4); 32])
}

fn size(rng: &mut StdRng) -> u64 {
    *[0, 7, 7, 7, u64::MAX].choose(rng).unwrap()
}

fn progress(rng: &mut StdRng) -> Progress {
    let stage = rng.random_bool(0.5).then(|| "reading".to_owned());
    Progress {
        done: rng.random_range(0..100),
        total: rng.random_bool(0.5).then_some(100),
        stage,
        message: None,
    }
}

fn around(rng: &mut StdRng, now: Timestamp) -> Timestamp {
    let span = Duration::from_secs(rng.random_range(0..60));
    if rng.random_bool(0.3) { now - span } else { now + span }
}

fn ends(rng: &mut StdRng) -> Ends {
    let mut is = || rng.random_bool(0.7);
    Ends { completed: is(), failed: is(), cancelled: is() }
}
