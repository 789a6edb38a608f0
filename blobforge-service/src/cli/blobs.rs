//! `blobforge blobs`: where files are kept.

use std::process::ExitCode;

use super::{
    CliError,
    terminal::{Bars, Column, say, size, table},
};
use crate::{
    config::{ServeArgs, ServeConfig},
    service::{Home, copy_files},
};

/// How many files that could not be copied are shown.
const SHOWN: usize = 20;

/// What `blobforge blobs` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum BlobsCommand {
    /// Copy every file that a job may still need to another store, and check each by its hash.
    ///
    /// Run it while the service runs, then stop the service, run it once more for what is new, and start the service with
    /// the other store. An interrupted run goes on where it was. Nothing is deleted.
    Copy(Box<CopyArgs>),
}

/// What `blobforge blobs copy` takes, beside the settings of the service.
#[derive(Debug, clap::Args)]
pub(super) struct CopyArgs {
    /// Where the files lie.
    #[arg(long, value_enum)]
    from: Home,
    /// Where they are to lie.
    #[arg(long, value_enum)]
    to: Home,
    /// Only count.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

pub(super) async fn run(command: BlobsCommand) -> Result<ExitCode, CliError> {
    let BlobsCommand::Copy(args) = command;
    let config = ServeConfig::new(args.serve)?;
    let bars = Bars::new();
    let bar = bars.add("files", "files");
    let heard = || bar.inc(1);
    let copied = copy_files(&config, args.from, args.to, args.dry_run, &heard).await;
    bar.finish_and_clear();
    let copied = copied?;
    if !copied.failed.is_empty() {
        let rows =
            copied.failed.iter().take(SHOWN).map(|(key, why)| vec![key.clone(), why.clone()]).collect();
        say(table(&[Column::Text("not copied"), Column::Text("why")], rows))?;
    }
    let done = if args.dry_run { "to copy" } else { "copied and checked" };
    let (files, bytes, there, failed) = (copied.files, size(copied.bytes), copied.there, copied.failed.len());
    say(format!("{files} files ({bytes}) {done}, {there} there already, {failed} failed"))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
