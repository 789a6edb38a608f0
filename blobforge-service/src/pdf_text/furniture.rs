//! What repeats at the edges of the pages: running heads and page numbers. They are no part of the text.

use std::collections::HashMap;

use super::layout::{Layout, Piece};
use super::lines::Line;

/// The part of the page's height, above and below, in which running heads stand.
const BAND: f32 = 0.12;
/// On so many pages a line must repeat to be a running head.
const REPEATS_MIN: usize = 3;
/// Larger text opens a chapter, however often it looks the same.
const SIZE_RATIO_MAX: f32 = 1.15;

/// Removes running heads and page numbers.
pub(super) fn remove(pages: &mut [Layout], body_size: f32) {
    let mut repeats: HashMap<(String, bool, i64), usize> = HashMap::new();
    let mut offsets: HashMap<i64, usize> = HashMap::new();
    for (index, page) in pages.iter().enumerate() {
        for (line, is_top) in edge_lines(page, body_size) {
            *repeats.entry(key(line, is_top)).or_default() += 1;
            if let Some(number) = page_number(&line.text).or_else(|| outer_number(&line.text)) {
                *offsets.entry(number - index as i64).or_default() += 1;
            }
        }
    }
    for (index, page) in pages.iter_mut().enumerate() {
        let Some(edges) = page.edges else { continue };
        for column in &mut page.columns {
            column.retain(|piece| {
                let Piece::Line(line) = piece else { return true };
                let Some(is_top) = band(line, edges, body_size) else { return true };
                let repeats = repeats.get(&key(line, is_top)).copied().unwrap_or(0) >= REPEATS_MIN;
                let pages_in_step = |number: i64| offsets.get(&(number - index as i64)).copied().unwrap_or(0);
                let is_number = page_number(&line.text)
                    .is_some_and(|number| number == index as i64 + 1 || pages_in_step(number) > 1);
                // "Chapter 2: The Mill 37": the chapter changes, and the number counts on.
                let holds_number =
                    outer_number(&line.text).is_some_and(|number| pages_in_step(number) >= REPEATS_MIN);
                !repeats && !is_number && !holds_number
            });
        }
        page.columns.retain(|column| !column.is_empty());
    }
}

fn edge_lines(page: &Layout, body_size: f32) -> impl Iterator<Item = (&Line, bool)> {
    let edges = page.edges;
    page.columns.iter().flatten().filter_map(move |piece| {
        let Piece::Line(line) = piece else { return None };
        Some((line, band(line, edges?, body_size)?))
    })
}

/// Whether a line stands at the upper edge (true), the lower (false), or neither.
fn band(line: &Line, (top, bottom): (f32, f32), body_size: f32) -> Option<bool> {
    if line.size > SIZE_RATIO_MAX * body_size {
        return None;
    }
    let depth = BAND * (bottom - top);
    if line.bounds.bottom < top + depth {
        Some(true)
    } else if line.bounds.top > bottom - depth {
        Some(false)
    } else {
        None
    }
}

/// Lines that differ in their numbers alone, at the same height, are one.
fn key(line: &Line, is_top: bool) -> (String, bool, i64) {
    let mut text = String::new();
    for c in line.text.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !text.ends_with('#') {
            text.push(c);
        }
    }
    (text, is_top, (line.bounds.middle() / 4.0).round() as i64)
}

/// The number in "7", "- 7 -", "Page 7" and "7 / 12".
fn page_number(text: &str) -> Option<i64> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || "-–—|".contains(c));
    let text = text.strip_prefix("Page ").or_else(|| text.strip_prefix("page ")).unwrap_or(text);
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = text[digits..].trim_start_matches([' ', '/']).trim_start_matches("of ");
    let is_total = rest.len() <= 5 && rest.chars().all(|c| c.is_ascii_digit());
    if !(1..=5).contains(&digits) || !is_total {
        return None;
    }
    text[..digits].parse().ok()
}

/// The number that a line begins or ends with, apart from its other words.
fn outer_number(text: &str) -> Option<i64> {
    let is_number = |word: &&str| word.len() <= 5 && word.chars().all(|c| c.is_ascii_digit());
    let mut words = text.split_whitespace();
    let (first, last) = (words.next()?, words.next_back()?);
    [last, first].iter().find(|word| is_number(word))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_numbers_are_recognised() {
        for text in ["7", "- 7 -", "Page 7", "7 / 12", "page 7 of 12"] {
            assert_eq!(page_number(text), Some(7), "{text}");
        }
        for text in ["7 barrels", "Chapter 7", "", "1,005", "123456"] {
            assert_eq!(page_number(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_at_either_end_of_a_line_is_found() {
        assert_eq!(outer_number("Chapter 2: The Mill 37"), Some(37));
        assert_eq!(outer_number("38 The Mill"), Some(38));
        for text in ["The 7 barrels", "37", "", "Mill 3,000"] {
            assert_eq!(outer_number(text), None, "{text}");
        }
    }
}
