//! The graphics cards of a worker's machine, as `nvidia-smi` tells of them.

mod smi;

use std::{env, ffi::OsStr, path::PathBuf, time::Duration};

use blobforge_core::GpuGauges;

use smi::Smi;
#[cfg(test)]
use smi::card_lines;

/// How often in a row `nvidia-smi` may fail before the cards count as gone.
const FAILURES: u32 = 3;
/// How long `nvidia-smi` may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A graphics card.
#[derive(Clone, Debug, PartialEq)]
struct Card {
    /// Its place in the machine, which others get when it is gone.
    index: String,
    /// Its own id.
    id: String,
    gauges: GpuGauges,
}

/// What `nvidia-smi` answered.
#[derive(Clone, Debug, Default, PartialEq)]
struct Listing {
    cards: Vec<Card>,
    /// The first line that is no card: what it complains of.
    complaint: Option<String>,
}

/// Watches the cards of this machine.
#[derive(Debug)]
pub(super) struct Cards {
    smi: Smi,
    watch: Watch,
}

/// What was seen of the cards.
#[derive(Debug, Default)]
pub(super) struct CardsSeen {
    pub(super) gauges: Vec<GpuGauges>,
    /// What is wrong with them.
    pub(super) trouble: Option<String>,
}

impl Cards {
    /// Those of this machine, if `nvidia-smi` is in one of these folders.
    pub(super) fn found_in(folders: Option<&OsStr>) -> Option<Self> {
        let programs = env::split_paths(folders?).map(|folder| folder.join("nvidia-smi"));
        Some(Self::of(programs.into_iter().find(|program| program.is_file())?, ANSWER_WITHIN))
    }

    fn of(program: PathBuf, within: Duration) -> Self {
        Self { smi: Smi::new(program, within), watch: Watch::default() }
    }

    /// Looks at them. It blocks for as long as they may take to answer.
    pub(super) fn look(&mut self) -> CardsSeen {
        let seen = self.smi.ask();
        let trouble = self.watch.judge(seen.as_ref());
        let cards = seen.map(|listing| listing.cards).unwrap_or_default();
        CardsSeen { gauges: cards.into_iter().map(|card| card.gauges).collect(), trouble }
    }
}

/// Remembers which cards there were at the start.
#[derive(Debug, Default)]
struct Watch {
    at_start: Vec<Card>,
    /// How often in a row nothing could be seen.
    failures: u32,
    trouble: Option<String>,
}

impl Watch {
    /// What is wrong after this look.
    fn judge(&mut self, seen: Result<&Listing, &String>) -> Option<String> {
        match seen {
            Ok(listing) => {
                self.failures = 0;
                if self.at_start.is_empty() {
                    self.at_start.clone_from(&listing.cards);
                }
                self.trouble = self.missing_in(listing);
            }
            // A look that fails once says nothing, neither that they are gone nor that they are back.
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= FAILURES {
                    let all: Vec<_> = self.at_start.iter().collect();
                    self.trouble = gone(&all, why);
                }
            }
        }
        self.trouble.clone()
    }

    fn missing_in(&self, listing: &Listing) -> Option<String> {
        let is_there = |card: &&Card| listing.cards.iter().any(|there| there.id == card.id);
        let missing: Vec<_> = self.at_start.iter().filter(|card| !is_there(card)).collect();
        let counted = || format!("nvidia-smi lists {} of {} GPUs", listing.cards.len(), self.at_start.len());
        gone(&missing, &listing.complaint.clone().unwrap_or_else(counted))
    }
}

/// What people are told of cards that are gone.
fn gone(missing: &[&Card], why: &str) -> Option<String> {
    let named: Vec<_> =
        missing.iter().map(|card| format!("GPU {} ({})", card.index, card.gauges.name)).collect();
    let (are, they) = match named.len() {
        0 => return None,
        1 => ("is", "it is"),
        _ => ("are", "they are"),
    };
    Some(format!("{} {are} gone: {why}; nothing is claimed until {they} back", named.join(", ")))
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
