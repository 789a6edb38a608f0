//! The leases that a worker holds, and for how long it may trust them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use blobforge_core::{
    JobId, JobType, LeaseToken, Progress,
    storage::{HeldLease, LeaseState},
};
use futures_util::future::OptionFuture;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::pace::{Pace, Pacing};
use crate::context::{LogTail, Stop, StopReason};

/// From how many bytes of logs on a heartbeat takes no more along: the others go with the next one.
const LOGS_PER_BEAT: usize = 1024 * 1024;

/// What shows that a handler gets on.
#[derive(Clone, Copy, Debug)]
struct Sign {
    at: Instant,
    /// Files that are under way now.
    moving: usize,
}

/// A file is under way as long as this lives.
#[derive(Debug)]
pub(crate) struct Moving<'a>(&'a Held);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.sign.send_modify(|sign| *sign = Sign { at: Instant::now(), moving: sign.moving - 1 });
    }
}

/// One lease, as the worker sees it.
#[derive(Debug)]
pub(crate) struct Held {
    job: JobId,
    token: LeaseToken,
    /// For how long it is trusted from a renewal on.
    good_for: Duration,
    /// Just before the request that last renewed it was sent.
    renewed_at: watch::Sender<Instant>,
    /// The last thing that was seen of the work.
    sign: watch::Sender<Sign>,
    /// News for the next heartbeat.
    progress: Mutex<Option<Progress>>,
    /// What the handler logged; it goes along with whatever heartbeat comes next, and makes none come sooner.
    log: Mutex<LogTail>,
    /// Wakes the heartbeat.
    news: Arc<Notify>,
    /// How fast the work gets on, and what all jobs of the worker tell about that.
    pace: Mutex<Pace>,
    pacing: Arc<Pacing>,
    /// The job's type, as long as it was claimed ahead of time and has not begun.
    ahead: Mutex<Option<JobType>>,
    /// Another worker waits for it.
    pub(super) asked_back: CancellationToken,
    /// What the handler listens to.
    pub(crate) stop: Stop,
}

impl Held {
    pub(super) fn new(
        job: JobId,
        token: LeaseToken,
        good_for: Duration,
        asked_at: Instant,
        leases: &Leases,
    ) -> Self {
        Self {
            job,
            token,
            good_for,
            renewed_at: watch::Sender::new(asked_at),
            sign: watch::Sender::new(Sign { at: Instant::now(), moving: 0 }),
            progress: Mutex::default(),
            log: Mutex::default(),
            news: leases.news.clone(),
            pace: Mutex::default(),
            pacing: leases.pacing.clone(),
            ahead: Mutex::default(),
            asked_back: CancellationToken::new(),
            stop: Stop::default(),
        }
    }

    /// Takes the newest word on how far the work is.
    pub(crate) fn tell(&self, progress: Progress) {
        self.pace().tell(&progress);
        self.pacing.changed.notify_one();
        *self.progress() = Some(progress);
        self.seen();
        self.news.notify_one();
    }

    /// The work gets on.
    pub(crate) fn seen(&self) {
        self.sign.send_modify(|sign| sign.at = Instant::now());
    }

    /// A file of the job begins to move: its source, an output or a checkpoint.
    pub(crate) fn moving(&self) -> Moving<'_> {
        self.sign.send_modify(|sign| sign.moving += 1);
        Moving(self)
    }

    /// Waits until nothing was seen of the work for `limit`; for ever if there is none.
    pub(super) async fn silent(&self, limit: Option<Duration>) {
        let mut signs = self.sign.subscribe();
        loop {
            let Sign { at, moving } = *signs.borrow_and_update();
            // A limit beyond what the clock can count is none.
            let until = limit.and_then(|limit| at.checked_add(limit)).filter(|_| moving == 0);
            tokio::select! {
                biased;
                // The sender lives as long as `self`.
                _ = signs.changed() => {}
                Some(()) = OptionFuture::from(until.map(tokio::time::sleep_until)) => return,
            }
        }
    }

    /// Until when nobody else can have been given the job.
    pub(super) fn trusted_until(&self) -> Instant {
        *self.renewed_at.borrow() + self.good_for
    }

    /// Waits until the lease can no longer be trusted.
    pub(super) async fn distrusted(&self) {
        let mut renewals = self.renewed_at.subscribe();
        loop {
            let until = *renewals.borrow_and_update() + self.good_for;
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                // The sender lives as long as `self`.
                _ = renewals.changed() => {}
            }
        }
    }

    /// It is held ahead of time: its work begins when there is a place for it.
    pub(super) fn wait_for_a_place(&self, job_type: JobType) {
        *self.ahead() = Some(job_type);
    }

    /// Its work begins.
    pub(super) fn begin(&self) {
        *self.ahead() = None;
        *self.pace() = Pace::default();
        self.seen();
    }

    /// Its work is done, and only files are sent: that end is no sign for the next job.
    pub(crate) fn work_done(&self) {
        *self.pace() = Pace::default();
    }

    /// The source came in so long.
    pub(crate) fn fetched_in(&self, time: Duration) {
        self.pacing.fetched_in(time);
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ahead(&self) -> MutexGuard<'_, Option<JobType>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the handler logged.
    pub(crate) fn log(&self) -> MutexGuard<'_, LogTail> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Option<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All leases of a worker.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: Mutex<HashMap<JobId, Arc<Held>>>,
    pub(super) news: Arc<Notify>,
    pacing: Arc<Pacing>,
}

impl Leases {
    /// Waits until one of the jobs is so nearly done that it is time to fetch the next one.
    pub(super) async fn nearly_done(&self) {
        loop {
            let changed = self.pacing.changed.notified();
            let lead = self.pacing.lead();
            let due = self.all().values().filter_map(|held| held.pace().ends_at()?.checked_sub(lead)).min();
            tokio::select! {
                () = changed => {}
                Some(()) = OptionFuture::from(due.map(tokio::time::sleep_until)) => return,
            }
        }
    }

    pub(super) fn insert(&self, held: Arc<Held>) {
        self.all().insert(held.job, held);
        self.news.notify_one();
    }

    /// Forgets this lease; a later one of the same job stays.
    pub(super) fn remove(&self, held: &Arc<Held>) {
        let mut all = self.all();
        if all.get(&held.job).is_some_and(|found| Arc::ptr_eq(found, held)) {
            all.remove(&held.job);
        }
    }

    /// Whether there is news of progress, or a job that somebody else may want.
    pub(super) fn has_news(&self) -> bool {
        self.all().values().any(|held| held.progress().is_some() || held.ahead().is_some())
    }

    /// What a heartbeat says of every lease.
    pub(super) fn beat(&self) -> Vec<HeldLease> {
        let all = self.all();
        let mut logs = 0;
        let said = all.values().map(|held| {
            let log_tail = if logs < LOGS_PER_BEAT { held.log().news() } else { None };
            logs += log_tail.as_ref().map_or(0, String::len);
            HeldLease {
                job: held.job,
                token: held.token,
                progress: held.progress().take(),
                log_tail,
                ahead: held.ahead().clone(),
            }
        });
        said.collect()
    }

    /// A heartbeat did not arrive: what it said is news again, unless there is newer.
    pub(super) fn unsaid(&self, said: Vec<HeldLease>) {
        let all = self.all();
        for lease in said {
            let held = all.get(&lease.job).filter(|held| held.token == lease.token);
            let Some(held) = held else { continue };
            if let Some(progress) = lease.progress {
                held.progress().get_or_insert(progress);
            }
            if lease.log_tail.is_some() {
                held.log().unsaid();
            }
        }
    }

    /// Takes in what a heartbeat that was sent at `sent_at` was answered.
    pub(super) fn answered(&self, said: &[HeldLease], states: &[(JobId, LeaseState)], sent_at: Instant) {
        let mut all = self.all();
        for lease in said {
            let Some((_, state)) = states.iter().find(|(job, _)| *job == lease.job) else { continue };
            let Some(held) = all.get(&lease.job).filter(|held| held.token == lease.token) else { continue };
            if *state == LeaseState::Lost {
                held.stop.set(StopReason::LeaseLost);
                all.remove(&lease.job);
                continue;
            }
            held.renewed_at.send_if_modified(|renewed_at| {
                let newer = sent_at > *renewed_at;
                *renewed_at = sent_at.max(*renewed_at);
                newer
            });
            if *state == LeaseState::Awaited {
                held.asked_back.cancel();
            }
            if *state == LeaseState::Cancel {
                held.stop.set(StopReason::Cancelled);
            }
        }
    }

    /// Tells every handler to stop.
    pub(super) fn stop_all(&self, why: StopReason) {
        for held in self.all().values() {
            held.stop.set(why);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
