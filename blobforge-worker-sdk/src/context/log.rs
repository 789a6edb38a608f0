//! The last lines that a handler logged.

use std::collections::VecDeque;

/// How many bytes of lines are kept.
const KEPT_BYTES: usize = 16 * 1024;

/// A bounded tail of lines.
#[derive(Debug, Default)]
pub(crate) struct LogTail {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
    /// Something came in since the queue was last told.
    is_news: bool,
}

impl LogTail {
    pub(crate) fn push(&mut self, mut line: String) {
        line.truncate(line.floor_char_boundary(KEPT_BYTES / 4));
        self.is_news = true;
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > KEPT_BYTES
            && let Some(first) = self.lines.pop_front()
        {
            self.bytes -= first.len() + 1;
            self.dropped += 1;
        }
    }

    /// The lines in one text if there are newer ones than were told.
    pub(crate) fn news(&mut self) -> Option<String> {
        std::mem::take(&mut self.is_news).then(|| self.text()).flatten()
    }

    /// What was told did not arrive.
    pub(crate) fn unsaid(&mut self) {
        self.is_news = true;
    }

    /// The lines in one text; `None` if there are none.
    pub(crate) fn text(&self) -> Option<String> {
        let lines = self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        match self.dropped {
            0 => (!self.lines.is_empty()).then_some(lines),
            dropped => Some(format!("({dropped} earlier lines are not kept)\n{lines}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_told_once_unless_they_did_not_arrive() {
        let mut tail = LogTail::default();
        assert_eq!(tail.news(), None);
        tail.push("one".to_owned());
        assert_eq!(tail.news().as_deref(), Some("one"));
        assert_eq!(tail.news(), None);
        tail.unsaid();
        assert_eq!(tail.news().as_deref(), Some("one"));
        tail.push("two".to_owned());
        assert_eq!(
            tail.news().as_deref(),
            Some("one\ntwo"),
            "all there is, in place of what was told before"
        );
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut tail = LogTail::default();
        assert_eq!(tail.text(), None);
        for number in 0..10_000 {
            tail.push(format!("line {number}"));
        }
        tail.push("é".repeat(KEPT_BYTES));
        let text = tail.text().unwrap_or_default();
        assert!(text.len() <= KEPT_BYTES + 64, "{}", text.len());
        assert!(text.starts_with('(') && text.ends_with('é'));
    }
}
