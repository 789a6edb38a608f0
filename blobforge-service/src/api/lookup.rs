//! Which files are known.

use std::sync::Arc;

use blobforge_core::{HashBeginning, Invalid, storage::JobFilter};
use futures_util::{StreamExt, TryStreamExt, stream};
use poem_openapi::{Object, OpenApi, payload::Json};
use serde::Deserialize;

use super::{body::Body, job::JobView, types};
use crate::{problem::Problem, service::Shared};

/// How many files may be asked about at once.
const MAX_HASHES: usize = 1000;
/// How many jobs of a file are told.
const JOBS_TOLD: usize = 20;
/// How many files are looked for at a time.
const LOOKED_AT_ONCE: usize = 4;

pub(super) struct LookupApi(pub(super) Arc<Shared>);

/// Files that are asked about.
#[derive(Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct LookupRequest {
    /// How their SHA-256s begin, or all of them, in hexadecimal: 8 to 64 digits each, at most 1,000.
    source_hashes: Vec<String>,
    /// Only jobs of this type.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    job_type: Option<String>,
}

/// What is known of files.
#[derive(Debug, Object)]
#[oai(rename = "Known")]
struct LookupView {
    /// In the order of the request.
    files: Vec<FileView>,
}

/// What is known of a file.
#[derive(Debug, Object)]
#[oai(rename = "KnownFile")]
struct FileView {
    /// What was asked.
    source_hash: String,
    /// The jobs of which it is the source, the newest first; at most 20.
    jobs: Vec<JobView>,
}

#[OpenApi(tag = "super::openapi::Section::Jobs")]
impl LookupApi {
    /// Ask which of up to 1,000 files have jobs, by their hashes
    #[oai(path = "/jobs/lookup", method = "post", operation_id = "look_up_jobs")]
    async fn lookup(&self, body: Body<LookupRequest>) -> Result<Json<LookupView>, Problem> {
        let LookupRequest { source_hashes, job_type } = body.0;
        if source_hashes.len() > MAX_HASHES {
            let reason = format!("{} are too many at once: at most {MAX_HASHES}", source_hashes.len());
            return Err(Invalid::new("source_hashes", reason).into());
        }
        let job_type = job_type.map(|name| types::job_type(&name)).transpose()?;
        let all = JobFilter { job_type, ..JobFilter::all(JOBS_TOLD) };
        let wanted = source_hashes.into_iter().map(|text| Ok((text.parse::<HashBeginning>()?, text)));
        let wanted = wanted.collect::<Result<Vec<_>, Invalid>>()?;
        let looks = wanted.into_iter().map(|(beginning, source_hash)| {
            let filter = JobFilter { source_hash: Some(beginning), ..all.clone() };
            async move {
                let page = self.0.queue.list(&filter).await?;
                let now = self.0.queue.now();
                let jobs = page.items.into_iter().map(|job| JobView::new(job, now)).collect();
                Ok::<_, Problem>(FileView { source_hash, jobs })
            }
        });
        let files = stream::iter(looks).buffered(LOOKED_AT_ONCE).try_collect().await?;
        Ok(Json(LookupView { files }))
    }
}
