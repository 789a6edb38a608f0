//! What holds for a type, as requests and replies say it.

use std::{collections::BTreeMap, time::Duration};

use blobforge_core::{
    Invalid, KeyLimits, LimitBy, Limits, Rate, Retention, RetryPolicy, TypeChange, TypeRecord, TypeSettings,
};
use poem_openapi::{
    Enum, Object,
    types::{
        Example,
        MaybeUndefined::{self, Null, Undefined, Value},
    },
};
use serde::Deserialize;

/// The longest span that a setting takes: a hundred years.
const LONGEST: Duration = Duration::from_secs(3_155_760_000);

/// A kind of work, and what holds for its jobs; what is `null` is as the service has it.
#[derive(Debug, Object)]
#[oai(rename = "Type")]
pub(super) struct TypeView {
    /// Its name.
    #[oai(rename = "type")]
    job_type: String,
    /// None of its jobs is given to a worker.
    paused: bool,
    /// How many jobs it has, by status.
    jobs: BTreeMap<String, u64>,
    /// How much of it may go on.
    limits: LimitsView,
    /// The same for each key, whose jobs take turns.
    per_key: Option<KeyLimitsView>,
    /// What holds for its jobs unless they say otherwise.
    defaults: DefaultsView,
    /// For how long ended jobs are kept.
    retention: RetentionView,
    /// Out of how many claims one takes the oldest job, whatever its priority: 20 unless set, 0 for none.
    oldest_share: Option<u32>,
}

/// How much may go on; what is `null` is not limited.
#[derive(Debug, Object)]
#[oai(rename = "Limits")]
struct LimitsView {
    /// How many jobs may run at once.
    running: Option<u32>,
    /// How often a job may start.
    starts: Option<RateView>,
}

/// How often a job may start: so many in a period, evenly spread, and so many at once after a rest.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "Rate")]
#[serde(deny_unknown_fields)]
struct RateView {
    /// How many may start in a period.
    count: u32,
    /// How long the period is: at least a millisecond for each start, at most 31 days.
    per_seconds: f64,
    /// How many may start at the same moment after a rest; 1 unless said otherwise.
    #[oai(default = "one")]
    #[serde(default = "one")]
    burst: u32,
}

fn one() -> u32 {
    1
}

/// What a limit is kept for each value of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename = "KeyKind", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum KeyKind {
    /// Who submitted the job.
    Submitter,
    /// The value of the parameter `name`.
    Param,
    /// The first tag that begins with `name`, such as `book:`.
    Tag,
}

/// How much may go on of each key. Without any limit the keys only take turns.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "KeyLimits")]
#[serde(deny_unknown_fields)]
struct KeyLimitsView {
    /// What the key is.
    by: KeyKind,
    /// Which parameter, or what the tag begins with.
    name: Option<String>,
    /// How many jobs of a key may run at once.
    running: Option<u32>,
    /// How often a job of a key may start.
    starts: Option<RateView>,
}

/// What holds for jobs that do not say otherwise.
#[derive(Debug, Object)]
#[oai(rename = "TypeDefaults")]
struct DefaultsView {
    /// How many failing runs a job gets.
    max_attempts: Option<u32>,
    /// How long a failed job waits before it runs again.
    retry: Option<RetryView>,
    /// For how many seconds a lease is good without a heartbeat.
    lease_seconds: Option<f64>,
    /// After how many seconds without progress, checkpoint or output a worker stops an attempt.
    no_progress_seconds: Option<f64>,
}

/// How long a failed job waits before it runs again; up to a quarter comes on top by chance.
#[derive(Debug, Object, Deserialize)]
#[oai(rename = "Backoff")]
#[serde(deny_unknown_fields)]
struct RetryView {
    /// The wait after the first failure; each further failure doubles it.
    first_seconds: f64,
    /// The longest wait.
    longest_seconds: f64,
}

/// For how many seconds ended jobs are kept with their files, by how they ended; `null` is for ever.
#[derive(Debug, Object)]
#[oai(rename = "Retention")]
struct RetentionView {
    /// Completed jobs.
    completed_seconds: Option<f64>,
    /// Failed jobs.
    failed_seconds: Option<f64>,
    /// Cancelled jobs.
    cancelled_seconds: Option<f64>,
}

impl TypeView {
    pub(super) fn new(record: TypeRecord, jobs: BTreeMap<String, u64>) -> Self {
        let TypeRecord { job_type, settings, paused } = record;
        let TypeSettings {
            max_attempts,
            retry,
            lease,
            no_progress,
            retention: Retention { completed, failed, cancelled },
            limits: Limits { running, starts },
            per_key,
            oldest_share,
        } = settings;
        let seconds = |span: Option<Duration>| span.map(|span| span.as_secs_f64());
        Self {
            job_type: job_type.into(),
            paused,
            jobs,
            limits: LimitsView { running, starts: starts.map(RateView::from) },
            per_key: per_key.map(KeyLimitsView::from),
            defaults: DefaultsView {
                max_attempts,
                retry: retry.map(RetryView::from),
                lease_seconds: seconds(lease),
                no_progress_seconds: seconds(no_progress),
            },
            retention: RetentionView {
                completed_seconds: seconds(completed),
                failed_seconds: seconds(failed),
                cancelled_seconds: seconds(cancelled),
            },
            oldest_share,
        }
    }
}

impl From<Rate> for RateView {
    fn from(Rate { starts, per, burst }: Rate) -> Self {
        Self { count: starts, per_seconds: per.as_secs_f64(), burst }
    }
}

impl From<RetryPolicy> for RetryView {
    fn from(RetryPolicy { first, longest }: RetryPolicy) -> Self {
        Self { first_seconds: first.as_secs_f64(), longest_seconds: longest.as_secs_f64() }
    }
}

impl From<KeyLimits> for KeyLimitsView {
    fn from(KeyLimits { by, limits }: KeyLimits) -> Self {
        let (by, name) = match by {
            LimitBy::Submitter => (KeyKind::Submitter, None),
            LimitBy::Param(name) => (KeyKind::Param, Some(name)),
            LimitBy::Tag(name) => (KeyKind::Tag, Some(name)),
        };
        Self { by, name, running: limits.running, starts: limits.starts.map(RateView::from) }
    }
}

/// What is to hold for a type from now on. What is not named stays as it is, and `null` takes a setting back.
#[derive(Debug, Default, Object, Deserialize)]
#[oai(example)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TypePatch {
    /// Whether none of its jobs is given to a worker; what runs goes on.
    paused: MaybeUndefined<bool>,
    /// How much of it may go on.
    limits: MaybeUndefined<LimitsPatch>,
    /// The same for each key, whose jobs take turns.
    per_key: MaybeUndefined<KeyLimitsView>,
    /// What holds for its jobs unless they say otherwise.
    defaults: MaybeUndefined<DefaultsPatch>,
    /// For how long ended jobs are kept.
    retention: MaybeUndefined<RetentionPatch>,
    /// Out of how many claims one takes the oldest job, whatever its priority; 0 for none.
    oldest_share: MaybeUndefined<u32>,
}

/// How much may go on.
#[derive(Debug, Default, Object, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsPatch {
    /// How many jobs may run at once.
    running: MaybeUndefined<u32>,
    /// How often a job may start.
    starts: MaybeUndefined<RateView>,
}

/// What holds for jobs that do not say otherwise.
#[derive(Debug, Default, Object, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DefaultsPatch {
    /// How many failing runs a job gets.
    max_attempts: MaybeUndefined<u32>,
    /// How long a failed job waits before it runs again.
    retry: MaybeUndefined<RetryView>,
    /// For how many seconds a lease is good without a heartbeat; at least 1.
    lease_seconds: MaybeUndefined<f64>,
    /// After how many seconds without progress, checkpoint or output a worker stops an attempt; at least 1.
    no_progress_seconds: MaybeUndefined<f64>,
}

/// For how many seconds ended jobs are kept with their files, by how they ended.
#[derive(Debug, Default, Object, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RetentionPatch {
    /// Completed jobs.
    completed_seconds: MaybeUndefined<f64>,
    /// Failed jobs.
    failed_seconds: MaybeUndefined<f64>,
    /// Cancelled jobs.
    cancelled_seconds: MaybeUndefined<f64>,
}

impl Example for TypePatch {
    fn example() -> Self {
        let starts = Value(RateView { count: 60, per_seconds: 3600.0, burst: 5 });
        let limits = Value(LimitsPatch { running: Value(2), starts });
        Self { paused: Value(false), limits, per_key: Null, ..Self::default() }
    }
}

impl TypePatch {
    /// What it asks for.
    pub(super) fn changes(self) -> Result<Vec<TypeChange>, Invalid> {
        let LimitsPatch { running, starts } = parts(self.limits, LimitsPatch { running: Null, starts: Null });
        let all =
            DefaultsPatch { max_attempts: Null, retry: Null, lease_seconds: Null, no_progress_seconds: Null };
        let DefaultsPatch { max_attempts, retry, lease_seconds, no_progress_seconds } =
            parts(self.defaults, all);
        let all = RetentionPatch { completed_seconds: Null, failed_seconds: Null, cancelled_seconds: Null };
        let RetentionPatch { completed_seconds, failed_seconds, cancelled_seconds } =
            parts(self.retention, all);
        let span_of = |field, seconds: MaybeUndefined<f64>| {
            seconds.map_value(|seconds| span(field, seconds)).transpose()
        };
        let mut changes = Changes::default();
        changes.note(self.paused, |paused| TypeChange::Paused(paused.unwrap_or(false)));
        changes.note(running, TypeChange::Running);
        let starts = starts.map_value(|starts| starts.into_rate("limits.starts")).transpose()?;
        changes.note(starts, TypeChange::Starts);
        changes.note(self.per_key.map_value(KeyLimitsView::into_limits).transpose()?, TypeChange::PerKey);
        changes.note(max_attempts, TypeChange::MaxAttempts);
        changes.note(retry.map_value(RetryView::into_policy).transpose()?, TypeChange::Retry);
        changes.note(span_of(LEASE, lease_seconds)?, TypeChange::Lease);
        changes.note(span_of(NO_PROGRESS, no_progress_seconds)?, TypeChange::NoProgress);
        let [completed, failed, cancelled] = KEPT;
        changes.note(span_of(completed, completed_seconds)?, TypeChange::KeepCompleted);
        changes.note(span_of(failed, failed_seconds)?, TypeChange::KeepFailed);
        changes.note(span_of(cancelled, cancelled_seconds)?, TypeChange::KeepCancelled);
        changes.note(self.oldest_share, TypeChange::OldestShare);
        Ok(changes.0)
    }
}

const LEASE: &str = "defaults.lease_seconds";
const NO_PROGRESS: &str = "defaults.no_progress_seconds";
const KEPT: [&str; 3] =
    ["retention.completed_seconds", "retention.failed_seconds", "retention.cancelled_seconds"];

/// The same refusal under the name that a setting has in requests.
pub(super) fn as_named_here(invalid: Invalid) -> Invalid {
    let field = match invalid.field {
        "max_attempts" => "defaults.max_attempts",
        "retry" => "defaults.retry",
        "lease" => LEASE,
        "no_progress" => NO_PROGRESS,
        "per_key.limits.running" => "per_key.running",
        "per_key.limits.starts" => "per_key.starts",
        "per_key.by" => "per_key.name",
        other => other,
    };
    Invalid { field, ..invalid }
}

/// What a patch comes to.
#[derive(Default)]
struct Changes(Vec<TypeChange>);

impl Changes {
    /// Notes what a field says, if it says anything.
    fn note<T>(&mut self, field: MaybeUndefined<T>, change: impl FnOnce(Option<T>) -> TypeChange) {
        match field {
            Undefined => {}
            Null => self.0.push(change(None)),
            Value(value) => self.0.push(change(Some(value))),
        }
    }
}

/// What is said of a group of settings: to take back the group is to take back `all` of it.
fn parts<T: Default>(group: MaybeUndefined<T>, all: T) -> T {
    match group {
        Undefined => T::default(),
        Null => all,
        Value(parts) => parts,
    }
}

impl RateView {
    fn into_rate(self, field: &'static str) -> Result<Rate, Invalid> {
        let Self { count, per_seconds, burst } = self;
        Ok(Rate { starts: count, per: span(field, per_seconds)?, burst })
    }
}

impl RetryView {
    fn into_policy(self) -> Result<RetryPolicy, Invalid> {
        let span = |seconds| span("defaults.retry", seconds);
        Ok(RetryPolicy { first: span(self.first_seconds)?, longest: span(self.longest_seconds)? })
    }
}

impl KeyLimitsView {
    fn into_limits(self) -> Result<KeyLimits, Invalid> {
        let named = |name: Option<String>| {
            let reason = "name the parameter, or what the tag begins with";
            name.filter(|name| !name.is_empty()).ok_or_else(|| Invalid::new("per_key.name", reason))
        };
        let by = match (self.by, self.name) {
            (KeyKind::Submitter, None) => LimitBy::Submitter,
            (KeyKind::Submitter, Some(_)) => {
                return Err(Invalid::new("per_key.name", "a submitter needs none: leave it out"));
            }
            (KeyKind::Param, name) => LimitBy::Param(named(name)?),
            (KeyKind::Tag, name) => LimitBy::Tag(named(name)?),
        };
        let starts = self.starts.map(|starts| starts.into_rate("per_key.starts")).transpose()?;
        Ok(KeyLimits { by, limits: Limits { running: self.running, starts } })
    }
}

/// A span of so many seconds, to the millisecond.
fn span(field: &'static str, seconds: f64) -> Result<Duration, Invalid> {
    let span = Duration::try_from_secs_f64(seconds).ok().filter(|span| *span <= LONGEST);
    let span = span.ok_or_else(|| {
        let reason =
            format!("{seconds} is out of bounds: use a number of seconds from 0 to {}", LONGEST.as_secs());
        Invalid::new(field, reason)
    })?;
    Ok(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}
