//! This machine.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use blobforge_core::storage::sqlite::{CheckedFile, check_file, check_pages};
use blobforge_worker_sdk::{child::network_can_be_cut, graphics_cards};
use walkdir::WalkDir;

use super::Finding;
use crate::{
    backup::{Verified, last_verified},
    cli::{
        free_bytes,
        terminal::{size, span},
    },
    config::ServeConfig,
};

/// With less room than that, in bytes, nothing can be taken in soon.
const LITTLE_ROOM: u64 = 2 << 30;
/// With less than that it cannot now.
const NO_ROOM: u64 = 100 << 20;
/// Up to which size a database is read through, in bytes: it takes seconds, for which its log cannot be begun anew.
const READ_THROUGH: u64 = 4 << 30;
/// How far a backup may be behind.
const LAG: Duration = Duration::from_secs(5 * 60);
/// How many files of a backup are looked at for the newest.
const FILES_LOOKED_AT: usize = 100_000;

/// What lies where the service keeps its data, if it keeps any here.
pub(super) fn look_at_data(config: &ServeConfig) -> Vec<Finding> {
    if !config.db_path.exists() {
        let found = format!("none at {}: this is not the machine of a service", config.db_path.display());
        return vec![Finding::ok("database", found)];
    }
    let mut found = vec![
        database(&config.db_path),
        room("disk of the data", &config.data_folder()),
        backup(&config.db_path),
    ];
    if config.backup.replicate {
        found.push(trial(&last_verified(&config.db_path)));
    }
    found
}

/// What workers find here, who may want a card.
pub(super) async fn look(wants_gpu: bool) -> Vec<Finding> {
    let cards = tokio::task::spawn_blocking(graphics_cards).await.unwrap_or_default();
    let gpu = match cards.first() {
        Some(first) => Finding::ok("GPU", format!("{} found, {}", cards.len(), first.name)),
        None if wants_gpu => Finding::fail(
            "GPU",
            "BLOBFORGE_USE_GPU is set, and nvidia-smi finds none",
            "Install the driver, or unset it",
        ),
        None => Finding::ok("GPU", "none, and none is asked for"),
    };
    let network = if network_can_be_cut() {
        Finding::ok("worker", "programs can be cut off the network with --no-network")
    } else {
        Finding::warn(
            "worker",
            "programs cannot be cut off the network here",
            "Allow user namespaces if you want --no-network",
        )
    };
    vec![gpu, network, room("disk of work", &std::env::temp_dir())]
}

fn database(path: &Path) -> Finding {
    match check_file(path) {
        Ok(CheckedFile { schema, jobs }) if path.metadata().is_ok_and(|file| file.len() > READ_THROUGH) => {
            let found = format!(
                "{} is too large to be read through here; jobs: {jobs}, schema: {schema}",
                path.display()
            );
            Finding::ok("database", found)
        }
        Ok(CheckedFile { schema, jobs }) => match check_pages(path) {
            Ok(()) => Finding::ok(
                "database",
                format!("{} is whole; jobs: {jobs}, schema: {schema}", path.display()),
            ),
            Err(error) => {
                let remedy =
                    "Stop the service, keep the file, and bring a copy back: blobforge backup restore --help";
                Finding::fail("database", error.to_string(), remedy)
            }
        },
        Err(error) => Finding::fail(
            "database",
            error.to_string(),
            "Put BLOBFORGE_DB_PATH right, or bring a copy back: blobforge backup restore --help",
        ),
    }
}

fn room(what: &'static str, folder: &Path) -> Finding {
    let Some(free) = free_bytes(folder) else {
        return Finding::warn(what, format!("{} cannot be looked at", folder.display()), "Make it");
    };
    let found = format!("{} free at {}", size(free), folder.display());
    match free {
        0..NO_ROOM => Finding::fail(what, found, "Make room"),
        NO_ROOM..LITTLE_ROOM => Finding::warn(what, found, "Make room soon"),
        _ => Finding::ok(what, found),
    }
}

/// How far Litestream is behind, by what it leaves beside the database.
fn backup(database: &Path) -> Finding {
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    let folder = database.with_file_name(format!(".{name}-litestream"));
    if !folder.is_dir() {
        let found = "no copy of the database is seen to be made";
        return Finding::warn(
            "backup",
            found,
            "Start the service with --replicate, or take snapshots: blobforge backup snapshot",
        );
    }
    let log = PathBuf::from(format!("{}-wal", database.display()));
    let changed = modified(&log).max(modified(database));
    let files = WalkDir::new(&folder).into_iter().take(FILES_LOOKED_AT).filter_map(Result::ok);
    let copied = files.filter_map(|file| modified(file.path())).max();
    let behind = match (changed, copied) {
        (Some(changed), Some(copied)) => changed.duration_since(copied).unwrap_or_default(),
        _ => Duration::ZERO,
    };
    let found = format!("Litestream is {} behind", span(behind));
    if behind > LAG {
        return Finding::warn("backup", found, "Look whether it runs, and at its log");
    }
    Finding::ok("backup", found)
}

/// Whether the copy could be restored when that was last tried.
fn trial(verified: &Verified) -> Finding {
    const WHAT: &str = "restore on trial";
    match (verified.succeeded_at, verified.failed_at) {
        (Some(good), failed) if failed.is_none_or(|failed| failed < good) => {
            let jobs = verified.jobs.unwrap_or_default();
            Finding::ok(WHAT, format!("the copy could be restored at {good}, with {jobs} jobs"))
        }
        (_, Some(failed)) => {
            let why = verified.why.clone().unwrap_or_default();
            let remedy = "Take a snapshot now: blobforge backup snapshot; then look at the bucket";
            Finding::fail(WHAT, format!("the copy could not be restored at {failed}: {why}"), remedy)
        }
        _ => Finding::warn(
            WHAT,
            "nobody has tried whether the copy can be restored",
            "Try: blobforge backup verify",
        ),
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|found| found.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn a_database_of_somebody_else_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blobforge.db");
        std::fs::write(&path, "no database").unwrap();
        assert_eq!(database(&path).state, State::Fail);
        assert!(database(&path).found.contains("is not an SQLite database"));
    }

    #[test]
    fn a_backup_that_stays_behind_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blobforge.db");
        std::fs::write(&path, "").unwrap();
        assert_eq!(backup(&path).state, State::Warn, "there is none");
        std::fs::create_dir(folder.path().join(".blobforge.db-litestream")).unwrap();
        assert_eq!(backup(&path).state, State::Ok);
        let later = SystemTime::now() + Duration::from_secs(3600);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(backup(&path).state, State::Warn, "it is an hour behind");
    }

    #[test]
    fn a_copy_that_could_not_be_restored_fails() {
        let at = |text: &str| Some(text.parse().unwrap());
        let (noon, later) = (at("2026-03-01T12:00:00Z"), at("2026-03-02T12:00:00Z"));
        let tried = |succeeded_at, failed_at| {
            trial(&Verified { succeeded_at, failed_at, jobs: Some(7), why: Some("it is damaged".to_owned()) })
        };
        assert_eq!(tried(None, None).state, State::Warn);
        assert_eq!((tried(noon, None).state, tried(later, noon).state), (State::Ok, State::Ok));
        let failed = tried(noon, later);
        assert_eq!(failed.state, State::Fail);
        assert!(failed.found.contains("it is damaged"), "{failed:?}");
    }
}
