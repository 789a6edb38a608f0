//! What went wrong, as every reply that is not a success says it: `application/problem+json`.

use std::io;

use blobforge_core::{
    BadLeaseToken, Invalid, QueueError, Refused, Status,
    blob::{BadSignature, BlobError},
    storage::{Refusal, StorageError},
};
use poem::{
    IntoResponse, Response,
    error::{MethodNotAllowedError, NotFoundError, ReadBodyError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiResponse, Object,
    error::{ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError},
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::{ToJSON, Type},
};

/// What went wrong. `code` is stable: programs decide by it.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Problem {
    /// A name for this kind of problem.
    #[oai(rename = "type")]
    pub problem_type: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What programs decide by, such as `lease_lost`.
    pub code: String,
    /// What happened and why, for people.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The field of the request that is wrong.
    pub field: Option<String>,
    /// Where the job is in its life, if that is what stands in the way.
    pub job_status: Option<String>,
    /// The same as `detail`, under the name that earlier clients look for.
    pub error: String,
    /// What to quote when asking about this request; the log has the same.
    pub request_id: Option<String>,
    /// After how many seconds to try again.
    #[oai(skip)]
    pub(crate) retry_after: Option<u32>,
    /// The methods that the address takes, if that is what is wrong.
    #[oai(skip)]
    pub(crate) allow: Option<Box<str>>,
}

impl Problem {
    /// A problem with this status, code and explanation.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            problem_type: format!("urn:blobforge:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            error: detail.clone(),
            detail,
            hint: None,
            field: None,
            job_status: None,
            request_id: None,
            retry_after: None,
            allow: None,
        }
    }

    /// A request that makes no sense.
    pub(crate) fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// A request with something in it that cannot be.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::bad_request("invalid", detail).hint("/docs says what each field of this request may be")
    }

    /// A request that the state of things does not allow.
    pub(crate) fn conflict(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// Something that is not there.
    pub(crate) fn not_found(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// Something that the caller may not do.
    pub(crate) fn forbidden(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// A failure of the service itself. What happened is for the log, not for the caller.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed to answer this request")
            .hint("look for the request id in the log of the service")
    }

    /// A service that ends.
    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the service is stopping").retry_after(5)
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    fn job_status(mut self, status: Status) -> Self {
        self.job_status = Some(status.to_string());
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Says which methods the address takes.
    pub(crate) fn allow(mut self, methods: &[&str]) -> Self {
        self.allow = Some(methods.join(", ").into());
        self
    }

    /// The HTTP status.
    pub(crate) fn http_status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Finds out what an error of the framework means.
    pub(crate) fn of_framework(error: &poem::Error) -> Self {
        if error.is::<NotFoundError>() {
            return Self::not_found("no_such_route", "there is nothing at this address")
                .hint("GET /docs lists what there is");
        }
        if error.is::<MethodNotAllowedError>() {
            return Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this address does not take this method",
            );
        }
        if let Some(error) = error.downcast_ref::<ParsePathError>() {
            // Its name would be one that the framework has given it.
            let what =
                format!("what the path names, such as the number of a job, cannot be read: {}", error.reason);
            return Self::bad_request("invalid_path", what);
        }
        if let Some(error) = error.downcast_ref::<ParseParamError>() {
            return Self::bad_request("invalid_parameter", format!("{}: {}", error.name, error.reason))
                .field(error.name);
        }
        if let Some(error) = error.downcast_ref::<ParseRequestPayloadError>() {
            return Self::bad_request("invalid_body", error.reason.clone());
        }
        if let Some(error) = error.downcast_ref::<ContentTypeError>() {
            return Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                error.to_string(),
            );
        }
        if let Some(error) = error.downcast_ref::<ReadBodyError>() {
            return Self::of_body(error);
        }
        let status = error.status();
        if status.is_client_error() {
            return Self::new(status, "bad_request", error.to_string());
        }
        tracing::error!(%error, "a request failed");
        Self::internal()
    }

    fn too_slow(error: &io::Error) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", error.to_string())
            .hint("send it again, over a better line")
    }

    /// Why a body could not be read.
    pub(crate) fn of_body(error: &ReadBodyError) -> Self {
        match error {
            ReadBodyError::PayloadTooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the request body is larger than this route takes",
            )
            .hint("put large data into the source file: params and metadata are for small things"),
            ReadBodyError::Io(error) if innermost(error) == io::ErrorKind::FileTooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error.to_string())
            }
            ReadBodyError::Io(error) if innermost(error) == io::ErrorKind::TimedOut => Self::too_slow(error),
            other => Self::bad_request("body_broken_off", other.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut reply = Response::builder()
            .status(self.http_status())
            .content_type(ProblemBody::CONTENT_TYPE)
            .body(self.to_json_string());
        let headers = reply.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(Ok(methods)) = self.allow.as_deref().map(HeaderValue::from_str) {
            headers.insert(header::ALLOW, methods);
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Whoever knows the request's id can put it in.
        reply.extensions_mut().insert(self);
        reply
    }
}

/// Only there to describe the reply to OpenAPI.
struct ProblemBody;

impl Payload for ProblemBody {
    const CONTENT_TYPE: &'static str = "application/problem+json";

    fn schema_ref() -> MetaSchemaRef {
        Problem::schema_ref()
    }

    fn register(registry: &mut Registry) {
        <Problem as Type>::register(registry);
    }
}

impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType {
            content_type: ProblemBody::CONTENT_TYPE,
            schema: ProblemBody::schema_ref(),
        }];
        let description = "What went wrong.";
        let response =
            MetaResponse { description, status: None, status_range: None, content, headers: Vec::new() };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        ProblemBody::register(registry);
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        let mut error = Self::from_response(problem.clone().into_response());
        // What the response carried is replaced by what the error carries.
        error.set_data(problem);
        error
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(invalid.to_string()).field(invalid.field)
    }
}

impl From<BadLeaseToken> for Problem {
    fn from(bad: BadLeaseToken) -> Self {
        Self::bad_request("invalid_lease", bad.to_string()).field("lease")
    }
}

impl From<BadSignature> for Problem {
    fn from(bad: BadSignature) -> Self {
        let code = match bad {
            BadSignature::Wrong => "bad_signature",
            BadSignature::Expired => "url_expired",
        };
        Self::forbidden(code, bad.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (code, text) = (refusal.kind(), refusal.to_string());
        match refusal {
            Refusal::NoSuchJob(_) | Refusal::NoSuchWorker(_) | Refusal::NoSuchSubscriber => {
                Self::not_found(code, text)
            }
            Refusal::Lifecycle(Refused::LeaseLost { status, .. }) => Self::conflict(code, text)
                .hint("stop this attempt and report nothing more of it")
                .job_status(status),
            Refusal::Lifecycle(Refused::NotEnded { status }) => {
                Self::conflict(code, text).hint("POST /api/jobs/{id}/cancel ends it").job_status(status)
            }
            Refusal::Lifecycle(Refused::WrongState { status, .. }) | Refusal::Ended(_, status) => {
                Self::conflict(code, text).job_status(status)
            }
            Refusal::TooManyClasses(_) => Self::conflict(code, text).field("requires"),
            Refusal::TooManyCheckpoints(_) => Self::conflict(code, text).field("name"),
            _ => Self::conflict(code, text),
        }
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Full(_) => disk_full(),
            StorageError::Busy(_) => busy("the database is busy. Nothing was changed"),
            StorageError::Unknown(_) => busy("the database did not say whether it kept this"),
            StorageError::Unreadable(_) => {
                tracing::error!(%error, "something that is kept cannot be read");
                busy("something that is kept cannot be read. Nothing was changed")
                    .hint("if it happens again, look at the service's log")
            }
            error => {
                tracing::error!(%error, "the storage failed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "storage_failed",
                    "the database failed, and the service stops",
                )
                .hint("look at the service's log and at its disk")
            }
        }
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        let text = error.to_string();
        match error {
            BlobError::NotFound(_) => {
                Self::conflict("upload_missing", format!("{text}: it was not uploaded, or is gone"))
                    .hint("send the file to its upload URL first")
            }
            BlobError::Over(_) => Self::conflict("upload_over", text),
            BlobError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", text),
            BlobError::BadKey(_) => Self::bad_request("invalid_key", text),
            BlobError::BadRange(_) => Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad_range", text),
            BlobError::BrokenOff(error) if innermost(&error) == io::ErrorKind::TimedOut => {
                Self::too_slow(&error)
            }
            BlobError::BrokenOff(_) => Self::bad_request("transfer_broken_off", text),
            BlobError::Full(_) => disk_full(),
            BlobError::Store(error) => {
                tracing::error!(%error, "the blob store failed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "files_unavailable",
                    "the files cannot be reached now",
                )
                .retry_after(5)
            }
        }
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Invalid(invalid) => invalid.into(),
            QueueError::Refused(refusal) => refusal.into(),
            QueueError::Busy(_) => busy(error.to_string()),
            QueueError::Storage(error) => error.into(),
            QueueError::Blob(error) => error.into(),
            QueueError::Closed => Self::stopping(),
            error => {
                tracing::error!(%error, "the queue failed");
                Self::internal()
            }
        }
    }
}

/// What happened first: on its way up an error is wrapped in others that say less.
fn innermost(error: &io::Error) -> io::ErrorKind {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>());
    inner.map_or(error.kind(), innermost)
}

fn disk_full() -> Problem {
    let detail = "the service's disk is full. Nothing was changed";
    Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail)
        .hint("free some space on it, then try again")
}

fn busy(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(1)
}
