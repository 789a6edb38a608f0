//! `blobforge export`: all jobs and files, in a folder that anything can read.

use std::{path::PathBuf, process::ExitCode};

use super::{
    CliError,
    terminal::{Bars, Column, say, size, table},
};
use crate::{
    config::{ServeArgs, ServeConfig},
    service::export,
};

/// How many files that are missing are shown.
const SHOWN: usize = 50;

/// What `blobforge export` takes, beside the settings of the service.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Run it on the machine of the service, while that runs or not. The folder gets jobs.jsonl, with one job in each line, and files,
each under its SHA-256. Run again, it writes what is new and keeps the files that are there. `blobforge import` takes it.

Example:
  blobforge export /backup/forge")]
pub(super) struct ExportArgs {
    /// Folder to write: a new or empty one, or an earlier export of the same installation.
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(super) async fn run(args: ExportArgs) -> Result<ExitCode, CliError> {
    let config = ServeConfig::new(args.serve)?;
    let bars = Bars::new();
    let bar = bars.add("jobs", "jobs");
    let heard = |all: u64| if all > 0 { bar.set_length(all) } else { bar.inc(1) };
    let exported = export(&config, &args.to, &heard).await;
    bar.finish_and_clear();
    let exported = exported?;
    let code = if exported.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        say(serde_json::to_string_pretty(&exported)?)?;
        return Ok(code);
    }
    if !exported.failed.is_empty() {
        let rows = exported.failed.iter().take(SHOWN).map(|(name, why)| vec![name.clone(), why.clone()]);
        say(table(&[Column::Text("not in the export"), Column::Text("why")], rows.collect()))?;
    }
    let (jobs, files, there, failed) = (exported.jobs, exported.files, exported.there, exported.failed.len());
    let bytes = size(exported.bytes);
    say(format!(
        "{jobs} jobs exported, {files} files ({bytes}) written, {there} there already, {failed} failed"
    ))?;
    Ok(code)
}
