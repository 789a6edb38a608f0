//! What a submitter hands in, checked where it enters.

use serde_json::Value;

use crate::{
    Body, Ends, Invalid, JobType, MAX_NOTIFY, MAX_REQUIREMENTS, Notify, Past, Priority, Requirement, Sha256,
    Timestamp, bounds, outbox::check_notify,
};

/// The most bytes that `params` and `metadata` may each have as JSON.
///
/// As in [`NewJob::validate`].
pub const MAX_JSON_BYTES: usize = 64 * 1024;
/// The most tags of a job.
///
/// As in [`NewJob::validate`].
pub const MAX_TAGS: usize = 64;
/// The most bytes of one tag.
///
/// As in [`NewJob::validate`].
pub const MAX_TAG_BYTES: usize = 128;
/// The most bytes of `source_path`.
///
/// As in [`NewJob::validate`].
pub const MAX_SOURCE_PATH_BYTES: usize = 4096;
/// The most paths that a job keeps of those that its submitters call its source.
///
/// ```
/// use blobforge_core::{MAX_SOURCE_PATHS, NewJob};
/// let mut job = NewJob::new("pdf").unwrap();
/// job.body.other_paths = vec!["rules.pdf".to_owned(); MAX_SOURCE_PATHS];
/// assert_eq!(job.validate().unwrap_err().field, "other_paths", "there is source_path besides");
/// ```
pub const MAX_SOURCE_PATHS: usize = 16;
/// The most bytes of an idempotency key, and of a claim's id.
///
/// As in [`NewJob::validate`].
pub const MAX_KEY_BYTES: usize = 255;
/// The most bytes of a submitter's name.
///
/// As in [`NewJob::validate`].
pub const MAX_SUBMITTER_BYTES: usize = 255;

/// How a job's source gets to it.
///
/// As in [`Queue::put_source`](crate::Queue::put_source); [`Queue::submit_stream`](crate::Queue::submit_stream) makes a stored one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum NewSource {
    /// The job has no file.
    #[default]
    None,
    /// The file is sent after the submission; the job waits for it.
    Upload {
        /// The hash that the submitter claims for it.
        sha256: Option<Sha256>,
        /// The size that the submitter claims for it, in bytes.
        size: Option<u64>,
    },
    /// The file already lies under a key that this store reserved, and was hashed on its way there.
    Stored {
        /// The reserved key.
        key: String,
        /// Its hash.
        sha256: Sha256,
        /// Its size in bytes.
        size: u64,
    },
}

/// A job to be submitted.
///
/// ```
/// use blobforge_core::{NewJob, Priority};
/// let job = NewJob::new("thumbnail").unwrap()
///     .param("width", 200)
///     .priority(Priority::High)
///     .tag("holiday");
/// assert!(job.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// What kind of work it is.
    pub job_type: JobType,
    /// How urgent it is.
    pub priority: Priority,
    /// How many failing runs it may have; `None` takes the queue's default.
    pub max_attempts: Option<u32>,
    /// Not to run before this time.
    pub run_at: Option<Timestamp>,
    /// What the handler is told, words to find it by, and the rest.
    pub body: Body,
    /// How its file arrives.
    pub source: NewSource,
    /// Hand back the job that does this work already, if there is one.
    pub dedup: bool,
    /// If that job has failed, run it again.
    pub retry_failed: bool,
    /// A name of the submitter's for this submission: whoever says it again gets the same job.
    pub idempotency_key: Option<String>,
    /// What became of it elsewhere, if it comes from there.
    pub past: Option<Box<Past>>,
}

impl NewJob {
    /// A job of this type, without a file, at normal priority.
    ///
    /// ```
    /// use blobforge_core::NewJob;
    /// assert!(NewJob::new("pdf-text").is_ok());
    /// assert_eq!(NewJob::new("PDF text").unwrap_err().field, "type");
    /// ```
    ///
    /// # Errors
    /// When the type is not a valid name.
    pub fn new<T>(job_type: T) -> Result<Self, Invalid>
    where
        T: TryInto<JobType>,
        Invalid: From<T::Error>,
    {
        Ok(Self {
            job_type: job_type.try_into()?,
            priority: Priority::default(),
            max_attempts: None,
            run_at: None,
            body: Body::default(),
            source: NewSource::None,
            dedup: true,
            retry_failed: false,
            idempotency_key: None,
            past: None,
        })
    }

    /// Sets one parameter of the handler.
    ///
    /// As in [`NewJob`].
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.body.params.insert(name.into(), value.into());
        self
    }

    /// Adds a word to find it by.
    ///
    /// As in [`NewJob`].
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.body.tags.push(tag.into());
        self
    }

    /// Asks for one more thing of the worker that runs it, such as `vram_gb >= 24`.
    ///
    /// ```
    /// use blobforge_core::NewJob;
    /// let job = NewJob::new("pdf").unwrap().requires("gpu".parse().unwrap());
    /// assert_eq!(job.body.requires.to_string(), "gpu");
    /// ```
    #[must_use]
    pub fn requires(mut self, requirement: Requirement) -> Self {
        self.body.requires.push(requirement);
        self
    }

    /// Wants its ends told there; see [`Notify`].
    ///
    /// As in [`Subscriber`](crate::Subscriber).
    #[must_use]
    pub fn notify(mut self, to: impl Into<String>, ends: Ends) -> Self {
        self.body.notify.push(Notify { to: to.into(), ends });
        self
    }

    /// Sets how urgent it is.
    ///
    /// As in [`NewJob`].
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets how many failing runs it may have.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::NewJob;
    /// let once = queue.submit(NewJob::new("newsletter").unwrap().max_attempts(1)).await.unwrap().id;
    /// assert_eq!(queue.job(once).await.unwrap().life.max_attempts, 1);
    /// # });
    /// ```
    #[must_use]
    pub fn max_attempts(mut self, runs: u32) -> Self {
        self.max_attempts = Some(runs);
        self
    }

    /// Does not run before `time`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{ManualClock, NewJob, Queue};
    /// use std::sync::Arc;
    /// let clock = ManualClock::new("2026-03-01T08:00:00Z".parse().unwrap());
    /// let queue = Queue::builder().clock(Arc::new(clock)).open_in_memory().unwrap();
    /// let job = NewJob::new("newsletter").unwrap().run_at("2026-03-01T12:00:00Z".parse().unwrap());
    /// let id = queue.submit(job).await.unwrap().id;
    /// assert_eq!(queue.job(id).await.unwrap().status_label(queue.now()), "scheduled");
    /// # });
    /// ```
    #[must_use]
    pub fn run_at(mut self, time: Timestamp) -> Self {
        self.run_at = Some(time);
        self
    }

    /// It comes from elsewhere. If it ended there, it is taken in as it is: nobody runs it or is told of its end. If a job does this work already,
    /// that one is handed back as it is.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, NewSource, Past, PastEnd, Status, blob::read_bytes};
    /// let document = queue.store_past_output("text.md", read_bytes("# Letter")).await.unwrap();
    /// let past = Past {
    ///     end: PastEnd::Completed { outputs: vec![document], result: None },
    ///     failures: 1,
    ///     created_at: "2025-03-01T08:00:00Z".parse().unwrap(),
    ///     ended_at: "2025-03-01T14:00:00Z".parse().unwrap(),
    /// };
    /// let hash = Some("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".parse().unwrap());
    /// let job = NewJob::new("pdf").unwrap().source(NewSource::Upload { sha256: hash, size: None }).past(past);
    /// let first = queue.submit(job.clone()).await.unwrap();
    /// assert_eq!((first.status, first.existing), (Status::Completed, false));
    /// assert_eq!(queue.job(first.id).await.unwrap().created_at.to_string(), "2025-03-01T08:00:00.000Z");
    /// let again = queue.submit(job).await.unwrap();
    /// assert_eq!((again.id, again.existing), (first.id, true));
    /// # });
    /// ```
    #[must_use]
    pub fn past(mut self, past: Past) -> Self {
        self.past = Some(Box::new(past));
        self
    }

    /// Sets how its file arrives.
    ///
    /// As in [`Queue::put_source`](crate::Queue::put_source).
    #[must_use]
    pub fn source(mut self, source: NewSource) -> Self {
        self.source = source;
        self
    }

    /// Whether an existing job that does this work is handed back instead: the same type, parameters and content, as far
    /// as that is known by its hash. On by default. The job then gets the tags and the path of this submission too, up to
    /// [`MAX_TAGS`] and [`MAX_SOURCE_PATHS`]; those that are too many are left out. Off, it is a job of its own for good:
    /// nobody else is handed it either.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, blob::read_bytes};
    /// let (job, letter) = (NewJob::new("pdf").unwrap(), || read_bytes("%PDF-1.7"));
    /// let first = queue.submit_stream(job.clone(), letter(), 100).await.unwrap();
    /// let same = queue.submit_stream(job.clone().tag("again"), letter(), 100).await.unwrap();
    /// assert_eq!(queue.job(first.id).await.unwrap().body.tags, ["again"]);
    /// let another = queue.submit_stream(job.dedup(false), letter(), 100).await.unwrap();
    /// assert!(same.id == first.id && another.id != first.id);
    /// # });
    /// ```
    #[must_use]
    pub fn dedup(mut self, on: bool) -> Self {
        self.dedup = on;
        self
    }

    /// Whether such a job, having failed, runs again. Off by default.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// # use std::time::Duration;
    /// use blobforge_core::{Failure, NewJob, Status, blob::read_bytes};
    /// let (job, letter) = (NewJob::new("pdf").unwrap(), || read_bytes("%PDF-1.7"));
    /// queue.submit_stream(job.clone(), letter(), 100).await.unwrap();
    /// let claimed = queue.claim(&smith, &pdf, 1, Duration::ZERO).await.unwrap().remove(0);
    /// let failure = Failure::new("no_space", "The disk was full.");
    /// queue.fail(claimed.job.id, claimed.token, failure, false).await.unwrap();
    ///
    /// let known = queue.submit_stream(job.clone(), letter(), 100).await.unwrap();
    /// let again = queue.submit_stream(job.retry_failed(true), letter(), 100).await.unwrap();
    /// assert_eq!((known.status, again.status), (Status::Failed, Status::Pending));
    /// # });
    /// ```
    #[must_use]
    pub fn retry_failed(mut self, on: bool) -> Self {
        self.retry_failed = on;
        self
    }

    /// Names this submission, so that it can be repeated without making a second job: for submitters whose reply may
    /// get lost. For 7 days the same submitter gets the same job for the same key, whatever became of the job; another
    /// job under the same key is refused. The days are those of the store's clock: one that is set forward forgets keys
    /// earlier.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{NewJob, Queue};
    /// let queue = Queue::builder().open_in_memory().unwrap();
    /// let job = NewJob::new("invoice").unwrap().param("order", 17).idempotency_key("order-17");
    /// let first = queue.submit(job.clone()).await.unwrap();
    /// let again = queue.submit(job.clone()).await.unwrap();
    /// assert_eq!((again.id, again.replayed), (first.id, true));
    /// assert!(queue.submit(job.param("order", 18)).await.is_err());
    /// # });
    /// ```
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Checks everything that the types alone do not.
    ///
    /// ```
    /// use blobforge_core::{MAX_ATTEMPTS_LIMIT, MAX_FILE_BYTES, MAX_JSON_BYTES, MAX_JSON_DEPTH, MAX_KEY_BYTES};
    /// use blobforge_core::{MAX_SOURCE_PATH_BYTES, MAX_SUBMITTER_BYTES, MAX_TAG_BYTES, MAX_TAGS, NewJob, NewSource};
    /// let pdf = || NewJob::new("pdf").unwrap();
    /// let wrong = |job: NewJob| job.validate().unwrap_err().field;
    /// assert_eq!(wrong(pdf().param("text", "x".repeat(MAX_JSON_BYTES))), "params");
    /// let deep = (0..MAX_JSON_DEPTH).fold(serde_json::json!(1), |inner, _| vec![inner].into());
    /// assert_eq!(wrong(pdf().param("tree", deep)), "params");
    /// assert_eq!(wrong((0..=MAX_TAGS).fold(pdf(), |job, n| job.tag(n.to_string()))), "tags");
    /// assert_eq!(wrong(pdf().tag("x".repeat(MAX_TAG_BYTES + 1))), "tags");
    /// assert_eq!(wrong(pdf().max_attempts(MAX_ATTEMPTS_LIMIT + 1)), "max_attempts");
    /// assert_eq!(wrong(pdf().idempotency_key("x".repeat(MAX_KEY_BYTES + 1))), "idempotency_key");
    /// let mut job = pdf();
    /// job.body.source_path = Some("x".repeat(MAX_SOURCE_PATH_BYTES + 1));
    /// assert_eq!(wrong(job), "source_path");
    /// let mut job = pdf();
    /// job.body.submitter = Some("x".repeat(MAX_SUBMITTER_BYTES + 1));
    /// assert_eq!(wrong(job), "submitter");
    /// let upload = NewSource::Upload { sha256: None, size: Some(MAX_FILE_BYTES + 1) };
    /// assert_eq!(wrong(pdf().source(upload)), "source_size");
    /// ```
    ///
    /// # Errors
    /// The first field that is out of bounds, and what would be right.
    pub fn validate(&self) -> Result<(), Invalid> {
        let remedy = "Put large data into the source file";
        bounds::json("params", &self.body.params, MAX_JSON_BYTES, remedy)?;
        bounds::json("metadata", &self.body.metadata, MAX_JSON_BYTES, remedy)?;
        bounds::at_most("tags", self.body.tags.len(), MAX_TAGS)?;
        self.body.tags.iter().try_for_each(|tag| bounds::text("tags", tag, MAX_TAG_BYTES))?;
        bounds::at_most("requires", self.body.requires.len(), MAX_REQUIREMENTS)?;
        bounds::text_if_any("source_path", self.body.source_path.as_deref(), MAX_SOURCE_PATH_BYTES)?;
        // One of them is `source_path`.
        bounds::at_most("other_paths", self.body.other_paths.len(), MAX_SOURCE_PATHS - 1)?;
        let mut others = self.body.other_paths.iter();
        others.try_for_each(|path| bounds::text("other_paths", path, MAX_SOURCE_PATH_BYTES))?;
        check_notify(&self.body.notify)?;
        bounds::text_if_any("submitter", self.body.submitter.as_deref(), MAX_SUBMITTER_BYTES)?;
        self.idempotency_key.as_deref().map_or(Ok(()), |key| printable("idempotency_key", key))?;
        self.max_attempts.map_or(Ok(()), bounds::attempts)?;
        match self.source {
            NewSource::Upload { size: Some(size), .. } | NewSource::Stored { size, .. } => {
                bounds::file_size("source_size", size)
            }
            _ => Ok(()),
        }
    }
}

/// Checks the name that a client gives to a request, so as to repeat it: 1 to [`MAX_KEY_BYTES`] printable ASCII
/// characters.
///
/// ```
/// use blobforge_core::check_key;
/// assert!(check_key("5f0c…").is_err() && check_key("5f0c-17 again").is_ok());
/// ```
///
/// # Errors
/// When it is anything else.
pub fn check_key(key: &str) -> Result<(), Invalid> {
    printable("idempotency_key", key)
}

/// Checks a name that somebody chose for a request of theirs.
pub(crate) fn printable(field: &'static str, name: &str) -> Result<(), Invalid> {
    let fits = (1..=MAX_KEY_BYTES).contains(&name.len()) && name.bytes().all(|b| matches!(b, b' '..=b'~'));
    if fits {
        return Ok(());
    }
    Err(Invalid::new(field, format!("use 1 to {MAX_KEY_BYTES} printable ASCII characters, such as a UUID")))
}

impl Body {
    /// Adds by which tags and paths somebody knows it who submits the same work, and where that one wants its ends told.
    /// What is beyond [`MAX_TAGS`], [`MAX_SOURCE_PATHS`] and [`MAX_NOTIFY`] is left out.
    pub(crate) fn add_names(&mut self, other: Self) {
        for tag in other.tags {
            if self.tags.len() < MAX_TAGS && !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
        for notify in other.notify {
            if self.notify.len() < MAX_NOTIFY && !self.notify.contains(&notify) {
                self.notify.push(notify);
            }
        }
        for path in other.source_path.into_iter().chain(other.other_paths) {
            if self.source_path.is_none() {
                self.source_path = Some(path);
            } else if self.other_paths.len() + 1 < MAX_SOURCE_PATHS
                && self.source_path.as_ref() != Some(&path)
                && !self.other_paths.contains(&path)
            {
                self.other_paths.push(path);
            }
        }
    }
}

/// Checks the name of an output or checkpoint: a relative path that stays below its folder on any system.
///
/// ```
/// use blobforge_core::file_name;
/// assert!(file_name("images/p1.png").is_ok());
/// assert!(file_name("../etc/passwd").is_err());
/// ```
///
/// # Errors
/// When the name is empty, absolute, climbs, or has characters that no file name should have.
pub fn file_name(name: &str) -> Result<(), Invalid> {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.ends_with(['.', ' '])
            && !part.contains(|c: char| c.is_control() || r#"\:*?"<>|"#.contains(c))
    };
    if name.len() <= 512 && name.split('/').all(plain) {
        return Ok(());
    }
    let reason = "a file name is a relative path of at most 512 bytes, such as images/p1.png, without '..', backslashes or any of : * ? \" < > |";
    Err(Invalid::new("name", reason))
}
