//! Handing jobs in.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use blobforge_core::{JobId, Priority, Sha256, Status};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Client, ClientError, JobView,
    transfer::hash_file,
    upload::{Place, Upload},
};

/// For how long an address to send a file to is good enough to be tried: they work for 15 minutes.
const ADDRESS_IS_GOOD_FOR: Duration = Duration::from_secs(5 * 60);

/// A file to be handed in.
#[derive(Clone, Debug)]
pub struct SubmitFile {
    /// What kind of work it is.
    pub job_type: String,
    /// The file.
    pub path: PathBuf,
    /// How urgent it is.
    pub priority: Priority,
    /// Words to find the job by.
    pub tags: Vec<String>,
    /// How many failing runs it may have; the service's default if not said.
    pub max_attempts: Option<u32>,
    /// What the handler is told.
    pub params: Map<String, Value>,
    /// If its job has failed before, run that again.
    pub retry_failed: bool,
}

impl SubmitFile {
    /// This file, at normal priority.
    pub fn new(job_type: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            job_type: job_type.into(),
            path: path.into(),
            priority: Priority::default(),
            tags: Vec::new(),
            max_attempts: None,
            params: Map::new(),
            retry_failed: false,
        }
    }
}

/// What became of a submission.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SubmitReply {
    /// The job's number.
    pub job_id: JobId,
    /// It was there already.
    pub existing: bool,
    /// Where it is in its life.
    pub status: Status,
    /// What may keep it from running.
    pub warning: Option<String>,
}

#[derive(Deserialize)]
struct Submitted {
    #[serde(flatten)]
    reply: SubmitReply,
    upload: Option<Upload>,
}

/// The whole of a file, as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The hash of it.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// A file that the service knows of, and that may still have to be sent.
#[derive(Debug)]
pub struct Announced {
    /// What the service said.
    pub reply: SubmitReply,
    content: Content,
    upload: Option<Upload>,
    at: Instant,
}

impl Announced {
    /// Whether the service does not have the file yet.
    pub fn is_to_be_sent(&self) -> bool {
        self.upload.is_some()
    }
}

#[derive(Deserialize)]
struct Batch {
    jobs: Vec<Submitted>,
}

fn request(file: &SubmitFile, content: Content) -> Value {
    json!({
        "type": file.job_type,
        "source_hash": content.sha256,
        "source_size": content.size,
        "source_path": file.path.to_string_lossy(),
        "priority": u8::from(file.priority),
        "max_attempts": file.max_attempts,
        "tags": file.tags,
        "params": file.params,
        "retry_failed": file.retry_failed,
    })
}

fn announced(submitted: Submitted, content: Content) -> Announced {
    let Submitted { reply, upload } = submitted;
    Announced { reply, content, upload, at: Instant::now() }
}

impl Client {
    /// Hands in a file: announced by its hash, sent if the service does not have it yet, and made ready. Doing it twice
    /// gives the same job. `on_progress` hears how many bytes have gone, and of how many.
    ///
    /// # Errors
    /// When the file cannot be read, or the service refuses or stays away.
    pub async fn submit_file(
        &self,
        file: SubmitFile,
        on_progress: impl Fn(u64, u64) + Send + Sync + 'static,
    ) -> Result<SubmitReply, ClientError> {
        let content = content_of(&file.path).await?;
        let announced = self.announce(&file, content).await?;
        let size = content.size;
        self.send_source(announced, &file.path, move |sent| on_progress(sent, size)).await
    }

    /// Says that there is a file, without sending it: [`Client::send_source`] does.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn announce(&self, file: &SubmitFile, content: Content) -> Result<Announced, ClientError> {
        let body = request(file, content);
        let submitted = self.persist(async || self.post("api/jobs", &body).await).await?;
        Ok(announced(submitted, content))
    }

    /// The same for up to 1,000 files at once. Either the service takes all of them, or none.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn announce_all(&self, files: &[(SubmitFile, Content)]) -> Result<Vec<Announced>, ClientError> {
        let jobs: Vec<_> = files.iter().map(|(file, content)| request(file, *content)).collect();
        let body = json!({"jobs": jobs});
        let batch: Batch = self.persist(async || self.post("api/jobs/batch", &body).await).await?;
        if batch.jobs.len() != files.len() {
            return Err(ClientError::Reply(
                "the service answers for other files than it was asked".to_owned(),
            ));
        }
        Ok(batch.jobs.into_iter().zip(files).map(|(job, (_, content))| announced(job, *content)).collect())
    }

    /// Sends an announced file, if the service does not have it yet, and makes its job ready. What somebody sent before,
    /// all of it or some parts, is not sent again. `on_progress` hears how many bytes have gone.
    ///
    /// # Errors
    /// When the file cannot be read, or the service refuses or stays away.
    pub async fn send_source(
        &self,
        announced: Announced,
        path: &Path,
        on_progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<SubmitReply, ClientError> {
        let Announced { mut reply, content, upload, at } = announced;
        let Some(upload) = upload else { return Ok(reply) };
        // Whoever announced it before may have been killed between sending it and saying so.
        if reply.existing
            && let Ok(job) = self.uploaded(reply.job_id).await
        {
            return Ok(SubmitReply { status: job.status, ..reply });
        }
        let upload = Some(upload).filter(|_| at.elapsed() < ADDRESS_IS_GOOD_FOR);
        let place = Place::Source { job: reply.job_id, sha256: content.sha256 };
        self.send_as_told(upload, place, path, Arc::new(on_progress)).await?;
        let job = self.persist(async || self.uploaded(reply.job_id).await).await?;
        reply.status = job.status;
        Ok(reply)
    }

    async fn uploaded(&self, job: JobId) -> Result<JobView, ClientError> {
        self.post(&format!("api/jobs/{job}/uploaded"), &json!({})).await
    }
}

/// Reads a file for its hash.
///
/// # Errors
/// When it cannot be read.
pub async fn content_of(path: &Path) -> Result<Content, ClientError> {
    let (sha256, size) = hash_file(path).await?;
    Ok(Content { sha256, size })
}
