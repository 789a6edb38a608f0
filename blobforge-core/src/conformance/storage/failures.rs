//! What goes wrong, and how often: groups of failures, and what an attempt leaves behind.

use super::*;
use crate::{FailureGroup, MAX_FAILURE_GROUPS};

fn failed_with(kind: &str, message: &str, retryable: bool) -> Report {
    let policy = RetryPolicy { first: Duration::ZERO, longest: Duration::ZERO };
    Report::Fail { failure: Failure::new(kind, message), retryable, policy, jitter: Jitter::NONE }
}

/// Has a new job fail for good.
async fn buried(bench: &Bench, worker: &WorkerId, kind: &str, message: &str) -> JobId {
    let id = bench.pending().await;
    let held = bench.claim(worker).await;
    assert_eq!(held.job.id, id);
    bench.finish(&held, failed_with(kind, message, false)).await;
    id
}

async fn groups(bench: &Bench) -> Vec<FailureGroup> {
    bench.storage.failure_groups(None, 1000).await.unwrap()
}

/// Kind, message, jobs and failures of each group.
async fn told(bench: &Bench) -> Vec<(String, String, u64, u64)> {
    let told = |group: FailureGroup| (group.kind, group.message, group.jobs, group.failures);
    groups(bench).await.into_iter().map(told).collect()
}

fn group(kind: &str, message: &str, jobs: u64, failures: u64) -> (String, String, u64, u64) {
    (kind.to_owned(), message.to_owned(), jobs, failures)
}

pub async fn failures_that_say_the_same_are_one_group(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let began = bench.clock.now();
    let first = buried(bench, &worker, "no_text", "page 17 of \"Lore.pdf\" has no text").await;
    bench.advance(SECOND);
    let second = buried(bench, &worker, "no_text", "Page 3 of \"Rules.pdf\" has no text").await;
    let other = buried(bench, &worker, "encrypted", "page 3 of \"Rules.pdf\" has no text").await;
    let same = "page <n> of <text> has no text";
    assert_eq!(told(bench).await, [group("no_text", same, 2, 2), group("encrypted", same, 1, 1)]);
    let found = groups(bench).await;
    assert_eq!((found[0].first_seen, found[0].last_seen), (began, began + SECOND));
    for (id, group) in [(first, 0), (second, 0), (other, 1)] {
        assert_eq!(bench.job(id).await.failure_group, Some(found[group].id));
    }
    let of_group = JobFilter { failure_group: Some(found[0].id), ..JobFilter::all(1) };
    let listed: Vec<_> = bench.list(of_group.clone()).await.iter().map(|job| job.id).collect();
    assert_eq!(listed, [second, first], "a group is listed page by page");
    let none = JobFilter { status: Some(Status::Completed), ..of_group.clone() };
    assert!(bench.list(none).await.is_empty());
    let failed = JobFilter { status: Some(Status::Failed), limit: 10, ..of_group };
    assert_eq!(bench.list(failed).await.len(), 2);
}

pub async fn a_failure_that_is_retried_counts_no_job(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.submit(new("pdf").max_attempts(2)).await.id;
    let held = bench.claim(&worker).await;
    bench.finish(&held, failed_with("io", "the disk sulks", true)).await;
    assert_eq!(told(bench).await, [group("io", "the disk sulks", 0, 1)]);
    assert_eq!(bench.job(id).await.failure_group, None);
    let held = bench.claim(&worker).await;
    bench.finish(&held, failed_with("io", "the disk sulks", true)).await;
    assert_eq!(told(bench).await, [group("io", "the disk sulks", 1, 2)]);
    assert!(bench.job(id).await.failure_group.is_some());
}

pub async fn a_retried_or_deleted_job_leaves_its_group(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let retried = buried(bench, &worker, "io", "the disk sulks").await;
    let deleted = buried(bench, &worker, "io", "the disk sulks").await;
    bench.run(Command::Retry(retried)).await.unwrap();
    assert_eq!(told(bench).await, [group("io", "the disk sulks", 1, 2)]);
    assert_eq!(bench.job(retried).await.failure_group, None);
    bench.run(Command::Delete(deleted)).await.unwrap();
    assert_eq!(told(bench).await, [group("io", "the disk sulks", 0, 2)]);
    let held = bench.claim(&worker).await;
    bench.finish(&held, failed_with("encrypted", "a password is needed", false)).await;
    let expected = [group("encrypted", "a password is needed", 1, 1), group("io", "the disk sulks", 0, 2)];
    assert_eq!(told(bench).await, expected, "it may fail for another reason");
}

pub async fn losses_are_failures_of_one_group(bench: &Bench) {
    bench.pending().await;
    for number in 1..=crate::MAX_LOSSES {
        let worker = bench.worker(&format!("smith-{number:x}-at-home")).await;
        bench.claim(&worker).await;
        bench.silence().await;
    }
    let heir = bench.worker("heir").await;
    assert_eq!(bench.try_claim(&heir).await, None, "the job is buried");
    let losses = u64::from(crate::MAX_LOSSES);
    let found = groups(bench).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind.as_str(), found[0].jobs, found[0].failures), ("worker_lost", 1, losses));
}

pub async fn a_loss_says_how_its_worker_was_lost(bench: &Bench) {
    let lost = async |id| bench.job(id).await.last_error.unwrap().message;
    let (_, silent) = bench.running("silent").await;
    bench.silence().await;
    let heir = bench.worker("heir").await;
    assert_eq!(bench.claim(&heir).await.job.id, silent.job.id);
    let message = lost(silent.job.id).await;
    assert!(message.starts_with("worker \"silent\" fell silent"), "{message}");
    bench.run(Command::RemoveWorker(heir)).await.unwrap();
    let message = lost(silent.job.id).await;
    assert!(message.starts_with("worker \"heir\" was started again or removed"), "{message}");
}

pub async fn a_source_that_is_rejected_fails_a_job_but_no_attempt(bench: &Bench) {
    let source = crate::NewSource::Upload { sha256: None, size: Some(7) };
    let id = bench.submit(new("pdf").source(source)).await.id;
    let failure = Failure::new("source_corrupt", "the file is 3 bytes long");
    bench.run(Command::RejectSource { job: id, failure }).await.unwrap();
    assert_eq!(told(bench).await, [group("source_corrupt", "the file is <n> bytes long", 1, 0)]);
    bench.run(Command::Retry(id)).await.unwrap();
    assert_eq!(told(bench).await, [group("source_corrupt", "the file is <n> bytes long", 0, 0)]);
}

pub async fn a_group_without_jobs_makes_room_for_a_new_one(bench: &Bench) {
    let worker = bench.worker("w1").await;
    buried(bench, &worker, "in_use", "the same").await;
    for round in 0..MAX_FAILURE_GROUPS.div_ceil(100) {
        bench.advance(SECOND);
        let numbers = (round * 100).max(1)..(round * 100 + 100).min(MAX_FAILURE_GROUPS);
        bench.commit(numbers.clone().map(|_| submit(new("pdf"))).collect()).await;
        let held = bench.claims(&worker, &["pdf"], numbers.len()).await;
        let fail = |(n, held)| report(held, failed_with(&format!("retried_{n}"), "the same", true));
        bench.commit(numbers.zip(&held).map(fail).collect()).await;
        bench.commit(held.iter().map(|held| Command::Cancel(held.job.id)).collect()).await;
    }
    bench.advance(SECOND);
    buried(bench, &worker, "fresh", "the same").await;
    let kinds: Vec<String> = groups(bench).await.into_iter().map(|group| group.kind).collect();
    assert_eq!(kinds[..2], ["fresh", "in_use"], "no need for a group of all others");
    assert!(!kinds.contains(&"retried_1".to_owned()), "the one that was met longest ago makes room");
}

pub async fn what_is_called_off_has_not_failed(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    bench.run(Command::Cancel(held.job.id)).await.unwrap();
    bench.finish(&held, failed(true)).await;
    assert!(groups(bench).await.is_empty());
    let worker = bench.worker("w2").await;
    bench.pending().await;
    let held = bench.claim(&worker).await;
    bench.finish(&held, Report::Release).await;
    assert!(groups(bench).await.is_empty());
}

pub async fn groups_are_each_types_own_and_the_worst_comes_first(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let bury = async |job_type: &str, kind: &str| {
        bench.advance(SECOND);
        bench.submit(new(job_type)).await;
        let held = bench.claims(&worker, &[job_type], 1).await.remove(0);
        bench.finish(&held, failed_with(kind, "the same", false)).await;
    };
    for (job_type, kind) in
        [("pdf", "once"), ("pdf", "twice"), ("pdf", "twice"), ("b", "once"), ("pdf", "late")]
    {
        bury(job_type, kind).await;
    }
    let named = |groups: Vec<FailureGroup>| -> Vec<(String, String)> {
        groups.into_iter().map(|group| (group.job_type.to_string(), group.kind)).collect()
    };
    let pair = |job_type: &str, kind: &str| (job_type.to_owned(), kind.to_owned());
    let all = [pair("pdf", "twice"), pair("pdf", "late"), pair("b", "once"), pair("pdf", "once")];
    assert_eq!(named(groups(bench).await), all);
    let of = async |job_type: &str, limit| {
        let job_type = JobType::new(job_type).unwrap();
        named(bench.storage.failure_groups(Some(&job_type), limit).await.unwrap())
    };
    assert_eq!(of("b", 10).await, [pair("b", "once")]);
    assert_eq!(of("pdf", 2).await, all[..2]);
    assert_eq!(of("nothing", 10).await, []);
}

pub async fn groups_too_many_are_one(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let mut wanted = MAX_FAILURE_GROUPS + 3;
    while wanted > 0 {
        let now = wanted.min(100);
        bench.commit((0..now).map(|_| submit(new("pdf"))).collect()).await;
        let held = bench.claims(&worker, &["pdf"], now).await;
        let reports = held
            .iter()
            .enumerate()
            .map(|(n, held)| report(held, failed_with(&format!("kind_{}", wanted - n), "the same", false)));
        bench.commit(reports.collect()).await;
        wanted -= now;
    }
    let worst = groups(bench).await.remove(0);
    assert_eq!((worst.kind.as_str(), worst.message.as_str(), worst.jobs), ("other", "(other)", 3));
    let known = buried(bench, &worker, &format!("kind_{}", MAX_FAILURE_GROUPS), "the same").await;
    assert_ne!(bench.job(known).await.failure_group, Some(worst.id), "what is known keeps its group");
    bench.submit(new("b")).await;
    let held = bench.claims(&worker, &["b"], 1).await.remove(0);
    bench.finish(&held, failed_with("new", "the same", false)).await;
    let of_b = bench.storage.failure_groups(Some(&JobType::new("b").unwrap()), 10).await.unwrap();
    assert_eq!(of_b[0].kind, "new", "another type has room of its own");
}

pub async fn an_attempt_keeps_its_host_and_the_end_of_its_log(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let id = held.job.id;
    let running = bench.storage.attempts(id).await.unwrap();
    assert_eq!((running[0].host.as_deref(), &running[0].log_tail), (Some("forge-1"), &None));
    let log = Some("page 1\npage 2: no ink".to_owned());
    let failure = Failure { log_tail: log.clone(), ..Failure::new("no_ink", "there is no ink") };
    let policy = RetryPolicy { first: Duration::ZERO, longest: Duration::ZERO };
    let report = Report::Fail { failure, retryable: true, policy, jitter: Jitter::NONE };
    let first = bench.finish(&held, report.clone()).await;
    assert_eq!(bench.finish(&held, report).await, first, "a repeated report is still the same one");
    assert_eq!(bench.job(id).await.last_error.unwrap().log_tail, None, "it is kept once");

    // The same worker on another machine.
    let mut moved = registration("w1", "first", None);
    moved.host = Some("forge-2".to_owned());
    let registration = Box::new(moved);
    bench.run(Command::Register { registration, alive_for: LEASE }).await.unwrap();
    let held = bench.claim(&worker).await;
    bench.finish(&held, complete()).await;
    let attempts = bench.storage.attempts(id).await.unwrap();
    let kept: Vec<_> = attempts.iter().map(|a| (a.host.as_deref(), a.log_tail.clone())).collect();
    assert_eq!(kept, [(Some("forge-1"), log), (Some("forge-2"), None)]);
    assert_eq!(attempts[0].failure.as_ref().unwrap().log_tail, None);
}
