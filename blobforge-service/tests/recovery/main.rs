//! What must survive: the death of the service, the death of a worker, and a worker that wakes up too late.
//!
//! Everything here is a process of its own and speaks real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod forge;
#[allow(dead_code, reason = "the other tests use more of it")]
#[path = "../http/receiver.rs"]
mod receiver;

use std::{collections::BTreeSet, sync::Mutex};

use forge::Forge;
use futures_util::{StreamExt, stream};
use receiver::{Answer, Receiver};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;

const JOBS: usize = 200;

fn letter(number: usize) -> Vec<u8> {
    let mut bytes = include_bytes!("../../samples/letter.pdf").to_vec();
    // A comment behind the end makes it another file and the same document.
    bytes.extend(format!("\n% copy {number}\n").into_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_job_ends_once_though_the_service_is_killed() {
    let mut forge = Forge::start(2).await;
    let _workers = [forge.worker("a"), forge.worker("b")];
    let acknowledged = Mutex::new(BTreeSet::new());
    submit_all(&forge, 0..JOBS / 2, &acknowledged).await;
    // In the middle: some are done, some run, some wait, and more are being submitted.
    forge
        .eventually("some jobs are done", async || {
            forge.get("/api/stats").await["completed_jobs"].as_u64().filter(|done| *done >= 10)
        })
        .await;
    tokio::join!(
        submit_all(&forge, JOBS / 2..JOBS, &acknowledged),
        kill_once_some_came(&forge, &acknowledged)
    );
    let before = acknowledged.lock().unwrap().len();
    assert!((JOBS / 2..JOBS).contains(&before), "the service died in the middle: {before}");
    forge.bury_service();
    forge.serve().await;
    let acknowledged = acknowledged.into_inner().unwrap();
    for job in &acknowledged {
        let ended = forge.until(*job, "it ends", |job| job["completed_at"].is_string()).await;
        assert_eq!(ended["status"], "completed", "{ended}");
        let history = forge.get(&format!("/api/jobs/{job}/history")).await;
        let attempts = history["items"].as_array().or(history.as_array()).unwrap().clone();
        let completions = attempts.iter().filter(|attempt| attempt["end"] == "completed").count();
        assert_eq!(completions, 1, "one accepted result: {history}");
    }
    let one = acknowledged.first().unwrap();
    let path = format!("/api/jobs/{one}/outputs/document.md");
    let document = forge.request(Method::GET, &path).send().await.unwrap().text().await.unwrap();
    assert!(document.contains('#'), "the document is there: {document}");
}

/// The end of a job is put down in the commit in which it happens: whoever dies between that and telling it tells it later.
#[tokio::test(flavor = "multi_thread")]
async fn every_end_is_told_though_the_service_is_killed_before_it_tells_it() {
    const ENDS: usize = 40;
    let mut receiver = Receiver::start(vec![Answer::Silence; ENDS]).await;
    let mut forge = Forge::start(60).await;
    let submit = json!({"type": "work", "source": "none", "webhook": receiver.url()});
    let mut ended = BTreeSet::new();
    for _ in 0..ENDS {
        let submitted = forge.request(Method::POST, "/api/jobs").json(&submit).send().await.unwrap();
        let submitted: serde_json::Value = submitted.json().await.unwrap();
        let job = submitted["job_id"].as_i64().unwrap();
        let cancel = forge.request(Method::POST, &format!("/api/jobs/{job}/cancel"));
        assert!(cancel.send().await.unwrap().status().is_success());
        ended.insert(job);
    }
    // Some are being told, and the others wait for their turn.
    let first = receiver.heard().await;
    forge.strike_service();
    forge.bury_service();
    receiver.answer_always();
    while receiver.heard_by_now().is_some() {}
    forge.serve().await;
    let mut told = BTreeSet::new();
    let mut ids = BTreeSet::new();
    while told.len() < ENDS {
        let heard = receiver.heard().await;
        told.insert(heard.body()["job_id"].as_i64().unwrap());
        ids.insert(heard.id());
    }
    assert_eq!(told, ended);
    assert_eq!(ids.len(), ENDS, "each under a name of its own");
    assert!(ids.contains(&first.id()), "which is the same the second time");
}

/// Submits copies, eight at a time, and notes what was acknowledged. A service that is gone acknowledges nothing.
async fn submit_all(forge: &Forge, copies: std::ops::Range<usize>, acknowledged: &Mutex<BTreeSet<i64>>) {
    let submit = async |number: usize| {
        let path = format!("/api/jobs/upload?type=pdf-text&name=letter-{number}.pdf");
        let reply = forge.request(Method::PUT, &path).body(letter(number)).send().await.ok()?;
        if !reply.status().is_success() {
            return None;
        }
        let reply: serde_json::Value = reply.json().await.ok()?;
        acknowledged.lock().unwrap().insert(reply["job_id"].as_i64()?).then_some(())
    };
    stream::iter(copies).map(submit).buffer_unordered(8).collect::<Vec<_>>().await;
}

async fn kill_once_some_came(forge: &Forge, acknowledged: &Mutex<BTreeSet<i64>>) {
    let some = JOBS / 2 + 20;
    forge
        .eventually("more are acknowledged", async || {
            (acknowledged.lock().unwrap().len() >= some).then_some(())
        })
        .await;
    forge.strike_service();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_killed_worker_is_finished_by_another() {
    let forge = Forge::start(1).await;
    let gate = forge.path("gate");
    let mut killed = forge.gated_worker("killed", &gate);
    let job = forge.submit("gated").await;
    forge.until(job, "it runs", |job| job["status"] == "running" && job["worker_id"] == "killed").await;
    killed.kill();
    let _other = forge.gated_worker("other", &gate);
    std::fs::write(&gate, "").unwrap();
    let ended = forge.until(job, "it ends", |job| job["completed_at"].is_string()).await;
    assert_eq!(ended["result"]["by"], "other", "{ended}");
    let history = forge.get(&format!("/api/jobs/{job}/history")).await;
    let attempts = history["items"].as_array().or(history.as_array()).unwrap().clone();
    let ends: Vec<_> = attempts.iter().map(|attempt| attempt["end"].as_str().unwrap()).collect();
    assert_eq!(ends, ["lost", "completed"]);
    assert_eq!(ended["failures"], 0, "a killed worker is not the job's fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_past_its_lease_changes_nothing_and_lives_on() {
    let forge = Forge::start(1).await;
    let gate = forge.path("gate");
    let sleeper = forge.gated_worker("sleeper", &gate);
    let job = forge.submit("gated").await;
    forge.until(job, "it runs", |job| job["status"] == "running").await;
    sleeper.signal(Signal::STOP);
    let mut other = forge.gated_worker("other", &gate);
    forge.until(job, "another takes it", |job| job["worker_id"] == "other").await;
    // Both may finish now; the one that slept past its lease must not be heard.
    std::fs::write(&gate, "").unwrap();
    sleeper.signal(Signal::CONT);
    let ended = forge.until(job, "it ends", |job| job["completed_at"].is_string()).await;
    assert_eq!(ended["result"]["by"], "other", "{ended}");
    other.kill();
    // It still serves: the next job is its own.
    let next = forge.submit("gated").await;
    let ended = forge.until(next, "the next ends", |job| job["completed_at"].is_string()).await;
    assert_eq!(ended["result"]["by"], "sleeper", "{ended}");
    let path = format!("/api/jobs/{job}/outputs/by.txt");
    let text = forge.request(Method::GET, &path).send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "other", "what the sleeper may have sent is nobody's to see");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_survives_the_service_and_kills_everything_that_the_job_started() {
    let mut forge = Forge::start(30).await;
    let place = forge.path("place");
    // It heeds nothing, and what it starts leaves its process group.
    let script = format!(
        "trap '' TERM; setsid sleep 1000 & a=$!; sleep 1000 & echo $$ $a $! > {0}.tmp; mv {0}.tmp {0}; \
         while :; do sleep 1; done",
        place.display()
    );
    let stubborn = ["--grace", "0.2", "--heartbeat-interval", "0.3"];
    let _worker = forge.shell_worker("smith", "stubborn", &stubborn, &script);
    let job = forge.submit("stubborn").await;
    let written = forge.eventually("the job runs", async || std::fs::read_to_string(&place).ok()).await;
    let processes: Vec<u32> = written.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert!(processes.iter().all(|process| is_alive(*process)), "{processes:?}");
    let cancel = forge.request(Method::POST, &format!("/api/jobs/{job}/cancel")).send().await.unwrap();
    assert!(cancel.status().is_success(), "{cancel:?}");
    forge.strike_service();
    forge.bury_service();
    forge.serve().await;
    let ended = forge.until(job, "it is called off", |job| job["status"] == "cancelled").await;
    assert_eq!((&ended["failures"], &ended["losses"]), (&0.into(), &0.into()), "{ended}");
    // The worker reports the end when everything is dead, and not before.
    assert!(!processes.iter().any(|process| is_alive(*process)), "{processes:?}");
    let next = forge.submit("stubborn").await;
    forge.until(next, "the next job runs", |job| job["status"] == "running").await;
}

/// Whether a process runs; a zombie only waits for whoever inherits it.
fn is_alive(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}
