//! A worker's standing with the queue: registered, heard of, and told what is wanted of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use blobforge_core::{
    JobType, Registration, WorkerId,
    broker::{Assignment, Broker, BrokerError, Welcome, Wish},
    storage::Beat,
};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep_until},
};

use super::{
    Settings, WorkerError,
    identity::{Identity, random},
    leases::Leases,
    standing::Standing,
};
use crate::backoff::Backoff;

/// How soon after a heartbeat news makes another one: of progress, or of how the worker is.
const NEWS_AFTER: Duration = Duration::from_secs(2);
/// How long one claim waits for work at the queue.
const CLAIM_WAIT: Duration = Duration::from_secs(30);

/// See [the module](self).
pub(super) struct Link {
    broker: Arc<dyn Broker>,
    identity: Mutex<Identity>,
    types: Vec<JobType>,
    settings: Settings,
    /// What the queue answered to the last registration.
    welcome: watch::Sender<Welcome>,
    /// What the names of this process's claims begin with, and how many there were.
    claims: (String, AtomicU64),
    draining: watch::Sender<bool>,
    pub(super) leases: Arc<Leases>,
    pub(super) standing: Arc<Standing>,
}

impl Link {
    pub(super) fn new(
        broker: Arc<dyn Broker>,
        identity: Identity,
        types: Vec<JobType>,
        settings: Settings,
    ) -> Result<Self, WorkerError> {
        let leases = Arc::<Leases>::default();
        Ok(Self {
            broker,
            identity: Mutex::new(identity),
            types,
            settings,
            // Replaced by the first registration, before which nothing is sent.
            welcome: watch::Sender::new(Welcome { heartbeat_every: NEWS_AFTER, lease: Duration::ZERO }),
            claims: (hex::encode(random::<8>()?), AtomicU64::new(0)),
            draining: watch::Sender::new(false),
            standing: Arc::new(Standing::new(leases.news.clone())),
            leases,
        })
    }

    /// Registers, and keeps trying as long as the queue is merely away.
    pub(super) async fn register(&self) -> Result<(), WorkerError> {
        let mut identity = self.identity.lock().await;
        let mut backoff = Backoff::default();
        loop {
            match self.broker.register(&self.registration(&identity)).await {
                Ok(mut welcome) => {
                    let at_most = self.settings.heartbeat.unwrap_or(welcome.heartbeat_every);
                    welcome.heartbeat_every = welcome.heartbeat_every.min(at_most);
                    identity.registered()?;
                    self.welcome.send_replace(welcome);
                    self.standing.unsaid();
                    tracing::info!(worker = %identity.id(), "registered");
                    return Ok(());
                }
                Err(error) if error.is_retryable() => {
                    let wait = backoff.next();
                    tracing::warn!(%error, "cannot register with the queue; trying again in {wait:.1?}");
                    tokio::time::sleep(wait).await;
                }
                Err(error @ BrokerError::WorkerInUse(_)) => {
                    if !identity.another()? {
                        return Err(WorkerError::Refused(error));
                    }
                }
                Err(error) => return Err(WorkerError::Refused(error)),
            }
        }
    }

    fn registration(&self, identity: &Identity) -> Registration {
        Registration {
            id: identity.id().clone(),
            types: self.types.clone(),
            name: self.settings.name.clone(),
            instance: identity.instance().to_owned(),
            previous_instance: identity.previous_instance().map(ToOwned::to_owned),
            labels: self.settings.labels.clone(),
            host: self.settings.metadata.get("host").and_then(serde_json::Value::as_str).map(str::to_owned),
            metadata: self.settings.metadata.clone(),
        }
    }

    pub(super) async fn unregister(&self) -> Result<(), BrokerError> {
        let identity = self.identity.lock().await;
        self.broker.unregister(identity.id(), identity.instance()).await
    }

    async fn id(&self) -> WorkerId {
        self.identity.lock().await.id().clone()
    }

    /// For how long a lease is good.
    pub(super) fn lease(&self) -> Duration {
        self.welcome.borrow().lease
    }

    /// How often it is heard of.
    pub(super) fn heartbeat_every(&self) -> Duration {
        self.welcome.borrow().heartbeat_every
    }

    /// Asks for up to `limit` jobs until there are some, unless the worker is draining or not fit for any.
    pub(super) async fn claim(&self, limit: usize) -> Result<(Vec<Assignment>, Instant), WorkerError> {
        let mut draining = self.draining.subscribe();
        loop {
            // The sender lives as long as `self`.
            let _ = draining.wait_for(|draining| !draining).await;
            let left = self.standing.fit().await;
            // Trust in a lease begins when it was asked for: a long wait must not use it up.
            let wait = CLAIM_WAIT.min(self.lease() / 3);
            // What comes when the run window has closed would come too late.
            let (assignments, asked_at) = self.ask(limit, wait.min(left)).await?;
            if !assignments.is_empty() {
                return Ok((assignments, asked_at));
            }
            // A queue that says "nothing" without waiting is not to be asked without a pause.
            sleep_until(asked_at + wait.min(self.settings.poll)).await;
        }
    }

    /// Waits until it is to claim nothing more, or may not.
    pub(super) async fn unfit(&self) {
        let mut draining = self.draining.subscribe();
        tokio::select! {
            // The sender lives as long as `self`.
            _ = draining.wait_for(|draining| *draining) => {}
            () = self.standing.unfit() => {}
        }
    }

    /// Whether it is to claim nothing more.
    pub(super) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Asks once for up to `limit` jobs that are due now.
    pub(super) async fn claim_due(&self, limit: usize) -> Result<(Vec<Assignment>, Instant), WorkerError> {
        self.ask(limit, Duration::ZERO).await
    }

    /// Asks until the queue answers, if only that there is nothing; and says when it was asked. It asks again by the same
    /// name, so that what was given to it by a reply that got lost is given again.
    async fn ask(&self, limit: usize, wait: Duration) -> Result<(Vec<Assignment>, Instant), WorkerError> {
        let (process, claims) = &self.claims;
        let claim_id = Some(format!("{process}-{}", claims.fetch_add(1, Ordering::Relaxed)));
        let mut backoff = Backoff::default();
        loop {
            let claim_id = claim_id.clone();
            let wish = Wish { worker: self.id().await, types: self.types.clone(), limit, wait, claim_id };
            let asked_at = Instant::now();
            match self.broker.claim(&wish).await {
                Ok(assignments) => return Ok((assignments, asked_at)),
                Err(BrokerError::NotRegistered(reason)) => {
                    tracing::info!(reason, "registering again");
                    self.register().await?;
                }
                Err(error) if error.is_retryable() => {
                    let wait = backoff.next();
                    tracing::warn!(%error, "cannot ask for work; trying again in {wait:.1?}");
                    tokio::time::sleep(wait).await;
                }
                Err(error) => return Err(WorkerError::Refused(error)),
            }
        }
    }

    /// Sends heartbeats for ever. Returns only when the queue no longer takes this worker.
    pub(super) async fn beat(&self) -> WorkerError {
        let mut backoff = Backoff::default();
        let mut last = Instant::now();
        loop {
            self.next_beat(last).await;
            last = Instant::now();
            while let Err(error) = self.beat_once().await {
                match error {
                    BrokerError::NotRegistered(reason) => {
                        tracing::info!(reason, "registering again");
                        if let Err(error) = self.register().await {
                            return error;
                        }
                    }
                    error => {
                        // Also when the credentials are refused: until the leases run out somebody may put it right.
                        let wait = backoff.next().min(self.heartbeat_every());
                        tracing::warn!(%error, "a heartbeat did not get through; trying again in {wait:.1?}");
                        tokio::time::sleep(wait).await;
                    }
                }
            }
            backoff.reset();
        }
    }

    /// Waits until a heartbeat is due: by its interval, or sooner when there is news.
    async fn next_beat(&self, last: Instant) {
        let every = self.heartbeat_every();
        let news = async {
            while !self.leases.has_news() && !self.standing.has_news() {
                self.leases.news.notified().await;
            }
            sleep_until(last + NEWS_AFTER.min(every)).await;
        };
        tokio::select! {
            () = sleep_until(last + every) => {}
            () = news => {}
        }
    }

    async fn beat_once(&self) -> Result<(), BrokerError> {
        let (leases, condition) = (self.leases.beat(), self.standing.beat());
        let sent_at = Instant::now();
        let beat = Beat { worker: self.id().await, leases: leases.clone(), condition };
        match self.broker.heartbeat(beat).await {
            Ok(reply) => {
                self.leases.answered(&leases, &reply.leases, sent_at);
                self.draining.send_if_modified(|draining| {
                    let changed = *draining != reply.draining;
                    *draining = reply.draining;
                    changed
                });
                Ok(())
            }
            Err(error) => {
                self.leases.unsaid(leases);
                self.standing.unsaid();
                Err(error)
            }
        }
    }
}
