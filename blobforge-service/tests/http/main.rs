//! The service as programs see it: a real one, over real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod accounts;
mod administration;
mod audit;
mod bad_input;
mod bulk;
mod dashboard;
mod document;
mod doors;
mod earlier_clients;
mod events;
mod failures;
mod files;
mod jobs;
mod limits;
mod metrics;
mod pages;
mod paging;
mod providers;
mod receiver;
mod repeats;
mod stats;
mod types;
mod webhooks;
mod workers;

use std::time::Duration;

use blobforge_service::{ServeConfig, Service};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// Far longer than anything takes; only so that a test which has failed ends.
const PATIENCE: Duration = Duration::from_secs(120);

/// A service with a folder of its own.
struct Forge {
    service: Service,
    http: Client,
    folder: tempfile::TempDir,
}

/// A reply, read.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: Value,
}

impl Reply {
    async fn of(response: Response) -> Self {
        let status = response.status();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, body }
    }

    /// The body of a success.
    #[track_caller]
    fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.body
    }

    /// Checks that this is a whole problem with this status and code; its detail.
    #[track_caller]
    fn refused(&self, status: u16, code: &str) -> String {
        let text = |field: &str| self.body[field].as_str().unwrap_or_default().to_owned();
        assert_eq!((self.status.as_u16(), text("code").as_str()), (status, code), "{self:?}");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:blobforge:problem:{code}"));
        assert!(!text("title").is_empty() && !text("request_id").is_empty(), "{self:?}");
        assert_eq!(text("error"), text("detail"), "earlier clients read `error`");
        text("detail")
    }
}

impl Forge {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with_lease(lease: Duration) -> Self {
        Self::with(|config| config.worker_timeout = lease).await
    }

    async fn with(set: impl FnOnce(&mut ServeConfig)) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), set).await
    }

    /// The same one, stopped and started again.
    async fn restarted_with(self, set: impl FnOnce(&mut ServeConfig)) -> Self {
        self.service.stop().await.unwrap();
        Self::in_folder(self.folder, set).await
    }

    async fn in_folder(folder: tempfile::TempDir, set: impl FnOnce(&mut ServeConfig)) -> Self {
        let mut config =
            ServeConfig { worker_timeout: Duration::from_secs(60), ..ServeConfig::local(folder.path()) };
        set(&mut config);
        let service = Service::start(config).await.unwrap();
        let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { service, http, folder }
    }

    /// A request without credentials.
    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.service.url()))
    }

    /// A request of the admin's.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(self.service.admin_token())
    }

    async fn get(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        Reply::of(self.request(Method::POST, path).json(&body).send().await.unwrap()).await
    }

    async fn patch(&self, path: &str, body: Value) -> Reply {
        Reply::of(self.request(Method::PATCH, path).json(&body).send().await.unwrap()).await
    }

    async fn delete(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::DELETE, path).send().await.unwrap()).await
    }

    async fn token(&self, request: Value) -> String {
        let made = self.post("/api/admin/tokens", request).await.ok();
        made["token"].as_str().unwrap().to_owned()
    }

    /// Hands in a job without a file.
    async fn submit(&self, job_type: &str) -> i64 {
        let body = json!({"type": job_type, "source": "none", "dedup": false});
        self.post("/api/jobs", body).await.ok()["job_id"].as_i64().unwrap()
    }

    async fn register(&self, id: &str, job_type: &str) {
        let body =
            json!({"id": id, "type": job_type, "protocol": 1, "instance": format!("instance of {id}")});
        self.post("/api/workers/register", body).await.ok();
    }

    /// The claim that a registered worker gets.
    async fn claim(&self, id: &str, job_type: &str) -> Value {
        self.post("/api/jobs/claim", json!({"worker_id": id, "job_type": job_type})).await.ok()
    }
}
