//! Trying whether the copy can be restored, and whether it is what it should be.

use std::{ffi::OsStr, ops::RangeInclusive, path::Path, sync::Arc, time::Duration};

use blobforge_core::{
    Clock, Queue, QueueError,
    storage::{Command, JobFilter, sqlite::record_in},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    BackupError, Litestream,
    restoring::looked_through,
    standing::{last_verified, note_verified},
};
use crate::{config::ServeConfig, service::Shared};

/// Where the sign lies by which a copy is told to be a recent one.
const COLLECTION: &str = "backup";
const SIGN: &str = "sign";
/// How the folders begin in which copies are restored to be looked through.
const SCRATCH: &str = "verifying-";
/// For how many times of copying the sign is waited for, and how long at least.
const TIMES: u32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after its start a service tries for the first time, and how long it waits at least between two trials.
const FIRST_TRIAL: Duration = Duration::from_secs(10 * 60);

/// What to do about a copy that is not good.
const REMEDY: &str = "Make a whole copy at once, with `blobforge backup snapshot`; then see in the log of the service why this one \
                      is not good. Under another BLOBFORGE_LITESTREAM_PATH a new one is begun";

/// What a trial found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Trial {
    /// Where the copy lies.
    pub(crate) replica: String,
    /// How many jobs are in it.
    pub(crate) jobs: u64,
    /// How many seconds it took until what was written last had come back; `None` where there is no database to compare with.
    pub(crate) came_back_after: Option<u64>,
}

/// Restores the copy to a file of its own and looks through it. Where there is a queue, a sign is written first, which has to
/// come back, and the jobs are compared. What is found is noted beside the database.
///
/// # Errors
/// When the copy is not good, or it cannot be told.
pub(crate) async fn verify(config: &ServeConfig, queue: Option<&Queue>) -> Result<Trial, BackupError> {
    let clock = config.clock();
    let found = try_out(config, queue, &*clock).await;
    let noted = match &found {
        Ok(trial) => note_verified(&config.db_path, clock.now(), Ok(trial.jobs)),
        Err(error) => note_verified(&config.db_path, clock.now(), Err(error.to_string())),
    };
    if let Err(error) = noted {
        tracing::warn!(%error, "what was found out about the copy could not be noted beside the database");
    }
    found
}

async fn try_out(
    config: &ServeConfig,
    queue: Option<&Queue>,
    clock: &dyn Clock,
) -> Result<Trial, BackupError> {
    let litestream = Litestream::new(config)?;
    let Some(queue) = queue else {
        let jobs = restored(config, &litestream, None).await?.jobs;
        return Ok(Trial { replica: litestream.replica(), jobs, came_back_after: None });
    };
    let before = Tally::before(queue, &litestream).await?;
    let sign = json!(drawn().map_err(BackupError::file(Path::new("/dev/urandom")))?);
    let put =
        Command::PutRecord { collection: COLLECTION.to_owned(), key: SIGN.to_owned(), value: sign.clone() };
    queue.run(put).await.map_err(|error| unusable(&litestream, error.to_string()))?;
    let began = clock.uptime();
    let patience = (config.backup.sync * TIMES).max(PATIENCE);
    loop {
        // Then it can be there for the first time.
        clock.sleep(config.backup.sync).await;
        let there = restored(config, &litestream, Some(&sign)).await?;
        let waited = clock.uptime().saturating_sub(began);
        let wrong = if there.has_sign {
            let possible = before.until(&Tally::then(queue, &litestream).await?);
            if possible.contains(&there.jobs) {
                let (replica, jobs) = (litestream.replica(), there.jobs);
                return Ok(Trial { replica, jobs, came_back_after: Some(waited.as_secs()) });
            }
            // One that came and was deleted meanwhile is in neither count: a later copy agrees, if it is good.
            let expected = match possible.into_inner() {
                (least, most) if least == most => most.to_string(),
                (least, most) => format!("{least} to {most}"),
            };
            format!("it has {} jobs where the database has {expected}", there.jobs)
        } else {
            format!(
                "what was written {} s ago is not in it; look whether the service runs with --replicate, and at its log",
                waited.as_secs()
            )
        };
        if waited > patience {
            return Err(unusable(&litestream, wrong));
        }
    }
}

/// Verifies the copy whenever that is due, for as long as the service runs.
pub(crate) async fn verify_again_and_again(shared: Arc<Shared>) {
    let (config, clock) = (&shared.config, shared.config.clock());
    let Some(every) = config.backup.verify else { return };
    clear_unfinished(&config.data_folder());
    loop {
        let last = last_verified(&config.db_path);
        let last = last.succeeded_at.max(last.failed_at);
        let wait =
            last.map_or(FIRST_TRIAL, |last| every.saturating_sub(clock.now().since(last)).max(FIRST_TRIAL));
        clock.sleep(wait).await;
        match verify(config, Some(&shared.queue)).await {
            Ok(trial) => tracing::info!("{} can be restored, with {} jobs", trial.replica, trial.jobs),
            Err(error) => tracing::error!(%error, "the copy of the database is not good"),
        }
    }
}

/// Deletes what trials left behind that were killed, which may be as large as the database.
fn clear_unfinished(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().filter(|entry| is_scratch(&entry.file_name())).map(|entry| entry.path()) {
        if let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::warn!(%error, "{} cannot be deleted", path.display());
        }
    }
}

fn is_scratch(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(SCRATCH))
}

/// A copy that was restored to be looked through.
struct There {
    jobs: u64,
    has_sign: bool,
}

async fn restored(
    config: &ServeConfig,
    litestream: &Litestream,
    sign: Option<&Value>,
) -> Result<There, BackupError> {
    let folder = config.data_folder();
    // On the disk of the database, which has room for one more of it or is too small.
    let scratch =
        tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&folder).map_err(BackupError::file(&folder))?;
    let file = scratch.path().join("restored.db");
    if !litestream.restore(&file, None).await? {
        return Err(BackupError::None(format!("there is no copy at {}", litestream.replica())));
    }
    let brought = looked_through(&file, litestream.replica(), REMEDY).await?;
    let found =
        record_in(&file, COLLECTION, SIGN).map_err(|error| unusable(litestream, error.to_string()))?;
    Ok(There { jobs: brought.jobs, has_sign: sign.is_some_and(|sign| found.as_ref() == Some(sign)) })
}

/// How many jobs there are at one time, and the last of them.
struct Tally {
    jobs: u64,
    newest: i64,
}

impl Tally {
    /// The newest is asked for first, so that what comes in between counts as what comes later.
    async fn before(queue: &Queue, litestream: &Litestream) -> Result<Self, BackupError> {
        let newest = newest(queue, litestream).await?;
        Ok(Self { newest, jobs: total(queue, litestream).await? })
    }

    /// The newest is asked for last, for the same reason.
    async fn then(queue: &Queue, litestream: &Litestream) -> Result<Self, BackupError> {
        let jobs = total(queue, litestream).await?;
        Ok(Self { jobs, newest: newest(queue, litestream).await? })
    }

    /// How many jobs there can have been at any time until then: while jobs come, others are deleted.
    fn until(&self, then: &Self) -> RangeInclusive<u64> {
        let come = u64::try_from(then.newest - self.newest).unwrap_or(0);
        let gone = (self.jobs + come).saturating_sub(then.jobs);
        self.jobs.saturating_sub(gone)..=self.jobs + come
    }
}

async fn total(queue: &Queue, litestream: &Litestream) -> Result<u64, BackupError> {
    let failed = |error: QueueError| unusable(litestream, error.to_string());
    Ok(queue.counts().await.map_err(failed)?.total())
}

async fn newest(queue: &Queue, litestream: &Litestream) -> Result<i64, BackupError> {
    let failed = |error: QueueError| unusable(litestream, error.to_string());
    let page = queue.list(&JobFilter::all(1)).await.map_err(failed)?;
    Ok(page.items.first().map_or(0, |job| job.id.get()))
}

fn unusable(litestream: &Litestream, why: String) -> BackupError {
    BackupError::Unusable { at: litestream.replica(), why, remedy: REMEDY }
}

fn drawn() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_may_have_as_many_jobs_as_there_were_at_any_time_meanwhile() {
        let tally = |jobs, newest| Tally { jobs, newest };
        let between = |before: Tally, then: Tally| before.until(&then);
        assert_eq!(between(tally(5, 10), tally(5, 10)), 5..=5, "nothing happened");
        assert_eq!(between(tally(5, 10), tally(8, 13)), 5..=8, "some came");
        assert_eq!(between(tally(5, 10), tally(2, 10)), 2..=5, "some were deleted");
        assert_eq!(between(tally(5, 10), tally(5, 13)), 2..=8, "as many came as were deleted");
        assert_eq!(between(tally(3, 10), tally(0, 0)), 0..=3, "all were deleted");
        assert_eq!(between(tally(0, 0), tally(0, 0)), 0..=0, "there never was one");
    }
}
