//! Carries out a batch of commands over the rows of any backend.
//!
//! One function for each command; each reads rows, asks [`lifecycle::apply`] where a job's life is touched, and writes
//! what follows. A command that is refused has written nothing.

mod claiming;
mod deletion;
mod failures;
mod files;
mod garbage;
mod idempotency;
mod jobs;
mod lanes;
mod outbox;
mod records;
mod restoring;
mod retention;
mod sources;
mod types;
mod workers;

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use serde_json::{Map, Value};

use super::{
    command::{
        AttemptChange, Command, Committed, Done, Event, Maintain, Maintained, Outcome, Ready, Refusal, Wake,
    },
    record::RecordChange,
    rows::{AttemptRow, Place, Rows},
};
use crate::{
    End, Epoch, Failure, Job, JobId, JobType, Lease, Phase, Refused, Status, Step, Subscriber, Timestamp,
    Transition, WorkerId, lifecycle,
};
use lanes::Lanes;

pub(super) use jobs::{may_be_reprioritised, retry_of};
pub(crate) use lanes::MAX_CLASSES;
pub(super) use restoring::restored;

/// The most ended attempts that a job's history has: the last ones. A job may be snoozed every minute for months.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use blobforge_core::{JobType, NewJob, Queue, Registration, WorkerId, storage::Report};
/// use blobforge_core::storage::MAX_ATTEMPTS_KEPT;
/// # let queue = Queue::in_memory();
/// # let (worker, types) = (WorkerId::new("smith").unwrap(), [JobType::new("pdf").unwrap()]);
/// # queue.register(Registration::new(worker.clone(), types.clone(), "secret")).await.unwrap();
/// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
/// for _ in 0..MAX_ATTEMPTS_KEPT + 50 {
///     let held = queue.claim(&worker, &types, 1, std::time::Duration::ZERO).await.unwrap().remove(0);
///     queue.report(id, held.token, Report::Release).await.unwrap();
/// }
/// assert_eq!(queue.history(id).await.unwrap()[0].epoch.get(), 51, "the first fifty are forgotten");
/// # });
/// ```
pub const MAX_ATTEMPTS_KEPT: u32 = 200;

/// Carries out `commands` in order at `now`. An error leaves the rows half written: roll them back.
pub(super) fn execute<R: Rows>(
    rows: &mut R,
    now: Timestamp,
    commands: Vec<Command>,
) -> Result<Committed, R::Error> {
    let mut batch = Batch::new(rows, now);
    for command in commands {
        let outcome = batch.command(command)?;
        batch.committed.outcomes.push(outcome);
    }
    batch.lanes.settle(batch.rows, now)?;
    let left =
        mem::take(&mut batch.waiting).into_values().map(|job_type| Ready { job_type, wake: Wake::One });
    batch.committed.ready.extend(left);
    Ok(batch.committed)
}

/// A batch under way.
struct Batch<'a, R: Rows> {
    rows: &'a mut R,
    now: Timestamp,
    committed: Committed,
    /// Types, lanes and counts, each written once for the whole batch.
    lanes: Lanes,
    /// What the workers that claimed offer.
    labels: HashMap<WorkerId, Map<String, Value>>,
    /// The jobs that came into a line and that nobody has taken yet.
    waiting: BTreeMap<JobId, JobType>,
    /// Who is told of ends, once anybody ended.
    subscribers: Option<Vec<Subscriber>>,
}

/// The outer error fails the batch, the inner one only its command.
type Ran<T, E> = Result<Result<T, Refusal>, E>;

/// Leaves the command with a refusal.
macro_rules! accept {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(refusal) => return Ok(Err(refusal.into())),
        }
    };
}
use accept;

impl<'a, R: Rows> Batch<'a, R> {
    fn new(rows: &'a mut R, now: Timestamp) -> Self {
        Self {
            rows,
            now,
            committed: Committed::default(),
            lanes: Lanes::default(),
            labels: HashMap::new(),
            waiting: BTreeMap::new(),
            subscribers: None,
        }
    }
}

impl<R: Rows> Batch<'_, R> {
    fn command(&mut self, command: Command) -> Result<Outcome, R::Error> {
        match command {
            Command::Submit(submit) => self.submit(*submit),
            Command::Claim(claim) => self.claim(claim),
            Command::Heartbeat(beat) => self.heartbeat(beat),
            Command::Report { job, token, report } => self.report(job, token, *report),
            Command::Checkpoint { job, token, checkpoint } => self.checkpoint(job, token, checkpoint),
            Command::ReserveFile { key, owner } => self.reserve_file(&key, owner),
            Command::SourceReady { job, key, size, sha256 } => self.source_ready(job, key, size, sha256),
            Command::RejectSource { job, failure } => self.reject_source(job, failure),
            Command::SourceVerified { job, token, size, sha256 } => {
                self.source_verified(job, &token, size, sha256)
            }
            Command::Cancel(job) => self.step(job, &Step::Cancel),
            Command::Retry(job) => self.retry(job),
            Command::Reprioritise(job, priority) => self.reprioritise(job, priority),
            Command::SetType { job_type, settings } => self.set_type(&job_type, *settings),
            Command::SetPaused(job_type, paused) => self.set_paused(&job_type, paused),
            Command::ChangeType { job_type, changes } => self.change_type(job_type, changes),
            Command::TimeMoved => self.time_moved(),
            Command::Delete(job) => self.delete(job),
            Command::MarkGarbage(wish) => self.mark_garbage(&wish),
            Command::ForgetFiles(keys) => self.forget_files(&keys),
            Command::Register { registration, alive_for } => self.register(*registration, alive_for),
            Command::Unregister { worker, instance } => self.unregister(worker, instance.as_deref()),
            Command::SetDraining(worker, draining) => self.set_draining(worker, draining),
            Command::RemoveWorker(worker) => self.remove_worker(worker),
            Command::Maintain(maintain) => self.maintain(maintain),
            Command::PutRecord { collection, key, value } => {
                self.change_record(RecordChange::Put { collection, key, value })?;
                Ok(Ok(Done::Ok))
            }
            Command::DeleteRecord { collection, key } => {
                self.change_record(RecordChange::Delete { collection, key })?;
                Ok(Ok(Done::Ok))
            }
            Command::Subscribe(subscriber) => self.subscribe(subscriber),
            Command::Unsubscribe(name) => self.unsubscribe(&name),
            Command::TakeMessages { limit, hold } => self.take_messages(limit, hold),
            Command::SettleMessage { number, tries, settled } => self.settle_message(number, tries, settled),
            Command::SendAgain(message) => self.send_again(*message),
            Command::Recorded { command, records } => self.recorded(command.map(|command| *command), records),
        }
    }

    /// Finds a job that a command names.
    fn find(&mut self, id: JobId) -> Ran<Job, R::Error> {
        Ok(self.rows.job(id)?.ok_or(Refusal::NoSuchJob(id)))
    }

    /// Takes a step that needs nothing else.
    fn step(&mut self, id: JobId, step: &Step) -> Result<Outcome, R::Error> {
        let job = accept!(self.find(id)?);
        let transition = accept!(lifecycle::apply(&job.life, None, step, self.now));
        let job = self.follow(job, transition, |_| {})?;
        Ok(Ok(Done::Job(Box::new(job))))
    }

    /// Writes what a transition makes of a job, and what `change` makes of the rest of it.
    fn follow(
        &mut self,
        before: Job,
        to: Transition,
        change: impl FnOnce(&mut Job),
    ) -> Result<Job, R::Error> {
        let mut after = Job { life: to.life, updated_at: self.now, ..before.clone() };
        if let Phase::Running(lease) = &after.life.phase
            && before.life.epoch != after.life.epoch
        {
            after.started_at = Some(lease.started_at);
            after.progress = None;
            if before.status() == Status::Pending {
                let waited = lease.started_at.since(before.life.ready_at);
                let begun = AttemptChange::Begun { job_type: before.job_type.clone(), waited };
                self.committed.attempts.push(begun);
            }
        }
        if let (Some(ended), Some(lease)) = (&to.ended, before.lease())
            && ended.end == End::Lost
        {
            after.last_error = Some(worker_lost(lease));
        }
        let finality = (before.status().is_final(), after.status().is_final());
        match finality {
            (false, true) => after.ended_at = Some(self.now),
            (true, false) => after.ended_at = None,
            _ => {}
        }
        change(&mut after);
        // It is kept with the attempt alone.
        let reported = after.last_error.as_mut().and_then(|failure| failure.log_tail.take());
        let attempt_failed = to.ended.as_ref().is_some_and(|ended| has_failed(ended.end));
        self.count_failure(&before, &mut after, attempt_failed)?;
        let ended_epoch = to.ended.as_ref().map(|ended| ended.token.epoch);
        if let (Some(ended), Some(lease)) = (to.ended, before.lease()) {
            let failed = has_failed(ended.end);
            self.committed.attempts.push(AttemptChange::Ended {
                job_type: before.job_type.clone(),
                end: ended.end,
                ran: self.now.since(lease.started_at),
                worker: lease.worker.clone(),
            });
            // Whoever was lost could report nothing: then what it said before is all there is.
            let said = self.rows.take_log(before.id)?.filter(|_| failed);
            let attempt = AttemptRow {
                worker: lease.worker.clone(),
                started_at: lease.started_at,
                ended_at: self.now,
                failure: failed.then(|| after.last_error.clone()).flatten(),
                progress: before.progress.clone(),
                host: lease.host.clone(),
                log_tail: reported.or(said),
                lease: ended,
            };
            self.rows.insert_attempt(before.id, &attempt)?;
            self.forget_attempt_before(before.id, attempt.lease.token.epoch)?;
        }
        let mut dropped = Vec::new();
        if matches!(after.status(), Status::Completed | Status::Cancelled) && before.life.epoch != Epoch::NONE
        {
            dropped = self.rows.checkpoints(before.id)?;
            self.rows.delete_checkpoints(before.id)?;
        }
        self.rewrite(&before, &after)?;
        self.review_after(&before, &after, ended_epoch, dropped)?;
        Ok(after)
    }

    /// Forgets the attempt that is one too many now that another one has ended: a job may be snoozed for months.
    fn forget_attempt_before(&mut self, job: JobId, ended: Epoch) -> Result<(), R::Error> {
        match ended.get().checked_sub(MAX_ATTEMPTS_KEPT) {
            Some(epoch) if epoch > 0 => self.rows.delete_attempt(job, Epoch::new(epoch)),
            _ => Ok(()),
        }
    }

    /// Makes `before` into `after` everywhere: its row, its place in line, the counts, and what listeners hear.
    fn rewrite(&mut self, before: &Job, after: &Job) -> Result<(), R::Error> {
        self.rows.update_job(before, after)?;
        let of = self.lanes.of(self.rows, &after.job_type)?;
        if (waits(before), Place::of(before)) != (waits(after), Place::of(after)) {
            if waits(before) {
                self.leave_line(before)?;
            }
            if waits(after) {
                self.enter_line(after)?;
            }
        }
        let change = i32::from(occupies(after)) - i32::from(occupies(before));
        if change != 0 {
            let (key, due) = (after.limit_key.as_deref(), &mut self.committed.next_due);
            if self.lanes.occupy(self.rows, self.now, of, key, change, due)? {
                self.becomes_ready(&after.job_type, Wake::All);
            }
        }
        if let Some(lease) = after.lease().filter(|lease| !lease.lapsed) {
            self.falls_due(lease.expires_at);
        }
        let ended = |job: &Job| i32::from(job.status().is_final());
        self.lanes.live(of, &after.body.requires, ended(before) - ended(after));
        self.lanes.count(of, before, -1);
        self.lanes.count(of, after, 1);
        if after.status().is_final() && !before.status().is_final() {
            let worked = before.lease().map(|lease| self.now.since(lease.started_at)).unwrap_or_default();
            self.lanes.ended(of, after, worked);
            self.note_end(after)?;
        }
        if before.ended_at != after.ended_at {
            self.note_expiry(after, before.ended_at.is_some())?;
        }
        self.announce(after, Some(before.status()));
        Ok(())
    }

    fn enter_line(&mut self, job: &Job) -> Result<(), R::Error> {
        let due = job.life.ready_at;
        // Whose holder fell silent has had its time before, wherever the clock was set since.
        if due > self.now && job.lease().is_none() {
            self.falls_due(due);
            return self.rows.push_scheduled(due, job.id);
        }
        let of = self.lanes.of(self.rows, &job.job_type)?;
        // Its class was made when it was submitted or retried, and lasts while it has not ended.
        if let Ok(class) = self.lanes.class(of, &job.body.requires) {
            let key = job.limit_key.as_deref().unwrap_or_default();
            self.lanes.push(self.rows, of, class, key, Place::of(job))?;
        }
        if self.lanes.is_held_back(of, job.limit_key.as_deref()) {
            // Whoever makes room wakes those who wait.
        } else if job.body.requires.is_empty() {
            self.waiting.insert(job.id, job.job_type.clone());
        } else {
            self.becomes_ready(&job.job_type, Wake::All);
        }
        Ok(())
    }

    fn leave_line(&mut self, job: &Job) -> Result<(), R::Error> {
        if !self.leave_lane(job)? {
            self.rows.remove_scheduled(job.life.ready_at, job.id)?;
        }
        Ok(())
    }

    /// Takes a job out of its lane; `false` if it is in none.
    fn leave_lane(&mut self, job: &Job) -> Result<bool, R::Error> {
        self.waiting.remove(&job.id);
        let of = self.lanes.of(self.rows, &job.job_type)?;
        let Ok(class) = self.lanes.class(of, &job.body.requires) else { return Ok(false) };
        let key = job.limit_key.as_deref().unwrap_or_default();
        self.lanes.remove(self.rows, of, class, key, Place::of(job))
    }

    fn becomes_ready(&mut self, job_type: &JobType, wake: Wake) {
        self.committed.ready.push(Ready { job_type: job_type.clone(), wake });
    }

    fn falls_due(&mut self, at: Timestamp) {
        earlier(&mut self.committed.next_due, at);
    }

    fn announce(&mut self, job: &Job, was: Option<Status>) {
        let (id, job_type, status) = (job.id, job.job_type.clone(), job.status());
        self.committed.events.push(Event::Job { id, job_type, status, was });
    }

    fn maintain(&mut self, maintain: Maintain) -> Result<Outcome, R::Error> {
        let mut done = Maintained::default();
        for (at, id) in self.rows.due_scheduled(self.now, maintain.limit)? {
            self.rows.remove_scheduled(at, id)?;
            if let Some(job) = self.rows.job(id)? {
                self.enter_line(&job)?;
                done.promoted += 1;
            }
        }
        let mut held_back = None;
        let until = maintain.asked_at.min(self.now);
        for id in self.rows.due_leases(until, maintain.limit)? {
            let Some(job) = self.rows.job(id)? else { continue };
            let Some(lease) = job.lease() else { continue };
            // Its holder could not renew while the store was away: it gets a whole lease time to do so.
            let not_before = maintain.available_since + lease.duration;
            if not_before > until {
                earlier(&mut held_back, not_before);
            } else if let Ok(transition) = lifecycle::apply(&job.life, None, &Step::Lapse, self.now) {
                self.follow(job, transition, |_| {})?;
                done.lapsed += 1;
            }
        }
        for id in self.rows.stale_uploads(self.now - maintain.upload_limit, maintain.limit)? {
            let Some(job) = self.rows.job(id)? else { continue };
            if let Ok(transition) = lifecycle::apply(&job.life, None, &Step::UploadExpired, self.now) {
                self.follow(job, transition, |_| {})?;
                done.uploads_expired += 1;
            }
        }
        done.reopened = self.reopen(maintain.limit)?;
        done.keys_expired = self.expire_keys(maintain.limit)?;
        // Keys that expire are looked for at leisure, unless there were too many for this time.
        let more_keys = (maintain.limit > 0 && done.keys_expired == maintain.limit).then_some(self.now);
        // A lease that is due still is either held back, or one too many for this time.
        let leases = self.rows.next_lease_expiry()?;
        let leases = leases.map(|at| if at > until { at } else { held_back.unwrap_or(self.now) });
        done.workers_forgotten = self.forget_silent_workers(maintain.limit)?;
        done.expired = self.expire(maintain.limit)?;
        done.messages_dropped = self.drop_messages(maintain.limit)?;
        let rescan = self.rescan(maintain.limit)?;
        let (scheduled, reopening) = (self.rows.next_scheduled()?, self.rows.next_reopening()?);
        let next = [leases, held_back, scheduled, reopening, self.rows.next_expiry()?, rescan, more_keys];
        done.next_due = next.into_iter().flatten().min();
        Ok(Ok(Done::Maintained(done)))
    }

    /// The ended attempt that a lease names, for a report that may be a repetition.
    fn ended(&mut self, job: &Job, epoch: Epoch) -> Result<Option<crate::EndedLease>, R::Error> {
        let current = job.lease().is_some_and(|lease| lease.token.epoch == epoch);
        if current { Ok(None) } else { self.rows.ended_lease(job.id, epoch) }
    }
}

/// Notes that something falls due at `at`.
fn earlier(due: &mut Option<Timestamp>, at: Timestamp) {
    *due = Some(due.map_or(at, |due| due.min(at)));
}

/// Whether an attempt that ended so went wrong.
fn has_failed(end: End) -> bool {
    matches!(end, End::Failed | End::Lost)
}

/// Whether a job stands in a line: it is pending, or its holder has fallen silent.
fn waits(job: &Job) -> bool {
    match &job.life.phase {
        Phase::Pending => true,
        Phase::Running(lease) => lease.lapsed,
        _ => false,
    }
}

/// Whether a job counts as running for the limits: one whose holder is silent waits for another one.
fn occupies(job: &Job) -> bool {
    job.lease().is_some_and(|lease| !lease.lapsed)
}

/// Says how a worker was lost; not what became of the job, so that all losses of a kind are one group.
fn worker_lost(lease: &Lease) -> Failure {
    let worker = lease.worker.as_str();
    let how = if lease.lapsed {
        format!("worker {worker:?} fell silent: its lease ended at {} without a heartbeat", lease.expires_at)
    } else {
        format!("worker {worker:?} was started again or removed while it ran this job")
    };
    let message = format!("{how}. Look at its log, and whether its machine ran out of memory");
    Failure::new("worker_lost", message)
}

/// The refusal of a report under a lease that is not current.
fn lease_lost(job: &Job) -> Refusal {
    let holder = job.lease().map(|lease| (lease.worker.clone(), lease.started_at));
    Refused::LeaseLost { status: job.status(), holder }.into()
}
