//! How an attempt ends, and what becomes of the job.

use serde_json::json;

use super::*;

pub async fn a_completed_job_has_its_outputs_and_its_result(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    let (text, page) = (content(1000), content(70_001));
    let outputs =
        vec![bench.put(&held, "text.md", &text).await, bench.put(&held, "pages/1.png", &page).await];
    assert_eq!((outputs[0].size, outputs[0].sha256), (1000, Some(hash(&text))));
    let ending = Ending::Complete { outputs, result: Some(json!({"pages": 1})) };
    let finished = bench.finish(&held, ending).await;
    assert_eq!((finished.status, finished.ready_at), (Status::Completed, None));
    let job = bench.job(held.job).await;
    assert_eq!((job.status(), job.result), (Status::Completed, Some(json!({"pages": 1}))));
    let named: Vec<_> = job.outputs.iter().map(|o| (o.name.as_str(), o.size, o.sha256)).collect();
    assert_eq!(named, [("text.md", 1000, Some(hash(&text))), ("pages/1.png", 70_001, Some(hash(&page)))]);
    assert_eq!(bench.output(held.job, "text.md").await, text);
    assert!(bench.output(held.job, "pages/1.png").await == page, "the content is the same");
    assert_eq!(bench.ends(held.job).await, [Some(End::Completed)]);
}

pub async fn a_failure_that_may_pass_is_tried_again_later(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let failure =
        Failure { details: Some(json!({"page": 3})), ..Failure::new("encrypted", "a password is needed") };
    let before = bench.queue.now();
    let finished = bench.finish(&held, Ending::Fail { failure: failure.clone(), retryable: true }).await;
    assert_eq!(finished.status, Status::Pending);
    let job = bench.job(held.job).await;
    assert_eq!((job.status(), job.life.failures, job.last_error), (Status::Pending, 1, Some(failure)));
    assert_eq!(finished.ready_at, Some(job.life.ready_at));
    assert!(job.life.ready_at > before, "it waits first");
    assert!(bench.try_claim(&worker).await.is_none());
}

pub async fn a_crash_is_a_loss_that_the_next_attempt_knows_of(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    assert_eq!(held.losses, 0);
    let failure = Failure::new("host_oom", "killed at 31 GB");
    let finished = bench.finish(&held, Ending::Crash(failure.clone())).await;
    assert_eq!(finished.status, Status::Pending);
    let job = bench.job(held.job).await;
    assert_eq!((job.life.failures, job.life.losses, job.last_error), (0, 1, Some(failure)));
    assert_eq!(bench.ends(held.job).await, [Some(End::Lost)]);

    let (worker, lost) = bench.lost().await;
    assert_eq!(lost.losses, 0);
    let again = bench.claim(&worker).await;
    assert_eq!((again.job, again.losses), (lost.job, 1), "whoever takes it next is told");
}

pub async fn a_permanent_failure_ends_the_job(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    assert_eq!(bench.finish(&held, failed(false)).await.status, Status::Failed);
    let job = bench.job(held.job).await;
    assert_eq!((job.status(), job.life.failures), (Status::Failed, 1));
    assert_eq!(job.last_error.unwrap().kind, "encrypted");
}

pub async fn the_last_allowed_failure_ends_the_job(bench: &Bench) {
    let worker = bench.worker("a").await;
    let id = bench.submit(new("pdf").max_attempts(1)).await;
    let held = bench.claim(&worker).await;
    assert_eq!(bench.finish(&held, failed(true)).await.status, Status::Failed);
    assert_eq!(bench.job(id).await.status(), Status::Failed);
}

pub async fn a_release_costs_nothing_and_keeps_the_place_in_line(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    bench.submit(new("pdf")).await;
    let place = bench.job(held.job).await.life.ready_at;
    assert_eq!(bench.finish(&held, Ending::Release).await.status, Status::Pending);
    let life = bench.job(held.job).await.life;
    assert_eq!((life.failures, life.losses, life.ready_at), (0, 0, place));
    let again = bench.claim(&worker).await;
    assert_eq!((again.job, again.failures), (held.job, 0));
    assert_ne!(again.token, held.token);
    assert_eq!(bench.ends(held.job).await, [Some(End::Released), None]);
}

pub async fn a_snooze_costs_nothing_and_waits(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let (before, hour) = (bench.queue.now(), Duration::from_secs(3600));
    let finished = bench.finish(&held, Ending::Snooze(hour)).await;
    let until = finished.ready_at.expect("it has a time");
    assert!(before + hour <= until && until <= bench.queue.now() + hour, "{until}");
    assert_eq!(finished.status, Status::Pending);
    let life = bench.job(held.job).await.life;
    assert_eq!((life.failures, life.losses, life.ready_at), (0, 0, until));
    assert!(bench.try_claim(&worker).await.is_none());
}

pub async fn the_same_ending_again_gets_the_same_answer(bench: &Bench) {
    let worker = bench.worker("a").await;
    let hour = Duration::from_secs(3600);
    for ending in [complete(), failed(true), failed(false), Ending::Release, Ending::Snooze(hour)] {
        let id = bench.submit(new("picture")).await;
        let wish = Wish { types: vec![job_type("picture")], ..wish(&worker, 1, Duration::ZERO) };
        let held = bench.broker.claim(&wish).await.unwrap().pop().unwrap();
        let first = bench.finish(&held, ending.clone()).await;
        let after = bench.job(id).await;
        assert_eq!(bench.finish(&held, ending.clone()).await, first, "{ending:?}");
        assert_eq!(bench.job(id).await, after, "{ending:?}");
        assert_eq!(bench.ends(id).await.len(), 1, "{ending:?}");
        if !after.status().is_final() {
            bench.queue.cancel(id).await.unwrap();
        }
    }
}

pub async fn another_ending_of_an_ended_attempt_is_refused(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    bench.finish(&held, complete()).await;
    let after = bench.job(held.job).await;
    for ending in [failed(true), failed(false), Ending::Release, Ending::Snooze(Duration::ZERO)] {
        let refused = bench.broker.finish(&held, ending.clone()).await;
        assert!(is_refused(&refused), "{ending:?}: {refused:?}");
    }
    assert_eq!(bench.job(held.job).await, after);
}

pub async fn a_report_under_an_older_lease_changes_nothing(bench: &Bench) {
    let (worker, old) = bench.lost().await;
    let current = bench.claim(&worker).await;
    assert_eq!(current.job, old.job);
    let before = bench.job(old.job).await;
    for ending in [complete(), failed(true), failed(false), Ending::Release, Ending::Snooze(Duration::ZERO)] {
        let refused = bench.broker.finish(&old, ending.clone()).await;
        assert!(is_lost(&refused), "{ending:?}: {refused:?}");
    }
    assert_eq!(bench.job(old.job).await, before);
    assert_eq!(bench.finish(&current, complete()).await.status, Status::Completed);
    assert!(is_lost(&bench.broker.finish(&old, complete()).await), "also when the job has ended");
}

pub async fn a_forged_lease_is_refused(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let forged = forged(&held);
    let before = bench.job(held.job).await;
    assert!(is_lost(&bench.broker.finish(&forged, complete()).await));
    assert_eq!(bench.job(held.job).await, before);
    assert_eq!(bench.beat_state(&worker, &forged).await, LeaseState::Lost);
    bench.finish(&held, complete()).await;
    assert!(is_lost(&bench.broker.finish(&forged, complete()).await), "also when the attempt has ended");
}

pub async fn a_job_called_off_ends_as_cancelled_when_it_is_released(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    bench.queue.cancel(held.job).await.unwrap();
    assert_eq!(bench.finish(&held, Ending::Release).await.status, Status::Cancelled);
    assert_eq!(bench.job(held.job).await.status(), Status::Cancelled);
    assert_eq!(bench.ends(held.job).await, [Some(End::Cancelled)]);
}

pub async fn a_completion_that_comes_first_beats_a_cancel(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    bench.queue.cancel(held.job).await.unwrap();
    assert_eq!(bench.finish(&held, complete()).await.status, Status::Completed);
}

pub async fn a_result_too_large_is_refused_and_the_lease_lives_on(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let of_bytes = |bytes| Some(serde_json::Value::from("x".repeat(bytes - 2)));
    let over = Ending::Complete { outputs: Vec::new(), result: of_bytes(crate::MAX_RESULT_BYTES + 1) };
    let refused = bench.broker.finish(&held, over).await;
    assert!(is_refused(&refused), "{refused:?}");
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("output file"), "{text}");
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
    let full = Ending::Complete { outputs: Vec::new(), result: of_bytes(crate::MAX_RESULT_BYTES) };
    assert_eq!(bench.finish(&held, full).await.status, Status::Completed);
}

pub async fn a_failure_told_at_length_is_cut_and_kept(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    let mut failure = Failure::new("io", "é".repeat(crate::MAX_FAILURE_MESSAGE_BYTES));
    failure.details = Some(vec!["x".repeat(1000); 1000].into());
    let kept = failure.clone().cut();
    assert_ne!(kept, failure);
    bench.finish(&held, Ending::Fail { failure, retryable: false }).await;
    assert_eq!(bench.job(held.job).await.last_error, Some(kept));
}

pub async fn a_failure_keeps_its_machine_and_the_end_of_its_log(bench: &Bench) {
    let (_, held) = bench.running("a").await;
    let log = "x".repeat(2 * crate::MAX_LOG_TAIL_BYTES) + "the end";
    let failure = Failure { log_tail: Some(log), ..Failure::new("no_ink", "there is no ink") };
    bench.finish(&held, Ending::Fail { failure, retryable: false }).await;
    let attempts = bench.queue.history(held.job).await.unwrap();
    assert_eq!(attempts[0].host.as_deref(), Some("forge-1"));
    let kept = attempts[0].log_tail.as_deref().unwrap();
    assert!(kept.ends_with("xthe end") && kept.len() <= crate::MAX_LOG_TAIL_BYTES, "{}", kept.len());
}
