//! Handing jobs in and looking at them.

use std::{path::PathBuf, sync::Arc};

use blobforge_core::{Failure, JobId, Priority, Progress, Status};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Client, ClientError,
    transfer::hash_file,
    upload::{Place, Upload},
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
    upload: Option<Upload>,
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
        on_progress: impl Fn(u64, u64) + Send + Sync + 'static,
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
        if let Some(upload) = submitted.upload {
            let progress = Arc::new(move |sent| on_progress(sent, size));
            let place = Place::Source { job: reply.job_id, sha256 };
            self.send_as_told(Some(upload), place, &file.path, progress).await?;
            let path = format!("api/jobs/{}/uploaded", reply.job_id);
            let job: JobView = self.persist(async || self.post(&path, &json!({})).await).await?;
            reply.status = job.status;
        }
        Ok(reply)
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
}
