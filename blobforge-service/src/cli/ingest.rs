//! `blobforge ingest`: hands in everything that lies in folders.

use std::{collections::HashMap, path::PathBuf, process::ExitCode, time::Duration};

use super::{
    CliError, Connection,
    intake::{self, Fate, How, Outcome, Seen, Summary},
    listing::ListStyle,
    submit::JobArgs,
    walk::Wanted,
};

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

/// Hands in all files, once or for ever.
///
/// # Errors
/// When there is no way to the service at all.
pub(super) async fn run(args: IngestArgs) -> Result<ExitCode, CliError> {
    let how = How {
        client: args.connection.client()?,
        job: &args.job,
        path_tags: !args.no_path_tags,
        dry_run: args.dry_run,
    };
    let wanted = Wanted {
        untouched_for: if args.watch { SETTLED_AFTER } else { Duration::ZERO },
        ..Wanted::of(args.job.job_type(), &args.ext)
    };
    let (mut seen, mut told) = (Seen::new(), Told::default());
    loop {
        let mut summary = Summary::default();
        let count = |outcome| match told.is_news(&outcome) {
            true => summary.add(outcome, args.style),
            false => Ok(()),
        };
        if !intake::take(how.clone(), &args.paths, &wanted, &mut seen, count).await? {
            summary.breaks_off();
        }
        if !args.watch || summary.files() > 0 {
            summary.print(args.style, args.dry_run)?;
        }
        if !args.watch {
            return Ok(summary.code());
        }
        tokio::time::sleep(Duration::from_secs(args.every)).await;
    }
}

/// Which failures were told: whoever watches hears of each once, however often it is tried.
#[derive(Default)]
struct Told(HashMap<PathBuf, String>);

impl Told {
    fn is_news(&mut self, outcome: &Outcome) -> bool {
        match &outcome.fate {
            Fate::Failed { reason } => {
                self.0.insert(outcome.path.clone(), reason.clone()).as_ref() != Some(reason)
            }
            _ => {
                self.0.remove(&outcome.path);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_watches_hears_of_a_failure_once() {
        let mut told = Told::default();
        let mut is_news = |path: &str, reason| told.is_news(&Outcome::failed(path.into(), reason));
        assert!(is_news("a.pdf", "one") && is_news("b.pdf", "one"));
        assert!(!is_news("a.pdf", "one"), "that was said");
        assert!(is_news("a.pdf", "other"));
    }
}
