//! How a child can fail.

use std::io;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::kinds;

/// Why a child gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// The child named the failure itself.
    #[error("{message}")]
    Failed {
        /// A snake_case word for programs, such as `encrypted`.
        kind: String,
        /// A sentence for people.
        message: String,
        /// Whether another try may succeed, if the child said so; else its kind decides.
        retryable: Option<bool>,
        /// More for whoever investigates.
        details: Option<Value>,
    },
    /// The child died, or exited with a status other than 0, without naming a failure.
    #[error("the child process ended with {status} and gave no result{}", tail(.stderr))]
    Crashed {
        /// The exit status or the signal, for people.
        status: String,
        /// The number of the signal that killed it, if one did.
        signal: Option<i32>,
        /// The last 4 KB of its standard error.
        stderr: String,
    },
    /// Nothing advanced for too long.
    #[error(
        "the child process made no progress for {after:?} and was stopped; raise the limit if its steps take longer"
    )]
    NoProgress {
        /// The limit that passed.
        after: Duration,
    },
    /// The child ran longer than it may in all.
    #[error(
        "the child process ran longer than {after:?} and was stopped; raise the limit if the work needs it"
    )]
    TimedOut {
        /// The limit that passed.
        after: Duration,
    },
    /// The process group used too much memory.
    #[error(
        "the child process needed {used} bytes of memory, more than the {limit} it may use, and was stopped; \
         raise the limit if the machine has room"
    )]
    MemoryExceeded {
        /// Bytes in use when it was stopped, or asked for in vain.
        used: u64,
        /// Bytes it may use.
        limit: u64,
    },
    /// The machine ran out of memory, and its kernel killed the child.
    #[error(
        "the machine ran out of memory and killed the child process, which had {used} bytes of it; run fewer jobs \
         at once, or smaller ones"
    )]
    HostOutOfMemory {
        /// Bytes that its process group had when it was last measured.
        used: u64,
    },
    /// The child wrote too much.
    #[error(
        "the child process wrote more than {limit} bytes of output and was stopped; raise the limit if the output is meant to be so large"
    )]
    OutputExceeded {
        /// Bytes it may write.
        limit: u64,
    },
    /// The child filled its scratch folder.
    #[error(
        "the child process wrote more than {limit} bytes of temporary files and was stopped; raise the limit if the disk has room"
    )]
    ScratchExceeded {
        /// Bytes it may write.
        limit: u64,
    },
    /// The caller cancelled the work.
    #[error("the work was cancelled")]
    Cancelled,
    /// The child could not be started.
    #[error("the child process could not be started: {0}; check that the program exists and may be executed")]
    Spawn(#[source] io::Error),
    /// A runner that was started took no job.
    #[error("the runner did not get ready: {why}{}", tail(.stderr))]
    NotReady {
        /// What happened instead.
        why: String,
        /// The last 4 KB of its standard error.
        stderr: String,
    },
    /// The child did not keep to the protocol.
    #[error("the child process broke the protocol: {0}")]
    Protocol(String),
}

impl ChildError {
    /// A snake_case word for programs: the child's own for [`ChildError::Failed`], the variant's for the others.
    pub fn kind(&self) -> &str {
        match self {
            Self::Failed { kind, .. } => kind,
            Self::Crashed { signal: Some(signal), .. } if *signal == Signal::KILL.as_raw() => kinds::KILLED,
            Self::Crashed { .. } => "crashed",
            Self::NoProgress { .. } => "no_progress",
            Self::TimedOut { .. } => "timeout",
            Self::MemoryExceeded { .. } | Self::HostOutOfMemory { .. } => kinds::HOST_OOM,
            Self::OutputExceeded { .. } => "output_exceeded",
            Self::ScratchExceeded { .. } => "scratch_exceeded",
            Self::Cancelled => "cancelled",
            Self::Spawn(_) => "spawn_failed",
            Self::NotReady { .. } => "not_ready",
            Self::Protocol(_) => "protocol",
        }
    }

    /// Whether a child that is stopped for this may take its time to tidy up.
    pub(crate) fn leaves_time(&self) -> bool {
        !matches!(
            self,
            Self::MemoryExceeded { .. }
                | Self::OutputExceeded { .. }
                | Self::ScratchExceeded { .. }
                | Self::Protocol(_)
        )
    }

    /// Whether another try may succeed.
    ///
    /// A crash, a standstill or a lack of memory may be the machine's fault, and a broken protocol that of a runner which
    /// another worker has in a better version. What wrote too much would do so again; a cancelled child was not wanted.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Failed { kind, retryable, .. } => {
                retryable.unwrap_or_else(|| kinds::policy(kind) != kinds::Policy::Permanent)
            }
            Self::Crashed { .. }
            | Self::NoProgress { .. }
            | Self::TimedOut { .. }
            | Self::MemoryExceeded { .. }
            | Self::HostOutOfMemory { .. }
            | Self::Spawn(_)
            | Self::NotReady { .. }
            | Self::Protocol(_) => true,
            Self::OutputExceeded { .. } | Self::ScratchExceeded { .. } | Self::Cancelled => false,
        }
    }
}

fn tail(stderr: &str) -> String {
    match stderr.trim() {
        "" => String::new(),
        said => format!("; it said: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_own_failure_keeps_its_kind_and_verdict() {
        let failed = ChildError::Failed {
            kind: "encrypted".into(),
            message: "Locked.".into(),
            retryable: Some(false),
            details: None,
        };
        assert_eq!((failed.kind(), failed.is_retryable()), ("encrypted", false));
        assert_eq!(failed.to_string(), "Locked.");
    }

    #[test]
    fn a_crash_says_what_the_child_said_last() {
        let crashed =
            ChildError::Crashed { status: "exit status 3".into(), signal: None, stderr: "no fuel\n".into() };
        assert_eq!(
            crashed.to_string(),
            "the child process ended with exit status 3 and gave no result; it said: no fuel"
        );
        assert!(crashed.is_retryable());
    }
}
