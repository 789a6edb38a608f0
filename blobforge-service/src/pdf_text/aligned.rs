//! Tables without a grid: rows of short texts that line up in columns.

use super::lines::{self, Row};
use super::page::{Bounds, Fragment};
use super::tables::{Table, cell_text};

/// Fewer rows that line up do so by chance.
const ROWS_MIN: usize = 3;
/// Cells of a table are short; columns of prose are not. Average characters in a cell.
const CELL_CHARS_MAX: usize = 24;
/// A page in more pieces than this is a drawing.
const FRAGMENTS_MAX: usize = 5_000;

/// Takes such tables out of the text.
pub(super) fn take(fragments: &mut Vec<Fragment>) -> Vec<Table> {
    if fragments.len() > FRAGMENTS_MAX {
        return Vec::new();
    }
    let rows = lines::rows(std::mem::take(fragments));
    let mut tables = Vec::new();
    let mut at = 0;
    while at < rows.len() {
        match table_at(&rows[at..]) {
            Some((table, length)) => {
                tables.push(table);
                at += length;
            }
            None => {
                fragments.extend(rows[at].iter().cloned());
                at += 1;
            }
        }
    }
    tables
}

/// The table that begins with the first row, and how many rows it takes.
fn table_at(rows: &[Row]) -> Option<(Table, usize)> {
    let mut columns = spread(rows.first()?);
    if columns.len() < 2 || begins_with_marker(&rows[0]) {
        return None;
    }
    let mut length = 1;
    let mut full_rows = 1;
    while let Some(row) = rows.get(length) {
        let previous = &rows[length - 1];
        let (space, size) = (bottom_to_top(previous, row), size(row));
        let spread = spread(row);
        let joined = join(&columns, &spread);
        // A row that bridges two columns ends the table.
        if joined.len() < columns.len() || space > 2.0 * size || begins_with_marker(row) {
            break;
        }
        if spread.len() >= 2 {
            full_rows += 1;
        } else if joined.len() > columns.len()
            || space > 0.6 * size
            || column_of(&joined, row.first()?.bounds) == Some(0)
        {
            // One text alone goes on with a cell above it, close by and not in the first column.
            break;
        }
        columns = joined;
        length += 1;
    }
    let cells: Vec<Vec<String>> = cells(&rows[..length], &columns)?;
    let filled: Vec<usize> =
        cells.iter().flatten().map(|cell| cell.chars().count()).filter(|chars| *chars > 0).collect();
    let short = filled.iter().sum::<usize>() <= CELL_CHARS_MAX * filled.len();
    let dense = filled.len() * 2 >= cells.len() * columns.len();
    let bounds = rows[..length].iter().flatten().map(|fragment| fragment.bounds).reduce(Bounds::join)?;
    (full_rows >= ROWS_MIN && short && dense).then_some((Table { bounds, rows: cells }, length))
}

/// The stretches of a row that hold text, apart by more than a wide space between words.
fn spread(row: &Row) -> Vec<(f32, f32)> {
    let mut spread: Vec<(f32, f32)> = Vec::new();
    for fragment in row {
        let Bounds { left, right, .. } = fragment.bounds;
        match spread.last_mut() {
            Some(last) if left - last.1 < fragment.size => last.1 = last.1.max(right),
            _ => spread.push((left, right)),
        }
    }
    spread
}

/// Unites stretches that overlap.
fn join(a: &[(f32, f32)], b: &[(f32, f32)]) -> Vec<(f32, f32)> {
    let mut all = [a, b].concat();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut joined: Vec<(f32, f32)> = Vec::new();
    for next in all {
        match joined.last_mut() {
            Some(last) if next.0 <= last.1 => last.1 = last.1.max(next.1),
            _ => joined.push(next),
        }
    }
    joined
}

fn column_of(columns: &[(f32, f32)], bounds: Bounds) -> Option<usize> {
    columns.iter().position(|(left, right)| bounds.left >= left - 0.1 && bounds.left <= right + 0.1)
}

fn cells(rows: &[Row], columns: &[(f32, f32)]) -> Option<Vec<Vec<String>>> {
    let mut cells: Vec<Vec<String>> = Vec::new();
    for row in rows {
        let mut texts: Vec<Vec<Fragment>> = vec![Vec::new(); columns.len()];
        for fragment in row {
            texts[column_of(columns, fragment.bounds)?].push(fragment.clone());
        }
        let goes_on = spread(row).len() == 1;
        let texts = texts.into_iter().map(cell_text);
        match cells.last_mut().filter(|_| goes_on) {
            Some(above) => {
                above.iter_mut().zip(texts).filter(|(_, text)| !text.is_empty()).for_each(|(cell, text)| {
                    lines::append(cell, &text);
                });
            }
            None => cells.push(texts.collect()),
        }
    }
    Some(cells)
}

fn begins_with_marker(row: &Row) -> bool {
    row.first().is_some_and(|fragment| super::lists::is_marker(&fragment.text))
}

fn bottom_to_top(above: &Row, below: &Row) -> f32 {
    let bottom = above.iter().map(|fragment| fragment.bounds.bottom).fold(f32::MIN, f32::max);
    let top = below.iter().map(|fragment| fragment.bounds.top).fold(f32::MAX, f32::min);
    top - bottom
}

fn size(row: &Row) -> f32 {
    row.iter().map(|fragment| fragment.size).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, left: f32, top: f32) -> Fragment {
        Fragment::plain(text, left, left + 5.0 * text.len() as f32, top)
    }

    #[test]
    fn short_texts_that_line_up_are_a_table() {
        let mut page = vec![
            at("Some text above the table that runs on.", 0.0, -40.0),
            at("Tool", 0.0, 0.0),
            at("Count", 100.0, 0.0),
            at("Hammer", 0.0, 18.0),
            at("9", 110.0, 18.0),
            at("Tongs", 0.0, 36.0),
            at("fourteen", 100.0, 36.0),
            at("or so", 100.0, 47.0),
        ];
        let tables = take(&mut page);
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0].rows, [["Tool", "Count"], ["Hammer", "9"], ["Tongs", "fourteen or so"]]);
        assert_eq!(page.len(), 1);
    }

    #[test]
    fn columns_of_prose_are_no_table() {
        let prose = "forty blows a minute, day and night, until no thread is left";
        let mut page: Vec<_> = (0..6)
            .flat_map(|n| [at(prose, 0.0, 12.0 * n as f32), at(prose, 400.0, 12.0 * n as f32)])
            .collect();
        assert!(take(&mut page).is_empty());
        assert_eq!(page.len(), 12);
    }

    #[test]
    fn a_list_is_no_table() {
        let mut page: Vec<_> = (0..4)
            .flat_map(|n| {
                [at(&format!("{}.", n + 1), 0.0, 12.0 * n as f32), at("Cut", 30.0, 12.0 * n as f32)]
            })
            .collect();
        assert!(take(&mut page).is_empty());
    }
}
