//! Which pages are converted together, and what is done when that is too much for the machine.

use std::collections::{BTreeSet, VecDeque};

/// After how many ranges in a row that went well larger ones are tried again.
const GOOD_RANGES: u32 = 8;

/// The pages that are left of a document, and how many of them are taken at a time.
#[derive(Debug)]
pub(super) struct Plan {
    /// In order.
    rest: VecDeque<u32>,
    total: usize,
    /// How many pages a range has when nothing is wrong.
    most: usize,
    /// How many it has now.
    now: usize,
    /// Ranges that went well since the last one that did not.
    good: u32,
}

/// What to do with a range that was too much.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TooMuch {
    /// Its pages come again, in smaller ranges.
    Smaller,
    /// It is a single page.
    Alone(u32),
}

impl Plan {
    /// Those of `pages` that are `open`, at most `most` at a time; fewer after losses, of which nobody knows which pages
    /// were to blame.
    pub(super) fn new(pages: &[u32], open: &BTreeSet<u32>, most: usize, losses: u32) -> Self {
        let most = most.max(1);
        let rest = pages.iter().copied().filter(|page| open.contains(page)).collect();
        let now = most.checked_shr(losses).unwrap_or(0).max(1);
        Self { rest, total: pages.len(), most, now, good: 0 }
    }

    /// How many pages are done.
    pub(super) fn done(&self) -> usize {
        self.total - self.rest.len()
    }

    /// How many pages there are in all.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// The next pages; none when all are done.
    pub(super) fn next(&self) -> Option<Vec<u32>> {
        let range: Vec<_> = self.rest.iter().copied().take(self.now).collect();
        (!range.is_empty()).then_some(range)
    }

    /// The pages that [`Plan::next`] gave are done.
    pub(super) fn went_well(&mut self) {
        self.rest.drain(..self.now.min(self.rest.len()));
        self.good += 1;
        if self.good >= GOOD_RANGES {
            self.now = self.now.saturating_mul(2).min(self.most);
            self.good = 0;
        }
    }

    /// The pages that [`Plan::next`] gave killed what converted them.
    pub(super) fn was_too_much(&mut self) -> TooMuch {
        self.good = 0;
        let size = self.now.min(self.rest.len());
        match self.rest.front() {
            Some(page) if size <= 1 => TooMuch::Alone(*page),
            _ => {
                self.now = size / 2;
                TooMuch::Smaller
            }
        }
    }

    /// The single page that [`Plan::next`] gave is left out. It was to blame, and not the size of the ranges.
    pub(super) fn left_out(&mut self) {
        self.rest.pop_front();
        (self.now, self.good) = (self.most, 0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn plan(pages: u32, most: usize, losses: u32) -> Plan {
        Plan::new(&(0..pages).collect::<Vec<_>>(), &(0..pages).collect(), most, losses)
    }

    /// Converts everything on a machine that dies of some pages, and says which ranges were tried.
    fn run(mut plan: Plan, kills: impl Fn(&[u32]) -> bool) -> (Vec<Vec<u32>>, Vec<u32>) {
        let (mut tried, mut poison) = (Vec::new(), Vec::new());
        while let Some(range) = plan.next() {
            tried.push(range.clone());
            if !kills(&range) {
                plan.went_well();
            } else if let TooMuch::Alone(page) = plan.was_too_much() {
                poison.push(page);
                plan.left_out();
            }
        }
        assert_eq!(plan.done(), plan.total());
        (tried, poison)
    }

    #[test]
    fn pages_are_taken_in_ranges_and_what_is_done_is_left_out() {
        let (tried, _) = run(plan(120, 50, 0), |_| false);
        assert_eq!(tried.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 20]);
        let open = (0..10).chain(60..70).collect();
        let resumed = Plan::new(&(0..70).collect::<Vec<_>>(), &open, 50, 0);
        assert_eq!((resumed.done(), resumed.total()), (50, 70));
        let (tried, _) = run(resumed, |_| false);
        assert_eq!(tried, [[(0..10).collect::<Vec<_>>(), (60..70).collect()].concat()]);
    }

    #[test]
    fn a_page_that_kills_is_found_and_the_rest_goes_on_in_large_ranges() {
        let (tried, poison) = run(plan(120, 50, 0), |range| range.contains(&57));
        assert_eq!(poison, [57]);
        assert!(tried.len() <= 20, "{tried:?}");
        assert_eq!(tried.last().unwrap().len(), 120 - 58 - 50);
        let done: usize = tried.iter().filter(|range| !range.contains(&57)).map(Vec::len).sum();
        assert_eq!(done, 119, "every other page was converted once");
    }

    #[test]
    fn a_machine_with_little_memory_is_not_killed_at_every_range() {
        let (tried, poison) = run(plan(1000, 50, 0), |range| range.len() > 20);
        let killed = tried.iter().filter(|range| range.len() > 20).count();
        assert!(poison.is_empty() && killed <= 12, "{killed} of {}", tried.len());
    }

    #[test]
    fn losses_make_ranges_smaller_down_to_one_page() {
        assert_eq!(plan(100, 50, 1).next().unwrap().len(), 25);
        assert_eq!(plan(100, 50, 4).next().unwrap().len(), 3);
        assert_eq!(plan(100, 50, 200).next().unwrap().len(), 1);
    }

    #[test]
    fn a_long_book_does_not_stay_with_single_pages() {
        let (tried, _) = run(plan(3000, 50, 5), |_| false);
        assert!(tried.len() < 200, "a job keeps at most 1000 checkpoints: {}", tried.len());
    }
}
