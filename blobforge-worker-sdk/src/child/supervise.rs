//! The loop that watches a child.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::error::ChildError;
use super::group::Group;
use super::lines::{LINE_BYTES_MAX, Line, Lines, Tail};
use super::message::{Advance, ChildProgress, Message, parse};
use super::usage::{Usage, sample};
use super::{ChildLimits, ChildSpec, spawner};

/// Often enough to stop a child that takes a gigabyte a second before the machine suffers, and seldom enough to cost
/// nothing.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// How long to read on after the group is dead. Only a process that left the group can keep a pipe open that long.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Runs one child to its end.
///
/// `on_event` gets every progress line, also one that advances nothing. Cancelling asks the group to end and kills it
/// after the grace; dropping the future kills it at once.
///
/// # Errors
///
/// Every [`ChildError`] can occur. Whatever it is, the child's process group is dead.
pub async fn run(
    spec: ChildSpec,
    cancel: CancellationToken,
    mut on_event: impl FnMut(ChildProgress) + Send,
) -> Result<Value, ChildError> {
    if cancel.is_cancelled() {
        return Err(ChildError::Cancelled);
    }
    let mut running = Running::start(&spec).await.map_err(ChildError::Spawn)?;
    let verdict = running.watch(&spec, &cancel, &mut on_event).await;
    let answered = match verdict {
        Verdict::Exited => None,
        Verdict::Answered(answer) => {
            running.wait_at_most(spec.limits.grace).await;
            Some(answer)
        }
        Verdict::Stop(error) => {
            // What is eating the machine's memory gets no time to go on.
            if !matches!(error, ChildError::MemoryExceeded { .. }) {
                running.group.ask_to_end();
                running.wait_at_most(spec.limits.grace).await;
            }
            running.group.end();
            let _ = running.child.wait().await;
            return Err(error);
        }
    };
    running.finish(answered, &spec.limits, &mut on_event).await
}

/// What the child said last.
enum Answer {
    Result(Value),
    Error(ChildError),
}

/// Why watching ended.
enum Verdict {
    Exited,
    Answered(Answer),
    Stop(ChildError),
}

struct Running {
    // Before `child`: the group is killed while the leader's number is still taken.
    group: Group,
    child: Child,
    exit: CancellationToken,
    stdout: Lines<ChildStdout>,
    stderr: ChildStderr,
    stderr_tail: Tail,
    memory_peak_bytes: u64,
}

impl Running {
    async fn start(spec: &ChildSpec) -> io::Result<Self> {
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.args)
            .env_clear()
            .envs(spec.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (group, mut child) = spawner::spawn(command).await?;
        let piped = || io::Error::other("the child's output is not a pipe");
        let stdout = child.stdout.take().ok_or_else(piped)?;
        let stderr = child.stderr.take().ok_or_else(piped)?;
        let exit = watch_exit(&group)?;
        Ok(Self {
            group,
            child,
            exit,
            stdout: Lines::new(stdout),
            stderr,
            stderr_tail: Tail::default(),
            memory_peak_bytes: 0,
        })
    }

    /// Watches until the child answers, exits, or has to be stopped.
    async fn watch(
        &mut self,
        spec: &ChildSpec,
        cancel: &CancellationToken,
        on_event: &mut (impl FnMut(ChildProgress) + Send),
    ) -> Verdict {
        let limits = &spec.limits;
        let started = Instant::now();
        let ends = limits.total.map(|total| started + total);
        let mut stalls = started + limits.no_progress;
        let mut advance = Advance::default();
        let mut ticks = interval(SAMPLE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sampling: Option<JoinHandle<Usage>> = None;
        let mut stdout_open = true;
        let mut stderr_open = true;
        let mut stderr_chunk = [0_u8; 4096];
        loop {
            // In this order: a child that floods us with lines can put off neither cancel nor limits.
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Verdict::Stop(ChildError::Cancelled),
                () = sleep_until(ends.unwrap_or(started)), if ends.is_some() => {
                    return Verdict::Stop(ChildError::TimedOut { after: limits.total.unwrap_or_default() });
                }
                () = sleep_until(stalls) => {
                    return Verdict::Stop(ChildError::NoProgress { after: limits.no_progress });
                }
                usage = async { sampling.as_mut()?.await.ok() }, if sampling.is_some() => {
                    sampling = None;
                    if let Some(error) = usage.and_then(|usage| self.check(usage, limits)) {
                        return Verdict::Stop(error);
                    }
                }
                _ = ticks.tick(), if sampling.is_none() => {
                    let group = self.group.leader().as_raw_nonzero().get();
                    let output_dir = spec.output_dir.clone();
                    sampling = Some(tokio::task::spawn_blocking(move || sample(group, &output_dir)));
                }
                () = self.exit.cancelled() => return Verdict::Exited,
                line = self.stdout.next(), if stdout_open => match line {
                    Ok(Line::Whole(line)) => match parse(&line) {
                        Ok(Message::Progress(progress)) => {
                            if advance.is_by(&progress) {
                                stalls = Instant::now() + limits.no_progress;
                            }
                            on_event(progress);
                        }
                        Ok(Message::Result(result)) => return Verdict::Answered(Answer::Result(result)),
                        Ok(Message::Error { kind, message, retryable }) => {
                            let error = ChildError::Failed { kind, message, retryable };
                            return Verdict::Answered(Answer::Error(error));
                        }
                        Ok(Message::Heartbeat | Message::Unknown) => {}
                        Err(reason) => return Verdict::Stop(ChildError::Protocol(reason)),
                    },
                    Ok(Line::TooLong) => return Verdict::Stop(line_too_long()),
                    Ok(Line::End) | Err(_) => stdout_open = false,
                },
                read = self.stderr.read(&mut stderr_chunk), if stderr_open => match read {
                    Ok(0) | Err(_) => stderr_open = false,
                    Ok(length) => self.stderr_tail.push(&stderr_chunk[..length]),
                },
            }
        }
    }

    fn check(&mut self, usage: Usage, limits: &ChildLimits) -> Option<ChildError> {
        self.memory_peak_bytes = self.memory_peak_bytes.max(usage.memory_bytes);
        if usage.memory_bytes > limits.memory_bytes {
            return Some(ChildError::MemoryExceeded { used: usage.memory_bytes, limit: limits.memory_bytes });
        }
        (usage.output_bytes > limits.output_bytes)
            .then_some(ChildError::OutputExceeded { limit: limits.output_bytes })
    }

    /// Waits for the leader to exit, reading on so that a full pipe does not hold it up.
    async fn wait_at_most(&mut self, grace: Duration) {
        let mut chunk = [0_u8; 4096];
        let mut stdout_open = true;
        let mut stderr_open = true;
        let _ = timeout(grace, async {
            loop {
                tokio::select! {
                    () = self.exit.cancelled() => return,
                    line = self.stdout.next(), if stdout_open => {
                        stdout_open = matches!(line, Ok(Line::Whole(_)));
                    }
                    read = self.stderr.read(&mut chunk), if stderr_open => match read {
                        Ok(0) | Err(_) => stderr_open = false,
                        Ok(length) => self.stderr_tail.push(&chunk[..length]),
                    },
                }
            }
        })
        .await;
    }

    /// Kills what is left, reads what the pipes still hold, and judges.
    async fn finish(
        mut self,
        mut answer: Option<Answer>,
        limits: &ChildLimits,
        on_event: &mut (impl FnMut(ChildProgress) + Send),
    ) -> Result<Value, ChildError> {
        // Whether the child left by itself decides whether its exit status means anything.
        let lingered = !self.exit.is_cancelled();
        self.group.end();
        let status = self.child.wait().await.map_err(ChildError::Spawn)?;
        let mut protocol = None;
        let _ = timeout(DRAIN_MAX, async {
            while answer.is_none() && protocol.is_none() {
                match self.stdout.next().await {
                    Ok(Line::Whole(line)) => match parse(&line) {
                        Ok(Message::Progress(progress)) => on_event(progress),
                        Ok(Message::Result(result)) => answer = Some(Answer::Result(result)),
                        Ok(Message::Error { kind, message, retryable }) => {
                            answer = Some(Answer::Error(ChildError::Failed { kind, message, retryable }));
                        }
                        Ok(Message::Heartbeat | Message::Unknown) => {}
                        // A line cut off by the child's death says nothing; its status does.
                        Err(reason) => protocol = status.success().then_some(ChildError::Protocol(reason)),
                    },
                    Ok(Line::TooLong) => protocol = Some(line_too_long()),
                    Ok(Line::End) | Err(_) => break,
                }
            }
            let mut chunk = [0_u8; 4096];
            while let Ok(length @ 1..) = self.stderr.read(&mut chunk).await {
                self.stderr_tail.push(&chunk[..length]);
            }
        })
        .await;
        match answer {
            Some(Answer::Error(error)) => Err(error),
            Some(Answer::Result(result)) if status.success() || lingered => Ok(result),
            None if status.success() => Err(protocol.unwrap_or_else(|| {
                ChildError::Protocol("it ended without a \"result\" or \"error\" line".into())
            })),
            _ => Err(self.crash(status, limits)),
        }
    }

    /// Names the limit that a child ran into by itself, or else the crash.
    fn crash(&self, status: ExitStatus, limits: &ChildLimits) -> ChildError {
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
        ChildError::Crashed { status: status.to_string(), signal, stderr }
    }
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
