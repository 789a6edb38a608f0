//! What is kept within a job rather than in a file of it, and how much of that.
//!
//! A job is read whole whenever somebody looks at it, and rewritten whole with every step of its life. So what a worker
//! says of it is bounded. A result is refused, since half of one is none, and so is a failure's kind, which programs
//! count by; what is for people is cut instead, since a
//! failure has to be recorded however long its story is, and a lease must not be lost to a talkative handler.

use serde_json::{Value, json};

use crate::{
    Failure, Invalid, Progress,
    bounds::{self, JsonSize},
};

/// The most bytes of a job's result as JSON; a larger one is refused.
///
/// As in [`check_result`].
pub const MAX_RESULT_BYTES: usize = 64 * 1024;
/// The most bytes of a failure's kind; a longer one is refused.
///
/// As in [`check_failure_kind`].
pub const MAX_FAILURE_KIND_BYTES: usize = 64;
/// The most bytes of a failure's message; what is longer is cut.
///
/// As in [`Failure::cut`].
pub const MAX_FAILURE_MESSAGE_BYTES: usize = 16 * 1024;
/// The most bytes of a failure's details as JSON. Of larger ones, and of those nested more deeply than
/// [`MAX_JSON_DEPTH`](crate::MAX_JSON_DEPTH), the beginning of that JSON is kept, as text.
///
/// As in [`Failure::cut`].
pub const MAX_FAILURE_DETAILS_BYTES: usize = 64 * 1024;
/// The most bytes of the last lines of a log; of what is longer the end is kept.
///
/// As in [`Failure::cut`].
pub const MAX_LOG_TAIL_BYTES: usize = 16 * 1024;
/// The most bytes of a progress's stage, and of its message; what is longer is cut.
///
/// As in [`Progress::cut`].
pub const MAX_PROGRESS_TEXT_BYTES: usize = 1024;

/// How much is kept of details that are too large.
const CUT_DETAILS_BYTES: usize = 16 * 1024;

/// Checks that a result is small enough to be kept within its job.
///
/// ```
/// use blobforge_core::{MAX_RESULT_BYTES, check_result};
/// assert!(check_result(&"fine".into()).is_ok());
/// assert!(check_result(&"x".repeat(MAX_RESULT_BYTES).into()).is_err(), "its quotes count too");
/// ```
///
/// # Errors
/// When it is over [`MAX_RESULT_BYTES`] as JSON, or nested more deeply than [`MAX_JSON_DEPTH`](crate::MAX_JSON_DEPTH):
/// then it belongs into an output file.
pub fn check_result(result: &Value) -> Result<(), Invalid> {
    let remedy = "Write them to an output file instead, and let the result name it";
    bounds::json("result", result, MAX_RESULT_BYTES, remedy)
}

/// Checks what kind a failure is said to be of: snake_case, that is `a` to `z`, then digits and `_` too, at most
/// [`MAX_FAILURE_KIND_BYTES`] of them.
///
/// ```
/// use blobforge_core::{MAX_FAILURE_KIND_BYTES, check_failure_kind};
/// assert!(check_failure_kind("out_of_memory").is_ok());
/// assert!(check_failure_kind("Out of memory!").is_err());
/// assert!(check_failure_kind(&"x".repeat(MAX_FAILURE_KIND_BYTES + 1)).is_err());
/// ```
///
/// # Errors
/// When it is anything else.
pub fn check_failure_kind(kind: &str) -> Result<(), Invalid> {
    let fits = kind.len() <= MAX_FAILURE_KIND_BYTES
        && kind.starts_with(|c: char| c.is_ascii_lowercase())
        && kind.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if fits {
        return Ok(());
    }
    let reason = format!(
        "failures are grouped by their kind: use 1 to {MAX_FAILURE_KIND_BYTES} of a-z, 0-9 and '_' that begin with a letter, such as \"out_of_memory\""
    );
    Err(Invalid::new("kind", reason))
}

impl Failure {
    /// The same with everything but its kind cut to what is kept of it.
    ///
    /// ```
    /// use blobforge_core::{Failure, MAX_FAILURE_DETAILS_BYTES, MAX_FAILURE_MESSAGE_BYTES, MAX_LOG_TAIL_BYTES};
    /// let mut failure = Failure::new("io", "é".repeat(100_000));
    /// failure.log_tail = Some(format!("{} the end", "x".repeat(MAX_LOG_TAIL_BYTES)));
    /// failure.details = Some("x".repeat(MAX_FAILURE_DETAILS_BYTES).into());
    /// let cut = failure.cut();
    /// assert!(cut.message.len() <= MAX_FAILURE_MESSAGE_BYTES && cut.message.ends_with('…'));
    /// assert!(cut.log_tail.unwrap().ends_with("the end"));
    /// assert_eq!(cut.details.unwrap()["bytes"], MAX_FAILURE_DETAILS_BYTES + 2, "and the beginning as `cut`");
    /// ```
    #[must_use]
    pub fn cut(mut self) -> Self {
        cut(&mut self.message, MAX_FAILURE_MESSAGE_BYTES);
        self.details = self.details.map(|details| {
            let JsonSize { bytes, is_too_deep } = JsonSize::of(&details);
            if bytes <= MAX_FAILURE_DETAILS_BYTES && !is_too_deep {
                return details;
            }
            let mut text = bounds::json_beginning(&details, CUT_DETAILS_BYTES - MARK.len());
            text.push_str(MARK);
            // Of what is nested without end nobody counts the bytes.
            if is_too_deep { json!({"cut": text}) } else { json!({"cut": text, "bytes": bytes}) }
        });
        self.log_tail = self.log_tail.and_then(cut_log);
        self
    }
}

impl Progress {
    /// The same with both texts cut to what is kept of them.
    ///
    /// ```
    /// use blobforge_core::{MAX_PROGRESS_TEXT_BYTES, Progress};
    /// let progress = Progress { message: Some("x".repeat(10_000)), ..Progress::default() }.cut();
    /// assert_eq!(progress.message.unwrap().len(), MAX_PROGRESS_TEXT_BYTES);
    /// ```
    #[must_use]
    pub fn cut(mut self) -> Self {
        for text in [&mut self.stage, &mut self.message].into_iter().flatten() {
            cut(text, MAX_PROGRESS_TEXT_BYTES);
        }
        self
    }
}

/// The end of a log, as much as is kept; an empty one is none.
pub(crate) fn cut_log(mut log: String) -> Option<String> {
    keep_end(&mut log, MAX_LOG_TAIL_BYTES);
    (!log.is_empty()).then_some(log)
}

/// Shows where a text was cut.
const MARK: &str = "…";

/// Cuts the end of a text so that it shows.
pub(crate) fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes - MARK.len()));
        text.push_str(MARK);
    }
}

/// Cuts the beginning of a text so that it shows.
fn keep_end(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let from = text.ceil_char_boundary(text.len() - (bytes - MARK.len()));
        text.replace_range(..from, MARK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_too_large_is_told_where_it_belongs() {
        assert!(check_result(&Value::from("x".repeat(MAX_RESULT_BYTES - 2))).is_ok());
        let refused = check_result(&Value::from("x".repeat(MAX_RESULT_BYTES - 1))).unwrap_err();
        assert_eq!(refused.field, "result");
        assert!(refused.reason.contains("output file"), "{refused}");
    }

    #[test]
    fn a_kind_is_snake_case() {
        for kind in ["a", "io", "out_of_memory", "http_500", &"x".repeat(64)] {
            assert!(check_failure_kind(kind).is_ok(), "{kind}");
        }
        for kind in ["", "_a", "5xx", "IoError", "out of memory", "größe", "a-b", &"x".repeat(65)] {
            assert!(check_failure_kind(kind).is_err(), "{kind}");
        }
    }

    #[test]
    fn a_failure_is_cut_only_where_it_is_too_long() {
        let fine = Failure { details: Some(json!({"page": 7})), ..Failure::new("io", "The disk sulks.") };
        assert_eq!(fine.clone().cut(), fine);
        let long = Failure {
            details: Some(json!({"log": "x".repeat(MAX_FAILURE_DETAILS_BYTES)})),
            log_tail: Some(format!("{}the end", "é".repeat(MAX_LOG_TAIL_BYTES))),
            ..Failure::new("io", "m".repeat(MAX_FAILURE_MESSAGE_BYTES + 1))
        };
        let cut = long.cut();
        assert_eq!((cut.kind.as_str(), cut.message.len()), ("io", MAX_FAILURE_MESSAGE_BYTES));
        let log = cut.log_tail.unwrap();
        assert!(log.starts_with("…é") && log.ends_with("éthe end"));
        assert!((MAX_LOG_TAIL_BYTES - 1..=MAX_LOG_TAIL_BYTES).contains(&log.len()), "{}", log.len());
        let details = cut.details.unwrap();
        assert!(details["cut"].as_str().unwrap().starts_with("{\"log\":\"xxx"), "{details}");
        assert_eq!(details["bytes"], MAX_FAILURE_DETAILS_BYTES + "{\"log\":\"\"}".len());
        assert!(JsonSize::of(&details).bytes <= MAX_FAILURE_DETAILS_BYTES);
    }
}
