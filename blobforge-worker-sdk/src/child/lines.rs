//! Lines of bounded length from a child's standard output.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The longest line a child may write, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// Reads lines, and is cancel safe: a dropped `next` loses nothing.
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
#[derive(Default)]
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
}
