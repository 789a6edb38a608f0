//! Where files are sent to and fetched from.

use std::{collections::BTreeMap, sync::Arc};

use blobforge_core::{
    Job, JobId, Sha256,
    blob::{Method, SignedUrl},
    queue::{PartsToSend, Sending, SentPart},
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

/// Where a file is to be sent: in one request, or in parts, of which the first missing ones are named.
#[derive(Debug, Default, Object)]
#[oai(rename = "Upload", skip_serializing_if_is_none)]
pub(crate) struct UploadView {
    /// `PUT`.
    method: Option<String>,
    /// The URL, a secret; a path is relative to the service.
    url: Option<String>,
    /// Headers to send along.
    headers: Option<BTreeMap<String, String>>,
    /// Until when it works.
    expires_at: Option<Time>,
    /// A large file goes in parts: send each, keep the `ETag` of the reply, and ask again with those. None are left when all
    /// have been sent.
    parts: Option<Vec<PartView>>,
    /// How many parts are missing in all, these included.
    missing_parts: Option<u64>,
}

/// A part of a file, and where to send it.
#[derive(Debug, Object)]
#[oai(rename = "Part")]
struct PartView {
    /// Its number, from 1 on.
    number: u32,
    /// Where in the file it begins, in bytes.
    offset: u64,
    /// How long it is, in bytes.
    size: u64,
    /// `PUT`.
    method: String,
    /// The URL, a secret.
    url: String,
    /// Headers to send along.
    headers: BTreeMap<String, String>,
    /// Until when it works.
    expires_at: Time,
}

impl From<Sending> for UploadView {
    fn from(sending: Sending) -> Self {
        let in_parts = |PartsToSend { missing, parts }: PartsToSend| {
            let part = |part: blobforge_core::queue::PartToSend| {
                let TransferView { method, url, headers, expires_at } = part.url.into();
                let (number, offset, size) = (part.number, part.offset, part.size);
                PartView { number, offset, size, method, url, headers, expires_at }
            };
            let parts = parts.into_iter().map(part).collect();
            Self { parts: Some(parts), missing_parts: Some(missing), ..Self::default() }
        };
        match sending {
            Sending::Whole(signed) => signed.into(),
            Sending::Parts(to_send) => in_parts(to_send),
            Sending::Done => in_parts(PartsToSend { missing: 0, parts: Vec::new() }),
        }
    }
}

impl From<SignedUrl> for UploadView {
    fn from(signed: SignedUrl) -> Self {
        let TransferView { method, url, headers, expires_at } = signed.into();
        Self {
            method: Some(method),
            url: Some(url),
            headers: Some(headers),
            expires_at: Some(expires_at),
            ..Self::default()
        }
    }
}

/// A part that was sent.
#[derive(Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SentPartRequest {
    /// Its number.
    number: u32,
    /// The `ETag` of the reply to it.
    etag: String,
}

pub(super) fn sent(parts: Option<Vec<SentPartRequest>>) -> Vec<SentPart> {
    let parts = parts.unwrap_or_default().into_iter();
    parts.map(|SentPartRequest { number, etag }| SentPart { number, etag }).collect()
}

/// What a job's source is to be called by whoever saves it.
pub(crate) fn source_name(job: &Job) -> &str {
    job.body.source_path.as_deref().unwrap_or("source")
}

impl Shared {
    /// A URL to read a file by, which says what to call it.
    pub(super) async fn url_of(&self, key: &str, name: &str) -> Result<SignedUrl, Problem> {
        self.queue.signed_url(Method::Get, key, Some(name)).await?.ok_or_else(unsigned)
    }

    /// How the source of a job is to be sent.
    pub(super) async fn upload_of(&self, id: JobId, sent: Vec<SentPart>) -> Result<UploadView, Problem> {
        Ok(self.queue.send_source(id, sent).await?.ok_or_else(unsigned)?.into())
    }
}

/// Every store that the service opens signs; one that does not is a fault of ours.
fn unsigned() -> Problem {
    tracing::error!("the blob store signs no URLs");
    Problem::internal()
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
    /// The parts that were sent since the last request, of a file that goes in parts.
    parts: Option<Vec<SentPartRequest>>,
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
    /// Its size in bytes. A large file goes in parts if it is known.
    size: Option<u64>,
    /// The parts that were sent since the last request, of a file that goes in parts.
    parts: Option<Vec<SentPartRequest>>,
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
    /// Ask again where to send the source of a job that is uploading, or what is missing of it
    #[oai(path = "/files/upload-url", method = "post", operation_id = "upload_url")]
    async fn upload_url(&self, body: Body<UploadUrlRequest>) -> Result<Json<UploadView>, Problem> {
        let id = self.sending(&body.0).await?;
        let job = self.0.queue.job(id).await?;
        let source = job.awaited_source().ok_or_else(|| {
            let detail = format!("job {} waits for no source: it is {}", job.id, job.status());
            Problem::conflict("wrong_state", detail)
        })?;
        if body.0.key.is_some() {
            // Earlier clients know of no parts.
            let signed = self.0.queue.signed_url(Method::Put, &source.key, None).await?;
            return Ok(Json(signed.ok_or_else(unsigned)?.into()));
        }
        Ok(Json(self.0.upload_of(id, sent(body.0.parts)).await?))
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
        let (key, name) = match kind.0.as_str() {
            "source" => {
                let called = source_name(&job).to_owned();
                let source = job.source.filter(|source| source.arrived);
                source.map(|source| (source.key, called)).ok_or_else(|| {
                    Problem::not_found(
                        "source_not_found",
                        "this job has no source, or it has not arrived yet",
                    )
                })?
            }
            "output" => {
                let name = name.0.unwrap_or_default();
                let output = job.outputs.into_iter().find(|output| output.name == name);
                output.map(|output| (output.key, output.name)).ok_or_else(|| no_output(&name))?
            }
            "checkpoint" => {
                let name = name.0.unwrap_or_default();
                let kept = self.0.queue.storage().checkpoints(job.id).await?;
                let kept = kept.into_iter().find(|kept| kept.name == name).ok_or_else(|| {
                    Problem::not_found("checkpoint_not_found", format!("this job has no checkpoint {name:?}"))
                })?;
                (kept.key, kept.name)
            }
            other => {
                let detail = format!("type: {other:?} is none of \"source\", \"output\" and \"checkpoint\"");
                return Err(Problem::bad_request("invalid_path", detail).field("type"));
            }
        };
        Ok(Json(self.0.url_of(&key, &name).await?.into()))
    }

    /// Where a worker sends an output or a checkpoint of its attempt
    #[oai(path = "/files/:job_id/outputs/url", method = "post", operation_id = "output_url")]
    async fn output_url(
        &self,
        principal: Data<&Principal>,
        /// The job's number.
        job_id: Path<i64>,
        body: Body<OutputUrlRequest>,
    ) -> Result<Json<UploadView>, Problem> {
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
        let sending = self.0.queue.send_file(id, &token, key, body.0.size, sent(body.0.parts)).await?;
        Ok(Json(sending.ok_or_else(unsigned)?.into()))
    }
}
