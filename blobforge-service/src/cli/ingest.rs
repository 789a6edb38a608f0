//! `blobforge ingest`: hands in everything that lies in folders. What the service knows already is not sent again, so that
//! a run that was broken off is finished by the next one.

mod summary;

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use blobforge_core::{HashBeginning, Sha256, Status};
use blobforge_worker_sdk::client::{Announced, Client, ClientError, Content, SubmitFile};
use futures_util::{Stream, StreamExt as _, stream};
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use self::summary::{Fate, Outcome, Summary};
use super::{
    CliError, Connection, fingerprint,
    fingerprint::Fingerprint,
    listing::ListStyle,
    submit::JobArgs,
    terminal::Bars,
    walk::{Found, Wanted, walk},
};

/// How many files are asked about at once.
const BATCH: usize = 100;
/// How many files are read for their hashes at once.
const READ_AT_ONCE: usize = 2;
/// How many files are sent at once.
const SENT_AT_ONCE: usize = 4;
/// How many files are found ahead of time.
const FOUND_AHEAD: usize = 1024;
/// A file of that size gets a bar of its own while it is sent, in bytes.
const BAR_FROM: u64 = 8 * 1024 * 1024;
/// How long a file has to be untouched before it is believed to be whole, where nobody says that it is.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// What `blobforge ingest` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  blobforge ingest /books --type pdf
  blobforge ingest /books --dry-run              says what would be submitted, and submits nothing
  blobforge ingest /books --retry-failed --priority 4
  blobforge ingest /scans --watch                goes on, and takes what comes in

A run that was interrupted is finished by running it again: nothing that arrived is sent again. Pointers of Git LFS are
known by their hashes; what they stand for is not downloaded.")]
pub(super) struct IngestArgs {
    /// Folders, of which all files below are meant, and files.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    job: JobArgs,
    /// Extensions of the files that are meant, separated by commas; pdf for the types that begin so, and any for others.
    #[arg(long, value_delimiter = ',', value_name = "EXT")]
    ext: Vec<String>,
    /// Do not tag jobs with the folders that their files lie in.
    #[arg(long)]
    no_path_tags: bool,
    /// Submit nothing, and say what would be.
    #[arg(long)]
    dry_run: bool,
    /// Go on, and take files as they come in.
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// Seconds between looks for new files.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: u64,
    #[command(flatten)]
    style: ListStyle,
    #[command(flatten)]
    connection: Connection,
}

/// A file that was read.
struct Item {
    path: PathBuf,
    tags: Vec<String>,
    fingerprint: Fingerprint,
}

/// A file on its way to its fate.
enum Next {
    Done(Outcome),
    Send { path: PathBuf, lies_at: PathBuf, content: Content, announced: Announced },
}

/// One run over all files.
struct Run<'a> {
    client: Client,
    args: &'a IngestArgs,
    wanted: Wanted,
    bars: Bars,
    read: ProgressBar,
    /// What this run sends, or has sent: the same content may lie in several files.
    sends: Mutex<HashSet<Sha256>>,
    /// What each file was as it was read.
    versions: Mutex<Seen>,
}

pub(super) async fn run(args: IngestArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let wanted = Wanted {
        untouched_for: if args.watch { SETTLED_AFTER } else { Duration::ZERO },
        ..Wanted::of(&args.job.job_type, &args.ext)
    };
    // What this process has seen to its end, as it was then.
    let mut seen = HashMap::new();
    loop {
        let bars = Bars::new();
        let read = bars.add("read", "bytes");
        let pass = Run {
            client: client.clone(),
            args: &args,
            wanted: wanted.clone(),
            bars,
            read,
            sends: Mutex::default(),
            versions: Mutex::default(),
        };
        let summary = pass.all(&mut seen).await?;
        pass.read.finish_and_clear();
        if !args.watch || summary.files() > 0 {
            summary.print(args.style, args.dry_run)?;
        }
        if !args.watch {
            return Ok(summary.code());
        }
        tokio::time::sleep(Duration::from_secs(args.every)).await;
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

type Seen = HashMap<PathBuf, (u64, Option<SystemTime>)>;

fn version(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    std::fs::metadata(path).ok().map(|found| (found.len(), found.modified().ok()))
}

impl Run<'_> {
    /// Hands in every file that is not in `seen`, which is told of each that was seen to its end.
    async fn all(&self, seen: &mut Seen) -> Result<Summary, CliError> {
        let known = Arc::new(std::mem::take(seen));
        let next = self.read_files(known.clone()).ready_chunks(BATCH).then(|batch| self.known(batch));
        let outcomes =
            next.flat_map(stream::iter).map(|next| self.see_to(next)).buffer_unordered(SENT_AT_ONCE);
        let mut outcomes = std::pin::pin!(outcomes);
        let mut summary = Summary::default();
        let mut ended = Vec::new();
        while let Some(outcome) = outcomes.next().await {
            let is_over = outcome.is_away();
            if !matches!(outcome.fate, Fate::Failed { .. }) {
                ended.extend(lock(&self.versions).remove_entry(&outcome.path));
            }
            summary.add(outcome, self.args.style)?;
            if is_over {
                // Nobody answers: each further file would wait for as long and say the same.
                break;
            }
        }
        *seen = Arc::try_unwrap(known).unwrap_or_else(|known| (*known).clone());
        seen.extend(ended);
        Ok(summary)
    }

    /// Finds files, and reads them for their hashes.
    fn read_files(&self, seen: Arc<Seen>) -> impl Stream<Item = Result<Item, Outcome>> + '_ {
        let (paths, wanted) = (self.args.paths.clone(), self.wanted.clone());
        let (found, files) = mpsc::channel(FOUND_AHEAD);
        // Ends when nobody takes what it finds.
        tokio::task::spawn_blocking(move || {
            let all = paths.iter().flat_map(|path| walk(path, &wanted));
            let is_new =
                |found: &Found| seen.get(&found.path).is_none_or(|was| Some(*was) != version(&found.path));
            let new = all.filter(|file| file.as_ref().map_or(true, is_new));
            for file in new {
                if found.blocking_send(file).is_err() {
                    return;
                }
            }
        });
        ReceiverStream::new(files).map(|found| self.read(found)).buffered(READ_AT_ONCE)
    }

    async fn read(&self, found: Result<Found, (PathBuf, String)>) -> Result<Item, Outcome> {
        let Found { path, tags } = found.map_err(|(path, why)| Outcome::failed(path, why))?;
        lock(&self.versions).extend(version(&path).map(|version| (path.clone(), version)));
        let (file, read) = (path.clone(), self.read.clone());
        let fingerprint =
            tokio::task::spawn_blocking(move || fingerprint::take(&file, &|bytes| read.inc(bytes)));
        match fingerprint.await {
            Ok(Ok(fingerprint)) => Ok(Item { path, tags, fingerprint }),
            Ok(Err(error)) => Err(Outcome::failed(path, error.to_string())),
            Err(error) => Err(Outcome::failed(path, format!("it could not be read: {error}"))),
        }
    }

    /// Asks what is known of some files, and says of the others that they are there.
    async fn known(&self, batch: Vec<Result<Item, Outcome>>) -> Vec<Next> {
        let mut next = Vec::with_capacity(batch.len());
        let (mut to_ask, mut to_announce) = (Vec::new(), Vec::new());
        for read in batch {
            match read {
                Err(outcome) => next.push(Next::Done(outcome)),
                Ok(item) if self.args.dry_run || item.fingerprint.lies_at.is_none() => to_ask.push(item),
                Ok(item) => to_announce.push(item),
            }
        }
        next.extend(self.asked(to_ask).await.into_iter().map(Next::Done));
        next.extend(self.announced(to_announce).await);
        next
    }

    /// What is known of files, of which nothing is sent.
    async fn asked(&self, items: Vec<Item>) -> Vec<Outcome> {
        let hashes: Vec<_> =
            items.iter().map(|item| HashBeginning::from(item.fingerprint.content.sha256)).collect();
        let known = self.client.look_up(&hashes, Some(&self.args.job.job_type)).await;
        let known = match known {
            Ok(known) => known,
            Err(error) => return items.into_iter().map(|item| refused(item.path, &error)).collect(),
        };
        let mut outcomes = Vec::with_capacity(items.len());
        for (Item { path, fingerprint, .. }, jobs) in items.into_iter().zip(known) {
            let sha256 = fingerprint.content.sha256;
            outcomes.push(match jobs.into_iter().next() {
                Some(job) if self.is_to_run_again(job.status) => match self.client.retry(job.id).await {
                    Ok(job) => Outcome::existing(path, sha256, job.id, job.status),
                    Err(error) => refused(path, &error),
                },
                Some(job) => Outcome::existing(path, sha256, job.id, job.status),
                None if fingerprint.lies_at.is_some() => Outcome::new(path, sha256),
                None => Outcome::failed(path, ONLY_A_POINTER),
            });
        }
        outcomes
    }

    fn is_to_run_again(&self, status: Status) -> bool {
        self.args.job.retry_failed && !self.args.dry_run && status == Status::Failed
    }

    fn file(&self, item: &Item) -> SubmitFile {
        let mut file = self.args.job.file(&item.path);
        if !self.args.no_path_tags {
            let new = item.tags.iter().filter(|tag| !self.args.job.tags.contains(tag));
            file.tags.extend(new.cloned());
            file.tags.truncate(blobforge_core::MAX_TAGS);
        }
        file
    }

    /// Says that files are there, all at once, or one by one where one of them will not do.
    async fn announced(&self, items: Vec<Item>) -> Vec<Next> {
        if items.is_empty() {
            return Vec::new();
        }
        let files: Vec<_> = items.iter().map(|item| (self.file(item), item.fingerprint.content)).collect();
        match self.client.announce_all(&files).await {
            Ok(announced) => items
                .into_iter()
                .zip(announced)
                .map(|(item, announced)| self.to_send(item, Ok(announced)))
                .collect(),
            Err(error) if error.is_retryable() => {
                items.into_iter().map(|item| Next::Done(refused(item.path, &error))).collect()
            }
            Err(_) => {
                let mut next = Vec::with_capacity(items.len());
                for (item, (file, content)) in items.into_iter().zip(files) {
                    next.push(self.to_send(item, self.client.announce(&file, content).await));
                }
                next
            }
        }
    }

    fn to_send(&self, item: Item, announced: Result<Announced, ClientError>) -> Next {
        let Item { path, fingerprint: Fingerprint { content, lies_at }, .. } = item;
        let announced = match announced {
            Ok(announced) => announced,
            Err(error) => return Next::Done(refused(path, &error)),
        };
        let is_mine = lock(&self.sends).insert(content.sha256);
        if announced.is_to_be_sent() && !is_mine {
            let (job, status) = (announced.reply.job_id, announced.reply.status);
            return Next::Done(Outcome::existing(path, content.sha256, job, status));
        }
        let lies_at = lies_at.unwrap_or_else(|| path.clone());
        Next::Send { path, lies_at, content, announced }
    }

    /// Sends a file, if it has to be.
    async fn see_to(&self, next: Next) -> Outcome {
        let (path, lies_at, content, announced) = match next {
            Next::Done(outcome) => return outcome,
            Next::Send { path, lies_at, content, announced } => (path, lies_at, content, announced),
        };
        let bar = (announced.is_to_be_sent() && content.size >= BAR_FROM).then(|| {
            let name = path.file_name().unwrap_or(OsStr::new("file")).to_string_lossy();
            let bar = self.bars.add(&name, "bytes");
            bar.set_length(content.size);
            bar
        });
        let shown = bar.clone();
        let show = move |sent| shown.iter().for_each(|bar| bar.set_position(sent));
        let sent = self.client.send_source(announced, &lies_at, show).await;
        bar.iter().for_each(ProgressBar::finish_and_clear);
        match sent {
            Ok(reply) => Outcome::of(path, content.sha256, &reply),
            Err(error) => refused(path, &error),
        }
    }
}

/// Why a pointer is not handed in.
const ONLY_A_POINTER: &str =
    "it is a pointer of Git LFS, and what it stands for is neither known nor here: run git lfs pull";

fn refused(path: PathBuf, error: &ClientError) -> Outcome {
    Outcome { away: error.is_retryable(), ..Outcome::failed(path, error.to_string()) }
}
