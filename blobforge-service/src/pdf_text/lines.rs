//! Fragments become lines of text.

use super::page::{Bounds, Fragment};

/// One line of text of one column.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) bounds: Bounds,
    /// The size of most of its characters.
    pub(super) size: f32,
    /// Whether all of it is bold.
    pub(super) bold: bool,
    /// Whether all of it is in a font of fixed width.
    pub(super) monospace: bool,
}

/// Fragments side by side, from left to right.
pub(super) type Row = Vec<Fragment>;

/// Groups fragments into rows, from top to bottom.
pub(super) fn rows(mut fragments: Vec<Fragment>) -> Vec<Row> {
    fragments.sort_by(|a, b| a.bounds.middle().total_cmp(&b.bounds.middle()));
    let mut rows: Vec<(Bounds, Row)> = Vec::new();
    for fragment in fragments {
        match rows.last_mut() {
            // A raised or small character belongs to the line whose height it shares.
            Some((bounds, row)) if share_a_line(bounds, &fragment.bounds) => {
                *bounds = bounds.join(fragment.bounds);
                row.push(fragment);
            }
            _ => rows.push((fragment.bounds, vec![fragment])),
        }
    }
    rows.into_iter()
        .map(|(_, mut row)| {
            row.sort_by(|a, b| a.bounds.left.total_cmp(&b.bounds.left));
            row
        })
        .collect()
}

fn share_a_line(a: &Bounds, b: &Bounds) -> bool {
    let shared = a.bottom.min(b.bottom) - a.top.max(b.top);
    let lower = (a.bottom - a.top).min(b.bottom - b.top);
    shared > 0.5 * lower
}

/// Joins a row to a line.
pub(super) fn line(row: &[Fragment]) -> Option<Line> {
    let first = row.first()?;
    let bounds = row.iter().skip(1).fold(first.bounds, |bounds, fragment| bounds.join(fragment.bounds));
    let mut text = String::new();
    let mut end = first.bounds.left;
    for fragment in row {
        // Some writers draw a word in pieces, and bold text twice with a small shift.
        let gap = fragment.bounds.left - end;
        if gap > 0.12 * fragment.size && !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&fragment.text);
        end = fragment.bounds.right.max(end);
    }
    let size = row
        .iter()
        .max_by_key(|fragment| fragment.text.chars().count())
        .map_or(first.size, |fragment| fragment.size);
    Some(Line {
        text: shorten_leader(text),
        bounds,
        size,
        bold: row.iter().all(|fragment| fragment.bold),
        monospace: row.iter().all(|fragment| fragment.monospace),
    })
}

/// Dots that lead the eye to a page number become one character.
fn shorten_leader(text: String) -> String {
    let Some(start) = text.find("....").or_else(|| text.find(". . . .")) else { return text };
    let after = text[start..].trim_start_matches(['.', ' ']);
    format!("{} … {after}", text[..start].trim_end())
}

/// Whether a line of a table of contents ends here.
pub(super) fn ends_in_leader(text: &str) -> bool {
    text.rsplit_once(" … ").is_some_and(|(_, page)| page.len() <= 8 && !page.contains(' '))
}

/// Joins the end of one line to the beginning of the next.
pub(super) fn append(text: &mut String, next: &str) {
    let starts_low = next.chars().next().is_some_and(char::is_lowercase);
    if text.ends_with('\u{ad}') {
        text.pop();
    } else if starts_low && ends_in_hyphenated_word(text) {
        // A word broken at the end of the line. A compound that happened to break here loses its hyphen, which is
        // the rarer case.
        text.pop();
    } else if !text.is_empty() && !next.is_empty() {
        text.push(' ');
    }
    text.push_str(next);
}

fn ends_in_hyphenated_word(text: &str) -> bool {
    let mut from_end = text.chars().rev();
    matches!(from_end.next(), Some('-' | '\u{2010}')) && from_end.next().is_some_and(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, left: f32, top: f32) -> Fragment {
        Fragment::plain(text, left, left + 5.0 * text.len() as f32, top)
    }

    #[test]
    fn rows_run_from_top_to_bottom_and_left_to_right() {
        let rows = rows(vec![at("d", 50.0, 20.0), at("b", 50.0, 1.0), at("c", 0.0, 20.5), at("a", 0.0, 0.0)]);
        let texts: Vec<_> = rows.iter().filter_map(|row| line(row)).map(|line| line.text).collect();
        assert_eq!(texts, ["a b", "c d"]);
    }

    #[test]
    fn pieces_of_a_word_are_joined_without_a_space() {
        assert_eq!(line(&[at("for", 0.0, 0.0), at("ge", 15.0, 0.0)]).unwrap().text, "forge");
        assert_eq!(line(&[at("the", 0.0, 0.0), at("forge", 18.0, 0.0)]).unwrap().text, "the forge");
    }

    #[test]
    fn the_dots_of_a_table_of_contents_are_shortened() {
        assert_eq!(line(&[at("The forge ........ . 12", 0.0, 0.0)]).unwrap().text, "The forge … 12");
        assert!(ends_in_leader("The forge … 12"));
        assert!(!ends_in_leader("Wait … for the smith") && !ends_in_leader("The forge 12"));
    }

    #[test]
    fn a_word_broken_over_two_lines_is_mended() {
        let joined = |a: &str, b: &str| {
            let mut text = a.to_owned();
            append(&mut text, b);
            text
        };
        assert_eq!(joined("the black-", "smith"), "the blacksmith");
        assert_eq!(joined("the black\u{ad}", "smith"), "the blacksmith");
        assert_eq!(joined("pages 4 -", "six"), "pages 4 - six");
        assert_eq!(joined("Anglo-", "Saxon"), "Anglo- Saxon");
        assert_eq!(joined("coal", "and ash"), "coal and ash");
    }
}
