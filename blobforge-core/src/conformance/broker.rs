//! What every [`Broker`] has to do, one case for each behaviour.
//!
//! The worker's part is done through the broker alone; the queue behind it submits, and is looked at.
//! [`broker_conformance!`](crate::broker_conformance) makes a test of each case, so that one failure hides no other.

// Each case is named for the behaviour it protects; the name is its documentation.
#![allow(missing_docs)]

pub mod claiming;
pub mod ending;
pub mod files;
pub mod living;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256 as Hasher};

use crate::{
    End, Failure, Finished, Job, JobId, JobType, LeaseSecret, LeaseToken, NewJob, Queue, Registration,
    Sha256, Status, WorkerId,
    blob::{ByteStream, read_bytes},
    broker::{Assignment, Broker, BrokerError, Ending, Wish},
    storage::{Beat, BeatReply, HeldLease, LeaseState},
};

/// Makes a `#[tokio::test]` of every case.
///
/// `$make` names an async function that gives a [`Queue`], empty and with a lease of a minute, an `Arc<dyn Broker>` that
/// leads to it, and whatever has to live as long. The calling crate needs tokio with its `macros` and `rt`.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use blobforge_core::{Queue, broker::Broker};
///
/// async fn embedded() -> (Queue, Arc<dyn Broker>, ()) {
///     let queue = Queue::builder().lease(Duration::from_secs(60)).open_in_memory().unwrap();
///     (queue.clone(), Arc::new(queue), ())
/// }
///
/// mod in_memory {
///     blobforge_core::broker_conformance!(super::embedded);
/// }
/// ```
#[macro_export]
macro_rules! broker_conformance {
    ($make:path) => {
        $crate::broker_conformance! { @cases $make;
            claiming: {
                who_has_not_registered_gets_nothing,
                a_worker_is_told_its_lease_and_how_often_to_beat,
                registering_again_is_fine,
                a_job_is_claimed_as_it_was_submitted,
                a_claim_takes_the_types_it_names_up_to_its_limit,
                nothing_to_do_is_an_empty_answer,
                a_waiting_claim_comes_back_empty_when_its_time_is_over,
                a_waiting_claim_gets_what_is_submitted_later,
                a_job_is_given_to_one_worker_only,
                a_claim_says_how_long_its_type_may_go_without_progress,
                a_repeated_claim_gets_the_same_lease,
            }
            ending: {
                a_failure_keeps_its_machine_and_the_end_of_its_log,
                a_completed_job_has_its_outputs_and_its_result,
                a_failure_that_may_pass_is_tried_again_later,
                a_crash_is_a_loss_that_the_next_attempt_knows_of,
                a_permanent_failure_ends_the_job,
                the_last_allowed_failure_ends_the_job,
                a_release_costs_nothing_and_keeps_the_place_in_line,
                a_snooze_costs_nothing_and_waits,
                the_same_ending_again_gets_the_same_answer,
                another_ending_of_an_ended_attempt_is_refused,
                a_report_under_an_older_lease_changes_nothing,
                a_forged_lease_is_refused,
                a_job_called_off_ends_as_cancelled_when_it_is_released,
                a_completion_that_comes_first_beats_a_cancel,
                a_result_too_large_is_refused_and_the_lease_lives_on,
                a_failure_told_at_length_is_cut_and_kept,
            }
            files: {
                the_source_comes_whole,
                a_job_without_a_source_says_so,
                an_output_is_seen_only_when_its_completion_is_accepted,
                outputs_of_the_same_name_replace_each_other,
                names_in_any_script_are_kept,
                an_empty_output_is_an_output,
                an_output_that_was_never_put_is_refused_and_the_lease_lives_on,
                an_output_of_another_size_is_refused,
                a_name_that_climbs_is_refused,
                a_local_file_that_is_not_there_is_the_workers_trouble,
                nothing_is_put_under_a_lost_lease,
                a_checkpoint_goes_to_the_next_attempt,
                a_source_that_was_read_whole_is_verified,
                a_source_that_is_another_one_fails_the_job,
            }
            living: {
                a_heartbeat_renews_what_it_names,
                a_heartbeat_carries_progress,
                a_heartbeat_carries_the_end_of_the_log,
                a_heartbeat_carries_how_the_worker_is,
                a_heartbeat_hears_of_a_cancel,
                a_heartbeat_hears_of_lost_leases,
                a_heartbeat_hears_of_draining,
                a_job_held_ahead_of_time_is_asked_back_while_another_worker_waits,
                a_heartbeat_of_an_unknown_worker_is_refused,
                unregistering_gives_back_what_is_held,
                another_instance_cannot_unregister,
                an_id_in_use_is_refused,
                an_heir_takes_over,
            }
        }
    };
    (@cases $make:path; $($group:ident: { $($case:ident,)* })*) => {
        $($(
            #[tokio::test]
            async fn $case() {
                let (queue, broker, _guard) = $make().await;
                let bench = $crate::conformance::broker::Bench::new(queue, broker);
                $crate::conformance::broker::$group::$case(&bench).await;
            }
        )*)*
    };
}

/// A broker under test, the queue behind it, and shorthands for what is done to them.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::{Queue, conformance::broker::{Bench, claiming}};
/// use std::{sync::Arc, time::Duration};
/// let queue = Queue::builder().lease(Duration::from_secs(60)).open_in_memory().unwrap();
/// let bench = Bench::new(queue.clone(), Arc::new(queue.clone()));
/// claiming::a_job_is_claimed_as_it_was_submitted(&bench).await;
/// assert!(queue.counts().await.unwrap().total() > 0, "it was done on this queue");
/// # });
/// ```
#[derive(Debug)]
pub struct Bench {
    queue: Queue,
    broker: Arc<dyn Broker>,
}

impl Bench {
    /// Puts a broker and the queue that it leads to on the bench.
    ///
    /// As in [`Bench`].
    pub fn new(queue: Queue, broker: Arc<dyn Broker>) -> Self {
        Self { queue, broker }
    }

    // What the queue is told and shows.

    async fn submit(&self, job: NewJob) -> JobId {
        self.queue.submit(job).await.unwrap().id
    }

    async fn submit_with(&self, job: NewJob, content: &Bytes) -> JobId {
        self.queue.submit_stream(job, read_bytes(content.clone()), u64::MAX).await.unwrap().id
    }

    async fn job(&self, id: JobId) -> Job {
        self.queue.job(id).await.unwrap()
    }

    /// How the attempts of a job ended.
    async fn ends(&self, id: JobId) -> Vec<Option<End>> {
        self.queue.history(id).await.unwrap().into_iter().map(|attempt| attempt.end).collect()
    }

    async fn output(&self, id: JobId, name: &str) -> Bytes {
        whole(self.queue.output(id, name).await.unwrap()).await
    }

    // What a worker does.

    async fn register(
        &self,
        id: &str,
        instance: &str,
        previous: Option<&str>,
    ) -> Result<WorkerId, BrokerError> {
        let registration = registration(id, instance, previous);
        self.broker.register(&registration).await.map(|_| registration.id)
    }

    async fn worker(&self, id: &str) -> WorkerId {
        self.register(id, "first", None).await.unwrap()
    }

    async fn try_claim(&self, worker: &WorkerId) -> Option<Assignment> {
        let mut claimed = self.broker.claim(&wish(worker, 1, Duration::ZERO)).await.unwrap();
        assert!(claimed.len() <= 1, "one was asked for");
        claimed.pop()
    }

    async fn claim(&self, worker: &WorkerId) -> Assignment {
        self.try_claim(worker).await.expect("there is something to do")
    }

    /// Has a new worker take a new job.
    async fn running(&self, worker: &str) -> (WorkerId, Assignment) {
        let worker = self.worker(worker).await;
        self.submit(new("pdf")).await;
        let held = self.claim(&worker).await;
        (worker, held)
    }

    /// Has a worker lose a job to the process that inherits its id.
    async fn lost(&self) -> (WorkerId, Assignment) {
        let (worker, held) = self.running("a").await;
        self.register("a", "second", Some("first")).await.unwrap();
        (worker, held)
    }

    async fn beat(&self, worker: &WorkerId, held: &[&Assignment]) -> Result<BeatReply, BrokerError> {
        let lease = |held: &&Assignment| HeldLease {
            job: held.job,
            token: held.token,
            progress: None,
            log_tail: None,
            ahead: None,
        };
        self.broker
            .heartbeat(Beat {
                worker: worker.clone(),
                leases: held.iter().map(lease).collect(),
                condition: None,
            })
            .await
    }

    async fn beat_state(&self, worker: &WorkerId, held: &Assignment) -> LeaseState {
        let reply = self.beat(worker, &[held]).await.unwrap();
        assert_eq!(reply.leases.iter().map(|(job, _)| *job).collect::<Vec<_>>(), [held.job]);
        reply.leases[0].1
    }

    async fn finish(&self, held: &Assignment, ending: Ending) -> Finished {
        self.broker.finish(held, ending).await.unwrap()
    }

    async fn put(&self, held: &Assignment, name: &str, content: &Bytes) -> crate::Output {
        let file = LocalFile::new(content);
        self.broker.put_output(held, name, file.path()).await.unwrap()
    }
}

fn job_type(name: &str) -> JobType {
    JobType::new(name).unwrap()
}

fn new(job_type: &str) -> NewJob {
    NewJob::new(job_type).unwrap()
}

fn registration(id: &str, instance: &str, previous: Option<&str>) -> Registration {
    Registration {
        id: WorkerId::new(id).unwrap(),
        types: vec![job_type("pdf"), job_type("picture")],
        name: None,
        instance: instance.to_owned(),
        previous_instance: previous.map(str::to_owned),
        labels: serde_json::Map::new(),
        host: Some("forge-1".to_owned()),
        metadata: serde_json::Map::new(),
    }
}

/// A wish for jobs of type `pdf`.
fn wish(worker: &WorkerId, limit: usize, wait: Duration) -> Wish {
    Wish { worker: worker.clone(), types: vec![job_type("pdf")], limit, wait, claim_id: None }
}

/// A lease that nobody was given.
fn forged(held: &Assignment) -> Assignment {
    let LeaseToken { generation, epoch, .. } = held.token;
    let token = LeaseToken::new(generation, epoch, LeaseSecret::from_bytes([7; 32]));
    Assignment { token, ..held.clone() }
}

fn complete() -> Ending {
    completed_with(Vec::new())
}

fn completed_with(outputs: Vec<crate::Output>) -> Ending {
    Ending::Complete { outputs, result: None }
}

fn failed(retryable: bool) -> Ending {
    Ending::Fail { failure: Failure::new("encrypted", "a password is needed"), retryable }
}

fn is_lost<T>(result: &Result<T, BrokerError>) -> bool {
    matches!(result, Err(BrokerError::LeaseLost(_)))
}

fn is_refused<T>(result: &Result<T, BrokerError>) -> bool {
    matches!(result, Err(error @ BrokerError::Refused(_)) if !error.is_retryable())
}

fn hash(content: &[u8]) -> Sha256 {
    Sha256::from_bytes(Hasher::digest(content).into())
}

async fn whole(stream: ByteStream) -> Bytes {
    let pieces: Vec<Bytes> = stream.try_collect().await.unwrap();
    pieces.concat().into()
}

/// Content of an odd size in which no two places look alike.
fn content(bytes: usize) -> Bytes {
    (0_u32..).flat_map(u32::to_le_bytes).take(bytes).collect()
}

/// A file of the worker's own, which goes when it is no longer needed.
struct LocalFile(PathBuf);

impl LocalFile {
    fn new(content: &Bytes) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("blobforge-broker-{}-{number}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        // A file that is left over in the system's folder for them does no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}
