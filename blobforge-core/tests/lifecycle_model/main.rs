//! The lifecycle, explored exhaustively in a small world.
//!
//! Every state that a job can get into is visited, breadth first, and every step is taken in it at every time, with
//! every lease token that somebody could show. Nothing is sampled: within the bounds of [`space::Space`], a rule that
//! holds here holds. Time is drawn anew for each step, so that clocks which jump, even backwards, are part of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod diagram;
mod rules;
mod space;

use std::{env, time::Duration};

use blobforge_core::{Life, MAX_LOSSES, NewLease, Phase, Reply, Step, lifecycle};
use space::{Exploration, Space, at, generation, secret, worker};

/// How much larger the worlds are than every commit can afford: BLOBFORGE_MODEL_MORE, which campaigns set.
fn more() -> u32 {
    env::var("BLOBFORGE_MODEL_MORE").map_or(0, |more| more.parse().expect("BLOBFORGE_MODEL_MORE is a number"))
}

/// Long lives at few times: enough claims for a job to be given up for the workers it lost.
fn long_lives() -> Space {
    Space {
        times: vec![0, 1, 3],
        run_at: vec![None],
        durations: vec![1],
        snoozes: vec![0, 3],
        backoff: 1,
        epochs: MAX_LOSSES + 1,
        workers: 1,
        witnesses: false,
    }
}

/// Short lives at many times, with two workers, two lease times and a wish not to run before a time.
fn short_lives() -> Space {
    Space {
        times: (0..4 + i64::from(more())).collect(),
        run_at: vec![None, Some(2)],
        durations: vec![1, 2],
        snoozes: vec![0, 3],
        backoff: 1,
        epochs: 2 + more(),
        workers: 2,
        witnesses: false,
    }
}

/// Lives of which one ended attempt, any one, is remembered until the end, so that every report which comes late or
/// twice meets every state that the job can be in by then.
fn remembered_lives() -> Space {
    Space {
        times: vec![0, 2],
        run_at: vec![None],
        durations: vec![2],
        snoozes: vec![2],
        backoff: 1,
        epochs: 3 + more(),
        workers: 2,
        witnesses: true,
    }
}

/// Explores a world under all rules, says how large it was, and fails if it was suspiciously small.
fn explore(name: &str, space: &Space, at_least: (usize, usize)) -> Exploration {
    let explored = space::explore(space, rules::check);
    println!("{name}: {} states, {} edges", explored.states.len(), explored.edges);
    assert!(explored.states.len() >= at_least.0, "the world of {name} has collapsed: fewer states than ever");
    assert!(explored.edges >= at_least.1, "the world of {name} has collapsed: fewer edges than ever");
    explored
}

#[test]
fn every_rule_holds_in_long_lives() {
    let explored = explore("long lives", &long_lives(), (3_000, 400_000));
    every_life_can_end(&long_lives(), &explored);
}

#[test]
fn every_rule_holds_in_short_lives_at_many_times() {
    let explored = explore("short lives", &short_lives(), (3_000, 600_000));
    every_life_can_end(&short_lives(), &explored);
}

#[test]
fn every_rule_holds_for_reports_that_come_late_or_twice() {
    let explored = explore("remembered lives", &remembered_lives(), (7_500, 900_000));
    every_life_can_end(&remembered_lives(), &explored);
}

/// Nothing hangs: even if nobody calls it off, every job can still reach an end, and unless somebody asked for its
/// cancellation that end can be a result.
fn every_life_can_end(space: &Space, explored: &Exploration) {
    let ends = explored.that_can_reach(|life| life.phase.status().is_final() || on_the_horizon(space, life));
    let succeeds =
        explored.that_can_reach(|life| life.phase == Phase::Completed || on_the_horizon(space, life));
    for (number, state) in explored.states.iter().enumerate() {
        if state.life.phase.status().is_final() {
            continue;
        }
        assert!(ends[number], "no end can be reached any more from:\n{}", explored.story(number));
        let called_off = matches!(&state.life.phase, Phase::Running(lease) if lease.cancel_requested);
        assert!(succeeds[number] || called_off, "no result can be reached from:\n{}", explored.story(number));
    }
}

/// Whether the walk did not follow this life's next claim, which is the last one or comes after the last time.
/// It goes on all the same, since such a job is claimable when its time comes.
fn on_the_horizon(space: &Space, life: &Life) -> bool {
    let last = space.times.last().copied().map(at).unwrap();
    if life.phase != Phase::Pending || (life.epoch.get() < space.epochs && life.ready_at <= last) {
        return false;
    }
    let lease = NewLease {
        generation: generation(),
        secret: secret(0, life.epoch.next()),
        worker: worker(0),
        host: None,
        claim_id: None,
        duration: Duration::from_millis(1),
    };
    let claimed = lifecycle::apply(life, None, &Step::Claim(lease), life.ready_at);
    claimed.is_ok_and(|claimed| claimed.reply == Reply::Done)
}

#[test]
fn the_diagram_in_architecture_md_shows_what_the_lifecycle_does() {
    // Without witnesses and with few times all arrows are there already; the long world below proves it.
    let arrows = space::explore(&long_lives(), |_| Ok(())).arrows;
    diagram::check(&arrows);
}
