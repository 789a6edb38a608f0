//! Files on their way between a service, its clients and a bucket of a real S3 server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bad_way;
mod broker;
#[path = "../../../blobforge-core/tests/bucket/mod.rs"]
mod bucket;
mod copying;
mod direct;
mod fault_proxy;
mod faults;
mod full_disk;
mod importing;
mod ingest;
mod outputs;
mod probe;
mod resume;

use blobforge_core::{
    JobId, JobType, Registration, WorkerId,
    broker::{Assignment, Broker, Wish},
};
use blobforge_service::{ServeConfig, Service};
use blobforge_worker_sdk::client::{Client, ClientConfig};
use bucket::Bucket;

const MIB: usize = 1024 * 1024;

/// A service whose files lie in a bucket.
struct Forge {
    service: Service,
    bucket: Bucket,
    folder: tempfile::TempDir,
}

impl Forge {
    async fn start() -> Self {
        Self::on(Bucket::start().await, None).await
    }

    /// One on a bucket that others reach by this address.
    async fn on(bucket: Bucket, public_endpoint: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = bucket.options();
        options.public_endpoint = public_endpoint;
        let config = ServeConfig { s3: Some(options), ..ServeConfig::local(folder.path()) };
        let service = Service::start(config).await.unwrap();
        Self { service, bucket, folder }
    }

    fn client(&self) -> Client {
        Client::new(ClientConfig::new(self.service.url(), self.service.admin_token())).unwrap()
    }

    /// A file with content that repeats nowhere.
    fn file(&self, name: &str, bytes: usize) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content(name, bytes)).unwrap();
        path
    }

    /// What lies in the bucket as the source of a job.
    async fn source(&self, id: JobId) -> Vec<u8> {
        let key = self.service.queue().job(id).await.unwrap().source.unwrap().key;
        read(&self.service, &key).await
    }
}

async fn read(service: &Service, key: &str) -> Vec<u8> {
    use futures_util::TryStreamExt;
    let content = service.queue().blobs().get(key, None).await.unwrap();
    content.try_collect::<Vec<_>>().await.unwrap().concat()
}

fn content(name: &str, bytes: usize) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let block = |number: usize| Sha256::digest(format!("{name} {number}"));
    (0..bytes.div_ceil(32)).flat_map(block).take(bytes).collect()
}

/// The next job, for a worker of its own.
async fn claim(client: &Client, worker: &str, job_type: &str) -> Assignment {
    let (worker, types) = (WorkerId::new(worker).unwrap(), vec![JobType::new(job_type).unwrap()]);
    let registration = Registration::new(worker.clone(), types.clone(), "drawn at the start");
    client.register(&registration).await.unwrap();
    let wish = Wish { worker, types, limit: 1, wait: std::time::Duration::from_secs(30), claim_id: None };
    client.claim(&wish).await.unwrap().remove(0)
}
