//! One runner that is up, and what is said to it and heard of it.

use std::{io, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, process::ChildStdin, sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{Program, Recycling, job_files::JobFiles, runner::PROTOCOL};
use crate::{
    JobContext, JobError, StopReason, Workplace,
    child::{
        Advance, ChildError, Finished, Folders, Heard, Listener, Message, NewCheckpoint, Process, Ready,
        TextLines, Verdict, Watch, parse,
    },
    program::Limits,
};

/// How many checkpoints may wait to be kept. A runner that waits for the answer has one.
const CHECKPOINTS_WAITING: usize = 16;

/// A runner that can take a job.
#[derive(Debug)]
pub(super) struct Warm {
    process: Process,
    orders: Orders,
    limits: Limits,
    jobs: u64,
    /// Its temporary files, which end with it.
    temporary: TempDir,
}

/// What is left of a runner after a job.
pub(super) enum Left {
    Warm(Box<Warm>),
    /// It was on its way out when the job came, and did nothing of it: another runner has to.
    Nothing,
    /// It was killed because the job was to end and it did not heed that.
    Stopped,
    /// It died at the job.
    Died,
}

impl Warm {
    /// Starts a runner and waits until it is ready.
    pub(super) async fn start(
        program: &Program,
        place: &Workplace,
        cancel: &CancellationToken,
    ) -> Result<Self, ChildError> {
        let temporary = place.folder_for("runner").map_err(ChildError::Spawn)?;
        let mut spec = program.spec(place, temporary.path(), Clone::clone);
        spec.env.push(("TMPDIR".into(), temporary.path().into()));
        let (process, stdin) = Process::start_told(&spec).await.map_err(ChildError::Spawn)?;
        let limits = spec.limits.clone();
        let mut warm = Self { process, orders: Orders(stdin), limits, jobs: 0, temporary };
        let until_ready = Limits { no_progress: None, total: Some(program.ready_within), ..spec.limits };
        let folders = warm.own_folders();
        let watch = Watch { limits: &until_ready, folders: &folders, cancel };
        let why = match warm.process.watch(watch, &mut UntilReady).await {
            Verdict::Answered(Ready { protocol: PROTOCOL }) => return Ok(warm),
            Verdict::Answered(Ready { protocol }) => format!(
                "it speaks version {protocol} of the protocol, and this worker speaks {PROTOCOL}: update the older one"
            ),
            Verdict::Exited => {
                let finished = warm.process.finish(None, &mut UntilReady).await?;
                format!("it ended with {} before it said that it is ready", finished.status)
            }
            Verdict::Stop(ChildError::TimedOut { after }) => {
                format!("it did not say within {after:?} that it is ready")
            }
            Verdict::Stop(ChildError::Cancelled) => return Err(ChildError::Cancelled),
            Verdict::Stop(other) => other.to_string(),
        };
        warm.process.kill().await;
        Err(ChildError::NotReady { why, stderr: warm.process.stderr_tail() })
    }

    /// Has it do a job, or what it is told of one.
    pub(super) async fn work(
        mut self,
        job: &JobContext,
        files: &JobFiles,
        told: &Value,
    ) -> (Result<Value, JobError>, Left) {
        self.jobs += 1;
        self.process.begin_job();
        let (checkpoints, waiting) = mpsc::channel(CHECKPOINTS_WAITING);
        let (advance, lines) = Default::default();
        let mut ear = AtWork { job, advance, checkpoints, lines, begun: false };
        let mut folders = self.own_folders();
        folders.output.clone_from(&files.output_dir);
        folders.scratch.push(files.scratch_dir.clone());
        let cancel = job.cancelled();
        let watch = Watch { limits: &self.limits, folders: &folders, cancel: &cancel };
        let order = json!({"type": "job", "job": told});
        let ended = tokio::select! {
            biased;
            verdict = self.process.watch(watch, &mut ear) => Ok(verdict),
            // Ends only when something is wrong.
            error = self.orders.talk(order, job, waiting) => Err(error),
        };
        ear.lines.tell_rest(|line| job.log(line));
        match ended {
            Ok(Verdict::Answered(Ok(result))) => (Ok(result), Left::Warm(Box::new(self))),
            Ok(Verdict::Answered(Err(error))) => (Err(error.into()), Left::Warm(Box::new(self))),
            Ok(Verdict::Exited) => self.died(&mut ear).await,
            Ok(Verdict::Stop(error)) => {
                let left = self.call_off(&error, job.stop_reason()).await;
                (Err(error.into()), left)
            }
            // A runner that is gone cannot be told anything; how it went says more than that.
            Err(Untold::Runner(_)) if self.process.wait_at_most(self.limits.grace).await => {
                self.died(&mut ear).await
            }
            Err(Untold::Runner(error)) => {
                self.process.kill().await;
                let message = format!("the runner takes nothing any more: {error}");
                (Err(JobError::loss("crashed", message)), Left::Died)
            }
            Err(Untold::Queue(error)) => {
                let left = self.call_off(&ChildError::Cancelled, job.stop_reason()).await;
                (Err(error), left)
            }
        }
    }

    /// Its last words and its end. It had no reason to end, so whatever its status is, the job lost what did its work.
    async fn died(mut self, ear: &mut AtWork<'_>) -> (Result<Value, JobError>, Left) {
        let finished = self.process.finish(None, ear).await;
        ear.lines.tell_rest(|line| ear.job.log(line));
        let left = if ear.begun || self.jobs == 1 { Left::Died } else { Left::Nothing };
        let outcome = match finished {
            Ok(Finished { answer: Some(answer), .. }) => answer.map_err(JobError::from),
            Ok(Finished { status, .. }) => {
                Err(JobError::from(self.process.crash(status, &self.limits)).into_loss())
            }
            Err(error) => Err(error.into()),
        };
        (outcome, left)
    }

    /// Asks it to leave the job, and kills it if it does not. What eats the machine gets no time to go on.
    async fn call_off(mut self, why: &ChildError, reason: Option<StopReason>) -> Left {
        let grace = Limits { no_progress: None, total: Some(self.limits.grace), ..self.limits.clone() };
        if why.leaves_time() && self.orders.say(&cancel_order(why, reason), self.limits.grace).await.is_ok() {
            let (folders, never) = (Folders::default(), CancellationToken::new());
            let watch = Watch { limits: &grace, folders: &folders, cancel: &never };
            if let Verdict::Answered(()) = self.process.watch(watch, &mut UntilAnswered).await {
                return Left::Warm(Box::new(self));
            }
        }
        self.process.kill().await;
        Left::Stopped
    }

    /// What it fills with temporary files of its own.
    fn own_folders(&self) -> Folders {
        Folders { scratch: vec![self.temporary.path().to_owned()], ..Folders::default() }
    }

    /// Whether it is time for a fresh one.
    pub(super) async fn is_worn(&self, recycling: Recycling) -> bool {
        if recycling.jobs.is_some_and(|jobs| self.jobs >= jobs) {
            return true;
        }
        match recycling.memory_bytes {
            Some(limit) => self.process.memory_bytes().await > limit,
            None => false,
        }
    }

    /// Asks it to end, and kills it if it does not.
    pub(super) async fn shut_down(self) {
        let Self { mut process, mut orders, limits, .. } = self;
        let _ = orders.say(&json!({"type": "shutdown"}), limits.grace).await;
        // The end of its orders says the same to who does not know the word.
        drop(orders);
        process.wait_at_most(limits.grace).await;
        process.kill().await;
    }
}

fn cancel_order(why: &ChildError, reason: Option<StopReason>) -> Value {
    let reason = match reason {
        Some(StopReason::Cancelled) => "cancelled",
        Some(StopReason::LeaseLost) => "lease_lost",
        Some(StopReason::Shutdown) => "shutdown",
        Some(StopReason::Suspended) => "suspended",
        Some(StopReason::NoProgress) => "no_progress",
        None => why.kind(),
    };
    json!({"type": "cancel", "reason": reason})
}

/// A runner that waits for work. What it says meanwhile is thrown away, lest a full pipe hold it up.
#[derive(Debug)]
pub(super) struct Idle {
    wake: CancellationToken,
    // With it the runner ends.
    rest: AbortOnDropHandle<Warm>,
}

impl Idle {
    pub(super) fn rest(mut warm: Warm) -> Self {
        let wake = CancellationToken::new();
        let woken = wake.clone();
        let rest = tokio::spawn(async move {
            tokio::select! {
                () = woken.cancelled() => {}
                () = warm.process.exited() => tracing::warn!("a runner ended while it had nothing to do"),
            }
            warm
        });
        Self { wake, rest: AbortOnDropHandle::new(rest) }
    }

    /// The runner, if it still lives.
    pub(super) async fn wake(self) -> Option<Warm> {
        self.wake.cancel();
        self.rest.await.ok().filter(|warm| warm.process.is_heard())
    }
}

/// The line to the runner.
#[derive(Debug)]
struct Orders(ChildStdin);

/// Why a runner was not told something.
enum Untold {
    /// It does not listen.
    Runner(io::Error),
    /// What it asked for could not be done.
    Queue(JobError),
}

impl Orders {
    /// Gives the order, then answers what the runner asks for. Returns when something is wrong.
    async fn talk(
        &mut self,
        order: Value,
        job: &JobContext,
        mut checkpoints: mpsc::Receiver<NewCheckpoint>,
    ) -> Untold {
        // How long it may take to read the order is a matter of progress, which is watched elsewhere.
        if let Err(error) = self.write(&order).await {
            return Untold::Runner(error);
        }
        while let Some(NewCheckpoint { name, path }) = checkpoints.recv().await {
            if let Err(error) = job.checkpoint(&name, &path).await {
                return Untold::Queue(error);
            }
            if let Err(error) = self.write(&json!({"type": "checkpoint_kept", "name": name})).await {
                return Untold::Runner(error);
            }
        }
        std::future::pending().await
    }

    async fn say(&mut self, order: &Value, within: Duration) -> io::Result<()> {
        timeout(within, self.write(order)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn write(&mut self, order: &Value) -> io::Result<()> {
        self.0.write_all(format!("{order}\n").as_bytes()).await?;
        self.0.flush().await
    }
}

/// Listens for the word that it is ready. What libraries print before is nothing.
struct UntilReady;

impl Listener for UntilReady {
    type Answer = Ready;

    fn line(&mut self, line: &[u8]) -> Heard<Ready> {
        match parse(line) {
            Ok(Message::Ready(ready)) => Heard::Answer(ready),
            Ok(_) => Heard::Nothing,
            Err(why) => Heard::Broken(why),
        }
    }
}

/// Listens for the end of a job that was called off, however it ends.
struct UntilAnswered;

impl Listener for UntilAnswered {
    type Answer = ();

    fn line(&mut self, line: &[u8]) -> Heard<()> {
        match parse(line) {
            Ok(Message::Result(_) | Message::Error(_)) => Heard::Answer(()),
            Ok(_) => Heard::Nothing,
            Err(why) => Heard::Broken(why),
        }
    }
}

/// Listens while a job is under way.
struct AtWork<'a> {
    job: &'a JobContext,
    advance: Advance,
    checkpoints: mpsc::Sender<NewCheckpoint>,
    /// Of standard error.
    lines: TextLines,
    /// It has said something since it got the job.
    begun: bool,
}

impl AtWork<'_> {
    fn keep(&self, checkpoint: NewCheckpoint) -> Heard<Result<Value, ChildError>> {
        // Only what lies in the job's own folders is taken: the runner may be fooled by what it reads.
        if !self.job.owns(&checkpoint.path) {
            let path = checkpoint.path.display();
            return Heard::Broken(format!("its checkpoint {path} lies outside the folders of the job"));
        }
        match self.checkpoints.try_send(checkpoint) {
            Ok(()) => Heard::Advance,
            Err(_) => Heard::Broken(format!(
                "more than {CHECKPOINTS_WAITING} checkpoints wait to be kept: it has to wait for \"checkpoint_kept\""
            )),
        }
    }
}

impl Listener for AtWork<'_> {
    type Answer = Result<Value, ChildError>;

    fn line(&mut self, line: &[u8]) -> Heard<Self::Answer> {
        self.begun = true;
        match parse(line) {
            Ok(Message::Progress(progress)) => {
                let advances = self.advance.is_by(&progress);
                // What repeats itself is no sign to the queue either.
                if advances {
                    self.job.report_progress(progress.into());
                    return Heard::Advance;
                }
                Heard::Nothing
            }
            Ok(Message::Log(line)) => {
                self.job.log(line);
                Heard::Nothing
            }
            Ok(Message::Checkpoint(checkpoint)) => self.keep(checkpoint),
            // A late word on another job is none on this one.
            Ok(Message::Result(answer)) if !answer.is_of(self.job.id()) => Heard::Nothing,
            Ok(Message::Error(error)) if !error.is_of(self.job.id()) => Heard::Nothing,
            Ok(Message::Result(answer)) => Heard::Answer(Ok(answer.result)),
            Ok(Message::Error(error)) => Heard::Answer(Err(error.into())),
            Ok(Message::Ready(_) | Message::Heartbeat) => Heard::Nothing,
            Ok(Message::Unknown) => {
                // Libraries print to standard output, too.
                self.job.log(String::from_utf8_lossy(line).trim_end());
                Heard::Nothing
            }
            Err(why) => Heard::Broken(why),
        }
    }

    fn stderr(&mut self, piece: &[u8]) -> bool {
        self.begun = true;
        let job = self.job;
        self.lines.push(piece, |line| job.log(line));
        false
    }
}
