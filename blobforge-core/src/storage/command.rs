//! What a store can be told to do, and what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Checkpoint, Condition, End, Failure, Finish, FinishKind, Finished, Jitter, Job, JobId, JobType,
    LeaseSecret, LeaseToken, MAX_SUBSCRIBERS, Message, NewJob, Output, Priority, Progress, Refused,
    Registration, RetryPolicy, Sha256, Status, Subscriber, Timestamp, TypeChange, TypeRecord, TypeSettings,
    WorkerId,
    storage::{MAX_CLASSES, RecordChange},
};

/// The most checkpoints of a job: each claim of it carries all of them.
pub const MAX_CHECKPOINTS: usize = 1000;

/// One change to be made. Whatever is random was drawn before.
///
/// As in [`Storage`](crate::storage::Storage).
#[derive(Clone, Debug)]
pub enum Command {
    /// Take a job in.
    Submit(Box<Submit>),
    /// Give work to a worker.
    Claim(Claim),
    /// Renew leases, keep what they say of their progress, and hear what was asked of them.
    Heartbeat(Beat),
    /// End an attempt.
    Report {
        /// Whose.
        job: JobId,
        /// The right to.
        token: LeaseToken,
        /// How.
        report: Box<Report>,
    },
    /// Keep a partial result of an attempt.
    Checkpoint {
        /// Whose.
        job: JobId,
        /// The right to.
        token: LeaseToken,
        /// What.
        checkpoint: Checkpoint,
    },
    /// Record, before a file is written, that this store is its creator. With a lease only while it is current.
    ReserveFile {
        /// The file's key.
        key: String,
        /// The job and lease it is written under; `None` for a source that comes before its job.
        owner: Option<(JobId, LeaseToken)>,
    },
    /// The source of a job has arrived. Saying so again of the same file is harmless.
    SourceReady {
        /// Whose.
        job: JobId,
        /// Where it lies: where it was to be sent, or under a key that whoever sent it reserved.
        key: String,
        /// Its size in bytes.
        size: u64,
        /// Its hash, if the whole file was read.
        sha256: Option<Sha256>,
    },
    /// The source of a job will never do.
    RejectSource {
        /// Whose.
        job: JobId,
        /// Why.
        failure: Failure,
    },
    /// The holder read the whole source, and it is this. Another one than is known fails the job for good; when that is
    /// retried, its source has to be sent again.
    SourceVerified {
        /// Whose.
        job: JobId,
        /// The right to say so.
        token: LeaseToken,
        /// Its size in bytes, if that was counted.
        size: Option<u64>,
        /// Its hash.
        sha256: Sha256,
    },
    /// Call a job off.
    Cancel(JobId),
    /// Run an ended job again.
    Retry(JobId),
    /// Change how urgent a job is.
    Reprioritise(JobId, Priority),
    /// Change what holds for all jobs of a type.
    SetType {
        /// Which.
        job_type: JobType,
        /// What; validated.
        settings: Box<TypeSettings>,
    },
    /// Give nobody any job of a type, or give them again.
    SetPaused(JobType, bool),
    /// Change some of what holds for all jobs of a type, and leave the rest as it is by then.
    ChangeType {
        /// Which.
        job_type: JobType,
        /// What, in order; validated.
        changes: Vec<TypeChange>,
    },
    /// The time of day was set, or may have been while nobody looked: what limits hold back until some time is due now,
    /// to be judged by the clock as it is.
    TimeMoved,
    /// Forget a job that has ended; files that only it needed die.
    Delete(JobId),
    /// Mark files that have been dead for long enough as being deleted, so that nobody can need them again.
    MarkGarbage(MarkGarbage),
    /// Forget files that were marked, now that they are gone.
    ForgetFiles(Vec<String>),
    /// A worker starts, or says again what it is.
    Register {
        /// What it says.
        registration: Box<Registration>,
        /// For how long a worker that is not heard of counts as alive.
        alive_for: Duration,
    },
    /// A worker stops and gives back what it holds.
    Unregister {
        /// Which.
        worker: WorkerId,
        /// Its instance secret, where it is known: another process of that name is left alone.
        instance: Option<String>,
    },
    /// Give a worker no more work, or give it work again.
    SetDraining(WorkerId, bool),
    /// Forget a worker; what it holds is lost to it.
    RemoveWorker(WorkerId),
    /// Do what time has made due.
    Maintain(Maintain),
    /// Keep a record of the embedding program's beside the jobs.
    PutRecord {
        /// Its collection.
        collection: String,
        /// Its key.
        key: String,
        /// The record.
        value: Value,
    },
    /// Forget such a record.
    DeleteRecord {
        /// Its collection.
        collection: String,
        /// Its key.
        key: String,
    },
    /// Tell somebody of ends from now on.
    Subscribe(Subscriber),
    /// Tell the subscriber of this name nothing more; what is still to be told is dropped when it is due.
    Unsubscribe(String),
    /// Take out messages that are due, for whoever is to tell them.
    TakeMessages {
        /// At most this many.
        limit: usize,
        /// For how long nobody else gets them: longer than telling takes.
        hold: Duration,
    },
    /// Say what became of a message that was taken out. One that is not there any more is left alone.
    SettleMessage {
        /// Its number.
        number: u64,
        /// How often it had been taken out then: who took it out since knows better.
        tries: u32,
        /// What became of it.
        settled: Settled,
    },
    /// Tell this once more, under the number that it has, as if it had never been tried.
    SendAgain(Box<Message>),
    /// Do something, and write with it what the embedding program keeps beside its jobs. If it is refused, nothing is
    /// written.
    Recorded {
        /// What to do, if there is more than the records; not another command with records.
        command: Option<Box<Command>>,
        /// What to write, in this order.
        records: Vec<RecordChange>,
    },
}

/// A job to take in.
///
/// As in [`Storage`](crate::storage::Storage).
#[derive(Clone, Debug)]
pub struct Submit {
    /// What the submitter wants; validated.
    pub job: NewJob,
    /// The key that its source goes to if it has to be sent.
    pub upload_key: String,
    /// How many failing runs it gets if neither it nor its type says.
    pub default_max_attempts: u32,
}

/// A wish for work.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
/// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
/// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
/// # queue.register(registration).await.unwrap();
/// use blobforge_core::{LeaseSecret, NewJob, SystemEntropy, storage::{Claim, Command, Done}};
/// use std::time::Duration;
/// queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
/// let secrets = vec![LeaseSecret::draw(&SystemEntropy).unwrap(); 1];
/// let lease = Duration::from_secs(180);
/// let claim = Claim { worker: smith, types: pdf.to_vec(), secrets, lease, claim_id: None };
/// let Done::Claimed(claimed) = queue.run(Command::Claim(claim)).await.unwrap() else { unreachable!() };
/// assert_eq!(claimed[0].job.lease().unwrap().duration, lease);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who wants it.
    pub worker: WorkerId,
    /// Of which types; the order means nothing.
    pub types: Vec<JobType>,
    /// One secret for each job wanted.
    pub secrets: Vec<LeaseSecret>,
    /// For how long each lease is good without a heartbeat, unless the job's type says otherwise.
    pub lease: Duration,
    /// What the worker calls this claim. Repeated, it renews and returns the leases that it got and still holds, rather
    /// than taking more.
    pub claim_id: Option<String>,
}

/// A sign of life.
///
/// As in [`Queue::heartbeat`](crate::Queue::heartbeat).
#[derive(Clone, Debug)]
pub struct Beat {
    /// Who lives.
    pub worker: WorkerId,
    /// What it holds: what is not listed is not renewed.
    pub leases: Vec<HeldLease>,
    /// How it is, if that is news.
    pub condition: Option<Condition>,
}

/// A lease that a worker believes it holds.
///
/// As in [`Queue::heartbeat`](crate::Queue::heartbeat).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// Of which job.
    pub job: JobId,
    /// The right.
    pub token: LeaseToken,
    /// How far it has come, if that is news.
    pub progress: Option<Progress>,
    /// The last lines of its handler's log so far, if that is news, in place of those said before; of more than
    /// [`MAX_LOG_TAIL_BYTES`](crate::MAX_LOG_TAIL_BYTES) the end is kept.
    pub log_tail: Option<String>,
    /// The job's type, if it was claimed ahead of time and its work has not begun.
    pub ahead: Option<JobType>,
}

/// How an attempt ends.
///
/// As in [`Queue::report`](crate::Queue::report).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The work is done.
    Complete {
        /// The files it made; they lie under the attempt's own keys.
        outputs: Vec<Output>,
        /// What the handler returned.
        result: Option<Value>,
    },
    /// The handler failed.
    Fail {
        /// Why.
        failure: Failure,
        /// Whether another run could do better.
        retryable: bool,
        /// How long to wait before it, unless its type has a policy of its own.
        policy: RetryPolicy,
        /// Drawn before.
        jitter: Jitter,
    },
    /// What did the work was killed: a loss.
    Crash {
        /// The evidence.
        failure: Failure,
        /// How long to wait before another run, unless its type has a policy of its own.
        policy: RetryPolicy,
        /// Drawn before.
        jitter: Jitter,
    },
    /// The worker stops; the job keeps its place in line.
    Release,
    /// The handler asks to be called again at this time.
    Snooze(Timestamp),
}

impl Report {
    /// What this is to the lifecycle.
    ///
    /// ```
    /// use blobforge_core::{Finish, FinishKind, storage::Report};
    /// let done = Report::Complete { outputs: Vec::new(), result: Some("12 pages".into()) };
    /// assert_eq!(done.finish(), Finish::Complete, "what came out does not matter there");
    /// assert_eq!(done.kind(), FinishKind::Complete);
    /// ```
    pub fn finish(&self) -> Finish {
        match self {
            Self::Complete { .. } => Finish::Complete,
            Self::Fail { retryable, policy, jitter, .. } => {
                Finish::Fail { retryable: *retryable, policy: *policy, jitter: *jitter }
            }
            Self::Crash { policy, jitter, .. } => Finish::Crash { policy: *policy, jitter: *jitter },
            Self::Release => Finish::Release,
            Self::Snooze(until) => Finish::Snooze(*until),
        }
    }

    /// Which of the five it is.
    ///
    /// As in [`Report::finish`].
    pub fn kind(&self) -> FinishKind {
        self.finish().kind()
    }
}

/// What became of a message that was taken out.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::{Ends, ManualClock, NewJob, Queue, Timestamp, storage::{Command, Done, Settled}};
/// use std::{sync::Arc, time::Duration};
/// let queue = Queue::builder().clock(Arc::new(ManualClock::new(Timestamp::ZERO))).open_in_memory().unwrap();
/// let job = queue.submit(NewJob::new("pdf").unwrap().notify("ann", Ends::ALL)).await.unwrap().id;
/// queue.cancel(job).await.unwrap();
/// let take = || Command::TakeMessages { limit: 1, hold: Duration::from_secs(60) };
/// let Done::Messages(taken) = queue.run(take()).await.unwrap() else { unreachable!() };
/// let (number, tries, later) = (taken[0].number, taken[0].tries, queue.now() + Duration::from_secs(5));
/// queue.run(Command::SettleMessage { number, tries, settled: Settled::NotTried(later) }).await.unwrap();
/// assert_eq!(queue.storage().next_message().await.unwrap(), Some(later), "and this try does not count");
/// # });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was told, or is not to be tried any more.
    Told,
    /// It could not be told; try again at this time.
    Again(Timestamp),
    /// It was not even tried; do so at this time.
    NotTried(Timestamp),
}

/// Asks for what time has made due.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::{ManualClock, NewJob, Timestamp, storage::{Command, Done, Maintain, Storage, Submit}};
/// use blobforge_core::storage::memory::MemoryStorage;
/// use std::{sync::Arc, time::Duration};
/// let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
/// let storage = MemoryStorage::new(clock.clone());
/// let noon = Timestamp::ZERO + Duration::from_secs(12 * 60 * 60);
/// let job = NewJob::new("newsletter").unwrap().run_at(noon);
/// # let submit = Submit { job, upload_key: "sources/a".to_owned(), default_max_attempts: 3 };
/// # storage.commit(vec![Command::Submit(Box::new(submit))]).await.unwrap();
/// // … is submitted, and at noon:
/// clock.set(noon);
/// let (available_since, upload_limit) = (Timestamp::ZERO, Duration::from_secs(24 * 60 * 60));
/// let maintain = Maintain { asked_at: noon, available_since, upload_limit, limit: 100 };
/// let committed = storage.commit(vec![Command::Maintain(maintain)]).await.unwrap();
/// let Ok(Done::Maintained(done)) = &committed.outcomes[0] else { unreachable!() };
/// assert_eq!((done.promoted, done.lapsed), (1, 0));
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Maintain {
    /// When this was asked for: what fell due after that, while the store kept it waiting, is left for the next time.
    pub asked_at: Timestamp,
    /// Since when the store has been there without a break: no lease lapses within its duration of that.
    pub available_since: Timestamp,
    /// How long an upload may take.
    pub upload_limit: Duration,
    /// At most this many of each kind, so that no batch is endless.
    pub limit: usize,
}

/// Asks which files are garbage, and marks them as being deleted.
///
/// Whoever asks deletes the files that the answer names, and then has them forgotten by [`Command::ForgetFiles`]. A file
/// that was marked and not forgotten is named again later, so that a crash in between loses none.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::{ManualClock, NewJob, Queue, Timestamp, blob::read_bytes};
/// use blobforge_core::{queue::MIN_KEPT, storage::{Command, Done, MarkGarbage}};
/// use std::sync::Arc;
/// let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
/// let queue = Queue::builder().clock(clock.clone()).open_in_memory().unwrap();
/// let letter = queue.submit_stream(NewJob::new("pdf").unwrap(), read_bytes("%PDF-1.7"), 100).await.unwrap();
/// queue.cancel(letter.id).await.unwrap();
/// queue.delete(letter.id).await.unwrap();
/// clock.advance(MIN_KEPT);
/// let wish = MarkGarbage { dead_for: MIN_KEPT, dry_run: true, after: None, limit: 100 };
/// let Done::Garbage(marked) = queue.run(Command::MarkGarbage(wish)).await.unwrap() else { unreachable!() };
/// assert_eq!(marked.keys.len(), 1);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct MarkGarbage {
    /// For how long a file must have been dead. Longer than backups are kept, and longer than a signed URL works.
    pub dead_for: Duration,
    /// Change nothing and only name what would be marked.
    pub dry_run: bool,
    /// Where a dry run goes on: the `next` of the answer before.
    pub after: Option<GarbagePlace>,
    /// At most this many files.
    pub limit: usize,
}

/// A file's place among the dead ones: since when it is dead, and its key.
pub type GarbagePlace = (Timestamp, String);

/// What a batch came to.
///
/// As in [`Storage`](crate::storage::Storage).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Committed {
    /// One for each command, in order.
    pub outcomes: Vec<Outcome>,
    /// What happened, for who listens.
    pub events: Vec<Event>,
    /// What became claimable.
    pub ready: Vec<Ready>,
    /// Workers that may be given more than before: their claims should look again.
    pub woken: Vec<WorkerId>,
    /// Messages were put into the outbox, or are due at another time.
    pub outbox: bool,
    /// The earliest time at which something that this batch made falls due.
    pub next_due: Option<Timestamp>,
    /// Which attempts began and ended, for who measures.
    pub attempts: Vec<AttemptChange>,
    /// How long it took to make the batch durable, where that is a step of its own.
    pub flush: Option<Duration>,
}

/// An attempt began or ended.
///
/// As in [`Meter`](crate::queue::Meter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptChange {
    /// A worker took a job.
    Begun {
        /// Of which type.
        job_type: JobType,
        /// How long the job could have been taken before.
        waited: Duration,
    },
    /// It is over.
    Ended {
        /// Of which type.
        job_type: JobType,
        /// How.
        end: End,
        /// How long it had lasted.
        ran: Duration,
        /// On which worker.
        worker: WorkerId,
    },
}

/// A job became claimable, or several did.
///
/// As in [`Storage`](crate::storage::Storage).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Of which type.
    pub job_type: JobType,
    /// For which of the claims that wait.
    pub wake: Wake,
}

/// Whom a job that became claimable is for.
///
/// As in [`Storage`](crate::storage::Storage).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// It is one job, and any claim of its type can take it.
    One,
    /// There may be several, or not every worker can take it: every claim of its type should look.
    All,
}

/// What became of one command.
pub type Outcome = Result<Done, Refusal>;

/// What a command that was carried out answers.
///
/// As in [`Storage`](crate::storage::Storage).
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// To `Submit`.
    Submitted(Submitted),
    /// To `Claim`; empty when there is nothing to do.
    Claimed(Vec<Claimed>),
    /// To `Heartbeat`.
    Beat(BeatReply),
    /// To `Report`.
    Finished(Finished),
    /// To what changes a job otherwise: how it is now.
    Job(Box<Job>),
    /// To `ChangeType`: what holds for the type now.
    Type(Box<TypeRecord>),
    /// To `Maintain`.
    Maintained(Maintained),
    /// To `MarkGarbage`.
    Garbage(MarkedGarbage),
    /// To `TakeMessages`.
    Messages(Vec<Message>),
    /// To everything else.
    Ok,
}

/// A job that was taken in, or found to be there already.
///
/// As in [`Queue::submit`](crate::Queue::submit).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its number.
    pub id: JobId,
    /// It was there already.
    pub existing: bool,
    /// It was submitted before under the same idempotency key, and this is the answer to that again.
    pub replayed: bool,
    /// Where it is in its life.
    pub status: Status,
    /// The key that its source is to be sent to, while it is missing.
    pub upload_key: Option<String>,
}

/// A job and the right to run it.
///
/// As in [`Queue::report`](crate::Queue::report).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The job, running.
    pub job: Job,
    /// What to show with every report.
    pub token: LeaseToken,
    /// Until when the lease is good without a heartbeat.
    pub expires_at: Timestamp,
    /// What earlier attempts left to go on from.
    pub checkpoints: Vec<Checkpoint>,
    /// After how long without progress its worker is to stop the attempt; `None` for never.
    pub no_progress: Option<Duration>,
}

/// What a sign of life is answered with.
///
/// As in [`Queue::heartbeat`](crate::Queue::heartbeat).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeatReply {
    /// One for each lease, in order.
    pub leases: Vec<(JobId, LeaseState)>,
    /// Finish what is running and claim nothing more.
    pub draining: bool,
}

/// What became of a lease.
///
/// As in [`Queue::heartbeat`](crate::Queue::heartbeat).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// It is good for its duration from now.
    Held,
    /// It is gone: stop, and report nothing.
    Lost,
    /// It is held, but the job was called off: stop, and release it.
    Cancel,
    /// It is held, but its work has not begun, and another worker waits for such a job: release it.
    Awaited,
}

/// What time had made due.
///
/// As in [`Maintain`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Jobs whose time came.
    pub promoted: usize,
    /// Leases found expired.
    pub lapsed: usize,
    /// Uploads given up.
    pub uploads_expired: usize,
    /// Types and keys for whose limits the clock made room.
    pub reopened: usize,
    /// Idempotency keys forgotten because their time was over.
    pub keys_expired: usize,
    /// Workers forgotten because nobody had heard of them for 30 days.
    pub workers_forgotten: usize,
    /// Jobs deleted because they had been kept for long enough.
    pub expired: usize,
    /// Messages dropped because nobody took them out for a week.
    pub messages_dropped: usize,
    /// When the next thing falls due.
    pub next_due: Option<Timestamp>,
}

/// The files that are to be deleted now.
///
/// As in [`MarkGarbage`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkedGarbage {
    /// Their keys.
    pub keys: Vec<String>,
    /// Where to go on, if the limit was reached.
    pub next: Option<GarbagePlace>,
    /// Nothing is deleted before this time, since the store was restored from a backup.
    pub paused_until: Option<Timestamp>,
}

/// Something that happened, for who listens. A hint, not a record.
///
/// As in [`Feed`](crate::queue::Feed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A job was taken in or changed.
    Job {
        /// Which.
        id: JobId,
        /// Its type.
        job_type: JobType,
        /// Where it is now.
        status: Status,
        /// Where it was before; `None` if it is new.
        was: Option<Status>,
    },
    /// A job was deleted.
    JobDeleted {
        /// Which it was.
        id: JobId,
        /// Its type.
        job_type: JobType,
        /// How it had ended.
        was: Status,
    },
    /// A worker registered.
    WorkerOnline(WorkerId),
    /// A worker unregistered or was removed.
    WorkerOffline(WorkerId),
}

/// Why a command was not carried out; it changed nothing.
///
/// As in [`Refusal::kind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The job's life does not allow it.
    #[error(transparent)]
    Lifecycle(#[from] Refused),
    /// There is no such job.
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    /// There is no such worker.
    #[error("there is no worker {0}")]
    NoSuchWorker(WorkerId),
    /// A worker that nobody knows, or that said good-bye, wants something.
    #[error("worker {0} is not registered: register it first, then try again")]
    WorkerNotRegistered(WorkerId),
    /// Another live process has this id.
    #[error(
        "worker id {0} is in use by a process that is alive: give each process an id of its own, or stop the other one"
    )]
    WorkerInUse(WorkerId),
    /// An ended job's priority means nothing.
    #[error("job {0} has ended as {1}: its priority cannot change")]
    Ended(JobId, Status),
    /// A file is named that this store never recorded creating.
    #[error("no upload to {0:?} was ever asked for: ask for an upload URL first")]
    UnknownFile(String),
    /// Jobs of this type ask for too many different things.
    #[error(
        "jobs of type {0} already ask for {MAX_CLASSES} different sets of requirements: use one of those, or wait until jobs that ask for another one have ended"
    )]
    TooManyClasses(JobType),
    /// A job has as many checkpoints as may be.
    #[error(
        "job {0} has {MAX_CHECKPOINTS} checkpoints already: save under a name that it has, which replaces that one"
    )]
    TooManyCheckpoints(JobId),
    /// There is nobody any more to be told.
    #[error("there is no such subscriber any more: nobody is to be told")]
    NoSuchSubscriber,
    /// The store has as many subscribers as may be.
    #[error("there are {MAX_SUBSCRIBERS} subscribers already: take one back that is not needed any more")]
    TooManySubscribers,
    /// A file is to be written that a job has already, or that is another job's, or is being deleted.
    #[error(
        "the file {0:?} has arrived, is another job's or is being deleted: ask anew where to send this one"
    )]
    FileTaken(String),
    /// An idempotency key is known for another job.
    #[error(
        "the idempotency key {0:?} was used for another job within the last 7 days: use a new key for a new job, or repeat the first submission as it was. Nothing was changed"
    )]
    IdempotencyKeyReused(String),
    /// The job that was submitted under an idempotency key was deleted.
    #[error(
        "job {1}, which was submitted under the idempotency key {0:?}, was deleted since: use a new key to submit it again. Nothing was changed"
    )]
    IdempotencyKeyOfDeleted(String, JobId),
}

impl Refusal {
    /// A short name in snake_case, to count refusals by and for programs to decide by. It never changes.
    ///
    /// ```
    /// use blobforge_core::{JobId, storage::Refusal};
    /// assert_eq!(Refusal::NoSuchJob(JobId::new(7)).kind(), "job_not_found");
    /// ```
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lifecycle(Refused::LeaseLost { .. }) => "lease_lost",
            Self::Lifecycle(Refused::AlreadyEnded { .. }) => "already_ended",
            Self::Lifecycle(Refused::WrongState { .. }) | Self::Ended(..) => "wrong_state",
            Self::Lifecycle(Refused::NotEnded { .. }) => "not_ended",
            Self::Lifecycle(Refused::NotDue { .. }) => "not_due",
            Self::NoSuchJob(_) => "job_not_found",
            Self::NoSuchWorker(_) => "worker_not_found",
            Self::WorkerNotRegistered(_) => "worker_not_registered",
            Self::WorkerInUse(_) => "worker_id_in_use",
            Self::UnknownFile(_) => "upload_missing",
            Self::FileTaken(_) => "file_taken",
            Self::TooManyClasses(_) => "too_many_requirements",
            Self::TooManyCheckpoints(_) => "too_many_checkpoints",
            Self::NoSuchSubscriber => "subscriber_not_found",
            Self::TooManySubscribers => "too_many_subscribers",
            Self::IdempotencyKeyReused(_) => "idempotency_key_reused",
            Self::IdempotencyKeyOfDeleted(..) => "job_deleted",
        }
    }
}
