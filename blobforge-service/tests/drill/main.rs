//! The drill: the disk is lost, and the service comes back from its copy. With Litestream itself, which `scripts/drill` installs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[allow(dead_code)]
#[path = "../../../blobforge-core/tests/bucket/mod.rs"]
mod bucket;
mod copies;
mod house;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use blobforge_core::{
    JobType, Queue, WorkerId,
    blob::{BlobStore, ObjectBlobs},
    broker::{Assignment, Broker, BrokerError, Ending, Wish},
};
use blobforge_worker_sdk::client::Client;
use futures_util::future::join_all;
use house::House;

/// How many programs hand in jobs at the same time.
const SUBMITTERS: usize = 4;

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// What was acknowledged: each job with the time at which its submitter heard of it.
type Acknowledged = Arc<Mutex<BTreeMap<i64, f64>>>;

fn wish(worker: &WorkerId, job_type: &str) -> Wish {
    let types = vec![JobType::new(job_type).unwrap()];
    Wish { worker: worker.clone(), types, limit: 100, wait: Duration::ZERO, claim_id: None }
}

fn complete() -> Ending {
    Ending::Complete { outputs: Vec::new(), result: None }
}

/// Does what waits until nothing does any more, or the service is gone.
async fn work_off(client: &Client, worker: &WorkerId) {
    while let Ok(assigned) = client.claim(&wish(worker, "work")).await {
        if assigned.is_empty() {
            return;
        }
        join_all(assigned.iter().map(|work| client.finish(work, complete()))).await;
    }
}

/// A lease that somebody holds when the disk is lost.
async fn held(house: &House, client: &Client, name: &str) -> Assignment {
    let worker = house.worker(client, name, "held").await;
    house.submit("held").await.unwrap();
    client.claim(&wish(&worker, "held")).await.unwrap().remove(0)
}

/// Hands in a file of its own.
async fn hand_in_file(house: &House, client: &Client, name: &str) -> i64 {
    let path = house.disk().with_file_name(name);
    std::fs::write(&path, format!("the content of {name}")).unwrap();
    let file = blobforge_worker_sdk::client::SubmitFile::new(JobType::new("file").unwrap(), path);
    client.submit_file(file, |_, _| {}).await.unwrap().job_id.get()
}

/// What one loss cost.
struct Loss {
    jobs: usize,
    /// For how long before the end jobs were lost that had been acknowledged.
    span: f64,
    lag: f64,
}

/// The disk is lost under load, and everything that was copied is there again.
async fn lose_the_disk(house: &mut House, round: usize, highest: &mut i64) -> Loss {
    let client = house.client();
    let acknowledged: Acknowledged = Arc::default();
    let lease = held(house, &client, &format!("holder-{round}")).await;
    let file = hand_in_file(house, &client, &format!("letter-{round}")).await;
    let submitters: Vec<_> = (0..SUBMITTERS)
        .map(|_| {
            let (http, url, acknowledged) =
                (house.http.clone(), house.url("/api/jobs"), acknowledged.clone());
            tokio::spawn(async move {
                let body = serde_json::json!({"type": "work", "source": "none"});
                loop {
                    let sent = http.post(&url).bearer_auth(house::TOKEN).json(&body).send().await;
                    let Ok(reply) = sent.and_then(reqwest::Response::error_for_status) else { return };
                    let Ok(reply) = reply.json::<serde_json::Value>().await else { return };
                    acknowledged.lock().unwrap().insert(reply["job_id"].as_i64().unwrap(), seconds());
                }
            })
        })
        .collect();
    let worker = house.worker(&client, &format!("smith-{round}"), "work").await;
    let working = {
        let (client, worker) = (house.client(), worker.clone());
        tokio::spawn(async move { work_off(&client, &worker).await })
    };

    // Long enough for several copies to be made meanwhile.
    let first = house.copied_after(house.copied_at().await.max(seconds())).await;
    let second = house.copied_after(first).await;
    house.copied_after(second).await;
    let lag = house.metric("blobforge_backup_lag_seconds").await.unwrap();
    house.kill();
    let end = seconds();
    for submitter in submitters {
        submitter.await.unwrap();
    }
    working.await.unwrap();
    house.lose_disk();

    house.serve().await;
    let there = house.jobs();
    let acknowledged = Arc::try_unwrap(acknowledged).unwrap().into_inner().unwrap();
    assert!(acknowledged.len() > 10, "there was no load");
    let lost: Vec<f64> =
        acknowledged.iter().filter(|(id, _)| !there.contains_key(id)).map(|(_, at)| *at).collect();
    let too_many = lost.iter().filter(|at| **at < first).count();
    assert_eq!(too_many, 0, "{too_many} jobs are gone that had been copied at {first}\n{}", house.log());
    assert!(there.contains_key(&file) && there.contains_key(&lease.job.get()));

    // Nobody's lease outlives it, and what was handed out before is not handed out again.
    let refused = client.finish(&lease, complete()).await.unwrap_err();
    assert!(matches!(refused, BrokerError::LeaseLost(_)), "{refused}");
    *highest = acknowledged.keys().copied().max().unwrap().max(*highest);
    let next = house.submit("work").await.unwrap();
    assert!(next > *highest, "job {next} comes behind job {highest}");
    *highest = next;

    // Work goes on to the end.
    let worker = house.worker(&client, &format!("heir-{round}"), "work").await;
    work_off(&client, &worker).await;
    let heir = house.worker(&client, &format!("heir-of-{round}"), "held").await;
    let again = client.claim(&wish(&heir, "held")).await.unwrap().remove(0);
    assert_eq!(again.job, lease.job, "what ran waits again");
    client.finish(&again, complete()).await.unwrap();
    let unfinished = house.jobs().into_iter().filter(|(_, status)| *status == 1).count();
    assert_eq!(unfinished, round, "only the files wait, which nobody works on");
    let span = lost.iter().map(|at| end - at).fold(0.0, f64::max);
    Loss { jobs: lost.len(), span, lag }
}

/// Promise 11: what was copied comes back, older leases are void, ids go on, and no file is collected.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes litestream: scripts/drill"]
async fn a_lost_disk_comes_back_but_for_the_lag_and_voids_older_leases() {
    let rounds = std::env::var("BLOBFORGE_DRILLS").map_or(10, |number| number.parse().unwrap());
    let mut house = House::new().await;
    // An empty bucket: an empty database is begun.
    house.serve().await;
    assert_eq!(house.generation(), 1);
    let (mut highest, mut last) = (0, 1);
    for round in 1..=rounds {
        let begun = Instant::now();
        let loss = lose_the_disk(&mut house, round, &mut highest).await;
        println!(
            "drill {round}: {} jobs lost, of the last {:.2} s; the lag was {:.2} s; took {:.1} s",
            loss.jobs,
            loss.span,
            loss.lag,
            begun.elapsed().as_secs_f64()
        );
        let generation = house.generation();
        assert!(generation > last, "{generation} after {last}");
        last = generation;
    }
    // Nothing was collected, nor will be for a while.
    let files = ObjectBlobs::s3(&blobforge_core::blob::S3Options {
        prefix: "forge".to_owned(),
        ..house.bucket.options()
    })
    .unwrap();
    let database = house.look();
    let mut select = database.prepare("SELECT source_key FROM jobs WHERE source_key IS NOT NULL").unwrap();
    let keys: Vec<String> =
        select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(keys.len(), rounds);
    for key in keys {
        assert!(files.size(&key).await.unwrap().is_some(), "{key} is gone");
    }
    house.stop();
    let queue = Queue::builder().blobs(Arc::new(files)).open(house.database()).await.unwrap();
    let garbage = queue.collect_garbage(false).await.unwrap();
    assert!(garbage.paused_until.is_some_and(|until| until > queue.now()), "{garbage:?}");
}
