//! Why a service did not do what was asked.

use std::path::PathBuf;

use blobforge_core::{JobId, Status, broker::BrokerError};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

/// The code of what a store of files refused. It knows nothing of jobs, so a new URL may help, except where there is no file.
const STORE_REFUSED: &str = "store_refused";
/// The most bytes of a reply that is not understood which are shown.
const SHOWN: usize = 200;

/// Why a service did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The client was set up wrongly.
    #[error("{0}")]
    Config(String),
    /// The service cannot be reached, or the connection broke.
    #[error("{url} cannot be reached: {}. Is the service running there?", causes(.source))]
    Unreachable {
        /// The service's address.
        url: String,
        /// What happened.
        source: reqwest::Error,
    },
    /// A transfer stood still.
    #[error("a transfer with {url} stood still for {after:?} and was broken off")]
    Silent {
        /// The service's address.
        url: String,
        /// For how long.
        after: std::time::Duration,
    },
    /// A file broke off on its way here, again and again.
    #[error("a transfer with {url} broke off: {source}")]
    BrokenOff {
        /// The service's address.
        url: String,
        /// What happened.
        source: std::io::Error,
    },
    /// The service refused.
    #[error("{}", said(.detail, .hint.as_deref()))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What programs decide by.
        code: String,
        /// What happened and why.
        detail: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A job has no outputs yet, or never will.
    #[error("job {job} has no outputs: it is {status}, and outputs appear when a job has completed")]
    NotCompleted {
        /// Which.
        job: JobId,
        /// Where it is in its life.
        status: Status,
    },
    /// The reply makes no sense: something else may be listening there.
    #[error("{0}")]
    Reply(String),
    /// A local file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn said(detail: &str, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{detail} ({hint})"),
        None => detail.to_owned(),
    }
}

/// The last cause says the most: "connection refused" rather than "error sending request".
fn causes(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
    hint: Option<String>,
}

impl ClientError {
    /// What a reply that is not a success says.
    pub(super) async fn of_reply(url: &str, reply: Response) -> Self {
        let status = reply.status();
        let bytes = reply.bytes().await.unwrap_or_default();
        match serde_json::from_slice(&bytes) {
            Ok(Problem { code, detail, hint }) => {
                Self::Refused { status: status.as_u16(), code, detail, hint }
            }
            Err(_) => {
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
                let detail = format!("{url} answers {status}: {}", text.trim());
                Self::Refused { status: status.as_u16(), code: "unknown".to_owned(), detail, hint: None }
            }
        }
    }

    /// What a store of files says that is none of ours.
    pub(super) async fn of_store(url: &str, reply: Response) -> Self {
        let status = reply.status();
        let bytes = reply.bytes().await.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        let detail = match code {
            Some((code, _)) => format!("the store of files at {url} answers {status}: {code}"),
            None => format!("the store of files at {url} answers {status}: {}", text.trim()),
        };
        Self::Refused { status: status.as_u16(), code: STORE_REFUSED.to_owned(), detail, hint: None }
    }

    pub(super) fn file(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::File { path: path.into(), source }
    }

    /// The stable code of the service's refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the same request can succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::BrokenOff { .. } => true,
            Self::Refused { status, code, .. } => {
                *status >= 500
                    || code == STORE_REFUSED && *status != StatusCode::NOT_FOUND.as_u16()
                    || *status == StatusCode::TOO_MANY_REQUESTS.as_u16()
                    || *status == StatusCode::REQUEST_TIMEOUT.as_u16()
            }
            _ => false,
        }
    }
}

impl From<ClientError> for BrokerError {
    fn from(error: ClientError) -> Self {
        if error.is_retryable() {
            return Self::Unavailable(error.to_string());
        }
        let text = error.to_string();
        match error {
            ClientError::File { source, .. } => Self::LocalFile(source),
            ClientError::Refused { status, code, .. } => match code.as_str() {
                "lease_lost" => Self::LeaseLost(text),
                "worker_not_registered" => Self::NotRegistered(text),
                "worker_id_in_use" => Self::WorkerInUse(text),
                // The next try asks for another URL.
                "url_expired" | "upload_in_progress" | "transfer_broken_off" => Self::Unavailable(text),
                _ if status == 401 || status == 403 => Self::Unauthorized(text),
                _ => Self::Refused(text),
            },
            _ => Self::Refused(text),
        }
    }
}
