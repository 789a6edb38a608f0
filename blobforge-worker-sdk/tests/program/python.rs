//! The helper for runners in Python.

use blobforge_core::{ManualClock, Status, Timestamp};
use blobforge_worker_sdk::{Shutdown, program::Runner};
use serde_json::json;

use super::*;

fn letters() -> Runner {
    let helper = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    Runner::new("work", program(&["python3", &fixture("letters.py")]).env("PYTHONPATH", helper))
}

async fn done(bench: &Bench, params: Value) -> Job {
    let id = bench.submit("dear smith", params).await;
    bench.drain(letters()).await;
    bench.job(id).await
}

#[tokio::test]
async fn a_handler_in_python_has_outputs_and_a_result() {
    let bench = Bench::new();
    let job = done(&bench, json!({})).await;
    assert_eq!(job.status(), Status::Completed, "{:?}", job.last_error);
    assert_eq!(job.result.as_ref().unwrap()["words"], 2);
    assert_eq!(bench.output(job.id, "deep/words.txt").await, "dear\nsmith");
}

#[tokio::test]
async fn what_python_raises_becomes_a_kind_with_its_policy() {
    let cases = [
        ("damaged", Status::Failed, "bad_input", "It is torn."),
        ("locked", Status::Failed, "encrypted", "It needs a password."),
        ("jam", Status::Pending, "handler_error", "ZeroDivisionError: it jams"),
        ("starve", Status::Pending, "host_oom", "out of memory: "),
        ("own", Status::Pending, "gpu_busy", "Not now."),
        ("long result", Status::Failed, "result_too_large", "the result has 70"),
        ("no number", Status::Pending, "handler_error", "ValueError: Out of range float"),
        ("half a character", Status::Pending, "handler_error", "OSError: b?d.pdf"),
        ("strange details", Status::Pending, "paper_jam", "It jams."),
        ("strange result", Status::Pending, "handler_error", "TypeError: Object of type set"),
    ];
    for (does, status, kind, message) in cases {
        let job = done(&Bench::new(), json!({"does": does})).await;
        let failure = job.last_error.clone().unwrap();
        assert_eq!((job.status(), failure.kind.as_str()), (status, kind), "{does}: {}", failure.message);
        assert!(failure.message.starts_with(message), "{does}: {}", failure.message);
    }
}

#[tokio::test]
async fn what_python_prints_does_not_get_between_the_lines_of_the_protocol() {
    let bench = Bench::new();
    let job = done(&bench, json!({"does": "jam"})).await;
    let log = bench.last_attempt(job.id).await.log_tail.unwrap();
    for line in ["printed by jam", "echoed", "ZeroDivisionError: it jams"] {
        assert!(log.lines().any(|said| said == line), "{line}: {log}");
    }
}

#[tokio::test]
async fn a_handler_in_python_goes_on_from_its_checkpoint() {
    let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
    let bench = Bench { queue: Queue::builder().clock(clock.clone()).open_in_memory().unwrap() };
    let job = done(&bench, json!({"does": "keep"})).await;
    assert_eq!((job.status(), job.life.losses), (Status::Pending, 1));
    clock.advance(Duration::from_secs(60 * 60));
    bench.drain(letters()).await;
    let job = bench.job(job.id).await;
    assert_eq!((job.status(), job.result), (Status::Completed, Some(json!({"losses": 1}))));
    assert_eq!(bench.output(job.id, "whole.txt").await, "the first half, the second half");
}

#[tokio::test]
async fn a_handler_in_python_tells_its_progress_and_is_called_off_at_its_next_word() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let bench = Bench::new();
    let id = bench.submit("x", json!({"does": "wait", "pid": file})).await;
    let next = bench.submit("dear smith", json!({})).await;
    let worker = Worker::builder(Arc::new(bench.queue.clone()))
        .state_dir(folder.path().join("state"))
        .handler(letters())
        .build()
        .unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    eventually("the job runs", async || fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n'))).await;
    eventually("its progress is known", async || bench.job(id).await.progress.is_some_and(|p| p.done == 1))
        .await;
    bench.queue.cancel(id).await.unwrap();
    let next = bench.queue.wait(next, Duration::from_secs(60)).await.unwrap();
    shutdown.begin();
    running.await.unwrap().unwrap();
    assert_eq!(bench.job(id).await.status(), Status::Cancelled);
    let warm: u64 = fs::read_to_string(file).unwrap().trim().parse().unwrap();
    assert_eq!(next.result.unwrap()["pid"], warm, "the interpreter stays warm");
}
