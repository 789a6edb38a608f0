//! `blobforge backup`: copies of the database, and bringing one back.

use std::{path::PathBuf, process::ExitCode};

use super::{
    CliError,
    terminal::{say, size},
};
use crate::{
    backup::{Litestream, Restoring, SnapshotPlace, restore, take_snapshot, verify},
    config::{ServeArgs, ServeConfig},
    service::open_beside,
};

/// What `blobforge backup` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum BackupCommand {
    /// Print the configuration with which Litestream copies the database; no key is in it.
    Config(Box<ConfigArgs>),
    /// Bring the database back where there is none: from Litestream's copy, or from a snapshot.
    Restore(Box<RestoreArgs>),
    /// Restore the copy to a file of its own, look through it, and compare it with the database.
    ///
    /// Where there is a database a sign is written into it first, and has to come back: this takes as long as copying does. A
    /// service with --replicate does so by itself every BLOBFORGE_BACKUP_VERIFY hours.
    Verify(Box<VerifyArgs>),
    /// Copy the database as it is now, while others use it.
    Snapshot(Box<SnapshotArgs>),
}

/// What `blobforge backup config` takes: the settings of the service.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    serve: ServeArgs,
}

/// What `blobforge backup restore` takes, beside the settings of the service.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Stop the service first. What comes back is looked through before it is put in its place, and an existing database is never
replaced. The service that is started next notices that it was restored: older leases and URLs count for nothing, what ran
waits again, ids go on far behind, and for 7 days no file is deleted.

Examples:
  blobforge backup restore                                       the newest state
  blobforge backup restore --timestamp 2026-03-01T12:00:00Z      as it was then
  blobforge backup restore --from snapshot.db                    a snapshot
  blobforge backup restore --from-bucket                         the newest snapshot in the bucket")]
pub(super) struct RestoreArgs {
    /// The state of this time, in RFC 3339, as far back as copies are kept.
    #[arg(long, value_name = "TIME", value_parser = time)]
    timestamp: Option<String>,
    /// A snapshot in a file; its hash is compared if it lies beside it.
    #[arg(long, value_name = "FILE", conflicts_with = "timestamp")]
    from: Option<PathBuf>,
    /// The snapshot of this name in the bucket, or the newest.
    #[arg(long, value_name = "NAME", num_args = 0..=1, conflicts_with_all = ["timestamp", "from"])]
    from_bucket: Option<Option<String>>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What `blobforge backup verify` takes, beside the settings of the service.
#[derive(Debug, clap::Args)]
pub(super) struct VerifyArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What `blobforge backup snapshot` takes, beside the settings of the service.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Beside each snapshot lies its SHA-256, as `sha256sum --check` reads it. Without --to or --to-bucket it goes to the folder
`snapshots` beside the database.")]
pub(super) struct SnapshotArgs {
    /// Put it into this file, which must not be there.
    #[arg(long, value_name = "FILE", conflicts_with = "to_bucket")]
    to: Option<PathBuf>,
    /// Put it into the bucket that has the files.
    #[arg(long)]
    to_bucket: bool,
    /// Keep so many of those in the folder or the bucket, and delete older ones.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    keep: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: ServeArgs,
}

fn time(text: &str) -> Result<String, String> {
    text.parse::<blobforge_core::Timestamp>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) async fn run(command: BackupCommand) -> Result<ExitCode, CliError> {
    match command {
        BackupCommand::Config(args) => {
            let config = ServeConfig::new(args.serve)?;
            say(Litestream::unstarted(&config)?.configuration(None).trim_end())?;
        }
        BackupCommand::Restore(args) => bring_back(*args).await?,
        BackupCommand::Verify(args) => try_out(*args).await?,
        BackupCommand::Snapshot(args) => snapshot(*args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn bring_back(args: RestoreArgs) -> Result<(), CliError> {
    let config = ServeConfig::new(args.serve)?;
    let source = match (args.from, args.from_bucket) {
        (Some(file), _) => Restoring::File(file),
        (None, Some(name)) => Restoring::Bucket(name),
        (None, None) => Restoring::Replica(args.timestamp),
    };
    let brought = restore(&config, &source).await?;
    if args.json {
        say(serde_json::to_string(&brought)?)?;
    } else {
        let path = config.db_path.display();
        say(format!("{path}: {} jobs came back from {}", brought.jobs, brought.from))?;
    }
    Ok(())
}

async fn try_out(args: VerifyArgs) -> Result<(), CliError> {
    let config = ServeConfig::new(args.serve)?;
    let queue = if config.db_path.is_file() { Some(open_beside(&config).await?) } else { None };
    let trial = verify(&config, queue.as_ref()).await;
    if let Some(queue) = queue {
        queue.close().await;
    }
    let trial = trial?;
    if args.json {
        say(serde_json::to_string(&trial)?)?;
        return Ok(());
    }
    let compared = match trial.came_back_after {
        Some(seconds) => format!("what was written last came back after {seconds} s"),
        None => "there is no database here to compare it with".to_owned(),
    };
    say(format!("{} can be restored, with {} jobs; {compared}", trial.replica, trial.jobs))?;
    Ok(())
}

async fn snapshot(args: SnapshotArgs) -> Result<(), CliError> {
    let config = ServeConfig::new(args.serve)?;
    let place = match args.to {
        Some(file) => SnapshotPlace::File(file),
        None if args.to_bucket => SnapshotPlace::Bucket,
        None => SnapshotPlace::Folder,
    };
    let taken = take_snapshot(&config, &place, usize::from(args.keep)).await?;
    if args.json {
        say(serde_json::to_string(&taken)?)?;
        return Ok(());
    }
    let older =
        if taken.deleted > 0 { format!(", {} older ones deleted", taken.deleted) } else { String::new() };
    say(format!(
        "{}: {} jobs, {}, SHA-256 {}{older}",
        taken.at,
        taken.jobs,
        size(taken.bytes),
        taken.sha256
    ))?;
    Ok(())
}
