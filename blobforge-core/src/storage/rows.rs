//! What a backend does for [`super::execute`]: select, insert, update and delete, and nothing that decides.

mod front;
mod history;
mod outbox;

use std::rc::Rc;

use serde_json::Value;

use super::query::Hour;
use crate::{
    Checkpoint, Condition, EndedLease, Epoch, Failure, Generation, Job, JobId, JobType, Priority, Progress,
    Requirements, Sha256, StartedUpTo, Status, Timestamp, TypeSettings, WorkerId, WorkerRecord,
};

/// A job's place in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) priority: Priority,
    pub(super) ready_at: Timestamp,
    pub(super) id: JobId,
}

impl Place {
    pub(super) fn of(job: &Job) -> Self {
        Self { priority: job.priority, ready_at: job.life.ready_at, id: job.id }
    }
}

/// The number of a lane: one line of jobs, all of one type, one requirement class and one limit key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId(pub(super) i64);

/// What a lane shows to claims while it has jobs that may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// That of its first job.
    pub(super) priority: Priority,
    /// Its turn among the lanes of its class with that priority.
    pub(super) turn: i64,
    /// No job in it is ready since before this; the oldest may be younger.
    pub(super) oldest: Timestamp,
}

/// What is kept of a lane beside its jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LaneState {
    /// `None` while nothing of it may start.
    pub(super) head: Option<Head>,
    /// What goes on under the limits of its key. It stands in the lane of class 0, also while that one has no jobs.
    pub(super) load: Load,
}

/// A lane, as it is kept.
#[derive(Clone, Debug)]
pub(super) struct LaneRow {
    pub(super) id: LaneId,
    pub(super) state: LaneState,
    pub(super) front: Front,
}

/// A type, as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TypeRow {
    pub(super) settings: TypeSettings,
    pub(super) paused: bool,
    pub(super) load: Load,
    /// The last turn that a lane was given.
    pub(super) turn: i64,
}

/// What goes on under a limit, be it a type's or a key's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// How many jobs run whose holder is not silent.
    pub(super) running: u32,
    pub(super) started: StartedUpTo,
    /// A claim was turned away: whoever makes room has to say so.
    pub(super) blocked: bool,
    /// When there is room again by the clock alone.
    pub(super) reopens_at: Option<Timestamp>,
}

/// The jobs of a type that ask the same of their worker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClassRow {
    /// Its number within the type; 0 asks for nothing.
    pub(super) class: u8,
    pub(super) requires: Requirements,
    /// How many claims could have taken its oldest job since one did so for its age.
    pub(super) passed: u32,
    /// How many of its jobs have not ended; not kept for class 0.
    pub(super) live: u32,
}

/// An attempt that has ended, as it is kept.
#[derive(Clone, Debug)]
pub(super) struct AttemptRow {
    pub(super) lease: EndedLease,
    pub(super) worker: WorkerId,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Timestamp,
    pub(super) failure: Option<Failure>,
    pub(super) progress: Option<Progress>,
    pub(super) host: Option<String>,
    pub(super) log_tail: Option<String>,
}

/// A file as the store recorded it before it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileRow {
    pub(super) key: String,
    /// The job that it was first meant for; others may share it as their source.
    pub(super) job: Option<JobId>,
    /// The attempt that it was written under, if it was written under one.
    pub(super) epoch: Option<Epoch>,
    pub(super) created_at: Timestamp,
    /// Since when nobody needs it. A time to come means that it counts as needed until then.
    pub(super) dead_since: Option<Timestamp>,
    /// When its deletion was last begun: from then on nobody may need it again.
    pub(super) deleting_since: Option<Timestamp>,
}

/// As much of a job as its retention needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndedRow {
    pub(super) id: JobId,
    pub(super) job_type: JobType,
    pub(super) status: Status,
    /// `None` if it has not ended.
    pub(super) ended_at: Option<Timestamp>,
}

pub(super) use front::{Front, MAX_FRONT};
pub(super) use history::{FailureGroupRows, KeyRow, KeyRows, LogRows};
pub(super) use outbox::OutboxRows;

/// As much of a worker as its claims need.
#[derive(Clone, Debug)]
pub(super) struct Claimer {
    pub(super) draining: bool,
    pub(super) host: Option<String>,
}

/// The rows of a store within one transaction.
pub(super) trait Rows: KeyRows + FailureGroupRows + LogRows + OutboxRows {
    fn generation(&self) -> Generation;

    fn job(&mut self, id: JobId) -> Result<Option<Job>, Self::Error>;
    /// Inserts a job that is not running; its id is ignored, and the new one returned.
    fn insert_job(&mut self, job: &Job) -> Result<JobId, Self::Error>;
    /// When the job with the highest id was submitted.
    fn newest_job(&mut self) -> Result<Option<Timestamp>, Self::Error>;
    /// Has the next job get an id that is higher by so much than it would have got.
    fn skip_ids(&mut self, by: u64) -> Result<(), Self::Error>;
    /// Makes the row of `before` that of `after`, lease included.
    fn update_job(&mut self, before: &Job, after: &Job) -> Result<(), Self::Error>;
    /// Deletes an ended job's row, attempts and checkpoints.
    fn delete_job(&mut self, id: JobId) -> Result<(), Self::Error>;

    fn push_scheduled(&mut self, at: Timestamp, id: JobId) -> Result<(), Self::Error>;
    fn remove_scheduled(&mut self, at: Timestamp, id: JobId) -> Result<(), Self::Error>;
    /// Jobs scheduled up to `now`, the earliest first.
    fn due_scheduled(&mut self, now: Timestamp, limit: usize)
    -> Result<Vec<(Timestamp, JobId)>, Self::Error>;
    fn next_scheduled(&mut self) -> Result<Option<Timestamp>, Self::Error>;

    /// Running jobs whose lease has expired and was not marked so, the earliest first.
    fn due_leases(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, Self::Error>;
    fn next_lease_expiry(&mut self) -> Result<Option<Timestamp>, Self::Error>;
    fn leases_of(&mut self, worker: &WorkerId) -> Result<Vec<JobId>, Self::Error>;
    /// Running jobs behind one, by number.
    fn leases_after(&mut self, after: JobId, limit: usize) -> Result<Vec<JobId>, Self::Error>;
    /// Uploading jobs last changed up to `before`, the oldest first.
    fn stale_uploads(&mut self, before: Timestamp, limit: usize) -> Result<Vec<JobId>, Self::Error>;

    fn insert_attempt(&mut self, job: JobId, attempt: &AttemptRow) -> Result<(), Self::Error>;
    fn delete_attempt(&mut self, job: JobId, epoch: Epoch) -> Result<(), Self::Error>;
    fn ended_lease(&mut self, job: JobId, epoch: Epoch) -> Result<Option<EndedLease>, Self::Error>;

    fn checkpoints(&mut self, job: JobId) -> Result<Vec<Checkpoint>, Self::Error>;
    fn put_checkpoint(&mut self, job: JobId, checkpoint: &Checkpoint) -> Result<(), Self::Error>;
    fn delete_checkpoints(&mut self, job: JobId) -> Result<(), Self::Error>;

    /// The job that does this work, if one is known in this scope.
    fn duplicate(&mut self, work: &[u8; 32], scope: &str) -> Result<Option<JobId>, Self::Error>;
    /// Remembers who does this work, unless a job that is there does already.
    fn put_duplicate(&mut self, work: &[u8; 32], scope: &str, job: JobId) -> Result<(), Self::Error>;
    /// Forgets that this job does this work, if it is the one that is remembered.
    fn delete_duplicate(&mut self, work: &[u8; 32], scope: &str, job: JobId) -> Result<(), Self::Error>;
    /// Where verified content lies.
    fn content(&mut self, sha256: &Sha256) -> Result<Option<(String, u64)>, Self::Error>;
    fn put_content(&mut self, sha256: &Sha256, key: &str, size: u64) -> Result<(), Self::Error>;

    /// Forgets what lies under this key as known content.
    fn forget_content(&mut self, key: &str) -> Result<(), Self::Error>;

    fn file(&mut self, key: &str) -> Result<Option<FileRow>, Self::Error>;
    /// Inserts or replaces.
    fn put_file(&mut self, file: &FileRow) -> Result<(), Self::Error>;
    fn delete_file(&mut self, key: &str) -> Result<(), Self::Error>;
    /// The files recorded for a job, or for one attempt of it.
    fn files_of(&mut self, job: JobId, epoch: Option<Epoch>) -> Result<Vec<FileRow>, Self::Error>;
    /// Files dead since a time up to `until` and not being deleted, by that time and key, behind `after`.
    fn dead_files(
        &mut self,
        after: &(Timestamp, String),
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<FileRow>, Self::Error>;
    /// Files whose deletion was last begun up to `until`, the earliest first.
    fn deleting_files(&mut self, until: Timestamp, limit: usize) -> Result<Vec<FileRow>, Self::Error>;
    /// Whether a job that has its source, or waits for it, has it under this key.
    fn is_source(&mut self, key: &str) -> Result<bool, Self::Error>;
    /// Whether a job's source that has arrived lies under this key.
    fn has_arrived(&mut self, key: &str) -> Result<bool, Self::Error>;
    /// Begins this generation: the store was restored from a backup now.
    fn begin_generation(&mut self, generation: Generation, now: Timestamp) -> Result<(), Self::Error>;
    /// When the store was last restored from a backup.
    fn restored_at(&mut self) -> Result<Option<Timestamp>, Self::Error>;

    /// Notes when an ended job is to be deleted, in place of any earlier note.
    fn put_expiry(&mut self, job: JobId, at: Timestamp) -> Result<(), Self::Error>;
    fn delete_expiry(&mut self, job: JobId) -> Result<(), Self::Error>;
    /// Jobs that are to be deleted up to `now`, the earliest first.
    fn due_expiries(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, Self::Error>;
    fn next_expiry(&mut self) -> Result<Option<Timestamp>, Self::Error>;
    /// Notes that a type's retention is still to be applied to its jobs below `below`; `None` when it has been.
    fn put_rescan(&mut self, job_type: &JobType, below: Option<JobId>) -> Result<(), Self::Error>;
    /// The first type by name whose retention is still to be applied.
    fn first_rescan(&mut self) -> Result<Option<(JobType, JobId)>, Self::Error>;
    /// Jobs of any type and state below one, the newest first. One that runs may seem to wait.
    fn jobs_below(&mut self, below: JobId, limit: usize) -> Result<Vec<EndedRow>, Self::Error>;

    /// Whether a worker is registered, and if so whether it is draining.
    fn is_draining(&mut self, id: &WorkerId) -> Result<Option<bool>, Self::Error>;
    /// The same, and its machine as it said when it registered.
    fn claimer(&mut self, id: &WorkerId) -> Result<Option<Claimer>, Self::Error>;
    /// The jobs whose leases a worker got by the claim that it called so, by number.
    fn leases_of_claim(&mut self, worker: &WorkerId, claim_id: &str) -> Result<Vec<JobId>, Self::Error>;
    fn worker(&mut self, id: &WorkerId) -> Result<Option<WorkerRecord>, Self::Error>;
    fn put_worker(&mut self, worker: &WorkerRecord) -> Result<(), Self::Error>;
    /// Workers last heard of up to `until`, the longest silent first.
    fn silent_workers(&mut self, until: Timestamp, limit: usize) -> Result<Vec<WorkerId>, Self::Error>;
    /// It was heard of, and said how it is if that is news.
    fn touch_worker(
        &mut self,
        id: &WorkerId,
        now: Timestamp,
        condition: Option<&Condition>,
    ) -> Result<(), Self::Error>;
    fn delete_worker(&mut self, id: &WorkerId) -> Result<(), Self::Error>;

    fn put_record(&mut self, collection: &str, key: &str, value: &Value) -> Result<(), Self::Error>;
    fn delete_record(&mut self, collection: &str, key: &str) -> Result<(), Self::Error>;
    /// The last key of a collection.
    fn last_record(&mut self, collection: &str) -> Result<Option<String>, Self::Error>;
    fn delete_records_up_to(&mut self, collection: &str, key: &str) -> Result<(), Self::Error>;

    /// So many more jobs of a type are in a state, and their sources have so many more bytes.
    fn add_count(
        &mut self,
        job_type: &JobType,
        status: Status,
        jobs: i64,
        bytes: i64,
    ) -> Result<(), Self::Error>;
    /// Adds to what ended in an hour, in place of what its slot had of an earlier one.
    fn add_ended(&mut self, job_type: &JobType, hour: Hour) -> Result<(), Self::Error>;
}

/// The rows that say who is next: types, classes, limit keys and lanes, and the jobs in each lane.
pub(super) trait LaneRows {
    type Error;

    fn job_type(&mut self, job_type: &JobType) -> Result<Option<TypeRow>, Self::Error>;
    fn put_type(&mut self, job_type: &JobType, row: &TypeRow) -> Result<(), Self::Error>;
    /// Types whose limit makes room by the clock up to `now`.
    fn reopening_types(&mut self, now: Timestamp) -> Result<Vec<JobType>, Self::Error>;

    /// The classes of a type, by number.
    fn classes(&mut self, job_type: &JobType) -> Result<Vec<ClassRow>, Self::Error>;
    fn put_class(&mut self, job_type: &JobType, row: &ClassRow) -> Result<(), Self::Error>;

    /// Makes every blocked key of a type one that reopens at `at`.
    fn reopen_keys(&mut self, job_type: &JobType, at: Timestamp) -> Result<(), Self::Error>;
    /// Keys whose limit makes room by the clock up to `now`, the earliest first.
    fn reopening_keys(&mut self, now: Timestamp, limit: usize)
    -> Result<Vec<(JobType, String)>, Self::Error>;
    /// Makes everything that reopens at a later time reopen at `at`.
    fn reopen_all_at(&mut self, at: Timestamp) -> Result<(), Self::Error>;
    /// When the next type or key reopens.
    fn next_reopening(&mut self) -> Result<Option<Timestamp>, Self::Error>;

    fn lane(&mut self, job_type: &JobType, class: u8, key: &str) -> Result<Option<LaneRow>, Self::Error>;
    /// The classes in which a key has lanes.
    fn lanes_of_key(&mut self, job_type: &JobType, key: &str) -> Result<Vec<u8>, Self::Error>;
    fn insert_lane(&mut self, job_type: &JobType, class: u8, key: &str) -> Result<LaneId, Self::Error>;
    fn delete_lane(&mut self, lane: LaneId) -> Result<(), Self::Error>;
    /// Writes what is kept of a lane, which was `kept` before, and its front.
    fn update_lane(
        &mut self,
        lane: LaneId,
        kept: &LaneState,
        state: &LaneState,
        front: &Front,
    ) -> Result<(), Self::Error>;
    /// Up to `limit` lanes of a class that show a head, with their keys, the one with the best priority and turn first:
    /// those after the one named, or from the very first.
    fn heads(
        &mut self,
        job_type: &JobType,
        class: u8,
        after: Option<(Priority, i64, LaneId)>,
        limit: usize,
    ) -> Result<Vec<(Rc<str>, LaneRow)>, Self::Error>;
    /// The key of the lane of a class whose head has the lowest `oldest`.
    fn oldest_head(&mut self, job_type: &JobType, class: u8) -> Result<Option<String>, Self::Error>;

    /// Puts a job in line behind a lane's front.
    fn push_ready(&mut self, lane: LaneId, place: &Place) -> Result<(), Self::Error>;
    /// Takes it out, if it is there.
    fn remove_ready(&mut self, lane: LaneId, place: &Place) -> Result<bool, Self::Error>;
    /// Takes out the first ones in line behind a lane's front, and names them in order.
    fn take_ready(&mut self, lane: LaneId, limit: usize) -> Result<Vec<Place>, Self::Error>;
    /// The one of those in line behind a lane's front that has waited longest, whatever its priority.
    fn oldest_ready(&mut self, lane: LaneId) -> Result<Option<Place>, Self::Error>;
}

impl AttemptRow {
    /// What of it is anybody's to see.
    pub(super) fn to_attempt(&self) -> super::Attempt {
        super::Attempt {
            epoch: self.lease.token.epoch,
            worker: self.worker.clone(),
            started_at: self.started_at,
            ended_at: Some(self.ended_at),
            end: Some(self.lease.end),
            failure: self.failure.clone(),
            progress: self.progress.clone(),
            host: self.host.clone(),
            log_tail: self.log_tail.clone(),
        }
    }
}
