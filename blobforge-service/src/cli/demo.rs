//! `blobforge demo`: the whole path on real input, in one command.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use blobforge_core::{JobId, Status, WorkerId};
use blobforge_worker_sdk::{
    Worker,
    client::{Client, ClientConfig, JobView, SubmitFile},
};
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;

use super::{
    CliError,
    terminal::{Bars, Column, cut, say, size, span, table},
};
use crate::{
    config::ServeConfig,
    pdf_text::{Expect, PdfText, SAMPLES},
    service::Service,
};

/// How many files are converted at once.
const AT_ONCE: usize = 2;
/// How often the bars are brought up to date.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How much of each document is shown.
const LINES_SHOWN: usize = 6;
/// How much of each line, in characters.
const LINE_SHOWN: usize = 90;

/// What `blobforge demo` takes.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// PDFs to convert; without any, samples that come with this program.
    files: Vec<PathBuf>,
    /// Folder for everything that the demo makes; a fresh one by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Leave the service up, and print its address and a login link.
    #[arg(long)]
    keep: bool,
}

/// A file on its way.
struct Item {
    name: String,
    expect: Option<Expect>,
    job: JobId,
    bar: ProgressBar,
    ended: Option<JobView>,
}

/// Runs the demo.
///
/// # Errors
/// When the service does not start or cannot be reached, or a file cannot be read.
pub(super) async fn run(args: DemoArgs) -> Result<ExitCode, CliError> {
    if let Some(missing) = args.files.iter().find(|file| !file.is_file()) {
        return Err(CliError::new(format!("{} is no file: name PDFs to convert", missing.display())));
    }
    let dir = fresh_dir(args.dir.as_deref())?;
    let files = input_files(&args.files, &dir)?;
    let service = Service::start(ServeConfig::local(&dir)).await?;
    let stop = CancellationToken::new();
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token()))?;
    say(format!("service   {}", service.url()))?;
    say(format!("folder    {}", dir.display()))?;
    let worker = start_worker(&client, &dir, stop.clone())?;
    let started = Instant::now();
    let mut items = submit(&client, files).await?;
    follow(&client, &mut items).await?;
    let seconds = started.elapsed();
    let fine = report(&client, &items, &dir, seconds).await?;
    if args.keep {
        let signal = blobforge_worker_sdk::shutdown_signal();
        say(format!("\nThe service stays up at {} until you press Ctrl-C.", service.url()))?;
        say(format!("log in    {}", service.login_link()?))?;
        signal.cancelled().await;
    }
    stop.cancel();
    worker.await.map_err(|error| CliError::new(format!("the worker broke: {error}")))??;
    service.stop().await?;
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn fresh_dir(wanted: Option<&Path>) -> Result<PathBuf, CliError> {
    match wanted {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            Ok(dir.to_owned())
        }
        None => Ok(tempfile::Builder::new().prefix("blobforge-demo-").tempdir()?.keep()),
    }
}

/// The files to convert, each with what is known to become of it.
fn input_files(given: &[PathBuf], dir: &Path) -> Result<Vec<(PathBuf, Option<Expect>)>, CliError> {
    if !given.is_empty() {
        return Ok(given.iter().map(|path| (path.clone(), None)).collect());
    }
    let folder = dir.join("samples");
    std::fs::create_dir_all(&folder)?;
    let mut files = Vec::new();
    for sample in SAMPLES {
        let path = folder.join(sample.name);
        std::fs::File::create(&path)?.write_all(sample.bytes)?;
        files.push((path, Some(sample.expect)));
    }
    Ok(files)
}

type WorkerTask =
    tokio::task::JoinHandle<Result<blobforge_worker_sdk::Summary, blobforge_worker_sdk::WorkerError>>;

fn start_worker(client: &Client, dir: &Path, stop: CancellationToken) -> Result<WorkerTask, CliError> {
    let worker = Worker::builder(Arc::new(client.clone()))
        .id(WorkerId::new("demo")?)
        .handler(PdfText::new()?)
        .concurrency(AT_ONCE)
        .state_dir(dir.join("worker"))
        .build()?;
    Ok(tokio::spawn(async move { worker.run(stop).await }))
}

async fn submit(client: &Client, files: Vec<(PathBuf, Option<Expect>)>) -> Result<Vec<Item>, CliError> {
    let bars = Bars::new();
    let mut items = Vec::with_capacity(files.len());
    for (path, expect) in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let submitted = client.submit_file(SubmitFile::new("pdf-text", &path), |_, _| {}).await?;
        let bar = bars.add(&name, "pages");
        items.push(Item { name, expect, job: submitted.job_id, bar, ended: None });
    }
    Ok(items)
}

/// Keeps the bars up to date until every job has ended.
async fn follow(client: &Client, items: &mut [Item]) -> Result<(), CliError> {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    while items.iter().any(|item| item.ended.is_none()) {
        ticks.tick().await;
        for item in items.iter_mut().filter(|item| item.ended.is_none()) {
            let job = client.job(item.job).await?;
            show(item, &job)?;
            if job.status.is_final() {
                item.ended = Some(job);
            }
        }
    }
    Ok(())
}

fn show(item: &Item, job: &JobView) -> Result<(), CliError> {
    if let Some(progress) = &job.progress {
        item.bar.set_length(progress.total.unwrap_or(progress.done));
        item.bar.set_position(progress.done);
    }
    if !job.status.is_final() {
        item.bar.set_message(job.status.to_string());
        return Ok(());
    }
    if job.status == Status::Completed {
        let pages = pages_of(job);
        item.bar.set_length(pages);
        item.bar.set_position(pages);
    }
    item.bar.abandon_with_message(job.status.to_string());
    if item.bar.is_hidden() {
        say(format!("{} {}", job.status, item.name))?;
    }
    Ok(())
}

/// Prints what became of each file; whether it is as it should be.
async fn report(client: &Client, items: &[Item], dir: &Path, took: Duration) -> Result<bool, CliError> {
    let mut rows = Vec::new();
    let (mut pages, mut completed, mut fine) = (0, 0, true);
    for item in items {
        let Some(job) = &item.ended else { continue };
        fine &= is_as_it_should_be(item, job);
        if job.status != Status::Completed {
            let reason = job.last_error.as_ref().map_or("no reason was given", |error| &error.message);
            rows.push(vec![
                item.name.clone(),
                job.status.to_string(),
                String::new(),
                String::new(),
                reason.to_owned(),
            ]);
            continue;
        }
        let document = fetch(client, job, dir, &item.name).await?;
        show_beginning(item, &document)?;
        let seconds = seconds_of(job);
        pages += pages_of(job);
        completed += 1;
        let rate =
            if seconds > 0.0 { format!("{:.0}", pages_of(job) as f64 / seconds) } else { String::new() };
        let place = document.display().to_string();
        rows.push(vec![item.name.clone(), job.status.to_string(), pages_of(job).to_string(), rate, place]);
    }
    let columns = [
        Column::Text("file"),
        Column::Text("status"),
        Column::Number("pages"),
        Column::Number("pages/s"),
        Column::Text("document, or why there is none"),
    ];
    say(format!("\n{}", table(&columns, rows)))?;
    let rate = pages as f64 / took.as_secs_f64().max(0.001);
    let failed = items.len() - completed;
    say(format!(
        "\n{completed} converted, {failed} refused, {pages} pages in {} ({rate:.0} pages/s)",
        span(took)
    ))?;
    Ok(fine)
}

/// A readable file came out, and an unreadable one failed for a reason that lies in the file.
fn is_as_it_should_be(item: &Item, job: &JobView) -> bool {
    let kind = job.last_error.as_ref().map_or("", |error| error.kind.as_str());
    match (item.expect, job.status) {
        (Some(Expect::Readable) | None, Status::Completed) => true,
        (Some(Expect::Unreadable(expected)), Status::Failed) => kind == expected,
        (None, Status::Failed) => crate::pdf_text::is_bad_file(kind),
        _ => false,
    }
}

async fn fetch(client: &Client, job: &JobView, dir: &Path, name: &str) -> Result<PathBuf, CliError> {
    let stem = Path::new(name).file_stem().unwrap_or_default();
    let folder = dir.join("documents").join(stem);
    client.download_outputs(job.id, &folder).await?;
    Ok(folder.join("document.md"))
}

fn show_beginning(item: &Item, document: &Path) -> Result<(), CliError> {
    let text = std::fs::read_to_string(document)?;
    say(format!("\n── {} ({})", item.name, size(text.len() as u64)))?;
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(LINES_SHOWN) {
        say(format!("   {}", cut(line, LINE_SHOWN)))?;
    }
    Ok(())
}

fn pages_of(job: &JobView) -> u64 {
    job.result.as_ref().and_then(|result| result["pages"].as_u64()).unwrap_or(0)
}

fn seconds_of(job: &JobView) -> f64 {
    job.result.as_ref().and_then(|result| result["seconds"].as_f64()).unwrap_or(0.0)
}
