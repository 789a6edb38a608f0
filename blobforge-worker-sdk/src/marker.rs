//! PDFs to Markdown with [marker-pdf](https://pypi.org/project/marker-pdf/), as people run it for months.
//!
//! Marker runs in a Python environment that is found or made, in runners that stay; its models run in servers, which are
//! started when they are needed, stopped when they are not, or somebody else's. Long documents are converted in ranges of
//! pages, each of which is kept: whoever goes on after a crash redoes one range at most. A model that gives no answer
//! fails the attempt; no document has silent holes.

mod conversion;
mod environment;
mod options;
mod plan;
mod report;
mod server;
mod servers;
mod settings;

use std::{fs, io, path::Path, sync::OnceLock};

use async_trait::async_trait;
use serde_json::Value;
use tempfile::TempDir;

pub use environment::{DOWNLOAD_BYTES, Environment, INSTALLED_BYTES, MARKER_VERSION, REQUIREMENTS};
pub use options::Mode;
pub use report::Report;
pub use settings::Settings;

use crate::{
    Handler, JobContext, JobError, Workplace,
    program::{PYTHON_HELPER, Pool, Program, send_outputs},
};
use conversion::Conversion;
use servers::{MODEL_SERVER, Servers};

/// The type that it serves. Earlier programs call it `pdf-convert`, which a service takes for the same.
pub const JOB_TYPE: &str = "pdf";

/// The runner, file by file.
const RUNNER: &[(&str, &str)] = &[
    ("blobforge_runner.py", PYTHON_HELPER),
    ("links.py", include_str!("../python/marker_runner/links.py")),
    ("document.py", include_str!("../python/marker_runner/document.py")),
    ("models.py", include_str!("../python/marker_runner/models.py")),
    ("pages.py", include_str!("../python/marker_runner/pages.py")),
    ("parts.py", include_str!("../python/marker_runner/parts.py")),
    ("runner.py", include_str!("../python/marker_runner/runner.py")),
];

/// The handler for PDFs: see [the module](self).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use blobforge_core::Queue;
/// use blobforge_worker_sdk::{Worker, marker::{Environment, MarkerPdf, Settings}, shutdown_signal};
///
/// let settings = Settings { use_gpu: true, ..Settings::default() };
/// let environment = Environment::find_or_make(&settings, &|news| eprintln!("{news}")).await.map_err(|e| e.to_string())?;
/// let queue = Queue::builder().open("jobs.db").await?;
/// let worker = Worker::builder(Arc::new(queue)).handler(MarkerPdf::new(settings, environment)).build()?;
/// worker.run(shutdown_signal()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MarkerPdf {
    settings: Settings,
    environment: Environment,
    servers: Servers,
    /// Made when the worker gets ready, in a place of its own.
    crew: OnceLock<Crew>,
}

/// The runners and their program.
#[derive(Debug)]
struct Crew {
    runners: Pool,
    _files: TempDir,
}

impl MarkerPdf {
    /// A handler with this setup and this Python.
    pub fn new(settings: Settings, environment: Environment) -> Self {
        let servers = Servers::new(&settings, &environment);
        Self { settings, environment, servers, crew: OnceLock::new() }
    }

    fn program(&self, runner: &Path) -> Result<Program, JobError> {
        let call = [self.environment.python.as_os_str(), "-s".as_ref(), runner.as_os_str()];
        let mut program = Program::new(call)?
            .limits(self.settings.runner_limits())
            .recycling(self.settings.recycling)
            .ready_within(self.settings.ready_within)
            .pass("VLLM_API_KEY");
        for (name, value) in self.settings.runner_variables() {
            program = program.env(name, value);
        }
        Ok(program)
    }

    fn runners(&self) -> Result<&Pool, JobError> {
        let crew = self.crew.get();
        crew.map(|crew| &crew.runners)
            .ok_or_else(|| JobError::host_trouble("no_marker", "the engine was not prepared"))
    }
}

fn write_runner(folder: &Path) -> io::Result<()> {
    RUNNER.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))
}

#[async_trait]
impl Handler for MarkerPdf {
    fn job_type(&self) -> &str {
        JOB_TYPE
    }

    /// Starts a first runner: what is missing is said before a job is claimed.
    async fn prepare(&self, place: &Workplace) -> Result<(), JobError> {
        if self.settings.vlm_url.is_none() && self.settings.needs().vlm {
            servers::llama_server().map_err(|why| JobError::host_trouble(MODEL_SERVER, why))?;
        }
        fs::create_dir_all(self.settings.group_folder())?;
        let files = place.folder_for("marker")?;
        write_runner(files.path())?;
        let runners = Pool::new(self.program(&files.path().join("runner.py"))?);
        runners.prepare(place).await?;
        let _ = self.crew.set(Crew { runners, _files: files });
        Ok(())
    }

    async fn trouble(&self) -> Option<String> {
        self.servers.trouble(self.settings.needs()).await
    }

    async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
        let (conversion, plan) = Conversion::begin(self, job).await?;
        let result = conversion.run(plan).await?;
        job.work_done().await;
        send_outputs(job).await?;
        Ok(result)
    }

    async fn close(&self) {
        if let Some(crew) = self.crew.get() {
            crew.runners.close().await;
        }
        self.servers.close().await;
    }
}
