//! A worker that dies in the middle of a long book.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{Bench, paper};

/// How many pages are kept at a time if nobody says otherwise.
const RANGE: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn a_worker_killed_at_page_100_of_120_costs_one_range_at_most() {
    let bench = Bench::new().await;
    let mut first = bench.worker("first", &[]);
    let book = bench.submit("book.pdf", &paper::book(120), json!({})).await;
    let far = |job: &serde_json::Value| job["progress"]["done"].as_u64() >= Some(100);
    bench.forge.until(book, "it is at page 100", far).await;
    let looked_at = bench.models.asked("pages").await;
    assert_eq!(bench.runners("first").len(), 1);
    first.kill();
    let _second = bench.worker("second", &[]);
    let document = bench.document(book).await;
    let again = bench.models.asked("pages").await - looked_at;
    println!("killed at page 100 of 120: the second worker looked at {again} pages");
    assert!(again <= RANGE, "{again} pages were looked at again");
    for page in 1..=120 {
        let sentence = format!("In week {page} the forge made {} hinges", page * 7);
        assert_eq!(document.matches(&sentence).count(), 1, "page {page} is there once");
    }
    let job = bench.completed(book).await;
    assert_eq!(
        (&job["failures"], &job["attempts"], &job["result"]["images"]),
        (&json!(0), &json!(2), &json!(120))
    );
    assert_eq!(bench.runners("first"), Vec::<i32>::new(), "nothing of the dead worker runs");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn a_runner_that_is_killed_goes_on_in_smaller_ranges_within_the_attempt() {
    let bench = Bench::new().await;
    let _worker = bench.worker("a", &["--mode", "no-ocr", "--pages-at-a-time", "20"]);
    let well = bench.submit("well.pdf", &paper::book(1), json!({})).await;
    bench.completed(well).await;
    let [runner] = bench.runners("a")[..] else { panic!("{:?}", bench.runners("a")) };
    // The layout never answers, so that the runner is in the middle of it when it is killed.
    bench.models.trick("infer", "hang").await;
    let book = bench.submit("book.pdf", &paper::book(30), json!({})).await;
    bench.forge.until(book, "it is under way", |job| job["progress"]["stage"] == "layout").await;
    kill_process(Pid::from_raw(runner).unwrap(), Signal::KILL).unwrap();
    bench.models.trick("infer", "ok").await;
    assert!(bench.document(book).await.contains("Chapter 30"));
    let job = bench.completed(book).await;
    assert_eq!((&job["attempts"], &job["losses"]), (&json!(1), &json!(0)), "{job:#}");
    let log = std::fs::read_to_string(bench.forge.path("a.log")).unwrap();
    assert!(log.contains("20 pages were too much at a time (killed"), "{log}");
}
