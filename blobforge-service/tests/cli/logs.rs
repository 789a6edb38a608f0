//! What the service and its workers write down, and what they never do.

use reqwest::Method;
use serde_json::Value;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The lines of a log, each of them one JSON object.
fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// What the innermost span of this name says of a line.
fn span<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    line["spans"].as_array()?.iter().rev().find(|span| span["name"] == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_followed_through_the_log_by_its_id_and_a_job_by_its_trace() {
    let json = [("BLOBFORGE_LOG_FORMAT", "json"), ("RUST_LOG", "debug")];
    let forge = Forge::serve_with(&[], &json);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let submit =
        forge.request(Method::PUT, "/api/jobs/upload?type=pdf-text&name=letter.pdf&tags=canary-in-query");
    let reply = submit.header("x-request-id", "asked-by-a-test").header("traceparent", &parent).body(LETTER);
    let reply = reply.send().await.unwrap();
    assert_eq!(reply.headers()["x-request-id"], "asked-by-a-test");
    let job = reply.json::<Value>().await.unwrap()["job_id"].clone();
    for bad in ["00-zz-b7ad6b7169203331-01", "nonsense", "\u{e4}"] {
        let body = serde_json::json!({"type": "other", "source": "none", "dedup": false});
        let request = forge.request(Method::POST, "/api/jobs").header("x-request-id", "a b").json(&body);
        let reply = request.header("traceparent", bad.as_bytes()).send().await.unwrap();
        assert_eq!(reply.status(), 201, "{bad} is ignored");
        assert_eq!(reply.headers()["x-request-id"].len(), 16, "one that is no good is not repeated");
        let job = reply.json::<Value>().await.unwrap()["job_id"].clone();
        let job: Value = forge
            .request(Method::GET, &format!("/api/jobs/{job}"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(job["traceparent"], Value::Null);
    }
    let mut worker = forge.command(&["worker", "--id", "a"]);
    worker
        .arg("--work-dir")
        .arg(forge.folder.path().join("worker"))
        .envs(json)
        .env("BLOBFORGE_API_TOKEN", forge.token());
    let log = forge.folder.path().join("worker.log");
    worker.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let mut worker = worker.spawn().unwrap();
    let path = format!("/api/jobs/{job}?wait_seconds=60");
    let job: Value = forge.request(Method::GET, &path).send().await.unwrap().json().await.unwrap();
    assert_eq!((&job["status"], &job["traceparent"]), (&"completed".into(), &parent.as_str().into()));
    kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
    assert!(worker.wait().unwrap().success());

    let (service, worker) = (forge.log(), fs::read_to_string(&log).unwrap());
    let request = |line: &Value, field: &str| span(line, "request").map(|span| span[field].clone());
    let of_submission: Vec<_> = lines(&service)
        .into_iter()
        .filter(|line| request(line, "request_id").is_some_and(|id| id == "asked-by-a-test"))
        .collect();
    assert!(!of_submission.is_empty());
    for line in &of_submission {
        assert_eq!(request(line, "path").unwrap(), "/api/jobs/upload");
        assert_eq!(request(line, "trace_id").unwrap(), TRACE);
    }
    // The attempt is of the same trace, and so is what the worker asked for it.
    let attempt = lines(&worker).into_iter().find_map(|line| span(&line, "job").cloned()).unwrap();
    assert_eq!((&attempt["trace_id"], &attempt["attempt"]), (&TRACE.into(), &1.into()));
    let of_trace: Vec<_> = lines(&service)
        .into_iter()
        .filter(|line| request(line, "trace_id").is_some_and(|id| id == TRACE))
        .filter_map(|line| request(&line, "path"))
        .collect();
    for asked in ["/outputs/url", "/complete"] {
        assert!(
            of_trace.iter().any(|path| path.as_str().unwrap().ends_with(asked)),
            "{asked} in {of_trace:?}"
        );
    }
    for log in [&service, &worker] {
        let secret = forge.token();
        let secret = secret.strip_prefix("bf_").unwrap_or(&secret);
        for never in [secret, "canary-in-query", "signature=", "expires="] {
            assert!(!log.contains(never), "{never} in the log");
        }
    }
    forge.stop();
}
