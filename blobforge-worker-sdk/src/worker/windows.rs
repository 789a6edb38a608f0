//! The hours in which a worker runs, by the clock on the wall.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use blobforge_core::{Clock, Invalid, Timestamp};
use jiff::{
    Timestamp as Moment, ToSpan, Zoned,
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};

use super::standing::Standing;

/// How often to look at the clock at least: somebody may set it, and machines sleep.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The most windows that a worker has.
pub(super) const MAX_WINDOWS: usize = 100;

/// A part of each day, such as `22:00-06:00`: local time of the machine, if need be across midnight.
///
/// Its edges are times on the clock on the wall. When clocks are set forward over an edge, it is at that moment; when they
/// are set back, so that an edge comes twice, the window opens at the first and closes at the second.
///
/// ```
/// use blobforge_worker_sdk::RunWindow;
/// let night: RunWindow = "22:00-06:00".parse()?;
/// assert_eq!(night.to_string(), "22:00-06:00");
/// assert!("22:00-22:00".parse::<RunWindow>().is_err());
/// # Ok::<(), blobforge_core::Invalid>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunWindow {
    opens: Time,
    closes: Time,
}

impl FromStr for RunWindow {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let ends = text.split_once('-').and_then(|(opens, closes)| Some((time(opens)?, time(closes)?)));
        let Some((opens, closes)) = ends else {
            let reason =
                format!("{text:?} is no window: write when it opens and closes, such as 22:00-06:00");
            return Err(Invalid::new("run_window", reason));
        };
        if opens == closes {
            let reason =
                format!("{text:?} opens when it closes: leave the windows out for a worker that always runs");
            return Err(Invalid::new("run_window", reason));
        }
        Ok(Self { opens, closes })
    }
}

/// Reads hours and minutes.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |digits: &str| {
        let is_one = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_one { digits.parse::<i8>().ok() } else { None }
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

impl fmt::Display for RunWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { opens, closes } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", opens.hour(), opens.minute(), closes.hour(), closes.minute())
    }
}

/// Whether some window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hours {
    /// At least until then.
    Open(Moment),
    /// Until then.
    Closed(Moment),
}

/// Whether one of these windows is open at this local time.
fn hours(windows: &[RunWindow], now: &Zoned) -> Hours {
    let at = now.timestamp();
    // A window that began yesterday may be open; one that a change of clocks swallows today opens tomorrow or later.
    let days = (-1..=2).filter_map(|days| now.date().checked_add(days.days()).ok());
    let spans = days.flat_map(|day| windows.iter().filter_map(move |window| window.on(day, now.time_zone())));
    let mut spans: Vec<_> = spans.filter(|(opens, closes)| opens < closes && *closes > at).collect();
    spans.sort();
    // What one window leaves off where another one begins is one opening.
    let open =
        spans.iter().fold(at, |open, (opens, closes)| if *opens <= open { open.max(*closes) } else { open });
    if open > at {
        return Hours::Open(open);
    }
    // At the end of all calendars there is no next one.
    Hours::Closed(spans.first().map_or(Moment::MAX, |(opens, _)| *opens))
}

impl RunWindow {
    /// From when until when it is open, if it opens on this day.
    fn on(&self, day: Date, zone: &TimeZone) -> Option<(Moment, Moment)> {
        let last = if self.closes > self.opens { day } else { day.tomorrow().ok()? };
        let opens = edge(day.to_datetime(self.opens), zone, Twice::First)?;
        let closes = edge(last.to_datetime(self.closes), zone, Twice::Second)?;
        Some((opens, closes))
    }
}

/// Which of the two is meant when a time comes twice because clocks are set back.
#[derive(Clone, Copy)]
enum Twice {
    First,
    Second,
}

/// When the clock on the wall shows this time, or passes over it.
fn edge(local: DateTime, zone: &TimeZone, twice: Twice) -> Option<Moment> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
        let before = ambiguous.earlier().ok()?;
        return zone.following(before).next().map(|change| change.timestamp());
    }
    match twice {
        Twice::First => ambiguous.earlier().ok(),
        Twice::Second => ambiguous.later().ok(),
    }
}

/// When a worker runs, and the clock that this goes by.
#[derive(Debug)]
pub(super) struct Schedule {
    windows: Vec<RunWindow>,
    clock: Arc<dyn Clock>,
    zone: TimeZone,
}

impl Schedule {
    /// Without windows there is none: the worker always runs. Without a zone it goes by that of this machine.
    pub(super) fn of(windows: Vec<RunWindow>, clock: Arc<dyn Clock>, zone: Option<TimeZone>) -> Option<Self> {
        if windows.is_empty() {
            return None;
        }
        let zone = zone.unwrap_or_else(zone_of_this_machine);
        Some(Self { windows, clock, zone })
    }

    /// Opens or closes the worker as the hours say. The answer waits until it is time to look again.
    pub(super) fn look(&self, standing: &Standing) -> impl Future<Output = ()> {
        let now = self.clock.now();
        let until = match hours(&self.windows, &local(now, &self.zone)) {
            Hours::Open(until) => {
                self.open(standing, timestamp(until).since(now));
                timestamp(until)
            }
            Hours::Closed(until) => {
                self.close(standing, until);
                timestamp(until)
            }
        };
        self.clock.sleep(until.since(now).min(LOOK_EVERY))
    }

    fn open(&self, standing: &Standing, left: Duration) {
        if standing.is_suspended() {
            tracing::info!("a run window is open: claiming again");
        }
        standing.open(left);
    }

    fn close(&self, standing: &Standing, until: Moment) {
        if !standing.is_suspended() {
            let local = until.to_zoned(self.zone.clone()).datetime();
            tracing::info!("no run window is open: nothing is claimed until {local}");
        }
        standing.suspend(timestamp(until));
    }
}

fn local(now: Timestamp, zone: &TimeZone) -> Zoned {
    // Every time that a queue can name is within the calendar.
    Moment::from_millisecond(now.as_millis()).unwrap_or(Moment::MAX).to_zoned(zone.clone())
}

fn timestamp(at: Moment) -> Timestamp {
    Timestamp::from_millis(at.as_millisecond())
}

fn zone_of_this_machine() -> TimeZone {
    TimeZone::try_system().unwrap_or_else(|error| {
        tracing::warn!(%error, "the time zone of this machine is not known: run windows are in UTC. Set TZ, such as TZ=Europe/Berlin");
        TimeZone::UTC
    })
}

#[cfg(test)]
mod hours_at_work;
#[cfg(test)]
mod tests;
