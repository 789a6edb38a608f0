//! Where files are sent to and fetched from.

use std::{collections::BTreeMap, sync::Arc};

use blobforge_core::{
    JobId, Sha256, Status,
    blob::{Method, SignedUrl},
};
use poem::web::Data;
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde::Deserialize;

use super::{body::Body, jobs::no_output, reports::lease, time::Time};
use crate::{auth::Principal, problem::Problem, service::Shared};

pub(super) struct FilesApi(pub(super) Arc<Shared>);

/// A URL that allows one thing with one file, without further credentials.
#[derive(Debug, Object)]
#[oai(rename = "Transfer")]
pub(crate) struct TransferView {
    /// `GET` or `PUT`.
    method: String,
    /// The URL, a secret; a path is relative to the service.
    url: String,
    /// Headers to send along.
    headers: BTreeMap<String, String>,
    /// Until when it works.
    expires_at: Time,
}

impl From<SignedUrl> for TransferView {
    fn from(signed: SignedUrl) -> Self {
        Self {
            method: signed.method.as_str().to_owned(),
            url: signed.url,
            headers: BTreeMap::new(),
            expires_at: signed.expires_at.into(),
        }
    }
}

/// Which job's source is to be sent: by the job's number, or as earlier clients name it.
#[derive(Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct UploadUrlRequest {
    /// The job's number.
    job_id: Option<i64>,
    /// `sources/` and the SHA-256 of the file in hexadecimal, while a job waits for a source with that hash. Such a job
    /// becomes ready without being told that its source was sent.
    key: Option<String>,
    /// Means nothing: files are bytes.
    #[allow(dead_code)]
    content_type: Option<String>,
}

impl UploadUrlRequest {
    fn hash(&self) -> Result<Option<Sha256>, Problem> {
        let Some(key) = &self.key else { return Ok(None) };
        let hash = key.strip_prefix("sources/").and_then(|hash| hash.parse().ok());
        let wrong = || {
            let detail = format!("key: {key:?} is not \"sources/\" and a SHA-256 in hexadecimal");
            Problem::invalid(detail).field("key").hint("name the job: {\"job_id\": …}")
        };
        hash.map(Some).ok_or_else(wrong)
    }
}

/// Which file of an attempt is to be sent.
#[derive(Debug, Object, Deserialize)]
struct OutputUrlRequest {
    /// The lease of the attempt.
    lease: String,
    /// The file's name, a relative path such as `images/p1.png`.
    name: String,
    /// `output` unless said otherwise, or `checkpoint`.
    kind: Option<String>,
}

impl FilesApi {
    /// The job whose source is to be sent. Who names it by hash will not say when it was: it is looked for.
    async fn sending(&self, request: &UploadUrlRequest) -> Result<JobId, Problem> {
        match (request.job_id, request.hash()?) {
            (Some(id), None) => Ok(JobId::new(id)),
            (None, Some(hash)) => {
                let job = self.0.unannounced.job_with(hash).await?;
                let job = job.ok_or_else(|| {
                    Problem::not_found(
                        "job_not_found",
                        format!("no job waits for a source with the hash {hash}"),
                    )
                    .hint("create the job first, with this hash as source_hash")
                })?;
                self.0.unannounced.expect(job).await?;
                Ok(job)
            }
            _ => Err(Problem::invalid("say either job_id or key").field("job_id")),
        }
    }
}

#[OpenApi(tag = "super::openapi::Section::Files")]
impl FilesApi {
    /// Ask again where to send the source of a job that is uploading
    #[oai(path = "/files/upload-url", method = "post", operation_id = "upload_url")]
    async fn upload_url(&self, body: Body<UploadUrlRequest>) -> Result<Json<TransferView>, Problem> {
        let id = self.sending(&body.0).await?;
        let job = self.0.queue.job(id).await?;
        let status = job.status();
        let source = job.source.filter(|source| status == Status::Uploading && !source.arrived);
        let source = source.ok_or_else(|| {
            Problem::conflict("wrong_state", format!("job {} waits for no source: it is {status}", job.id))
        })?;
        Ok(Json(self.0.url(Method::Put, &source.key)?.into()))
    }

    /// Where a job's source or one of its outputs can be fetched
    #[oai(path = "/files/:job_id/:type/url", method = "get", operation_id = "download_url")]
    async fn download_url(
        &self,
        /// The job's number.
        job_id: Path<i64>,
        /// `source`, `output` or `checkpoint`.
        #[oai(name = "type")]
        kind: Path<String>,
        /// The name of the output or checkpoint.
        name: Query<Option<String>>,
    ) -> Result<Json<TransferView>, Problem> {
        let job = self.0.queue.job(JobId::new(job_id.0)).await?;
        let key = match kind.0.as_str() {
            "source" => {
                let source = job.source.filter(|source| source.arrived);
                source.map(|source| source.key).ok_or_else(|| {
                    Problem::not_found(
                        "source_not_found",
                        "this job has no source, or it has not arrived yet",
                    )
                })?
            }
            "output" => {
                let name = name.0.unwrap_or_default();
                let output = job.outputs.into_iter().find(|output| output.name == name);
                output.map(|output| output.key).ok_or_else(|| no_output(&name))?
            }
            "checkpoint" => {
                let name = name.0.unwrap_or_default();
                let kept = self.0.queue.storage().checkpoints(job.id).await?;
                kept.into_iter().find(|kept| kept.name == name).map(|kept| kept.key).ok_or_else(|| {
                    Problem::not_found("checkpoint_not_found", format!("this job has no checkpoint {name:?}"))
                })?
            }
            other => {
                let detail = format!("type: {other:?} is none of \"source\", \"output\" and \"checkpoint\"");
                return Err(Problem::bad_request("invalid_path", detail).field("type"));
            }
        };
        Ok(Json(self.0.url(Method::Get, &key)?.into()))
    }

    /// Where a worker sends an output or a checkpoint of its attempt
    #[oai(path = "/files/:job_id/outputs/url", method = "post", operation_id = "output_url")]
    async fn output_url(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        job_id: Path<i64>,
        body: Body<OutputUrlRequest>,
    ) -> Result<Json<TransferView>, Problem> {
        let id = JobId::new(job_id.0);
        let token = lease(&body.0.lease)?;
        principal.act_on(&self.0.queue, id).await?;
        let key = match body.0.kind.as_deref() {
            None | Some("output") => self.0.queue.reserve_output(id, token, &body.0.name).await?,
            Some("checkpoint") => self.0.queue.reserve_checkpoint(id, token, &body.0.name).await?,
            Some(other) => {
                let detail = format!("kind: {other:?} is neither \"output\" nor \"checkpoint\"");
                return Err(Problem::invalid(detail).field("kind"));
            }
        };
        Ok(Json(self.0.url(Method::Put, &key)?.into()))
    }
}
