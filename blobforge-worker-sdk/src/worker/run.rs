//! A worker at work.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use blobforge_core::{
    Invalid, JobType,
    broker::{Assignment, Broker},
};
use futures_util::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::{
    Held, Settings, Shutdown, Slot, Summary, Worker, WorkerError,
    attempt::{Attempt, Fate},
    folder::WorkFolder,
    gauges::Instruments,
    link::Link,
    windows::Schedule,
};
use crate::{Handler, StopReason};

/// How long the queue is given to hear the good-bye.
const GOOD_BYE: Duration = Duration::from_secs(5);
/// How soon after its start a worker looks at its gauges: what the processors do is seen between two looks.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// How long it leaves them alone at least.
const LOOK_PACE: Duration = Duration::from_secs(10);
/// The most attempts of a job in a queue that is being drained: one that needs more is due again and again.
const MOST_ATTEMPTS: u32 = 1000;

impl Worker {
    /// Claims and runs jobs until the shutdown begins; then finishes or gives back what runs, and says good-bye.
    ///
    /// Given back is given back for free: a job loses neither its place in line nor one of its attempts. A queue that is
    /// away is waited for, before the first job and at any time after.
    ///
    /// # Errors
    /// When the work folder cannot be used, or the queue refuses this worker. What was running then is stopped as at a
    /// shutdown.
    pub async fn run(self, shutdown: impl Into<Shutdown>) -> Result<Summary, WorkerError> {
        let shutdown = shutdown.into();
        let floor = self.open(shutdown.clone())?;
        tokio::select! {
            prepared = floor.prepare() => prepared?,
            () = shutdown.cancelled() => return Ok(Summary::default()),
        }
        tokio::select! {
            registered = floor.link.register() => registered?,
            () = shutdown.cancelled() => return Ok(Summary::default()),
        }
        floor.work().await
    }

    /// Runs everything that is due now, and what becomes due by that, until nothing is.
    pub(super) async fn drain(self) -> Result<Summary, WorkerError> {
        let floor = self.open(Shutdown::new())?;
        floor.prepare().await?;
        floor.link.register().await?;
        floor.drain().await
    }

    fn open(self, shutdown: Shutdown) -> Result<Floor, WorkerError> {
        let folder = WorkFolder::open(&self.work_dir)?;
        let types = self.handlers.keys().map(JobType::new).collect::<Result<Vec<_>, Invalid>>()?;
        let schedule = self.surroundings.schedule(self.settings.windows.clone());
        let instruments = Arc::new(self.surroundings.instruments(&self.work_dir));
        let link = Link::new(self.broker.clone(), self.identity, types, self.settings.clone())?;
        let senders = Arc::new(Semaphore::new(self.settings.concurrency));
        Ok(Floor {
            handlers: self.handlers,
            broker: self.broker,
            settings: self.settings,
            shutdown,
            folder: Arc::new(folder),
            link: Arc::new(link),
            senders,
            running: TaskTracker::new(),
            summary: Arc::default(),
            schedule,
            instruments,
        })
    }
}

/// Everything that the running jobs share.
struct Floor {
    handlers: BTreeMap<String, Arc<dyn Handler>>,
    broker: Arc<dyn Broker>,
    settings: Settings,
    shutdown: Shutdown,
    folder: Arc<WorkFolder>,
    link: Arc<Link>,
    /// For jobs whose work is done and whose files are being sent.
    senders: Arc<Semaphore>,
    running: TaskTracker,
    summary: Arc<Mutex<Summary>>,
    schedule: Option<Schedule>,
    instruments: Arc<Instruments>,
}

impl Floor {
    /// Has every handler get ready.
    async fn prepare(&self) -> Result<(), WorkerError> {
        let place = self.folder.workplace();
        for (job_type, handler) in &self.handlers {
            let not_ready = |why| WorkerError::NotReady { job_type: job_type.clone(), why };
            handler.prepare(&place).await.map_err(not_ready)?;
        }
        Ok(())
    }

    async fn work(self) -> Result<Summary, WorkerError> {
        let shutdown = self.shutdown.clone();
        self.beating(async |floor| {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                asked = floor.ask_handlers() => asked,
            };
            tokio::select! {
                // The clock is looked at before the first claim.
                biased;
                () = shutdown.cancelled() => Ok(()),
                never = floor.keep_hours() => match never {},
                never = floor.measure() => match never {},
                never = floor.keep_asking(asked) => match never {},
                refused = floor.claim_for_ever() => Err(refused),
            }
        })
        .await
    }

    /// Opens and closes the worker by its run windows.
    async fn keep_hours(&self) -> Infallible {
        let Some(schedule) = &self.schedule else { return pending().await };
        let standing = &self.link.standing;
        loop {
            let rest = schedule.look(standing);
            if self.settings.abort_outside_window && standing.is_suspended() {
                self.link.leases.stop_all(StopReason::Suspended);
            }
            rest.await;
        }
    }

    /// Reads the gauges as often as the worker is heard of, off the threads that others wait for.
    async fn measure(&self) -> Infallible {
        tokio::time::sleep(FIRST_LOOK).await;
        loop {
            let instruments = self.instruments.clone();
            let read = spawn_blocking(move || instruments.read()).await;
            let mut reading = read.unwrap_or_default();
            if !self.settings.needs_gpu() {
                reading.trouble = None;
            }
            self.link.standing.read(reading);
            tokio::time::sleep(self.link.heartbeat_every().max(LOOK_PACE)).await;
        }
    }

    /// Asks the handlers again and again what stands against claiming.
    async fn keep_asking(&self, mut asked: Instant) -> Infallible {
        loop {
            tokio::time::sleep_until(asked + LOOK_PACE).await;
            asked = self.ask_handlers().await;
        }
    }

    /// Asks the handlers what stands against claiming, and says when that was.
    async fn ask_handlers(&self) -> Instant {
        let mut found = None;
        for handler in self.handlers.values() {
            found = found.or(handler.trouble().await);
        }
        self.link.standing.heed(found);
        Instant::now()
    }

    async fn drain(self) -> Result<Summary, WorkerError> {
        self.beating(Self::claim_what_is_due).await
    }

    /// Claims as told, sending heartbeats meanwhile; then ends everything in good order.
    async fn beating(
        &self,
        claim: impl AsyncFnOnce(&Self) -> Result<(), WorkerError>,
    ) -> Result<Summary, WorkerError> {
        let mut beat = pin!(self.link.beat().fuse());
        let ended = tokio::select! {
            ended = claim(self) => ended,
            refused = &mut beat => Err(refused),
        };
        // What runs on needs its leases.
        tokio::select! {
            () = self.stop() => {}
            _ = beat.then(|_| pending::<()>()) => {}
        }
        self.say_good_bye().await;
        let summary = *self.summary.lock().unwrap_or_else(PoisonError::into_inner);
        ended.map(|()| summary)
    }

    /// Keeps every slot busy. Returns only when the queue no longer takes this worker.
    async fn claim_for_ever(&self) -> WorkerError {
        let slots = Arc::new(Semaphore::new(self.settings.concurrency));
        let mut next: Option<Next> = None;
        // Whoever was asked to give a job back, or found none, does not look ahead again before a slot is free.
        let mut may_look_ahead = self.settings.fetch_ahead;
        loop {
            let slot = tokio::select! {
                biased;
                // What was fetched ahead is given back before its place is there.
                () = self.link.unfit(), if next.is_some() => {
                    (next, may_look_ahead) = (None, false);
                    continue;
                }
                slot = slots.clone().acquire_owned() => slot.ok(),
                () = self.link.leases.nearly_done(), if next.is_none() && may_look_ahead => {
                    next = match self.claim_ahead().await {
                        Ok(next) => next,
                        Err(refused) => return refused,
                    };
                    may_look_ahead = next.is_some();
                    continue;
                }
                () = asked_back(next.as_ref()), if next.is_some() => {
                    (next, may_look_ahead) = (None, false);
                    continue;
                }
            };
            may_look_ahead = self.settings.fetch_ahead;
            // Without its place the job is given back.
            let Some(slot) = give_to(next.take(), slot) else { continue };
            if let Err(refused) = self.claim_for(&slots, slot).await {
                return refused;
            }
        }
    }

    /// Claims for this slot and whatever others are free.
    async fn claim_for(&self, slots: &Arc<Semaphore>, slot: OwnedSemaphorePermit) -> Result<(), WorkerError> {
        let mut free = vec![slot];
        free.extend(std::iter::from_fn(|| slots.clone().try_acquire_owned().ok()));
        let (assignments, asked_at) = self.link.claim(free.len()).await?;
        for assignment in assignments {
            // A queue that gives more than was asked for overbooks for once.
            self.start(assignment, asked_at, Start::Now(free.pop()));
        }
        Ok(())
    }

    /// Claims one job, if there is one, whose source is fetched while the jobs before it are being done.
    async fn claim_ahead(&self) -> Result<Option<Next>, WorkerError> {
        if self.link.is_draining() || !self.link.standing.is_fit() {
            return Ok(None);
        }
        let (assignments, asked_at) = self.link.claim_due(1).await?;
        let mut next = None;
        for assignment in assignments {
            let (slot, place) = oneshot::channel();
            let held = self.start(assignment, asked_at, Start::WithPlace(place));
            next = Some(Next { held, slot });
        }
        Ok(next)
    }

    /// Keeps every slot busy until nothing is due and nothing runs.
    async fn claim_what_is_due(&self) -> Result<(), WorkerError> {
        let slots = Arc::new(Semaphore::new(self.settings.concurrency));
        let mut free = Vec::new();
        loop {
            // Waits for a job to end unless all slots are free: until then nothing more becomes due.
            if free.len() < self.settings.concurrency {
                free.extend(free_slots(&slots).await);
            }
            // What is wrong with this machine would be wrong for the next job, too.
            let (assignments, asked_at) = if self.link.standing.is_fit() {
                self.link.claim_due(free.len()).await?
            } else {
                (Vec::new(), Instant::now())
            };
            if assignments.is_empty() && free.len() == self.settings.concurrency {
                if self.running.is_empty() {
                    return Ok(());
                }
                // Those that only send their files: what they complete may make more due.
                self.running.close();
                self.running.wait().await;
                self.running.reopen();
                continue;
            }
            for assignment in assignments {
                let (job, attempts) = (assignment.job, assignment.token.epoch.get());
                self.start(assignment, asked_at, Start::Now(free.pop()));
                if attempts > MOST_ATTEMPTS {
                    return Err(WorkerError::Endless { job, attempts });
                }
            }
        }
    }

    fn start(&self, assignment: Assignment, asked_at: Instant, start: Start) -> Arc<Held> {
        let span = tracing::info_span!(
            "job",
            id = %assignment.job,
            r#type = %assignment.job_type,
            attempt = assignment.token.epoch.get(),
            trace_id = assignment.body.traceparent.map(|parent| parent.trace_id())
        );
        let held = Arc::new(Held::new(
            assignment.job,
            assignment.token,
            self.link.lease() + self.settings.patience,
            asked_at,
            &self.link.leases,
        ));
        let (slot, place) = match start {
            Start::Now(slot) => (slot, None),
            Start::WithPlace(place) => {
                held.wait_for_a_place(assignment.job_type.clone());
                (None, Some(place))
            }
        };
        self.link.leases.insert(held.clone());
        let slot = Slot::new(slot, self.senders.clone());
        let handler = self.handlers.get(assignment.job_type.as_str()).cloned();
        let attempt = handler.map(|handler| Attempt {
            assignment,
            handler,
            broker: self.broker.clone(),
            held: held.clone(),
            settings: self.settings.clone(),
            shutdown: self.shutdown.clone(),
            link: self.link.clone(),
            slot: slot.clone(),
            place,
        });
        let (folder, leases, summary) = (self.folder.clone(), self.link.leases.clone(), self.summary.clone());
        let mine = held.clone();
        let standing = self.link.standing.clone();
        let run = async move {
            let fate = match attempt {
                // It was given out by a claim from before.
                Some(attempt) if !standing.is_fit() => attempt.give_back().await,
                Some(attempt) => in_folder(&folder, attempt).await,
                None => {
                    tracing::error!("the queue gave out a job of a type that this worker does not serve");
                    Fate::Lost
                }
            };
            leases.remove(&mine);
            summary.lock().unwrap_or_else(PoisonError::into_inner).count(fate);
            slot.end();
        };
        self.running.spawn(run.instrument(span));
        held
    }

    /// Lets the running jobs end, as far as the settings give them time.
    async fn stop(&self) {
        self.running.close();
        if !self.running.is_empty() {
            tracing::info!(running = self.running.len(), "finishing or giving back what runs");
        }
        tokio::select! {
            () = self.running.wait() => {}
            () = tokio::time::sleep(self.settings.grace) => {}
            () = self.shutdown.hurried() => {}
        }
        self.link.leases.stop_all(StopReason::Shutdown);
        self.running.wait().await;
        for handler in self.handlers.values() {
            handler.close().await;
        }
    }

    async fn say_good_bye(&self) {
        match timeout(GOOD_BYE, self.link.unregister()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the queue did not take the good-bye"),
            Err(_) => tracing::warn!("the queue did not hear the good-bye"),
        }
    }
}

/// When a job begins.
enum Start {
    /// At once, in this slot; without one it is one too many.
    Now(Option<OwnedSemaphorePermit>),
    /// When it gets a place.
    WithPlace(oneshot::Receiver<OwnedSemaphorePermit>),
}

/// The job that was claimed ahead of time. It is given back when this is dropped.
struct Next {
    held: Arc<Held>,
    slot: oneshot::Sender<OwnedSemaphorePermit>,
}

/// Waits until another worker waits for this job, or it is lost.
async fn asked_back(next: Option<&Next>) {
    match next {
        Some(next) => tokio::select! {
            () = next.held.asked_back.cancelled() => {}
            _ = next.held.stop.wait() => {}
        },
        None => pending().await,
    }
}

/// Gives a slot to the job that was claimed ahead of time; the slot, if nobody took it.
fn give_to(next: Option<Next>, slot: Option<OwnedSemaphorePermit>) -> Option<OwnedSemaphorePermit> {
    match (next, slot) {
        (Some(next), Some(slot)) => next.slot.send(slot).err(),
        (_, slot) => slot,
    }
}

/// A worker that is dropped gives back what runs.
impl Drop for Floor {
    fn drop(&mut self) {
        self.link.leases.stop_all(StopReason::Shutdown);
    }
}

/// Waits for a free slot and takes all that are free.
async fn free_slots(slots: &Arc<Semaphore>) -> Vec<OwnedSemaphorePermit> {
    // The semaphore is never closed.
    let first = slots.clone().acquire_owned().await.ok();
    let rest = std::iter::from_fn(|| slots.clone().try_acquire_owned().ok());
    first.into_iter().chain(rest).collect()
}

/// Runs an attempt in a folder of its own, which is removed afterwards.
async fn in_folder(folder: &Arc<WorkFolder>, attempt: Attempt) -> Fate {
    let (job, epoch) = (attempt.assignment.job, attempt.assignment.token.epoch);
    let parent = folder.clone();
    let made = spawn_blocking(move || parent.attempt(job, epoch)).await;
    let made = made.unwrap_or_else(|broken| Err(std::io::Error::other(broken)));
    let own = match made {
        Ok(own) => own,
        Err(error) => {
            tracing::error!(%error, "the worker cannot make a folder for the job's files");
            return attempt.fail(error.into()).await;
        }
    };
    let fate = attempt.run(own.path().to_owned()).await;
    // Gigabytes may lie there.
    let _ = spawn_blocking(move || drop(own)).await;
    fate
}

impl Summary {
    fn count(&mut self, fate: Fate) {
        let count = match fate {
            Fate::Completed => &mut self.completed,
            Fate::Failed => &mut self.failed,
            Fate::Snoozed => &mut self.snoozed,
            Fate::Released => &mut self.released,
            Fate::Cancelled => &mut self.cancelled,
            Fate::Lost => &mut self.lost,
        };
        *count += 1;
    }
}
