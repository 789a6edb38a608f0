//! The next job is fetched, and the last one's files are sent, while a job is being done. Tokio's clock is paused: it jumps
//! to whatever is waited for next.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod faulty;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use blobforge_core::{
    End, JobId, JobType, ManualClock, NewJob, Queue, Registration, Status, Timestamp, TypeSettings, WorkerId,
    blob::read_bytes, broker::Broker,
};
use blobforge_worker_sdk::{JobContext, Shutdown, Summary, Worker};
use faulty::Faulty;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

const WORK: Duration = Duration::from_secs(100);
const STEPS: u64 = 100;

fn queue() -> Queue {
    Queue::builder().clock(Arc::new(ManualClock::new(Timestamp::ZERO))).open_in_memory().unwrap()
}

async fn submit(queue: &Queue, number: u64) -> JobId {
    let source = read_bytes(format!("page {number}"));
    queue.submit_stream(NewJob::new("work").unwrap(), source, 100).await.unwrap().id
}

/// When each job was worked on, in their order.
type Shifts = Arc<Mutex<Vec<(Instant, Instant)>>>;

/// A worker that tells how far it is, as far as `tells` says.
fn worker(
    broker: Arc<dyn Broker>,
    concurrency: usize,
    tells: bool,
) -> (JoinHandle<Summary>, Shutdown, Shifts, TempDir) {
    let (folder, shifts) = (tempfile::tempdir().unwrap(), Shifts::default());
    let (noted, shutdown) = (shifts.clone(), Shutdown::new());
    let worker = Worker::builder(broker)
        .concurrency(concurrency)
        .state_dir(folder.path())
        .handle("work", move |job: JobContext| {
            let noted = noted.clone();
            async move {
                job.source_file().await?;
                let begun = Instant::now();
                for step in 0..STEPS {
                    sleep(WORK / STEPS as u32).await;
                    if tells {
                        job.progress(step + 1, STEPS, "pages", "");
                    }
                }
                noted.lock().unwrap().push((begun, Instant::now()));
                job.work_done().await;
                job.output_bytes("text", "text").await?;
                Ok(Value::Null)
            }
        })
        .build()
        .unwrap();
    let running = shutdown.clone();
    let running = tokio::spawn(async move { worker.run(running).await.unwrap() });
    (running, shutdown, shifts, folder)
}

async fn all_end(queue: &Queue, jobs: &[JobId]) {
    for id in jobs {
        let job = queue.wait(*id, Duration::from_secs(3600)).await.unwrap();
        assert_eq!(job.status(), Status::Completed, "{:?}", job.last_error);
    }
}

/// A queue whose sources take so long that the next job is claimed many heartbeats before it can begin.
fn slow_to_fetch(queue: &Queue) -> Arc<Faulty> {
    Arc::new(Faulty::new(queue.clone()).sources_take(WORK / 4))
}

/// Which part of the time from the first job's beginning to the last one's end was work.
fn busy(shifts: &Shifts) -> f64 {
    let shifts = shifts.lock().unwrap();
    let (begun, ended) = (shifts.first().unwrap().0, shifts.last().unwrap().1);
    let worked: Duration = shifts.iter().map(|(begun, ended)| *ended - *begun).sum();
    worked.as_secs_f64() / (ended - begun).as_secs_f64()
}

async fn busy_with(tells: bool) -> f64 {
    let queue = queue();
    let slow = Faulty::new(queue.clone()).sources_take(WORK / 2).transfers_take(WORK / 2);
    let mut jobs = Vec::new();
    for number in 0..20 {
        jobs.push(submit(&queue, number).await);
    }
    let (running, shutdown, shifts, _folder) = worker(Arc::new(slow), 1, tells);
    all_end(&queue, &jobs).await;
    shutdown.begin();
    assert_eq!(running.await.unwrap().completed, 20);
    busy(&shifts)
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_busy_although_transfers_take_half_as_long_as_the_work() {
    let busy = busy_with(true).await;
    assert!(busy >= 0.95, "busy for {busy:.3} of the time");
    // Without a word of its progress nobody knows when to fetch; what is done is sent meanwhile all the same.
    let dumb = busy_with(false).await;
    assert!((0.6..0.7).contains(&dumb), "busy for {dumb:.3} of the time");
}

#[tokio::test(start_paused = true)]
async fn no_more_jobs_send_at_once_than_work_at_once() {
    let queue = queue();
    let slow = Faulty::new(queue.clone()).transfers_take(WORK * 3);
    let mut jobs = Vec::new();
    for number in 0..4 {
        jobs.push(submit(&queue, number).await);
    }
    let (running, shutdown, shifts, _folder) = worker(Arc::new(slow), 1, true);
    all_end(&queue, &jobs).await;
    shutdown.begin();
    running.await.unwrap();
    let shifts = shifts.lock().unwrap();
    let begun: Vec<u64> = shifts.iter().map(|(begun, _)| (*begun - shifts[0].0).as_secs()).collect();
    // The second is done at 200 and waits until the first has been sent, at 400; and so on.
    assert_eq!(begun, [0, 100, 400, 700]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_claimed_ahead_before_the_job_is_nearly_done() {
    let queue = queue();
    let (first, second) = (submit(&queue, 1).await, submit(&queue, 2).await);
    let (running, shutdown, _, _folder) = worker(Arc::new(queue.clone()), 1, true);
    let status = async |id| queue.job(id).await.unwrap().status();
    sleep(WORK - Duration::from_secs(10)).await;
    assert_eq!((status(first).await, status(second).await), (Status::Running, Status::Pending));
    all_end(&queue, &[first, second]).await;
    shutdown.begin();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_claimed_ahead_is_given_back_to_a_worker_that_waits() {
    let queue = queue();
    let (first, second) = (submit(&queue, 1).await, submit(&queue, 2).await);
    let (running, shutdown, _, _folder) = worker(slow_to_fetch(&queue), 1, true);
    while queue.job(second).await.unwrap().status() != Status::Running {
        sleep(Duration::from_secs(1)).await;
    }
    let (other, types) = (WorkerId::new("other").unwrap(), [JobType::new("work").unwrap()]);
    queue.register(Registration::new(other.clone(), types.clone(), "secret")).await.unwrap();
    let claimed = tokio::time::timeout(WORK, queue.claim(&other, &types, 1, WORK)).await;
    let claimed = claimed.expect("it was not given back").unwrap();
    assert_eq!(claimed[0].job.id, second);
    assert_eq!(queue.job(first).await.unwrap().status(), Status::Running, "while the first one still runs");
    let history = queue.history(second).await.unwrap();
    assert_eq!(history[0].end, Some(End::Released));
    let job = queue.job(second).await.unwrap();
    assert_eq!((job.life.failures, job.life.losses), (0, 0));
    all_end(&queue, &[first]).await;
    shutdown.begin();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_job_claimed_ahead_is_given_back_at_a_shutdown() {
    let queue = queue();
    let (_, second) = (submit(&queue, 1).await, submit(&queue, 2).await);
    let (running, shutdown, _, _folder) = worker(slow_to_fetch(&queue), 1, true);
    while queue.job(second).await.unwrap().status() != Status::Running {
        sleep(Duration::from_secs(1)).await;
    }
    shutdown.begin();
    running.await.unwrap();
    let job = queue.job(second).await.unwrap();
    assert_eq!((job.status(), job.life.failures, job.life.losses), (Status::Pending, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_called_off_while_it_waits_is_never_begun() {
    let queue = queue();
    let jobs = [submit(&queue, 1).await, submit(&queue, 2).await, submit(&queue, 3).await];
    let (running, shutdown, shifts, _folder) = worker(slow_to_fetch(&queue), 1, true);
    while queue.job(jobs[1]).await.unwrap().status() != Status::Running {
        sleep(Duration::from_secs(1)).await;
    }
    queue.cancel(jobs[1]).await.unwrap();
    all_end(&queue, &[jobs[0], jobs[2]]).await;
    assert_eq!(queue.job(jobs[1]).await.unwrap().status(), Status::Cancelled);
    shutdown.begin();
    running.await.unwrap();
    assert_eq!(shifts.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_drains_gives_back_what_it_claimed_ahead() {
    let queue = queue();
    let (first, second) = (submit(&queue, 1).await, submit(&queue, 2).await);
    let (running, shutdown, shifts, _folder) = worker(slow_to_fetch(&queue), 1, true);
    while queue.job(second).await.unwrap().status() != Status::Running {
        sleep(Duration::from_secs(1)).await;
    }
    let id = queue.workers().await.unwrap().remove(0).registration.id;
    queue.set_draining(id, true).await.unwrap();
    all_end(&queue, &[first]).await;
    sleep(WORK).await;
    assert_eq!(queue.job(second).await.unwrap().status(), Status::Pending);
    assert_eq!(shifts.lock().unwrap().len(), 1);
    shutdown.begin();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_room_to_send_is_no_silence() {
    let queue = queue();
    let settings = TypeSettings { no_progress: Some(WORK), ..TypeSettings::default() };
    queue.set_type(JobType::new("work").unwrap(), settings).await.unwrap();
    let slow = Faulty::new(queue.clone()).transfers_take(WORK * 5);
    let jobs = [submit(&queue, 1).await, submit(&queue, 2).await, submit(&queue, 3).await];
    let (running, shutdown, _, _folder) = worker(Arc::new(slow), 1, true);
    all_end(&queue, &jobs).await;
    shutdown.begin();
    running.await.unwrap();
    for id in jobs {
        assert_eq!(queue.job(id).await.unwrap().life.failures, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_files_that_are_being_sent() {
    let queue = queue();
    let jobs = [submit(&queue, 1).await, submit(&queue, 2).await];
    let slow = Faulty::new(queue.clone()).transfers_take(WORK * 10);
    let worker =
        Worker::builder(Arc::new(slow)).stop_grace(Duration::ZERO).handle("work", async |job: JobContext| {
            job.work_done().await;
            job.output_bytes("text", "text").await?;
            Ok(Value::Null)
        });
    assert_eq!(worker.drain().await.unwrap().completed, 2);
    all_end(&queue, &jobs).await;
}
