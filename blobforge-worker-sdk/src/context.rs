//! What a handler sees of the job it runs, and of the worker around it.

mod files;
mod log;
mod source;
mod stop;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use blobforge_core::{
    Checkpoint, JobId, JobType, Output, Progress, Task, TraceParent,
    broker::{Assignment, Broker, BrokerError},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

pub use stop::StopReason;

pub(crate) use log::LogTail;
pub(crate) use stop::Stop;

use crate::{
    JobError, Workplace,
    worker::{Held, Slot},
};

/// A job under way: what is asked for, its files, and a line to the queue.
///
/// Clones share it, so that a handler can hand it to its own tasks. They are of no use once the handler has returned:
/// the files are gone then, and the queue takes no more from this attempt.
#[derive(Clone)]
pub struct JobContext {
    inner: Arc<Inner>,
}

struct Inner {
    assignment: Assignment,
    broker: Arc<dyn Broker>,
    held: Arc<Held>,
    /// The attempt's own folder.
    folder: PathBuf,
    slot: Slot,
    source: tokio::sync::Mutex<Option<PathBuf>>,
    outputs: Mutex<BTreeMap<String, Output>>,
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobContext(job {}, attempt {})", self.id(), self.attempt())
    }
}

impl JobContext {
    pub(crate) fn new(
        assignment: Assignment,
        broker: Arc<dyn Broker>,
        held: Arc<Held>,
        folder: PathBuf,
        slot: Slot,
    ) -> Self {
        let (source, outputs) = Default::default();
        Self { inner: Arc::new(Inner { assignment, broker, held, folder, slot, source, outputs }) }
    }

    /// The job's number.
    pub fn id(&self) -> JobId {
        self.inner.assignment.job
    }

    /// What kind of work it is.
    pub fn job_type(&self) -> &JobType {
        &self.inner.assignment.job_type
    }

    /// Which attempt this is, counted from 1: every claim counts, also those that were given back.
    pub fn attempt(&self) -> u32 {
        self.inner.assignment.token.epoch.get()
    }

    /// How many runs of this job have failed before.
    pub fn failures(&self) -> u32 {
        self.inner.assignment.failures
    }

    /// How many runs were lost since a checkpoint last advanced: killed, or with their worker. From one on, smaller steps
    /// make it likelier that this one gets through.
    pub fn losses(&self) -> u32 {
        self.inner.assignment.losses
    }

    /// Whether a retryable failure of this run would be the job's last.
    pub fn is_last_chance(&self) -> bool {
        self.failures() + 1 >= self.inner.assignment.max_attempts
    }

    /// The parameters as a task.
    ///
    /// ```
    /// use async_trait::async_trait;
    /// use blobforge_core::Task;
    /// use blobforge_worker_sdk::{Handler, JobContext, JobError};
    /// use serde_json::Value;
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Thumbnail {
    ///     width: u32,
    /// }
    ///
    /// impl Task for Thumbnail {
    ///     const TYPE: &'static str = "thumbnail";
    /// }
    ///
    /// struct Thumbnails;
    ///
    /// #[async_trait]
    /// impl Handler for Thumbnails {
    ///     fn job_type(&self) -> &str {
    ///         Thumbnail::TYPE
    ///     }
    ///
    ///     async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
    ///         Ok(job.task::<Thumbnail>()?.width.into())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// When they do not fit, or the job is of another type: a permanent `invalid_params`, since they never will.
    pub fn task<T: Task>(&self) -> Result<T, JobError> {
        let task = self.inner.assignment.task();
        task.map_err(|invalid| JobError::permanent("invalid_params", invalid.to_string()))
    }

    /// The parameters, read into a type of the handler's own that is no [`Task`].
    ///
    /// # Errors
    /// When they do not fit: a permanent `invalid_params`, since they never will.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, JobError> {
        serde_json::from_value(Value::Object(self.raw_params().clone())).map_err(|error| {
            let message =
                format!("the parameters do not fit this type of job: {error}. Submit it again with others");
            JobError::permanent("invalid_params", message)
        })
    }

    /// The parameters as they were submitted.
    pub fn raw_params(&self) -> &Map<String, Value> {
        &self.inner.assignment.body.params
    }

    /// The submitter's words to find the job by.
    pub fn tags(&self) -> &[String] {
        &self.inner.assignment.body.tags
    }

    /// Whatever the submitter wants to find again.
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.inner.assignment.body.metadata
    }

    /// Where in a trace its submission belongs, for whatever the handler asks other programs for.
    pub fn traceparent(&self) -> Option<TraceParent> {
        self.inner.assignment.body.traceparent
    }

    /// What the source is called where it came from: for messages, never to be opened.
    pub fn source_label(&self) -> Option<&str> {
        self.inner.assignment.body.source_path.as_deref()
    }

    /// Whether the job has a source.
    pub fn has_source(&self) -> bool {
        self.inner.assignment.source.is_some()
    }

    /// Says that the heavy part is over and only files are left to be sent: the worker begins its next job meanwhile.
    ///
    /// As many jobs as run at once may be at that stage; with more it waits, so that what was made does not pile up.
    pub async fn work_done(&self) {
        self.inner.held.work_done();
        // Whoever waits for room to send is not to blame for being silent.
        let _moving = self.inner.held.moving();
        self.inner.slot.leave().await;
    }

    /// Where the worker's processes have their folders.
    pub(crate) fn workplace(&self) -> Workplace {
        Workplace::around(self.folder())
    }

    /// An empty folder, whose files are sent as outputs by handlers that are programs.
    pub(crate) fn output_dir(&self) -> PathBuf {
        self.folder().join("outputs")
    }

    /// As long as this is held, nobody takes it for a sign that the job stands still that nothing is heard of it.
    #[cfg(feature = "marker")]
    pub(crate) fn waiting(&self) -> impl Drop + '_ {
        self.inner.held.moving()
    }

    /// A folder for what a handler makes and needs until its end; nobody else touches it.
    #[cfg(feature = "marker")]
    pub(crate) fn kept_dir(&self) -> PathBuf {
        self.folder().join("kept")
    }

    /// Whether a file lies in the attempt's own folders, wherever links lead.
    pub(crate) fn owns(&self, file: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        real(file).zip(real(self.folder())).is_some_and(|(file, folder)| file.starts_with(folder))
    }

    /// The work gets on, though nothing is known of how far it is.
    pub(crate) fn gets_on(&self) {
        self.inner.held.seen();
    }

    /// An empty folder of this attempt's own. It is removed when the handler has returned.
    pub fn scratch_dir(&self) -> PathBuf {
        self.inner.folder.join("scratch")
    }

    /// Says how far the work is. Cheap, so say it as often as you like: the newest word goes out with the next
    /// heartbeat, within two seconds. An empty `stage` or `message` says nothing.
    pub fn progress(&self, done: u64, total: impl Into<Option<u64>>, stage: &str, message: &str) {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        self.report_progress(Progress {
            done,
            total: total.into(),
            stage: text(stage),
            message: text(message),
        });
    }

    /// As [`JobContext::progress`], for who has it in one piece already.
    pub fn report_progress(&self, progress: Progress) {
        self.inner.held.tell(progress.cut());
    }

    /// Writes a line to the worker's log. The last lines also go along with heartbeats, so that others can read them while
    /// the job runs, and with a failure; they are kept with an attempt that failed or was lost.
    pub fn log(&self, line: impl Into<String>) {
        let line = line.into();
        tracing::info!("{line}");
        self.inner.held.log().push(line);
    }

    /// Fires when the handler has to stop; [`JobContext::stop_reason`] says why. Hand it to what runs long.
    ///
    /// A handler that takes no notice is dropped at an `await` after a time of grace.
    pub fn cancelled(&self) -> CancellationToken {
        self.stop().token().clone()
    }

    /// Waits until the handler has to stop, and says why.
    pub async fn stopped(&self) -> StopReason {
        self.stop().wait().await
    }

    /// Why the handler has to stop, if it has to.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.stop().reason()
    }

    /// What earlier attempts left to go on from; [`JobContext::load_checkpoint`] fetches one.
    pub fn checkpoints(&self) -> &[Checkpoint] {
        &self.inner.assignment.checkpoints
    }

    pub(crate) fn outputs(&self) -> Vec<Output> {
        self.inner.outputs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn log_tail(&self) -> Option<String> {
        self.inner.held.log().text()
    }

    fn stop(&self) -> &Stop {
        &self.inner.held.stop
    }

    fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// What a broker's refusal means to a handler. A lost lease stops the whole attempt.
    fn refused(&self, error: BrokerError) -> JobError {
        if matches!(error, BrokerError::LeaseLost(_)) {
            self.stop().set(StopReason::LeaseLost);
        }
        error.into()
    }
}
