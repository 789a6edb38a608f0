//! The processes that claim jobs.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Condition, Invalid, JobType, MAX_JSON_BYTES, Timestamp, bounds, requirement::check_labels};

/// The most bytes of the name of a worker's machine.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{JobType, Registration, WorkerId};
/// use blobforge_core::{MAX_HOST_BYTES, MAX_INSTANCE_BYTES, MAX_WORKER_NAME_BYTES, MAX_WORKER_TYPES};
/// let (smith, pdf) = (WorkerId::new("smith").unwrap(), JobType::new("pdf").unwrap());
/// let fine = Registration::new(smith, [pdf.clone()], "drawn at the start");
/// let text = |most| "x".repeat(most + 1);
/// for (field, registration) in [
///     ("host", Registration { host: Some(text(MAX_HOST_BYTES)), ..fine.clone() }),
///     ("name", Registration { name: Some(text(MAX_WORKER_NAME_BYTES)), ..fine.clone() }),
///     ("instance", Registration { instance: text(MAX_INSTANCE_BYTES), ..fine.clone() }),
///     ("types", Registration { types: vec![pdf; MAX_WORKER_TYPES + 1], ..fine }),
/// ] {
///     let refused = queue.register(registration).await.unwrap_err();
///     assert!(refused.to_string().starts_with(field), "{refused}");
/// }
/// # });
/// ```
pub const MAX_HOST_BYTES: usize = 255;
/// The most bytes of a worker's name for people.
///
/// As in [`MAX_HOST_BYTES`].
pub const MAX_WORKER_NAME_BYTES: usize = 255;
/// The most bytes of the secret of a worker's process.
///
/// As in [`MAX_HOST_BYTES`].
pub const MAX_INSTANCE_BYTES: usize = 256;
/// The most types that a worker serves, and that a claim asks for.
///
/// As in [`MAX_HOST_BYTES`].
pub const MAX_WORKER_TYPES: usize = 256;

/// A worker's name: 1 to 128 of letters, digits, `.`, `_`, `:` and `-`.
///
/// ```
/// use blobforge_core::WorkerId;
/// assert_eq!(WorkerId::new("basement:gpu-1").unwrap().as_str(), "basement:gpu-1");
/// assert_eq!(WorkerId::new("gpu 1").unwrap_err().field, "worker_id");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerId(String);

impl WorkerId {
    /// Checks and takes a name.
    ///
    /// As in [`WorkerId`].
    ///
    /// # Errors
    /// When the name is empty, too long, or has other characters.
    pub fn new(name: impl Into<String>) -> Result<Self, Invalid> {
        let name = name.into();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        if (1..=128).contains(&name.len()) && name.bytes().all(plain) {
            Ok(Self(name))
        } else {
            Err(Invalid::new("worker_id", "a worker id is 1 to 128 letters, digits, '.', '_', ':' and '-'"))
        }
    }

    /// The name.
    ///
    /// As in [`WorkerId`].
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for WorkerId {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

impl From<WorkerId> for String {
    fn from(name: WorkerId) -> Self {
        name.0
    }
}

/// What a worker says of itself when it starts.
///
/// ```
/// use blobforge_core::{JobType, Registration, Requirements, WorkerId};
/// let (smith, pdf) = (WorkerId::new("smith").unwrap(), JobType::new("pdf").unwrap());
/// let mut registration = Registration::new(smith, [pdf], "drawn at the start");
/// registration.host = Some("basement".to_owned());
/// registration.labels.insert("vram_gb".to_owned(), 24.into());
/// assert!(Requirements::parse(["vram_gb >= 16"]).unwrap().are_met_by(&registration.labels));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Its name.
    pub id: WorkerId,
    /// The types it serves.
    pub types: Vec<JobType>,
    /// A name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// A secret of this very process; another process with the same id does not have it.
    pub instance: String,
    /// The instance secret of the process that ran under this id before, if this one inherits from it:
    /// what that one held is given back at once.
    #[serde(default)]
    pub previous_instance: Option<String>,
    /// What it offers, such as a GPU.
    #[serde(default)]
    pub labels: Map<String, Value>,
    /// The machine it runs on, for people: kept with every attempt.
    #[serde(default)]
    pub host: Option<String>,
    /// Whatever else people may want to know.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

impl Registration {
    /// A worker that serves these types and offers nothing in particular. `instance` is a secret of this very process.
    ///
    /// ```
    /// use blobforge_core::{JobType, Registration, WorkerId};
    /// let types = [JobType::new("pdf").unwrap()];
    /// let registration = Registration::new(WorkerId::new("smith").unwrap(), types, "drawn at the start");
    /// assert!(registration.labels.is_empty());
    /// ```
    pub fn new(id: WorkerId, types: impl IntoIterator<Item = JobType>, instance: impl Into<String>) -> Self {
        Self {
            id,
            types: types.into_iter().collect(),
            name: None,
            instance: instance.into(),
            previous_instance: None,
            labels: Map::new(),
            host: None,
            metadata: Map::new(),
        }
    }

    /// Checks what the types alone do not.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        bounds::at_most("types", self.types.len(), MAX_WORKER_TYPES)?;
        bounds::text("instance", &self.instance, MAX_INSTANCE_BYTES)?;
        bounds::text_if_any("previous_instance", self.previous_instance.as_deref(), MAX_INSTANCE_BYTES)?;
        bounds::text_if_any("name", self.name.as_deref(), MAX_WORKER_NAME_BYTES)?;
        bounds::text_if_any("host", self.host.as_deref(), MAX_HOST_BYTES)?;
        check_labels(&self.labels)?;
        bounds::json("metadata", &self.metadata, MAX_JSON_BYTES, "Keep the rest elsewhere")
    }
}

/// A worker as the store knows it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
/// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
/// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
/// # queue.register(registration).await.unwrap();
/// let record = queue.workers().await.unwrap().remove(0);
/// let lease = queue.settings().lease;
/// assert!(record.is_online(record.last_seen_at, lease));
/// assert!(!record.is_online(record.last_seen_at + lease, lease), "it was silent for too long");
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// What it said of itself. The instance is kept as its SHA-256 in hexadecimal.
    pub registration: Registration,
    /// When it first registered.
    pub registered_at: Timestamp,
    /// When it last registered or sent a heartbeat. A claim alone is no sign of life.
    pub last_seen_at: Timestamp,
    /// It finishes what it has and gets nothing new.
    pub draining: bool,
    /// It said good-bye.
    pub unregistered: bool,
    /// How it last said it was, since it registered.
    #[serde(default)]
    pub condition: Condition,
}

impl WorkerRecord {
    /// Whether it was heard of within `timeout`.
    ///
    /// As in [`WorkerRecord`].
    pub fn is_online(&self, now: Timestamp, timeout: Duration) -> bool {
        !self.unregistered && now.since(self.last_seen_at) < timeout
    }
}
