//! `blobforge hydrate`: puts what came out of each file beside it.

mod document;
mod draft;
mod memory;
mod origin;
mod place;
mod summary;

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use blobforge_core::Sha256;
use futures_util::{StreamExt as _, stream};

#[cfg(test)]
pub(super) use self::place::mark_as_written;
pub(super) use self::{document::Document, origin::fetch, place::is_written};
use self::{
    memory::Memory,
    origin::Origin,
    place::Place,
    summary::{Fate, Outcome, print},
};
use super::{
    CliError, Connection,
    fingerprint::{self, Version},
    intake::{Answer, Outage},
    listing::ListStyle,
    terminal::{Bars, complain},
    walk::{Found, Wanted, walk},
};

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
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "results")]
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
    /// Put nothing beside any source, and say what would be.
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
        if args.watch {
            let news = memory.news(outcomes);
            if !news.is_empty() {
                print(&news, args.style, false)?;
            }
            match ended {
                // Whoever watches goes on when the service is back.
                Err(error) if error.is_away() => complain(error.to_string()),
                other => other?,
            }
            tokio::time::sleep(Duration::from_secs(args.every)).await;
            continue;
        }
        print(&outcomes, args.style, args.dry_run)?;
        ended?;
        let failed = outcomes.iter().any(|outcome| matches!(outcome.fate, Fate::Failed { .. }));
        return Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS });
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
        Origin::Service { client, .. } => Some((Outage::new(client.clone()), 0)),
        Origin::Folder(_) => None,
    };
    let sources = with_room(found, outcomes);
    for batch in sources.chunks(BATCH) {
        let read = stream::iter(batch).map(|path| hash(path.clone(), memory.hash(path)));
        let read = read.buffered(AT_ONCE).collect::<Vec<_>>().await;
        let hashes: Vec<_> = read.iter().filter_map(|read| Some(read.as_ref().ok()?.1)).collect();
        let ready = origin.ready(&hashes).await?;
        let known = &*memory;
        let fates = batch.iter().zip(read).map(|(path, read)| {
            let ready = &ready;
            async move {
                let (name, fate) = match &read {
                    Ok((_, sha256)) => origin.see_to(path, *sha256, ready.get(sha256), args, known).await,
                    Err(reason) => (None, Ok(Fate::Failed { reason: reason.clone() })),
                };
                (path.clone(), read.ok(), name, fate)
            }
        });
        let (mut seen, mut away) = (Vec::new(), None);
        {
            let mut fates = std::pin::pin!(stream::iter(fates).buffered(AT_ONCE));
            while let Some((path, read, name, fate)) = fates.next().await {
                let is_over = is_away(&mut outage, fate.as_ref().err()).await;
                let fate = match fate {
                    Err(error) if is_over => {
                        away = Some(error);
                        break;
                    }
                    Err(error) => Fate::Failed { reason: error.to_string() },
                    Ok(fate) => fate,
                };
                bar.inc(1);
                seen.push((path.clone(), read, name, fate.clone()));
                outcomes.push(Outcome { path, fate });
            }
        }
        for (path, read, name, fate) in seen.into_iter().filter(|_| args.watch) {
            memory.keep(&path, name, &fate);
            if let Some((version, sha256)) = read {
                memory.keep_hash(&path, version, sha256);
            }
        }
        if let Some(error) = away {
            return Err(error);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The sources whose results have a place of their own; the others have their fate.
fn with_room(found: Vec<Result<Found, (PathBuf, String)>>, outcomes: &mut Vec<Outcome>) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    let (mut taken, mut folders) = (HashMap::new(), HashSet::new());
    // Nothing is put where a source lies, whatever is said, and no folder is replaced in which one does.
    for path in found.iter().flatten().map(|found| &found.path) {
        taken.insert(path.clone(), path.clone());
        folders.extend(path.ancestors().skip(1).map(Path::to_owned));
    }
    let mut fails = |path, reason| outcomes.push(Outcome { path, fate: Fate::Failed { reason } });
    for file in found {
        let path = match file {
            Ok(found) => found.path,
            Err((path, reason)) => {
                fails(path, reason);
                continue;
            }
        };
        let place = Place::beside(&path);
        if folders.contains(place.assets()) {
            let reason =
                format!("its pictures would lie in {}, where other files are", place.assets().display());
            fails(path, reason);
            continue;
        }
        match taken.entry(place.markdown().to_owned()) {
            Entry::Occupied(other) => {
                let reason = format!("its result would lie where that of {} lies", other.get().display());
                fails(path, reason);
            }
            Entry::Vacant(free) => {
                free.insert(path.clone());
                sources.push(path);
            }
        }
    }
    sources
}

/// Whether nobody answers any more, after something went wrong or did not.
async fn is_away(outage: &mut Option<(Outage, u64)>, error: Option<&CliError>) -> bool {
    let Some((outage, requests)) = outage else { return false };
    *requests += 1;
    let answer =
        if error.is_some_and(CliError::is_away) { Answer::Missing(*requests) } else { Answer::Given };
    outage.is_seen_after(answer).await
}

/// The hash of a source, which may be known, and what the source was then.
async fn hash(path: PathBuf, known: Option<Sha256>) -> Result<(Version, Sha256), String> {
    let version = Version::of(&path);
    if let Some(known) = known {
        return Ok((version, known));
    }
    let taken = tokio::task::spawn_blocking(move || fingerprint::take(&path, &|_| {})).await;
    match taken {
        Ok(Ok(fingerprint)) => Ok((version, fingerprint.content.sha256)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("it could not be read: {error}")),
    }
}
