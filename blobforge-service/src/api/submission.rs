//! Handing jobs in.

use std::{collections::BTreeMap, sync::Arc};

use blobforge_core::{
    Invalid, JobId, NewJob, NewSource, Priority, Requirements, Status,
    queue::{MAX_SUBMIT, UPLOAD_LIMIT},
    storage::Submitted,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    body::{Body, FileBody},
    files::{self, SentPartRequest, UploadView},
    job::JobView,
    time::Time,
    types, webhooks,
};
use crate::{
    auth::Principal,
    problem::Problem,
    service::{Named, Shared, Traced},
    webhooks::Reach,
};

/// The largest body that a batch may have, in bytes.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// How many jobs of a batch are answered for at once: a store elsewhere is asked where large files go.
const VIEWED_AT_ONCE: usize = 16;

pub(super) struct SubmissionApi(pub(super) Arc<Shared>);

/// A job to be handed in.
#[derive(Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobRequest {
    /// What kind of work it is, such as `pdf-text`.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    job_type: String,
    /// The SHA-256 of its source, in hexadecimal. With it the same file is not converted twice.
    source_hash: Option<String>,
    /// The size of its source in bytes.
    source_size: Option<u64>,
    /// What the source is called where it comes from. Only a label: it is never opened.
    source_path: Option<String>,
    /// `none` for a job without a file; otherwise the reply says where to send it.
    source: Option<String>,
    /// 1 (critical) to 5 (background), by number or name; 3 unless said otherwise.
    priority: Option<Value>,
    /// How many failing runs it may have.
    max_attempts: Option<u32>,
    /// Not to run before this time.
    run_at: Option<Time>,
    /// What its handler is told: at most 64 KB.
    params: Option<BTreeMap<String, Value>>,
    /// Words to find it by: at most 64.
    tags: Option<Vec<String>>,
    /// Whatever you want to find again: at most 64 KB.
    metadata: Option<BTreeMap<String, Value>>,
    /// What it asks of its worker's labels, such as `gpu` or `vram_gb >= 24`: at most 16.
    requires: Option<Vec<String>>,
    /// Whether a job that does this work already is handed back instead, with these tags and this path added as far as it
    /// has room for them; yes unless said otherwise. With no, nobody else is handed this job either.
    dedup: Option<bool>,
    /// If that job has failed, run it again.
    retry_failed: Option<bool>,
    /// Where to send a signed request when it ends: a URL, or `{url, events}` with some of `job_completed`, `job_failed`
    /// and `job_cancelled`. Where a job that does this work is handed back, it is added to that one's, at most 8, and hears
    /// of the next end: whether that job has ended already is said by `status`.
    webhook: Option<Value>,
}

impl JobRequest {
    pub(super) fn into_job(self, principal: &Principal, reach: &Reach) -> Result<NewJob, Problem> {
        let mut job = NewJob::new(types::job_type(&self.job_type)?)?;
        job.source = source(self.source.as_deref(), self.source_hash, self.source_size)?;
        job.priority = self.priority.map(priority).transpose()?.unwrap_or_default();
        job.max_attempts = self.max_attempts;
        job.run_at = self.run_at.map(|time| time.0);
        job.body.params = self.params.unwrap_or_default().into_iter().collect();
        job.body.metadata = self.metadata.unwrap_or_default().into_iter().collect();
        job.body.tags = self.tags.unwrap_or_default();
        job.body.requires = Requirements::parse(self.requires.unwrap_or_default())?;
        job.body.source_path = self.source_path;
        job.body.submitter = Some(principal.id.clone());
        let webhook = self.webhook.filter(|webhook| !webhook.is_null());
        job.body.notify =
            webhook.map(|webhook| webhooks::of_job(webhook, reach)).transpose()?.into_iter().collect();
        job.dedup = self.dedup.unwrap_or(true);
        job.retry_failed = self.retry_failed.unwrap_or(false);
        Ok(job)
    }
}

fn source(source: Option<&str>, hash: Option<String>, size: Option<u64>) -> Result<NewSource, Problem> {
    match source {
        Some("none") if hash.is_some() || size.is_some() => {
            let reason = "a job without a source has neither a hash nor a size: leave them out, or leave out \"source\"";
            Err(Invalid::new("source", reason).into())
        }
        Some("none") => Ok(NewSource::None),
        Some("upload") | None => {
            let sha256 = hash.map(|hash| hash.parse()).transpose()?;
            Ok(NewSource::Upload { sha256, size })
        }
        Some(other) => {
            Err(Invalid::new("source", format!("{other:?} is neither \"upload\" nor \"none\"")).into())
        }
    }
}

/// A priority by number or name.
pub(super) fn priority(value: Value) -> Result<Priority, Problem> {
    let text = match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(text.parse::<Priority>()?)
}

/// What became of a submission.
#[derive(Debug, Object)]
pub(super) struct SubmittedView {
    /// The job's number.
    job_id: i64,
    /// It was there already.
    existing: bool,
    /// Where it is in its life.
    status: String,
    /// Where to send its source, while that is missing; then `POST /api/jobs/{id}/uploaded`.
    #[oai(skip_serializing_if_is_none)]
    upload: Option<UploadView>,
    /// What may keep the job from running, such as that no live worker serves its type.
    #[oai(skip_serializing_if_is_none)]
    warning: Option<String>,
}

#[derive(Debug, ApiResponse)]
pub(super) enum SubmitReply {
    /// The job was taken in.
    #[oai(status = 201)]
    Created(Json<SubmittedView>),
    /// A job that does this work was there already.
    #[oai(status = 200)]
    Existing(Json<SubmittedView>),
}

impl From<SubmittedView> for SubmitReply {
    fn from(view: SubmittedView) -> Self {
        if view.existing { Self::Existing(Json(view)) } else { Self::Created(Json(view)) }
    }
}

/// Jobs to be handed in together.
#[derive(Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchRequest {
    /// At most 1,000.
    jobs: Vec<JobRequest>,
}

/// What became of a batch.
#[derive(Debug, Object)]
struct BatchView {
    /// In the order of the request. Either all are there or, with an error, none.
    jobs: Vec<SubmittedView>,
}

/// What may be said of the source that was sent.
#[derive(Debug, Default, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct UploadedRequest {
    /// The parts that were sent and not named yet, of a file that went in parts.
    parts: Option<Vec<SentPartRequest>>,
}

#[OpenApi(tag = "super::openapi::Section::Jobs")]
impl SubmissionApi {
    /// Hand in up to 1,000 jobs
    #[oai(path = "/jobs/batch", method = "post", operation_id = "submit_jobs")]
    async fn batch(
        &self,
        principal: Data<&Principal>,
        traced: Data<&Traced>,
        /// A name for this request, 1 to 255 printable ASCII characters, such as a UUID. Repeated under it within 7 days,
        /// the same batch is answered with the same jobs, each known by a key that is made of this one and of its place;
        /// another request is answered with 409.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        body: Body<BatchRequest, BATCH_BYTES>,
    ) -> Result<Json<BatchView>, Problem> {
        let Body(BatchRequest { jobs }, said) = body;
        if jobs.len() > MAX_SUBMIT {
            let reason = format!("{} are too many at once: at most {MAX_SUBMIT}", jobs.len());
            return Err(Invalid::new("jobs", reason).into());
        }
        let parse = |(place, job): (usize, JobRequest)| {
            let at = |problem: Problem| {
                let field = problem.field.clone().map_or(String::new(), |field| format!(".{field}"));
                problem.field(format!("jobs[{place}]{field}"))
            };
            job.into_job(principal.0, self.0.hooks.reach())
                .and_then(|job| job.validate().map(|()| job).map_err(Problem::from))
                .map_err(at)
        };
        let mut jobs = jobs.into_iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        for job in &mut jobs {
            job.body.traceparent = traced.0.0;
        }
        if let Some(key) = idempotency_key.0 {
            let named = Named { by: &principal, route: "POST /api/jobs/batch", key: &key, said: &said };
            let id = self.0.repeats.same(named).await?;
            for (place, job) in jobs.iter_mut().enumerate() {
                job.idempotency_key = Some(format!("batch-{id}-{place}"));
            }
        }
        let submitted = self.0.queue.submit_many(jobs).await?;
        let views = submitted.into_iter().map(|submitted| async { view(&self.0, submitted?).await });
        let jobs = stream::iter(views).buffered(VIEWED_AT_ONCE).try_collect().await?;
        Ok(Json(BatchView { jobs }))
    }

    /// Hand in a file as the body of one request: `curl -T file.pdf …`
    #[allow(clippy::too_many_arguments, reason = "one for each property")]
    #[oai(path = "/jobs/upload", method = "put", operation_id = "submit_file")]
    async fn upload(
        &self,
        principal: Data<&Principal>,
        traced: Data<&Traced>,
        /// What kind of work it is.
        #[oai(name = "type")]
        job_type: Query<String>,
        /// What the file is called.
        name: Query<Option<String>>,
        /// 1 (critical) to 5 (background), by number or name.
        priority: Query<Option<String>>,
        /// Words to find the job by, separated by commas.
        tags: Query<Option<String>>,
        /// How many failing runs it may have.
        max_attempts: Query<Option<u32>>,
        /// A name for this request, 1 to 255 printable ASCII characters, such as a UUID. The same file and properties
        /// under the same name within 7 days are answered with the same job, and others with 409.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        content: FileBody,
    ) -> Result<SubmitReply, Problem> {
        let mut job = NewJob::new(types::job_type(&job_type.0)?)?;
        job.priority = priority.0.map(|text| text.parse::<Priority>()).transpose()?.unwrap_or_default();
        job.max_attempts = max_attempts.0;
        job.body.source_path = name.0;
        job.idempotency_key = idempotency_key.0;
        let tags = tags.0.unwrap_or_default();
        job.body.tags = tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        job.body.submitter = Some(principal.id.clone());
        job.body.traceparent = traced.0.0;
        let stream = content.0.into_bytes_stream().boxed();
        let submitted = self.0.queue.submit_stream(job, stream, UPLOAD_LIMIT).await?;
        Ok(view(&self.0, submitted).await?.into())
    }

    /// Say that a job's source was sent: it is checked, and the job becomes ready
    #[oai(path = "/jobs/:id/uploaded", method = "post", operation_id = "source_uploaded")]
    async fn uploaded(
        &self,
        /// The job's number.
        id: Path<i64>,
        body: Body<Option<UploadedRequest>>,
    ) -> Result<Json<JobView>, Problem> {
        let id = JobId::new(id.0);
        let job = self.0.queue.job(id).await?;
        // Nothing is decided about a file that is on its way.
        let _arrival = match &job.source {
            Some(source) => Some(self.0.arrivals.begin(&source.key).await?),
            None => None,
        };
        let parts = files::sent(body.0.unwrap_or_default().parts);
        if !parts.is_empty() && job.status() == Status::Uploading {
            self.0.upload_of(id, parts).await?;
        }
        let job = self.0.queue.source_uploaded(id).await?;
        Ok(Json(JobView::new(job, self.0.queue.now())))
    }
}

/// Takes a job in and says what became of it.
pub(super) async fn submit(shared: &Shared, job: NewJob) -> Result<SubmitReply, Problem> {
    let submitted = shared.queue.submit(job).await?;
    Ok(view(shared, submitted).await?.into())
}

async fn view(shared: &Shared, submitted: Submitted) -> Result<SubmittedView, Problem> {
    let upload = match submitted.upload_key {
        Some(_) => Some(shared.upload_of(submitted.id, Vec::new()).await?),
        None => None,
    };
    let obstacle = match shared.queue.get(submitted.id).await? {
        Some(job) => shared.queue.obstacle(&job).await?,
        None => None,
    };
    let warning = obstacle.map(|obstacle| format!("the job waits: {obstacle}"));
    Ok(SubmittedView {
        job_id: submitted.id.get(),
        existing: submitted.existing,
        status: submitted.status.to_string(),
        upload,
        warning,
    })
}
