//! How many jobs are done in an hour, as far as this process has seen.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use blobforge_core::Clock;

const MINUTE: u64 = 60;
/// How many minutes are looked back.
const MINUTES: u64 = 60;

/// The jobs that were done in each of the last minutes, by type or by worker.
#[derive(Debug)]
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    /// The uptime at which counting began.
    since: Duration,
    minutes: Mutex<VecDeque<(u64, BTreeMap<String, u64>)>>,
}

impl Pace {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { since: clock.uptime(), clock, minutes: Mutex::default() }
    }

    fn minute(&self) -> u64 {
        self.clock.uptime().as_secs() / MINUTE
    }

    /// One more job of a type, or by a worker, is done. Who calls bounds the number of names.
    pub(crate) fn done(&self, name: String) {
        let now = self.minute();
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        if minutes.back().is_none_or(|(minute, _)| *minute != now) {
            minutes.push_back((now, BTreeMap::new()));
            while minutes.len() as u64 > MINUTES {
                minutes.pop_front();
            }
        }
        if let Some((_, done)) = minutes.back_mut() {
            *done.entry(name).or_default() += 1;
        }
    }

    /// How many jobs of each name are done in an hour, by the last hour, or by what passed since the start, but no less
    /// than a minute.
    pub(crate) fn hourly(&self) -> BTreeMap<String, f64> {
        let counted = self.clock.uptime().saturating_sub(self.since).as_secs_f64();
        let hours = counted.clamp(MINUTE as f64, (MINUTE * MINUTES) as f64) / (MINUTE * MINUTES) as f64;
        let oldest = (self.minute() + 1).saturating_sub(MINUTES);
        let mut sums = BTreeMap::<String, f64>::new();
        let minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, done) in minutes.iter().filter(|(minute, _)| *minute >= oldest).flat_map(|(_, done)| done)
        {
            *sums.entry(name.clone()).or_default() += *done as f64 / hours;
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blobforge_core::{ManualClock, Timestamp};

    #[test]
    fn the_pace_is_that_of_the_last_hour_and_of_a_shorter_time_after_the_start() {
        let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
        let pace = Pace::new(clock.clone());
        assert_eq!(pace.hourly(), BTreeMap::new());
        for _ in 0..10 {
            clock.advance(Duration::from_secs(60));
            pace.done("pdf".to_owned());
        }
        assert_eq!(pace.hourly()["pdf"], 60.0, "ten in ten minutes");
        clock.advance(Duration::from_secs(50 * 60));
        assert_eq!(pace.hourly()["pdf"], 10.0);
        clock.advance(Duration::from_secs(9 * 60));
        assert_eq!(pace.hourly()["pdf"], 1.0, "only the last is of this hour");
        clock.advance(Duration::from_secs(60));
        assert_eq!(pace.hourly(), BTreeMap::new());
    }
}
