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
}

impl LogTail {
    pub(crate) fn push(&mut self, mut line: String) {
        line.truncate(line.floor_char_boundary(KEPT_BYTES / 4));
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > KEPT_BYTES
            && let Some(first) = self.lines.pop_front()
        {
            self.bytes -= first.len() + 1;
            self.dropped += 1;
        }
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
