//! How often the audit takes down that somebody came, left, or was turned away: who may do so at will would otherwise push
//! out what others did.

use std::{sync::Arc, time::Duration};

use blobforge_core::Clock;

use super::budget::Budget;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// How often in an hour it takes down that one person came or left.
const OF_ONE: u32 = 10;
/// How many it turns away that it takes down in an hour, each of them once.
const TURNED_AWAY: u32 = 50;

/// What of comings and goings is taken down.
#[derive(Debug)]
pub(super) struct Entries {
    of_one: Option<Budget>,
    refusals_of_one: Option<Budget>,
    refusals: Option<Budget>,
}

impl Entries {
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        let budget = |name, entries| Budget::within(HOUR, name, entries, clock.clone());
        Self {
            of_one: budget("comings", OF_ONE),
            refusals_of_one: budget("refusal", 1),
            refusals: budget("refusals", TURNED_AWAY),
        }
    }

    /// Whether it is taken down that this person comes or leaves.
    pub(super) fn takes_coming_of(&self, person: &str) -> bool {
        has_room(self.of_one.as_ref(), person)
    }

    /// Whether it is taken down that this person is turned away.
    pub(super) fn takes_refusal_of(&self, person: &str) -> bool {
        has_room(self.refusals_of_one.as_ref(), person) && has_room(self.refusals.as_ref(), "all")
    }
}

fn has_room(budget: Option<&Budget>, who: &str) -> bool {
    budget.is_none_or(|budget| budget.spend(who.to_owned()).is_ok())
}

#[cfg(test)]
mod tests {
    use blobforge_core::{ManualClock, Timestamp};

    use super::*;

    #[test]
    fn who_knocks_all_the_time_is_taken_down_once_an_hour_and_a_crowd_not_without_end() {
        let manual = Arc::new(ManualClock::new(Timestamp::ZERO));
        let clock: Arc<dyn Clock> = manual.clone();
        let entries = Entries::new(&clock);
        let taken = |who: &str| (0..100).filter(|_| entries.takes_refusal_of(who)).count();
        assert_eq!((taken("eve"), taken("tom")), (1, 1));
        manual.advance(HOUR);
        assert_eq!(taken("eve"), 1);
        let crowd = (0..1000).filter(|n| entries.takes_refusal_of(&n.to_string())).count();
        assert_eq!(crowd, TURNED_AWAY as usize - 1);
        let comings = (0..100).filter(|_| entries.takes_coming_of("ann")).count();
        assert_eq!(comings, OF_ONE as usize);
        assert!(entries.takes_coming_of("bob"));
    }
}
