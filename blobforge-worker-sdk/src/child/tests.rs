//! Real children, mostly shell scripts. Nothing here waits for a fixed time: a child hangs for ever until it is
//! stopped, and what must become true is polled for.
#![allow(clippy::async_yields_async, reason = "a future that is dropped half-way is what is tested")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;

fn script(text: &str) -> (ChildSpec, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let spec = ChildSpec::new("/bin/sh", folder.path())
        .arg("-c")
        .arg(text)
        .env("OUT", folder.path())
        // The default search path of sh need not hold sleep.
        .env("PATH", "/usr/bin:/bin");
    (spec, folder)
}

fn impatient() -> ChildLimits {
    ChildLimits {
        no_progress: Some(Duration::from_millis(200)),
        grace: Duration::from_millis(200),
        ..ChildLimits::default()
    }
}

async fn run_quietly(spec: ChildSpec) -> Result<serde_json::Value, ChildError> {
    run(spec, CancellationToken::new(), |_| {}).await
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The process id that a script wrote, once it is there.
async fn process_id(file: &Path) -> String {
    let mut id = String::new();
    eventually("the script writes its process id", || {
        id = fs::read_to_string(file).unwrap_or_default();
        id.ends_with('\n')
    })
    .await;
    id.trim().to_owned()
}

/// A zombie counts as gone: it only waits for whoever inherits it.
fn is_gone(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .map(|stat| stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
        .unwrap_or(true)
}

#[tokio::test]
async fn a_result_and_the_progress_before_it_arrive() {
    let (spec, _folder) = script(
        r#"echo '{"type":"progress","done":1,"total":2,"stage":"convert","message":"page 1"}'
           echo 'a stray line'
           echo '{"type":"novelty","x":1}'
           echo '{"type":"heartbeat"}'
           echo '{"type":"progress","done":2,"total":2}'
           printf '{"type":"result","result":{"pages":2}}'"#,
    );
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let result =
        run(spec, CancellationToken::new(), move |progress| sink.lock().unwrap().push(progress)).await;
    assert_eq!(result.unwrap(), json!({"pages": 2}));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        seen[0],
        ChildProgress {
            done: Some(1),
            total: Some(2),
            stage: Some("convert".into()),
            message: Some("page 1".into()),
            steps: None
        }
    );
}

#[tokio::test]
async fn a_named_error_arrives_whatever_the_exit_status() {
    for status in [0, 7] {
        let (spec, _folder) = script(&format!(
            r#"echo '{{"type":"error","kind":"encrypted","message":"It needs a password."}}'; exit {status}"#
        ));
        let error = run_quietly(spec).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), ("encrypted", false));
        assert_eq!(error.to_string(), "It needs a password.");
    }
}

#[tokio::test]
async fn a_crash_keeps_the_status_and_the_end_of_stderr() {
    let (spec, _folder) = script("head -c 10000 /dev/zero | tr '\\0' x >&2; echo 'out of coal' >&2; exit 3");
    let error = run_quietly(spec).await.unwrap_err();
    assert!(error.is_retryable());
    let ChildError::Crashed { status, signal, stderr } = error else { panic!("{error:?}") };
    assert_eq!((status.as_str(), signal), ("exit status: 3", None));
    assert_eq!(stderr.len(), 4096);
    assert!(stderr.ends_with("xxout of coal\n"), "{stderr}");

    let (spec, _folder) = script("kill -SEGV $$");
    let error = run_quietly(spec).await.unwrap_err();
    assert!(matches!(&error, ChildError::Crashed { signal: Some(11), .. }), "{error:?}");
}

#[tokio::test]
async fn a_result_followed_by_a_crash_is_no_result() {
    let (spec, _folder) = script(r#"echo '{"type":"result","result":1}'; exit 9"#);
    let error = run_quietly(spec).await.unwrap_err();
    assert_eq!(error.kind(), "crashed", "{error:?}");
}

#[tokio::test]
async fn a_result_counts_although_the_child_lingers() {
    let (mut spec, _folder) = script(r#"echo '{"type":"result","result":1}'; while :; do sleep 60; done"#);
    spec.limits.grace = Duration::from_millis(100);
    assert_eq!(run_quietly(spec).await.unwrap(), json!(1));
}

#[tokio::test]
async fn silence_at_the_end_is_a_broken_protocol() {
    let (spec, _folder) = script("exit 0");
    assert_eq!(run_quietly(spec).await.unwrap_err().kind(), "protocol");
    let (spec, _folder) = script(r#"echo '{"type":"progress","done":-1}'; sleep 1000"#);
    assert_eq!(run_quietly(spec).await.unwrap_err().kind(), "protocol");
}

#[tokio::test]
async fn heartbeats_and_repeated_progress_do_not_keep_a_child_alive() {
    let (mut spec, _folder) = script(
        r#"while :; do echo '{"type":"heartbeat"}'; echo '{"type":"progress","done":1}'; sleep 0.01; done"#,
    );
    spec.limits = impatient();
    let error = run_quietly(spec).await.unwrap_err();
    assert!(matches!(error, ChildError::NoProgress { .. }), "{error:?}");
}

#[tokio::test]
async fn advancing_progress_keeps_a_child_alive_beyond_the_limit() {
    // Thirty steps of which each alone is far below the limit, and all together far above it.
    let (mut spec, _folder) = script(
        r#"n=0; while [ $n -lt 30 ]; do n=$((n+1)); echo '{"type":"progress","done":'$n'}'; sleep 0.1; done
           echo '{"type":"result","result":"done"}'"#,
    );
    spec.limits.no_progress = Some(Duration::from_millis(2_500));
    assert_eq!(run_quietly(spec).await.unwrap(), json!("done"));
}

#[tokio::test]
async fn the_total_limit_ends_even_a_child_that_advances() {
    let (mut spec, _folder) =
        script(r#"n=0; while :; do n=$((n+1)); echo '{"type":"progress","done":'$n'}'; sleep 0.01; done"#);
    spec.limits.total = Some(Duration::from_millis(300));
    assert_eq!(run_quietly(spec).await.unwrap_err().kind(), "timeout");
}

#[tokio::test]
async fn a_child_that_ignores_the_request_to_end_is_killed() {
    let (mut spec, folder) = script(
        r#"trap '' TERM; echo $$ > "$OUT/id.tmp"; mv "$OUT/id.tmp" "$OUT/id"; while :; do sleep 60; done"#,
    );
    spec.limits.grace = Duration::from_millis(100);
    let cancel = CancellationToken::new();
    let running = tokio::spawn(run(spec, cancel.clone(), |_| {}));
    let child = process_id(&folder.path().join("id")).await;
    cancel.cancel();
    assert_eq!(running.await.unwrap().unwrap_err().kind(), "cancelled");
    assert!(is_gone(&child));
}

#[tokio::test]
async fn a_child_that_is_asked_to_end_may_tidy_up() {
    let (spec, folder) = script(
        r#"trap 'touch "$OUT/tidy"; exit 0' TERM; echo $$ > "$OUT/id.tmp"; mv "$OUT/id.tmp" "$OUT/id"
           while :; do sleep 0.01; done"#,
    );
    let cancel = CancellationToken::new();
    let running = tokio::spawn(run(spec, cancel.clone(), |_| {}));
    process_id(&folder.path().join("id")).await;
    cancel.cancel();
    assert_eq!(running.await.unwrap().unwrap_err().kind(), "cancelled");
    assert!(folder.path().join("tidy").exists());
}

#[tokio::test]
async fn a_child_that_takes_too_much_memory_is_killed() {
    // The hog is a grandchild: memory counts for the whole group.
    let (mut spec, _folder) = script("tail /dev/zero & wait; sleep 1000");
    spec.limits.memory_bytes = 64 << 20;
    let error = run_quietly(spec).await.unwrap_err();
    let ChildError::MemoryExceeded { used, limit } = error else { panic!("{error:?}") };
    assert!(used > limit && limit == 64 << 20);
}

#[tokio::test]
async fn a_refused_allocation_is_named_as_such() {
    let (spec, _folder) = script("echo 'memory allocation of 77000000000 bytes failed' >&2; kill -ABRT $$");
    let error = run_quietly(spec).await.unwrap_err();
    assert!(matches!(error, ChildError::MemoryExceeded { used: 77_000_000_000.., .. }), "{error:?}");
}

#[tokio::test]
async fn a_child_that_writes_without_end_is_stopped() {
    let (mut spec, _folder) =
        script(r#"n=0; while :; do n=$((n+1)); head -c 100000 /dev/zero > "$OUT/$n"; sleep 0.01; done"#);
    spec.limits.output_bytes = 500_000;
    spec.limits.grace = Duration::from_millis(100);
    assert_eq!(run_quietly(spec).await.unwrap_err().kind(), "output_exceeded");
}

#[tokio::test]
async fn an_endless_line_is_a_broken_protocol() {
    let (spec, _folder) = script("cat /dev/zero");
    let error = run_quietly(spec).await.unwrap_err();
    assert!(matches!(&error, ChildError::Protocol(reason) if reason.contains("65536")), "{error:?}");
}

#[tokio::test]
async fn endless_stderr_hides_no_result() {
    let (spec, _folder) = script(r#"cat /dev/zero >&2 & echo '{"type":"result","result":5}'"#);
    assert_eq!(run_quietly(spec).await.unwrap(), json!(5));
}

#[tokio::test]
async fn cancelling_leaves_no_grandchild() {
    let (mut spec, folder) =
        script(r#"sleep 1000 & echo $! > "$OUT/id.tmp"; mv "$OUT/id.tmp" "$OUT/id"; trap '' TERM; wait"#);
    spec.limits.grace = Duration::from_millis(100);
    let cancel = CancellationToken::new();
    let running = tokio::spawn(run(spec, cancel.clone(), |_| {}));
    let grandchild = process_id(&folder.path().join("id")).await;
    assert!(!is_gone(&grandchild));
    cancel.cancel();
    assert_eq!(running.await.unwrap().unwrap_err().kind(), "cancelled");
    eventually("the grandchild is gone", || is_gone(&grandchild)).await;
}

#[tokio::test]
async fn a_dropped_future_leaves_neither_child_nor_grandchild() {
    let (spec, folder) = script(
        r#"sleep 1000 & echo $! > "$OUT/g.tmp"; mv "$OUT/g.tmp" "$OUT/g"
           echo $$ > "$OUT/c.tmp"; mv "$OUT/c.tmp" "$OUT/c"; wait"#,
    );
    let running = tokio::spawn(run(spec, CancellationToken::new(), |_| {}));
    let child = process_id(&folder.path().join("c")).await;
    let grandchild = process_id(&folder.path().join("g")).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    eventually("child and grandchild are gone", || is_gone(&child) && is_gone(&grandchild)).await;
}

#[tokio::test]
async fn a_grandchild_does_not_outlive_a_child_that_succeeds() {
    // It holds the pipes too, which must not hold up the answer.
    let (spec, folder) = script(
        r#"sleep 1000 & echo $! > "$OUT/id.tmp"; mv "$OUT/id.tmp" "$OUT/id"
           echo '{"type":"result","result":null}'"#,
    );
    assert_eq!(run_quietly(spec).await.unwrap(), json!(null));
    let grandchild = process_id(&folder.path().join("id")).await;
    eventually("the grandchild is gone", || is_gone(&grandchild)).await;
}

#[tokio::test]
async fn the_environment_holds_what_was_listed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("env");
    let spec = ChildSpec::new("/bin/sh", folder.path())
        .arg("-c")
        .arg(r#"tr '\0' '\n' < /proc/self/environ > "$1"; echo '{"type":"result","result":null}'"#)
        .arg("sh")
        .arg(&file)
        .env("PATH", "/usr/bin:/bin")
        .env("COAL", "black");
    run_quietly(spec).await.unwrap();
    let environment = fs::read_to_string(file).unwrap();
    // /proc/self is `tr`, whose environment sh extends by these two.
    let mut names: Vec<_> =
        environment.lines().filter(|line| !line.starts_with("PWD=") && !line.starts_with("_=")).collect();
    names.sort_unstable();
    assert_eq!(names, ["COAL=black", "PATH=/usr/bin:/bin"]);
}

#[tokio::test]
async fn standard_input_is_empty() {
    let (spec, _folder) = script(r#"read line || echo '{"type":"result","result":"no input"}'"#);
    assert_eq!(run_quietly(spec).await.unwrap(), json!("no input"));
}

#[tokio::test]
async fn a_program_that_is_not_there_cannot_be_started() {
    let folder = tempfile::tempdir().unwrap();
    let error = run_quietly(ChildSpec::new("/nonexistent/forge", folder.path())).await.unwrap_err();
    assert_eq!(error.kind(), "spawn_failed");
}

#[tokio::test]
async fn work_cancelled_before_it_began_starts_no_child() {
    let (spec, folder) = script(r#"touch "$OUT/started""#);
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert_eq!(run(spec, cancel, |_| {}).await.unwrap_err().kind(), "cancelled");
    assert!(!folder.path().join("started").exists());
}

#[test]
fn a_child_outlives_the_thread_that_asked_for_it() {
    // A child that wants to die with its parent dies with the thread that started it, so that thread must stay.
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return;
    }
    let (mut spec, folder) = script(
        r#"touch "$OUT/started"; while [ ! -e "$OUT/go" ]; do sleep 0.01; done
           echo '{"type":"result","result":"alive"}'"#,
    );
    spec.args.splice(0..0, ["--pdeathsig".into(), "KILL".into(), spec.program.into_os_string()]);
    spec.program = setpriv.to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let started = folder.path().join("started");
    let asking = std::thread::spawn(move || {
        handle.block_on(async move {
            let mut running = Box::pin(run(spec, CancellationToken::new(), |_| {}));
            tokio::select! {
                ended = &mut running => panic!("{ended:?}"),
                () = eventually("the child starts", || started.exists()) => running,
            }
        })
    });
    let running = asking.join().unwrap();
    fs::write(folder.path().join("go"), []).unwrap();
    assert_eq!(runtime.block_on(running).unwrap(), json!("alive"));
}
