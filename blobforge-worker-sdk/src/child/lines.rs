//! Lines of bounded length from a child's standard output and standard error.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The longest line a child may write, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;

/// Reads lines, and is cancel safe: a dropped `next` loses nothing.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    partial: Vec<u8>,
}

pub(super) enum Line {
    Whole(Vec<u8>),
    /// The child wrote more than [`LINE_BYTES_MAX`] without an end of line.
    TooLong,
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(source: R) -> Self {
        Self { reader: BufReader::new(source), partial: Vec::new() }
    }

    pub(super) async fn next(&mut self) -> io::Result<Line> {
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                // A last line without its end counts: the child may have died right after writing it.
                return Ok(match std::mem::take(&mut self.partial) {
                    line if line.is_empty() => Line::End,
                    line => Line::Whole(line),
                });
            }
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(chunk.len());
            if self.partial.len() + taken > LINE_BYTES_MAX {
                return Ok(Line::TooLong);
            }
            self.partial.extend_from_slice(&chunk[..taken]);
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Line::Whole(std::mem::take(&mut self.partial)));
            }
        }
    }
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    const BYTES_MAX: usize = 4 * 1024;

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
        let surplus = self.0.len().saturating_sub(Self::BYTES_MAX);
        self.0.drain(..surplus);
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// Splits text that comes in pieces into lines for people. What is too long for one line becomes several.
#[derive(Debug, Default)]
pub(crate) struct TextLines(Vec<u8>);

impl TextLines {
    const BYTES_MAX: usize = 4 * 1024;

    /// Takes a piece, and tells each line that it completes. Progress bars write over themselves: a return ends a line,
    /// too.
    pub(crate) fn push(&mut self, piece: &[u8], mut tell: impl FnMut(String)) {
        for byte in piece {
            let ends = matches!(byte, b'\n' | b'\r');
            if !ends {
                self.0.push(*byte);
            }
            if ends || self.0.len() >= Self::BYTES_MAX {
                self.tell_rest(&mut tell);
            }
        }
    }

    /// Tells what is left without an end.
    pub(crate) fn tell_rest(&mut self, mut tell: impl FnMut(String)) {
        let line = String::from_utf8_lossy(&self.0).trim_end().to_owned();
        self.0.clear();
        if !line.is_empty() {
            tell(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_the_last_needs_no_end() {
        let mut lines = Lines::new(&b"one\n\ntwo"[..]);
        let mut read = Vec::new();
        while let Line::Whole(line) = lines.next().await.unwrap() {
            read.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(read, ["one", "", "two"]);
    }

    #[tokio::test]
    async fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        let mut text = vec![b'a'; LINE_BYTES_MAX];
        text.push(b'\n');
        assert!(matches!(Lines::new(&text[..]).next().await.unwrap(), Line::Whole(_)));
        text.insert(0, b'a');
        assert!(matches!(Lines::new(&text[..]).next().await.unwrap(), Line::TooLong));
    }

    #[test]
    fn the_tail_keeps_the_end() {
        let mut tail = Tail::default();
        tail.push(&vec![b'x'; 10_000]);
        tail.push(b"the end");
        assert_eq!(tail.text().len(), Tail::BYTES_MAX);
        assert!(tail.text().ends_with("xthe end"));
    }

    #[test]
    fn text_in_pieces_becomes_lines_of_bounded_length() {
        let mut lines = TextLines::default();
        let mut told = Vec::new();
        for piece in ["read", "ing\n 10 %\r 20 %", "\r\n", &"x".repeat(5000), "\nrest"] {
            lines.push(piece.as_bytes(), |line| told.push(line));
        }
        lines.tell_rest(|line| told.push(line));
        let lengths: Vec<_> = told.iter().map(String::len).collect();
        assert_eq!(told[..3], ["reading", " 10 %", " 20 %"]);
        assert_eq!((lengths[3..].to_vec(), told[5].as_str()), (vec![4096, 904, 4], "rest"));
    }
}
