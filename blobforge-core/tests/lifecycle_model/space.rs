//! The small world: its states, the steps that can be taken in them, and the walk through all of them.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    fmt::Write,
    hash::{Hash, Hasher},
    sync::OnceLock,
    time::Duration,
};

use blobforge_core::{
    EndedLease, Epoch, Finish, Generation, Jitter, LeaseSecret, LeaseToken, Life, NewLease, Phase, Refused,
    Reply, RetryPolicy, Status, Step, Timestamp, Transition, WorkerId, lifecycle,
};

/// The generation of the store that the world lives in.
pub(crate) fn generation() -> Generation {
    Generation::new(7)
}

pub(crate) const MAX_ATTEMPTS: u32 = 2;

/// How large the world is.
pub(crate) struct Space {
    /// The times, in milliseconds, at each of which each step is taken.
    pub(crate) times: Vec<i64>,
    /// The wishes of submitters not to run before a time.
    pub(crate) run_at: Vec<Option<i64>>,
    /// How long leases are good.
    pub(crate) durations: Vec<u64>,
    /// Until when handlers snooze.
    pub(crate) snoozes: Vec<i64>,
    /// The wait after a first failure.
    pub(crate) backoff: u64,
    /// How many claims are explored.
    pub(crate) epochs: u32,
    /// How many workers there are: one or two.
    pub(crate) workers: u8,
    /// Whether one ended attempt is remembered.
    pub(crate) witnesses: bool,
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn worker(number: u8) -> WorkerId {
    static NAMES: OnceLock<[WorkerId; 2]> = OnceLock::new();
    NAMES.get_or_init(|| ["A", "B"].map(|name| WorkerId::new(name).unwrap()))[usize::from(number)].clone()
}

/// Each claim has a secret of its own.
pub(crate) fn secret(worker: u8, epoch: Epoch) -> LeaseSecret {
    let mut bytes = [worker; 32];
    bytes[..4].copy_from_slice(&epoch.get().to_be_bytes());
    LeaseSecret::from_bytes(bytes)
}

/// Where the world is: one job, and one of its ended attempts if that is being remembered.
///
/// [`lifecycle::apply`] looks at one ended attempt at most. So instead of all that have ended, a state carries any one
/// of them: the walk follows every choice, and meets each attempt with each life that can come after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) life: Life,
    pub(crate) witness: Option<EndedLease>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Life { phase, epoch, failures, losses, max_attempts: _, run_at, ready_at } = &self.life;
        (phase.status(), epoch, failures, losses, run_at, ready_at).hash(hasher);
        if let Phase::Running(lease) = phase {
            let flags = (lease.lapsed, lease.cancel_requested);
            (&lease.worker, lease.started_at, lease.expires_at, lease.duration, flags).hash(hasher);
        }
        if let Some(EndedLease { token, end, reported: _, finished }) = &self.witness {
            (token.epoch, token.secret.as_bytes(), end, finished.status, finished.ready_at).hash(hasher);
        }
    }
}

/// One step taken in one state.
pub(crate) struct Edge<'a> {
    pub(crate) before: &'a State,
    /// The ended attempt that the step's token names by its epoch, as a store would find it.
    pub(crate) named: Option<&'a EndedLease>,
    pub(crate) step: &'a Step,
    pub(crate) now: Timestamp,
    pub(crate) result: &'a Result<Transition, Refused>,
}

/// An arrow of the diagram: from where, by which step, to where.
pub(crate) type Arrow = (Status, &'static str, Status);

/// Everything that was found.
pub(crate) struct Exploration {
    pub(crate) states: Vec<State>,
    /// How each state was reached first.
    parents: Vec<Option<(usize, Step, Timestamp)>>,
    /// How many steps were tried.
    pub(crate) edges: usize,
    /// State changes that do not need anybody to call the job off.
    moves: Vec<(usize, usize)>,
    pub(crate) arrows: BTreeSet<Arrow>,
}

/// Walks through the whole world and shows each edge to `check`, which says what is wrong with it.
pub(crate) fn explore(space: &Space, check: impl Fn(&Edge<'_>) -> Result<(), String>) -> Exploration {
    let mut found = Exploration {
        states: Vec::new(),
        parents: Vec::new(),
        edges: 0,
        moves: Vec::new(),
        arrows: BTreeSet::new(),
    };
    let mut numbers: HashMap<State, usize> = HashMap::new();
    for run_at in &space.run_at {
        for source_present in [false, true] {
            let life = Life::new(source_present, MAX_ATTEMPTS, run_at.map(at), at(space.times[0]));
            found.number(&mut numbers, State { life, witness: None }, None);
        }
    }
    let mut next = 0;
    while next < found.states.len() {
        let before = found.states[next].clone();
        for step in space.steps(&before) {
            for now in space.times.iter().copied().map(at) {
                let named = before.witness.as_ref().filter(|ended| names(&step) == Some(ended.token.epoch));
                let result = lifecycle::apply(&before.life, named, &step, now);
                found.edges += 1;
                let edge = Edge { before: &before, named, step: &step, now, result: &result };
                if let Err(wrong) = check(&edge) {
                    let story = found.story(next);
                    panic!("{wrong}\n{story}then at {} {step:?}\ngave {result:#?}", now.as_millis());
                }
                if let Ok(transition) = result {
                    found.follow(&mut numbers, space, next, &before, &step, now, transition);
                }
            }
        }
        next += 1;
    }
    found.moves.sort_unstable();
    found.moves.dedup();
    found
}

impl Exploration {
    #[expect(
        clippy::too_many_arguments,
        reason = "the one place where an edge becomes part of what was found"
    )]
    fn follow(
        &mut self,
        numbers: &mut HashMap<State, usize>,
        space: &Space,
        from: usize,
        before: &State,
        step: &Step,
        now: Timestamp,
        transition: Transition,
    ) {
        if transition.ended.is_none() && transition.life == before.life {
            // Repeated reports are answered and change nothing: no arrow.
            if !matches!(transition.reply, Reply::Finished(_)) {
                self.arrow(before, step, &transition.life);
            }
            return;
        }
        self.arrow(before, step, &transition.life);
        if transition.life.epoch.get() > space.epochs {
            return;
        }
        let mut witnesses = vec![before.witness.clone()];
        if space.witnesses && before.witness.is_none() && transition.ended.is_some() {
            witnesses.push(transition.ended);
        }
        for witness in witnesses {
            let state = State { life: transition.life.clone(), witness };
            let to = self.number(numbers, state, Some((from, step, now)));
            if *step != Step::Cancel {
                self.moves.push((from, to));
            }
        }
    }

    fn arrow(&mut self, before: &State, step: &Step, after: &Life) {
        self.arrows.insert((before.life.phase.status(), name(step), after.phase.status()));
    }

    fn number(
        &mut self,
        numbers: &mut HashMap<State, usize>,
        state: State,
        by: Option<(usize, &Step, Timestamp)>,
    ) -> usize {
        match numbers.entry(state) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.states.push(new.key().clone());
                self.parents.push(by.map(|(from, step, now)| (from, step.clone(), now)));
                *new.insert(self.states.len() - 1)
            }
        }
    }

    /// Which states can reach one that is `wanted` without the job being called off.
    pub(crate) fn that_can_reach(&self, wanted: impl Fn(&Life) -> bool) -> Vec<bool> {
        let mut sources: Vec<Vec<usize>> = vec![Vec::new(); self.states.len()];
        for (from, to) in &self.moves {
            sources[*to].push(*from);
        }
        let mut can: Vec<bool> = self.states.iter().map(|state| wanted(&state.life)).collect();
        let mut open: Vec<usize> = (0..can.len()).filter(|number| can[*number]).collect();
        while let Some(to) = open.pop() {
            for from in &sources[to] {
                if !can[*from] {
                    can[*from] = true;
                    open.push(*from);
                }
            }
        }
        can
    }

    /// The shortest way to a state, for whoever has to find out why it is wrong.
    pub(crate) fn story(&self, number: usize) -> String {
        let mut way = Vec::new();
        let mut at = number;
        while let Some((from, step, now)) = &self.parents[at] {
            way.push((now, step));
            at = *from;
        }
        let mut story = format!("a life that begins as {:?}\n", self.states[at].life.phase.status());
        for (now, step) in way.into_iter().rev() {
            writeln!(story, "then at {} {step:?}", now.as_millis()).unwrap();
        }
        writeln!(story, "is {:#?}", self.states[number]).unwrap();
        story
    }
}

impl Space {
    /// Every step that can be taken in a state, with every token that somebody could show.
    fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = vec![
            Step::SourceReady,
            Step::SourceRejected,
            Step::UploadExpired,
            Step::Lapse,
            Step::Lose,
            Step::Void,
            Step::Cancel,
            Step::Retry { source_present: true },
            Step::Retry { source_present: false },
        ];
        for number in 0..self.workers {
            steps.extend(self.durations.iter().map(|millis| {
                Step::Claim(NewLease {
                    generation: generation(),
                    secret: secret(number, state.life.epoch.next()),
                    worker: worker(number),
                    host: None,
                    claim_id: None,
                    duration: Duration::from_millis(*millis),
                })
            }));
        }
        for token in tokens(state) {
            steps.push(Step::Renew(token));
            steps.push(Step::Advance(token));
            steps.extend(self.finishes().map(|how| Step::Finish(token, how)));
        }
        steps
    }

    fn finishes(&self) -> impl Iterator<Item = Finish> + '_ {
        let policy = RetryPolicy {
            first: Duration::from_millis(self.backoff),
            longest: Duration::from_millis(self.backoff * 2),
        };
        let fail = move |retryable| Finish::Fail { retryable, policy, jitter: Jitter::NONE };
        let snoozes = self.snoozes.iter().map(|until| Finish::Snooze(at(*until)));
        let crash = Finish::Crash { policy, jitter: Jitter::NONE };
        [Finish::Complete, fail(true), fail(false), crash, Finish::Release].into_iter().chain(snoozes)
    }
}

/// The current lease's token and the remembered one's, each also with one part changed at a time; and one that the
/// next claim could get.
fn tokens(state: &State) -> Vec<LeaseToken> {
    let epoch = state.life.epoch;
    let real = [
        match &state.life.phase {
            Phase::Running(lease) => Some(lease.token),
            _ => None,
        },
        state.witness.as_ref().map(|ended| ended.token),
    ];
    let mut tokens = vec![LeaseToken::new(generation(), epoch.next(), secret(0, epoch.next()))];
    for token in real.into_iter().flatten() {
        let neighbour = Epoch::new(token.epoch.get() - 1);
        tokens.extend([
            token,
            LeaseToken { secret: LeaseSecret::from_bytes([0xEE; 32]), ..token },
            LeaseToken { generation: Generation::new(generation().get() - 1), ..token },
            LeaseToken { epoch: neighbour, ..token },
        ]);
    }
    if tokens.len() == 1 {
        tokens.push(LeaseToken::new(generation(), epoch, secret(0, epoch)));
    }
    tokens
}

fn names(step: &Step) -> Option<Epoch> {
    token_of(step).map(|token| token.epoch)
}

/// The token that a step shows, if it is a report.
pub(crate) fn token_of(step: &Step) -> Option<&LeaseToken> {
    match step {
        Step::Renew(token) | Step::Advance(token) | Step::Finish(token, _) => Some(token),
        _ => None,
    }
}

/// What a step is called in the diagram.
fn name(step: &Step) -> &'static str {
    match step {
        Step::SourceReady => "source ready",
        Step::SourceRejected => "source rejected",
        Step::UploadExpired => "upload expired",
        Step::Claim(_) => "claim",
        Step::Renew(_) => "renew",
        Step::Advance(_) => "advance",
        Step::Finish(_, Finish::Complete) => "complete",
        Step::Finish(_, Finish::Fail { retryable: true, .. }) => "fail",
        Step::Finish(_, Finish::Fail { retryable: false, .. }) => "fail for good",
        Step::Finish(_, Finish::Crash { .. }) => "crash",
        Step::Finish(_, Finish::Release) => "release",
        Step::Finish(_, Finish::Snooze(_)) => "snooze",
        Step::Lapse => "lapse",
        Step::Lose => "lose",
        Step::Void => "void",
        Step::Cancel => "cancel",
        Step::Retry { source_present: true } => "retry",
        Step::Retry { source_present: false } => "retry, file gone",
    }
}
