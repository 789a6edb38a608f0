//! The handler for the type `pdf-text`: fetches the source, has it converted in a child, and sends what comes out.

use std::{io, path::PathBuf, time::Instant};

use async_trait::async_trait;
use blobforge_worker_sdk::{
    Handler, JobContext, JobError,
    child::{ChildLimits, ChildProgress},
};
use serde_json::{Value, json};

use super::{ENGINE, ENGINE_VERSION, convert};

/// Serves `pdf-text`.
#[derive(Clone, Debug)]
pub struct PdfText {
    program: PathBuf,
    limits: ChildLimits,
}

impl PdfText {
    /// A handler whose children run this very program, within the default limits.
    ///
    /// # Errors
    /// When the system does not say where this program lies.
    pub fn new() -> io::Result<Self> {
        Ok(Self::with_program(std::env::current_exe()?))
    }

    /// A handler whose children run `program`, which routes [`super::CHILD_COMMAND`].
    pub fn with_program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), limits: ChildLimits::default() }
    }

    /// Sets what a child may use.
    #[must_use]
    pub fn limits(mut self, limits: ChildLimits) -> Self {
        self.limits = limits;
        self
    }
}

#[async_trait]
impl Handler for PdfText {
    fn job_type(&self) -> &str {
        ENGINE
    }

    async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
        let begun = Instant::now();
        let source = job.source_file().await?;
        let out_dir = job.scratch_dir();
        let limits = self.limits.clone();
        let converted =
            convert(&self.program, &source, None, &out_dir, limits, job.cancelled(), |at| tell(job, at))
                .await?;
        job.work_done().await;
        for name in &converted.files {
            job.output(name, out_dir.join(name)).await?;
        }
        Ok(json!({
            "pages": converted.pages,
            "seconds": (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            "engine": ENGINE,
            "engine_version": ENGINE_VERSION,
        }))
    }
}

fn tell(job: &JobContext, at: ChildProgress) {
    // Writing the result is one step of its own; people count pages.
    if at.stage.as_deref() == Some("read") {
        job.progress(at.done.unwrap_or(0), at.total, "read", at.message.as_deref().unwrap_or_default());
    }
}
