//! A child process under watch: its group, its pipes, its limits.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::error::ChildError;
use super::group::Group;
use super::lines::{LINE_BYTES_MAX, Line, Lines, Tail};
use super::usage::{Folders, Usage, oom_kills, sample};
use super::{ChildLimits, ChildSpec, spawner};

/// Often enough to stop a child that takes a gigabyte a second before the machine suffers, and seldom enough to cost
/// nothing.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// How long a killed process may take to be gone.
const DEATH_MAX: Duration = Duration::from_secs(10);

/// How long to read on after the group is dead. Only a process that left the group can keep a pipe open that long.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Who is told what the child says.
pub(crate) trait Listener: Send {
    /// What the watch waits for.
    type Answer: Send;

    /// A line of standard output.
    fn line(&mut self, line: &[u8]) -> Heard<Self::Answer>;

    /// A piece of standard error; whether it is a sign that the work gets on.
    fn stderr(&mut self, _piece: &[u8]) -> bool {
        false
    }

    /// There is more in the output folder than ever before; whether that is a sign that the work gets on.
    fn files_grew(&mut self) -> bool {
        false
    }
}

/// What a line means.
#[derive(Debug)]
pub(crate) enum Heard<A> {
    /// Nothing that proves anything.
    Nothing,
    /// The work gets on.
    Advance,
    /// What was waited for.
    Answer(A),
    /// The child does not keep to the protocol.
    Broken(String),
}

/// Why watching ended.
#[derive(Debug)]
pub(crate) enum Verdict<A> {
    Exited,
    Answered(A),
    /// It has to be stopped; it still runs.
    Stop(ChildError),
}

/// When watching ends at the latest.
pub(crate) struct Watch<'a> {
    pub(crate) limits: &'a ChildLimits,
    pub(crate) folders: &'a Folders,
    pub(crate) cancel: &'a CancellationToken,
}

/// A child, killed with its whole group when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    // Before `child`: the group is killed while the leader's number is still taken.
    group: Group,
    child: Child,
    exit: CancellationToken,
    stdout: Lines<ChildStdout>,
    stdout_open: bool,
    stderr: ChildStderr,
    stderr_open: bool,
    stderr_tail: Tail,
    memory_peak_bytes: u64,
    /// How many processes the kernel had killed for lack of memory when this one began.
    oom_kills_before: Option<u64>,
}

impl Process {
    /// Starts the child; its standard input is empty.
    pub(crate) async fn start(spec: &ChildSpec) -> io::Result<Self> {
        Ok(Self::start_with(spec, Stdio::null()).await?.0)
    }

    /// Starts a child that is told things by its standard input.
    pub(crate) async fn start_told(spec: &ChildSpec) -> io::Result<(Self, ChildStdin)> {
        let (process, stdin) = Self::start_with(spec, Stdio::piped()).await?;
        Ok((process, stdin.ok_or_else(no_pipe)?))
    }

    async fn start_with(spec: &ChildSpec, stdin: Stdio) -> io::Result<(Self, Option<ChildStdin>)> {
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.args)
            .env_clear()
            .envs(spec.env.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let oom_kills_before = oom_kills();
        let (group, mut child) = spawner::spawn(command, spec).await?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(no_pipe)?;
        let stderr = child.stderr.take().ok_or_else(no_pipe)?;
        let exit = watch_exit(&group)?;
        let process = Self {
            group,
            child,
            exit,
            stdout: Lines::new(stdout),
            stdout_open: true,
            stderr,
            stderr_open: true,
            stderr_tail: Tail::default(),
            memory_peak_bytes: 0,
            oom_kills_before,
        };
        Ok((process, stdin))
    }

    /// Watches until the child answers, exits, or has to be stopped.
    pub(crate) async fn watch<L: Listener>(
        &mut self,
        watch: Watch<'_>,
        listener: &mut L,
    ) -> Verdict<L::Answer> {
        let Watch { limits, folders, cancel } = watch;
        let started = Instant::now();
        let ends = limits.total.and_then(|total| started.checked_add(total));
        let mut stalls = stalls_at(limits);
        let mut furthest_bytes = 0;
        let mut ticks = interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sampling: Option<JoinHandle<Usage>> = None;
        let mut stderr_chunk = [0_u8; 4096];
        loop {
            // In this order: a child that floods us with lines can put off neither cancel nor limits.
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Verdict::Stop(ChildError::Cancelled),
                () = sleep_until(ends.unwrap_or(started)), if ends.is_some() => {
                    return Verdict::Stop(ChildError::TimedOut { after: limits.total.unwrap_or_default() });
                }
                () = sleep_until(stalls.unwrap_or(started)), if stalls.is_some() => {
                    let after = limits.no_progress.unwrap_or_default();
                    return Verdict::Stop(ChildError::NoProgress { after });
                }
                usage = async { sampling.as_mut()?.await.ok() }, if sampling.is_some() => {
                    sampling = None;
                    let Some(usage) = usage else { continue };
                    if let Some(error) = self.check(usage, limits) {
                        return Verdict::Stop(error);
                    }
                    if usage.output_bytes > furthest_bytes {
                        furthest_bytes = usage.output_bytes;
                        if listener.files_grew() {
                            stalls = stalls_at(limits);
                        }
                    }
                }
                _ = ticks.tick(), if sampling.is_none() => sampling = Some(self.sampling(folders)),
                () = self.exit.cancelled() => return Verdict::Exited,
                line = self.stdout.next(), if self.stdout_open => match line {
                    Ok(Line::Whole(line)) => match listener.line(&line) {
                        Heard::Nothing => {}
                        Heard::Advance => stalls = stalls_at(limits),
                        Heard::Answer(answer) => return Verdict::Answered(answer),
                        Heard::Broken(why) => return Verdict::Stop(ChildError::Protocol(why)),
                    },
                    Ok(Line::TooLong) => return Verdict::Stop(line_too_long()),
                    Ok(Line::End) | Err(_) => self.stdout_open = false,
                },
                read = self.stderr.read(&mut stderr_chunk), if self.stderr_open => match read {
                    Ok(0) | Err(_) => self.stderr_open = false,
                    Ok(length) => {
                        self.stderr_tail.push(&stderr_chunk[..length]);
                        if listener.stderr(&stderr_chunk[..length]) {
                            stalls = stalls_at(limits);
                        }
                    }
                },
            }
        }
    }

    /// Watches it until its one piece of work is done. However that ends, the whole group is dead then.
    pub(crate) async fn attend<L: Listener>(
        &mut self,
        watch: Watch<'_>,
        listener: &mut L,
    ) -> Result<Finished<L::Answer>, ChildError> {
        let grace = watch.limits.grace;
        let answered = match self.watch(watch, listener).await {
            Verdict::Exited => None,
            Verdict::Answered(answer) => {
                self.wait_at_most(grace).await;
                Some(answer)
            }
            Verdict::Stop(error) => {
                self.stop_for(&error, grace).await;
                return Err(error);
            }
        };
        self.finish(answered, listener).await
    }

    fn sampling(&self, folders: &Folders) -> JoinHandle<Usage> {
        let (group, folders) = (self.group.number(), folders.clone());
        tokio::task::spawn_blocking(move || sample(group, &folders))
    }

    fn check(&mut self, usage: Usage, limits: &ChildLimits) -> Option<ChildError> {
        self.memory_peak_bytes = self.memory_peak_bytes.max(usage.memory_bytes);
        if usage.memory_bytes > limits.memory_bytes {
            return Some(ChildError::MemoryExceeded { used: usage.memory_bytes, limit: limits.memory_bytes });
        }
        if usage.output_bytes > limits.output_bytes {
            return Some(ChildError::OutputExceeded { limit: limits.output_bytes });
        }
        (usage.scratch_bytes > limits.scratch_bytes)
            .then_some(ChildError::ScratchExceeded { limit: limits.scratch_bytes })
    }

    /// What the whole group has in memory now, in bytes.
    pub(crate) async fn memory_bytes(&self) -> u64 {
        self.sampling(&Folders::default()).await.map_or(0, |usage| usage.memory_bytes)
    }

    /// The last it wrote to standard error.
    pub(crate) fn stderr_tail(&self) -> String {
        self.stderr_tail.text()
    }

    /// Forgets what an earlier job said and used.
    pub(crate) fn begin_job(&mut self) {
        self.stderr_tail = Tail::default();
        self.memory_peak_bytes = 0;
        self.oom_kills_before = oom_kills();
    }

    /// Whether it can still be heard.
    pub(crate) fn is_heard(&self) -> bool {
        self.stdout_open && !self.has_exited()
    }

    /// Whether its leader has ended.
    pub(crate) fn has_exited(&self) -> bool {
        self.exit.is_cancelled()
    }

    /// Waits for the leader to exit, reading on so that a full pipe does not hold it up. Whether it did.
    pub(crate) async fn wait_at_most(&mut self, grace: Duration) -> bool {
        timeout(grace, self.exited()).await.is_ok()
    }

    /// Waits for the leader to exit, throwing away what it says.
    pub(crate) async fn exited(&mut self) {
        let mut chunk = [0_u8; 4096];
        loop {
            tokio::select! {
                () = self.exit.cancelled() => return,
                line = self.stdout.next(), if self.stdout_open => {
                    self.stdout_open = matches!(line, Ok(Line::Whole(_)));
                }
                read = self.stderr.read(&mut chunk), if self.stderr_open => match read {
                    Ok(0) | Err(_) => self.stderr_open = false,
                    Ok(length) => self.stderr_tail.push(&chunk[..length]),
                },
            }
        }
    }

    /// Asks the whole group to end, gives it the grace, and kills it.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        self.group.ask_to_end();
        self.wait_at_most(grace).await;
        self.kill().await;
    }

    /// Stops it for this reason: softly, unless it eats what the machine has.
    pub(crate) async fn stop_for(&mut self, why: &ChildError, grace: Duration) {
        if why.leaves_time() { self.stop(grace).await } else { self.kill().await }
    }

    /// Kills the whole group.
    pub(crate) async fn kill(&mut self) {
        self.group.end();
        // What hangs in the kernel, as over a driver or a network filesystem, dies when that answers. Nobody waits for it.
        if timeout(DEATH_MAX, self.child.wait()).await.is_err() {
            tracing::error!(process = self.group.number(), "a process that was killed does not die");
        }
    }

    /// Kills what is left, lets the listener hear what the pipes still hold until it has its answer, and tells how the
    /// leader ended.
    pub(crate) async fn finish<L: Listener>(
        &mut self,
        mut answer: Option<L::Answer>,
        listener: &mut L,
    ) -> Result<Finished<L::Answer>, ChildError> {
        // Whether the child left by itself decides whether its exit status means anything.
        let lingered = !self.has_exited();
        self.group.end();
        let undead = |_| ChildError::Spawn(io::Error::other("a process that was killed does not die"));
        let waited = timeout(DEATH_MAX, self.child.wait()).await.map_err(undead)?;
        let status = waited.map_err(ChildError::Spawn)?;
        let mut broken = None;
        let _ = timeout(DRAIN_MAX, async {
            while answer.is_none() && broken.is_none() {
                match self.stdout.next().await {
                    Ok(Line::Whole(line)) => match listener.line(&line) {
                        Heard::Nothing | Heard::Advance => {}
                        Heard::Answer(found) => answer = Some(found),
                        // A line cut off by the child's death says nothing; its status does.
                        Heard::Broken(why) => broken = status.success().then_some(ChildError::Protocol(why)),
                    },
                    Ok(Line::TooLong) => broken = Some(line_too_long()),
                    Ok(Line::End) | Err(_) => break,
                }
            }
            let mut chunk = [0_u8; 4096];
            while let Ok(length @ 1..) = self.stderr.read(&mut chunk).await {
                self.stderr_tail.push(&chunk[..length]);
                listener.stderr(&chunk[..length]);
            }
        })
        .await;
        Ok(Finished { answer, status, lingered, broken })
    }

    /// Names the limit that a child ran into by itself, or else the crash.
    pub(crate) fn crash(&self, status: ExitStatus, limits: &ChildLimits) -> ChildError {
        let stderr = self.stderr_tail.text();
        let signal = status.signal();
        if signal == Some(Signal::XFSZ.as_raw()) {
            return ChildError::OutputExceeded { limit: limits.output_bytes };
        }
        if signal == Some(Signal::ABORT.as_raw())
            && let Some(asked) = failed_allocation(&stderr)
        {
            let used = self.memory_peak_bytes.saturating_add(asked);
            return ChildError::MemoryExceeded { used, limit: limits.memory_bytes };
        }
        // Nobody but the kernel knows whom it killed, but that it killed somebody just now is evidence enough.
        if signal == Some(Signal::KILL.as_raw()) && oom_kills() > self.oom_kills_before {
            return ChildError::HostOutOfMemory { used: self.memory_peak_bytes };
        }
        ChildError::Crashed { status: status.to_string(), signal, stderr }
    }
}

/// How a child ended.
pub(crate) struct Finished<A> {
    pub(crate) answer: Option<A>,
    pub(crate) status: ExitStatus,
    /// It had to be killed.
    pub(crate) lingered: bool,
    /// What was wrong with its last lines.
    pub(crate) broken: Option<ChildError>,
}

/// When the child has been silent for too long. A limit beyond what the clock can count is none.
fn stalls_at(limits: &ChildLimits) -> Option<Instant> {
    limits.no_progress.and_then(|limit| Instant::now().checked_add(limit))
}

fn no_pipe() -> io::Error {
    io::Error::other("the child's input or output is not a pipe")
}

fn line_too_long() -> ChildError {
    ChildError::Protocol(format!("it wrote a line of more than {LINE_BYTES_MAX} bytes"))
}

/// Tells when the group's leader has died, without reaping it: so the group can be killed while its number is still
/// taken.
fn watch_exit(group: &Group) -> io::Result<CancellationToken> {
    let process = pidfd_open(group.leader(), PidfdFlags::empty())?;
    let exited = CancellationToken::new();
    let tell = exited.clone();
    // Not a blocking task of the runtime, whose shutdown would wait for it. It ends with the child.
    thread::Builder::new().name("child-exit".into()).spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::PidFd(process.as_fd()), options), Err(Errno::INTR)) {}
        tell.cancel();
    })?;
    Ok(exited)
}

/// The bytes that Rust's allocator asked for in vain, from the sentence it aborts with.
fn failed_allocation(stderr: &str) -> Option<u64> {
    let (_, rest) = stderr.rsplit_once("memory allocation of ")?;
    let (bytes, _) = rest.split_once(" bytes failed")?;
    bytes.parse().ok()
}
