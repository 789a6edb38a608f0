//! How much of a type may run at once, and how often one may start: pure functions of counts and times.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Body, Invalid, MAX_TAG_BYTES, Timestamp, bounds, time::millis};

/// The longest key of a limit that is kept as it is, in bytes; a longer one is kept as its hash.
///
/// As in [`LimitBy`].
pub const MAX_LIMIT_KEY_BYTES: usize = 128;

/// How much may go on at the same time, and how often something may start. What is `None` is not limited.
///
/// ```
/// use blobforge_core::{Limits, TypeSettings};
/// let two_at_once = Limits { running: Some(2), starts: None };
/// assert!(!two_at_once.is_none() && Limits::default().is_none());
/// let none_at_all = TypeSettings { limits: Limits { running: Some(0), starts: None }, ..TypeSettings::default() };
/// assert!(none_at_all.validate().is_err(), "to stop a type, pause it");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// How many jobs may run at once; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u32>,
    /// How often a job may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<Rate>,
}

impl Limits {
    /// Whether nothing is limited.
    ///
    /// As in [`Limits`].
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks both, under the names by which callers know them.
    pub(crate) fn check(&self, [running, starts]: [&'static str; 2]) -> Result<(), Invalid> {
        if self.running == Some(0) {
            return Err(Invalid::new(
                running,
                "at least one job has to be allowed; to stop a type, pause it",
            ));
        }
        self.starts.map_or(Ok(()), |rate| rate.check(starts))
    }
}

/// How often something may start: so many in a period, evenly spread, and so many at once after a rest.
///
/// ```
/// use blobforge_core::{Rate, StartedUpTo, Timestamp};
/// use std::time::Duration;
/// let rate = Rate { starts: 6, per: Duration::from_secs(60), burst: 2 };
/// let now = Timestamp::from_millis(1_000_000);
/// let first = StartedUpTo::default().start(rate, now).unwrap();
/// let second = first.start(rate, now).unwrap();
/// assert_eq!(second.start(rate, now), Err(now + Duration::from_secs(10)), "the third waits its ten seconds");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// How many may start in a period; at least 1.
    pub starts: u32,
    /// How long the period is: at least a millisecond for each start, at most 31 days.
    #[serde(with = "millis", rename = "per_millis")]
    pub per: Duration,
    /// How many may start at the same moment after a rest; at least 1.
    pub burst: u32,
}

impl Rate {
    fn check(self, field: &'static str) -> Result<(), Invalid> {
        let wrong = |reason: &str| Err(Invalid::new(field, reason));
        if self.starts == 0 || self.burst == 0 {
            return wrong("`starts` and `burst` are at least 1; to stop a type, pause it");
        }
        if self.interval().is_zero() || self.per > Duration::from_secs(31 * 24 * 60 * 60) {
            return wrong("`per` is at least a millisecond for each start, and at most 31 days");
        }
        Ok(())
    }

    /// From one start to the next, in whole milliseconds.
    fn interval(self) -> Duration {
        let millis = self.per.as_millis() / u128::from(self.starts.max(1));
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// How far ahead of the clock a burst may come.
    fn ahead(self) -> Duration {
        self.interval() * (self.burst - 1).min(1_000_000)
    }
}

/// What is remembered of the starts so far: the time up to which they are paid for.
///
/// As in [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct StartedUpTo(pub Timestamp);

impl StartedUpTo {
    /// One more start at `now`.
    ///
    /// As in [`Rate`].
    ///
    /// # Errors
    /// The time from which one more is allowed.
    pub fn start(self, rate: Rate, now: Timestamp) -> Result<Self, Timestamp> {
        let paid = self.believable(rate, now).0;
        if paid > now + rate.ahead() {
            return Err(paid - rate.ahead());
        }
        Ok(Self(paid.max(now) + rate.interval()))
    }

    /// The same, but no further ahead than a burst could have come: else the clock was set back since, or the rate was
    /// changed. Remembered in place of the other, or the time that it names would move on with the clock.
    pub(crate) fn believable(self, rate: Rate, now: Timestamp) -> Self {
        Self(self.0.min(now + rate.ahead() + rate.interval()))
    }
}

/// What a limit is kept for each value of: its key.
///
/// ```
/// use blobforge_core::{Body, LimitBy, MAX_LIMIT_KEY_BYTES};
/// let (ann, tags) = (Some("ann".to_owned()), vec!["book:dune".to_owned(), "urgent".to_owned()]);
/// let body = Body { submitter: ann, tags, ..Body::default() };
/// assert_eq!(LimitBy::Submitter.key_of(&body).as_deref(), Some("ann"));
/// assert_eq!(LimitBy::Tag("book:".to_owned()).key_of(&body).as_deref(), Some("book:dune"));
/// assert_eq!(LimitBy::Param("book".to_owned()).key_of(&body), None);
/// let long = Body { submitter: Some("x".repeat(MAX_LIMIT_KEY_BYTES + 1)), ..Body::default() };
/// assert!(LimitBy::Submitter.key_of(&long).unwrap().starts_with("sha256:"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitBy {
    /// Who submitted the job.
    Submitter,
    /// The value of a parameter.
    Param(String),
    /// The first tag that begins with this, such as `book:`.
    Tag(String),
}

impl LimitBy {
    /// The key that a job falls under; `None` for a job that has no such value: it is limited with its type alone.
    ///
    /// As in [`LimitBy`].
    pub fn key_of(&self, body: &Body) -> Option<String> {
        let key = match self {
            Self::Submitter => body.submitter.clone(),
            Self::Param(name) => body.params.get(name).and_then(|value| match value {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            }),
            Self::Tag(prefix) => body.tags.iter().find(|tag| tag.starts_with(prefix.as_str())).cloned(),
        };
        key.filter(|key| !key.is_empty()).map(bounded)
    }
}

fn bounded(key: String) -> String {
    if key.len() <= MAX_LIMIT_KEY_BYTES {
        key
    } else {
        format!("sha256:{}", hex::encode(Sha256::digest(key)))
    }
}

/// Limits for each key of a type, whose jobs take turns by key.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
/// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
/// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
/// # queue.register(registration).await.unwrap();
/// use blobforge_core::{KeyLimits, LimitBy, Limits, NewJob, TypeSettings};
/// # use std::time::Duration;
/// let one_each = KeyLimits { by: LimitBy::Submitter, limits: Limits { running: Some(1), starts: None } };
/// let settings = TypeSettings { per_key: Some(one_each), ..TypeSettings::default() };
/// queue.set_type(pdf[0].clone(), settings).await.unwrap();
/// for submitter in ["ann", "ann", "bob"] {
///     let mut job = NewJob::new("pdf").unwrap();
///     job.body.submitter = Some(submitter.to_owned());
///     queue.submit(job).await.unwrap();
/// }
/// let claimed = queue.claim(&smith, &pdf, 3, Duration::ZERO).await.unwrap();
/// assert_eq!(claimed.len(), 2, "the second of ann waits until her first has ended");
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimits {
    /// What the key is.
    pub by: LimitBy,
    /// What holds for each key; without any limit the keys only take turns.
    #[serde(default)]
    pub limits: Limits,
}

impl KeyLimits {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if let LimitBy::Param(name) | LimitBy::Tag(name) = &self.by {
            bounds::text("per_key.by", name, MAX_TAG_BYTES)?;
        }
        self.limits.check(["per_key.limits.running", "per_key.limits.starts"])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000) + SECOND * u32::try_from(seconds).unwrap()
    }

    #[test]
    fn after_a_burst_starts_come_evenly() {
        let rate = Rate { starts: 2, per: SECOND * 10, burst: 3 };
        let mut state = StartedUpTo::default();
        let mut began = Vec::new();
        let mut now = at(0);
        while began.len() < 6 {
            match state.start(rate, now) {
                Ok(next) => {
                    began.push(now.since(at(0)).as_secs());
                    state = next;
                }
                Err(later) => {
                    assert!(later > now, "time goes on");
                    now = later;
                }
            }
        }
        assert_eq!(began, [0, 0, 0, 5, 10, 15]);
    }

    #[test]
    fn a_clock_set_back_delays_a_start_by_no_more_than_its_turn() {
        let rate = Rate { starts: 1, per: SECOND * 10, burst: 1 };
        let state = StartedUpTo::default().start(rate, at(1_000_000)).unwrap();
        assert_eq!(state.start(rate, at(0)), Err(at(10)));
        assert!(state.start(rate, at(0)).is_err_and(|later| StartedUpTo(later).start(rate, later).is_ok()));
    }

    #[test]
    fn limits_that_would_stop_everything_are_refused() {
        let check = |limits: Limits| limits.check(["running", "starts"]);
        let rate =
            |starts, per, burst| check(Limits { running: None, starts: Some(Rate { starts, per, burst }) });
        assert!(check(Limits { running: Some(0), starts: None }).is_err());
        assert!(rate(0, SECOND, 1).is_err());
        assert!(rate(1, SECOND, 0).is_err());
        assert!(rate(1, Duration::ZERO, 1).is_err());
        assert!(rate(2000, SECOND, 1).is_err(), "more than one in a millisecond");
        assert!(rate(1, SECOND * 60 * 60 * 24 * 40, 1).is_err());
        assert!(rate(1000, SECOND, 1).is_ok());
        assert!(Limits::default().is_none() && check(Limits::default()).is_ok());
    }

    #[test]
    fn a_key_is_a_submitter_a_parameter_or_a_tag() {
        let body = Body {
            params: json!({"book": "dune", "page": 7, "none": null}).as_object().unwrap().clone(),
            tags: vec!["x".to_owned(), "shelf:3".to_owned(), "shelf:4".to_owned()],
            submitter: Some("ann".to_owned()),
            ..Body::default()
        };
        let key = |by: LimitBy| by.key_of(&body);
        assert_eq!(key(LimitBy::Submitter).as_deref(), Some("ann"));
        assert_eq!(key(LimitBy::Param("book".to_owned())).as_deref(), Some("dune"));
        assert_eq!(key(LimitBy::Param("page".to_owned())).as_deref(), Some("7"));
        assert_eq!(key(LimitBy::Param("none".to_owned())), None);
        assert_eq!(key(LimitBy::Tag("shelf:".to_owned())).as_deref(), Some("shelf:3"));
        assert_eq!(LimitBy::Submitter.key_of(&Body::default()), None);
        let long = Body { submitter: Some("x".repeat(1000)), ..Body::default() };
        assert_eq!(LimitBy::Submitter.key_of(&long).unwrap().len(), 7 + 64);
    }
}
