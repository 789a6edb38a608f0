//! How fast work gets on, and when it will end.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use blobforge_core::Progress;
use tokio::{sync::Notify, time::Instant};

/// How long before the end of a job the next one is fetched, as long as nothing is known of how long that takes.
const FIRST_LEAD: Duration = Duration::from_secs(5);
/// How long at least and at most.
const LEAD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10 * 60));

/// The pace of one job, by what its handler tells.
#[derive(Debug, Default)]
pub(super) struct Pace {
    stage: Option<String>,
    /// When its present stage was first heard of, and how far it was.
    since: Option<(Instant, u64)>,
    ends_at: Option<Instant>,
}

impl Pace {
    /// Takes in how far the work is.
    pub(super) fn tell(&mut self, at: &Progress) {
        let now = Instant::now();
        if self.stage != at.stage || self.since.is_none_or(|(_, done)| at.done < done) {
            *self = Self { stage: at.stage.clone(), since: Some((now, at.done)), ends_at: None };
        }
        let Some((since, before)) = self.since else { return };
        let (done, left) = (at.done - before, at.total.map(|total| total.saturating_sub(at.done)));
        // The end of a stage says nothing of what comes then.
        self.ends_at = left.filter(|left| done > 0 && *left > 0).and_then(|left| {
            #[allow(clippy::cast_precision_loss, reason = "an estimate")]
            let factor = left as f64 / done as f64;
            let rest = Duration::try_from_secs_f64((now - since).as_secs_f64() * factor).ok()?;
            now.checked_add(rest)
        });
    }

    /// When it will be done, as far as that can be told.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.ends_at
    }
}

/// What the jobs of one worker tell about how long things take.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// The pace of a job has changed.
    pub(super) changed: Notify,
    fetch: Mutex<Option<Duration>>,
}

impl Pacing {
    /// A source came in so long. One that takes long is remembered for longer than one that does not.
    pub(super) fn fetched_in(&self, time: Duration) {
        let mut fetch = self.fetch.lock().unwrap_or_else(PoisonError::into_inner);
        *fetch = Some(fetch.map_or(time, |before| time.max((before + time) / 2)));
    }

    /// How long before the end of a job the next one is to be fetched.
    pub(super) fn lead(&self) -> Duration {
        let fetch = *self.fetch.lock().unwrap_or_else(PoisonError::into_inner);
        // Half as long again: neither the end nor the transfer is ever as foreseen.
        fetch.map_or(FIRST_LEAD, |time| (time + time / 2).clamp(LEAD.0, LEAD.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stage: &str, done: u64, total: u64) -> Progress {
        Progress { done, total: Some(total), stage: Some(stage.to_owned()), message: None }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_where_the_pace_leads() {
        let mut pace = Pace::default();
        let begun = Instant::now();
        pace.tell(&at("ocr", 0, 100));
        assert_eq!(pace.ends_at(), None, "nothing is known yet");
        tokio::time::advance(Duration::from_secs(10)).await;
        pace.tell(&at("ocr", 25, 100));
        assert_eq!(pace.ends_at(), Some(begun + Duration::from_secs(40)));
        pace.tell(&at("merge", 1, 3));
        assert_eq!(pace.ends_at(), None, "another stage has another pace");
        tokio::time::advance(Duration::from_secs(2)).await;
        pace.tell(&at("merge", 2, 3));
        assert_eq!(pace.ends_at(), Some(begun + Duration::from_secs(14)));
    }

    #[test]
    fn the_next_job_is_fetched_as_early_as_that_takes_and_not_much_earlier() {
        let pacing = Pacing::default();
        assert_eq!(pacing.lead(), FIRST_LEAD);
        pacing.fetched_in(Duration::from_secs(20));
        assert_eq!(pacing.lead(), Duration::from_secs(30));
        pacing.fetched_in(Duration::from_secs(2));
        assert_eq!(pacing.lead(), Duration::from_millis(16_500), "a slow one is remembered for a while");
        pacing.fetched_in(Duration::from_secs(60 * 60));
        assert_eq!(pacing.lead(), LEAD.1);
    }
}
