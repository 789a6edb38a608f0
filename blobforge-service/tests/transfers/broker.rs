//! A service whose files lie in a bucket is as good a broker as any other: they go to and from it without the service.

use std::{sync::Arc, time::Duration};

use blobforge_core::{Queue, broker::Broker};
use blobforge_service::{ServeConfig, Service};
use blobforge_worker_sdk::client::{Client, ClientConfig};

use crate::bucket::Bucket;

async fn over_http() -> (Queue, Arc<dyn Broker>, (Service, tempfile::TempDir, Bucket)) {
    let (folder, bucket) = (tempfile::tempdir().unwrap(), Bucket::start().await);
    let (worker_timeout, s3) = (Duration::from_secs(60), Some(bucket.options()));
    let config = ServeConfig { worker_timeout, s3, ..ServeConfig::local(folder.path()) };
    let service = Service::start(config).await.unwrap();
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token())).unwrap();
    (service.queue().clone(), Arc::new(client), (service, folder, bucket))
}

blobforge_core::broker_conformance!(over_http);
