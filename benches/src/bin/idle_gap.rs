//! How much of the time a handler is busy although every transfer takes half as long as the work:
//! `cargo run -p blobforge-benches --bin idle_gap`.
//!
//! A real service, a worker that reaches it over HTTP, and a program that is started for each job, tells how far it is, and
//! writes down when it began and ended. Each source and each output is held up on its way by half the time that the program
//! takes. The same is done before with a worker that fetches a job's source when the one before it is done.

#[path = "../../../blobforge-worker-sdk/tests/faulty/mod.rs"]
mod faulty;

use std::{path::Path, sync::Arc, time::Duration};

use blobforge_core::{JobId, NewJob, Queue, blob::read_bytes};
use blobforge_service::{ServeConfig, Service};
use blobforge_worker_sdk::{
    Shutdown, Worker,
    client::{Client, ClientConfig},
    program::{Command, Program},
};
use faulty::Faulty;
use futures_util::TryStreamExt;

const JOBS: u64 = 30;
const STEPS: u32 = 40;
const STEP_MS: u32 = 50;
/// What was promised: the least part of the time.
const BUSY: f64 = 0.95;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let work = Duration::from_millis(u64::from(STEPS * STEP_MS));
    let folder = tempfile::tempdir()?;
    let service = Service::start(ServeConfig::local(folder.path())).await?;
    say(&format!("{JOBS} jobs of {work:?}, transfers of {:?} each\n", work / 2));
    say("| worker | busy |\n|---|--:|");
    let one_by_one = busy(&service, folder.path(), "one after the other", work, false).await?;
    let side_by_side = busy(&service, folder.path(), "ahead of time", work, true).await?;
    service.stop().await?;
    if side_by_side < BUSY || one_by_one > side_by_side {
        return Err(format!("busy for {side_by_side:.3} of the time, wanted are {BUSY}").into());
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "this is a program for the terminal")]
fn say(line: &str) {
    println!("{line}");
}

/// Which part of the time the program ran, from the beginning of the first job to the end of the last.
async fn busy(
    service: &Service,
    folder: &Path,
    name: &str,
    work: Duration,
    ahead: bool,
) -> Result<f64, Failure> {
    let queue = service.queue();
    let job_type = name.replace(' ', "-");
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        let source = read_bytes(format!("job {number}"));
        jobs.push(queue.submit_stream(NewJob::new(job_type.as_str())?, source, 1000).await?.id);
    }
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token()))?;
    let slow = Faulty::new(client).sources_take(work / 2).transfers_take(work / 2);
    let worker = Worker::builder(Arc::new(slow))
        .handler(Command::new(job_type, Program::new(["sh", "-c", &script(ahead)])?))
        .state_dir(folder.join(if ahead { "ahead" } else { "plain" }))
        .fetch_ahead(ahead)
        .build()?;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let mut shifts = Vec::new();
    for id in jobs {
        let job = queue.wait(id, Duration::from_secs(600)).await?;
        if let Some(error) = job.last_error {
            return Err(format!("job {id} failed: {}: {}", error.kind, error.message).into());
        }
        shifts.push(shift(queue, id).await?);
    }
    shutdown.begin();
    running.await??;
    shifts.sort_by(|one, other| one.0.total_cmp(&other.0));
    let worked: f64 = shifts.iter().map(|(begun, ended)| ended - begun).sum();
    let (first, last) = (shifts.first().ok_or("no jobs")?, shifts.last().ok_or("no jobs")?);
    let busy = worked / (last.1 - first.0);
    say(&format!("| {name} | {busy:.3} |"));
    Ok(busy)
}

/// Stands for work: it tells how far it is, and when it began and ended.
fn script(tells: bool) -> String {
    let tell = if tells { r#"echo "{\"type\":\"progress\",\"done\":$n,\"total\":STEPS}""# } else { ":" };
    let script = format!(
        "date +%s.%N > {{outdir}}/times; n=0; while [ $n -lt STEPS ]; do n=$((n+1)); sleep {}; {tell}; done; \
         date +%s.%N >> {{outdir}}/times",
        f64::from(STEP_MS) / 1000.0
    );
    script.replace("STEPS", &STEPS.to_string())
}

async fn shift(queue: &Queue, id: JobId) -> Result<(f64, f64), Failure> {
    let text: Vec<_> = queue.output(id, "times").await?.try_collect().await?;
    let text = String::from_utf8(text.concat())?;
    let mut times = text.lines().map(str::parse::<f64>);
    match (times.next(), times.next()) {
        (Some(begun), Some(ended)) => Ok((begun?, ended?)),
        _ => Err(format!("job {id} wrote no times: {text:?}").into()),
    }
}
