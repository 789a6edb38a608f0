//! What several pages show in the same way.

use std::time::Duration;

use blobforge_core::{End, Job, Progress, Sha256, Status, Timestamp, WorkerRecord};

use crate::words;

/// How many digits of a hash are shown; the rest is there to be copied.
const HASH_SHOWN: usize = 8;
/// How many characters of an error are shown in a list.
const ERROR_SHOWN: usize = 300;

/// A status: a colour, an icon and a word, since a colour alone says nothing to some.
pub(super) struct State {
    pub(super) class: &'static str,
    pub(super) icon: &'static str,
    pub(super) word: String,
}

impl State {
    /// That of a job now.
    pub(super) fn of(job: &Job, now: Timestamp) -> Self {
        let word = job.status_label(now);
        let (class, icon) = match word {
            "retrying" => ("retrying", "retrying"),
            "scheduled" => ("waiting", "scheduled"),
            "cancelling" => ("cancelled", "cancelled"),
            "worker silent" => ("retrying", "lost"),
            _ => drawn(job.status()),
        };
        Self { class, icon, word: word.to_owned() }
    }

    /// That of an attempt that has ended so, or runs.
    pub(super) fn of_attempt(end: Option<End>) -> Self {
        let (class, icon, word) = match end {
            None => ("running", "running", "running"),
            Some(End::Completed) => ("completed", "completed", "completed"),
            Some(End::Failed) => ("failed", "failed", "failed"),
            Some(End::Released) => ("waiting", "released", "released"),
            Some(End::Snoozed) => ("waiting", "scheduled", "snoozed"),
            Some(End::Lost) => ("retrying", "lost", "lost"),
            Some(End::Cancelled) => ("cancelled", "cancelled", "cancelled"),
            Some(End::Voided) => ("waiting", "released", "voided by a restore"),
        };
        Self { class, icon, word: word.to_owned() }
    }

    /// That of a worker, which has jobs or none.
    pub(super) fn of_worker(worker: &WorkerRecord, works: bool, lease: Duration, now: Timestamp) -> Self {
        let condition = &worker.condition;
        let (class, icon, word) = if !worker.is_online(now, lease) {
            ("cancelled", "cancelled", "offline")
        } else if condition.trouble.is_some() {
            ("retrying", "lost", "in trouble")
        } else if worker.draining {
            ("waiting", "released", "draining")
        } else if condition.suspended_until.is_some_and(|until| until > now) {
            ("waiting", "scheduled", "suspended")
        } else if works {
            ("running", "running", "working")
        } else {
            ("completed", "completed", "ready")
        };
        Self { class, icon, word: word.to_owned() }
    }
}

impl From<Status> for State {
    fn from(status: Status) -> Self {
        let (class, icon) = drawn(status);
        Self { class, icon, word: status.to_string() }
    }
}

fn drawn(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Uploading => ("retrying", "uploading"),
        Status::Pending => ("waiting", "waiting"),
        Status::Running => ("running", "running"),
        Status::Completed => ("completed", "completed"),
        Status::Failed => ("failed", "failed"),
        Status::Cancelled => ("cancelled", "cancelled"),
    }
}

/// A time: how long ago, and exactly.
pub(super) struct When {
    pub(super) exact: String,
    pub(super) ago: String,
}

impl When {
    pub(super) fn new(time: Timestamp, now: Timestamp) -> Self {
        Self { exact: time.to_string(), ago: words::ago(time, now) }
    }
}

/// A hash: its beginning, and all of it.
pub(super) struct Hash {
    pub(super) short: String,
    pub(super) whole: String,
}

impl From<Sha256> for Hash {
    fn from(hash: Sha256) -> Self {
        let whole = hash.to_string();
        Self { short: whole.chars().take(HASH_SHOWN).collect(), whole }
    }
}

/// How far an attempt has come, and when it may be done.
pub(super) struct Progressed {
    pub(super) done: u64,
    /// Steps in all, where known.
    pub(super) total: Option<u64>,
    /// What is being done, and a word about it.
    pub(super) doing: String,
    /// How long it will go on at the pace of this attempt so far, where that is known.
    pub(super) left: Option<String>,
}

impl Progressed {
    /// That of a job that runs, as far as it said.
    pub(super) fn of(job: &Job, now: Timestamp) -> Option<Self> {
        let since = job.lease()?.started_at;
        let progress = job.progress.as_ref()?;
        let left = time_left(progress, now.since(since)).map(words::about);
        Some(Self { left, ..Self::reached(progress) })
    }

    /// What was reached, whatever comes now.
    pub(super) fn reached(progress: &Progress) -> Self {
        let said = progress.stage.iter().chain(&progress.message);
        let doing = said.map(String::as_str).collect::<Vec<_>>().join(": ");
        Self { done: progress.done, total: progress.total.filter(|total| *total > 0), doing, left: None }
    }

    /// The share that is done, in percent.
    pub(super) fn percent(&self) -> Option<u64> {
        self.total.map(|total| (u128::from(self.done) * 100 / u128::from(total)).min(100) as u64)
    }
}

/// How long the rest takes at the pace of what is done.
fn time_left(progress: &Progress, taken: Duration) -> Option<Duration> {
    let left = progress.total?.checked_sub(progress.done).filter(|_| progress.done > 0)?;
    Duration::try_from_secs_f64(taken.as_secs_f64() / progress.done as f64 * left as f64).ok()
}

/// What a worker is called: its name for people, or its id.
pub(super) fn name_of_worker(worker: &WorkerRecord) -> String {
    let said = &worker.registration;
    said.name.clone().unwrap_or_else(|| said.id.to_string())
}

/// What a job is called: its source's file name, or what it is.
pub(super) fn name(job: &Job) -> String {
    let path = job.body.source_path.as_deref().unwrap_or_default();
    let file = path.rsplit(['/', '\\']).find(|part| !part.is_empty());
    file.map_or_else(|| format!("{} job {}", job.job_type, job.id), str::to_owned)
}

/// A number as it stands in a template, which hands over references.
pub(super) fn number(number: &u64) -> String {
    words::number(*number)
}

/// The beginning of an error, for a list.
pub(super) fn beginning(text: &str) -> String {
    words::cut(text, ERROR_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u64, total: Option<u64>) -> Progress {
        Progress { done, total, ..Progress::default() }
    }

    #[test]
    fn what_is_left_follows_from_what_was_done() {
        let hour = Duration::from_secs(3600);
        assert_eq!(time_left(&progress(100, Some(300)), hour), Some(2 * hour));
        assert_eq!(time_left(&progress(300, Some(300)), hour), Some(Duration::ZERO));
        for unknown in [progress(0, Some(300)), progress(10, None), progress(301, Some(300))] {
            assert_eq!(time_left(&unknown, hour), None, "{unknown:?}");
        }
    }

    #[test]
    fn a_share_is_at_most_all() {
        let percent = |done, total| Progressed::reached(&progress(done, Some(total))).percent();
        assert_eq!([percent(1, 3), percent(5, 3), percent(u64::MAX, 2)], [Some(33), Some(100), Some(100)]);
        assert_eq!(percent(1, 0), None);
    }
}
