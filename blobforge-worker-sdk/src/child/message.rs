//! The lines a child writes, and what counts as progress among them.

use std::collections::HashMap;
use std::path::PathBuf;

use blobforge_core::{JobId, Progress};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::ChildError;

/// How far a child has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ChildProgress {
    /// Units done, in whatever the child counts: pages, mostly.
    #[serde(default)]
    pub done: Option<u64>,
    /// Units in all, where the child knows.
    #[serde(default)]
    pub total: Option<u64>,
    /// The part of the work, such as `convert`.
    #[serde(default)]
    pub stage: Option<String>,
    /// A few words for people.
    #[serde(default)]
    pub message: Option<String>,
    /// How many steps were taken, of whatever size: for work of which `done` says too little.
    #[serde(default)]
    pub steps: Option<u64>,
}

impl From<ChildProgress> for Progress {
    fn from(at: ChildProgress) -> Self {
        Self { done: at.done.unwrap_or(0), total: at.total, stage: at.stage, message: at.message }
    }
}

/// What one line says. See docs/runner-protocol.md.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    /// A runner can take jobs.
    Ready(Ready),
    Progress(ChildProgress),
    Heartbeat,
    /// A line for the job's log.
    Log(String),
    /// A partial result to be kept.
    Checkpoint(NewCheckpoint),
    Result(ResultLine),
    Error(ErrorLine),
    /// A type of a later version, or something a library printed.
    Unknown,
}

/// What a runner says of itself when it can take jobs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Ready {
    /// The version of the protocol that it speaks.
    pub(crate) protocol: u64,
}

/// A partial result in a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct NewCheckpoint {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct ResultLine {
    // Not an `Option`, for which null would be none.
    pub(crate) result: Value,
    /// Of which job, if it says so.
    #[serde(default)]
    id: Option<JobId>,
}

impl ResultLine {
    /// Whether it may be about this job.
    pub(crate) fn is_of(&self, job: JobId) -> bool {
        self.id.is_none_or(|id| id == job)
    }
}

/// A failure that the child names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct ErrorLine {
    kind: String,
    message: String,
    /// Where it says nothing, its kind decides.
    #[serde(default)]
    retryable: Option<bool>,
    #[serde(default)]
    details: Option<Value>,
    /// Of which job, if it says so.
    #[serde(default)]
    id: Option<JobId>,
}

impl ErrorLine {
    /// Whether it may be about this job.
    pub(crate) fn is_of(&self, job: JobId) -> bool {
        self.id.is_none_or(|id| id == job)
    }
}

impl From<ErrorLine> for ChildError {
    fn from(line: ErrorLine) -> Self {
        let ErrorLine { kind, message, retryable, details, .. } = line;
        Self::Failed { kind, message, retryable, details }
    }
}

#[derive(Deserialize)]
struct LogLine {
    message: String,
}

/// Reads one line; an error says what is wrong with a line of a known type.
pub(crate) fn parse(line: &[u8]) -> Result<Message, String> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice::<Value>(line) else {
        return Ok(Message::Unknown);
    };
    let Some(Value::String(name)) = fields.remove("type") else {
        return Ok(Message::Unknown);
    };
    Ok(match name.as_str() {
        "ready" => Message::Ready(fields_of(&name, fields)?),
        "progress" => Message::Progress(fields_of(&name, fields)?),
        "heartbeat" => Message::Heartbeat,
        "log" => Message::Log(fields_of::<LogLine>(&name, fields)?.message),
        "checkpoint" => Message::Checkpoint(fields_of(&name, fields)?),
        "result" => Message::Result(fields_of(&name, fields)?),
        "error" => Message::Error(fields_of(&name, fields)?),
        _ => Message::Unknown,
    })
}

fn fields_of<T: DeserializeOwned>(line: &str, fields: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| format!("its {line:?} line is malformed: {error}"))
}

/// Tells progress that advances from lines that repeat themselves.
#[derive(Debug, Default)]
pub(crate) struct Advance {
    furthest: HashMap<String, u64>,
    steps: u64,
}

impl Advance {
    /// So many stages are remembered; a child that keeps inventing new ones gets no further.
    const STAGES_MAX: usize = 1_000;

    /// Whether this line is further than every line before it.
    pub(crate) fn is_by(&mut self, progress: &ChildProgress) -> bool {
        let stepped = progress.steps.is_some_and(|steps| steps > self.steps);
        self.steps = self.steps.max(progress.steps.unwrap_or(0));
        // Both are looked at: each is remembered.
        self.is_further(progress) || stepped
    }

    fn is_further(&mut self, progress: &ChildProgress) -> bool {
        let stage = progress.stage.as_deref().unwrap_or_default();
        let done = progress.done.unwrap_or(0);
        match self.furthest.get_mut(stage) {
            Some(furthest) if done > *furthest => {
                *furthest = done;
                true
            }
            Some(_) => false,
            None => {
                let room = self.furthest.len() < Self::STAGES_MAX;
                if room {
                    self.furthest.insert(stage.to_owned(), done);
                }
                room
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::super::kinds::{Policy, policy};
    use super::*;

    fn at(stage: &str, done: u64) -> ChildProgress {
        ChildProgress { done: Some(done), stage: Some(stage.into()), ..Default::default() }
    }

    #[test]
    fn steps_show_that_the_work_goes_on_where_nothing_else_does() {
        let mut advance = Advance::default();
        let step = |steps| ChildProgress { steps: Some(steps), ..at("ocr", 1) };
        assert!(advance.is_by(&step(1)), "a new stage");
        assert!(advance.is_by(&step(2)), "a step more");
        assert!(!advance.is_by(&step(2)) && !advance.is_by(&step(1)), "nothing new");
        assert!(!advance.is_by(&at("ocr", 1)));
        assert!(advance.is_by(&ChildProgress { steps: Some(2), ..at("ocr", 2) }), "further, without a step");
    }

    #[test]
    fn known_lines_are_read_and_strange_ones_ignored() {
        assert_eq!(parse(br#"{"type":"heartbeat"}"#), Ok(Message::Heartbeat));
        assert_eq!(
            parse(br#"{"type":"progress","done":3,"stage":"convert","colour":"red"}"#),
            Ok(Message::Progress(at("convert", 3)))
        );
        assert_eq!(parse(br#"{"type":"weather"}"#), Ok(Message::Unknown));
        assert_eq!(parse(b"loading fonts"), Ok(Message::Unknown));
        assert_eq!(parse(b"[1]"), Ok(Message::Unknown));
        assert!(parse(br#"{"type":"progress","done":"three"}"#).is_err());
        assert!(parse(br#"{"type":"result"}"#).is_err());
        assert!(parse(br#"{"type":"error","kind":"x"}"#).is_err());
    }

    #[test]
    fn an_error_line_may_leave_it_to_its_kind_whether_another_try_makes_sense() {
        let error = |line: &[u8]| match parse(line) {
            Ok(Message::Error(line)) => ChildError::from(line),
            other => panic!("{other:?}"),
        };
        let encrypted = error(br#"{"type":"error","kind":"encrypted","message":"Locked."}"#);
        assert!(!encrypted.is_retryable());
        let jammed = error(br#"{"type":"error","kind":"paper_jam","message":"It jams."}"#);
        assert!(jammed.is_retryable());
        let torn = error(br#"{"type":"error","kind":"paper_jam","message":"It tore.","retryable":false}"#);
        assert!(!torn.is_retryable());
    }

    #[test]
    fn only_what_goes_further_advances() {
        let mut advance = Advance::default();
        assert!(advance.is_by(&at("read", 0)));
        assert!(!advance.is_by(&at("read", 0)));
        assert!(advance.is_by(&at("read", 2)));
        assert!(!advance.is_by(&at("read", 1)));
        assert!(advance.is_by(&at("write", 0)));
        assert!(!advance.is_by(&at("read", 2)), "a return to an old stage is no progress");
    }

    #[test]
    fn inventing_stages_does_not_advance_for_ever() {
        let mut advance = Advance::default();
        let advanced = (0..2_000).filter(|n| advance.is_by(&at(&format!("stage {n}"), 0))).count();
        assert_eq!(advanced, Advance::STAGES_MAX);
    }

    /// What a line means, in the words of the vectors.
    fn meaning(line: &str) -> String {
        let said = match parse(line.as_bytes()) {
            Ok(said) => said,
            Err(_) => return "broken".to_owned(),
        };
        match said {
            Message::Ready(Ready { protocol }) => format!("ready, version {protocol}"),
            Message::Progress(ChildProgress { done, total, stage, message, steps }) => {
                let words = [
                    done.map(|done| format!(" {done}")),
                    total.map(|total| format!(" of {total}")),
                    stage.map(|stage| format!(", {stage}")),
                    message.map(|message| format!(", {message}")),
                    steps.map(|steps| format!(", step {steps}")),
                ];
                format!("progress{}", words.into_iter().flatten().collect::<String>())
            }
            Message::Heartbeat => "heartbeat".to_owned(),
            Message::Log(line) => format!("log: {line}"),
            Message::Checkpoint(NewCheckpoint { name, path }) => {
                format!("checkpoint {name} in {}", path.display())
            }
            Message::Result(ResultLine { result, .. }) => format!("result {result}"),
            Message::Error(ErrorLine { kind, message, retryable, .. }) => {
                let policy = match (policy(&kind), retryable) {
                    (Policy::Loss, _) => "loss",
                    (Policy::HostTrouble, _) => "trouble",
                    (Policy::Permanent, None) | (_, Some(false)) => "permanent",
                    (Policy::Retry, None) | (_, Some(true)) => "retry",
                };
                format!("{policy} {kind}: {message}")
            }
            Message::Unknown => "nothing".to_owned(),
        }
    }

    #[test]
    fn every_vector_means_what_it_says() {
        #[derive(Deserialize)]
        struct Vector {
            line: String,
            means: String,
        }
        let vectors = include_str!("../../../docs/runner-protocol-vectors.json");
        let vectors: Vec<Vector> = serde_json::from_str(vectors).unwrap();
        assert!(vectors.len() > 20);
        for Vector { line, means } in vectors {
            assert_eq!(meaning(&line), means, "{line}");
        }
    }

    #[test]
    fn the_kinds_in_the_document_are_the_kinds_that_are_known() {
        let document = include_str!("../../../docs/runner-protocol.md");
        let rows = |policy| match policy {
            Policy::Permanent => "it fails for good",
            Policy::Loss => "a loss",
            Policy::HostTrouble => "it is given back for free",
            Policy::Retry => "it runs again",
        };
        for (kind, policy) in super::super::kinds::KINDS {
            let row =
                document.lines().find(|line| line.contains(&format!("`{kind}`")) && line.starts_with('|'));
            assert!(row.is_some_and(|row| row.contains(rows(*policy))), "{kind}: {row:?}");
        }
    }
}
