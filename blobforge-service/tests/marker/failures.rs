//! Models that fail, pages that kill, and people who change their minds: nothing is done that is not, and nothing is lost.

use reqwest::Method;
use serde_json::json;

use super::{Bench, paper};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn a_model_that_fails_fails_the_attempt_and_one_that_is_down_costs_none() {
    let bench = Bench::new().await;
    let _worker = bench.worker("a", &["--mode", "balanced", "--answer-within", "2"]);
    let tables = include_bytes!("../../samples/tables.pdf");
    bench.document(bench.submit("well.pdf", tables, json!({})).await).await;

    let scan = paper::scan(1);
    let cases = [
        ("500", "model_server", tables.as_slice()),
        ("hang", "model_server", tables),
        ("garbage", "model_server", tables),
        ("empty", "model_server", tables),
        ("garbage", "model_server", &scan),
        ("empty", "model_server", &scan),
    ];
    for (number, (trick, kind, pdf)) in cases.into_iter().enumerate() {
        bench.models.trick("chat", trick).await;
        let copy = [pdf, format!("\n% {number}").as_bytes()].concat();
        // A scan is asked for as a whole, so that its layout is not what fails.
        let params = if pdf == scan { json!({"mode": "fast"}) } else { json!({}) };
        let ended = bench.ended(bench.submit(&format!("{number}.pdf"), &copy, params).await).await;
        let said = &ended["last_error"];
        assert_eq!((&ended["status"], &said["kind"]), (&json!("failed"), &json!(kind)), "{trick}: {ended:#}");
        assert_eq!(ended["outputs"], json!([]), "no document with holes");
        assert!(
            said["message"].as_str().unwrap().contains("calls of vlm failed or cannot be read"),
            "{ended:#}"
        );
    }

    // Who wants what can be had gets it, with the holes counted and seen.
    bench.models.trick("chat", "500").await;
    let partial = bench.submit("partial.pdf", &scan, json!({"mode": "fast", "allow_partial": true})).await;
    assert!(bench.document(partial).await.contains("Page 1 is missing here"));
    let metadata: serde_json::Value =
        serde_json::from_str(&bench.output(partial, "metadata.json").await).unwrap();
    let calls = &metadata["model_calls"]["vlm"];
    assert!(calls["errors"].as_u64() > Some(0) && calls["errors"] == calls["calls"], "{calls}");
    assert_eq!(bench.completed(partial).await["result"]["model_errors"], calls["errors"]);

    // A server that is not there is nobody's fault: the job waits, and the worker says why.
    bench.models.trick("chat", "down").await;
    let waits = bench.submit("waits.pdf", &paper::book(2), json!({})).await;
    let look = async || {
        let workers = bench.forge.get("/api/workers").await;
        let workers = workers["items"].as_array().or(workers.as_array())?.clone();
        workers[0]["trouble"].as_str().filter(|said| said.contains("not ready")).map(str::to_owned)
    };
    bench.forge.eventually("the worker says what is wrong", look).await;
    let job = bench.forge.get(&format!("/api/jobs/{waits}")).await;
    assert_eq!((&job["status"], &job["failures"]), (&json!("pending"), &json!(0)), "{job:#}");
    bench.models.trick("chat", "ok").await;
    let done = bench.completed(waits).await;
    assert_eq!(done["failures"], json!(0));

    // A job at which a server goes down may be to blame: it does not go round for nothing for ever.
    bench.models.trick("chat", "die").await;
    let kills = bench.submit("kills.pdf", &paper::book(3), json!({})).await;
    let lost = |job: &serde_json::Value| job["losses"].as_u64() == Some(1);
    let job = bench.forge.until(kills, "it is a loss", lost).await;
    assert_eq!(job["failures"], json!(0), "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn a_card_without_room_makes_ranges_smaller_and_then_the_job_goes_elsewhere() {
    let bench = Bench::new().await;
    let _worker = bench.worker("a", &["--mode", "no-ocr", "--pages-at-a-time", "4"]);
    bench.models.trick("infer", "oom").await;
    let book = bench.submit("book.pdf", &paper::book(4), json!({})).await;
    let lost = |job: &serde_json::Value| job["losses"].as_u64() == Some(1);
    let job = bench.forge.until(book, "it is lost", lost).await;
    assert_eq!(job["failures"], json!(0), "{job:#}");
    let history = bench.forge.get(&format!("/api/jobs/{book}/history")).await;
    assert!(history.to_string().contains("gpu_oom"), "{history:#}");
    let log = std::fs::read_to_string(bench.forge.path("a.log")).unwrap();
    assert!(log.contains("4 pages were too much") && log.contains("2 pages were too much"), "{log}");
    bench.models.trick("infer", "ok").await;
    assert!(bench.document(book).await.contains("Chapter 4"));

    // The vision model says so in its own way.
    bench.models.trick("chat", "oom").await;
    let scan = bench.submit("scan.pdf", &paper::scan(1), json!({"mode": "fast"})).await;
    let job = bench.forge.until(scan, "it is lost", lost).await;
    assert_eq!(job["failures"], json!(0), "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn a_page_that_kills_its_runner_is_left_out_with_a_mark_if_that_was_asked_for() {
    let bench = Bench::new().await;
    let more = ["--mode", "no-ocr", "--pages-at-a-time", "1", "--memory-mib", "1600"];
    let _worker = bench.worker("a", &more);
    let poisoned = paper::poisoned();
    let params = json!({"allow_partial": true, "force_layout_block": "Text"});
    let partial = bench.submit("partial.pdf", &poisoned, params).await;
    let document = bench.document(partial).await;
    assert!(document.contains("This page is 600 points wide"), "{document}");
    assert!(
        document.contains("**[Page 2 is missing here: it could not be converted (host\\_oom"),
        "{document}"
    );
    let job = bench.completed(partial).await;
    assert_eq!(job["result"]["skipped_pages"], json!([1]), "{job:#}");

    let whole = bench.submit("whole.pdf", &poisoned, json!({"force_layout_block": "Text"})).await;
    let lost = |job: &serde_json::Value| job["losses"].as_u64() == Some(1);
    let job = bench.forge.until(whole, "its runner is killed", lost).await;
    assert_eq!((&job["outputs"], &job["failures"]), (&json!([]), &json!(0)), "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn a_cancel_in_the_middle_of_a_page_keeps_the_runner_warm() {
    let bench = Bench::new().await;
    let _worker = bench.worker("a", &["--mode", "balanced", "--answer-within", "60"]);
    let first = bench.submit("first.pdf", &paper::book(1), json!({})).await;
    bench.completed(first).await;
    let before = bench.runners("a");
    assert_eq!(before.len(), 1);
    bench.models.trick("chat", "hang").await;
    let stuck = bench.submit("stuck.pdf", &paper::book(2), json!({})).await;
    let in_layout =
        |job: &serde_json::Value| job["progress"]["stage"] == "layout" || job["status"] == "running";
    bench.forge.until(stuck, "it is under way", in_layout).await;
    let cancel =
        bench.forge.request(Method::POST, &format!("/api/jobs/{stuck}/cancel")).send().await.unwrap();
    assert!(cancel.status().is_success());
    assert_eq!(bench.ended(stuck).await["status"], "cancelled");
    bench.models.trick("chat", "ok").await;
    let next = bench.submit("next.pdf", &paper::book(3), json!({})).await;
    bench.completed(next).await;
    assert_eq!(bench.runners("a"), before, "the same runner has done it");
}
