//! Looking at jobs, and changing what becomes of them.

use std::time::Duration;

use blobforge_core::{Failure, HashBeginning, JobId, Priority, Progress, Sha256, Status};
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{ANSWER_WITHIN, Client, ClientError};

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
    /// The hash of the source.
    pub source_hash: Option<Sha256>,
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
    /// The hash of its content.
    pub sha256: Option<Sha256>,
}

/// Which jobs to list; what is `None` does not restrict.
#[derive(Clone, Debug, Default)]
pub struct JobQuery {
    /// In this state.
    pub status: Option<Status>,
    /// Of this type.
    pub job_type: Option<String>,
    /// Of this priority.
    pub priority: Option<Priority>,
    /// Running on this worker.
    pub worker: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// With this text in the source's path or the last error.
    pub text: Option<String>,
    /// Failed, and in this group of failures.
    pub failure_group: Option<i64>,
    /// Of a source whose hash begins so.
    pub source_hash: Option<HashBeginning>,
    /// At most this many.
    pub limit: usize,
}

impl JobQuery {
    /// What restricts, as the service calls it.
    pub(super) fn filter(&self) -> Map<String, Value> {
        let mut filter = Map::new();
        let mut add = |name: &str, value: Option<Value>| {
            filter.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("status", self.status.map(|status| status.as_str().into()));
        add("type", self.job_type.clone().map(Value::from));
        add("priority", self.priority.map(|priority| u8::from(priority).into()));
        add("worker", self.worker.clone().map(Value::from));
        add("tag", self.tag.clone().map(Value::from));
        add("text", self.text.clone().map(Value::from));
        add("failure_group", self.failure_group.map(Value::from));
        add("source_hash", self.source_hash.map(|beginning| beginning.to_string().into()));
        filter
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<JobView>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Known {
    files: Vec<KnownFile>,
}

#[derive(Deserialize)]
struct KnownFile {
    jobs: Vec<JobView>,
}

/// How many jobs one request asks for.
const PAGE: usize = 500;
/// About how many files one request asks.
const LOOKED_UP_AT_ONCE: usize = 200;

impl Client {
    /// One job.
    ///
    /// # Errors
    /// When there is no such job, or the service refuses or stays away.
    pub async fn job(&self, id: JobId) -> Result<JobView, ClientError> {
        self.get(&format!("api/jobs/{id}")).await
    }

    /// One job, once it has ended or so much time has passed, at most a minute.
    ///
    /// # Errors
    /// As [`Client::job`].
    pub async fn wait(&self, id: JobId, limit: Duration) -> Result<JobView, ClientError> {
        let path = format!("api/jobs/{id}");
        let wait = [("wait_seconds", limit.as_secs().to_string())];
        let patience = limit + ANSWER_WITHIN;
        self.persist(async || {
            self.read(self.request(Method::GET, &path)?.query(&wait).timeout(patience)).await
        })
        .await
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
        let request = self.request(Method::GET, "api/jobs")?;
        let request = request.query(&[("cursor", cursor), ("limit", &wanted.min(PAGE).to_string())]);
        self.read(with_filter(request, query)).await
    }

    /// The jobs of each of these sources, in the same order; of each the newest first, at most 20.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn look_up(
        &self,
        sources: &[HashBeginning],
        job_type: Option<&str>,
    ) -> Result<Vec<Vec<JobView>>, ClientError> {
        let mut found = Vec::with_capacity(sources.len());
        for some in sources.chunks(LOOKED_UP_AT_ONCE) {
            let hashes: Vec<_> = some.iter().map(ToString::to_string).collect();
            let body = json!({"source_hashes": hashes, "type": job_type});
            let known: Known = self.persist(async || self.post("api/jobs/lookup", &body).await).await?;
            if known.files.len() != some.len() {
                let what = "the service answers for other files than it was asked";
                return Err(ClientError::Reply(what.to_owned()));
            }
            found.extend(known.files.into_iter().map(|file| file.jobs));
        }
        Ok(found)
    }

    /// How much waits, runs and is done.
    ///
    /// # Errors
    /// When the service refuses or stays away.
    pub async fn stats(&self) -> Result<Value, ClientError> {
        self.get("api/stats").await
    }

    /// The attempts of a job, the first one first.
    ///
    /// # Errors
    /// As [`Client::job`].
    pub async fn history(&self, id: JobId) -> Result<Vec<Value>, ClientError> {
        self.get(&format!("api/jobs/{id}/history")).await
    }

    /// The last lines that the handler of a job said, in its current or last attempt or in that one.
    ///
    /// # Errors
    /// As [`Client::job`], and when there was no such attempt.
    pub async fn log(&self, id: JobId, attempt: Option<u32>) -> Result<Value, ClientError> {
        let attempt = attempt.map_or(String::new(), |attempt| format!("?attempt={attempt}"));
        self.get(&format!("api/jobs/{id}/logs{attempt}")).await
    }

    /// Runs an ended job again.
    ///
    /// # Errors
    /// When it has not ended, there is none, or the service refuses or stays away.
    pub async fn retry(&self, id: JobId) -> Result<JobView, ClientError> {
        self.post_once(&format!("api/jobs/{id}/retry"), &json!({})).await
    }

    /// Calls a job off.
    ///
    /// # Errors
    /// When it has ended, there is none, or the service refuses or stays away.
    pub async fn cancel(&self, id: JobId) -> Result<JobView, ClientError> {
        self.post_once(&format!("api/jobs/{id}/cancel"), &json!({})).await
    }

    /// Changes how urgent a job is.
    ///
    /// # Errors
    /// When it has ended, there is none, or the service refuses or stays away.
    pub async fn reprioritise(&self, id: JobId, priority: Priority) -> Result<JobView, ClientError> {
        let body = json!({"priority": u8::from(priority)});
        let path = format!("api/jobs/{id}/priority");
        self.persist(async || self.read(self.request(Method::PATCH, &path)?.json(&body)).await).await
    }

    /// Forgets an ended job.
    ///
    /// # Errors
    /// When it has not ended, there is none, or the service refuses or stays away.
    pub async fn delete_job(&self, id: JobId) -> Result<(), ClientError> {
        self.delete(&format!("api/jobs/{id}")).await
    }
}

fn with_filter(request: RequestBuilder, query: &JobQuery) -> RequestBuilder {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let filter: Vec<_> = query.filter().into_iter().map(|(name, value)| (name, text(value))).collect();
    request.query(&filter)
}
