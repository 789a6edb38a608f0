//! How much may run at once, how often something may start, and whose turn it is.

use serde_json::json;

use super::*;
use crate::{
    KeyLimits, LimitBy, Limits, Priority, Rate,
    storage::{Ready, Wake},
};

fn at_once(running: u32) -> Limits {
    Limits { running: Some(running), starts: None }
}

fn every(span: Duration) -> Limits {
    Limits { running: None, starts: Some(Rate { starts: 1, per: span, burst: 1 }) }
}

fn for_type(limits: Limits) -> TypeSettings {
    TypeSettings { limits, ..TypeSettings::default() }
}

fn for_submitters(limits: Limits) -> TypeSettings {
    let per_key = KeyLimits { by: LimitBy::Submitter, limits };
    // The share of the oldest would now and then take another turn.
    TypeSettings { per_key: Some(per_key), oldest_share: Some(0), ..TypeSettings::default() }
}

impl Bench {
    async fn submit_for(&self, submitter: &str, jobs: usize) -> Vec<JobId> {
        let mut ids = Vec::new();
        for _ in 0..jobs {
            ids.push(self.submit(of(submitter)).await.id);
        }
        ids
    }

    async fn submitter_of(&self, id: JobId) -> String {
        self.job(id).await.body.submitter.unwrap()
    }

    async fn turns(&self, ids: Vec<JobId>) -> String {
        let mut turns = String::new();
        for id in ids {
            turns.push_str(&self.submitter_of(id).await);
        }
        turns
    }
}

pub async fn a_type_runs_no_more_than_its_limit(bench: &Bench) {
    bench.set(for_type(at_once(2))).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("a", 4).await;
    let held = bench.claims(&worker, &["pdf"], 9).await;
    assert_eq!(held.len(), 2);
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.finish(&held[0], complete()).await;
    let next = bench.claim(&worker).await;
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.finish(&next, failed(true)).await;
    bench.finish(&held[1], Report::Release).await;
    assert_eq!(bench.claims(&worker, &["pdf"], 9).await.len(), 2, "failed and released ones make room too");
}

pub async fn a_silent_holder_makes_room(bench: &Bench) {
    bench.set(for_type(at_once(1))).await;
    let (silent, other) = (bench.worker("silent").await, bench.worker("other").await);
    bench.submit_for("a", 2).await;
    let lost = bench.claim(&silent).await;
    assert_eq!(bench.try_claim(&other).await, None);
    bench.silence().await;
    let taken = bench.claim(&other).await;
    assert_eq!(taken.job.id, lost.job.id, "the job itself is what may run");
    assert_eq!(bench.try_claim(&other).await, None);
    bench.silence().await;
    assert_eq!(bench.beat_state(&other, &taken).await, LeaseState::Held, "its holder is back");
    assert_eq!(bench.try_claim(&silent).await, None, "and counts again");
}

pub async fn a_key_runs_no_more_than_its_limit(bench: &Bench) {
    bench.set(for_submitters(at_once(1))).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("a", 3).await;
    bench.submit_for("b", 1).await;
    bench.pending().await;
    let held = bench.claims(&worker, &["pdf"], 9).await;
    let mut keys: Vec<_> = held.iter().map(|held| held.job.limit_key.as_deref()).collect();
    keys.sort_unstable();
    assert_eq!(keys, [None, Some("a"), Some("b")], "a job without a key has no limit");
    assert_eq!(bench.try_claim(&worker).await, None);
    let of_a = held.iter().find(|held| held.job.limit_key.as_deref() == Some("a")).unwrap();
    bench.finish(of_a, complete()).await;
    assert_eq!(bench.claim(&worker).await.job.limit_key.as_deref(), Some("a"));
}

pub async fn what_runs_of_a_key_counts_though_nothing_of_it_waited(bench: &Bench) {
    bench.set(for_submitters(at_once(1))).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("a", 1).await;
    let held = bench.claim(&worker).await;
    bench.maintain().await;
    let next = bench.submit_for("a", 1).await;
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.finish(&held, complete()).await;
    assert_eq!(bench.claim(&worker).await.job.id, next[0]);
}

pub async fn room_for_a_key_is_for_all_its_classes(bench: &Bench) {
    bench.set(for_submitters(at_once(1))).await;
    let worker = bench.worker_with("w1", json!({"gpu": true})).await;
    let plain = bench.submit(of("a")).await.id;
    let picky = bench.submit(of("a").requires("gpu".parse().unwrap())).await.id;
    let held = bench.claim(&worker).await;
    assert_eq!(held.job.id, plain);
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.finish(&held, complete()).await;
    assert_eq!(bench.claim(&worker).await.job.id, picky);
}

pub async fn starts_are_spread_over_time(bench: &Bench) {
    let rate = Rate { starts: 6, per: LEASE, burst: 2 };
    bench.set(for_type(Limits { running: None, starts: Some(rate) })).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("a", 5).await;
    let first = bench.commit(vec![bench.claim_command(&worker, &["pdf"], 9)]).await;
    let Ok(Done::Claimed(held)) = &first.outcomes[0] else { panic!("{first:?}") };
    assert_eq!(held.len(), 2);
    let due = bench.clock.now() + SECOND * 10;
    assert_eq!(first.next_due, Some(due), "the queue knows when to look again");
    assert_eq!(bench.maintain().await.next_due, Some(due));
    bench.advance(SECOND * 9);
    assert_eq!(bench.maintain().await.reopened, 0);
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.advance(SECOND);
    assert_eq!(bench.maintain().await.reopened, 1);
    assert_eq!(bench.claims(&worker, &["pdf"], 9).await.len(), 1);
}

pub async fn starts_of_a_key_are_spread_over_time(bench: &Bench) {
    bench.set(for_submitters(every(SECOND * 10))).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("a", 2).await;
    bench.submit_for("b", 2).await;
    assert_eq!(bench.turns(bench.claim_each(&worker, 4).await).await, "ab");
    bench.advance(SECOND * 10);
    let asked_at = bench.clock.now();
    let maintain = Maintain { asked_at, available_since: bench.began, upload_limit: LEASE, limit: 100 };
    let committed = bench.commit(vec![Command::Maintain(maintain)]).await;
    assert!(committed.ready.contains(&Ready { job_type: pdf(), wake: Wake::All }), "{committed:?}");
    assert_eq!(bench.turns(bench.claim_each(&worker, 4).await).await, "ab");
}

pub async fn keys_take_turns(bench: &Bench) {
    bench.set(for_submitters(Limits::default())).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("a", 20).await;
    bench.submit_for("b", 3).await;
    bench.submit_for("c", 2).await;
    assert_eq!(bench.turns(bench.work_off(&worker, 12).await).await, "abcabcabaaaa");
}

pub async fn a_key_that_comes_late_waits_one_round(bench: &Bench) {
    bench.set(for_submitters(Limits::default())).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("a", 9).await;
    bench.submit_for("b", 9).await;
    assert_eq!(bench.turns(bench.work_off(&worker, 5).await).await, "ababa");
    bench.submit_for("c", 9).await;
    assert_eq!(bench.turns(bench.work_off(&worker, 6).await).await, "bacbac");
}

pub async fn a_key_keeps_its_turn_when_its_only_job_gets_another_priority(bench: &Bench) {
    bench.set(for_submitters(Limits::default())).await;
    let worker = bench.worker("w1").await;
    let first = bench.submit_for("a", 1).await[0];
    bench.submit_for("b", 1).await;
    for priority in [Priority::Low, Priority::Normal] {
        bench.run(Command::Reprioritise(first, priority)).await.unwrap();
    }
    assert_eq!(bench.turns(bench.work_off(&worker, 2).await).await, "ab");
}

pub async fn urgency_goes_before_turns(bench: &Bench) {
    bench.set(for_submitters(Limits::default())).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("b", 2).await;
    for _ in 0..2 {
        bench.submit(of("a").priority(Priority::Critical)).await;
    }
    assert_eq!(bench.turns(bench.work_off(&worker, 4).await).await, "aabb");
}

pub async fn who_makes_room_wakes_those_who_wait(bench: &Bench) {
    bench.set(for_type(at_once(1))).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("a", 2).await;
    let held = bench.claim(&worker).await;
    assert_eq!(bench.try_claim(&worker).await, None);
    let quiet = bench.commit(vec![submit(of("a"))]).await;
    assert_eq!(quiet.ready, [], "there is no room for it");
    let ended = bench.commit(vec![report(&held, complete())]).await;
    assert_eq!(ended.ready, [Ready { job_type: pdf(), wake: Wake::All }]);
    let held = bench.claim(&worker).await;
    let unhindered = bench.commit(vec![report(&held, complete())]).await;
    assert_eq!(unhindered.ready, [], "nobody was turned away");
}

pub async fn a_limit_that_was_lifted_lets_everything_start(bench: &Bench) {
    bench.set(for_submitters(at_once(1))).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("a", 3).await;
    assert_eq!(bench.claim_each(&worker, 3).await.len(), 1);
    bench.set(for_type(at_once(2))).await;
    assert_eq!(bench.maintain().await.reopened, 1);
    assert_eq!(bench.claim_each(&worker, 3).await.len(), 1);
    bench.set(TypeSettings::default()).await;
    assert_eq!(bench.maintain().await.reopened, 1);
    assert_eq!(bench.claim_each(&worker, 3).await.len(), 1);
}

pub async fn a_job_keeps_the_key_it_was_submitted_under(bench: &Bench) {
    let early = bench.submit(of("a")).await.id;
    bench.set(for_submitters(at_once(1))).await;
    let late = bench.submit(of("a")).await.id;
    let worker = bench.worker("w1").await;
    assert_eq!(bench.job(early).await.limit_key, None);
    assert_eq!(bench.job(late).await.limit_key.as_deref(), Some("a"));
    assert_eq!(bench.claim_each(&worker, 3).await.len(), 2);
}

pub async fn a_cancelled_job_leaves_its_lane(bench: &Bench) {
    bench.set(for_submitters(at_once(1))).await;
    let worker = bench.worker("w1").await;
    let ids = bench.submit_for("a", 3).await;
    let held = bench.claim(&worker).await;
    assert_eq!(bench.try_claim(&worker).await, None, "the lane is hidden");
    bench.run(Command::Cancel(ids[1])).await.unwrap();
    bench.run(Command::Reprioritise(ids[2], Priority::Low)).await.unwrap();
    bench.finish(&held, complete()).await;
    assert_eq!(bench.claim(&worker).await.job.id, ids[2]);
}

pub async fn keys_without_jobs_leave_nothing_behind(bench: &Bench) {
    bench.set(for_submitters(every(SECOND))).await;
    let worker = bench.worker("w1").await;
    for n in 0..5 {
        bench.submit_for(&format!("s{n}"), 1).await;
    }
    assert_eq!(bench.work_off(&worker, 9).await.len(), 5);
    // Each key owes its second; then maintenance forgets it.
    let owed = bench.maintain().await;
    assert_eq!((owed.reopened, owed.next_due), (0, Some(bench.clock.now() + SECOND)));
    bench.advance(SECOND);
    assert_eq!(bench.maintain().await.reopened, 5);
    assert_eq!(bench.maintain().await.next_due, None);
}

/// Two at once and one every ten seconds: whichever turns a claim away, the other may still stand in the way later.
fn both() -> Limits {
    Limits { running: Some(1), starts: Some(Rate { starts: 1, per: SECOND * 10, burst: 1 }) }
}

pub async fn room_that_one_limit_makes_is_taken_once_the_other_has_some_too(bench: &Bench) {
    let worker = bench.worker("w1").await;
    for settings in [for_type(both()), for_submitters(both())] {
        bench.set(settings).await;
        bench.advance(SECOND * 60);
        bench.maintain().await;
        bench.submit_for("a", 2).await;
        let held = bench.claim(&worker).await;
        assert_eq!(bench.try_claim(&worker).await, None, "one runs");
        bench.advance(SECOND);
        let ended = bench.commit(vec![report(&held, complete())]).await;
        let due = bench.clock.now() + SECOND * 9;
        assert_eq!((ended.ready, ended.next_due), (Vec::new(), Some(due)), "the clock makes room");
        bench.advance(SECOND * 9);
        assert_eq!(bench.maintain().await.reopened, 1);
        let next = bench.claim(&worker).await;
        bench.finish(&next, complete()).await;
    }
}

pub async fn keys_take_turns_whatever_their_jobs_require(bench: &Bench) {
    bench.set(for_submitters(Limits::default())).await;
    let worker = bench.worker_with("w1", json!({"gpu": true})).await;
    let gpu = |submitter: &str| of(submitter).requires("gpu".parse().unwrap());
    for _ in 0..4 {
        bench.submit(gpu("a")).await;
    }
    bench.submit_for("b", 2).await;
    for _ in 0..2 {
        bench.submit(gpu("b")).await;
    }
    bench.submit_for("a", 2).await;
    assert_eq!(bench.turns(bench.work_off(&worker, 12).await).await, "ababababaa");
}

pub async fn keys_take_turns_though_each_is_alone_in_its_class(bench: &Bench) {
    bench.set(for_submitters(Limits::default())).await;
    let worker = bench.worker_with("w1", json!({"gpu": true})).await;
    for _ in 0..3 {
        bench.submit(of("a").requires("gpu".parse().unwrap())).await;
    }
    bench.submit_for("b", 3).await;
    assert_eq!(bench.turns(bench.work_off(&worker, 9).await).await, "ababab");
}

pub async fn a_key_with_jobs_of_two_classes_works_them_off_in_order(bench: &Bench) {
    bench.set(for_submitters(Limits::default())).await;
    let worker = bench.worker_with("w1", json!({"gpu": true})).await;
    let mut ids = Vec::new();
    for n in 0..6 {
        bench.advance(SECOND);
        let job = of("a");
        let job = if n % 3 == 0 { job.requires("gpu".parse().unwrap()) } else { job };
        ids.push(bench.submit(job).await.id);
    }
    assert_eq!(bench.work_off(&worker, 6).await, ids);
}

pub async fn a_key_waits_for_its_turn_since_its_first_job_whatever_that_required(bench: &Bench) {
    bench.set(for_submitters(Limits::default())).await;
    let worker = bench.worker("w1").await;
    bench.submit(of("a").requires("gpu".parse().unwrap())).await;
    bench.submit_for("b", 1).await;
    bench.submit_for("a", 1).await;
    assert_eq!(bench.turns(bench.work_off(&worker, 2).await).await, "ab");
}

pub async fn a_clock_set_back_delays_nobody_whom_limits_hold_back(bench: &Bench) {
    let day = Duration::from_secs(24 * 3600);
    let worker = bench.worker("w1").await;
    for settings in [for_type(every(SECOND * 10)), for_submitters(every(SECOND * 10))] {
        bench.set(settings).await;
        bench.advance(SECOND * 60);
        bench.maintain().await;
        let ids = bench.submit_for("a", 2).await;
        let held = bench.claim(&worker).await;
        assert_eq!(bench.try_claim(&worker).await, None);
        bench.clock.jump_back(day);
        let fresh = bench.submit_for("a", 1).await;
        assert_eq!(bench.maintain().await.reopened, 0, "it is a day away by the clock");
        bench.run(Command::TimeMoved).await.unwrap();
        assert_eq!(bench.maintain().await.reopened, 1);
        assert_eq!(bench.try_claim(&worker).await, None, "its ten seconds are not over");
        bench.advance(SECOND * 10);
        assert_eq!(bench.maintain().await.reopened, 1);
        let next = bench.claim(&worker).await;
        assert_eq!(next.job.id, fresh[0]);
        bench.finish(&held, complete()).await;
        bench.finish(&next, complete()).await;
        bench.run(Command::Cancel(ids[1])).await.unwrap();
        bench.clock.jump_forward(day);
    }
}

pub async fn a_time_that_moves_within_a_batch_moved_for_all_of_it(bench: &Bench) {
    bench.set(TypeSettings { limits: every(SECOND * 10), ..for_submitters(Limits::default()) }).await;
    let worker = bench.worker("w1").await;
    bench.submit_for("a", 2).await;
    bench.claim(&worker).await;
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.clock.jump_back(SECOND * (24 * 3600));
    // The first has the type read, the last has it written: another key has the next turn.
    bench.commit(vec![submit(of("a")), Command::TimeMoved, submit(of("b"))]).await;
    assert_eq!(bench.maintain().await.reopened, 1);
}
