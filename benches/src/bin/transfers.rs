//! How fast files go to and from a service, beside a plain copy by the same URLs, and how much memory that takes.
//!
//! Each transfer is a process of its own, so that its memory is its own; the service and the bucket are in this one. Both
//! sides in turns, in the same run.

#[path = "../../../blobforge-core/tests/bucket/mod.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the bucket of the tests")]
mod bucket;

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use blobforge_core::{
    JobId, JobType, Registration, WorkerId,
    blob::{Method, read_file},
    broker::{Broker, Ending, Wish},
};
use blobforge_service::{ServeConfig, Service};
use blobforge_worker_sdk::client::{Client, ClientConfig, SubmitFile};
use bucket::Bucket;
use futures_util::TryStreamExt;
use tokio::io::AsyncWriteExt;

const MIB: usize = 1024 * 1024;

type Failure = Box<dyn std::error::Error>;

/// What one transfer took.
#[derive(Clone, Copy)]
struct Took {
    time: Duration,
    /// The most memory that its process had, in MB.
    peak: u64,
}

fn main() -> Result<ExitCode, Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let [side, what, rest @ ..] = &args[..]
        && side == "transfer"
    {
        let begun = Instant::now();
        runtime.block_on(transfer(what, rest))?;
        say(&format!("{} {}", begun.elapsed().as_micros(), peak_memory()?));
        return Ok(ExitCode::SUCCESS);
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    runtime.block_on(compare(if quick { 12 * MIB } else { 512 * MIB }, if quick { 1 } else { 5 }))?;
    Ok(ExitCode::SUCCESS)
}

async fn compare(bytes: usize, rounds: u32) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("transfers-").tempdir_in(target_folder())?;
    let (local, bucketed) = (folder.path().join("local"), folder.path().join("bucketed"));
    let bucket = Bucket::start().await;
    let s3 = Some(bucket.options());
    let file = folder.path().join("book.bin");
    make(&file, bytes)?;
    say(&format!(
        "files of {} MiB, median of {rounds}; in brackets the most memory of each process\n",
        bytes / MIB
    ));
    say(&format!("{:>8} {:>9} {:>22} {:>22} {:>7}", "files in", "", "plain copy", "BlobForge", "ratio"));
    for (name, config) in [
        ("folder", ServeConfig::local(&local)),
        ("bucket", ServeConfig { s3, ..ServeConfig::local(&bucketed) }),
    ] {
        fs::create_dir_all(config.data_folder())?;
        let service = Service::start(config).await?;
        let (mut up, mut down) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for round in 0..rounds {
            change(&file, round)?;
            let key = format!("sources/plain-{round}");
            up.0.push(run(&["plain-up", &url(&service, Method::Put, &key).await?, text(&file)]).await?);
            up.1.push(run(&["up", &service.url(), service.admin_token(), text(&file)]).await?);
            let (job, key) = finished(&service, &file).await?;
            let to = folder.path().join("fetched.bin");
            down.0.push(run(&["plain-down", &url(&service, Method::Get, &key).await?, text(&to)]).await?);
            down.1.push(
                run(&["down", &service.url(), service.admin_token(), text(&to), &job.to_string()]).await?,
            );
        }
        tell(name, "upload", bytes, up);
        tell(name, "download", bytes, down);
        service.stop().await?;
    }
    Ok(())
}

fn tell(name: &str, what: &str, bytes: usize, (mut plain, mut ours): (Vec<Took>, Vec<Took>)) {
    let median = |took: &mut Vec<Took>| {
        took.sort_by_key(|took| took.time);
        let rate = bytes as f64 / 1e6 / took[took.len() / 2].time.as_secs_f64();
        let peak = took.iter().map(|took| took.peak).max().unwrap_or_default();
        (rate, format!("{rate:.0} MB/s ({peak} MB)"))
    };
    let ((plain, plain_text), (ours, ours_text)) = (median(&mut plain), median(&mut ours));
    say(&format!("{name:>8} {what:>9} {plain_text:>22} {ours_text:>22} {:>7.2}", ours / plain));
}

/// Does one transfer in a process of its own.
async fn run(args: &[&str]) -> Result<Took, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("transfer").args(args);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let said = String::from_utf8(output.stdout)?;
    let (time, peak) = said
        .trim()
        .split_once(' ')
        .ok_or_else(|| format!("a transfer failed: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(Took { time: Duration::from_micros(time.parse()?), peak: peak.parse()? })
}

async fn transfer(what: &str, args: &[String]) -> Result<(), Failure> {
    match (what, args) {
        ("plain-up", [url, file]) => {
            let content = read_file(Path::new(file)).await?;
            let size = fs::metadata(file)?.len();
            let request = reqwest::Client::new().put(url).header("content-length", size);
            request.body(reqwest::Body::wrap_stream(content)).send().await?.error_for_status()?;
        }
        ("plain-down", [url, to]) => {
            let mut content = reqwest::get(url).await?.error_for_status()?.bytes_stream();
            let mut file = tokio::fs::File::create(to).await?;
            while let Some(piece) = content.try_next().await? {
                file.write_all(&piece).await?;
            }
            file.sync_all().await?;
        }
        ("up", [url, token, file]) => {
            let client = Client::new(ClientConfig::new(url, token))?;
            client.submit_file(SubmitFile::new("transfers", file), |_, _| {}).await?;
        }
        ("down", [url, token, to, job]) => {
            let client = Client::new(ClientConfig::new(url, token))?;
            client.download_output(JobId::new(job.parse()?), "book.bin", Path::new(to)).await?;
        }
        _ => return Err("what to transfer is not understood".into()),
    }
    Ok(())
}

/// Does the job that was just handed in; its number, and the key of its output.
async fn finished(service: &Service, file: &Path) -> Result<(JobId, String), Failure> {
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token()))?;
    let (worker, types) = (WorkerId::new("bencher")?, vec![JobType::new("transfers")?]);
    client.register(&Registration::new(worker.clone(), types.clone(), "the one that measures")).await?;
    let wish = Wish { worker, types, limit: 1, wait: Duration::from_secs(10), claim_id: None };
    let work = client.claim(&wish).await?.pop().ok_or("there is no job to do")?;
    let output = client.put_output(&work, "book.bin", file).await?;
    client.finish(&work, Ending::Complete { outputs: vec![output], result: None }).await?;
    let job = service.queue().job(work.job).await?;
    Ok((job.id, job.outputs.first().ok_or("it has no output")?.key.clone()))
}

async fn url(service: &Service, method: Method, key: &str) -> Result<String, Failure> {
    let signed = service.queue().signed_url(method, key, None).await?.ok_or("nobody signs")?.url;
    Ok(if signed.starts_with('/') { format!("{}{signed}", service.url()) } else { signed })
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn make(path: &Path, bytes: usize) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    let piece: Vec<u8> = (0..MIB).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for _ in 0..bytes / MIB {
        file.write_all(&piece)?;
    }
    file.sync_all()
}

/// Makes another file of it, so that it is sent again.
fn change(path: &Path, round: u32) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&round.to_be_bytes())
}

/// In MB.
fn peak_memory() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak is told")?;
    Ok(peak.trim().trim_end_matches("kB").trim().parse::<u64>()? / 1000)
}

/// On the disk of the build rather than in a folder that may be memory.
fn target_folder() -> std::path::PathBuf {
    let program = std::env::current_exe().ok();
    program.and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_else(std::env::temp_dir)
}

#[allow(clippy::print_stdout, reason = "it is what the program is for")]
fn say(line: &str) {
    println!("{line}");
}
