//! An embeddable, durable job queue for large files and slow work.

pub mod blob;
pub mod broker;
#[cfg(feature = "conformance")]
pub mod conformance;
mod entropy;
mod failure_group;
mod inline;
mod job;
mod lease;
pub mod lifecycle;
mod limits;
mod new_job;
pub mod queue;
mod requirement;
mod retry;
mod settings;
pub mod storage;
mod task;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod worker;

pub use entropy::{Entropy, SystemEntropy};
pub use failure_group::{
    FailureGroup, FailureGroupId, MAX_FAILURE_GROUPS, MAX_GROUP_MESSAGE_BYTES, normalised,
};
pub use inline::{
    MAX_FAILURE_DETAILS_BYTES, MAX_FAILURE_KIND_BYTES, MAX_FAILURE_MESSAGE_BYTES, MAX_LOG_TAIL_BYTES,
    MAX_PROGRESS_TEXT_BYTES, MAX_RESULT_BYTES, check_failure_kind, check_result,
};
pub use job::{
    Body, Checkpoint, Failure, Invalid, Job, JobId, JobType, Output, Priority, Progress, Sha256, Source,
    Status,
};
pub use lease::{BadLeaseToken, Epoch, Generation, Lease, LeaseSecret, LeaseToken};
pub use lifecycle::{
    End, EndedLease, Finish, FinishKind, Finished, Life, MAX_LOSSES, NewLease, Phase, Refused, Reply, Step,
    Transition,
};
pub use limits::{KeyLimits, LimitBy, Limits, MAX_LIMIT_KEY_BYTES, Rate, StartedUpTo};
pub use new_job::{
    MAX_ATTEMPTS_LIMIT, MAX_JSON_BYTES, MAX_KEY_BYTES, MAX_SOURCE_PATH_BYTES, MAX_TAG_BYTES, MAX_TAGS,
    NewJob, NewSource, file_name,
};
pub use queue::{Queue, QueueBuilder, QueueError};
pub use requirement::{
    MAX_LABEL_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_REQUIREMENTS, Requirement, Requirements,
};
pub use retry::{Jitter, RetryPolicy};
#[cfg(feature = "sqlite")]
pub use rusqlite;
pub use settings::{OLDEST_SHARE, Retention, TypeRecord, TypeSettings};
pub use task::Task;
pub use time::{BadTimestamp, Clock, ManualClock, SystemClock, Timestamp};
pub use worker::{MAX_HOST_BYTES, Registration, WorkerId, WorkerRecord};
