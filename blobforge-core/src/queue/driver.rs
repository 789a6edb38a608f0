//! Runs the committer: the one task through which everything that changes a queue goes.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::{
    QueueError,
    committer::{Committer, MAX_BATCH, Ticket},
};
use crate::{
    Clock, Timestamp,
    storage::{
        Command, Committed, Done, Event, Maintain, Maintained, Outcome, Report, Storage, StorageError,
    },
};

/// How many requests may wait to be taken in before the queue says that it is busy.
const INBOX: usize = 8192;
/// How many claims may wait for work.
const MAX_WAITING_CLAIMS: usize = 10_000;
/// How many events a slow listener may fall behind before it misses some.
const EVENTS: usize = 4096;
/// How long an upload may take before it is given up.
const UPLOAD_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// At least this often the queue looks for what is due, whatever it was told.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long to leave a store alone that could not take a batch, before maintenance tries again.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// How much is done in one maintenance command.
const MAINTAIN_LIMIT: usize = 500;

/// What callers send to the driver.
pub(super) enum Request {
    Run {
        command: Box<Command>,
        reply: oneshot::Sender<Result<Done, QueueError>>,
        wait_until: Option<Timestamp>,
    },
    Close(oneshot::Sender<()>),
}

/// A reply that is on its way, or the error that kept the request from being sent.
pub(super) type Waiting = Result<oneshot::Receiver<Result<Done, QueueError>>, QueueError>;

pub(super) async fn receive(waiting: Waiting) -> Result<Done, QueueError> {
    waiting?.await.unwrap_or(Err(QueueError::Closed))
}

pub(super) fn send(
    requests: &mpsc::Sender<Request>,
    halted: &Halted,
    command: Command,
    wait_until: Option<Timestamp>,
) -> Waiting {
    let (reply, replied) = oneshot::channel();
    match requests.try_send(Request::Run { command: Box::new(command), reply, wait_until }) {
        Ok(()) => Ok(replied),
        Err(mpsc::error::TrySendError::Full(_)) => Err(QueueError::Busy(INBOX)),
        Err(mpsc::error::TrySendError::Closed(_)) => Err(halted.error()),
    }
}

/// Whether a queue has stopped because its storage failed.
#[derive(Clone, Debug)]
pub struct Halted(watch::Receiver<Option<StorageError>>);

impl Halted {
    /// Why requests find nobody.
    pub(super) fn error(&self) -> QueueError {
        self.0.borrow().clone().map_or(QueueError::Closed, QueueError::Storage)
    }

    /// Returns once the queue has stopped, for whatever reason.
    pub(super) async fn wait(&self) {
        // An error means that the driver has gone, which is what was waited for.
        let _ = self.0.clone().wait_for(Option::is_some).await;
    }
}

/// The ends of a running driver.
pub(super) struct Running {
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) halted: Halted,
}

/// Starts the driver. It stops when it is closed, or when every sender of requests is gone.
pub(super) fn start(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Running {
    let (requests, inbox) = mpsc::channel(INBOX);
    let (events, _) = broadcast::channel(EVENTS);
    let (halt, halted) = watch::channel(None);
    let now = clock.now();
    let driver = Driver {
        storage,
        clock,
        committer: Committer::new(),
        events: events.downgrade(),
        halt,
        available_since: now,
        due: now,
        maintaining: false,
        closing: Vec::new(),
    };
    tokio::spawn(driver.run(inbox));
    Running { requests, events, halted: Halted(halted) }
}

/// Where outcomes go.
enum To {
    Caller(oneshot::Sender<Result<Done, QueueError>>),
    Maintenance,
    Nobody,
}

impl Ticket for To {
    fn is_abandoned(&self) -> bool {
        matches!(self, Self::Caller(reply) if reply.is_closed())
    }
}

type Commit = Pin<Box<dyn Future<Output = Result<Committed, StorageError>> + Send>>;

struct Driver {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    committer: Committer<To>,
    /// Weak, so that listeners learn of the end of the queue.
    events: broadcast::WeakSender<Event>,
    halt: watch::Sender<Option<StorageError>>,
    /// Since when the store has answered without a break.
    available_since: Timestamp,
    /// When to look next for what time has made due.
    due: Timestamp,
    maintaining: bool,
    closing: Vec<oneshot::Sender<()>>,
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut commit: Option<Commit> = None;
        let mut open = true;
        loop {
            if let Some(batch) = self.committer.next_batch() {
                let storage = self.storage.clone();
                commit = Some(Box::pin(async move { storage.commit(batch).await }));
            }
            if !open && self.committer.is_idle() {
                break;
            }
            let wake_at = self.committer.next_deadline().map_or(self.due, |at| at.min(self.due));
            let sleep = self.clock.sleep_until(wake_at);
            tokio::select! {
                // What is due comes before what is asked: a claim that waits for nothing sees all of it.
                biased;
                Some(result) = OptionFuture::from(commit.as_mut()) => {
                    commit = None;
                    if let Err(error) = self.committed(result) {
                        self.halt(error);
                        return;
                    }
                }
                () = sleep, if open => self.on_time(),
                request = inbox.recv(), if open && self.committer.backlog() < INBOX => {
                    open = self.take(request, &mut inbox);
                }
            }
        }
        for ticket in self.committer.drain() {
            reply(ticket, Err(QueueError::Closed));
        }
        for closed in self.closing {
            let _ = closed.send(());
        }
    }

    /// Takes in a request and what else has arrived, up to a batch of it; `false` once nothing more may come.
    fn take(&mut self, first: Option<Request>, inbox: &mut mpsc::Receiver<Request>) -> bool {
        let Some(first) = first else { return false };
        self.take_one(first, inbox);
        for _ in 1..MAX_BATCH {
            match inbox.try_recv() {
                Ok(request) => self.take_one(request, inbox),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn take_one(&mut self, request: Request, inbox: &mut mpsc::Receiver<Request>) {
        match request {
            Request::Close(done) => {
                self.closing.push(done);
                inbox.close();
            }
            Request::Run { command, reply, wait_until } => {
                // A claim too many is answered at once rather than kept.
                let wait_until = wait_until.filter(|_| self.committer.waiting_claims() < MAX_WAITING_CLAIMS);
                self.committer.push(*command, To::Caller(reply), wait_until);
            }
        }
    }

    fn on_time(&mut self) {
        let now = self.clock.now();
        for ticket in self.committer.expire(now) {
            reply(ticket, Ok(Done::Claimed(Vec::new())));
        }
        if now >= self.due && !self.maintaining {
            self.maintaining = true;
            let maintain = Maintain {
                available_since: self.available_since,
                upload_limit: UPLOAD_LIMIT,
                limit: MAINTAIN_LIMIT,
            };
            self.committer.push(Command::Maintain(maintain), To::Maintenance, None);
        }
        if self.maintaining {
            // Its outcome says when to look again; until then nothing is due.
            self.due = now + LOOK_EVERY;
        }
    }

    fn committed(&mut self, result: Result<Committed, StorageError>) -> Result<(), StorageError> {
        let mut committed = match result {
            Ok(committed) => committed,
            Err(error) => return self.trouble(error),
        };
        for (ticket, outcome) in self.committer.committed(&mut committed) {
            self.deliver(ticket, outcome);
        }
        if let Some(at) = committed.next_due {
            self.due = self.due.min(at);
        }
        if let Some(events) = self.events.upgrade() {
            for event in committed.events {
                // Nobody listens: nobody is told.
                let _ = events.send(event);
            }
        }
        Ok(())
    }

    fn deliver(&mut self, ticket: To, outcome: Outcome) {
        match (ticket, outcome) {
            (To::Maintenance, Ok(Done::Maintained(Maintained { next_due, .. }))) => {
                self.maintaining = false;
                let latest = self.clock.now() + LOOK_EVERY;
                self.due = next_due.map_or(latest, |at| at.min(latest));
            }
            (To::Caller(caller), outcome) => {
                if let Err(Ok(Done::Claimed(claimed))) = caller.send(outcome.map_err(QueueError::Refused)) {
                    self.give_back(claimed);
                }
            }
            _ => {}
        }
    }

    /// Frees what was claimed for somebody who did not wait for it.
    fn give_back(&mut self, claimed: Vec<crate::storage::Claimed>) {
        for claim in claimed {
            let report = Box::new(Report::Release);
            let release = Command::Report { job: claim.job.id, token: claim.token, report };
            self.committer.push(release, To::Nobody, None);
        }
    }

    /// Answers who waited for a batch that failed; an error that nobody can wait out stops the queue.
    fn trouble(&mut self, error: StorageError) -> Result<(), StorageError> {
        let now = self.clock.now();
        self.available_since = now;
        for ticket in self.committer.failed() {
            if matches!(ticket, To::Maintenance) {
                self.maintaining = false;
                self.due = now + AFTER_TROUBLE;
            }
            reply(ticket, Err(error.clone().into()));
        }
        if error.is_retryable() {
            tracing::warn!(%error, "a batch was not committed");
            return Ok(());
        }
        Err(error)
    }

    fn halt(mut self, error: StorageError) {
        tracing::error!(%error, "the queue stops");
        self.halt.send_replace(Some(error.clone()));
        for ticket in self.committer.drain() {
            reply(ticket, Err(error.clone().into()));
        }
    }
}

fn reply(ticket: To, result: Result<Done, QueueError>) {
    if let To::Caller(caller) = ticket {
        // Who does not wait any more need not be told.
        let _ = caller.send(result);
    }
}
