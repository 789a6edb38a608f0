//! Numbers in words, as people read them: in the terminal and on the pages.

use std::time::Duration;

use blobforge_core::Timestamp;

/// Closer than this is now: clocks may disagree a little.
const NOW: Duration = Duration::from_secs(5);

/// At most so many characters of a text, and a mark where there is more.
pub(crate) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// A span in words: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 14 min`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", span.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A span in one word: `12 s`, `3 min`, `2 h`, `9 days`.
pub(crate) fn about(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How far a time is from now: `just now`, `3 min ago`, `in 2 h`. The pages keep it true by the same words (times.js).
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    let (past, future) = (now.since(time), time.since(now));
    if future > NOW {
        format!("in {}", about(future))
    } else if past < NOW {
        "just now".to_owned()
    } else {
        format!("{} ago", about(past))
    }
}

/// A size in words: `512 B`, `48.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// A number with its thousands apart: `1 234 567`, with narrow blanks that do not break.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let text = |seconds: f64| span(Duration::from_secs_f64(seconds));
        assert_eq!(
            [text(0.44), text(12.0), text(200.0), text(8040.0), text(200_000.0)],
            ["0.4 s", "12 s", "3 min 20 s", "2 h 14 min", "2 days 7 h"]
        );
    }

    #[test]
    fn times_are_told_from_now_in_both_directions() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let at = |seconds| ago(now - Duration::from_secs(seconds), now);
        assert_eq!(
            [at(2), at(40), at(200), at(7300), at(200_000)],
            ["just now", "40 s ago", "3 min ago", "2 h ago", "2 days ago"]
        );
        assert_eq!(ago(now + Duration::from_secs(7200), now), "in 2 h");
        assert_eq!(ago(now + Duration::from_secs(2), now), "just now", "clocks disagree a little");
    }

    #[test]
    fn thousands_stand_apart() {
        let text = [0, 999, 1000, 1_234_567].map(number);
        assert_eq!(text, ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }
}
