//! A service that somebody has used for a day: what pages look like with something on them.

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    Clock, Condition, Failure, Gauges, GpuGauges, JobType, ManualClock, NewJob, Output, Priority, Progress,
    Queue, Registration, SystemClock, WorkerId,
    blob::read_bytes,
    queue::UPLOAD_LIMIT,
    storage::{Beat, Claimed, Command, HeldLease, Report},
};
use blobforge_service::{ServeConfig, Service};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);
const GB: u64 = 1_000_000_000;

/// What a pencil would have drawn.
const PICTURE: &[u8] = include_bytes!("map.png");

const BOOKS: [&str; 24] = [
    "Tome of Ash",
    "The Long Winter",
    "Star Charts",
    "Handbook of Alchemy",
    "Beasts of the North",
    "Sea of Glass",
    "City of Brass",
    "The Quiet Year",
    "Lanterns",
    "Ruins and Rivers",
    "Salt Roads",
    "The Iron Coast",
    "Hollow Crown",
    "Songs of the Deep",
    "A Field Guide to Dragons",
    "Kingdoms of Clay",
    "The Clockmaker",
    "Nine Gates",
    "Embers",
    "The Glass Library",
    "Moonfall",
    "Wardens of the Pass",
    "Thirteen Keys",
    "Under the Hill",
];

/// A service with a day behind it.
pub(crate) struct LivedIn {
    pub(crate) service: Service,
    clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

impl LivedIn {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(SystemClock.now() - 1785 * MINUTE));
        // Nobody falls silent while a day passes in a second.
        let worker_timeout = 24 * 60 * MINUTE;
        let config =
            ServeConfig { clock: Some(clock.clone()), worker_timeout, ..ServeConfig::local(folder.path()) };
        let lived = Self { service: Service::start(config).await.unwrap(), clock, _folder: folder };
        lived.live().await;
        lived
    }

    fn queue(&self) -> &Queue {
        self.service.queue()
    }

    async fn live(&self) {
        let (pdf, text) = (of("pdf"), of("pdf-text"));
        let smithy = self.worker("smithy", "Smithy (RTX 4090)", &[&pdf, &text]).await;
        let attic = self.worker("attic", "Attic (RTX 3060)", &[&pdf]).await;
        let nas = self.worker("nas", "NAS", &[&text]).await;
        let mut made = 0;
        // A day of work: more in the evening than in the morning.
        for step in 0..104_usize {
            self.clock.advance(15 * MINUTE);
            let many = 1 + usize::from(step % 5 == 0) + usize::from((40..80).contains(&step)) * 2;
            for one in 0..many {
                self.submit(made, if made % 3 == 0 { &text } else { &pdf }).await;
                made += 1;
                let worker = if made % 3 == 1 {
                    &nas
                } else if one % 2 == 0 {
                    &smithy
                } else {
                    &attic
                };
                let kind = if made % 3 == 1 { &text } else { &pdf };
                let Some(held) = self.claim(worker, kind).await else { continue };
                self.end(&held, made).await;
            }
        }
        for at in 0..40 {
            self.submit(made + at, if at % 4 == 0 { &text } else { &pdf }).await;
        }
        self.stragglers().await;
        for (worker, kind, done, total) in [
            (&smithy, &pdf, 212, 312),
            (&smithy, &pdf, 9, 96),
            (&attic, &pdf, 41, 288),
            (&nas, &text, 88, 120),
        ] {
            let held = self.claim(worker, kind).await.unwrap();
            self.clock.advance(4 * MINUTE);
            self.beat(worker, &held, done, total).await;
        }
        self.clock.set(SystemClock.now());
        for (worker, gpus) in [(&smithy, 1), (&attic, 1), (&nas, 0)] {
            self.beat_idle(worker, gpus).await;
        }
    }

    async fn worker(&self, id: &str, name: &str, types: &[&JobType]) -> WorkerId {
        let worker = WorkerId::new(id).unwrap();
        let types = types.iter().map(|name| (*name).clone());
        let mut registration = Registration::new(worker.clone(), types, format!("the instance of {id}"));
        registration.name = Some(name.to_owned());
        registration.host = Some(format!("{id}.home"));
        self.queue().register(registration).await.unwrap();
        worker
    }

    async fn submit(&self, number: usize, kind: &JobType) {
        let book = BOOKS[number % BOOKS.len()];
        let volume = number / BOOKS.len() + 1;
        let mut job = NewJob::new(kind.clone()).unwrap().tag("rulebooks");
        if number.is_multiple_of(7) {
            job = job.tag("2026");
        }
        job.priority = Priority::ALL[[2, 2, 2, 3, 1, 2, 4][number % 7]];
        job.body.source_path = Some(match volume {
            1 => format!("/shelf/{book}.pdf"),
            _ => format!("/shelf/{book}, volume {volume}.pdf"),
        });
        job.body.submitter = Some("admin".to_owned());
        let content = format!("%PDF-1.4 {book} {number}").repeat(4000 + number * 311);
        self.queue().submit_stream(job, read_bytes(content), UPLOAD_LIMIT).await.unwrap();
    }

    /// What waits for its time, for its file, or no more.
    async fn stragglers(&self) {
        let queue = self.queue();
        let mut later = NewJob::new("pdf").unwrap().tag("weekly");
        later.run_at = Some(queue.now() + 9 * 60 * MINUTE);
        later.body.source_path = Some("/shelf/Almanac.pdf".to_owned());
        later.source = blobforge_core::NewSource::None;
        queue.submit(later).await.unwrap();
        let mut uploading = NewJob::new("pdf").unwrap();
        uploading.source = blobforge_core::NewSource::Upload { sha256: None, size: Some(3 * GB) };
        uploading.body.source_path = Some("/scans/Atlas of Everything.pdf".to_owned());
        queue.submit(uploading).await.unwrap();
        let mut called_off = NewJob::new("pdf-text").unwrap();
        called_off.body.source_path = Some("/shelf/Draft.pdf".to_owned());
        let id = queue.submit(called_off).await.unwrap().id;
        queue.cancel(id).await.unwrap();
    }

    async fn claim(&self, worker: &WorkerId, kind: &JobType) -> Option<Claimed> {
        self.queue().claim(worker, std::slice::from_ref(kind), 1, Duration::ZERO).await.unwrap().pop()
    }

    async fn end(&self, held: &Claimed, number: usize) {
        let (queue, id) = (self.queue(), held.job.id);
        self.clock.advance(MINUTE);
        let failure = match number % 11 {
            3 => Failure::new(
                "out_of_memory",
                format!("the GPU ran out of memory on page {number}: CUDA out of memory"),
            ),
            7 if number.is_multiple_of(2) => Failure::new("encrypted", "This PDF needs a password."),
            9 => Failure::new("no_text", format!("page {number} of the model's answer has no text")),
            _ => return self.complete(held, number).await,
        };
        let log = format!("opening the document\nconverting pages 1 to {number}\n{}", failure.message);
        let failure = Failure { log_tail: Some(log), ..failure };
        queue.fail(id, held.token, failure, number % 11 == 9 && number.is_multiple_of(2)).await.unwrap();
    }

    async fn complete(&self, held: &Claimed, number: usize) {
        let title = held.job.body.source_path.as_deref().unwrap().rsplit('/').next().unwrap();
        let title = title.trim_end_matches(".pdf");
        let text = format!(include_str!("book.md"), title = title);
        let mut outputs = Vec::new();
        for (name, content) in [("document.md", text.into_bytes()), ("images/map.png", PICTURE.to_vec())] {
            let key = self.queue().reserve_output(held.job.id, held.token, name).await.unwrap();
            let stored = self.queue().blobs().put(&key, read_bytes(content), UPLOAD_LIMIT).await.unwrap();
            let name = name.to_owned();
            outputs.push(Output { name, size: stored.size, sha256: Some(stored.sha256), key });
        }
        let result = Some(json!({"pages": 100 + number % 220, "tables": number % 17}));
        self.queue().report(held.job.id, held.token, Report::Complete { outputs, result }).await.unwrap();
    }

    async fn beat(&self, worker: &WorkerId, held: &Claimed, done: u64, total: u64) {
        let progress = Progress {
            done,
            total: Some(total),
            stage: Some("converting".to_owned()),
            message: Some(format!("page {done}")),
        };
        let log_tail = Some(format!("loading models\nconverting page {done} of {total}\n"));
        let held = HeldLease {
            job: held.job.id,
            token: held.token,
            progress: Some(progress),
            log_tail,
            ahead: None,
        };
        let beat = Beat { worker: worker.clone(), leases: vec![held], condition: None };
        self.queue().heartbeat(beat).await.unwrap();
    }

    /// A sign of life, with what the machine does.
    async fn beat_idle(&self, worker: &WorkerId, gpus: usize) {
        let gpu = GpuGauges {
            name: "NVIDIA GeForce RTX".to_owned(),
            use_percent: Some(87.0),
            memory_used_bytes: Some(18 * GB),
            memory_total_bytes: Some(24 * GB),
            temperature_celsius: Some(71.0),
        };
        let gauges = Gauges {
            cpu_percent: 34.0,
            memory_used_bytes: 11 * GB,
            memory_total_bytes: 32 * GB,
            disk_free_bytes: 212 * GB,
            disk_total_bytes: 1000 * GB,
            gpus: vec![gpu; gpus],
        };
        let condition = Condition { gauges: Some(gauges), ..Condition::default() };
        let register = Beat { worker: worker.clone(), leases: Vec::new(), condition: Some(condition) };
        self.queue().run(Command::Heartbeat(register)).await.unwrap();
    }
}

fn of(name: &str) -> JobType {
    JobType::new(name).unwrap()
}
