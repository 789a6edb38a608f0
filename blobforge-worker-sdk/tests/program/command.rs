//! Programs that are started anew for each job.

use blobforge_core::{End, Status};
use blobforge_worker_sdk::{
    WorkerError,
    program::{Command, Limits, Program},
};
use serde_json::json;

use super::*;

fn shell(script: &str) -> Command {
    Command::new("work", program(&["sh", "-c", script, "sh", "{source}", "{outdir}", "{scratch}", "{job}"]))
}

fn within(limits: Limits, script: &str) -> Command {
    let program = Program::new(["sh", "-c", script, "sh", "{source}", "{outdir}", "{scratch}"]).unwrap();
    Command::new("work", program.limits(limits))
}

#[tokio::test]
async fn a_command_that_succeeds_completes_with_every_file_it_left() {
    let bench = Bench::new();
    let id = bench.submit("dear smith", json!({"tone": "loud"})).await;
    let summary = bench
        .drain(shell(
            r#"tr a-z A-Z < "$1" > "$2/letter.txt"; mkdir -p "$2/a/b"; cp "$4" "$2/a/b/job.json"
               touch "$3/thrown-away"; echo 'sealed it'; echo 'and sent it' >&2"#,
        ))
        .await;
    let job = bench.job(id).await;
    assert_eq!((summary.completed, job.status()), (1, Status::Completed), "{:?}", job.last_error);
    let names: Vec<_> = job.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["a/b/job.json", "letter.txt"]);
    assert_eq!(bench.output(id, "letter.txt").await, "DEAR SMITH");
    let told: Value = serde_json::from_str(&bench.output(id, "a/b/job.json").await).unwrap();
    assert_eq!(
        (&told["params"]["tone"], &told["attempt"], &told["losses"]),
        (&json!("loud"), &json!(1), &json!(0))
    );
}

#[tokio::test]
async fn any_other_status_is_a_handler_error_that_ends_with_what_was_said_last() {
    let bench = Bench::new();
    let id = bench.submit("x", json!({})).await;
    bench.drain(shell("head -c 10000 /dev/zero | tr '\\0' x >&2; echo 'out of coal' >&2; exit 3")).await;
    let job = bench.job(id).await;
    assert_eq!((job.status(), job.life.failures, job.life.losses), (Status::Pending, 1, 0));
    let error = job.last_error.unwrap();
    assert_eq!(error.kind, "handler_error");
    assert!(error.message.starts_with("the command ended with exit status: 3: x"), "{}", error.message);
    assert!(error.message.ends_with("xxout of coal"), "{}", error.message);
    assert!(error.message.len() < 4200, "the last 4 KB: {}", error.message.len());
}

#[tokio::test]
async fn a_command_that_is_killed_is_a_loss_and_no_failure() {
    let bench = Bench::new();
    let id = bench.submit("x", json!({})).await;
    bench.drain(shell("kill -KILL $$")).await;
    let job = bench.job(id).await;
    assert_eq!((job.status(), job.life.failures, job.life.losses), (Status::Pending, 0, 1));
    assert_eq!(job.last_error.unwrap().kind, "killed");
    assert_eq!(bench.last_attempt(id).await.end, Some(End::Lost));
}

#[tokio::test]
async fn a_command_may_say_how_far_it_is_and_what_is_wrong() {
    let bench = Bench::new();
    let id = bench.submit("x", json!({})).await;
    bench
        .drain(shell(
            r#"echo '{"type":"progress","done":3,"total":10,"stage":"ocr"}'
               echo '{"type":"error","kind":"encrypted","message":"It needs a password."}'"#,
        ))
        .await;
    let job = bench.job(id).await;
    assert_eq!(job.status(), Status::Failed, "no other run would do better");
    assert_eq!(job.last_error.unwrap().kind, "encrypted");
    let id = bench.submit("y", json!({})).await;
    bench.drain(shell(r#"echo '{"type":"result","result":{"pages":2}}'"#)).await;
    assert_eq!(bench.job(id).await.result, Some(json!({"pages": 2})));
}

#[tokio::test]
async fn what_a_command_prints_is_in_the_jobs_log() {
    let bench = Bench::new();
    let id = bench.submit("x", json!({})).await;
    bench.drain(shell(r"echo 'page 1'; printf 'page 2\rpage 3' >&2; exit 1")).await;
    let log = bench.last_attempt(id).await.log_tail.unwrap();
    for line in ["page 1", "page 2", "page 3"] {
        assert!(log.lines().any(|said| said == line), "{log}");
    }
}

#[tokio::test]
async fn a_command_sees_no_credential_of_its_worker() {
    let bench = Bench::new();
    let id = bench.submit("x", json!({})).await;
    bench.drain(shell(r#"env > "$2/env.txt""#)).await;
    let env = bench.output(id, "env.txt").await;
    let names: Vec<_> = env.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert!(names.contains(&"PATH") && names.contains(&"BLOBFORGE_SOURCE"), "{names:?}");
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "something that it must not see");
    assert!(!names.iter().any(|name| name.starts_with("CARGO") || name.contains("TOKEN")), "{names:?}");
}

#[tokio::test]
async fn a_job_without_a_source_is_done_as_well() {
    let bench = Bench::new();
    let id = bench.submit_without_source(json!({})).await;
    bench.drain(shell(r#"test -z "$1" && echo nothing > "$2/out""#)).await;
    assert_eq!(bench.output(id, "out").await, "nothing\n");
}

#[tokio::test]
async fn a_greedy_command_is_stopped_and_the_job_is_lost_to_the_lack_of_memory() {
    let bench = Bench::new();
    let id = bench.submit("x", json!({})).await;
    bench
        .drain(within(Limits { memory_bytes: 64 << 20, ..limits() }, "tail /dev/zero & wait; sleep 1000"))
        .await;
    let job = bench.job(id).await;
    assert_eq!((job.life.failures, job.life.losses), (0, 1));
    assert_eq!(job.last_error.unwrap().kind, "host_oom");
}

#[tokio::test]
async fn a_command_that_fills_a_folder_is_stopped_for_good() {
    let flood =
        |place| format!(r#"n=0; while :; do n=$((n+1)); head -c 100000 /dev/zero > "{place}/$n"; done"#);
    let tight = Limits { output_bytes: 500_000, scratch_bytes: 500_000, ..limits() };
    for (place, kind) in [("$2", "output_exceeded"), ("$3", "scratch_exceeded")] {
        let bench = Bench::new();
        let id = bench.submit("x", json!({})).await;
        bench.drain(within(tight.clone(), &flood(place))).await;
        let job = bench.job(id).await;
        assert_eq!((job.status(), job.last_error.unwrap().kind.as_str()), (Status::Failed, kind));
    }
}

#[tokio::test]
async fn a_command_that_hangs_is_stopped() {
    let bench = Bench::new();
    let id = bench.submit("x", json!({})).await;
    let patience = Limits { no_progress: Some(Duration::from_millis(300)), ..limits() };
    bench.drain(within(patience, "trap '' TERM; while :; do sleep 60; done")).await;
    assert_eq!(bench.job(id).await.last_error.unwrap().kind, "no_progress");
    let id = bench.submit("y", json!({})).await;
    let hurry = Limits { total: Some(Duration::from_millis(300)), ..limits() };
    bench.drain(within(hurry, "while :; do echo busy; sleep 0.01; done")).await;
    assert_eq!(bench.job(id).await.last_error.unwrap().kind, "timeout");
}

#[tokio::test]
async fn a_command_that_knows_nothing_of_us_gets_on_as_long_as_it_says_or_writes_something() {
    for (number, sign) in ["echo $n", "echo $n >&2", r#"echo $n >> "$2/out""#].into_iter().enumerate() {
        let bench = Bench::new();
        let id = bench.submit(&number.to_string(), json!({})).await;
        // Each step is far below the limit, and all together are far above it.
        let patience = Limits { no_progress: Some(Duration::from_secs(3)), ..limits() };
        let script = format!("n=0; while [ $n -lt 16 ]; do n=$((n+1)); {sign}; sleep 0.3; done");
        bench.drain(within(patience, &script)).await;
        let job = bench.job(id).await;
        assert_eq!(job.status(), Status::Completed, "{sign}: {:?}", job.last_error);
    }
}

#[tokio::test]
async fn a_grandchild_that_left_the_group_does_not_survive() {
    let bench = Bench::new();
    let id = bench.submit("x", json!({})).await;
    bench
        .drain(shell(
            r#"setsid sh -c 'echo $$ > "$0/pid.tmp"; mv "$0/pid.tmp" "$0/pid"; exec sleep 1000' "$2" &
               while [ ! -e "$2/pid" ]; do sleep 0.01; done"#,
        ))
        .await;
    let survivor = bench.output(id, "pid").await.trim().parse().unwrap();
    ends(survivor).await;
}

#[tokio::test]
async fn a_command_without_network_reaches_nobody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("import socket; socket.create_connection(('127.0.0.1', {port}), 5)");
    let call = ["python3", "-c", &connect];
    let bench = Bench::new();
    let id = bench.submit("x", json!({})).await;
    bench.drain(Command::new("work", program(&call))).await;
    assert_eq!(bench.job(id).await.status(), Status::Completed, "with the network it does");
    let Ok(alone) = program(&call).without_network() else {
        eprintln!("SKIPPED: this machine does not let processes leave their network");
        return;
    };
    let id = bench.submit("y", json!({})).await;
    bench.drain(Command::new("work", alone)).await;
    let error = bench.job(id).await.last_error.expect("it reached somebody");
    assert!(error.message.contains("Network is unreachable"), "{}", error.message);
}

#[tokio::test]
async fn a_command_that_is_not_there_is_said_before_a_job_is_claimed() {
    let bench = Bench::new();
    let id = bench.submit("x", json!({})).await;
    let worker = Worker::builder(Arc::new(bench.queue.clone()))
        .handler(Command::new("work", program(&["no-such-forge", "{source}"])));
    let error = worker.drain().await.unwrap_err();
    assert!(matches!(&error, WorkerError::NotReady { job_type, .. } if job_type == "work"), "{error:?}");
    assert!(error.to_string().contains("no-such-forge") && error.to_string().contains("PATH"), "{error}");
    assert_eq!(bench.job(id).await.life.epoch.get(), 0, "nothing was claimed");
}
