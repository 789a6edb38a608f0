//! Points in time and where they come from.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    str::FromStr,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::sync::oneshot;

/// A point in time, in milliseconds since 1970 UTC. Reads and writes as RFC 3339.
///
/// ```
/// use blobforge_core::Timestamp;
/// use std::time::Duration;
/// let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
/// let later = noon + Duration::from_secs(90);
/// assert_eq!(later.to_string(), "2026-03-01T12:01:30.000Z");
/// assert_eq!((later.since(noon), noon.since(later)), (Duration::from_secs(90), Duration::ZERO));
/// assert_eq!(Timestamp::from_millis(noon.as_millis()), noon);
/// assert_eq!(Timestamp::from_millis(-1), Timestamp::ZERO, "nothing is before 1970");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The last millisecond that RFC 3339 can name with four digits of year.
const YEAR_9999_END: i64 = 253_402_300_799_999;

impl Timestamp {
    /// The beginning of 1970.
    ///
    /// As in [`Timestamp`].
    pub const ZERO: Self = Self(0);

    /// The time this many milliseconds after 1970, kept between 1970 and the year 9999.
    ///
    /// As in [`Timestamp`].
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, YEAR_9999_END))
    }

    /// Milliseconds since 1970.
    ///
    /// As in [`Timestamp`].
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    ///
    /// As in [`Timestamp`].
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(YEAR_9999_END);
        Self::from_millis(self.0.saturating_add(millis))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        let millis = i64::try_from(span.as_millis()).unwrap_or(YEAR_9999_END);
        Self::from_millis(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = DateTime::<Utc>::from_timestamp_millis(self.0).unwrap_or_default();
        f.write_str(&date.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no RFC 3339 time between 1970 and 9999.
///
/// ```
/// use blobforge_core::{BadTimestamp, Timestamp};
/// let refused: Result<Timestamp, BadTimestamp> = "noon".parse();
/// assert!(refused.unwrap_err().to_string().starts_with("\"noon\" is not a time"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a time between 1970 and 9999 in RFC 3339, such as 2026-03-01T12:00:00Z")]
pub struct BadTimestamp(String);

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|date| date.timestamp_millis())
            .filter(|millis| (0..=YEAR_9999_END).contains(millis))
            .map(Self)
            .ok_or_else(|| BadTimestamp(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Where the queue takes its time from: what people call the time, and how much of it has passed.
///
/// The two are kept apart because the first one jumps: somebody sets the clock, or the machine was suspended. What is
/// kept or shown is a [`Timestamp`]; what is waited for is a span of uptime.
///
/// ```
/// use blobforge_core::{Clock, ManualClock, Timestamp};
/// use std::time::Duration;
/// let clock = ManualClock::new(Timestamp::ZERO);
/// clock.advance(Duration::from_secs(5));
/// clock.jump_forward(Duration::from_secs(3600));
/// assert_eq!(clock.now().since(Timestamp::ZERO), Duration::from_secs(3605));
/// assert_eq!(clock.uptime(), Duration::from_secs(5), "nobody has waited for an hour");
/// ```
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now. It can be set, forwards and backwards.
    ///
    /// As in [`Clock`].
    fn now(&self) -> Timestamp;

    /// The time that has passed since some start that is the same for the life of the process. It never goes back, and
    /// does not follow when the time of day is set.
    ///
    /// As in [`Clock`].
    fn uptime(&self) -> Duration;

    /// Waits until `span` of uptime has passed.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{Clock, ManualClock, Timestamp};
    /// use std::time::Duration;
    /// let clock = ManualClock::new(Timestamp::ZERO);
    /// let an_hour = clock.sleep(Duration::from_secs(3600));
    /// clock.advance(Duration::from_secs(3600));
    /// an_hour.await;
    /// assert_eq!(clock.uptime(), Duration::from_secs(3600), "and nobody has waited");
    /// # });
    /// ```
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The clock of the machine.
///
/// ```
/// use blobforge_core::{Clock, SystemClock, Timestamp};
/// let before = SystemClock.uptime();
/// assert!(SystemClock.now() > "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
/// assert!(SystemClock.uptime() >= before);
/// ```
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::ZERO + since_1970
    }

    fn uptime(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// A clock that stands still until a test moves it.
///
/// ```
/// use blobforge_core::{Clock, ManualClock};
/// use std::time::Duration;
/// let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
/// clock.advance(Duration::from_secs(60));
/// clock.jump_back(Duration::from_secs(3600));
/// assert_eq!(clock.now().to_string(), "2026-03-01T11:01:00.000Z");
/// assert_eq!(clock.uptime(), Duration::from_secs(60), "that the clock was set has taken no time");
/// ```
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Debug)]
struct ManualState {
    now: Timestamp,
    uptime: Duration,
    sleepers: BTreeMap<Duration, Vec<oneshot::Sender<()>>>,
}

impl ManualClock {
    /// A clock that shows `now`.
    ///
    /// As in [`ManualClock`].
    pub fn new(now: Timestamp) -> Self {
        let (uptime, sleepers) = (Duration::ZERO, BTreeMap::new());
        Self { state: Mutex::new(ManualState { now, uptime, sleepers }) }
    }

    /// Lets `span` pass and wakes who slept until then.
    ///
    /// As in [`ManualClock`].
    pub fn advance(&self, span: Duration) {
        let mut state = self.state();
        state.now = state.now + span;
        state.uptime += span;
        let uptime = state.uptime;
        while let Some(due) = state.sleepers.first_entry().filter(|s| *s.key() <= uptime) {
            for sleeper in due.remove() {
                // A sleeper that gave up waiting has nothing to be told.
                let _ = sleeper.send(());
            }
        }
    }

    /// Lets time pass until it is `now`, or sets the time of day back to it.
    ///
    /// ```
    /// use blobforge_core::{Clock, ManualClock, Timestamp};
    /// use std::time::Duration;
    /// let clock = ManualClock::new(Timestamp::ZERO);
    /// clock.set(Timestamp::from_millis(5000));
    /// assert_eq!(clock.uptime(), Duration::from_secs(5));
    /// clock.set(Timestamp::ZERO);
    /// assert_eq!((clock.now(), clock.uptime()), (Timestamp::ZERO, Duration::from_secs(5)));
    /// ```
    pub fn set(&self, now: Timestamp) {
        let shown = self.now();
        if now > shown { self.advance(now.since(shown)) } else { self.jump_back(shown.since(now)) }
    }

    /// Sets the time of day forward by `span`, without that any time passes.
    ///
    /// As in [`Clock`].
    pub fn jump_forward(&self, span: Duration) {
        let mut state = self.state();
        state.now = state.now + span;
    }

    /// Sets the time of day back by `span`.
    ///
    /// As in [`ManualClock`].
    pub fn jump_back(&self, span: Duration) {
        let mut state = self.state();
        state.now = state.now - span;
    }

    fn state(&self) -> MutexGuard<'_, ManualState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state().now
    }

    fn uptime(&self) -> Duration {
        self.state().uptime
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if span.is_zero() {
            return Box::pin(std::future::ready(()));
        }
        let mut state = self.state();
        let wakes_at = state.uptime.saturating_add(span);
        let (wake, woken) = oneshot::channel();
        let sleepers = state.sleepers.entry(wakes_at).or_default();
        // Who waits in a loop and mostly for something else leaves many of these behind.
        sleepers.retain(|sleeper| !sleeper.is_closed());
        sleepers.push(wake);
        Box::pin(async move {
            let _ = woken.await;
        })
    }
}

/// Spans as whole milliseconds in serialised form.
pub(crate) mod millis {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(crate) fn serialize<S: Serializer>(span: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}

/// The same for spans that may be missing.
pub(crate) mod optional_millis {
    use super::{Deserialize, Deserializer, Duration, Serializer, millis};

    // The signature is serde's.
    #[allow(clippy::ref_option)]
    pub(crate) fn serialize<S: Serializer>(span: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => millis::serialize(span, s),
            None => s.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(d)?.map(Duration::from_millis))
    }
}
