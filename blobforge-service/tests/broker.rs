//! A service over HTTP is as good a broker as a queue in the same process.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use blobforge_core::{Queue, broker::Broker};
use blobforge_service::{ServeConfig, Service};
use blobforge_worker_sdk::client::{Client, ClientConfig};

async fn over_http() -> (Queue, Arc<dyn Broker>, (Service, tempfile::TempDir)) {
    let folder = tempfile::tempdir().unwrap();
    let lease = Duration::from_secs(60);
    let config = ServeConfig { worker_timeout: lease, ..ServeConfig::local(folder.path()) };
    let service = Service::start(config).await.unwrap();
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token())).unwrap();
    (service.queue().clone(), Arc::new(client), (service, folder))
}

blobforge_core::broker_conformance!(over_http);
