//! The world of one seed: a clock, a store that fails, a queue, and everybody who uses it.

use std::{collections::BTreeSet, future::Future, pin::Pin, sync::Arc, time::Duration};

use blobforge_core::{
    Clock, JobType, ManualClock, Queue, Timestamp,
    blob::ObjectBlobs,
    queue::{Feed, MIN_KEPT},
    storage::Event,
    testing::{Faults, FaultyBlobs, FaultyStorage, SeededEntropy},
};
use futures_util::FutureExt;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    TYPES,
    call::{Answer, Asked, By, Call},
    checks::GRACE,
    labels,
    ledger::{Change, Ledger},
    rules::Record,
    submitter::Submitter,
    worker::Worker,
};

/// For how long a lease is good here.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// How many things happen before the faults stop.
const STEPS: usize = 64;
/// Time passes in pieces of at most this, so that who is well can say so.
const TICK: Duration = Duration::from_secs(10);

pub(crate) struct World {
    pub(crate) rng: StdRng,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) blobs: Arc<FaultyBlobs>,
    /// What goes wrong with writes.
    pub(crate) faults: Faults,
    /// What goes wrong with reads, of which the queue's leases know nothing.
    pub(crate) reads: Faults,
    pub(crate) queue: Queue,
    pub(crate) feed: Feed,
    pub(crate) heard: usize,
    seed: u64,
    pub(crate) starts: u64,
    pub(crate) workers: Vec<Worker>,
    pub(crate) submitters: Vec<Submitter>,
    pub(crate) submissions: u64,
    /// How often one was sent.
    pub(crate) sent: u64,
    /// The tags of those that were sent again.
    pub(crate) repeated: BTreeSet<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) answered: u64,
    pub(crate) changes: Vec<Change>,
    /// What listeners should have heard.
    pub(crate) events: Vec<Event>,
    /// Which changes were told to a caller.
    pub(crate) told: Vec<bool>,
    pub(crate) record: Record,
    pub(crate) watch: crate::checks::Watch,
    pub(crate) jumps_back: u32,
    pub(crate) story: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
        let ledger = Arc::new(Ledger::new(clock.clone()));
        let blobs = Arc::new(FaultyBlobs::new(Arc::new(ObjectBlobs::in_memory()), clock.clone()));
        let (queue, [faults, reads]) = open(seed, 0, &clock, &ledger, &blobs);
        let feed = queue.events();
        let workers = (0..rng.random_range(2..=6)).map(|at| worker(&mut rng, at)).collect();
        let submitters =
            (0..*[1, 2, 2, 3, 3].choose(&mut rng).unwrap()).map(|_| Submitter::default()).collect();
        Self {
            rng,
            clock,
            ledger,
            blobs,
            faults,
            reads,
            queue,
            feed,
            heard: 0,
            seed,
            starts: 0,
            workers,
            submitters,
            submissions: 0,
            sent: 0,
            repeated: BTreeSet::new(),
            calls: Vec::new(),
            answered: 0,
            changes: Vec::new(),
            events: Vec::new(),
            told: Vec::new(),
            record: Record::default(),
            watch: crate::checks::Watch::default(),
            jumps_back: 0,
            story: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.clock.uptime()
    }

    pub(crate) fn trace(&mut self, line: String) {
        self.story.push(format!("{:>10.3} {line}", self.uptime().as_secs_f64()));
    }

    /// All that happens while things may go wrong.
    pub(crate) async fn live(&mut self) {
        for at in 0..self.workers.len() {
            self.register(at);
        }
        for job_type in TYPES {
            if self.rng.random_bool(0.5) {
                self.set_type(JobType::new(job_type).unwrap());
            }
        }
        if self.rng.random_bool(0.2) {
            // Some find a crowd.
            for at in 0..self.submitters.len() {
                for _ in 0..self.rng.random_range(2..6) {
                    self.submitter_acts(at);
                }
            }
        }
        for _ in 0..STEPS {
            match self.rng.random_range(0..100) {
                0..43 => {
                    let at = self.rng.random_range(0..self.workers.len());
                    self.worker_acts(at);
                }
                43..63 => {
                    let at = self.rng.random_range(0..self.submitters.len());
                    self.submitter_acts(at);
                }
                63..70 => self.operator_acts(),
                70 if self.rng.random_bool(0.4) => {
                    let span = Duration::from_secs(self.rng.random_range(1..9 * 24) * 3600);
                    self.leap(span).await;
                }
                70..85 => {
                    let millis = match self.rng.random_range(0..10) {
                        0..4 => self.rng.random_range(1..2_000),
                        4..8 => self.rng.random_range(2_000..30_000),
                        _ => self.rng.random_range(30_000..150_000),
                    };
                    self.pass(Duration::from_millis(millis)).await;
                }
                _ => self.trouble().await,
            }
            // Now and then several things happen before the queue gets to any of them.
            if self.rng.random_bool(0.7) {
                self.settle().await;
            }
        }
        self.settle().await;
    }

    /// Sends a request on its way; the queue gets to it when it is next looked at.
    pub(crate) fn call(&mut self, by: By, asked: Asked, answer: impl Future<Output = Answer> + 'static) {
        self.trace(match &asked {
            Asked::Beat { leases } => {
                let jobs: Vec<i64> = leases.iter().map(|held| held.job.get()).collect();
                format!("{by:?} says that it lives, with jobs {jobs:?}")
            }
            asked => format!("{by:?} asks {asked:?}"),
        });
        let (begun, since) = (self.ledger.len(), self.uptime());
        let mut answer: Pin<Box<dyn Future<Output = Answer>>> = Box::pin(answer);
        let answered = (&mut answer).now_or_never();
        self.calls.push(Call { by, asked, begun, since, until: None, answer, answered });
    }

    /// Lets the queue work until it rests, and looks at everything that it did.
    pub(crate) async fn settle(&mut self) {
        let (mut quiet, mut rounds) = (0, 0);
        while quiet < 2 {
            let before = (self.ledger.len(), self.answered);
            self.hear();
            tokio::task::yield_now().await;
            quiet = if before == (self.ledger.len(), self.answered) { quiet + 1 } else { 0 };
            rounds += 1;
            assert!(rounds < 10_000, "the queue never rests");
        }
        self.read_ledger();
        self.check();
    }

    /// Polls every request once, and hands answers to who waits for them.
    fn hear(&mut self) {
        let mut at = 0;
        while at < self.calls.len() {
            let call = &mut self.calls[at];
            match call.answered.take().or_else(|| (&mut call.answer).now_or_never()) {
                None => at += 1,
                Some(answer) => {
                    let call = self.calls.remove(at);
                    self.answered += 1;
                    self.read_ledger();
                    self.trace(format!("{:?} is told {}", call.by, brief(&answer)));
                    self.check_answer(&call, &answer);
                    self.pass_on(call, answer);
                }
            }
        }
    }

    fn pass_on(&mut self, call: Call, answer: Answer) {
        match call.by {
            By::Worker(at, instance) if self.workers[at].instance == instance => {
                self.worker_hears(at, call.asked, answer);
            }
            By::Submitter(at) => self.submitter_hears(at, &answer),
            _ => {}
        }
    }

    /// Takes in what the store did, and holds it against the rules.
    fn read_ledger(&mut self) {
        self.notice_trouble();
        for change in self.ledger.since(self.changes.len()) {
            let outcome = match &change.outcome {
                Ok(_) => "done".to_owned(),
                Err(refusal) => refusal.to_string(),
            };
            let changed: Vec<String> =
                change.jobs().map(|(_, job)| format!("{} {}", job.id, job.status())).collect();
            self.trace(format!("    {}: {outcome}, {changed:?}", name(&change.command)));
            self.record.take(&change);
            self.events.extend(change.events.iter().cloned());
            self.changes.push(change);
            self.told.push(false);
        }
    }

    /// Lets time pass. Who is awake says so.
    pub(crate) async fn pass(&mut self, mut span: Duration) {
        self.trace(format!("{span:?} pass"));
        while !span.is_zero() {
            let tick = span.min(TICK);
            span -= tick;
            for at in 0..self.workers.len() {
                self.beat_if_due(at);
            }
            self.settle().await;
            self.clock.advance(tick);
        }
        self.settle().await;
    }

    /// Lets time pass at once, without a sign of life from anybody.
    pub(crate) async fn leap(&mut self, span: Duration) {
        self.trace(format!("{span:?} pass at once"));
        let troubled = self.uptime() < self.watch.trouble_at + GRACE;
        self.clock.advance(span);
        if troubled {
            // The queue learns only now that the clock was set before.
            self.watch.trouble_at = self.uptime();
        }
        self.settle().await;
    }

    /// Opens the queue on the same store again.
    pub(crate) fn reopen(&mut self) {
        self.starts += 1;
        let (queue, [faults, reads]) = open(self.seed, self.starts, &self.clock, &self.ledger, &self.blobs);
        self.feed = queue.events();
        self.heard = self.events.len();
        (self.queue, self.faults, self.reads) = (queue, faults, reads);
    }
}

fn open(
    seed: u64,
    starts: u64,
    clock: &Arc<ManualClock>,
    ledger: &Arc<Ledger>,
    blobs: &Arc<FaultyBlobs>,
) -> (Queue, [Faults; 2]) {
    let written = FaultyStorage::new(ledger.clone(), clock.clone());
    let writes = written.faults();
    let storage = FaultyStorage::new(Arc::new(written), clock.clone());
    let reads = storage.faults();
    let entropy = SeededEntropy::new(seed.wrapping_mul(1000).wrapping_add(starts).wrapping_mul(0x9e37_79b9));
    let queue = Queue::builder()
        .clock(clock.clone())
        .entropy(Arc::new(entropy))
        .blobs(blobs.clone())
        .lease(LEASE)
        .keep_deleted_files_for(MIN_KEPT)
        .open_on(Arc::new(storage));
    (queue.unwrap(), [writes, reads])
}

fn worker(rng: &mut StdRng, at: usize) -> Worker {
    let mut types = vec![JobType::new(*TYPES.choose(rng).unwrap()).unwrap()];
    // The first serves everything and can do everything, so that no job is left to nobody.
    if at == 0 || rng.random_bool(0.5) {
        types = TYPES.iter().map(|name| JobType::new(*name).unwrap()).collect();
    }
    let labels = if at == 0 { labels::all() } else { labels::some(rng) };
    let mut worker = Worker::new(&format!("w{at}"), types, labels);
    worker.names_types = rng.random_bool(0.8);
    worker
}

/// The first word of what a command or answer looks like.
fn name(of: &impl std::fmt::Debug) -> String {
    let text = format!("{of:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn brief(answer: &Answer) -> String {
    match (answer.error(), answer) {
        (Some(error), _) => error.to_string(),
        (None, Answer::Claimed(Ok(claimed))) => {
            let jobs: Vec<String> =
                claimed.iter().map(|c| format!("{} epoch {}", c.job.id, c.token.epoch.get())).collect();
            format!("jobs {jobs:?}")
        }
        (None, Answer::Job(Ok(job))) => format!("job {} is {}", job.id, job.status()),
        (None, answer) => format!("{answer:?}"),
    }
}
