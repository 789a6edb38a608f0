//! Handing jobs in and looking at them.

use std::path::{Path, PathBuf};

use blobforge_core::{Failure, JobId, Priority, Progress, Status};
use futures_util::TryStreamExt;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;

use super::{
    Client, ClientError,
    transfer::{Transfer, hash_file},
};

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
    upload: Option<Transfer>,
}

/// A job as the service shows it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct JobView {
    /// Its number.
    pub id: JobId,
    /// What kind of work it is.
    #[serde(rename = "type")]
    pub job_type: String,
    /// Where it is in its life.
    pub status: Status,
    /// The same for people, who also want to know `retrying` and the like.
    pub status_label: String,
    /// 1 (critical) to 5 (background).
    pub priority: Priority,
    /// What the source is called where it came from.
    pub source_path: Option<String>,
    /// How far the current or last attempt has come.
    pub progress: Option<Progress>,
    /// Why the last run that failed did so.
    pub last_error: Option<Failure>,
    /// What its handler returned.
    pub result: Option<Value>,
    /// The files it produced.
    pub outputs: Vec<JobOutput>,
    /// Everything else that the service says of it.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A file that a job produced.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct JobOutput {
    /// Its name, a relative path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Which jobs to list; what is `None` does not restrict.
#[derive(Clone, Debug, Default)]
pub struct JobQuery {
    /// In this state.
    pub status: Option<Status>,
    /// Of this type.
    pub job_type: Option<String>,
    /// At most this many.
    pub limit: usize,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<JobView>,
    next_cursor: Option<String>,
}

/// How many jobs one request asks for.
const PAGE: usize = 500;

impl Client {
    /// Hands in a file: announced by its hash, sent if the service does not have it yet, and made ready. Doing it twice
    /// gives the same job. `on_progress` hears how many bytes have gone, and of how many.
    ///
    /// # Errors
    /// When the file cannot be read, or the service refuses or stays away.
    pub async fn submit_file(
        &self,
        file: SubmitFile,
        on_progress: impl Fn(u64, u64) + Clone + Send + 'static,
    ) -> Result<SubmitReply, ClientError> {
        let (sha256, size) = hash_file(&file.path).await?;
        let request = json!({
            "type": file.job_type,
            "source_hash": sha256,
            "source_size": size,
            "source_path": file.path.to_string_lossy(),
            "priority": u8::from(file.priority),
            "max_attempts": file.max_attempts,
            "tags": file.tags,
            "params": file.params,
        });
        let submitted: Submitted = self.persist(async || self.post("api/jobs", &request).await).await?;
        let mut reply = submitted.reply;
        if let Some(transfer) = submitted.upload {
            let job = self.upload(reply.job_id, transfer, &file.path, size, on_progress).await?;
            reply.status = job.status;
        }
        Ok(reply)
    }

    async fn upload(
        &self,
        job: JobId,
        transfer: Transfer,
        path: &Path,
        size: u64,
        on_progress: impl Fn(u64, u64) + Clone + Send + 'static,
    ) -> Result<JobView, ClientError> {
        let mut transfer = Some(transfer);
        self.persist(async || {
            let to = match transfer.take() {
                Some(to) => to,
                None => self.post("api/files/upload-url", &json!({"job_id": job})).await?,
            };
            let tell = on_progress.clone();
            self.send_file(&to, path, move |sent| tell(sent, size)).await
        })
        .await?;
        self.persist(async || self.post(&format!("api/jobs/{job}/uploaded"), &json!({})).await).await
    }

    /// One job.
    ///
    /// # Errors
    /// When there is no such job, or the service refuses or stays away.
    pub async fn job(&self, id: JobId) -> Result<JobView, ClientError> {
        let path = format!("api/jobs/{id}");
        self.persist(async || self.read(self.request(Method::GET, &path)?).await).await
    }

    /// Jobs that match, newest first.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn jobs(&self, query: &JobQuery) -> Result<Vec<JobView>, ClientError> {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        while found.len() < query.limit {
            let page =
                self.persist(async || self.page(query, query.limit - found.len(), &cursor).await).await?;
            found.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = next,
                None => break,
            }
        }
        Ok(found)
    }

    async fn page(&self, query: &JobQuery, wanted: usize, cursor: &str) -> Result<Page, ClientError> {
        let mut request = self.request(Method::GET, "api/jobs")?;
        request = request.query(&[("cursor", cursor), ("limit", &wanted.min(PAGE).to_string())]);
        if let Some(status) = query.status {
            request = request.query(&[("status", status.as_str())]);
        }
        if let Some(job_type) = &query.job_type {
            request = request.query(&[("type", job_type)]);
        }
        self.read(request).await
    }

    /// How much waits, runs and is done.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn stats(&self) -> Result<Value, ClientError> {
        self.persist(async || self.read(self.request(Method::GET, "api/stats")?).await).await
    }

    /// Fetches an output of a completed job into a local file, which appears whole or not at all.
    ///
    /// # Errors
    /// When there is no such output, the file cannot be written, or the service refuses or stays away.
    pub async fn download_output(&self, id: JobId, name: &str, to: &Path) -> Result<(), ClientError> {
        let path = format!("api/files/{id}/output/url");
        self.persist(async || {
            let request = self.request(Method::GET, &path)?.query(&[("name", name)]);
            let from: Transfer = self.read(request).await?;
            self.download(&from, to).await
        })
        .await
    }

    async fn download(&self, from: &Transfer, to: &Path) -> Result<(), ClientError> {
        let failed = |error| ClientError::file(to, error);
        let mut content = self.fetch(from.url()).await?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (file, draft) = tempfile::NamedTempFile::new_in(parent).map_err(failed)?.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        while let Some(piece) = content.try_next().await.map_err(failed)? {
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.sync_all().await.map_err(failed)?;
        draft.persist(to).map_err(|error| failed(error.error))
    }
}
