//! `blobforge import`: moving in from another installation.

use std::{path::PathBuf, process::ExitCode};

use blobforge_core::JobType;
use blobforge_worker_sdk::marker;

use super::{
    CliError, job_type,
    terminal::{Bars, Column, say, table},
};
use crate::{
    config::{ServeArgs, ServeConfig},
    service::{ImportWish, import},
};

/// How many jobs that did not come over are shown.
const SHOWN: usize = 50;

/// What `blobforge import` takes, beside the settings of the service.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Run it on the machine of the service. What was done stays done, with its results and times; what was to be done waits; what
failed for good is kept as such. The other installation is only read. A second run takes what is new.

Examples:
  blobforge import /backup/forge                                    what blobforge export has written
  blobforge import /old --dry-run                                   counts
  blobforge import /old/backups/coordinator/2025-06-01.json         files in /old/store
  blobforge import backup.json --bucket-prefix forge                files in the bucket of BLOBFORGE_S3_…
  blobforge import --bucket-prefix forge                            what lies there, where nothing else is left
  blobforge import /old/blobforge.db --files /old                   the database that was written in Go")]
pub(super) struct ImportArgs {
    /// An export; or of an earlier BlobForge a folder with store/raw and store/out, the backup of a coordinator (JSON), or
    /// the database.
    #[arg(required_unless_present = "bucket_prefix")]
    from: Option<PathBuf>,
    /// Folder that the files lie in, if not where they are expected.
    #[arg(long, value_name = "DIR", conflicts_with = "bucket_prefix")]
    files: Option<PathBuf>,
    /// The files lie in the bucket that the settings name, and their keys begin so; empty for nothing before `store/`.
    #[arg(long, value_name = "PREFIX")]
    bucket_prefix: Option<String>,
    /// What kind of work all of it is to be here; unless said, what it was there, or pdf where that is not known.
    #[arg(long = "type", value_name = "TYPE", value_parser = job_type)]
    job_type: Option<JobType>,
    /// Only count: files are looked for, and not read.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(super) async fn run(args: ImportArgs) -> Result<ExitCode, CliError> {
    let config = ServeConfig::new(args.serve)?;
    let wish = ImportWish {
        from: args.from,
        files: args.files,
        bucket_prefix: args.bucket_prefix,
        job_type: args.job_type,
        usual_type: JobType::new(marker::JOB_TYPE)?,
        dry_run: args.dry_run,
    };
    let bars = Bars::new();
    let bar = bars.add("jobs", "jobs");
    let heard = |all: u64| if all > 0 { bar.set_length(all) } else { bar.inc(1) };
    let imported = import(&config, &wish, &heard).await;
    bar.finish_and_clear();
    let imported = imported?;
    let code = if imported.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        say(serde_json::to_string_pretty(&imported)?)?;
        return Ok(code);
    }
    let counts = [
        ("done", imported.done),
        ("to do", imported.to_do),
        ("failed for good", imported.dead),
        ("cancelled", imported.cancelled),
    ];
    let rows = counts.into_iter().map(|(name, count)| vec![name.to_owned(), count.to_string()]).collect();
    say(table(&[Column::Text(""), Column::Number("jobs")], rows))?;
    for (what, which) in [("not taken over", &imported.failed), ("taken without its file", &imported.damaged)]
    {
        if !which.is_empty() {
            let rows = which.iter().take(SHOWN).map(|one| vec![one.name.clone(), one.why.clone()]);
            say(table(&[Column::Text(what), Column::Text("why")], rows.collect()))?;
        }
    }
    if imported.without_source > 0 {
        let what = "came without their file: blobforge ingest sends it, should it be needed";
        say(format!("note: {} {what}", imported.without_source))?;
    }
    let taken = if args.dry_run { "to take over" } else { "taken over" };
    let (jobs, existing, failed) = (imported.jobs(), imported.existing, imported.failed.len());
    say(format!("{jobs} {taken}, {existing} here already, {failed} failed"))?;
    Ok(code)
}
