//! A whole world in one thread: workers that stall and crash, submitters that repeat themselves, a store that fails, a
//! clock that jumps, and the real queue in the middle of it. Everything follows from one seed.
//!
//! A failure prints the seed of its world and the end of its story; `BLOBFORGE_SEED=<seed>` runs that one alone.
//! `BLOBFORGE_SEED_FROM=<seed>` begins elsewhere, and `BLOBFORGE_SEEDS=<number>` runs more of them, for campaigns.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod call;
mod checks;
mod labels;
mod ledger;
mod limits;
mod operator;
mod progress;
mod rules;
mod submitter;
mod trouble;
mod waiting;
mod worker;
mod world;

use world::World;

/// The types of all jobs.
pub(crate) const TYPES: [&str; 2] = ["pdf", "page"];
/// How many worlds there are unless somebody says otherwise.
const SEEDS: u64 = 2000;
/// How much of its story a world tells when it fails.
const TAIL: usize = 60;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs a quarter of the worlds, so that the four tests share the machine's cores.
fn quarter(first: u64) {
    if let Some(seed) = number("BLOBFORGE_SEED") {
        if seed % 4 == first {
            live(seed);
        }
        return;
    }
    let from = number("BLOBFORGE_SEED_FROM").unwrap_or(0);
    for n in from..from + number("BLOBFORGE_SEEDS").unwrap_or(SEEDS) / 4 {
        live(n * 4 + first);
    }
}

/// Tells the end of the story, whichever assertion ended it.
struct Telling(World, u64);

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let story = &self.0.story;
            for line in &story[story.len().saturating_sub(TAIL)..] {
                eprintln!("{line}");
            }
            eprintln!("this was BLOBFORGE_SEED={}", self.1);
        }
    }
}

/// The story of one seed, from its beginning to its end.
fn live(seed: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut telling = Telling(World::new(seed), seed);
        telling.0.live().await;
        telling.0.finish().await;
        std::mem::take(&mut telling.0.story)
    })
}

#[test]
fn worlds_keep_their_rules_1() {
    quarter(0);
}

#[test]
fn worlds_keep_their_rules_2() {
    quarter(1);
}

#[test]
fn worlds_keep_their_rules_3() {
    quarter(2);
}

#[test]
fn worlds_keep_their_rules_4() {
    quarter(3);
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in [1, 2, 3] {
        let (once, again) = (live(seed), live(seed));
        assert!(once.len() > 100, "a story of {} lines", once.len());
        assert_eq!(once, again);
    }
    assert_ne!(live(1), live(2));
}
