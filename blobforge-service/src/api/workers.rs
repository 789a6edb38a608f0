//! The processes that run jobs.

use std::{collections::BTreeMap, sync::Arc};

use blobforge_core::{
    Invalid, JobType, Registration, Timestamp, WorkerId, WorkerRecord,
    storage::{Beat, Command, HeldLease, Refusal},
};
use poem::{http::StatusCode, web::Data};
use poem_openapi::{
    Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    body::Body,
    condition::{ConditionView, GaugesView},
    job::ProgressView,
    paging::{Asked, List},
    reports::{DONE, Done, LeaseStateView, REPORT_BYTES, lease, lease_state},
    time::Time,
    types::job_types,
};
use crate::{audit::Actor, auth::Principal, problem::Problem, service::Shared};

/// The protocol that workers and this service speak.
const PROTOCOL: u32 = 1;

pub(super) struct WorkersApi(pub(super) Arc<Shared>);

/// A worker starts.
#[derive(Debug, Object, Deserialize)]
struct RegisterRequest {
    /// Its id: 1 to 128 letters, digits, `.`, `_`, `:` and `-`.
    id: String,
    /// The type it serves.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    job_type: Option<String>,
    /// The types it serves.
    types: Option<Vec<String>>,
    /// A name for people.
    name: Option<String>,
    /// The machine it runs on, for people: kept with every attempt.
    host: Option<String>,
    /// Whatever else people may want to know.
    metadata: Option<BTreeMap<String, Value>>,
    /// What it offers, such as a GPU.
    labels: Option<BTreeMap<String, Value>>,
    /// A secret of this very process.
    instance: Option<String>,
    /// The secret of the process that ran under this id before; what that one held is given back at once.
    previous_instance: Option<String>,
    /// The protocol that it speaks: 1.
    protocol: Option<u32>,
}

/// What a worker is told when it starts.
#[derive(Debug, Object)]
struct Welcome {
    /// Its id.
    worker_id: String,
    /// How many seconds lie between heartbeats.
    heartbeat_interval: f64,
    /// For how many seconds a lease is good without one.
    lease_seconds: f64,
    /// The version of the service.
    server_version: String,
    /// The protocol that the service speaks.
    protocol: u32,
}

/// A sign of life.
#[derive(Debug, Default, Object, Deserialize)]
struct HeartbeatRequest {
    /// The leases it holds: what is not listed is not renewed.
    leases: Option<Vec<HeldLeaseRequest>>,
    /// How it is, if that is news.
    condition: Option<ConditionView>,
}

/// A lease that a worker believes it holds.
#[derive(Debug, Object, Deserialize)]
struct HeldLeaseRequest {
    /// The job's number.
    job_id: i64,
    /// The lease.
    lease: String,
    /// How far the work is, if that is news.
    progress: Option<ProgressView>,
    /// The last lines of the handler's log so far, if that is news, in place of those sent before; of more than 16 KiB the
    /// end.
    log_tail: Option<String>,
    /// The job's type, if it was claimed ahead of time and its work has not begun.
    ahead: Option<String>,
}

/// What a worker is told.
#[derive(Debug, Object)]
struct HeartbeatReply {
    /// What became of each lease.
    leases: Vec<LeaseStateView>,
    /// Finish what is running and claim nothing more.
    drain: bool,
    /// The settings as they are now.
    config: WorkerConfig,
}

/// What workers go by.
#[derive(Debug, Object)]
struct WorkerConfig {
    /// How many seconds lie between heartbeats.
    heartbeat_interval: f64,
    /// For how many seconds a lease is good without one.
    lease_seconds: f64,
}

/// A worker stops.
#[derive(Debug, Default, Object, Deserialize)]
struct UnregisterRequest {
    /// The secret that it registered with: another process of that id is left alone.
    instance: Option<String>,
}

/// Nothing has to be said, and whatever is said is ignored.
#[derive(Debug, Default, Object, Deserialize)]
struct Anything {}

/// A process that runs jobs.
#[derive(Debug, Object)]
#[oai(rename = "Worker")]
struct WorkerView {
    /// Its id.
    id: String,
    /// A name for people.
    name: Option<String>,
    /// `online`, `draining`, `suspended` or `offline`.
    status: String,
    /// The types it serves.
    types: Vec<String>,
    /// What it offers.
    labels: Value,
    /// The machine it runs on, as far as it said so.
    host: Option<String>,
    /// What else it says of itself.
    metadata: Value,
    /// It finishes what it has and gets nothing new.
    draining: bool,
    /// When it first registered.
    registered_at: Time,
    /// When it was last heard of.
    last_seen_at: Time,
    /// Until when it claims nothing because it is not to run now.
    suspended_until: Option<Time>,
    /// Why it claims nothing until somebody sees to it.
    trouble: Option<String>,
    /// What its machine is doing, as far as it said so.
    gauges: Option<GaugesView>,
}

#[OpenApi(tag = "super::openapi::Section::Workers")]
impl WorkersApi {
    /// A worker starts, or comes back
    #[oai(path = "/workers/register", method = "post", operation_id = "register_worker")]
    async fn register(
        &self,
        principal: Data<&Principal>,
        body: Body<RegisterRequest>,
    ) -> Result<Json<Welcome>, Problem> {
        let request = body.0;
        if let Some(theirs) = request.protocol.filter(|theirs| *theirs > PROTOCOL) {
            let detail = format!(
                "this worker speaks protocol {theirs}, and this service {PROTOCOL}: the service is too old for it"
            );
            return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "service_too_old", detail)
                .hint("update the service, or start a worker of the version of the service"));
        }
        if request.protocol != Some(PROTOCOL) {
            let detail = format!("this worker is too old for this service, which speaks protocol {PROTOCOL}");
            return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "worker_too_old", detail)
                .hint("update the worker to the version of the service"));
        }
        let id = WorkerId::new(request.id)?;
        principal.act_as(&id)?;
        let instance = request.instance;
        let instance = instance.ok_or_else(|| Invalid::new("instance", "send a secret of this process"))?;
        let registration = Registration {
            id: id.clone(),
            types: job_types(request.job_type, request.types)?,
            name: request.name,
            instance,
            previous_instance: request.previous_instance,
            labels: request.labels.unwrap_or_default().into_iter().collect(),
            host: request.host,
            metadata: request.metadata.unwrap_or_default().into_iter().collect(),
        };
        self.0.queue.register(registration).await?;
        let WorkerConfig { heartbeat_interval, lease_seconds } = self.config();
        Ok(Json(Welcome {
            worker_id: id.to_string(),
            heartbeat_interval,
            lease_seconds,
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
        }))
    }

    /// A sign of life, which renews the leases that it lists
    #[oai(path = "/workers/:id/heartbeat", method = "post", operation_id = "worker_heartbeat")]
    async fn heartbeat(
        &self,
        principal: Data<&Principal>,
        /// The worker's id.
        id: Path<String>,
        body: Body<Option<HeartbeatRequest>, REPORT_BYTES>,
    ) -> Result<Json<HeartbeatReply>, Problem> {
        let worker = WorkerId::new(id.0)?;
        principal.act_as(&worker)?;
        let HeartbeatRequest { leases, condition } = body.0.unwrap_or_default();
        let named = leases.unwrap_or_default();
        let mut leases = Vec::with_capacity(named.len());
        for held in named {
            let (job, token) = (blobforge_core::JobId::new(held.job_id), lease(&held.lease)?);
            let (progress, log_tail) = (held.progress.map(Into::into), held.log_tail);
            let ahead = held.ahead.map(JobType::new).transpose()?;
            leases.push(HeldLease { job, token, progress, log_tail, ahead });
        }
        let reply =
            self.0.queue.heartbeat(Beat { worker, leases, condition: condition.map(Into::into) }).await?;
        Ok(Json(HeartbeatReply {
            leases: reply.leases.into_iter().map(|(job, state)| lease_state(job, state)).collect(),
            drain: reply.draining,
            config: self.config(),
        }))
    }

    /// A worker stops and gives back what it holds
    #[oai(path = "/workers/:id/unregister", method = "post", operation_id = "unregister_worker")]
    async fn unregister(
        &self,
        principal: Data<&Principal>,
        /// The worker's id.
        id: Path<String>,
        body: Body<Option<UnregisterRequest>>,
    ) -> Result<Json<Done>, Problem> {
        let worker = WorkerId::new(id.0)?;
        principal.act_as(&worker)?;
        self.0.queue.unregister(worker, body.0.unwrap_or_default().instance).await?;
        Ok(Json(DONE))
    }

    /// Let a worker finish what it has, and give it nothing new
    #[oai(path = "/workers/:id/drain", method = "post", operation_id = "drain_worker")]
    async fn drain(
        &self,
        actor: Data<&Actor>,
        /// The worker's id.
        id: Path<String>,
        _body: Body<Option<Anything>>,
    ) -> Result<Json<Done>, Problem> {
        let id = WorkerId::new(id.0)?;
        let command = Command::SetDraining(id.clone(), true);
        actor.act(&self.0.queue, "worker_drained", id, command).await?;
        Ok(Json(DONE))
    }

    /// Give a draining worker work again
    #[oai(path = "/workers/:id/resume", method = "post", operation_id = "resume_worker")]
    async fn resume(
        &self,
        actor: Data<&Actor>,
        /// The worker's id.
        id: Path<String>,
        _body: Body<Option<Anything>>,
    ) -> Result<Json<Done>, Problem> {
        let id = WorkerId::new(id.0)?;
        let command = Command::SetDraining(id.clone(), false);
        actor.act(&self.0.queue, "worker_resumed", id, command).await?;
        Ok(Json(DONE))
    }

    /// Forget a worker; what it holds is lost to it
    #[oai(path = "/workers/:id", method = "delete", operation_id = "remove_worker")]
    async fn remove(
        &self,
        actor: Data<&Actor>,
        /// The worker's id.
        id: Path<String>,
    ) -> Result<Json<Done>, Problem> {
        let id = WorkerId::new(id.0)?;
        let command = Command::RemoveWorker(id.clone());
        actor.act(&self.0.queue, "worker_removed", id, command).await?;
        Ok(Json(DONE))
    }

    /// List workers, by id
    #[oai(path = "/workers", method = "get", operation_id = "list_workers")]
    async fn list(
        &self,
        /// The `next_cursor` of the page before, empty for the first page; without it there are no pages.
        cursor: Query<Option<String>>,
        /// At most this many, 1 to 1,000.
        limit: Query<Option<usize>>,
    ) -> Result<Json<List<WorkerView>>, Problem> {
        let workers = self.0.queue.workers().await?;
        let now = self.0.queue.now();
        let views = workers.into_iter().map(|worker| self.view(worker, now)).collect();
        let asked = Asked { cursor: cursor.0, limit: limit.0 };
        Ok(Json(asked.of(views, |worker| worker.id.clone())?))
    }

    /// One worker
    #[oai(path = "/workers/:id", method = "get", operation_id = "get_worker")]
    async fn get(
        &self,
        /// The worker's id.
        id: Path<String>,
    ) -> Result<Json<WorkerView>, Problem> {
        let id = WorkerId::new(id.0)?;
        let worker = self.0.queue.storage().worker(&id).await?;
        let worker = worker.ok_or_else(|| Problem::from(Refusal::NoSuchWorker(id)))?;
        Ok(Json(self.view(worker, self.0.queue.now())))
    }
}

impl WorkersApi {
    fn config(&self) -> WorkerConfig {
        let settings = self.0.queue.settings();
        WorkerConfig {
            heartbeat_interval: settings.heartbeat().as_secs_f64(),
            lease_seconds: settings.lease.as_secs_f64(),
        }
    }

    fn view(&self, worker: WorkerRecord, now: Timestamp) -> WorkerView {
        let online = worker.is_online(now, self.0.queue.settings().lease);
        let condition = worker.condition;
        let status = match online {
            false => "offline",
            true if worker.draining => "draining",
            true if condition.suspended_until.is_some_and(|until| until > now) => "suspended",
            true => "online",
        };
        let ConditionView { suspended_until, trouble, gauges } = condition.into();
        let said = worker.registration;
        WorkerView {
            id: said.id.to_string(),
            name: said.name,
            status: status.to_owned(),
            types: said.types.into_iter().map(String::from).collect(),
            labels: Value::Object(said.labels),
            host: said.host,
            metadata: Value::Object(said.metadata),
            draining: worker.draining,
            registered_at: worker.registered_at.into(),
            last_seen_at: worker.last_seen_at.into(),
            suspended_until,
            trouble,
            gauges,
        }
    }
}
