//! `blobforge status`: what became of files, by their hashes.

use std::process::ExitCode;

use blobforge_core::HashBeginning;
use blobforge_worker_sdk::client::JobView;

use clap_complete::ArgValueCompleter;

use super::{
    CliError, Connection, candidates,
    jobs::{JobRef, columns, row},
    listing::{ListStyle, Listing},
    terminal::{Column, complain},
};

/// How many digits of a hash people are shown.
const DIGITS_SHOWN: usize = 12;

/// What `blobforge status` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  blobforge status 9f86d081884c
  sha256sum *.pdf | cut -c1-64 | xargs blobforge status")]
pub(super) struct StatusArgs {
    /// SHA-256s of files, or how they begin; numbers of jobs will do.
    #[arg(required = true, value_name = "HASH", add = ArgValueCompleter::new(candidates::jobs))]
    files: Vec<JobRef>,
    /// Only jobs of this type.
    #[arg(long = "type", value_name = "TYPE")]
    job_type: Option<String>,
    #[command(flatten)]
    style: ListStyle,
    #[command(flatten)]
    connection: Connection,
}

/// Shows the jobs of files.
///
/// # Errors
/// When the service refuses or stays away.
pub(super) async fn run(args: StatusArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let hashes: Vec<HashBeginning> = args.files.iter().filter_map(|file| file.source()).collect();
    let mut known = client.look_up(&hashes, args.job_type.as_deref()).await?.into_iter();
    let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for file in &args.files {
        let jobs = match file {
            JobRef::Id(id) => vec![client.job(*id).await?],
            JobRef::Source(_) => known.next().unwrap_or_default(),
        };
        if jobs.is_empty() {
            complain(format!("{file} is not known: hand it in with: blobforge submit FILE"));
            code = ExitCode::FAILURE;
        }
        found.extend(jobs);
    }
    if found.is_empty() {
        return Ok(code);
    }
    let with_hash: Vec<Column> = std::iter::once(Column::Text("sha256")).chain(columns()).collect();
    let listing = Listing {
        columns: &with_hash,
        name: &|job: &JobView| job.id.to_string(),
        row: &|job| std::iter::once(short(job)).chain(row(job)).collect(),
        nothing: "",
    };
    args.style.print(&found, &listing)?;
    Ok(code)
}

fn short(job: &JobView) -> String {
    job.source_hash.map_or(String::new(), |hash| hash.to_string()[..DIGITS_SHOWN].to_owned())
}
