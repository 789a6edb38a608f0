//! What holds for all jobs of a type. Set in code or by an operator, kept in the store, in force from the next commit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Invalid, JobType, KeyLimits, Limits, Rate, RetryPolicy, Status, bounds, time::optional_millis};

/// Out of how many claims one takes the oldest job, whatever its priority.
///
/// As in [`TypeSettings::oldest_share`].
pub const OLDEST_SHARE: u32 = 20;

/// The largest [`TypeSettings::oldest_share`].
///
/// As in [`TypeSettings::validate`].
pub const MAX_OLDEST_SHARE: u32 = 1000;
/// The shortest time that ended jobs are kept: longer than anybody repeats a report or waits for its answer.
///
/// As in [`TypeSettings::validate`].
pub const MIN_RETENTION: Duration = Duration::from_secs(60 * 60);

/// What holds for all jobs of a type; what is `None` is as the queue has it.
///
/// ```
/// use blobforge_core::{Limits, TypeSettings};
/// use std::time::Duration;
/// let settings = TypeSettings {
///     max_attempts: Some(5),
///     lease: Some(Duration::from_secs(600)),
///     limits: Limits { running: Some(2), starts: None },
///     ..TypeSettings::default()
/// };
/// assert!(settings.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TypeSettings {
    /// How many failing runs a job gets that does not say itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long a failed job waits before it runs again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// For how long a lease is good without a heartbeat; at least a second.
    #[serde(with = "optional_millis", rename = "lease_millis", skip_serializing_if = "Option::is_none")]
    pub lease: Option<Duration>,
    /// After how long without progress, checkpoint or output a worker stops an attempt and reports it as failed;
    /// at least a second. Nothing is ever stopped for being long.
    #[serde(
        with = "optional_millis",
        rename = "no_progress_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub no_progress: Option<Duration>,
    /// For how long ended jobs are kept.
    #[serde(skip_serializing_if = "Retention::is_for_ever")]
    pub retention: Retention,
    /// How many may run, and how often one may start.
    #[serde(skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// The same for each key, whose jobs then take turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_key: Option<KeyLimits>,
    /// Out of how many claims one takes the oldest job, whatever its priority: 20 unless set, 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_share: Option<u32>,
}

impl TypeSettings {
    /// Checks everything that the types alone do not.
    ///
    /// ```
    /// use blobforge_core::{MAX_OLDEST_SHARE, MAX_SPAN, MIN_RETENTION, Retention, TypeSettings};
    /// let wrong = |settings: TypeSettings| settings.validate().unwrap_err().field;
    /// let default = TypeSettings::default;
    /// assert_eq!(wrong(TypeSettings { lease: Some(MAX_SPAN * 2), ..default() }), "lease");
    /// assert_eq!(wrong(TypeSettings { oldest_share: Some(MAX_OLDEST_SHARE + 1), ..default() }), "oldest_share");
    /// let retention = Retention { failed: Some(MIN_RETENTION / 2), ..Retention::default() };
    /// assert_eq!(wrong(TypeSettings { retention, ..default() }), "retention");
    /// ```
    ///
    /// # Errors
    /// The first field that is out of bounds, and what would be right.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.lease.map_or(Ok(()), |lease| bounds::span("lease", lease))?;
        self.no_progress.map_or(Ok(()), |span| bounds::span("no_progress", span))?;
        self.max_attempts.map_or(Ok(()), bounds::attempts)?;
        self.retry.map_or(Ok(()), RetryPolicy::check)?;
        self.retention.check()?;
        self.limits.check(["limits.running", "limits.starts"])?;
        self.per_key.as_ref().map_or(Ok(()), KeyLimits::check)?;
        if self.oldest_share() > MAX_OLDEST_SHARE {
            let reason =
                format!("{} is too large: use 1 to {MAX_OLDEST_SHARE}, or 0 for none", self.oldest_share());
            return Err(Invalid::new("oldest_share", reason));
        }
        Ok(())
    }

    /// Out of how many claims one takes the oldest job; 0 for none.
    ///
    /// ```
    /// use blobforge_core::{OLDEST_SHARE, TypeSettings};
    /// assert_eq!(TypeSettings::default().oldest_share(), OLDEST_SHARE);
    /// let urgent_first = TypeSettings { oldest_share: Some(0), ..TypeSettings::default() };
    /// assert_eq!(urgent_first.oldest_share(), 0);
    /// ```
    pub fn oldest_share(&self) -> u32 {
        self.oldest_share.unwrap_or(OLDEST_SHARE)
    }
}

/// For how long ended jobs are kept, by how they ended: at least [`MIN_RETENTION`]; `None` is for ever.
///
/// It counts by the time of day, since it outlives the process. A clock that is set back keeps jobs for longer; one that is
/// set forward deletes them earlier, by as much as it was wrong.
///
/// ```
/// use blobforge_core::{Retention, Status};
/// use std::time::Duration;
/// let week = Duration::from_secs(7 * 24 * 60 * 60);
/// let retention = Retention { completed: Some(week), ..Retention::default() };
/// assert_eq!(retention.of(Status::Completed), Some(week));
/// assert_eq!(retention.of(Status::Failed), None);
/// assert!(!retention.is_for_ever() && Retention::default().is_for_ever());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// Completed jobs, their sources and outputs.
    #[serde(with = "optional_millis", rename = "completed_millis", skip_serializing_if = "Option::is_none")]
    pub completed: Option<Duration>,
    /// Failed jobs.
    #[serde(with = "optional_millis", rename = "failed_millis", skip_serializing_if = "Option::is_none")]
    pub failed: Option<Duration>,
    /// Cancelled jobs.
    #[serde(with = "optional_millis", rename = "cancelled_millis", skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Duration>,
}

impl Retention {
    /// Whether nothing is ever deleted.
    ///
    /// As in [`Retention`].
    pub fn is_for_ever(&self) -> bool {
        *self == Self::default()
    }

    fn check(&self) -> Result<(), Invalid> {
        let spans = [self.completed, self.failed, self.cancelled];
        if spans.into_iter().flatten().all(|span| span >= MIN_RETENTION) {
            return Ok(());
        }
        let reason =
            "ended jobs are kept for at least an hour: somebody may still ask for them, or repeat a report";
        Err(Invalid::new("retention", reason))
    }

    /// For how long a job that ended like this is kept; `None` for ever, and for one that has not ended.
    ///
    /// As in [`Retention`].
    pub fn of(&self, status: Status) -> Option<Duration> {
        match status {
            Status::Completed => self.completed,
            Status::Failed => self.failed,
            Status::Cancelled => self.cancelled,
            Status::Uploading | Status::Pending | Status::Running => None,
        }
    }
}

/// A type as the store knows it.
///
/// As in [`Queue::set_type`](crate::Queue::set_type).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeRecord {
    /// Which.
    pub job_type: JobType,
    /// What holds for its jobs.
    pub settings: TypeSettings,
    /// None of its jobs is given to anybody.
    pub paused: bool,
}

/// One thing that is to hold for a type from now on; `None` is as the queue has it.
///
/// As in [`Queue::change_type`](crate::Queue::change_type).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeChange {
    /// Whether its jobs are given to nobody.
    Paused(bool),
    /// [`TypeSettings::max_attempts`].
    MaxAttempts(Option<u32>),
    /// [`TypeSettings::retry`].
    Retry(Option<RetryPolicy>),
    /// [`TypeSettings::lease`].
    Lease(Option<Duration>),
    /// [`TypeSettings::no_progress`].
    NoProgress(Option<Duration>),
    /// [`Retention::completed`].
    KeepCompleted(Option<Duration>),
    /// [`Retention::failed`].
    KeepFailed(Option<Duration>),
    /// [`Retention::cancelled`].
    KeepCancelled(Option<Duration>),
    /// [`Limits::running`] of the whole type.
    Running(Option<u32>),
    /// [`Limits::starts`] of the whole type.
    Starts(Option<Rate>),
    /// [`TypeSettings::per_key`].
    PerKey(Option<KeyLimits>),
    /// [`TypeSettings::oldest_share`].
    OldestShare(Option<u32>),
}

impl TypeChange {
    /// Makes a type what it is to be.
    pub(crate) fn apply_to(self, record: &mut TypeRecord) {
        let TypeRecord { settings, paused, .. } = record;
        match self {
            Self::Paused(pause) => *paused = pause,
            Self::MaxAttempts(runs) => settings.max_attempts = runs,
            Self::Retry(policy) => settings.retry = policy,
            Self::Lease(span) => settings.lease = span,
            Self::NoProgress(span) => settings.no_progress = span,
            Self::KeepCompleted(span) => settings.retention.completed = span,
            Self::KeepFailed(span) => settings.retention.failed = span,
            Self::KeepCancelled(span) => settings.retention.cancelled = span,
            Self::Running(jobs) => settings.limits.running = jobs,
            Self::Starts(rate) => settings.limits.starts = rate,
            Self::PerKey(limits) => settings.per_key = limits,
            Self::OldestShare(share) => settings.oldest_share = share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LimitBy;

    #[test]
    fn settings_out_of_bounds_are_refused_by_name() {
        let wrong = |settings: TypeSettings| settings.validate().unwrap_err().field;
        let short = Some(Duration::from_millis(1));
        assert_eq!(wrong(TypeSettings { lease: short, ..TypeSettings::default() }), "lease");
        assert_eq!(wrong(TypeSettings { no_progress: short, ..TypeSettings::default() }), "no_progress");
        assert_eq!(wrong(TypeSettings { max_attempts: Some(0), ..TypeSettings::default() }), "max_attempts");
        let limits = Limits { running: Some(0), starts: None };
        assert_eq!(wrong(TypeSettings { limits, ..TypeSettings::default() }), "limits.running");
        let retention =
            Retention { failed: Some(MIN_RETENTION - Duration::from_millis(1)), ..Retention::default() };
        assert_eq!(wrong(TypeSettings { retention, ..TypeSettings::default() }), "retention");
        let endless = RetryPolicy { longest: Duration::MAX, ..RetryPolicy::default() };
        assert_eq!(wrong(TypeSettings { retry: Some(endless), ..TypeSettings::default() }), "retry");
        assert_eq!(
            wrong(TypeSettings { oldest_share: Some(1001), ..TypeSettings::default() }),
            "oldest_share"
        );
        let keyed =
            |by, limits| TypeSettings { per_key: Some(KeyLimits { by, limits }), ..TypeSettings::default() };
        assert_eq!(wrong(keyed(LimitBy::Submitter, limits)), "per_key.limits.running");
        for by in [LimitBy::Param(String::new()), LimitBy::Tag("x".repeat(129))] {
            assert_eq!(wrong(keyed(by, Limits::default())), "per_key.by");
        }
        assert!(TypeSettings::default().validate().is_ok());
    }

    #[test]
    fn settings_read_back_from_json_and_default_ones_are_empty() {
        assert_eq!(serde_json::to_string(&TypeSettings::default()).unwrap(), "{}");
        let settings = TypeSettings {
            lease: Some(Duration::from_secs(5)),
            retention: Retention { failed: Some(Duration::from_secs(7)), ..Retention::default() },
            oldest_share: Some(0),
            ..TypeSettings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<TypeSettings>(&text).unwrap(), settings, "{text}");
    }
}
