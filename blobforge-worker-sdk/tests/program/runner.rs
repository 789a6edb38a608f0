//! Programs that stay, and everything that can be wrong with them.

use blobforge_core::{End, MAX_LOSSES, ManualClock, Status, Timestamp};
use blobforge_worker_sdk::{
    Shutdown, WorkerError,
    program::{Limits, Recycling, Runner},
};
use serde_json::json;

use super::*;

fn call(start: &[&str]) -> Program {
    let script = fixture("fake_runner.py");
    let call: Vec<&str> = ["python3", &script].into_iter().chain(start.iter().copied()).collect();
    program(&call)
}

fn runner() -> Runner {
    Runner::new("work", call(&[]))
}

/// Runs one job for each parameter, in order, in one worker; the jobs as they are then.
async fn run(bench: &Bench, runner: Runner, does: &[Value]) -> Vec<Job> {
    let mut ids = Vec::new();
    for (number, params) in does.iter().enumerate() {
        ids.push(bench.submit(&number.to_string(), params.clone()).await);
    }
    bench.drain(runner).await;
    let mut jobs = Vec::new();
    for id in ids {
        jobs.push(bench.job(id).await);
    }
    jobs
}

fn pid(job: &Job) -> u64 {
    let result = job.result.as_ref();
    let result = result.unwrap_or_else(|| panic!("job {} is {}: {:?}", job.id, job.status(), job.last_error));
    result["pid"].as_u64().unwrap()
}

fn kind(job: &Job) -> &str {
    job.last_error.as_ref().map_or("", |failure| failure.kind.as_str())
}

#[tokio::test]
async fn one_runner_does_job_after_job_and_ends_with_its_worker() {
    let jobs = run(&Bench::new(), runner(), &[json!({}), json!({}), json!({})]).await;
    let numbers: Vec<_> = jobs.iter().map(|job| job.result.as_ref().unwrap()["jobs"].clone()).collect();
    assert_eq!(numbers, [json!(1), json!(2), json!(3)]);
    assert!(jobs.iter().all(|job| pid(job) == pid(&jobs[0])), "the same process");
    assert_eq!(jobs[0].outputs[0].name, "out.txt");
    ends(pid(&jobs[0])).await;
}

#[tokio::test]
async fn a_runner_that_is_shut_down_has_time_to_tidy_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidy");
    run(&Bench::new(), runner(), &[json!({"does": "tidy", "file": file})]).await;
    assert!(file.exists(), "it was killed before it was done");
}

#[tokio::test]
async fn a_late_answer_on_another_job_is_none_on_this_one() {
    let jobs = run(&Bench::new(), runner(), &[json!({"does": "late"})]).await;
    assert_eq!(jobs[0].status(), Status::Completed, "{:?}", jobs[0].last_error);
}

#[tokio::test]
async fn a_machine_in_trouble_ends_a_drain_and_no_job_is_tried_again_and_again() {
    let jobs = run(&Bench::new(), runner(), &[json!({"does": "full"}), json!({})]).await;
    assert_eq!((jobs[0].status(), jobs[0].life.epoch.get()), (Status::Pending, 1));
    assert_eq!((jobs[0].life.failures, jobs[0].life.losses), (0, 0));
}

#[tokio::test]
async fn a_runner_that_dies_at_a_job_is_a_loss_for_it_and_the_next_job_gets_another() {
    for (does, expected) in [("crash", "crashed"), ("kill", "killed")] {
        let bench = Bench::new();
        let jobs = run(&bench, runner(), &[json!({}), json!({"does": does}), json!({})]).await;
        assert_eq!((jobs[1].life.failures, jobs[1].life.losses, kind(&jobs[1])), (0, 1, expected));
        assert_eq!(bench.last_attempt(jobs[1].id).await.end, Some(End::Lost));
        assert_ne!(pid(&jobs[0]), pid(&jobs[2]));
    }
}

#[tokio::test]
async fn a_runner_that_hangs_is_killed_though_it_sends_heartbeats() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let total = Some(Duration::from_secs(30));
    let limits = Limits { no_progress: Some(Duration::from_millis(500)), total, ..limits() };
    let stuck = json!({"does": "hang", "pid": file});
    let jobs = run(&Bench::new(), Runner::new("work", call(&[]).limits(limits)), &[stuck, json!({})]).await;
    assert_eq!((jobs[0].life.failures, kind(&jobs[0])), (1, "no_progress"));
    let hung = fs::read_to_string(file).unwrap().trim().parse().unwrap();
    assert_ne!(pid(&jobs[1]), hung);
    ends(hung).await;
}

#[tokio::test]
async fn garbage_on_standard_output_goes_to_the_log() {
    let jobs = run(&Bench::new(), runner(), &[json!({"does": "garbage"})]).await;
    assert_eq!(jobs[0].status(), Status::Completed, "{:?}", jobs[0].last_error);
}

#[tokio::test]
async fn a_runner_that_breaks_the_protocol_is_replaced() {
    for does in ["endless", "malformed", "steal"] {
        let jobs = run(&Bench::new(), runner(), &[json!({}), json!({"does": does}), json!({})]).await;
        assert_eq!((jobs[1].status(), kind(&jobs[1])), (Status::Pending, "protocol"), "{does}");
        assert_ne!(pid(&jobs[0]), pid(&jobs[2]), "{does}");
    }
}

#[tokio::test]
async fn a_runner_that_hoards_memory_is_killed_and_the_job_is_lost_to_that() {
    let limits = Limits { memory_bytes: 256 << 20, ..limits() };
    let greedy = Runner::new("work", call(&[]).limits(limits));
    let jobs = run(&Bench::new(), greedy, &[json!({"does": "hog"}), json!({})]).await;
    assert_eq!((jobs[0].life.failures, jobs[0].life.losses, kind(&jobs[0])), (0, 1, "host_oom"));
    assert_eq!(jobs[1].status(), Status::Completed);
}

#[tokio::test]
async fn no_grandchild_survives_its_runner() {
    let bench = Bench::new();
    let jobs = run(&bench, runner(), &[json!({"does": "breed"}), json!({"does": "breed and crash"})]).await;
    ends(jobs[0].result.as_ref().unwrap()["child"].as_u64().unwrap()).await;
    let log = bench.last_attempt(jobs[1].id).await.log_tail.unwrap();
    let child = log.lines().find_map(|line| line.strip_prefix("child ")).unwrap();
    ends(child.parse().unwrap()).await;
}

#[tokio::test]
async fn a_runner_that_does_not_get_ready_is_said_before_a_job_is_claimed() {
    let cases = [
        (&["never"][..], "did not say within 200ms that it is ready"),
        (
            &["dies"][..],
            "ended with exit status: 1 before it said that it is ready; it said: no coal in the cellar",
        ),
        (&["later"][..], "speaks version 7 of the protocol, and this worker speaks 1"),
    ];
    for (start, expected) in cases {
        let bench = Bench::new();
        let id = bench.submit("x", json!({})).await;
        let patience = if start == ["never"] { 200 } else { 60_000 };
        let program = call(start).ready_within(Duration::from_millis(patience));
        let worker = Worker::builder(Arc::new(bench.queue.clone())).handler(Runner::new("work", program));
        let error = worker.drain().await.unwrap_err();
        assert!(matches!(error, WorkerError::NotReady { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(bench.job(id).await.life.epoch.get(), 0, "nothing was claimed");
    }
}

#[tokio::test]
async fn a_runner_that_cannot_be_started_any_more_costs_no_job_an_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    let crash = bench.submit("0", json!({"does": "crash"})).await;
    let waits = bench.submit("1", json!({})).await;
    let once = call(&["once", folder.path().join("started").to_str().unwrap()]);
    let worker = Worker::builder(Arc::new(bench.queue.clone()))
        .state_dir(folder.path().join("state"))
        .handler(Runner::new("work", once))
        .build()
        .unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let is_over =
        async || bench.queue.history(waits).await.unwrap().iter().any(|attempt| attempt.end.is_some());
    eventually("the second job is given back", is_over).await;
    shutdown.begin();
    running.await.unwrap().unwrap();
    assert_eq!(bench.job(crash).await.life.losses, 1);
    let job = bench.job(waits).await;
    assert_eq!((job.status(), job.life.failures, job.life.losses), (Status::Pending, 0, 0));
    let history = bench.queue.history(waits).await.unwrap();
    assert!(history.iter().all(|attempt| attempt.end == Some(End::Released)), "{history:?}");
    assert_eq!(history.len(), 1, "nothing is claimed for a while");
}

#[tokio::test]
async fn a_runner_that_ends_while_it_is_idle_costs_nobody_anything() {
    let jobs = run(&Bench::new(), runner(), &[json!({"does": "work and die"}), json!({})]).await;
    assert!(jobs.iter().all(|job| job.status() == Status::Completed), "{jobs:?}");
    assert_eq!((jobs[0].life.epoch.get(), jobs[1].life.losses), (1, 0));
}

#[tokio::test]
async fn a_job_that_is_called_off_is_left_softly_and_the_runner_stays_warm() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let (cancelled, next) = call_off(folder.path(), json!({"does": "heed", "pid": file})).await;
    assert_eq!(cancelled.status(), Status::Cancelled);
    let warm: u64 = fs::read_to_string(file).unwrap().trim().parse().unwrap();
    assert_eq!(pid(&next), warm);
}

#[tokio::test]
async fn a_job_that_is_called_off_and_does_not_heed_it_is_killed_with_its_runner() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let (cancelled, next) = call_off(folder.path(), json!({"does": "hang", "pid": file})).await;
    assert_eq!(cancelled.status(), Status::Cancelled);
    let killed: u64 = fs::read_to_string(file).unwrap().trim().parse().unwrap();
    assert_ne!(pid(&next), killed);
    assert!(is_gone(killed), "the next job is claimed only then");
}

/// Has a job run until it has written its process id, calls it off, and runs another one.
async fn call_off(folder: &Path, does: Value) -> (Job, Job) {
    let bench = Bench::new();
    let id = bench.submit("0", does).await;
    let next = bench.submit("1", json!({})).await;
    let worker = Worker::builder(Arc::new(bench.queue.clone()))
        .state_dir(folder.join("state"))
        .handler(runner())
        .build()
        .unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let file = folder.join("pid");
    eventually("the job runs", async || fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n'))).await;
    bench.queue.cancel(id).await.unwrap();
    let next = bench.queue.wait(next, Duration::from_secs(60)).await.unwrap();
    shutdown.begin();
    running.await.unwrap().unwrap();
    (bench.job(id).await, next)
}

#[tokio::test]
async fn what_a_runner_kept_survives_its_death_and_the_next_attempt_goes_on_from_there() {
    let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
    let bench = Bench { queue: Queue::builder().clock(clock.clone()).open_in_memory().unwrap() };
    let id = bench.submit("x", json!({"does": "keep"})).await;
    for attempt in 1..=MAX_LOSSES + 2 {
        bench.drain(runner()).await;
        let job = bench.job(id).await;
        assert_eq!((job.status(), job.life.epoch.get()), (Status::Pending, attempt), "it advances each time");
        assert_eq!(job.life.losses, 1);
        clock.advance(Duration::from_secs(60 * 60));
    }
}

#[tokio::test]
async fn a_job_that_kills_its_runner_again_and_again_without_advancing_is_given_up_with_the_evidence() {
    let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
    let bench = Bench { queue: Queue::builder().clock(clock.clone()).open_in_memory().unwrap() };
    let id = bench.submit("x", json!({"does": "crash"})).await;
    for _ in 0..MAX_LOSSES {
        assert_eq!(bench.job(id).await.status(), Status::Pending);
        bench.drain(runner()).await;
        clock.advance(Duration::from_secs(60 * 60));
    }
    let job = bench.job(id).await;
    assert_eq!((job.status(), job.life.failures, kind(&job)), (Status::Failed, 0, "crashed"));
    let evidence = job.last_error.unwrap().message;
    assert!(evidence.contains("exit status: 3"), "{evidence}");
}

#[tokio::test]
async fn the_kind_that_a_runner_names_decides_what_becomes_of_the_job() {
    let cases = [
        ("bad_input", Status::Failed, 1, 0),
        ("handler_error", Status::Pending, 1, 0),
        ("host_oom", Status::Pending, 0, 1),
    ];
    for (named, status, failures, losses) in cases {
        let jobs = run(&Bench::new(), runner(), &[json!({"does": "fail", "kind": named}), json!({})]).await;
        let counted = (jobs[0].status(), jobs[0].life.failures, jobs[0].life.losses);
        assert_eq!((counted, kind(&jobs[0])), ((status, failures, losses), named));
        assert_eq!(jobs[1].result.as_ref().unwrap()["jobs"], json!(2), "the runner goes on");
    }
}

#[tokio::test]
async fn a_runner_is_replaced_after_its_share_of_jobs_or_when_it_has_grown() {
    let two = Recycling { jobs: Some(2), ..Recycling::default() };
    let work = vec![json!({}); 4];
    let jobs = run(&Bench::new(), Runner::new("work", call(&[]).recycling(two)), &work).await;
    assert_eq!(pid(&jobs[0]), pid(&jobs[1]));
    assert_ne!(pid(&jobs[1]), pid(&jobs[2]));
    assert_eq!(pid(&jobs[2]), pid(&jobs[3]));
    let small = Recycling { memory_bytes: Some(64 << 20), ..Recycling::default() };
    let work = [json!({}), json!({"does": "grow"}), json!({})];
    let jobs = run(&Bench::new(), Runner::new("work", call(&[]).recycling(small)), &work).await;
    assert_eq!(pid(&jobs[0]), pid(&jobs[1]));
    assert_ne!(pid(&jobs[1]), pid(&jobs[2]));
}
