//! Lines become paragraphs, headings, list items and code.

use super::layout::{Layout, Picture, Piece};
use super::lines::{self, Line};
use super::lists::{Marker, marker};
use super::page::Bounds;
use super::tables::Table;

/// A part of the document.
#[derive(Debug, Clone)]
pub(super) enum Block {
    Text(Text),
    Item {
        marker: Marker,
        left: f32,
        text: String,
    },
    Code(Vec<String>),
    Table(Table),
    Picture(Picture),
    /// A page without text.
    NoText {
        first_page: usize,
        last_page: usize,
    },
    /// A page that could not be read, and why.
    Unreadable {
        page: usize,
        reason: String,
    },
}

/// A paragraph, or a heading: which of them is decided once the whole document is known.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) lines: usize,
}

/// What the document as a whole looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Typography {
    /// The size in which most characters are set.
    pub(super) body_size: f32,
    /// Whether most characters are bold, so that bold means nothing.
    pub(super) bold_body: bool,
    /// The space between two lines of a paragraph, in parts of the size.
    pub(super) line_gap: f32,
}

impl Typography {
    pub(super) fn of<'a>(pages: impl Iterator<Item = &'a Layout>) -> Self {
        // Halves of a point, and twentieths of the size.
        let mut sizes = std::collections::BTreeMap::<i32, usize>::new();
        let mut gaps = std::collections::BTreeMap::<i32, usize>::new();
        let (mut bold, mut all) = (0, 0);
        for column in pages.flat_map(|page| &page.columns) {
            let mut above: Option<&Line> = None;
            for piece in column {
                let Piece::Line(line) = piece else {
                    above = None;
                    continue;
                };
                let characters = line.text.chars().count();
                *sizes.entry(half_points(line.size)).or_default() += characters;
                all += characters;
                bold += if line.bold { characters } else { 0 };
                if let Some(above) = above
                    && half_points(above.size) == half_points(line.size)
                {
                    let gap = (line.bounds.top - above.bounds.bottom) / line.size;
                    if (0.0..2.0).contains(&gap) {
                        *gaps.entry((gap * 20.0).round() as i32).or_default() += 1;
                    }
                }
                above = Some(line);
            }
        }
        let most = |counts: &std::collections::BTreeMap<i32, usize>| {
            counts.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0))).map(|(value, _)| *value as f32)
        };
        Self {
            body_size: most(&sizes).map_or(10.0, |halves| halves / 2.0),
            bold_body: bold * 2 > all,
            line_gap: most(&gaps).map_or(0.25, |twentieths| (twentieths / 20.0).min(1.2)),
        }
    }

    pub(super) fn is_large(&self, size: f32) -> bool {
        size >= 1.1 * self.body_size
    }
}

pub(super) fn half_points(size: f32) -> i32 {
    (size * 2.0).round() as i32
}

/// Appends the blocks of one page.
pub(super) fn add_page(page: Layout, typography: &Typography, blocks: &mut Vec<Block>) {
    for column in page.columns {
        let right = column
            .iter()
            .filter_map(|piece| if let Piece::Line(line) = piece { Some(line.bounds.right) } else { None })
            .fold(f32::MIN, f32::max);
        let mut builder = Builder { typography, column_right: right, open: None, blocks: Vec::new() };
        for piece in column {
            match piece {
                Piece::Line(line) => builder.add(&line),
                Piece::Table(table) => builder.insert(Block::Table(table)),
                Piece::Picture(picture) => builder.insert(Block::Picture(picture)),
            }
        }
        let mut column = builder.finish().into_iter();
        if let Some(first) = column.next() {
            if let Err(first) = go_on(blocks.last_mut(), first, typography) {
                blocks.push(first);
            }
            blocks.extend(column);
        }
    }
}

/// Joins a paragraph that a column or a page broke off.
fn go_on(last: Option<&mut Block>, first: Block, typography: &Typography) -> Result<(), Block> {
    let Block::Text(next) = &first else { return Err(first) };
    let goes_on = next.text.chars().next().is_some_and(char::is_lowercase) && !typography.is_large(next.size);
    let text = match last {
        Some(Block::Text(last))
            if half_points(last.size) == half_points(next.size) && last.bold == next.bold =>
        {
            &mut last.text
        }
        Some(Block::Item { text, .. }) => text,
        _ => return Err(first),
    };
    if !goes_on || ends_sentence(text) {
        return Err(first);
    }
    lines::append(text, &next.text);
    Ok(())
}

fn ends_sentence(text: &str) -> bool {
    text.trim_end_matches(['"', '”', '’', ')', '»']).ends_with(['.', '!', '?', ':'])
}

struct Builder<'a> {
    typography: &'a Typography,
    column_right: f32,
    open: Option<Open>,
    blocks: Vec<Block>,
}

/// The block that the next line may belong to.
struct Open {
    kind: Kind,
    text: String,
    size: f32,
    bold: bool,
    lines: usize,
    /// The left edge of the first line, and of all after it.
    first_left: f32,
    rest_left: f32,
    last: Bounds,
}

enum Kind {
    Text,
    Item(Marker),
    Code(Vec<String>),
}

impl Builder<'_> {
    fn add(&mut self, line: &Line) {
        let goes_on = self.open.as_ref().is_some_and(|open| self.continues(open, line));
        if let Some((marker, text)) = marker(&line.text)
            && self.is_item(line, marker, goes_on)
        {
            let text = text.to_owned();
            self.begin(Kind::Item(marker), text, line);
            return;
        }
        match &mut self.open {
            Some(open) if goes_on => open.push(line),
            _ if line.monospace => self.begin(Kind::Code(vec![line.text.clone()]), String::new(), line),
            _ => self.begin(Kind::Text, line.text.clone(), line),
        }
    }

    /// A number with a full stop may also begin a line in the middle of a paragraph, or a heading.
    fn is_item(&self, line: &Line, marker: Marker, goes_on: bool) -> bool {
        if self.typography.is_large(line.size) || line.monospace {
            return false;
        }
        match marker {
            Marker::Bullet => true,
            Marker::Number(_) if line.bold && !self.typography.bold_body => false,
            Marker::Number(1) => true,
            Marker::Number(number) => match &self.open {
                Some(Open { kind: Kind::Item(Marker::Number(last)), .. }) if *last + 1 == number => true,
                _ => !goes_on,
            },
        }
    }

    fn continues(&self, open: &Open, line: &Line) -> bool {
        let size = open.size.max(line.size);
        let gap = line.bounds.top - open.last.bottom;
        if let Kind::Code(_) = open.kind {
            return line.monospace && gap < 2.0 * size;
        }
        let same_style =
            (open.size - line.size).abs() <= 0.08 * size && open.bold == line.bold && !line.monospace;
        // A line above the one before it stands in another place altogether.
        let is_contents = lines::ends_in_leader(&open.text) && lines::ends_in_leader(&line.text);
        if is_contents || !same_style || gap > (self.typography.line_gap + 0.3) * size || gap < -size {
            return false;
        }
        let indent = line.bounds.left - if open.lines == 1 { open.first_left } else { open.rest_left };
        let is_full = open.last.right > self.column_right - 4.0 * size;
        match open.kind {
            Kind::Item(_) => line.bounds.left > open.first_left + 2.0,
            // Indented under a full first line: a hanging paragraph. Under any other: the next paragraph.
            _ if indent > 0.8 * size => open.lines == 1 && is_full,
            _ => {
                let is_short = open.last.right < self.column_right - 12.0 * size;
                let starts_high = line.text.chars().next().is_some_and(char::is_uppercase);
                !(is_short && starts_high && ends_sentence(&open.text))
            }
        }
    }

    fn begin(&mut self, kind: Kind, text: String, line: &Line) {
        self.close();
        self.open = Some(Open {
            kind,
            text,
            size: line.size,
            bold: line.bold,
            lines: 1,
            first_left: line.bounds.left,
            rest_left: line.bounds.left,
            last: line.bounds,
        });
    }

    fn insert(&mut self, block: Block) {
        self.close();
        self.blocks.push(block);
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Open { kind, text, size, bold, lines, first_left, .. } = open;
        self.blocks.push(match kind {
            Kind::Text => Block::Text(Text { text, size, bold, lines }),
            Kind::Item(marker) => Block::Item { marker, left: first_left, text },
            Kind::Code(lines) => Block::Code(lines),
        });
    }

    fn finish(mut self) -> Vec<Block> {
        self.close();
        self.blocks
    }
}

impl Open {
    fn push(&mut self, line: &Line) {
        if let Kind::Code(code) = &mut self.kind {
            // Letters of such fonts are mostly 0.6 of their size wide.
            let indent = ((line.bounds.left - self.first_left) / (0.6 * line.size)).round().clamp(0.0, 80.0);
            code.push(format!("{}{}", " ".repeat(indent as usize), line.text));
        } else {
            lines::append(&mut self.text, &line.text);
        }
        self.rest_left = line.bounds.left;
        self.lines += 1;
        self.last = line.bounds;
    }
}
