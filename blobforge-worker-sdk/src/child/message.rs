//! The lines a child writes, and what counts as progress among them.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

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
}

/// What one line says.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Progress(ChildProgress),
    Heartbeat,
    Result(Value),
    Error {
        kind: String,
        message: String,
        retryable: bool,
    },
    /// A type of a later version, or something a library printed.
    Unknown,
}

#[derive(Deserialize)]
struct ErrorLine {
    kind: String,
    message: String,
    #[serde(default)]
    retryable: bool,
}

/// Reads one line; an error says what is wrong with a line of a known type.
pub(super) fn parse(line: &[u8]) -> Result<Message, String> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice::<Value>(line) else {
        return Ok(Message::Unknown);
    };
    let Some(Value::String(name)) = fields.remove("type") else {
        return Ok(Message::Unknown);
    };
    let malformed = |error: serde_json::Error| format!("its {name:?} line is malformed: {error}");
    Ok(match name.as_str() {
        "progress" => Message::Progress(serde_json::from_value(Value::Object(fields)).map_err(malformed)?),
        "heartbeat" => Message::Heartbeat,
        "result" => match fields.remove("result") {
            Some(result) => Message::Result(result),
            None => return Err("its \"result\" line has no field \"result\"".into()),
        },
        "error" => {
            let ErrorLine { kind, message, retryable } =
                serde_json::from_value(Value::Object(fields)).map_err(malformed)?;
            Message::Error { kind, message, retryable }
        }
        _ => Message::Unknown,
    })
}

/// Tells progress that advances from lines that repeat themselves.
#[derive(Debug, Default)]
pub(super) struct Advance {
    furthest: HashMap<String, u64>,
}

impl Advance {
    /// So many stages are remembered; a child that keeps inventing new ones gets no further.
    const STAGES_MAX: usize = 1_000;

    /// Whether this line is further than every line before it.
    pub(super) fn is_by(&mut self, progress: &ChildProgress) -> bool {
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
mod tests {
    use super::*;

    fn at(stage: &str, done: u64) -> ChildProgress {
        ChildProgress { done: Some(done), stage: Some(stage.into()), ..Default::default() }
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
    fn an_error_line_is_final_unless_it_says_otherwise() {
        assert_eq!(
            parse(br#"{"type":"error","kind":"damaged","message":"Broken."}"#),
            Ok(Message::Error { kind: "damaged".into(), message: "Broken.".into(), retryable: false })
        );
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
}
