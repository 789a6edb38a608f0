//! Jobs: handed in one by one, and looked at.

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    FailureGroupId, Job, JobId, JobType, Priority, Status, WorkerId,
    blob::{BlobError, disposition},
    storage::{Attempt, Counts, JobFilter},
};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi, Union,
    param::{Header, Path, Query},
    payload::{Binary, Json},
};

use super::{
    body::Body,
    job::{AttemptView, JobView, LogView},
    outputs_zip,
    paging::{Page, USUAL_LIMIT, after, page_limit, wrong},
    submission::{self, JobRequest, SubmitReply},
    time::Time,
    types,
};
use crate::{
    auth::Principal,
    problem::Problem,
    service::{Breaker, Shared, Traced},
    stats::{self, Stats},
};

/// The most seconds that a request waits for a job to end.
const MAX_WAIT: u64 = 60;
/// The furthest that `offset` reaches: whoever wants more uses a cursor.
const MAX_OFFSET: usize = 10_000;

pub(super) struct JobsApi(pub(super) Arc<Shared>);

#[derive(ApiResponse)]
enum ZipReply {
    /// The zip file; it breaks off if a file cannot be read.
    #[oai(status = 200, content_type = "application/zip")]
    Zip(
        Binary<poem::Body>,
        /// What to call it.
        #[oai(header = "Content-Disposition")]
        String,
    ),
}

/// Jobs, newest first.
#[derive(Debug, Union)]
enum JobList {
    Page(Page<JobView>),
    Offset(JobOffsetView),
}

/// Which jobs come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "JobOrder", rename_all = "snake_case")]
enum Order {
    /// Those submitted last.
    Newest,
    /// Those submitted first.
    Oldest,
}

/// A page of jobs, as it comes without `cursor`.
#[derive(Debug, Object)]
struct JobOffsetView {
    /// The jobs.
    jobs: Vec<JobView>,
    /// How many match in all; `null` where that is not kept.
    total: Option<u64>,
    /// The most jobs on this page.
    limit: usize,
    /// How many jobs come before this page.
    offset: usize,
}

/// Where a file is.
#[derive(Debug, ApiResponse)]
enum Redirect {
    /// The file is there, for 15 minutes.
    #[oai(status = 302)]
    Found(#[oai(header = "Location")] String),
}

#[OpenApi(tag = "super::openapi::Section::Jobs")]
impl JobsApi {
    /// List jobs, newest first unless said otherwise
    #[allow(clippy::too_many_arguments, reason = "one for each filter")]
    #[oai(path = "/jobs", method = "get", operation_id = "list_jobs")]
    async fn list(
        &self,
        /// Only jobs in this state; `dead` is another word for `failed`.
        status: Query<Option<String>>,
        /// Only jobs of this type.
        #[oai(name = "type")]
        job_type: Query<Option<String>>,
        /// Only jobs of this priority, by number or name.
        priority: Query<Option<String>>,
        /// Only jobs that run on this worker.
        worker: Query<Option<String>>,
        /// Only jobs with this tag.
        tag: Query<Option<String>>,
        /// Only jobs with this text in the source's path or the last error.
        text: Query<Option<String>>,
        /// Only jobs that are failed and in this group of failures: its `id` in `GET /api/failures`.
        failure_group: Query<Option<i64>>,
        /// Only jobs of a source whose SHA-256 begins so: 8 to 64 hexadecimal digits.
        source_hash: Query<Option<String>>,
        /// Only jobs submitted at or after this time.
        created_from: Query<Option<Time>>,
        /// Only jobs submitted before this time.
        created_before: Query<Option<Time>>,
        /// `newest` first, or `oldest` first.
        order: Query<Option<Order>>,
        /// At most this many, 1 to 1,000.
        limit: Query<Option<usize>>,
        /// The `next_cursor` of the page before; empty for the first page.
        cursor: Query<Option<String>>,
        /// How many jobs to pass over, at most 10,000; a cursor reaches further and is faster.
        offset: Query<Option<usize>>,
    ) -> Result<Json<JobList>, Problem> {
        let limit = page_limit(limit.0, USUAL_LIMIT)?;
        let mut filter = JobFilter {
            status: parsed("status", status.0)?,
            job_type: job_type.0.map(|name| types::job_type(&name)).transpose()?,
            priority: parsed::<Priority>("priority", priority.0)?,
            worker: worker.0.map(WorkerId::new).transpose()?,
            tag: tag.0,
            text: text.0,
            failure_group: failure_group.0.map(FailureGroupId::new),
            source_hash: parsed("source_hash", source_hash.0)?,
            created_from: created_from.0.map(|time| time.0),
            created_before: created_before.0.map(|time| time.0),
            oldest_first: order.0 == Some(Order::Oldest),
            limit,
            ..JobFilter::default()
        };
        let list = match cursor.0 {
            Some(cursor) => {
                filter = filter.from_place(after(&cursor)?.map(JobId::new));
                let page = self.0.queue.list(&filter).await?;
                let next_cursor = page.next.map(|id| id.to_string());
                JobList::Page(Page { items: self.views(page.items), next_cursor })
            }
            None => JobList::Offset(self.by_offset(filter, offset.0.unwrap_or(0)).await?),
        };
        Ok(Json(list))
    }

    /// Hand in a job
    ///
    /// A W3C `traceparent` header is kept with the job and comes back with its claim.
    #[oai(path = "/jobs", method = "post", operation_id = "submit_job")]
    async fn submit(
        &self,
        principal: Data<&Principal>,
        traced: Data<&Traced>,
        /// A name for this request, 1 to 255 printable ASCII characters, such as a UUID. The same request under the same
        /// name within 7 days is answered with the same job, and another request with 409.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        body: Body<JobRequest>,
    ) -> Result<SubmitReply, Problem> {
        let mut job = body.0.into_job(principal.0, self.0.hooks.reach())?;
        job.idempotency_key = idempotency_key.0;
        job.body.traceparent = traced.0.0;
        submission::submit(&self.0, job).await
    }

    /// One job; with `wait_seconds` it is waited for until it has ended
    #[oai(path = "/jobs/:id", method = "get", operation_id = "get_job")]
    async fn get(
        &self,
        /// The job's number.
        id: Path<i64>,
        /// How long to wait for its end, at most 60 seconds. The reply is the job as it is then, ended or not.
        wait_seconds: Query<Option<u64>>,
    ) -> Result<Json<JobView>, Problem> {
        let queue = &self.0.queue;
        let id = JobId::new(id.0);
        let job = match wait_seconds.0 {
            None | Some(0) => queue.job(id).await?,
            Some(seconds) => tokio::select! {
                job = queue.wait(id, Duration::from_secs(seconds.min(MAX_WAIT))) => job?,
                () = self.0.stop.cancelled() => queue.job(id).await?,
            },
        };
        let obstacle = queue.obstacle(&job).await?;
        Ok(Json(JobView::new(job, queue.now()).with_obstacle(obstacle)))
    }

    /// The attempts of a job, the first one first
    #[oai(path = "/jobs/:id/history", method = "get", operation_id = "job_history")]
    async fn history(
        &self,
        /// The job's number.
        id: Path<i64>,
    ) -> Result<Json<Vec<AttemptView>>, Problem> {
        let attempts = self.attempts(JobId::new(id.0)).await?;
        Ok(Json(attempts.into_iter().map(AttemptView::from).collect()))
    }

    /// What the handler of a job said last: the running one, or that of an attempt that failed or was lost
    #[oai(path = "/jobs/:id/logs", method = "get", operation_id = "job_log")]
    async fn log(
        &self,
        /// The job's number.
        id: Path<i64>,
        /// Which attempt, by its number; the current or last one unless said.
        attempt: Query<Option<u32>>,
    ) -> Result<Json<LogView>, Problem> {
        let mut attempts = self.attempts(JobId::new(id.0)).await?;
        let Some(wanted) = attempt.0 else {
            return Ok(Json(attempts.pop().map_or(LogView::NONE, LogView::from)));
        };
        let found = attempts.into_iter().find(|attempt| attempt.epoch.get() == wanted);
        Ok(Json(found.map(LogView::from).ok_or_else(|| no_attempt(id.0, wanted))?))
    }

    /// A file that a completed job produced; redirects to where it is
    #[oai(path = "/jobs/:id/outputs/:name", method = "get", operation_id = "get_output")]
    async fn output(
        &self,
        /// The job's number.
        id: Path<i64>,
        /// The file's name, such as `document.md` or `images/p1.png`.
        name: Path<String>,
    ) -> Result<Redirect, Problem> {
        let job = self.0.queue.job(JobId::new(id.0)).await?;
        let output = job.outputs.into_iter().find(|output| output.name == name.0);
        let output = output.ok_or_else(|| no_output(&name.0))?;
        Ok(Redirect::Found(self.0.url_of(&output.key, &output.name).await?.url))
    }

    /// All files that a completed job produced, in one zip file
    #[oai(path = "/jobs/:id/outputs.zip", method = "get", operation_id = "get_outputs_zip")]
    async fn outputs_zip(
        &self,
        /// The job's number.
        id: Path<i64>,
        breaker: Data<&Breaker>,
    ) -> Result<ZipReply, Problem> {
        let job = self.0.queue.job(JobId::new(id.0)).await?;
        if job.status() != Status::Completed {
            return Err(no_output("outputs.zip"));
        }
        let name = disposition(&outputs_zip::name(&job));
        let body = outputs_zip::body(self.0.queue.blobs().clone(), job, breaker.0.clone()).await;
        let body = body.map_err(|error| match error {
            BlobError::NotFound(_) => Problem::not_found("file_not_found", "an output of this job is gone"),
            error => error.into(),
        })?;
        Ok(ZipReply::Zip(Binary(body), name))
    }

    /// How much waits, runs and is done
    #[oai(path = "/stats", method = "get", operation_id = "stats")]
    async fn stats(&self) -> Result<Json<Stats>, Problem> {
        Ok(Json(stats::read(&self.0.queue, self.0.metrics.pace()).await?))
    }
}

impl JobsApi {
    fn views(&self, jobs: Vec<Job>) -> Vec<JobView> {
        let now = self.0.queue.now();
        jobs.into_iter().map(|job| JobView::new(job, now)).collect()
    }

    async fn attempts(&self, id: JobId) -> Result<Vec<Attempt>, Problem> {
        self.0.queue.job(id).await?;
        Ok(self.0.queue.history(id).await?)
    }

    async fn by_offset(&self, filter: JobFilter, offset: usize) -> Result<JobOffsetView, Problem> {
        if offset > MAX_OFFSET {
            return Err(wrong("offset", "it reaches at most 10000: use a cursor to go further"));
        }
        let limit = filter.limit;
        let total = total(&self.0.queue.counts().await?, &filter);
        let mut found = Vec::new();
        let mut next = JobFilter { limit: (offset + limit).min(blobforge_core::storage::MAX_PAGE), ..filter };
        while found.len() < offset + limit {
            let page = self.0.queue.list(&next).await?;
            found.extend(page.items);
            if page.next.is_none() {
                break;
            }
            next = next.from_place(page.next);
        }
        let jobs = self.views(found.into_iter().skip(offset).take(limit).collect());
        Ok(JobOffsetView { jobs, total, limit, offset })
    }
}

/// How many jobs match, as far as that is kept: by type and status.
pub(crate) fn total(counts: &Counts, filter: &JobFilter) -> Option<u64> {
    let counted = JobFilter {
        status: filter.status,
        job_type: filter.job_type.clone(),
        limit: filter.limit,
        oldest_first: filter.oldest_first,
        ..JobFilter::default()
    };
    let matches = |job_type: &JobType, status: &Status| {
        filter.job_type.as_ref().is_none_or(|wanted| wanted == job_type)
            && filter.status.is_none_or(|wanted| wanted == *status)
    };
    let matching = counts.0.iter().filter(|((job_type, status), _)| matches(job_type, status));
    (counted == *filter).then(|| matching.map(|(_, n)| n).sum())
}

fn parsed<T: std::str::FromStr>(name: &str, text: Option<String>) -> Result<Option<T>, Problem>
where
    T::Err: std::fmt::Display,
{
    let parse = |text: String| text.parse().map_err(|error: T::Err| wrong(name, &error.to_string()));
    text.filter(|text| !text.is_empty()).map(parse).transpose()
}

fn no_attempt(job: i64, attempt: u32) -> Problem {
    Problem::not_found("attempt_not_found", format!("nothing is known of an attempt {attempt} of job {job}"))
        .hint("GET /api/jobs/{id}/history lists its attempts")
}

pub(super) fn no_output(name: &str) -> Problem {
    Problem::not_found("output_not_found", format!("this job has no output {name:?}"))
        .hint("outputs appear when the job has completed; GET /api/jobs/{id} lists them")
}
