//! Failures of the same kind that say the same, but for numbers and names: what went wrong, told once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Failure, JobType, Timestamp};

/// The most bytes of a normalised message.
///
/// ```
/// use blobforge_core::{MAX_GROUP_MESSAGE_BYTES, normalised};
/// assert_eq!(normalised(&"words ".repeat(1000)).len(), MAX_GROUP_MESSAGE_BYTES);
/// ```
pub const MAX_GROUP_MESSAGE_BYTES: usize = 200;
/// The most groups of a type; failures beyond them are counted in one more, of the kind `other`.
pub const MAX_FAILURE_GROUPS: usize = 1000;

/// How much of a message is looked at.
const LOOKED_AT_BYTES: usize = 4096;
/// From this length on, hexadecimal digits are no word.
const HEX_DIGITS: usize = 8;
/// From this length on, not even where they are all letters.
const HEX_LETTERS: usize = 16;

/// The number of a group, never used again.
///
/// ```
/// use blobforge_core::FailureGroupId;
/// let id = FailureGroupId::new(3);
/// assert_eq!((id.get(), id.to_string().as_str()), (3, "3"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FailureGroupId(i64);

impl FailureGroupId {
    /// The id with this number.
    ///
    /// As in [`FailureGroupId`].
    pub fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    ///
    /// As in [`FailureGroupId`].
    pub fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for FailureGroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Failures of one type, of the same kind and with the same [normalised](normalised()) message.
///
/// As in [`Queue::failure_groups`](crate::Queue::failure_groups).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureGroup {
    /// Its number, to list its jobs by.
    pub id: FailureGroupId,
    /// Of which type.
    pub job_type: JobType,
    /// Of which kind.
    pub kind: String,
    /// What they say, but for numbers and names.
    pub message: String,
    /// How many jobs are failed for this now.
    pub jobs: u64,
    /// How many attempts ever failed for this.
    pub failures: u64,
    /// When this was first met.
    pub first_seen: Timestamp,
    /// When this was last met.
    pub last_seen: Timestamp,
}

/// What makes failures of a type the same: their kind and normalised message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sameness {
    pub(crate) kind: String,
    pub(crate) message: String,
}

impl Sameness {
    pub(crate) fn of(failure: &Failure) -> Self {
        Self { kind: failure.kind.clone(), message: normalised(&failure.message) }
    }

    /// That of whatever is one group too many.
    pub(crate) fn other() -> Self {
        Self { kind: "other".to_owned(), message: "(other)".to_owned() }
    }
}

/// A message without what differs from case to case: numbers, hexadecimal ids, UUIDs, quoted texts and paths become
/// placeholders, letters small, and blanks single. At most [`MAX_GROUP_MESSAGE_BYTES`].
///
/// Doing it twice changes nothing.
///
/// ```
/// use blobforge_core::normalised;
/// let one = normalised("page 17 of \"Rules.pdf\" has no text (/tmp/job-3/p17.png)");
/// assert_eq!(one, "page <n> of <text> has no text (<path>)");
/// assert_eq!(one, normalised("Page 4 of \"Lore.pdf\" has no text (/tmp/job-9/p4.png)"));
/// ```
pub fn normalised(message: &str) -> String {
    let looked_at = &message[..message.floor_char_boundary(LOOKED_AT_BYTES)];
    let mut text = pass(looked_at);
    loop {
        // A text that was cut, or that lost a quote, may read otherwise. Every pass that changes anything leaves fewer
        // letters, digits, quotes or slashes outside of placeholders, so this ends.
        let again = pass(&text);
        if again == text {
            return text;
        }
        text = again;
    }
}

fn pass(text: &str) -> String {
    let small: String = text.chars().flat_map(char::to_lowercase).collect();
    let unquoted = without_quoted(&small);
    let mut out = String::with_capacity(unquoted.len());
    for word in unquoted.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        push_word(word, &mut out);
        if out.len() > MAX_GROUP_MESSAGE_BYTES {
            break;
        }
    }
    out.truncate(out.floor_char_boundary(MAX_GROUP_MESSAGE_BYTES));
    out.truncate(out.trim_end().len());
    out
}

/// Replaces what stands between quotes. A single quote within a word is an apostrophe.
fn without_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let end = closing(c, before).and_then(|close| {
            let ends = after.match_indices(close).map(|(at, _)| at + close.len_utf8());
            let mut ends = ends.filter(|end| close != '\'' || !starts_word(&after[*end..]));
            ends.next()
        });
        match end {
            Some(end) => {
                out.push_str("<text>");
                rest = &after[end..];
                before = Some('>');
            }
            None => {
                out.push(c);
                rest = after;
                before = Some(c);
            }
        }
    }
    out
}

/// The quote that ends what `quote` begins, where it stands behind `before`.
fn closing(quote: char, before: Option<char>) -> Option<char> {
    match quote {
        '"' | '`' => Some(quote),
        '“' | '„' => Some('”'),
        '«' => Some('»'),
        '\'' if !before.is_some_and(char::is_alphanumeric) => Some('\''),
        _ => None,
    }
}

fn starts_word(text: &str) -> bool {
    text.starts_with(char::is_alphanumeric)
}

/// Adds a word with its changing parts replaced.
fn push_word(word: &str, out: &mut String) {
    let opening = |c: char| matches!(c, '(' | '[' | '{' | '=' | ':' | ',' | ';' | '\'' | '"');
    let ending = |c: char| matches!(c, ')' | ']' | '}' | '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '"');
    let inner = word.trim_start_matches(opening);
    let (head, core) = (&word[..word.len() - inner.len()], inner.trim_end_matches(ending));
    let tail = &inner[core.len()..];
    out.push_str(head);
    match core.split_once('=') {
        Some((name, value)) if is_path(value) => {
            push_numbers(name, out);
            out.push_str("=<path>");
        }
        _ if is_path(core) => out.push_str("<path>"),
        _ => push_numbers(core, out),
    }
    out.push_str(tail);
}

/// Whether a word is a path or a URL, rather than words with a slash between.
fn is_path(word: &str) -> bool {
    let drive = word.as_bytes().get(1..3).is_some_and(|at| matches!(at, [b':', b'\\' | b'/']));
    let begins = ["/", "./", "../", "~/", "\\\\"].iter().any(|start| word.starts_with(start));
    (begins && word.len() > 1) || drive || word.contains("://") || word.matches(['/', '\\']).count() > 1
}

/// Adds a word with its numbers and ids replaced.
fn push_numbers(word: &str, out: &mut String) {
    let mut rest = word;
    while !rest.is_empty() {
        let run = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if let Some(length) = uuid(rest) {
            out.push_str("<uuid>");
            rest = &rest[length..];
        } else if is_hex_id(&rest[..run]) {
            out.push_str("<hex>");
            rest = &rest[run..];
        } else if run > 0 {
            let length = push_run(&rest[..run], rest, out);
            rest = &rest[length..];
        } else {
            let other = rest.find(|c: char| c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            out.push_str(&rest[..other]);
            rest = &rest[other..];
        }
    }
}

/// Adds letters as they are and each number as a placeholder. A number may reach beyond the run: `1,024.5` is one.
fn push_run(run: &str, rest: &str, out: &mut String) -> usize {
    let mut at = 0;
    while at < run.len() {
        let letters = run[at..].find(|c: char| c.is_ascii_digit()).unwrap_or(run.len() - at);
        out.push_str(&run[at..at + letters]);
        at += letters;
        if at < run.len() {
            out.push_str("<n>");
            at += number(&rest[at..]);
        }
    }
    at
}

/// How long the number at the beginning is: digits, with points, commas or colons between them.
fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let between = |at: usize| matches!(bytes.get(at), Some(b'.' | b',' | b':' | b'_'));
    let mut at = 0;
    while digit(at) || (between(at) && digit(at + 1)) {
        at += 1;
    }
    at
}

fn is_hex_id(run: &str) -> bool {
    let (digits, said) = match run.strip_prefix("0x") {
        Some(digits) => (digits, !digits.is_empty()),
        None => (run, run.len() >= HEX_DIGITS && run.bytes().any(|b| b.is_ascii_digit())),
    };
    let all_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    let a_number = !run.starts_with("0x") && digits.bytes().all(|b| b.is_ascii_digit());
    all_hex && !a_number && (said || digits.len() >= HEX_LETTERS)
}

/// How long the UUID at the beginning is, if there is one.
fn uuid(text: &str) -> Option<usize> {
    const LENGTH: usize = 36;
    let bytes = text.as_bytes().get(..LENGTH)?;
    let fits = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    let ends = !text.as_bytes().get(LENGTH).is_some_and(u8::is_ascii_alphanumeric);
    (ends && bytes.iter().enumerate().all(fits)).then_some(LENGTH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_from_case_to_case_is_replaced() {
        let cases = [
            ("", ""),
            ("A password is needed", "a password is needed"),
            ("page 17 of 300", "page <n> of <n>"),
            ("1,024.5 MiB, 99% of it", "<n> mib, <n>% of it"),
            ("p17.png: 3rd try", "p<n>.png: <n>rd try"),
            ("at 0xDEADbeef, commit 3f2a9c1b", "at <hex>, commit <hex>"),
            ("a decade of facades", "a decade of facades"),
            ("id 6f9619ff-8b86-d011-b42d-00c04fc964ff!", "id <uuid>!"),
            ("cannot open '/a b/c.pdf': gone", "cannot open <text>: gone"),
            ("cannot open /a/c.pdf: gone", "cannot open <path>: gone"),
            ("see https://example.org/x?y=1.", "see <path>."),
            ("C:\\Users\\x\\y.pdf is locked", "<path> is locked"),
            ("file=/tmp/x and/or 1/2", "file=<path> and/or <n>/<n>"),
            ("it doesn't fit, they say it's 'too big'", "it doesn't fit, they say it's <text>"),
            ("an \"unclosed quote", "an \"unclosed quote"),
            ("  many\n\tblanks  ", "many blanks"),
            ("at 2026-03-01T12:00:00.000Z", "at <n>-<n>-<n>t<n>z"),
        ];
        for (message, expected) in cases {
            assert_eq!(normalised(message), expected, "{message}");
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let long = normalised(&"é".repeat(10_000));
        assert_eq!(long, "é".repeat(100));
    }

    proptest! {
        #[test]
        fn doing_it_twice_changes_nothing(message in ".{0,400}") {
            let once = normalised(&message);
            prop_assert!(once.len() <= MAX_GROUP_MESSAGE_BYTES);
            prop_assert_eq!(normalised(&once), once);
        }

        /// Made of what the rules are about, so that they meet.
        #[test]
        fn nor_where_quotes_paths_and_numbers_meet(
            message in r#"([ '"`/\\.:,=a-f0-9x~<>()“”«»-]|page|0x|://|é|İ|n't){0,120}"#,
        ) {
            let once = normalised(&message);
            prop_assert!(once.len() <= MAX_GROUP_MESSAGE_BYTES);
            prop_assert_eq!(normalised(&once), once);
        }

        #[test]
        fn the_numbers_in_it_mean_nothing(one: u32, other: u32) {
            let message = |number: u32| normalised(&format!("page {number} of a file has no text"));
            prop_assert_eq!(message(one), message(other));
        }
    }
}
