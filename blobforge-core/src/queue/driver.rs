//! Runs the committer: the one task through which everything that changes a queue goes.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

use super::{
    Measure, Meter, Notice, QueueError,
    committer::{Committer, MAX_BATCH, Ticket},
};
use crate::{
    Clock, Timestamp,
    storage::{Command, Committed, Done, Maintain, Maintained, Outcome, Report, Storage, StorageError},
};

/// How many requests may wait to be taken in before the queue says that it is busy.
const INBOX: usize = 8192;
/// How many claims may wait for work.
const MAX_WAITING_CLAIMS: usize = 10_000;
/// How many notices a slow listener may fall behind before it misses some.
const NOTICES: usize = 4096;
/// How long an upload may take before it is given up.
const UPLOAD_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// At least this often the queue looks for what is due, whatever it was told and wherever the time of day has gone.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long to leave a store alone that could not take a batch, before maintenance tries again.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// A commit that takes longer, and a time of day that moves by so much more or less than time passes, count as the store
/// having been away: workers could not renew, or their leases were measured by another clock.
const AWAY: Duration = Duration::from_secs(5);
/// How much is done in one maintenance command.
const MAINTAIN_LIMIT: usize = 500;

/// What callers send to the driver.
pub(super) enum Request {
    Run {
        command: Box<Command>,
        reply: oneshot::Sender<Result<Done, QueueError>>,
        wait_until: Option<Duration>,
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
    wait_until: Option<Duration>,
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
    /// Weak, so that listeners learn of the end of the driver, whoever still holds the queue.
    pub(super) notices: broadcast::WeakSender<Notice>,
    /// To be told of every new listener, for whom the driver looks at what others do.
    pub(super) listening: Arc<Notify>,
    pub(super) halted: Halted,
}

/// Starts the driver. It stops when it is closed, or when every sender of requests is gone.
pub(super) fn start(
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    meter: Option<Arc<dyn Meter>>,
) -> Running {
    let (requests, inbox) = mpsc::channel(INBOX);
    let (notices, _) = broadcast::channel(NOTICES);
    let (halt, halted) = watch::channel(None);
    let listening = Arc::new(Notify::new());
    let (now, uptime) = (clock.now(), clock.uptime());
    let heard = notices.downgrade();
    let driver = Driver {
        look_elsewhere_at: uptime,
        storage,
        clock,
        meter,
        committer: Committer::new(),
        notices,
        listening: listening.clone(),
        halt,
        available_since: now,
        seen: (now, uptime),
        due: now,
        look_at: uptime + LOOK_EVERY,
        maintaining: false,
        time_moved: true,
        closing: Vec::new(),
    };
    tokio::spawn(driver.run(inbox));
    Running { requests, notices: heard, listening, halted: Halted(halted) }
}

/// Where outcomes go.
enum To {
    Caller(oneshot::Sender<Result<Done, QueueError>>),
    Maintenance,
    TimeMoved,
    Nobody,
}

impl Ticket for To {
    fn is_abandoned(&self) -> bool {
        matches!(self, Self::Caller(reply) if reply.is_closed())
    }
}

/// A commit under way, which also says at which uptime it began, and with how many commands.
type Commit = Pin<Box<dyn Future<Output = (Result<Committed, StorageError>, Duration, usize)> + Send>>;
/// A look at what others did, under way.
type Look = Pin<Box<dyn Future<Output = Result<bool, StorageError>> + Send>>;

struct Driver {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    meter: Option<Arc<dyn Meter>>,
    committer: Committer<To>,
    notices: broadcast::Sender<Notice>,
    listening: Arc<Notify>,
    halt: watch::Sender<Option<StorageError>>,
    /// Since when the store has answered without a break.
    available_since: Timestamp,
    /// The last reading of the clock, by which a jump of the time of day is told.
    seen: (Timestamp, Duration),
    /// When to look next for what time has made due.
    due: Timestamp,
    /// The uptime at which to look even so.
    look_at: Duration,
    /// The uptime at which to look what others did to the store, if anybody waits then.
    look_elsewhere_at: Duration,
    maintaining: bool,
    /// The time of day may have moved since the store was last told so: whoever opened it before had another clock.
    time_moved: bool,
    closing: Vec<oneshot::Sender<()>>,
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut commit: Option<Commit> = None;
        let mut look: Option<Look> = None;
        let mut open = true;
        let listening = self.listening.clone();
        loop {
            self.watch_clock();
            if let Some(mut batch) = self.committer.next_batch() {
                self.date(&mut batch);
                let storage = self.storage.clone();
                let (begun, commands) = (self.clock.uptime(), batch.len());
                commit = Some(Box::pin(async move { (storage.commit(batch).await, begun, commands) }));
            }
            if !open && self.committer.is_idle() {
                break;
            }
            if look.is_none() && self.looks_elsewhere_in() == Some(Duration::ZERO) {
                let storage = self.storage.clone();
                look = Some(Box::pin(async move { storage.changed_elsewhere().await }));
            }
            let sleep = self.clock.sleep(self.until_next(look.is_some()));
            // In order, so that a run can be repeated. Nobody starves: a commit ends only after something else began
            // it, and whoever is second to time is taken in by time's own branch. What is due comes before what is asked:
            // a claim that waits for nothing sees all of it.
            tokio::select! {
                biased;
                Some((result, begun, commands)) = OptionFuture::from(commit.as_mut()) => {
                    commit = None;
                    let took = self.clock.uptime().saturating_sub(begun);
                    if took > AWAY {
                        self.was_away();
                    }
                    self.measure(&result, commands, took);
                    if let Err(error) = self.committed(result) {
                        self.halt(error, inbox);
                        return;
                    }
                }
                Some(changed) = OptionFuture::from(look.as_mut()) => {
                    look = None;
                    if let Err(error) = self.looked_elsewhere(changed) {
                        self.halt(error, inbox);
                        return;
                    }
                }
                () = sleep, if open => {
                    self.on_time();
                    if self.committer.backlog() < INBOX {
                        open = self.take_more(&mut inbox);
                    }
                }
                () = listening.notified() => {}
                request = inbox.recv(), if open && self.committer.backlog() < INBOX => {
                    open = self.take(request, &mut inbox);
                }
            }
        }
        for ticket in self.committer.drain() {
            reply(ticket, Err(QueueError::Closed));
        }
        if !self.closing.is_empty()
            && let Err(error) = self.storage.settle().await
        {
            tracing::debug!(%error, "what was written last stays beside the store's file, where it is as safe");
        }
        for closed in self.closing {
            let _ = closed.send(());
        }
    }

    /// Takes in a request and what else has arrived, up to a batch of it; `false` once nothing more may come.
    fn take(&mut self, first: Option<Request>, inbox: &mut mpsc::Receiver<Request>) -> bool {
        let Some(first) = first else { return false };
        self.take_one(first, inbox);
        self.take_more(inbox)
    }

    /// Takes in what has arrived, up to a batch of it; `false` once nothing more may come.
    fn take_more(&mut self, inbox: &mut mpsc::Receiver<Request>) -> bool {
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
                let wait_until = wait_until.filter(|_| self.committer.may_wait(MAX_WAITING_CLAIMS));
                self.committer.push(*command, To::Caller(reply), wait_until);
            }
        }
    }

    /// For how long nothing is due.
    fn until_next(&self, is_looking: bool) -> Duration {
        let uptime = self.clock.uptime();
        let look_at = self.committer.next_deadline().map_or(self.look_at, |at| at.min(self.look_at));
        let next = self.due.since(self.clock.now()).min(look_at.saturating_sub(uptime));
        let elsewhere = self.looks_elsewhere_in().filter(|_| !is_looking);
        elsewhere.map_or(next, |elsewhere| next.min(elsewhere))
    }

    /// In what time to look what others did to the store: only one that others can write to, and only while somebody
    /// waits for what they may do.
    fn looks_elsewhere_in(&self) -> Option<Duration> {
        self.storage.is_shared()?;
        let somebody_waits = self.committer.waiting_claims() > 0 || self.notices.receiver_count() > 0;
        somebody_waits.then(|| self.look_elsewhere_at.saturating_sub(self.clock.uptime()))
    }

    /// What others did is not known: whoever waits looks for himself, and so does maintenance.
    fn looked_elsewhere(&mut self, changed: Result<bool, StorageError>) -> Result<(), StorageError> {
        self.look_elsewhere_at = self.clock.uptime() + self.storage.is_shared().unwrap_or(LOOK_EVERY);
        match changed {
            Ok(false) => {}
            Ok(true) => {
                self.committer.retry_waiting();
                self.due = self.due.min(self.clock.now());
                self.notify(Notice::ChangedElsewhere);
            }
            Err(error) if error.is_retryable() => tracing::warn!(%error, "what others did could not be seen"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Notices when the time of day has moved by something else than the time that passed: somebody set it, or the
    /// machine was suspended. No lease may lapse by that, and whatever is due is found by looking.
    fn watch_clock(&mut self) {
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        let expected = self.seen.0 + uptime.saturating_sub(self.seen.1);
        self.seen = (now, uptime);
        if now.since(expected).max(expected.since(now)) > AWAY {
            tracing::warn!(from = %expected, to = %now, "the time of day jumped");
            self.time_moved = true;
            self.was_away();
        }
    }

    /// Leases are given their whole time from now on.
    fn was_away(&mut self) {
        let now = self.clock.now();
        self.available_since = now;
        self.due = self.due.min(now);
    }

    fn maintain(&self) -> Maintain {
        Maintain {
            asked_at: self.clock.now(),
            available_since: self.available_since,
            upload_limit: UPLOAD_LIMIT,
            limit: MAINTAIN_LIMIT,
        }
    }

    /// Asks for maintenance as things are now: it may have waited behind a commit that took long.
    fn date(&self, batch: &mut [Command]) {
        for command in batch {
            if let Command::Maintain(maintain) = command {
                *maintain = self.maintain();
            }
        }
    }

    fn on_time(&mut self) {
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        for ticket in self.committer.expire(uptime) {
            reply(ticket, Ok(Done::Claimed(Vec::new())));
        }
        if (now >= self.due || uptime >= self.look_at) && !self.maintaining {
            self.maintaining = true;
            if std::mem::take(&mut self.time_moved) {
                self.committer.push(Command::TimeMoved, To::TimeMoved, None);
            }
            self.committer.push(Command::Maintain(self.maintain()), To::Maintenance, None);
        }
        if self.maintaining {
            // Its outcome says when to look again; until then nothing is due.
            self.due = now + LOOK_EVERY;
            self.look_at = uptime + LOOK_EVERY;
        }
    }

    fn measure(&self, result: &Result<Committed, StorageError>, commands: usize, took: Duration) {
        let (Some(meter), Ok(committed)) = (&self.meter, result) else { return };
        meter.measured(&Measure::Commit { commands, took, flush: committed.flush });
        for change in &committed.attempts {
            meter.measured(&Measure::Attempt(change.clone()));
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
        for event in committed.events {
            self.notify(Notice::Event(event));
        }
        if committed.outbox {
            self.notify(Notice::Outbox);
        }
        Ok(())
    }

    fn notify(&self, notice: Notice) {
        // Nobody listens: nobody is told.
        let _ = self.notices.send(notice);
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

    /// Frees what was claimed for somebody who did not wait for it. Who named the claim is to ask again, and may have
    /// been told of the lease by now: it is left to that one, or to lapse.
    fn give_back(&mut self, claimed: Vec<crate::storage::Claimed>) {
        let is_named =
            |claim: &crate::storage::Claimed| claim.job.lease().is_some_and(|lease| lease.claim_id.is_some());
        for claim in claimed.into_iter().filter(|claim| !is_named(claim)) {
            let report = Box::new(Report::Release);
            let release = Command::Report { job: claim.job.id, token: claim.token, report };
            self.committer.push(release, To::Nobody, None);
        }
    }

    /// Answers who waited for a batch that failed; an error that nobody can wait out stops the queue.
    fn trouble(&mut self, error: StorageError) -> Result<(), StorageError> {
        let now = self.clock.now();
        self.available_since = now;
        let waited = self.committer.failed();
        if error.may_have_been_kept() {
            // What it made ready, made due and would have told is not known: look, and let everybody look.
            self.committer.retry_waiting();
            self.due = self.due.min(now + AFTER_TROUBLE);
            self.notify(Notice::Missed(waited.len() as u64));
        }
        for ticket in waited {
            match ticket {
                To::Maintenance => {
                    self.maintaining = false;
                    self.due = now + AFTER_TROUBLE;
                }
                To::TimeMoved => self.time_moved = true,
                To::Caller(_) | To::Nobody => {}
            }
            reply(ticket, Err(error.clone().into()));
        }
        if error.is_retryable() {
            tracing::warn!(%error, "a batch was not committed");
            return Ok(());
        }
        Err(error)
    }

    fn halt(mut self, error: StorageError, mut inbox: mpsc::Receiver<Request>) {
        tracing::error!(%error, "the queue stops");
        self.halt.send_replace(Some(error.clone()));
        // What comes from now on finds nobody, and is told the same by whoever sends it.
        inbox.close();
        while let Ok(request) = inbox.try_recv() {
            if let Request::Run { command, reply, .. } = request {
                self.committer.push(*command, To::Caller(reply), None);
            }
        }
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
