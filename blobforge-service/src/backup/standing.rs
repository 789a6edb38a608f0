//! How the copy stands: how far it is behind, and when it was last seen to be good.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use blobforge_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::litestream::read_line;
use crate::{config::BackupOptions, words};

/// With how many missed copies, and after what time at least, something is wrong.
const MISSED: u32 = 6;
const BEHIND: Duration = Duration::from_secs(60);

/// What is known of the copy that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copying {
    /// Whether Litestream runs.
    pub(crate) runs: bool,
    /// Up to when everything is copied; `None` before the first time.
    pub(crate) copied_at: Option<Timestamp>,
    /// Since when it is to be copied.
    pub(crate) since: Timestamp,
    /// How many errors it told of.
    pub(crate) errors: u64,
    /// The last of them.
    pub(crate) last_error: Option<String>,
    /// How often it had to be started again.
    pub(crate) restarts: u64,
}

/// See [the module](self).
#[derive(Debug)]
pub(crate) struct Standing {
    copying: Mutex<Copying>,
    /// How far the copy may be behind.
    limit: Duration,
    verified: PathBuf,
}

impl Standing {
    pub(crate) fn new(options: &BackupOptions, database: &Path, now: Timestamp) -> Self {
        let copying =
            Copying { runs: false, copied_at: None, since: now, errors: 0, last_error: None, restarts: 0 };
        let limit = (options.sync * MISSED).max(BEHIND);
        Self { copying: Mutex::new(copying), limit, verified: verified_beside(database) }
    }

    fn copying(&self) -> MutexGuard<'_, Copying> {
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Copying {
        self.copying().clone()
    }

    /// What was last found out about whether the copy can be restored.
    pub(crate) fn verified(&self) -> Verified {
        read(&self.verified)
    }

    /// For how long what is written has not been copied: as much is lost with the disk.
    pub(crate) fn lag(&self, now: Timestamp) -> Duration {
        let copying = self.copying();
        now.since(copying.copied_at.unwrap_or(copying.since))
    }

    /// What is wrong with the copy, if something is.
    pub(crate) fn trouble(&self, now: Timestamp) -> Option<String> {
        let lag = self.lag(now);
        if lag > self.limit {
            return Some(format!("the copy of the database is {} behind", words::about(lag)));
        }
        let verified = self.verified();
        let failed =
            verified.failed_at.filter(|failed| verified.succeeded_at.is_none_or(|good| good < *failed));
        failed.map(|_| "the copy of the database could not be restored when that was last tried".to_owned())
    }

    pub(super) fn begun(&self) {
        self.copying().runs = true;
    }

    pub(super) fn ended(&self, why: &str) {
        let mut copying = self.copying();
        (copying.runs, copying.restarts) = (false, copying.restarts + 1);
        copying.errors += 1;
        copying.last_error = Some(why.to_owned());
    }

    pub(super) fn copied(&self, at: Timestamp) {
        self.copying().copied_at = Some(at);
    }

    /// Takes a line of Litestream's log into ours.
    pub(super) fn heard(&self, line: &str) {
        match read_line(line) {
            Some(line) if line.is_error => {
                tracing::warn!("litestream: {}", line.text);
                let mut copying = self.copying();
                copying.errors += 1;
                copying.last_error = Some(line.text);
            }
            Some(line) => tracing::debug!("litestream: {}", line.text),
            None => tracing::debug!("litestream: {line}"),
        }
    }
}

/// What came of trying whether a copy can be restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verified {
    /// When it was last restored and found good.
    pub(crate) succeeded_at: Option<Timestamp>,
    /// How many jobs it had then.
    pub(crate) jobs: Option<u64>,
    /// When it last could not be.
    pub(crate) failed_at: Option<Timestamp>,
    /// Why.
    pub(crate) why: Option<String>,
}

/// What was last found out about the copy of this database.
pub(crate) fn last_verified(database: &Path) -> Verified {
    read(&verified_beside(database))
}

/// Notes what was found out: the number of jobs, or why it is not good.
pub(super) fn note_verified(database: &Path, now: Timestamp, found: Result<u64, String>) -> io::Result<()> {
    let file = verified_beside(database);
    let mut verified = read(&file);
    match found {
        Ok(jobs) => (verified.succeeded_at, verified.jobs) = (Some(now), Some(jobs)),
        Err(why) => (verified.failed_at, verified.why) = (Some(now), Some(why)),
    }
    let draft = super::restoring::beside(&file, ".new");
    fs::write(&draft, serde_json::to_string(&verified).map_err(io::Error::other)?)?;
    fs::rename(&draft, &file)
}

/// Where that is noted: beside the database and not in it, since it is about what is elsewhere.
fn verified_beside(database: &Path) -> PathBuf {
    super::restoring::beside(database, "-verified")
}

fn read(file: &Path) -> Verified {
    fs::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn noon() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_copy_that_stays_behind_is_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let options = BackupOptions { sync: Duration::from_secs(10), ..BackupOptions::default() };
        let standing = Standing::new(&options, &folder.path().join("jobs.db"), noon());
        assert_eq!(standing.trouble(noon() + MINUTE), None, "it may take a while to begin");
        let late = standing.trouble(noon() + MINUTE * 12).unwrap();
        assert!(late.contains("12 min behind"), "{late}");
        standing.copied(noon() + MINUTE * 11);
        assert_eq!(
            (standing.trouble(noon() + MINUTE * 12), standing.lag(noon() + MINUTE * 12)),
            (None, MINUTE)
        );
        let seldom = BackupOptions { sync: Duration::from_secs(3600), ..options };
        let standing = Standing::new(&seldom, &folder.path().join("jobs.db"), noon());
        assert_eq!(standing.trouble(noon() + MINUTE * 300), None, "it is to be copied every hour");
    }

    #[test]
    fn a_copy_that_cannot_be_restored_is_trouble_until_it_can_be_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("jobs.db");
        let standing = Standing::new(&BackupOptions::default(), &database, noon());
        note_verified(&database, noon(), Ok(7)).unwrap();
        assert_eq!((standing.trouble(noon()), last_verified(&database).jobs), (None, Some(7)));
        note_verified(&database, noon() + MINUTE, Err("it is damaged".to_owned())).unwrap();
        assert!(standing.trouble(noon()).unwrap().contains("could not be restored"));
        assert_eq!(standing.verified().succeeded_at, Some(noon()), "that it once could be is remembered");
        note_verified(&database, noon() + MINUTE * 2, Ok(8)).unwrap();
        assert_eq!(standing.trouble(noon()), None);
    }

    #[test]
    fn errors_are_counted_and_the_last_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let standing = Standing::new(&BackupOptions::default(), &folder.path().join("jobs.db"), noon());
        standing.begun();
        standing.heard(r#"{"level":"ERROR","msg":"sync error","error":"no route"}"#);
        standing.heard(r#"{"level":"INFO","msg":"snapshot complete"}"#);
        standing.heard("not json");
        let now = standing.now();
        assert_eq!(
            (now.runs, now.errors, now.last_error.as_deref()),
            (true, 1, Some("sync error: no route"))
        );
        standing.ended("killed");
        assert_eq!((standing.now().runs, standing.now().restarts), (false, 1));
    }
}
