//! The way between clients, the service and the bucket is bad, and nothing is lost or half there.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use blobforge_core::Status;
use blobforge_worker_sdk::{
    Handler, JobContext, JobError, Shutdown, Worker,
    client::{Client, ClientConfig, SubmitFile},
    program::{Command, Program},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    Forge, MIB,
    bucket::Bucket,
    content,
    fault_proxy::{FAULTS, Fault, FaultProxy},
};

/// A service and its bucket, both behind ways of their own.
struct BadLine {
    forge: Forge,
    to_service: FaultProxy,
    to_bucket: FaultProxy,
}

fn address(url: &str) -> std::net::SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

impl BadLine {
    async fn start(seed: u64) -> Self {
        let bucket = Bucket::start().await;
        let to_bucket = FaultProxy::start(address(&bucket.endpoint), seed, 0).await;
        let forge = Forge::on(bucket, Some(format!("http://{}", to_bucket.address))).await;
        let to_service = FaultProxy::start(address(&forge.service.url()), seed + 1, 0).await;
        Self { forge, to_service, to_bucket }
    }

    fn client(&self) -> Client {
        let url = format!("http://{}", self.to_service.address);
        Client::new(ClientConfig::new(url, self.forge.service.admin_token())).unwrap()
    }

    fn set_rate(&self, rate: u64) {
        self.to_service.set_rate(rate);
        self.to_bucket.set_rate(rate);
    }
}

#[tokio::test]
async fn every_fault_on_the_way_of_an_upload_is_lived_through() {
    let line = BadLine::start(1).await;
    let client = line.client();
    for fault in FAULTS {
        line.to_bucket.next(&[fault]);
        let name = format!("{fault:?}.pdf");
        let path = line.forge.file(&name, 6 * MIB);
        let submitted = client.submit_file(SubmitFile::new("pdf", path), |_, _| {}).await.unwrap();
        assert_eq!(submitted.status, Status::Pending, "{fault:?}");
        assert!(line.forge.source(submitted.job_id).await == content(&name, 6 * MIB), "{fault:?}");
    }
    assert_eq!(line.to_bucket.done().len(), FAULTS.len(), "each of them happened");
}

#[tokio::test]
async fn a_part_that_fails_is_sent_again_and_the_others_are_not() {
    let line = BadLine::start(1).await;
    let path = line.forge.file("book.pdf", 20 * MIB);
    let before = line.to_bucket.forwarded();
    // The third part breaks off in its middle.
    line.to_bucket.next(&[Fault::Slow, Fault::Slow, Fault::CutRequest]);
    line.client().submit_file(SubmitFile::new("pdf", path), |_, _| {}).await.unwrap();
    assert_eq!(line.to_bucket.forwarded() - before, (20 * MIB + 5 * MIB / 2) as u64);
}

/// Hands its source back as an output, with small ones beside it.
struct Copier;

#[async_trait]
impl Handler for Copier {
    fn job_type(&self) -> &str {
        "copy"
    }

    async fn run(&self, job: &JobContext) -> Result<Value, JobError> {
        let source = job.source_file().await?;
        job.output("copy.bin", &source).await?;
        job.output_bytes("images/size.txt", std::fs::metadata(&source)?.len().to_string()).await?;
        Ok(json!({}))
    }
}

fn files_below(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path.display().to_string()] })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_transfers_on_a_bad_line_leave_every_file_whole_and_nothing_else() {
    const JOBS: usize = 70;
    const SEED: u64 = 20_261_125;
    println!("seed {SEED}");
    let line = BadLine::start(SEED).await;
    // A few go in parts.
    let size = |n: usize| if n.is_multiple_of(10) { 11 * MIB + n } else { 100_000 + 1000 * n };
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::builder(Arc::new(line.client())).handler(Copier).concurrency(8);
    let worker =
        worker.state_dir(folder.path().join("state")).work_dir(folder.path().join("work")).build().unwrap();
    let shutdown = Shutdown::new();
    let working = tokio::spawn(worker.run(shutdown.clone()));
    line.set_rate(200);
    let submits = (0..JOBS).map(|n| {
        let path = line.forge.file(&format!("{n}.bin"), size(n));
        let client = line.client();
        async move { (n, client.submit_file(SubmitFile::new("copy", path), |_, _| {}).await) }
    });
    let submitted: Vec<_> = stream::iter(submits).buffer_unordered(8).collect().await;
    let mut jobs = Vec::new();
    for (n, reply) in submitted {
        jobs.push((n, reply.unwrap().job_id));
    }
    // Until all have ended: whoever waits is woken.
    let queue = line.forge.service.queue();
    let mut ends = queue.events();
    for (n, id) in &jobs {
        while !queue.job(*id).await.unwrap().status().is_final() {
            ends.next().await;
        }
        assert_eq!(queue.job(*id).await.unwrap().status(), Status::Completed, "{n}");
    }
    let client = line.client();
    let fetched = folder.path().join("fetched");
    std::fs::create_dir(&fetched).unwrap();
    let downloads = jobs.iter().map(|(n, id)| {
        let to = fetched.join(n.to_string());
        let client = &client;
        async move { (*n, client.download_output(*id, "copy.bin", &to).await, to) }
    });
    let downloads: Vec<_> = stream::iter(downloads).buffer_unordered(8).collect().await;
    line.set_rate(0);
    shutdown.begin();
    working.await.unwrap().unwrap();

    for (n, reply, to) in downloads {
        reply.unwrap();
        assert!(
            std::fs::read(to).unwrap() == content(&format!("{n}.bin"), size(n)),
            "{n} came back another file"
        );
    }
    for (n, id) in &jobs {
        let job = queue.job(*id).await.unwrap();
        assert!(line.forge.source(*id).await == content(&format!("{n}.bin"), size(*n)), "{n}");
        assert_eq!(job.outputs.len(), 2, "{n}");
        for output in job.outputs {
            let stored = queue.blobs().size(&output.key).await.unwrap();
            assert_eq!(stored, Some(output.size), "{n}: {}", output.name);
        }
    }
    let (service, bucket) = (line.to_service.done(), line.to_bucket.done());
    println!("faults on the way to the service {service:?}, to the bucket {bucket:?}");
    assert_eq!(
        (service.len(), bucket.len()),
        (FAULTS.len(), FAULTS.len()),
        "every kind happened on both ways"
    );
    assert_eq!(
        files_below(&folder.path().join("work")),
        Vec::<String>::new(),
        "no temporary file of the worker"
    );
    let left = files_below(&fetched);
    assert_eq!(left.len(), JOBS, "no temporary file of a download: {left:?}");
    queue.collect_garbage(false).await.unwrap();
    assert_eq!(line.forge.bucket.unfinished(), Vec::<String>::new(), "no part of an upload");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_in_the_middle_of_a_job_costs_it_nothing() {
    let line = BadLine::start(6).await;
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let script =
        format!("while [ ! -e {} ]; do sleep 0.02; done; cp {{source}} {{outdir}}/copy.bin", gate.display());
    let handler = Command::new("gated", Program::new(["sh", "-c", &script]).unwrap());
    let worker = Worker::builder(Arc::new(line.client())).handler(handler);
    let worker = worker.heartbeat_interval(std::time::Duration::from_millis(50));
    let worker = worker.state_dir(folder.path().join("state")).build().unwrap();
    let shutdown = Shutdown::new();
    let working = tokio::spawn(worker.run(shutdown.clone()));
    let path = line.forge.file("book.bin", 300_000);
    let id = line.client().submit_file(SubmitFile::new("gated", path), |_, _| {}).await.unwrap().job_id;
    let queue = line.forge.service.queue();
    let mut changes = queue.events();
    while queue.job(id).await.unwrap().status() != Status::Running {
        changes.next().await;
    }
    // Heartbeats are lost while it runs, and then what it made and that it has ended.
    line.set_rate(1000);
    let lost = |proxy: &FaultProxy| proxy.done().values().sum::<u64>();
    while lost(&line.to_service) < 5 {
        tokio::task::yield_now().await;
    }
    std::fs::write(&gate, "").unwrap();
    let before = lost(&line.to_service) + lost(&line.to_bucket);
    while lost(&line.to_service) + lost(&line.to_bucket) < before + 10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(queue.job(id).await.unwrap().status(), Status::Running);
    line.set_rate(0);
    while !queue.job(id).await.unwrap().status().is_final() {
        changes.next().await;
    }
    let job = queue.job(id).await.unwrap();
    assert_eq!((job.status(), job.life.epoch.get()), (Status::Completed, 1), "{:?}", job.last_error);
    let to = folder.path().join("fetched");
    line.client().download_output(id, "copy.bin", &to).await.unwrap();
    assert!(std::fs::read(to).unwrap() == content("book.bin", 300_000));
    shutdown.begin();
    working.await.unwrap().unwrap();
}
