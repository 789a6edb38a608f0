//! Blocks become Markdown.

use std::fmt::Write as _;

use super::blocks::{Block, Text, Typography, half_points};
use super::lines;
use super::lists::Marker;
use super::tables::Table;

/// Writes a whole document; it ends with one line feed.
pub(super) fn write(blocks: &[Block], typography: &Typography) -> String {
    let headings = Headings::of(blocks, typography);
    let mut out = String::new();
    let mut list: Vec<f32> = Vec::new();
    for block in blocks {
        let goes_on = !list.is_empty() && matches!(block, Block::Item { .. });
        if !out.is_empty() {
            out.push_str(if goes_on { "\n" } else { "\n\n" });
        }
        if !goes_on {
            list.clear();
        }
        match block {
            Block::Text(text) => match headings.level(text) {
                Some(level) => {
                    out.extend(std::iter::repeat_n('#', level));
                    out.push(' ');
                    out.push_str(&inline(&text.text));
                }
                None => out.push_str(&paragraph(&text.text)),
            },
            Block::Item { marker, left, text } => item(&mut list, *marker, *left, text, &mut out),
            Block::Code(lines) => code(lines, &mut out),
            Block::Table(rows) => table(rows, &mut out),
            Block::Picture(picture) => {
                let _ = write!(out, "![]({})", picture.file);
            }
            Block::NoText { first_page, last_page } => {
                let _ = match last_page - first_page {
                    0 => write!(out, "> Page {first_page} has no text layer."),
                    _ => write!(out, "> Pages {first_page} to {last_page} have no text layer."),
                };
            }
            Block::Unreadable { page, reason } => {
                let _ = write!(out, "> Page {page} could not be read: {}", inline(reason));
            }
        }
    }
    out.push('\n');
    out
}

/// Which sizes are headings of which level.
struct Headings {
    typography: Typography,
    /// From large to small, in half points; sizes that differ by little are one.
    sizes: Vec<i32>,
}

impl Headings {
    const LEVEL_MAX: usize = 6;

    fn of(blocks: &[Block], typography: &Typography) -> Self {
        let mut all: Vec<i32> = blocks
            .iter()
            .filter_map(|block| match block {
                Block::Text(text) if is_short(text) && typography.is_large(text.size) => {
                    Some(half_points(text.size))
                }
                _ => None,
            })
            .collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let mut sizes: Vec<i32> = Vec::new();
        for size in all {
            if sizes.last().is_none_or(|last| f64::from(size) < 0.95 * f64::from(*last)) {
                sizes.push(size);
            }
        }
        Self { typography: *typography, sizes }
    }

    fn level(&self, text: &Text) -> Option<usize> {
        if !is_short(text) {
            return None;
        }
        if self.typography.is_large(text.size) {
            let size = f64::from(half_points(text.size));
            let larger = self.sizes.iter().filter(|other| size < 0.95 * f64::from(**other)).count();
            return Some((larger + 1).min(Self::LEVEL_MAX));
        }
        let stands_out = text.bold
            && !self.typography.bold_body
            && text.lines == 1
            && text.size >= 0.95 * self.typography.body_size
            && text.text.chars().count() <= 100
            && !text.text.ends_with(['.', ',', ';', ':', '!', '?']);
        stands_out.then_some((self.sizes.len() + 1).min(Self::LEVEL_MAX))
    }
}

fn is_short(text: &Text) -> bool {
    text.lines <= 3
        && !lines::ends_in_leader(&text.text)
        && text.text.chars().count() <= 200
        && text.text.chars().filter(|c| c.is_alphanumeric()).count() >= 2
}

/// Keeps `list` as the left edges of the items that enclose the next one.
fn item(list: &mut Vec<f32>, marker: Marker, left: f32, text: &str, out: &mut String) {
    const SAME: f32 = 4.0;
    while list.len() > 1 && list.last().is_some_and(|last| left < last - SAME) {
        list.pop();
    }
    match list.last() {
        Some(last) if left <= last + SAME => {}
        _ => list.push(left),
    }
    // Four spaces nest under bullets and numbers alike.
    out.push_str(&"    ".repeat(list.len().clamp(1, 6) - 1));
    let _ = match marker {
        Marker::Bullet => write!(out, "- {}", paragraph(text)),
        Marker::Number(number) => write!(out, "{number}. {}", paragraph(text)),
    };
}

fn code(lines: &[String], out: &mut String) {
    let longest = lines.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = write!(out, "{fence}\n{}\n{fence}", lines.join("\n"));
}

fn table(table: &Table, out: &mut String) {
    let mut rows = table.rows.iter();
    let Some(header) = rows.next() else { return };
    table_row(header, out);
    out.push('\n');
    out.push('|');
    out.push_str(&" --- |".repeat(header.len()));
    for row in rows {
        out.push('\n');
        table_row(row, out);
    }
}

fn table_row(row: &[String], out: &mut String) {
    out.push('|');
    for cell in row {
        let _ = write!(out, " {} |", inline(cell).replace('|', "\\|"));
    }
}

/// Escapes a text that begins a line.
fn paragraph(text: &str) -> String {
    let text = inline(text);
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let mut after = text[digits..].chars();
    if digits > 0 && matches!(after.next(), Some('.' | ')')) && matches!(after.next(), Some(' ') | None) {
        return format!("{}\\{}", &text[..digits], &text[digits..]);
    }
    match text.chars().next() {
        Some('#' | '>' | '-' | '+' | '=' | '|' | '~') => format!("\\{text}"),
        _ => text,
    }
}

/// Escapes what Markdown and HTML would read as more than text.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut before = ' ';
    while let Some(c) = characters.next() {
        let next = characters.peek().copied().unwrap_or(' ');
        let special = match c {
            '\\' => next.is_ascii_punctuation(),
            '*' | '`' => true,
            // Inside a word it means nothing.
            '_' => !(before.is_alphanumeric() && next.is_alphanumeric()),
            '<' => next.is_ascii_alphabetic() || matches!(next, '/' | '!' | '?'),
            '&' => next.is_ascii_alphanumeric() || next == '#',
            ']' => matches!(next, '(' | '[' | ':'),
            '~' => next == '~',
            _ => false,
        };
        if special {
            out.push('\\');
        }
        out.push(c);
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(inline("2 * 3 < 7 & a_b"), "2 \\* 3 < 7 & a_b");
        assert_eq!(inline("<script>&lt;"), "\\<script>\\&lt;");
        assert_eq!(inline("[click](javascript:x)"), "[click\\](javascript:x)");
        assert_eq!(paragraph("# not a heading"), "\\# not a heading");
        assert_eq!(paragraph("1985. The flood"), "1985\\. The flood");
        assert_eq!(paragraph("2.1 The flood"), "2.1 The flood");
        assert_eq!(paragraph("- not an item"), "\\- not an item");
    }

    #[test]
    fn a_bar_does_not_end_a_cell() {
        let bounds = super::super::page::Bounds { left: 0.0, top: 0.0, right: 0.0, bottom: 0.0 };
        let mut out = String::new();
        table(
            &Table { bounds, rows: vec![vec!["a|b".into(), "c".into()], vec!["".into(), "d".into()]] },
            &mut out,
        );
        assert_eq!(out, "| a\\|b | c |\n| --- | --- |\n|  | d |");
    }

    #[test]
    fn items_nest_by_their_left_edge() {
        let mut list = Vec::new();
        let mut out = String::new();
        for (left, text) in [(70.0, "a"), (90.0, "b"), (90.5, "c"), (70.0, "d")] {
            item(&mut list, Marker::Bullet, left, text, &mut out);
            out.push('\n');
        }
        assert_eq!(out, "- a\n    - b\n    - c\n- d\n");
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        let mut out = String::new();
        code(&["a ``` b".into()], &mut out);
        assert_eq!(out, "````\na ``` b\n````");
    }
}
