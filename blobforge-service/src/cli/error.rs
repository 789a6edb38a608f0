//! Why a command did not do what it should.

use std::process::ExitCode;

use blobforge_worker_sdk::client::ClientError;

/// How a command ends, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// Something failed.
    Failed = 1,
    /// The command was not understood.
    Usage = 2,
    /// The service cannot be reached or is not well; later it may be.
    Away = 3,
}

/// What is said of how commands end, wherever that is asked for.
pub(super) const EXIT_CODES: &str = "\
Commands end with 0 when all went well, 1 when something failed, 2 when they were not understood, and 3 when the
service cannot be reached or is not well, so that trying again later may help.";

/// Why a command did not do what it should; the text is for people.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct CliError {
    text: String,
    exit: Exit,
}

impl CliError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Failed }
    }

    /// Something was said that contradicts itself or is none.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Usage }
    }

    /// The service is not there, or not well.
    pub(super) fn unwell(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: Exit::Away }
    }

    /// The service is not there, as was said already.
    pub(super) fn away() -> Self {
        Self { text: String::new(), exit: Exit::Away }
    }

    /// Whether the service is not there, so that nothing else is worth trying.
    pub(super) fn is_away(&self) -> bool {
        self.exit == Exit::Away
    }

    /// How the process ends.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

macro_rules! says_it_itself {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::new(error.to_string())
            }
        }
    )*};
}

says_it_itself!(
    std::io::Error,
    blobforge_core::Invalid,
    blobforge_core::QueueError,
    blobforge_worker_sdk::WorkerError,
    serde_json::Error,
    crate::service::ServiceError,
    crate::serve::ServeError,
    crate::backup::BackupError,
);

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let exit = if error.is_retryable() { Exit::Away } else { Exit::Failed };
        Self { text: error.to_string(), exit }
    }
}
