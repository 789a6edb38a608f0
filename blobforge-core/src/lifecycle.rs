//! The life of a job: the one place where it is written.
//!
//! [`apply`] says what a step does to a job. It reads no clock, draws no randomness and does no I/O: time, secrets
//! and jitter are its inputs. Every storage backend calls it, so that SQL selects, locks and writes, and this file decides.
//!
//! Three counters are kept apart, since each answers another question:
//! - `epoch` counts claims and fences reports: it only grows.
//! - `failures` counts what handlers call an error; it drives backoff and ends the job at `max_attempts`.
//! - `losses` counts workers that vanished and processes that were killed at the work, and ends the job at
//!   [`MAX_LOSSES`]. An attempt that advances a checkpoint sets it back to zero: a machine that restarts is not the
//!   file's fault.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Epoch, Generation, Jitter, Lease, LeaseSecret, LeaseToken, RetryPolicy, Status, Timestamp, WorkerId,
};

/// How many workers in a row a job may lose without advancing before it is given up.
///
/// ```
/// use blobforge_core::{Generation, LeaseSecret, Life, MAX_LOSSES, NewLease, Status, Step, Timestamp, WorkerId};
/// use blobforge_core::lifecycle::apply;
/// # let (worker, duration) = (WorkerId::new("smith").unwrap(), std::time::Duration::from_secs(180));
/// # let (generation, secret) = (Generation::new(1), LeaseSecret::from_bytes([7; 32]));
/// # let lease = NewLease { generation, secret, worker, host: None, claim_id: None, duration };
/// let mut life = Life::new(true, 3, None, Timestamp::ZERO);
/// for _ in 0..MAX_LOSSES {
///     for step in [Step::Claim(lease.clone()), Step::Lose] {
///         life = apply(&life, None, &step, Timestamp::ZERO).unwrap().life;
///     }
/// }
/// assert_eq!(life.phase.status(), Status::Failed, "whoever takes it vanishes");
/// ```
pub const MAX_LOSSES: u32 = 5;

/// What the lifecycle decides about a job.
///
/// As in [`apply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Where it is.
    pub phase: Phase,
    /// How often it was claimed.
    pub epoch: Epoch,
    /// How many runs failed since it was submitted or last retried by hand.
    pub failures: u32,
    /// How many workers, or processes that did their work, it lost since it last advanced.
    pub losses: u32,
    /// At how many failures it fails for good.
    pub max_attempts: u32,
    /// The submitter's wish not to run before this time.
    pub run_at: Option<Timestamp>,
    /// When it may run: its place in line. Means nothing before the source is there or after the end.
    pub ready_at: Timestamp,
}

/// Where a job is in its life, with what exists only there.
///
/// As in [`apply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The source has not arrived.
    Uploading,
    /// It waits for a worker, or for its time.
    Pending,
    /// A worker holds this lease.
    Running(Lease),
    /// A result was accepted.
    Completed,
    /// It failed for good.
    Failed,
    /// It was called off.
    Cancelled,
}

impl Phase {
    /// The phase's name.
    ///
    /// As in [`apply`].
    pub fn status(&self) -> Status {
        match self {
            Self::Uploading => Status::Uploading,
            Self::Pending => Status::Pending,
            Self::Running(_) => Status::Running,
            Self::Completed => Status::Completed,
            Self::Failed => Status::Failed,
            Self::Cancelled => Status::Cancelled,
        }
    }
}

impl Life {
    /// The life of a new job: pending, or uploading while its source is missing.
    ///
    /// As in [`apply`].
    pub fn new(source_present: bool, max_attempts: u32, run_at: Option<Timestamp>, now: Timestamp) -> Self {
        let life = Self {
            phase: Phase::Uploading,
            epoch: Epoch::NONE,
            failures: 0,
            losses: 0,
            max_attempts: max_attempts.max(1),
            run_at,
            ready_at: Timestamp::ZERO,
        };
        if source_present { life.accepted(now) } else { life }
    }

    fn accepted(mut self, now: Timestamp) -> Self {
        self.phase = Phase::Pending;
        self.ready_at = self.run_at.map_or(now, |run_at| run_at.max(now));
        self
    }
}

/// Something that happens to a job.
///
/// As in [`apply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The source is there and was checked.
    SourceReady,
    /// The source will never do: it is not what was announced.
    SourceRejected,
    /// The source did not come in time.
    UploadExpired,
    /// A worker takes the job.
    Claim(NewLease),
    /// The holder says that it is alive.
    Renew(LeaseToken),
    /// The holder has saved a new partial result.
    Advance(LeaseToken),
    /// The holder ends its attempt.
    Finish(LeaseToken, Finish),
    /// The lease's time has run out.
    Lapse,
    /// The holder is known to be gone.
    Lose,
    /// The store was restored from a backup: whatever its holder did since, this store knows nothing of it.
    Void,
    /// Somebody calls the job off.
    Cancel,
    /// Somebody wants an ended job to run again; its source may have to be sent again.
    Retry {
        /// Whether the source is still there.
        source_present: bool,
    },
}

/// What a claim brings along.
///
/// As in [`apply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLease {
    /// The store's generation.
    pub generation: Generation,
    /// A freshly drawn secret.
    pub secret: LeaseSecret,
    /// Who claims.
    pub worker: WorkerId,
    /// The machine that it runs on, as far as it said so.
    pub host: Option<String>,
    /// What it calls this claim.
    pub claim_id: Option<String>,
    /// For how long the lease is good without a heartbeat.
    pub duration: Duration,
}

/// How a holder ends its attempt.
///
/// As in [`apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The work is done.
    Complete,
    /// The handler failed.
    Fail {
        /// Whether another run could do better.
        retryable: bool,
        /// How long to wait before it.
        policy: RetryPolicy,
        /// Drawn before.
        jitter: Jitter,
    },
    /// The process that did the work was killed, and not by its own fault as far as anybody knows: a loss.
    Crash {
        /// How long to wait before another run, by the losses so far.
        policy: RetryPolicy,
        /// Drawn before.
        jitter: Jitter,
    },
    /// The worker stops; the job keeps its place in line.
    Release,
    /// The handler asks to be called again at this time.
    Snooze(Timestamp),
}

impl Finish {
    /// Which of the five it is.
    ///
    /// As in [`FinishKind`].
    pub fn kind(&self) -> FinishKind {
        match self {
            Self::Complete => FinishKind::Complete,
            Self::Fail { .. } => FinishKind::Fail,
            Self::Crash { .. } => FinishKind::Crash,
            Self::Release => FinishKind::Release,
            Self::Snooze(_) => FinishKind::Snooze,
        }
    }
}

/// A [`Finish`] without its particulars: what makes a repeated report the same report.
///
/// ```
/// use blobforge_core::{Finish, FinishKind, Timestamp};
/// let (one, other) = (Timestamp::ZERO, Timestamp::from_millis(1000));
/// assert_eq!(Finish::Snooze(one).kind(), FinishKind::Snooze);
/// assert_eq!(Finish::Snooze(one).kind(), Finish::Snooze(other).kind(), "the same report again");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishKind {
    /// The work is done.
    Complete,
    /// The handler failed.
    Fail,
    /// What did the work was killed.
    Crash,
    /// The worker stops.
    Release,
    /// The handler asks to be called again.
    Snooze,
}

/// How an attempt ended.
///
/// As in [`apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its result was accepted.
    Completed,
    /// The handler reported an error.
    Failed,
    /// The worker gave the job back at no cost.
    Released,
    /// The handler asked to be called again, at no cost.
    Snoozed,
    /// The worker vanished, or what did the work was killed.
    Lost,
    /// The job was called off.
    Cancelled,
    /// The store was restored from a backup, at no cost for the job.
    Voided,
}

/// An attempt that has ended, as far as the lifecycle needs to remember it.
///
/// As in [`apply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedLease {
    /// What its holder showed.
    pub token: LeaseToken,
    /// How it ended.
    pub end: End,
    /// What its holder said, if it was the holder who ended it.
    pub reported: Option<FinishKind>,
    /// What the holder was told.
    pub finished: Finished,
}

/// What a holder is told when it has ended its attempt.
///
/// As in [`Queue::report`](crate::Queue::report).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Where the job is now.
    pub status: Status,
    /// When it may run again, if it will.
    pub ready_at: Option<Timestamp>,
}

/// What an accepted step did.
///
/// As in [`apply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The job's life from now on.
    pub life: Life,
    /// The attempt that this ended, to be recorded.
    pub ended: Option<EndedLease>,
    /// What whoever took the step is told.
    pub reply: Reply,
}

/// What whoever took a step is told.
///
/// As in [`apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is so.
    Done,
    /// The lease is good for its duration from now.
    Renewed {
        /// The job was called off: stop and release it.
        cancel_requested: bool,
    },
    /// The job went to its end instead of to the claimer.
    Buried,
    /// The attempt has ended, now or when this was reported before.
    Finished(Finished),
}

/// Why a step changed nothing.
///
/// As in [`may_be_deleted`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The lease is not the current one.
    #[error("lease lost: {}. Nothing was changed", lost_to(.status, .holder))]
    LeaseLost {
        /// Where the job is.
        status: Status,
        /// Who runs it now, since when.
        holder: Option<(WorkerId, Timestamp)>,
    },
    /// The attempt was already ended in another way.
    #[error("this attempt already ended as {end:?} and cannot end again. Nothing was changed")]
    AlreadyEnded {
        /// How it ended.
        end: End,
    },
    /// A job in this state cannot do that.
    #[error("a job that is {status} cannot be {action}. Nothing was changed")]
    WrongState {
        /// What was asked for, as a participle.
        action: &'static str,
        /// Where the job is.
        status: Status,
    },
    /// Only a job that has ended can be deleted.
    #[error("a job that is {status} cannot be deleted: cancel it first. Nothing was changed")]
    NotEnded {
        /// Where the job is.
        status: Status,
    },
    /// Its time has not come.
    #[error("the job may not run before {ready_at}")]
    NotDue {
        /// When it has.
        ready_at: Timestamp,
    },
}

fn lost_to(status: &Status, holder: &Option<(WorkerId, Timestamp)>) -> String {
    match holder {
        Some((worker, since)) => format!("worker {worker} took this job at {since}"),
        None => format!("the job is {status}"),
    }
}

/// Says what `step` does to `life` at `now`.
///
/// `ended` is the ended attempt that the step's lease names, if it names one: a report that is repeated
/// gets the reply it got the first time.
///
/// ```
/// use blobforge_core::{End, Finish, Generation, LeaseSecret, Life, NewLease, Phase, Reply, Status, Step};
/// use blobforge_core::{Timestamp, WorkerId, lifecycle::apply};
/// # let (worker, duration) = (WorkerId::new("smith").unwrap(), std::time::Duration::from_secs(180));
/// # let (generation, secret) = (Generation::new(1), LeaseSecret::from_bytes([7; 32]));
/// let now = Timestamp::ZERO;
/// let waiting = Life::new(true, 3, None, now);
/// let lease = NewLease { generation, secret, worker, host: None, claim_id: None, duration };
/// let claimed = apply(&waiting, None, &Step::Claim(lease), now).unwrap();
/// assert_eq!((&claimed.reply, claimed.life.phase.status()), (&Reply::Done, Status::Running));
///
/// let Phase::Running(held) = &claimed.life.phase else { unreachable!("it was claimed") };
/// let finish = Step::Finish(held.token, Finish::Complete);
/// let finished = apply(&claimed.life, None, &finish, now).unwrap();
/// assert_eq!(finished.ended.unwrap().end, End::Completed);
/// ```
///
/// # Errors
/// [`Refused`] says why the step does nothing.
pub fn apply(
    life: &Life,
    ended: Option<&EndedLease>,
    step: &Step,
    now: Timestamp,
) -> Result<Transition, Refused> {
    match step {
        Step::SourceReady => source_ready(life, now),
        Step::SourceRejected => end_upload(life, Phase::Failed, "rejected"),
        Step::UploadExpired => end_upload(life, Phase::Cancelled, "given up"),
        Step::Claim(lease) => claim(life, lease, now),
        Step::Renew(token) => renew(life, token, now),
        Step::Advance(token) => advance(life, token),
        Step::Finish(token, how) => finish(life, ended, token, how, now),
        Step::Lapse => lapse(life, now),
        Step::Lose => lose(life),
        Step::Void => void(life),
        Step::Cancel => cancel(life),
        Step::Retry { source_present } => retry(life, *source_present, now),
    }
}

/// Says whether a job may be deleted: once it has ended, since until then somebody may be at work on it.
///
/// ```
/// use blobforge_core::{Life, Refused, Status, Timestamp, lifecycle::may_be_deleted};
/// let waiting = Life::new(true, 3, None, Timestamp::ZERO);
/// assert_eq!(may_be_deleted(&waiting), Err(Refused::NotEnded { status: Status::Pending }));
/// ```
///
/// # Errors
/// [`Refused::NotEnded`].
pub fn may_be_deleted(life: &Life) -> Result<(), Refused> {
    let status = life.phase.status();
    if status.is_final() { Ok(()) } else { Err(Refused::NotEnded { status }) }
}

fn source_ready(life: &Life, now: Timestamp) -> Result<Transition, Refused> {
    match life.phase {
        Phase::Uploading => Ok(done(life.clone().accepted(now))),
        _ => Err(wrong_state(life, "given its source")),
    }
}

fn end_upload(life: &Life, phase: Phase, action: &'static str) -> Result<Transition, Refused> {
    match life.phase {
        Phase::Uploading => Ok(done(Life { phase, ..life.clone() })),
        _ => Err(wrong_state(life, action)),
    }
}

fn claim(life: &Life, new: &NewLease, now: Timestamp) -> Result<Transition, Refused> {
    let (life, ended) = match &life.phase {
        Phase::Pending if life.ready_at > now => {
            return Err(Refused::NotDue { ready_at: life.ready_at });
        }
        Phase::Pending => (life.clone(), None),
        Phase::Running(lease) if lease.lapsed => {
            let lost = lose(life)?;
            if lost.life.phase != Phase::Pending {
                return Ok(Transition { reply: Reply::Buried, ..lost });
            }
            (lost.life, lost.ended)
        }
        _ => return Err(wrong_state(life, "claimed")),
    };
    let epoch = life.epoch.next();
    let lease = Lease {
        token: LeaseToken::new(new.generation, epoch, new.secret),
        worker: new.worker.clone(),
        host: new.host.clone(),
        claim_id: new.claim_id.clone(),
        started_at: now,
        expires_at: now + new.duration,
        duration: new.duration,
        lapsed: false,
        cancel_requested: false,
    };
    let life = Life { phase: Phase::Running(lease), epoch, ..life };
    Ok(Transition { life, ended, reply: Reply::Done })
}

fn renew(life: &Life, token: &LeaseToken, now: Timestamp) -> Result<Transition, Refused> {
    let lease = current(life, token)?;
    let renewed = Lease { expires_at: now + lease.duration, lapsed: false, ..lease.clone() };
    let reply = Reply::Renewed { cancel_requested: lease.cancel_requested };
    Ok(Transition { reply, ..done(with_lease(life, renewed)) })
}

fn advance(life: &Life, token: &LeaseToken) -> Result<Transition, Refused> {
    current(life, token)?;
    Ok(done(Life { losses: 0, ..life.clone() }))
}

fn finish(
    life: &Life,
    ended: Option<&EndedLease>,
    token: &LeaseToken,
    how: &Finish,
    now: Timestamp,
) -> Result<Transition, Refused> {
    let lease = match current(life, token) {
        Ok(lease) => lease,
        Err(lost) => return repeat(life, ended, token, how).unwrap_or(Err(lost)),
    };
    let mut after = life.clone();
    let end = match how {
        Finish::Complete => {
            after.phase = Phase::Completed;
            End::Completed
        }
        Finish::Fail { retryable, policy, jitter } => {
            after.failures = life.failures.saturating_add(1);
            after.ready_at = now + policy.delay(after.failures, *jitter);
            let again = *retryable && after.failures < life.max_attempts;
            after.phase = if again { Phase::Pending } else { Phase::Failed };
            End::Failed
        }
        Finish::Crash { policy, jitter } => {
            if !lease.cancel_requested {
                count_loss(&mut after);
            }
            after.ready_at = now + policy.delay(after.losses, *jitter);
            End::Lost
        }
        Finish::Release => {
            after.phase = Phase::Pending;
            End::Released
        }
        Finish::Snooze(until) => {
            after.phase = Phase::Pending;
            // A time that is over already means now: it would stand before everybody who has waited since.
            after.ready_at = (*until).max(now);
            End::Snoozed
        }
    };
    // Whoever called the job off meant it, unless the work was done before the worker heard of it.
    let called_off = lease.cancel_requested && end != End::Completed;
    let end = if called_off { End::Cancelled } else { end };
    if called_off {
        after.phase = Phase::Cancelled;
    }
    let ended = end_lease(lease, end, Some(how.kind()), &after);
    let reply = Reply::Finished(ended.finished);
    Ok(Transition { life: after, ended: Some(ended), reply })
}

/// What a report about an attempt that has ended gets, if it has: the same reply for the same report.
fn repeat(
    life: &Life,
    ended: Option<&EndedLease>,
    token: &LeaseToken,
    how: &Finish,
) -> Option<Result<Transition, Refused>> {
    let ended = ended.filter(|ended| ended.token == *token)?;
    match ended.reported {
        Some(reported) if reported == how.kind() => {
            let reply = Reply::Finished(ended.finished);
            Some(Ok(Transition { reply, ..done(life.clone()) }))
        }
        Some(_) => Some(Err(Refused::AlreadyEnded { end: ended.end })),
        // The holder never ended it: somebody else did, and the lease is simply lost.
        None => None,
    }
}

fn lapse(life: &Life, now: Timestamp) -> Result<Transition, Refused> {
    match &life.phase {
        Phase::Running(lease) if lease.expires_at > now => {
            Err(Refused::NotDue { ready_at: lease.expires_at })
        }
        Phase::Running(lease) if lease.lapsed => Err(wrong_state(life, "found silent again")),
        // Nobody needs to claim a job that was called off: its silence ends it.
        Phase::Running(lease) if lease.cancel_requested => lose(life),
        Phase::Running(lease) => Ok(done(with_lease(life, Lease { lapsed: true, ..lease.clone() }))),
        _ => Err(wrong_state(life, "found silent")),
    }
}

fn lose(life: &Life) -> Result<Transition, Refused> {
    let Phase::Running(lease) = &life.phase else {
        return Err(wrong_state(life, "lost"));
    };
    let mut after = life.clone();
    let end = if lease.cancel_requested {
        after.phase = Phase::Cancelled;
        End::Cancelled
    } else {
        count_loss(&mut after);
        End::Lost
    };
    let ended = end_lease(lease, end, None, &after);
    Ok(Transition { ended: Some(ended), ..done(after) })
}

fn void(life: &Life) -> Result<Transition, Refused> {
    let Phase::Running(lease) = &life.phase else {
        return Err(wrong_state(life, "freed of a lease"));
    };
    let (phase, end) = match lease.cancel_requested {
        true => (Phase::Cancelled, End::Cancelled),
        false => (Phase::Pending, End::Voided),
    };
    let after = Life { phase, ..life.clone() };
    let ended = end_lease(lease, end, None, &after);
    Ok(Transition { ended: Some(ended), ..done(after) })
}

/// One loss more, and the end of a job that had too many without advancing.
fn count_loss(life: &mut Life) {
    life.losses = life.losses.saturating_add(1);
    life.phase = if life.losses < MAX_LOSSES { Phase::Pending } else { Phase::Failed };
}

fn cancel(life: &Life) -> Result<Transition, Refused> {
    match &life.phase {
        Phase::Uploading | Phase::Pending => Ok(done(Life { phase: Phase::Cancelled, ..life.clone() })),
        Phase::Running(lease) => {
            let asked = with_lease(life, Lease { cancel_requested: true, ..lease.clone() });
            if lease.lapsed { lose(&asked) } else { Ok(done(asked)) }
        }
        _ => Err(wrong_state(life, "cancelled")),
    }
}

fn retry(life: &Life, source_present: bool, now: Timestamp) -> Result<Transition, Refused> {
    match life.phase {
        Phase::Failed | Phase::Cancelled => {
            let fresh = Life::new(source_present, life.max_attempts, life.run_at, now);
            Ok(done(Life { epoch: life.epoch, ..fresh }))
        }
        _ => Err(wrong_state(life, "retried")),
    }
}

fn current<'a>(life: &'a Life, token: &LeaseToken) -> Result<&'a Lease, Refused> {
    match &life.phase {
        Phase::Running(lease) if lease.token == *token => Ok(lease),
        phase => Err(Refused::LeaseLost {
            status: phase.status(),
            holder: match phase {
                Phase::Running(lease) => Some((lease.worker.clone(), lease.started_at)),
                _ => None,
            },
        }),
    }
}

fn end_lease(lease: &Lease, end: End, reported: Option<FinishKind>, after: &Life) -> EndedLease {
    let status = after.phase.status();
    let ready_at = (status == Status::Pending).then_some(after.ready_at);
    EndedLease { token: lease.token, end, reported, finished: Finished { status, ready_at } }
}

fn with_lease(life: &Life, lease: Lease) -> Life {
    Life { phase: Phase::Running(lease), ..life.clone() }
}

fn done(life: Life) -> Transition {
    Transition { life, ended: None, reply: Reply::Done }
}

fn wrong_state(life: &Life, action: &'static str) -> Refused {
    Refused::WrongState { action, status: life.phase.status() }
}
