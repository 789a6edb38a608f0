//! The first jobs of a lane.

use super::Place;
use crate::Timestamp;

/// The most places in a front.
pub(in crate::storage) const MAX_FRONT: usize = 16;

/// The first jobs of a lane, kept in the lane's own row: a claim among a thousand lanes then changes the rows of lanes,
/// which lie side by side, and not a thousand ends of the line of all jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct Front {
    /// In order.
    places: Vec<Place>,
    /// More of its jobs may stand in line behind these, none of them ready since before this time; `None` if there are
    /// none. They never stand before these.
    behind: Option<Timestamp>,
}

impl Front {
    /// A front as it was kept: `places` in order, and since when at most those behind them may be ready.
    pub(in crate::storage) fn new(places: Vec<Place>, behind: Option<Timestamp>) -> Self {
        Self { places, behind }
    }

    /// Its places, in order.
    pub(in crate::storage) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Before when no job in line behind it is ready, if there may be any.
    pub(in crate::storage) fn behind(&self) -> Option<Timestamp> {
        self.behind
    }

    /// Before when no job of the lane is ready; `None` if it has none.
    pub(in crate::storage) fn oldest(&self) -> Option<Timestamp> {
        self.places.iter().map(|place| place.ready_at).chain(self.behind).min()
    }

    /// Whether the lane has no jobs at all.
    pub(in crate::storage) fn is_all_empty(&self) -> bool {
        self.places.is_empty() && self.behind.is_none()
    }

    /// Whether its first job stands in line and was not fetched yet.
    pub(in crate::storage) fn is_used_up(&self) -> bool {
        self.places.is_empty() && self.behind.is_some()
    }

    /// Takes a job in. Returns the one that has to stand in line instead: this one, or the last to make room for it.
    pub(in crate::storage) fn push(&mut self, place: Place) -> Option<Place> {
        let at = self.places.partition_point(|other| *other < place);
        if at == self.places.len() && (self.behind.is_some() || at == MAX_FRONT) {
            return Some(self.put_behind(place));
        }
        self.places.insert(at, place);
        if self.places.len() <= MAX_FRONT {
            return None;
        }
        self.places.pop().map(|last| self.put_behind(last))
    }

    fn put_behind(&mut self, place: Place) -> Place {
        self.behind = Some(self.behind.map_or(place.ready_at, |behind| behind.min(place.ready_at)));
        place
    }

    /// Learns which of those behind it has really waited longest.
    pub(in crate::storage) fn oldest_behind_is(&mut self, place: Option<&Place>) {
        self.behind = place.map(|place| place.ready_at);
    }

    /// Takes a job out; `false` if it is not here.
    pub(in crate::storage) fn remove(&mut self, place: &Place) -> bool {
        let found = self.places.binary_search(place);
        found.is_ok_and(|at| {
            self.places.remove(at);
            true
        })
    }

    /// Takes in the first jobs of those that stood in line, [`MAX_FRONT`] if there are as many.
    pub(in crate::storage) fn refill(&mut self, places: Vec<Place>) {
        self.behind = self.behind.filter(|_| places.len() == MAX_FRONT);
        self.places = places;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobId, Priority, Timestamp};

    fn place(number: usize) -> Place {
        let id = i64::try_from(number).unwrap();
        Place { priority: Priority::Normal, ready_at: Timestamp::from_millis(id), id: JobId::new(id) }
    }

    #[test]
    fn who_comes_later_than_a_full_front_stands_in_line_and_so_does_everybody_after_that() {
        let mut front = Front::default();
        for number in 0..MAX_FRONT {
            assert_eq!(front.push(place(number)), None);
        }
        assert_eq!(front.behind(), None);
        assert_eq!(front.push(place(100)), Some(place(100)));
        assert!(front.remove(&place(3)) && !front.remove(&place(3)));
        assert_eq!(front.push(place(200)), Some(place(200)), "behind the one that stands there");
        assert_eq!(front.push(place(7)), None, "there is room for whoever comes before them");
    }

    #[test]
    fn who_comes_before_a_full_front_makes_the_last_of_it_stand_in_line() {
        let mut front = Front::default();
        for number in 1..=MAX_FRONT {
            front.push(place(number));
        }
        assert_eq!(front.push(place(0)), Some(place(MAX_FRONT)));
        assert_eq!(
            (front.places()[0], front.places().len(), front.behind()),
            (place(0), MAX_FRONT, Some(place(MAX_FRONT).ready_at))
        );
    }

    #[test]
    fn a_front_that_is_used_up_knows_whether_it_is_all() {
        let mut front = Front::default();
        assert!(front.is_all_empty() && !front.is_used_up());
        for number in 0..=MAX_FRONT {
            front.push(place(number));
        }
        for number in 0..MAX_FRONT {
            front.remove(&place(number));
        }
        assert!(front.is_used_up() && !front.is_all_empty());
        assert_eq!(front.oldest(), Some(place(MAX_FRONT).ready_at), "whoever stands behind it");
        assert_eq!(front.push(place(99)), Some(place(99)), "nobody overtakes those who stand in line");
        front.refill(vec![place(98)]);
        front.remove(&place(98));
        assert!(front.is_all_empty());
    }
}
