//! The durable record of one piece of work: plain data, checked where it enters.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{FailureGroupId, Lease, Life, Phase, Requirements, Timestamp, TraceParent};

/// A job's number, unique within its store and never reused.
///
/// ```
/// use blobforge_core::JobId;
/// let id = JobId::new(17);
/// assert_eq!((id.get(), id.to_string().as_str()), (17, "17"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(i64);

impl JobId {
    /// The id with this number.
    ///
    /// As in [`JobId`].
    pub fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    ///
    /// As in [`JobId`].
    pub fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value that a constructor refused, and why.
///
/// ```
/// use blobforge_core::{Invalid, JobType};
/// assert_eq!(JobType::new("PDF text").unwrap_err().field, "type");
/// assert_eq!(Invalid::new("pages", "use 1 to 300").to_string(), "pages: use 1 to 300");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// The field, as callers know it.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Invalid {
    /// A refusal of `field` for `reason`.
    ///
    /// As in [`Invalid`].
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { field, reason }
    }
}

/// What is valid already cannot be refused.
impl From<std::convert::Infallible> for Invalid {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// What kind of work a job is: `a` to `z`, digits, `.`, `_` and `-`, at most 64 of them.
///
/// ```
/// use blobforge_core::JobType;
/// assert_eq!(JobType::new("pdf-text").unwrap().as_str(), "pdf-text");
/// assert!(JobType::new("PDF text").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobType(String);

impl JobType {
    /// Checks and takes a name.
    ///
    /// As in [`JobType`].
    ///
    /// # Errors
    /// When the name is empty, too long, or has other characters.
    pub fn new(name: impl Into<String>) -> Result<Self, Invalid> {
        let name = name.into();
        let fits = (1..=64).contains(&name.len())
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        if fits {
            Ok(Self(name))
        } else {
            Err(Invalid::new(
                "type",
                "a job type is 1 to 64 of a-z, 0-9, '.', '_' and '-', such as \"pdf-text\"",
            ))
        }
    }

    /// The name.
    ///
    /// As in [`JobType`].
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for JobType {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl TryFrom<&str> for JobType {
    type Error = Invalid;

    fn try_from(name: &str) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl From<JobType> for String {
    fn from(name: JobType) -> Self {
        name.0
    }
}

/// How urgent a job is among those of its type that wait.
///
/// ```
/// use blobforge_core::Priority;
/// assert_eq!("high".parse::<Priority>().unwrap(), Priority::try_from(2).unwrap());
/// assert!(Priority::Critical < Priority::Background, "the most urgent comes first");
/// assert_eq!(Priority::ALL.map(Priority::name)[2], "normal");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Priority {
    /// 1: somebody is waiting for it.
    Critical = 1,
    /// 2: before the ordinary.
    High = 2,
    /// 3: the ordinary.
    #[default]
    Normal = 3,
    /// 4: after the ordinary.
    Low = 4,
    /// 5: when there is nothing else to do.
    Background = 5,
}

impl Priority {
    /// All five, most urgent first.
    ///
    /// As in [`Priority`].
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Normal, Self::Low, Self::Background];

    /// Its name in lower case.
    ///
    /// As in [`Priority`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
            Self::Background => "background",
        }
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority as Self
    }
}

impl TryFrom<u8> for Priority {
    type Error = Invalid;

    fn try_from(number: u8) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|p| u8::from(*p) == number).ok_or_else(|| {
            Invalid::new("priority", format!("{number} is no priority: use 1 (critical) to 5 (background)"))
        })
    }
}

impl FromStr for Priority {
    type Err = Invalid;

    /// Reads `1`, `critical` and `1_critical` alike.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|p| {
                let (number, name) = (u8::from(*p), p.name());
                text == name || text == number.to_string() || text == format!("{number}_{name}")
            })
            .ok_or_else(|| {
                Invalid::new(
                    "priority",
                    format!("{text:?} is no priority: use 1 (critical) to 5 (background)"),
                )
            })
    }
}

/// Where a job is in its life.
///
/// ```
/// use blobforge_core::Status;
/// assert_eq!("running".parse::<Status>().unwrap(), Status::Running);
/// let ended = Status::ALL.into_iter().filter(|status| status.is_final()).map(Status::as_str);
/// assert_eq!(ended.collect::<Vec<_>>(), ["completed", "failed", "cancelled"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its source has not arrived yet.
    Uploading,
    /// It waits for a worker, or for its time.
    Pending,
    /// A worker holds its lease.
    Running,
    /// Its result was accepted.
    Completed,
    /// It failed for good: the dead letter.
    Failed,
    /// Somebody called it off.
    Cancelled,
}

impl Status {
    /// All six, in the order of a life.
    ///
    /// As in [`Status`].
    pub const ALL: [Self; 6] =
        [Self::Uploading, Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// Its name, as in the API.
    ///
    /// As in [`Status`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the job has ended; only a retry by hand leads out of it.
    ///
    /// As in [`Status`].
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Invalid;

    /// Reads the six names, and `dead`, the earlier word for `failed`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "dead" {
            return Ok(Self::Failed);
        }
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            Invalid::new("status", format!("{text:?} is none of {names}"))
        })
    }
}

/// The SHA-256 of a file's content.
///
/// ```
/// use blobforge_core::Sha256;
/// let hash: Sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".parse().unwrap();
/// assert_eq!(Sha256::from_bytes(*hash.as_bytes()), hash);
/// assert!("9f86d081".parse::<Sha256>().is_err(), "it has 64 digits");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The hash made of these bytes.
    ///
    /// As in [`Sha256`].
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    ///
    /// As in [`Sha256`].
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map(|()| Self(bytes)).map_err(|_| {
            Invalid::new("source_hash", "a SHA-256 is 64 hexadecimal digits, as sha256sum prints it")
        })
    }
}

impl TryFrom<String> for Sha256 {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(hash: Sha256) -> Self {
        hash.to_string()
    }
}

/// A job's input file.
///
/// As in [`Queue::submit_file`](crate::Queue::submit_file).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it is kept in the blob store.
    pub key: String,
    /// Its size in bytes; once the file is there, its true size.
    pub size: Option<u64>,
    /// The hash of its content: what the submitter claims until `verified`.
    pub sha256: Option<Sha256>,
    /// The hash was found by reading the whole file.
    pub verified: bool,
    /// The file is there and was checked; it stays until the job is deleted.
    pub arrived: bool,
}

/// A file that a job produced.
///
/// As in [`Queue::reserve_output`](crate::Queue::reserve_output).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its name, a relative path with `/`.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The hash of its content.
    pub sha256: Option<Sha256>,
    /// Where it is kept in the blob store.
    pub key: String,
}

/// A partial result that survives the attempt that wrote it.
///
/// As in [`Queue::reserve_checkpoint`](crate::Queue::reserve_checkpoint).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its name, a relative path with `/`.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The hash of its content.
    pub sha256: Sha256,
    /// Where it is kept in the blob store.
    pub key: String,
}

/// How far an attempt has come.
///
/// As in [`Queue::heartbeat`](crate::Queue::heartbeat).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done, such as pages.
    pub done: u64,
    /// Steps in all, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// A word about it for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Why an attempt failed.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
/// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
/// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
/// # queue.register(registration).await.unwrap();
/// # queue.submit(blobforge_core::NewJob::new("pdf").unwrap()).await.unwrap();
/// # let claimed = queue.claim(&smith, &pdf, 1, std::time::Duration::ZERO).await.unwrap().remove(0);
/// use blobforge_core::Failure;
/// let failure = Failure::new("encrypted", "This PDF needs a password.");
/// let failure = Failure { log_tail: Some("opening letter.pdf".to_owned()), ..failure };
/// queue.fail(claimed.job.id, claimed.token, failure, false).await.unwrap();
/// assert_eq!(queue.job(claimed.job.id).await.unwrap().last_error.unwrap().kind, "encrypted");
/// let attempts = queue.history(claimed.job.id).await.unwrap();
/// assert_eq!(attempts[0].log_tail.as_deref(), Some("opening letter.pdf"));
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure, in snake_case, such as `encrypted`: what failures are grouped by.
    pub kind: String,
    /// What happened, for people.
    pub message: String,
    /// More for whoever investigates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// The last lines of the handler's log, in a report. They are kept with the attempt, as its `log_tail`, and nowhere
    /// else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_tail: Option<String>,
}

impl Failure {
    /// A failure of a kind, with a message for people.
    ///
    /// As in [`Failure`].
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), details: None, log_tail: None }
    }
}

/// What was said of a job by who submitted it. Who submits the same work later adds tags and paths, as far as there is
/// room for them; nobody else changes anything.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::NewJob;
/// let mut job = NewJob::new("pdf").unwrap().param("language", "de").tag("invoices");
/// job.body.metadata.insert("order".to_owned(), 17.into());
/// job.body.submitter = Some("ann".to_owned());
/// let id = queue.submit(job.clone()).await.unwrap().id;
/// assert_eq!(queue.job(id).await.unwrap().body, job.body);
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Body {
    /// What the handler is told.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// Words to find it by: at most [`MAX_TAGS`](crate::MAX_TAGS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What it asks of its worker's labels.
    #[serde(default, skip_serializing_if = "Requirements::is_empty")]
    pub requires: Requirements,
    /// Whatever the submitter wants to find again; never interpreted.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// What the source is called where it came from: a label, never opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_path: Option<String>,
    /// What it is called by others who submitted the same work: with `source_path` at most
    /// [`MAX_SOURCE_PATHS`](crate::MAX_SOURCE_PATHS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_paths: Vec<String>,
    /// Who submitted it: an account, or whatever the embedding program says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitter: Option<String>,
    /// Where in a trace its submission belongs. It tells no two submissions apart.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::trace_parent::lenient"
    )]
    pub traceparent: Option<TraceParent>,
    /// Where its ends are to be told: at most [`MAX_NOTIFY`](crate::MAX_NOTIFY) places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<crate::Notify>,
}

/// The durable record of one piece of work.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{NewJob, Status};
/// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
/// let job = queue.job(id).await.unwrap();
/// assert_eq!((job.status(), job.status_label(queue.now())), (Status::Pending, "pending"));
/// assert!(job.lease().is_none() && job.started_at.is_none(), "nobody has claimed it");
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What kind of work it is.
    pub job_type: JobType,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it is in its life.
    pub life: Life,
    /// What the submitter said.
    pub body: Body,
    /// The key under which its type's limits count it: what it was when the job was submitted.
    pub limit_key: Option<String>,
    /// Whoever submits the same work is handed this job; otherwise it is nobody's duplicate.
    pub dedup: bool,
    /// Its input file; a job may have none.
    pub source: Option<Source>,
    /// The last thing said about how far the current or last attempt has come.
    pub progress: Option<Progress>,
    /// Why the last attempt that failed did so.
    pub last_error: Option<Failure>,
    /// The group of failures that it belongs to, while it is failed.
    pub failure_group: Option<FailureGroupId>,
    /// What the handler returned.
    pub result: Option<Value>,
    /// The files that the accepted completion named.
    pub outputs: Vec<Output>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When its current or last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When anything about it last changed.
    pub updated_at: Timestamp,
}

impl Job {
    /// Where it is in its life.
    ///
    /// As in [`Job`].
    pub fn status(&self) -> Status {
        self.life.phase.status()
    }

    /// The source that it waits for, while it is uploading.
    ///
    /// As in [`Queue::send_source`](crate::Queue::send_source).
    pub fn awaited_source(&self) -> Option<&Source> {
        self.source.as_ref().filter(|source| self.status() == Status::Uploading && !source.arrived)
    }

    /// Its lease, while it is running.
    ///
    /// As in [`Job`], and of a running one as in [`Lease`].
    pub fn lease(&self) -> Option<&Lease> {
        match &self.life.phase {
            Phase::Running(lease) => Some(lease),
            _ => None,
        }
    }

    /// The status in words for people, which also tells a job that waits for its time from one that waits for a worker.
    ///
    /// As in [`Job`] and [`NewJob::run_at`](crate::NewJob::run_at).
    pub fn status_label(&self, now: Timestamp) -> &'static str {
        match &self.life.phase {
            Phase::Pending if self.life.ready_at > now && self.life.failures > 0 => "retrying",
            Phase::Pending if self.life.ready_at > now => "scheduled",
            Phase::Running(lease) if lease.cancel_requested => "cancelling",
            Phase::Running(lease) if lease.lapsed => "worker silent",
            phase => phase.status().as_str(),
        }
    }
}
