//! Work handed out.

use std::{sync::Arc, time::Duration};

use blobforge_core::{Invalid, WorkerId, broker::Wish, queue::MAX_CLAIM, storage::Claimed};
use poem::web::Data;
use poem_openapi::{Object, OpenApi, Union, payload::Json};
use serde::Deserialize;

use super::{body::Body, files::source_name, job::JobView, time::Time, types::job_types};
use crate::{auth::Principal, problem::Problem, service::Shared};

/// The most seconds that a claim waits for work.
const MAX_WAIT: f64 = 60.0;

pub(super) struct ClaimsApi(pub(super) Arc<Shared>);

/// A wish for work.
#[derive(Debug, Object, Deserialize)]
struct ClaimRequest {
    /// Who wants it.
    worker_id: String,
    /// Of which type.
    job_type: Option<String>,
    /// Of which types.
    types: Option<Vec<String>>,
    /// How many jobs at most, 1 to 100. With more than 1 the reply has `claims`.
    limit: Option<usize>,
    /// How long to wait for the first one, up to 60 seconds; fractions are fine.
    wait_seconds: Option<f64>,
    /// A name for this claim, of at most 255 characters: repeated, it gets what it got before and still holds, rather
    /// than more. For workers whose reply may get lost.
    claim_id: Option<String>,
}

/// A job and the right to run it.
#[derive(Debug, Object)]
#[oai(rename = "Claim")]
struct ClaimView {
    /// The job.
    job: JobView,
    /// The lease: to be sent along with every report of this attempt.
    lease: String,
    /// Until when the lease is good without a heartbeat.
    lease_expires_at: Time,
    /// For how many seconds each heartbeat renews it.
    lease_seconds: f64,
    /// After how many seconds without progress, checkpoint or output to stop the attempt and to report it as failed with
    /// the kind `no_progress`; `null` for never.
    no_progress_seconds: Option<f64>,
    /// Where to fetch the source, for 15 minutes; `null` if there is none. A path is relative to the service.
    source_url: Option<String>,
    /// Where to ask for the URLs that outputs are sent to.
    outputs_url: String,
    /// What earlier attempts left to go on from.
    checkpoints: Vec<CheckpointView>,
}

/// A partial result of an earlier attempt.
#[derive(Debug, Object)]
#[oai(rename = "Checkpoint")]
struct CheckpointView {
    /// Its name.
    name: String,
    /// Its size in bytes.
    size: u64,
    /// The SHA-256 of its content, in hexadecimal.
    sha256: String,
    /// Where to fetch it, for 15 minutes.
    url: String,
}

/// There is nothing to do.
#[derive(Debug, Object)]
struct NoClaim {
    /// Always `null`.
    job: Option<JobView>,
}

/// Jobs and the rights to run them.
#[derive(Debug, Object)]
struct ClaimList {
    /// As many as there were, at most as many as were asked for.
    claims: Vec<ClaimView>,
}

#[derive(Debug, Union)]
enum ClaimReply {
    One(Box<ClaimView>),
    None(Box<NoClaim>),
    Many(ClaimList),
}

#[OpenApi(tag = "super::openapi::Section::Workers")]
impl ClaimsApi {
    /// Ask for work, and wait for it
    #[oai(path = "/jobs/claim", method = "post", operation_id = "claim_jobs")]
    async fn claim(
        &self,
        principal: Data<&Principal>,
        body: Body<ClaimRequest>,
    ) -> Result<Json<ClaimReply>, Problem> {
        let request = body.0;
        let worker = WorkerId::new(request.worker_id)?;
        principal.act_as(&worker)?;
        let types = job_types(request.job_type, request.types)?;
        let limit = request.limit.unwrap_or(1);
        if !(1..=MAX_CLAIM).contains(&limit) {
            return Err(Invalid::new("limit", format!("use 1 to {MAX_CLAIM}")).into());
        }
        let wait = seconds(request.wait_seconds)?;
        let wish = Wish { worker, types, limit, wait, claim_id: request.claim_id };
        let claimed = tokio::select! {
            claimed = self.0.queue.claim_wish(wish) => claimed?,
            () = self.0.stop.cancelled() => Vec::new(),
        };
        let mut claims = Vec::with_capacity(claimed.len());
        for claimed in claimed {
            claims.push(self.view(claimed).await?);
        }
        Ok(Json(match (limit, claims.pop()) {
            (1, Some(claim)) => ClaimReply::One(Box::new(claim)),
            (1, None) => ClaimReply::None(Box::new(NoClaim { job: None })),
            (_, last) => {
                claims.extend(last);
                ClaimReply::Many(ClaimList { claims })
            }
        }))
    }
}

impl ClaimsApi {
    async fn view(&self, claimed: Claimed) -> Result<ClaimView, Problem> {
        let source = claimed.job.source.as_ref();
        let lease = claimed.job.lease().map_or(self.0.queue.settings().lease, |lease| lease.duration);
        let source_url = match source {
            Some(source) => Some(self.0.url_of(&source.key, source_name(&claimed.job)).await?),
            None => None,
        };
        let mut checkpoints = Vec::with_capacity(claimed.checkpoints.len());
        for kept in claimed.checkpoints {
            let url = self.0.url_of(&kept.key, &kept.name).await?.url;
            let (size, sha256) = (kept.size, kept.sha256.to_string());
            checkpoints.push(CheckpointView { name: kept.name, size, sha256, url });
        }
        Ok(ClaimView {
            outputs_url: format!("/api/files/{}/outputs/url", claimed.job.id),
            lease: claimed.token.to_string(),
            lease_expires_at: claimed.expires_at.into(),
            lease_seconds: lease.as_secs_f64(),
            no_progress_seconds: claimed.no_progress.map(|time| time.as_secs_f64()),
            source_url: source_url.map(|signed| signed.url),
            checkpoints,
            job: JobView::new(claimed.job, self.0.queue.now()),
        })
    }
}

fn seconds(wait: Option<f64>) -> Result<Duration, Problem> {
    let wait = wait.unwrap_or(0.0);
    if !(0.0..=MAX_WAIT).contains(&wait) {
        return Err(Invalid::new("wait_seconds", "use 0 to 60").into());
    }
    Ok(Duration::from_secs_f64(wait))
}
