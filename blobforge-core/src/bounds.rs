//! The bounds that several kinds of input share, each checked in one place.

use std::{io, time::Duration};

use serde::Serialize;

use crate::Invalid;

/// The most failing runs a job can be given.
///
/// As in [`NewJob::validate`](crate::NewJob::validate).
pub const MAX_ATTEMPTS_LIMIT: u32 = 1000;
/// The most levels of lists and objects within each other that any JSON may have: less than its readers go down, so that
/// whatever is kept can be read again.
///
/// As in [`NewJob::validate`](crate::NewJob::validate).
pub const MAX_JSON_DEPTH: usize = 64;
/// The largest file that is taken, in bytes: 64 GiB.
///
/// As in [`NewJob::validate`](crate::NewJob::validate).
pub const MAX_FILE_BYTES: u64 = 64 << 30;
/// The longest lease, and the longest wait before a failed job runs again: a year.
///
/// As in [`TypeSettings::validate`](crate::TypeSettings::validate).
pub const MAX_SPAN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Checks how many failing runs a job may have.
pub(crate) fn attempts(runs: u32) -> Result<(), Invalid> {
    if (1..=MAX_ATTEMPTS_LIMIT).contains(&runs) {
        return Ok(());
    }
    Err(Invalid::new("max_attempts", format!("{runs} is out of bounds: use 1 to {MAX_ATTEMPTS_LIMIT}")))
}

/// Checks a time that somebody is given: long enough to be met, and short enough to be counted with.
pub(crate) fn span(field: &'static str, span: Duration) -> Result<(), Invalid> {
    if (Duration::from_secs(1)..=MAX_SPAN).contains(&span) {
        return Ok(());
    }
    Err(Invalid::new(
        field,
        format!("{span:?} is out of bounds: it is at least one second and at most a year"),
    ))
}

/// Checks that there are not too many of something.
pub(crate) fn at_most(field: &'static str, there: usize, most: usize) -> Result<(), Invalid> {
    if there <= most {
        return Ok(());
    }
    Err(Invalid::new(field, format!("{there} are too many: at most {most}")))
}

/// Checks a text that is kept, and that is not empty if it is there.
pub(crate) fn text(field: &'static str, text: &str, most: usize) -> Result<(), Invalid> {
    if (1..=most).contains(&text.len()) {
        return Ok(());
    }
    Err(Invalid::new(field, format!("{} bytes are out of bounds: use 1 to {most}", text.len())))
}

/// The same for a text that may be missing.
pub(crate) fn text_if_any(field: &'static str, found: Option<&str>, most: usize) -> Result<(), Invalid> {
    found.map_or(Ok(()), |found| text(field, found, most))
}

/// Checks the size that somebody says a file has.
pub(crate) fn file_size(field: &'static str, size: u64) -> Result<(), Invalid> {
    if size <= MAX_FILE_BYTES {
        return Ok(());
    }
    Err(Invalid::new(field, format!("{size} bytes are too many for a file: at most {MAX_FILE_BYTES}")))
}

/// Checks any JSON that is kept: its bytes, and that it is not nested too deeply to be read again. `remedy` says where
/// it should go if it is too large.
pub(crate) fn json(
    field: &'static str,
    value: &impl Serialize,
    most: usize,
    remedy: &str,
) -> Result<(), Invalid> {
    let found = JsonSize::of(value);
    if found.is_too_deep {
        let reason = format!(
            "it has more than {MAX_JSON_DEPTH} lists and objects within each other: flatten it, or write it as a text"
        );
        return Err(Invalid::new(field, reason));
    }
    if found.bytes <= most {
        return Ok(());
    }
    let reason = format!("{} bytes of JSON are too many: at most {most}. {remedy}", found.bytes);
    Err(Invalid::new(field, reason))
}

/// How large a value is as JSON, found without writing it anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JsonSize {
    /// Its bytes, as far as it is not too deep.
    pub(crate) bytes: usize,
    /// It is nested more deeply than [`MAX_JSON_DEPTH`].
    pub(crate) is_too_deep: bool,
}

impl JsonSize {
    pub(crate) fn of(value: &impl Serialize) -> Self {
        let mut beginning = Beginning::new(0);
        beginning.write(value);
        beginning.size
    }
}

/// The beginning of a value as JSON, up to where it is too deep: what is nested without end would take the stack along.
pub(crate) fn json_beginning(value: &impl Serialize, bytes: usize) -> String {
    let mut beginning = Beginning::new(bytes);
    beginning.write(value);
    // It may end within a character.
    let whole = beginning.text.utf8_chunks().next().map(|chunk| chunk.valid().to_owned());
    whole.unwrap_or_default()
}

/// Reads JSON as it is written.
struct Beginning {
    text: Vec<u8>,
    kept: usize,
    size: JsonSize,
    depth: usize,
    within_text: bool,
    after_backslash: bool,
}

impl Beginning {
    fn new(kept: usize) -> Self {
        let (size, text) = (JsonSize::default(), Vec::new());
        Self { text, kept, size, depth: 0, within_text: false, after_backslash: false }
    }

    fn write(&mut self, value: &impl Serialize) {
        if serde_json::to_writer(&mut *self, value).is_err() && !self.size.is_too_deep {
            // What cannot be written at all has no size that would do.
            self.size.bytes = usize::MAX;
        }
    }

    fn read(&mut self, byte: u8) {
        match byte {
            _ if self.after_backslash => self.after_backslash = false,
            b'\\' if self.within_text => self.after_backslash = true,
            b'"' => self.within_text = !self.within_text,
            b'[' | b'{' if !self.within_text => self.depth += 1,
            b']' | b'}' if !self.within_text => self.depth -= 1,
            _ => {}
        }
    }
}

impl io::Write for Beginning {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let missing = self.kept.saturating_sub(self.text.len());
        self.text.extend_from_slice(&piece[..piece.len().min(missing)]);
        self.size.bytes += piece.len();
        for byte in piece {
            self.read(*byte);
            if self.depth > MAX_JSON_DEPTH {
                self.size.is_too_deep = true;
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn nested(depth: usize) -> Value {
        (1..depth).fold(json!([]), |inner, level| match level % 2 {
            0 => Value::Array(vec![inner]),
            _ => Value::Object([("a".to_owned(), inner)].into_iter().collect()),
        })
    }

    #[test]
    fn json_has_as_many_bytes_as_is_said_and_not_one_more() {
        let text = |bytes: usize| Value::from("x".repeat(bytes - 2));
        assert_eq!(JsonSize::of(&text(100)).bytes, 100);
        assert!(json("params", &text(100), 100, "").is_ok());
        let refused = json("params", &text(101), 100, "Put it elsewhere").unwrap_err();
        assert_eq!(refused.field, "params");
        assert!(refused.reason.contains("101 bytes") && refused.reason.contains("elsewhere"), "{refused}");
    }

    #[test]
    fn what_passes_can_be_read_again_and_what_is_nested_without_end_is_no_trouble() {
        let deepest = nested(MAX_JSON_DEPTH);
        assert!(json("params", &deepest, 1000, "").is_ok());
        assert_eq!(serde_json::from_str::<Value>(&deepest.to_string()).unwrap(), deepest);
        for depth in [MAX_JSON_DEPTH + 1, 128, 1000] {
            assert!(json("params", &nested(depth), 100_000, "").is_err(), "{depth}");
        }
    }

    #[test]
    fn brackets_within_a_text_are_no_depth() {
        let texts = json!(["[".repeat(100), "\\\"[".repeat(100), "{\"", "\\"]);
        assert!(json("params", &texts, 1000, "").is_ok());
        assert_eq!(JsonSize::of(&texts).bytes, texts.to_string().len());
    }

    #[test]
    fn a_beginning_is_kept_as_far_as_it_was_asked_for() {
        assert_eq!(json_beginning(&json!({"a": "xxxx"}), 8), "{\"a\":\"xx");
        assert_eq!(json_beginning(&json!("ää"), 4), "\"ä");
        assert!(json_beginning(&nested(1000), 1000).len() < 500);
    }
}
