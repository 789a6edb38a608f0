//! `blobforge hydrate`: puts what came out of each file beside it.

mod document;
mod draft;
mod memory;
mod place;
mod summary;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use blobforge_core::{HashBeginning, Sha256, Status};
use blobforge_worker_sdk::client::{Client, JobView};
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256 as Hasher};

pub(super) use self::document::Document;
use self::{
    memory::{Memory, Version},
    place::{Place, Placed},
    summary::{Fate, Outcome, print},
};
use super::{
    CliError, Connection, fingerprint,
    intake::Outage,
    listing::ListStyle,
    terminal::{Bars, complain},
    walk::{Wanted, walk},
};
use crate::archive::unpack;

/// The type whose results go before those of others.
const BEST_TYPE: &str = blobforge_worker_sdk::marker::JOB_TYPE;
/// How many files are looked after at once.
const AT_ONCE: usize = 4;
/// How many files are asked about at once.
const BATCH: usize = 100;

/// What `blobforge hydrate` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For book.pdf, book.md and the folder book.assets appear beside it once its job has completed. What lies there already is
replaced only if this command wrote it and nobody has changed it since.

Examples:
  blobforge hydrate /books --dry-run
  blobforge hydrate /books --type pdf --watch
  blobforge hydrate /books --results /old/store/out    from the zip files of an earlier installation")]
pub(super) struct HydrateArgs {
    /// Folder with the files that were handed in.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only results of this type; unless said, those of the type pdf go before others, and newer ones before older ones.
    #[arg(long = "type", value_name = "TYPE")]
    job_type: Option<String>,
    /// Extensions of the files that are meant, separated by commas; pdf unless said.
    #[arg(long, value_delimiter = ',', value_name = "EXT", default_value = "pdf")]
    ext: Vec<String>,
    /// Folder with results of an earlier installation, `HASH.zip` for each file, instead of a service.
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Replace also what somebody has changed.
    #[arg(long)]
    force: bool,
    /// Write nothing, and say what would be.
    #[arg(long)]
    dry_run: bool,
    /// Go on, and put results beside their sources as they come out.
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// Seconds between looks for new results.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "watch", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: u64,
    #[command(flatten)]
    style: ListStyle,
    #[command(flatten)]
    connection: Connection,
}

/// A result that is ready.
enum Ready {
    Job(Box<JobView>),
    Zip(PathBuf),
}

impl Ready {
    /// The same for results that are the same.
    fn name(&self, source: Sha256) -> String {
        let job = match self {
            Self::Job(job) => job,
            // Somebody may put another one there.
            Self::Zip(zip) => return format!("zip {source} {:?}", Version::of(zip)),
        };
        let mut hasher = Hasher::new();
        for output in &job.outputs {
            let hash = output.sha256.map_or_else(|| format!("of job {}", job.id), |hash| hash.to_string());
            hasher.update(format!("{} {} {hash}\n", output.name, output.size));
        }
        Sha256::from_bytes(hasher.finalize().into()).to_string()
    }

    /// Whether it has more than one file, as far as that is known.
    fn has_assets(&self) -> bool {
        match self {
            Self::Job(job) => job.outputs.iter().any(|output| output.name.contains('/')),
            Self::Zip(_) => false,
        }
    }
}

/// Where results come from.
enum Origin {
    Service { client: Client, job_type: Option<String> },
    Folder(PathBuf),
}

pub(super) async fn run(args: HydrateArgs) -> Result<ExitCode, CliError> {
    let origin = match &args.results {
        Some(folder) => Origin::Folder(folder.clone()),
        None => Origin::Service { client: args.connection.client()?, job_type: args.job_type.clone() },
    };
    let mut memory = Memory::default();
    loop {
        let mut outcomes = Vec::new();
        let ended = pass(&origin, &args, &mut memory, &mut outcomes).await;
        // Whatever kept it from its end, what was done until then is told.
        let is_news = memory.takes_note_of(&outcomes);
        if !args.watch || is_news {
            print(&outcomes, args.style, args.dry_run)?;
        }
        match ended {
            // Whoever watches goes on when the service is back.
            Err(error) if args.watch && error.is_away() => complain(error.to_string()),
            other => other?,
        }
        if !args.watch {
            let failed = outcomes.iter().any(|outcome| matches!(outcome.fate, Fate::Failed { .. }));
            return Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        tokio::time::sleep(Duration::from_secs(args.every)).await;
    }
}

/// Looks after all files once, and says what became of each, until nobody answers.
async fn pass(
    origin: &Origin,
    args: &HydrateArgs,
    memory: &mut Memory,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), CliError> {
    let bars = Bars::new();
    let bar = bars.add("files", "files");
    let (dir, wanted) = (args.dir.clone(), Wanted::of("pdf", &args.ext));
    let tidies_up = !args.dry_run;
    let found = move || {
        let found: Vec<_> = walk(&dir, &wanted).collect();
        let folders: HashSet<_> = found.iter().flatten().filter_map(|file| file.path.parent()).collect();
        folders.into_iter().filter(|_| tidies_up).for_each(draft::tidy_up);
        found
    };
    let found = tokio::task::spawn_blocking(found).await;
    let found = found.map_err(|error| CliError::new(format!("the files could not be found: {error}")))?;
    bar.set_length(found.len() as u64);
    let mut outage = match origin {
        Origin::Service { client, .. } => Some(Outage::new(client.clone())),
        Origin::Folder(_) => None,
    };
    let mut sources = Vec::new();
    let mut taken: HashMap<PathBuf, PathBuf> = HashMap::new();
    // Nothing is put where a source lies, whatever is said.
    for path in found.iter().flatten().map(|found| &found.path) {
        taken.insert(path.clone(), path.clone());
    }
    for file in found {
        match file.map(|found| found.path) {
            Ok(path) => match taken.insert(Place::beside(&path).markdown().to_owned(), path.clone()) {
                None => sources.push(path),
                Some(other) => {
                    let reason = format!("its result would lie where that of {} lies", other.display());
                    taken.insert(Place::beside(&path).markdown().to_owned(), other);
                    outcomes.push(Outcome { path, fate: Fate::Failed { reason } });
                }
            },
            Err((path, reason)) => outcomes.push(Outcome { path, fate: Fate::Failed { reason } }),
        }
    }
    for batch in sources.chunks(BATCH) {
        let read =
            stream::iter(batch).map(|path| hash(path.clone())).buffered(AT_ONCE).collect::<Vec<_>>().await;
        let hashes: Vec<_> = read.iter().filter_map(|read| read.as_ref().ok().copied()).collect();
        let ready = origin.ready(&hashes).await?;
        let known = &*memory;
        let fates = batch.iter().zip(read).map(|(path, read)| {
            let (ready, bar) = (&ready, &bar);
            async move {
                let (name, fate) = match read {
                    Ok(sha256) => origin.see_to(path, sha256, ready.get(&sha256), args, known).await,
                    Err(reason) => (None, Ok(Fate::Failed { reason })),
                };
                bar.inc(1);
                (path.clone(), name, fate)
            }
        });
        let fates = stream::iter(fates).buffered(AT_ONCE).collect::<Vec<_>>().await;
        for (path, name, fate) in fates {
            let went_wrong = fate.as_ref().is_err_and(CliError::is_away);
            let is_away = match &mut outage {
                Some(outage) => outage.is_seen_after(went_wrong).await,
                None => false,
            };
            let fate = match fate {
                Err(error) if is_away => return Err(error),
                Err(error) => Fate::Failed { reason: error.to_string() },
                Ok(fate) => fate,
            };
            if args.watch {
                memory.keep(&path, name, &fate);
            }
            outcomes.push(Outcome { path, fate });
        }
    }
    bar.finish_and_clear();
    Ok(())
}

async fn hash(path: PathBuf) -> Result<Sha256, String> {
    let taken = tokio::task::spawn_blocking(move || fingerprint::take(&path, &|_| {})).await;
    match taken {
        Ok(Ok(fingerprint)) => Ok(fingerprint.content.sha256),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("it could not be read: {error}")),
    }
}

impl Origin {
    /// The results that are ready, by the hashes of their sources.
    async fn ready(&self, sources: &[Sha256]) -> Result<HashMap<Sha256, Ready>, CliError> {
        match self {
            Self::Folder(folder) => {
                let zip = |sha256: &Sha256| (*sha256, folder.join(format!("{sha256}.zip")));
                let there = sources.iter().map(zip).filter(|(_, zip)| zip.is_file());
                Ok(there.map(|(sha256, zip)| (sha256, Ready::Zip(zip))).collect())
            }
            Self::Service { client, job_type } => {
                let beginnings: Vec<_> = sources.iter().map(|hash| HashBeginning::from(*hash)).collect();
                let known = client.look_up(&beginnings, job_type.as_deref()).await?;
                let completed = |mut jobs: Vec<JobView>| {
                    jobs.retain(|job| job.status == Status::Completed && !job.outputs.is_empty());
                    // The newest, but nothing takes the place of what marker made.
                    let best = jobs.iter().position(|job| job.job_type == BEST_TYPE).unwrap_or(0);
                    (best < jobs.len()).then(|| jobs.swap_remove(best))
                };
                let jobs =
                    sources.iter().zip(known).filter_map(|(hash, jobs)| Some((*hash, completed(jobs)?)));
                Ok(jobs.map(|(hash, job)| (hash, Ready::Job(Box::new(job)))).collect())
            }
        }
    }

    /// Puts a result beside its source, unless it is known what comes of that; what the result is called, and its fate.
    async fn see_to(
        &self,
        path: &Path,
        sha256: Sha256,
        ready: Option<&Ready>,
        args: &HydrateArgs,
        memory: &Memory,
    ) -> (Option<String>, Result<Fate, CliError>) {
        let Some(ready) = ready else { return (None, Ok(Fate::Waiting)) };
        let (place, name) = (Place::beside(path), ready.name(sha256));
        let fate = match memory.of(path, &name) {
            Some(fate) => Ok(fate),
            None => self.placed(&place, ready, &name, args).await,
        };
        (Some(name), fate)
    }

    async fn placed(
        &self,
        place: &Place,
        ready: &Ready,
        name: &str,
        args: &HydrateArgs,
    ) -> Result<Fate, CliError> {
        if place.has(name, ready.has_assets()) {
            return Ok(Fate::Unchanged);
        }
        if args.dry_run {
            let is_kept = !args.force && place.is_changed()?;
            return Ok(if is_kept { Fate::Kept } else { Fate::Written });
        }
        Ok(match self.put(place, ready, name.to_owned(), args.force).await? {
            Placed::Written => Fate::Written,
            Placed::Same => Fate::Unchanged,
            Placed::Changed => Fate::Kept,
        })
    }

    async fn put(&self, place: &Place, ready: &Ready, name: String, force: bool) -> Result<Placed, CliError> {
        let draft = place.draft()?;
        let document = self.fetch(ready, draft.path()).await?;
        let place = place.clone();
        let put = move || {
            let placed = place.put(&document, &name, force);
            // Until here it holds what is put.
            drop(draft);
            placed
        };
        let put = tokio::task::spawn_blocking(put).await;
        Ok(put.map_err(io::Error::other)??)
    }

    /// Fetches a result into a folder, and finds out what is what.
    async fn fetch(&self, ready: &Ready, draft: &Path) -> Result<Document, CliError> {
        match (self, ready) {
            (Self::Service { client, .. }, Ready::Job(job)) => fetch(client, job, draft).await,
            (_, Ready::Zip(zip)) => unpacked(zip.clone(), draft.join("unpacked")).await,
            (Self::Folder(_), Ready::Job(_)) => Err(CliError::new("a job's result is with its service")),
        }
    }
}

/// Fetches what a job produced into a folder, and finds out what is what.
pub(super) async fn fetch(client: &Client, job: &JobView, draft: &Path) -> Result<Document, CliError> {
    let fetched = client.download_outputs(job.id, &draft.join("fetched")).await?;
    if let [only] = &fetched[..]
        && only.extension().is_some_and(|extension| extension == "zip")
    {
        return unpacked(only.clone(), draft.join("unpacked")).await;
    }
    Document::in_folder(&draft.join("fetched"))?.ok_or_else(|| {
        let what = "it has no Markdown, or several: save its files with: blobforge download";
        CliError::new(format!("job {}: {what} {}", job.id, job.id))
    })
}

async fn unpacked(zip: PathBuf, to: PathBuf) -> Result<Document, CliError> {
    let name = zip.display().to_string();
    let unpacked = tokio::task::spawn_blocking(move || {
        unpack(&zip, &to)?;
        Document::in_folder(&to)
    });
    let document = unpacked.await.map_err(io::Error::other)?;
    let document = document.map_err(|error| CliError::new(format!("{name}: {error}")))?;
    document.ok_or_else(|| CliError::new(format!("{name}: it has no content.md")))
}
