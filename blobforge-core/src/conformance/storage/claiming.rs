//! Who gets which job.

use super::*;
use crate::{
    Epoch, Priority,
    storage::{Ready, Wake},
};

pub async fn a_job_is_submitted_claimed_and_completed(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let submitted = bench.submit(new("pdf").param("lang", "de")).await;
    let id = submitted.id;
    assert_eq!(
        submitted,
        Submitted { id, existing: false, replayed: false, status: Status::Pending, upload_key: None }
    );
    bench.advance(SECOND);

    let claimed = bench.claim(&worker).await;
    let now = bench.clock.now();
    assert_eq!(claimed.job.id, id);
    assert_eq!(claimed.token.epoch, Epoch::new(1));
    assert_eq!(claimed.token.generation, bench.storage.generation());
    assert_eq!(claimed.expires_at, now + LEASE);
    assert_eq!(claimed.job.started_at, Some(now));
    assert_eq!(bench.job(id).await, claimed.job, "what the claimer is told is what is stored");
    assert_eq!(claimed.job.lease().map(|lease| &lease.worker), Some(&worker));

    bench.advance(SECOND);
    let result = Some(serde_json::json!({"pages": 3}));
    let finished = bench.finish(&claimed, Report::Complete { outputs: vec![], result: result.clone() }).await;
    assert_eq!(finished, crate::Finished { status: Status::Completed, ready_at: None });
    let job = bench.job(id).await;
    assert_eq!((job.status(), job.lease()), (Status::Completed, None));
    assert_eq!((job.ended_at, job.result), (Some(bench.clock.now()), result));
    assert_eq!(bench.try_claim(&worker).await, None, "it is not handed out again");
}

pub async fn the_more_urgent_then_the_earlier_then_the_lower_number_goes_first_across_types(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let mut ids = Vec::new();
    for (job_type, priority) in [
        ("b", Priority::Normal),
        ("a", Priority::Normal),
        ("b", Priority::Background),
        ("a", Priority::Critical),
        ("c", Priority::High),
        ("a", Priority::High),
    ] {
        ids.push(bench.submit(new(job_type).priority(priority)).await.id);
    }
    // Later by time, though of the same priority.
    bench.advance(SECOND);
    ids.push(bench.submit(new("c").priority(Priority::High)).await.id);
    let mut order = Vec::new();
    while let Some(claimed) = bench.claims(&worker, &["c", "b", "a"], 1).await.pop() {
        order.push(claimed.job.id);
    }
    assert_eq!(order, [ids[3], ids[4], ids[5], ids[6], ids[0], ids[1], ids[2]]);
}

pub async fn a_claim_takes_as_many_as_it_has_secrets(bench: &Bench) {
    let worker = bench.worker("w1").await;
    for _ in 0..5 {
        bench.pending().await;
    }
    let claimed = bench.claims(&worker, &["pdf"], 3).await;
    assert_eq!(claimed.iter().map(|c| c.job.id.get()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_ne!(claimed[0].token.secret, claimed[1].token.secret);
    assert_eq!(bench.claims(&worker, &["pdf"], 3).await.len(), 2, "and no more than there are");
}

pub async fn a_claim_takes_only_types_it_names(bench: &Bench) {
    let worker = bench.worker("w1").await;
    bench.submit(new("pdf").priority(Priority::Critical)).await;
    let video = bench.submit(new("video")).await.id;
    let claimed = bench.claims(&worker, &["video", "unheard-of"], 5).await;
    assert_eq!(claimed.iter().map(|c| c.job.id).collect::<Vec<_>>(), [video]);
}

pub async fn nothing_to_do_is_an_empty_answer(bench: &Bench) {
    let worker = bench.worker("w1").await;
    assert_eq!(bench.claims(&worker, &["pdf"], 1).await, []);
    bench.pending().await;
    assert_eq!(bench.claims(&worker, &[], 1).await, [], "no types");
    assert_eq!(bench.claims(&worker, &["pdf"], 0).await, [], "no secrets");
}

pub async fn a_scheduled_job_waits_for_its_time(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let at = bench.clock.now() + SECOND * 10;
    let id = bench.submit(new("pdf").run_at(at)).await.id;
    assert_eq!(bench.job(id).await.life.ready_at, at);
    bench.advance(SECOND * 9);
    assert_eq!(bench.maintain().await.next_due, Some(at));
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.advance(SECOND);
    let done = bench.maintain().await;
    assert_eq!((done.promoted, done.next_due), (1, None));
    assert_eq!(bench.claim(&worker).await.job.id, id);
}

pub async fn a_time_in_the_past_means_now(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let first = bench.pending().await;
    let late = bench.submit(new("pdf").run_at(bench.began - LEASE)).await.id;
    assert_eq!(bench.job(late).await.life.ready_at, bench.clock.now(), "it cannot overtake");
    assert_eq!(bench.claim(&worker).await.job.id, first);
    assert_eq!(bench.claim(&worker).await.job.id, late);
}

pub async fn a_clock_set_back_makes_a_job_wait_again(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.pending().await;
    let ready_at = bench.clock.now();
    bench.clock.set(ready_at - SECOND * 30);
    assert_eq!(bench.try_claim(&worker).await, None);
    assert_eq!(bench.maintain().await.next_due, Some(ready_at));
    bench.clock.set(ready_at);
    bench.maintain().await;
    assert_eq!(bench.claim(&worker).await.job.id, id);
}

pub async fn a_claim_puts_away_so_many_jobs_that_are_not_due_and_the_next_one_goes_on(bench: &Bench) {
    const AT_MOST: usize = 256;
    // The share of the oldest would find the one that is due.
    bench.set(TypeSettings { oldest_share: Some(0), ..TypeSettings::default() }).await;
    let worker = bench.worker("w1").await;
    let ready_at = bench.clock.now();
    bench.commit((0..=AT_MOST).map(|_| submit(new("pdf"))).collect()).await;
    bench.clock.set(ready_at - SECOND * 30);
    let due = bench.submit(new("pdf").priority(Priority::Low)).await.id;
    let stopped = bench.commit(vec![bench.claim_command(&worker, &["pdf"], 1)]).await;
    assert_eq!(stopped.outcomes, [Ok(Done::Claimed(Vec::new()))]);
    assert_eq!(stopped.ready, [Ready { job_type: pdf(), wake: Wake::All }], "whoever waits goes on");
    let next = bench.commit(vec![bench.claim_command(&worker, &["pdf"], 1)]).await;
    assert!(matches!(&next.outcomes[0], Ok(Done::Claimed(found)) if found[0].job.id == due), "{next:?}");
    assert_eq!(next.ready, [], "there are no more of them");
    bench.clock.set(ready_at);
    let maintain = Maintain {
        asked_at: ready_at,
        available_since: bench.began,
        upload_limit: LEASE,
        limit: 2 * AT_MOST,
    };
    assert_eq!(bench.maintain_with(maintain).await.promoted, AT_MOST + 1, "each waits for its time");
}

pub async fn a_long_line_is_worked_off_in_order_whoever_comes_meanwhile(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let urgent = async || bench.submit(new("pdf").priority(Priority::High)).await.id;
    let mut expected = Vec::new();
    for _ in 0..40 {
        expected.push(bench.pending().await);
    }
    expected.insert(0, urgent().await);
    let mut order = bench.work_off(&worker, 10).await;
    expected.push(bench.pending().await);
    expected.insert(10, urgent().await);
    order.extend(bench.work_off(&worker, 50).await);
    assert_eq!(order, expected);
}

pub async fn a_job_far_back_in_its_line_can_leave_it(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(bench.pending().await);
    }
    bench.run(Command::Cancel(ids[35])).await.unwrap();
    bench.run(Command::Reprioritise(ids[30], Priority::Low)).await.unwrap();
    let order = bench.work_off(&worker, 50).await;
    ids.remove(35);
    let moved = ids.remove(30);
    ids.push(moved);
    assert_eq!(order, ids);
}

pub async fn reprioritising_moves_a_job_in_line(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let (first, second, third) = (bench.pending().await, bench.pending().await, bench.pending().await);
    for (id, priority) in [(third, Priority::Critical), (first, Priority::Background)] {
        match bench.run(Command::Reprioritise(id, priority)).await {
            Ok(Done::Job(job)) => assert_eq!(job.priority, priority),
            other => panic!("{other:?}"),
        }
    }
    let order = bench.claims(&worker, &["pdf"], 3).await;
    assert_eq!(order.iter().map(|c| c.job.id).collect::<Vec<_>>(), [third, second, first]);
}

pub async fn a_scheduled_job_keeps_its_time_when_reprioritised(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let at = bench.clock.now() + SECOND * 10;
    let id = bench.submit(new("pdf").run_at(at)).await.id;
    bench.run(Command::Reprioritise(id, Priority::Critical)).await.unwrap();
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.advance(SECOND * 10);
    assert_eq!(bench.maintain().await.promoted, 1);
    assert_eq!(bench.claim(&worker).await.job.priority, Priority::Critical);
}

pub async fn a_running_job_takes_its_new_priority_back_into_the_line(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let other = bench.pending().await;
    bench.run(Command::Reprioritise(held.job.id, Priority::Background)).await.unwrap();
    let job = bench.job(held.job.id).await;
    assert_eq!((job.status(), job.priority), (Status::Running, Priority::Background));
    bench.finish(&held, Report::Release).await;
    assert_eq!(bench.claim(&worker).await.job.id, other);
    assert_eq!(bench.claim(&worker).await.job.id, held.job.id);
}

pub async fn an_ended_job_keeps_its_priority(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    bench.finish(&held, complete()).await;
    let before = bench.job(held.job.id).await;
    let refused = bench.refused(Command::Reprioritise(held.job.id, Priority::Critical)).await;
    assert_eq!(refused, Refusal::Ended(held.job.id, Status::Completed));
    assert_eq!(bench.job(held.job.id).await, before);
}

pub async fn an_unknown_worker_gets_nothing(bench: &Bench) {
    bench.pending().await;
    let nobody = WorkerId::new("nobody").unwrap();
    let refused = bench.refused(bench.claim_command(&nobody, &["pdf"], 1)).await;
    assert_eq!(refused, Refusal::WorkerNotRegistered(nobody));
    assert_eq!(bench.job(JobId::new(1)).await.status(), Status::Pending);
}

pub async fn a_draining_worker_gets_nothing_new(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let id = bench.pending().await;
    bench.run(Command::SetDraining(worker.clone(), true)).await.unwrap();
    assert_eq!(bench.try_claim(&worker).await, None);
    bench.finish(&held, complete()).await;
    bench.run(Command::SetDraining(worker.clone(), false)).await.unwrap();
    assert_eq!(bench.claim(&worker).await.job.id, id);
}
