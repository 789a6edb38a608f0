//! How a worker is put together.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use blobforge_core::{Invalid, JobType, Task, WorkerId, broker::Broker};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    RunWindow, Settings, Summary, Worker, WorkerError, identity::Identity, surroundings::Surroundings,
    windows::MAX_WINDOWS,
};
use crate::{
    Handler, JobContext, JobError,
    handler::{FnHandler, TaskHandler},
};

/// The most jobs that one worker runs at once.
const MAX_CONCURRENCY: usize = 1000;

/// Puts a [`Worker`] together.
pub struct WorkerBuilder {
    broker: Arc<dyn Broker>,
    id: Option<WorkerId>,
    handlers: Vec<Arc<dyn Handler>>,
    state_dir: Option<PathBuf>,
    work_dir: Option<PathBuf>,
    settings: Settings,
    surroundings: Surroundings,
}

impl WorkerBuilder {
    pub(super) fn new(broker: Arc<dyn Broker>) -> Self {
        let settings = Settings {
            name: None,
            concurrency: 1,
            labels: Map::new(),
            metadata: about_this_process(),
            grace: Duration::ZERO,
            stop_grace: Duration::from_secs(30),
            patience: Duration::ZERO,
            poll: Duration::from_secs(1),
            heartbeat: None,
            fetch_ahead: true,
            windows: Vec::new(),
            abort_outside_window: false,
        };
        Self {
            broker,
            id: None,
            handlers: Vec::new(),
            state_dir: None,
            work_dir: None,
            settings,
            surroundings: Surroundings::default(),
        }
    }

    /// The folders in which `nvidia-smi` is looked for, as `PATH` has them. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn programs(mut self, folders: impl Into<OsString>) -> Self {
        self.surroundings.programs = Some(folders.into());
        self
    }

    /// Puts the worker elsewhere, for tests.
    #[cfg(test)]
    pub(super) fn surroundings(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = surroundings;
        self
    }

    /// The worker's id. By default it is taken from the environment variable `BLOBFORGE_WORKER_ID`, else made up and
    /// kept in the state folder; several processes on one machine get different ones.
    #[must_use]
    pub fn id(mut self, id: WorkerId) -> Self {
        self.id = Some(id);
        self
    }

    /// A name for people.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Adds a handler. Each serves one type.
    #[must_use]
    pub fn handler(mut self, handler: impl Handler + 'static) -> Self {
        self.handlers.push(Arc::new(handler));
        self
    }

    /// Adds a handler that is a function.
    #[must_use]
    pub fn handle<F, Fut>(self, job_type: impl Into<String>, run: F) -> Self
    where
        F: Fn(JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, JobError>> + Send + 'static,
    {
        self.handler(FnHandler::new(job_type, run))
    }

    /// Adds a handler that is a function of a [`Task`]: it serves the task's type, and gets the parameters decoded.
    ///
    /// What it returns is the job's result, as JSON; `()` is none. Parameters that are no such task fail the job for good
    /// as `invalid_params`, and the function is not called.
    ///
    /// ```
    /// use blobforge_core::Task;
    /// use blobforge_worker_sdk::{JobContext, WorkerBuilder};
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
    /// fn with_thumbnails(worker: WorkerBuilder) -> WorkerBuilder {
    ///     worker.task(async |task: Thumbnail, job: JobContext| {
    ///         let picture = job.source_file().await?;
    ///         Ok(format!("{} at {} pixels", picture.display(), task.width))
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn task<T, F, Fut, R>(self, run: F) -> Self
    where
        T: Task + 'static,
        F: Fn(T, JobContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, JobError>> + Send + 'static,
        R: Serialize,
    {
        self.handler(TaskHandler::new(run))
    }

    /// How many jobs run at once; 1 by default, at most 1,000.
    #[must_use]
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.settings.concurrency = jobs;
        self
    }

    /// Adds a label: something it offers, such as a GPU.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.settings.labels.insert(name.into(), value.into());
        self
    }

    /// Adds labels.
    #[must_use]
    pub fn labels(mut self, labels: impl IntoIterator<Item = (String, Value)>) -> Self {
        self.settings.labels.extend(labels);
        self
    }

    /// Where the worker keeps its name and the secret by which it frees its jobs when it comes back after a crash.
    /// By default `blobforge` in the user's state folder, or nowhere if that cannot be written.
    #[must_use]
    pub fn state_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(folder.into());
        self
    }

    /// Where the files of running jobs lie; `work` in the state folder by default. What dead processes left there is
    /// removed at the start.
    #[must_use]
    pub fn work_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.work_dir = Some(folder.into());
        self
    }

    /// How long running jobs may go on at a shutdown before they are told to stop; not at all by default.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.settings.grace = time;
        self
    }

    /// How long a handler that was told to stop may tidy up before it is dropped; 30 s by default.
    #[must_use]
    pub fn stop_grace(mut self, time: Duration) -> Self {
        self.settings.stop_grace = time;
        self
    }

    /// How long a handler goes on after its lease has run out, in the hope that the queue comes back and nobody else
    /// has taken the job; not at all by default. It risks that a job runs twice at once, which its files survive.
    #[must_use]
    pub fn patience(mut self, time: Duration) -> Self {
        self.settings.patience = time;
        self
    }

    /// How long to wait between claims that bring nothing, should the queue not let the worker wait for work; 1 s by
    /// default.
    #[must_use]
    pub fn poll_interval(mut self, time: Duration) -> Self {
        self.settings.poll = time;
        self
    }

    /// How long to wait between heartbeats, if that is less than what the queue asks for.
    #[must_use]
    pub fn heartbeat_interval(mut self, time: Duration) -> Self {
        self.settings.heartbeat = Some(time);
        self
    }

    /// Adds a part of each day in which the worker runs, such as `22:00-06:00`; without one it always does, and it has at
    /// most 100.
    ///
    /// Outside of all of them it claims nothing, and says until when. What runs is finished, however long that takes,
    /// unless [`abort_outside_window`](Self::abort_outside_window) says otherwise.
    ///
    /// ```
    /// use blobforge_worker_sdk::WorkerBuilder;
    ///
    /// fn by_night(worker: WorkerBuilder) -> Result<WorkerBuilder, blobforge_core::Invalid> {
    ///     Ok(worker.run_window("22:00-06:00".parse()?).abort_outside_window(true))
    /// }
    /// ```
    #[must_use]
    pub fn run_window(mut self, window: RunWindow) -> Self {
        self.settings.windows.push(window);
        self
    }

    /// Whether jobs are stopped when the last open window closes. They are given back at no cost, as at a shutdown, and
    /// go on from their checkpoints when somebody claims them; a handler has the time of
    /// [`stop_grace`](Self::stop_grace) to tidy up.
    #[must_use]
    pub fn abort_outside_window(mut self, abort: bool) -> Self {
        self.settings.abort_outside_window = abort;
        self
    }

    /// Whether the source of the next job is fetched while the jobs before it are being done; yes by default.
    ///
    /// The next job is claimed when a handler tells by its progress that it will end about when the transfer would. It is
    /// given back, at no cost, when another worker waits for such a job meanwhile.
    #[must_use]
    pub fn fetch_ahead(mut self, ahead: bool) -> Self {
        self.settings.fetch_ahead = ahead;
        self
    }

    /// Checks everything and takes an id; nothing is claimed before [`Worker::run`].
    ///
    /// # Errors
    /// When there is no handler, two serve one type, a setting is out of bounds, the id is taken by another process on
    /// this machine, or a folder cannot be used.
    pub fn build(self) -> Result<Worker, WorkerError> {
        let handlers = self.checked_handlers()?;
        let id = match self.id {
            Some(id) => Some(id),
            None => id_from_environment()?,
        };
        let (identity, state_dir) = Identity::take(id, self.state_dir.as_deref())?;
        let work_dir = self.work_dir.unwrap_or_else(|| match &state_dir {
            Some(folder) => folder.join("work"),
            None => std::env::temp_dir().join(format!("blobforge-{}", identity.id())),
        });
        Ok(Worker {
            broker: self.broker,
            handlers,
            identity,
            work_dir,
            settings: self.settings,
            surroundings: self.surroundings,
        })
    }

    /// Runs everything that is due now, and what becomes due by that, until nothing is: for tests of handlers.
    ///
    /// Nothing of it outlives the call: the worker's name is made up, unless it was given, and its files lie in a
    /// temporary folder. On a queue with a [`ManualClock`](blobforge_core::ManualClock) a job that failed runs again once
    /// the test has moved the clock on and drains again.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::sync::Arc;
    /// use blobforge_core::{NewJob, Queue};
    /// use blobforge_worker_sdk::{JobContext, Worker};
    ///
    /// let queue = Queue::in_memory();
    /// let worker = Worker::builder(Arc::new(queue.clone()))
    ///     .handle("shout", async |job: JobContext| Ok(job.raw_params()["text"].clone()));
    /// let id = queue.submit(NewJob::new("shout").unwrap().param("text", "Smith!")).await.unwrap().id;
    /// assert_eq!(worker.drain().await.unwrap().completed, 1);
    /// assert_eq!(queue.job(id).await.unwrap().result, Some("Smith!".into()));
    /// # });
    /// ```
    ///
    /// It runs at any hour, whatever its run windows are. A handler that waits for another job of the same queue may wait for ever: what it submits runs once it has ended.
    ///
    /// # Errors
    /// As [`WorkerBuilder::build`] and [`Worker::run`]; and when a job is still due after 1,000 attempts, as one that
    /// snoozes for no time is.
    pub async fn drain(&self) -> Result<Summary, WorkerError> {
        let handlers = self.checked_handlers()?;
        let failed = |source| WorkerError::Folder { path: std::env::temp_dir(), source };
        let temporary = tempfile::tempdir().map_err(failed)?;
        let worker = Worker {
            broker: self.broker.clone(),
            handlers,
            identity: Identity::passing(self.id.clone())?,
            work_dir: self.work_dir.clone().unwrap_or_else(|| temporary.path().to_owned()),
            settings: self.settings.clone(),
            surroundings: self.surroundings.clone(),
        };
        worker.drain().await
    }

    /// The handlers by type, if they and the settings make sense.
    fn checked_handlers(&self) -> Result<BTreeMap<String, Arc<dyn Handler>>, WorkerError> {
        let mut handlers = BTreeMap::new();
        for handler in &self.handlers {
            let job_type = JobType::new(handler.job_type())?;
            if handlers.insert(job_type.to_string(), handler.clone()).is_some() {
                let reason = format!("two handlers serve {job_type}: a type has one");
                return Err(Invalid::new("handler", reason).into());
            }
        }
        if handlers.is_empty() {
            return Err(Invalid::new("handler", "a worker needs a handler: add one to its builder").into());
        }
        if !(1..=MAX_CONCURRENCY).contains(&self.settings.concurrency) {
            let reason = format!("a worker runs 1 to {MAX_CONCURRENCY} jobs at once");
            return Err(Invalid::new("concurrency", reason).into());
        }
        if self.settings.windows.len() > MAX_WINDOWS {
            let reason = format!("a worker has at most {MAX_WINDOWS} run windows");
            return Err(Invalid::new("run_window", reason).into());
        }
        Ok(handlers)
    }
}

fn id_from_environment() -> Result<Option<WorkerId>, WorkerError> {
    match std::env::var("BLOBFORGE_WORKER_ID") {
        Ok(id) if !id.is_empty() => Ok(Some(WorkerId::new(id)?)),
        _ => Ok(None),
    }
}

fn about_this_process() -> Map<String, Value> {
    let program = std::env::current_exe().ok();
    let program =
        program.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let about = json!({
        "host": rustix::system::uname().nodename().to_string_lossy(),
        "pid": std::process::id(),
        "program": program,
        "sdk": crate::version::VERSION,
    });
    match about {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
