//! How long the service takes for each page with a thousand jobs and with a million: `cargo run --release -p blobforge-benches
//! --bin pages`, or `-- 1000 200000` for other numbers. No page may take three times as long where there is more.

use std::{
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use blobforge_core::{
    Failure, JobId, JobType, LeaseSecret, NewJob, Queue, Registration, WorkerId,
    storage::{Claim, Command, Done, Report},
};
use blobforge_service::{ServeConfig, Service};
use reqwest::Client;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How often each page is asked for.
const TIMES: usize = 41;
/// How many jobs go into one batch.
const BATCH: usize = 500;
const TYPE: &str = "pdf";
const WORKER: &str = "smith";
/// How much longer a page may take with more jobs.
const MOST: f64 = 3.0;
/// Less than this is the noise of a request.
const NOISE: Duration = Duration::from_millis(2);

/// A service with jobs behind it and before it.
struct Filled {
    service: Service,
    http: Client,
    jobs: usize,
    _folder: tempfile::TempDir,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let numbers: Vec<usize> =
        std::env::args().skip(1).map(|text| text.parse()).collect::<std::result::Result<_, _>>()?;
    let [few, many] = numbers.as_slice().try_into().unwrap_or([1_000, 1_000_000]);
    let (few, many) = (Filled::new(few).await?, Filled::new(many).await?);
    let pages = [
        "/",
        "/jobs",
        "/jobs?status=failed",
        "/jobs?status=pending&type=pdf",
        "/jobs?order=oldest",
        "/jobs?q=volume+7",
        "/jobs?q=prologue",
        "/jobs?q=volume+of+nothing",
        "/jobs?q=page+0+has",
        "/jobs?q=tag:rulebooks",
        "/jobs/100",
        "/library",
        "/library?q=volume",
        "/submit",
        "/workers",
        "/workers/add",
        "/admin/tokens",
        "/admin/users",
        "/admin/audit",
        "/admin/types",
        "/admin/webhooks",
        "/admin/system",
    ];
    let mut out = format!("| page | {} jobs | {} jobs | ratio |\n|---|--:|--:|--:|\n", few.jobs, many.jobs);
    let mut holds = true;
    for path in pages {
        let (small, large) = (few.time(path).await?, many.time(path).await?);
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        holds &= ratio <= MOST || large <= NOISE;
        out += &format!("| `{path}` | {:.2} ms | {:.2} ms | {ratio:.2} |\n", ms(small), ms(large));
    }
    std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes())?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Filled {
    async fn new(jobs: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let service = Service::start(ServeConfig::local(folder.path())).await?;
        let queue = service.queue();
        let registration = Registration::new(WorkerId::new(WORKER)?, [JobType::new(TYPE)?], "of smith");
        queue.register(registration).await?;
        for begun in (0..jobs).step_by(BATCH) {
            fill(queue, begun, BATCH.min(jobs - begun)).await?;
        }
        while queue.storage().upkeep().await? {}
        Ok(Self { service, http: Client::new(), jobs, _folder: folder })
    }

    /// The median time of a page.
    async fn time(&self, path: &str) -> Result<Duration> {
        let url = format!("{}{path}", self.service.url());
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let begun = Instant::now();
            let request = self.http.get(&url).bearer_auth(self.service.admin_token());
            request.send().await?.error_for_status()?.text().await?;
            times.push(begun.elapsed());
        }
        times.sort();
        Ok(times[TIMES / 2])
    }
}

/// Most jobs are done, some have failed, and some wait.
async fn fill(queue: &Queue, first: usize, number: usize) -> Result<()> {
    let jobs = (first..first + number).map(|number| {
        let mut job = NewJob::new(TYPE)?.tag("rulebooks");
        let part = if number == 0 { "prologue".to_owned() } else { format!("volume {number}") };
        job.body.source_path = Some(format!("/shelf/Tome of Ash, {part}.pdf"));
        Ok(job)
    });
    for submitted in queue.submit_many(jobs.collect::<Result<_>>()?).await? {
        submitted?;
    }
    let wanted = number * 19 / 20;
    let claim = Claim {
        worker: WorkerId::new(WORKER)?,
        types: vec![JobType::new(TYPE)?],
        secrets: (0..wanted).map(|number| LeaseSecret::from_bytes([number as u8; 32])).collect(),
        lease: Duration::from_secs(3600),
        claim_id: None,
    };
    let claimed = queue.storage().commit(vec![Command::Claim(claim)]).await?.outcomes.remove(0);
    let Ok(Done::Claimed(claimed)) = claimed else { return Err("nothing was claimed".into()) };
    let reports = claimed.into_iter().enumerate().map(|(at, held)| {
        let failure = Failure::new("no_text", format!("page {at} has no text"));
        let policy = blobforge_core::RetryPolicy::default();
        let report = match at % 20 {
            0 => Report::Fail { failure, retryable: false, policy, jitter: blobforge_core::Jitter::NONE },
            _ => Report::Complete { outputs: Vec::new(), result: None },
        };
        Command::Report { job: held.job.id, token: held.token, report: Box::new(report) }
    });
    queue.storage().commit(reports.collect()).await?;
    let known = queue.get(JobId::new(1)).await?;
    known.map(drop).ok_or_else(|| "the first job is gone".into())
}
