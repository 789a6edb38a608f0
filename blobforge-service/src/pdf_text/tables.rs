//! Tables: those drawn with rules, and those that only line up.

use super::lines::{self, Row};
use super::page::{Bounds, Fragment, Rule};

/// Rows of cells; every row has as many cells as the first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) bounds: Bounds,
    pub(super) rows: Vec<Vec<String>>,
}

/// How far rules may miss each other and still touch, in points.
const TOUCH: f32 = 3.0;
/// A grid with more lines than this in one direction is a drawing.
const GRID_LINES_MAX: usize = 500;

/// Takes the tables out of a page's text.
pub(super) fn take(fragments: &mut Vec<Fragment>, rules: &[Rule]) -> Vec<Table> {
    let mut tables = Vec::new();
    for grid in grids(rules) {
        let (inside, outside): (Vec<_>, Vec<_>) =
            std::mem::take(fragments).into_iter().partition(|fragment| {
                let at = fragment.bounds.left + f32::min(2.0, fragment.bounds.width() / 2.0);
                grid.bounds.contains_point(at, fragment.bounds.middle())
            });
        *fragments = outside;
        match grid.fill(&inside) {
            Some(table) => tables.push(table),
            None => fragments.extend(inside),
        }
    }
    tables.extend(super::aligned::take(fragments));
    tables
}

/// Joins the text of a cell, line by line.
pub(super) fn cell_text(fragments: Vec<Fragment>) -> String {
    let mut text = String::new();
    for line in lines::rows(fragments).iter().filter_map(|row: &Row| lines::line(row)) {
        lines::append(&mut text, &line.text);
    }
    text
}

/// Rules that form cells.
#[derive(Debug)]
struct Grid {
    bounds: Bounds,
    /// Where columns are parted, from left to right, with both edges.
    xs: Vec<f32>,
    /// Where rows are parted, from top to bottom, with both edges.
    ys: Vec<f32>,
}

impl Grid {
    fn fill(&self, fragments: &[Fragment]) -> Option<Table> {
        let (columns, rows) = (self.xs.len() - 1, self.ys.len() - 1);
        let mut cells: Vec<Vec<Vec<Fragment>>> = vec![vec![Vec::new(); columns]; rows];
        for fragment in fragments {
            // By its beginning: text in a merged cell stands in the first of the cells it covers.
            let x = fragment.bounds.left + f32::min(2.0, fragment.bounds.width() / 2.0);
            let column = self.xs.partition_point(|edge| *edge <= x).checked_sub(1)?.min(columns - 1);
            let y = fragment.bounds.middle();
            let row = self.ys.partition_point(|edge| *edge <= y).checked_sub(1)?.min(rows - 1);
            cells[row][column].push(fragment.clone());
        }
        let mut rows: Vec<Vec<String>> =
            cells.into_iter().map(|row| row.into_iter().map(cell_text).collect()).collect();
        rows.retain(|row: &Vec<String>| row.iter().any(|cell| !cell.is_empty()));
        let used: Vec<bool> =
            (0..columns).map(|column| rows.iter().any(|row| !row[column].is_empty())).collect();
        for row in &mut rows {
            let mut kept = used.iter();
            row.retain(|_| kept.next().copied().unwrap_or(false));
        }
        let filled = rows.iter().flatten().filter(|cell| !cell.is_empty()).count();
        // A frame around text is no table, nor is a chart whose grid holds a few labels.
        let is_table = rows.len() >= 2 && rows[0].len() >= 2 && filled * 3 >= rows.len() * rows[0].len();
        is_table.then_some(Table { bounds: self.bounds, rows })
    }
}

/// Finds rules that cross or touch, directly or through others, and makes grids of them.
fn grids(rules: &[Rule]) -> Vec<Grid> {
    let rules = merged(rules);
    let mut group: Vec<usize> = (0..rules.len()).collect();
    for (a, first) in rules.iter().enumerate() {
        for (b, second) in rules.iter().enumerate().skip(a + 1) {
            if touch(first, second) {
                let (from, to) = (root(&mut group, a), root(&mut group, b));
                group[from.max(to)] = from.min(to);
            }
        }
    }
    let mut members: std::collections::BTreeMap<usize, Vec<Rule>> = std::collections::BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        members.entry(root(&mut group, index)).or_default().push(*rule);
    }
    let mut grids: Vec<Grid> = members.into_values().filter_map(|rules| grid(&rules)).collect();
    grids.sort_by(|a, b| a.bounds.top.total_cmp(&b.bounds.top).then(a.bounds.left.total_cmp(&b.bounds.left)));
    grids
}

fn grid(rules: &[Rule]) -> Option<Grid> {
    let mut xs = Vec::new();
    let mut ys = Vec::new();
    for rule in rules {
        match *rule {
            Rule::Horizontal { y, .. } => ys.push(y),
            Rule::Vertical { x, .. } => xs.push(x),
        }
    }
    let (xs, ys) = (distinct(xs), distinct(ys));
    let is_grid = (3..GRID_LINES_MAX).contains(&xs.len()) && (3..GRID_LINES_MAX).contains(&ys.len());
    let bounds = Bounds { left: *xs.first()?, top: *ys.first()?, right: *xs.last()?, bottom: *ys.last()? };
    is_grid.then_some(Grid { bounds, xs, ys })
}

fn distinct(mut positions: Vec<f32>) -> Vec<f32> {
    positions.sort_by(f32::total_cmp);
    positions.dedup_by(|next, kept| *next - *kept <= TOUCH);
    positions
}

fn root(group: &mut [usize], mut at: usize) -> usize {
    while group[at] != at {
        group[at] = group[group[at]];
        at = group[at];
    }
    at
}

/// Joins rules in one line: each cell may have brought its own. Comparing all pairs below stays cheap thereby.
fn merged(rules: &[Rule]) -> Vec<Rule> {
    const RULES_MAX: usize = 2_000;
    let mut sorted: Vec<(bool, f32, f32, f32)> = rules
        .iter()
        .map(|rule| match *rule {
            Rule::Horizontal { y, left, right } => (false, y, left, right),
            Rule::Vertical { x, top, bottom } => (true, x, top, bottom),
        })
        .collect();
    sorted.sort_by(|a, b| {
        a.0.cmp(&b.0).then((a.1 / TOUCH).round().total_cmp(&(b.1 / TOUCH).round())).then(a.2.total_cmp(&b.2))
    });
    let mut merged: Vec<(bool, f32, f32, f32)> = Vec::new();
    for next in sorted {
        match merged.last_mut() {
            Some(last)
                if last.0 == next.0 && (last.1 - next.1).abs() <= TOUCH && next.2 <= last.3 + TOUCH =>
            {
                last.3 = last.3.max(next.3);
            }
            _ => merged.push(next),
        }
    }
    if merged.len() > RULES_MAX {
        return Vec::new();
    }
    merged
        .into_iter()
        .map(|(vertical, at, from, to)| {
            if vertical {
                Rule::Vertical { x: at, top: from, bottom: to }
            } else {
                Rule::Horizontal { y: at, left: from, right: to }
            }
        })
        .collect()
}

fn touch(a: &Rule, b: &Rule) -> bool {
    match (*a, *b) {
        (Rule::Horizontal { y, left, right }, Rule::Vertical { x, top, bottom })
        | (Rule::Vertical { x, top, bottom }, Rule::Horizontal { y, left, right }) => {
            (left - TOUCH..=right + TOUCH).contains(&x) && (top - TOUCH..=bottom + TOUCH).contains(&y)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, left: f32, top: f32) -> Fragment {
        Fragment::plain(text, left, left + 20.0, top)
    }

    /// Rules of a grid of cells of 100 by 20 points, drawn cell by cell.
    fn cells(columns: usize, rows: usize) -> Vec<Rule> {
        let mut rules = Vec::new();
        for column in 0..columns {
            for row in 0..=rows {
                let left = 100.0 * column as f32;
                rules.push(Rule::Horizontal { y: 20.0 * row as f32, left, right: left + 100.0 });
            }
        }
        for column in 0..=columns {
            rules.push(Rule::Vertical { x: 100.0 * column as f32, top: 0.0, bottom: 20.0 * rows as f32 });
        }
        rules
    }

    #[test]
    fn a_grid_is_filled_cell_by_cell() {
        let mut page = vec![
            at("Tool", 5.0, 5.0),
            at("Count", 105.0, 5.0),
            at("Anvil", 5.0, 25.0),
            at("three", 105.0, 21.0),
            at("left", 105.0, 29.0),
            at("below", 5.0, 60.0),
        ];
        let tables = take(&mut page, &cells(2, 2));
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0].rows, [["Tool", "Count"], ["Anvil", "three left"]]);
        assert_eq!(page.len(), 1, "text outside stays");
    }

    #[test]
    fn a_frame_is_no_table() {
        let mut page = vec![at("boxed", 5.0, 5.0), at("text", 5.0, 15.0)];
        assert!(take(&mut page, &cells(1, 2)).is_empty());
        assert_eq!(page.len(), 2);
    }

    #[test]
    fn empty_rows_and_columns_are_left_out() {
        let mut page = vec![at("a", 5.0, 5.0), at("b", 205.0, 5.0), at("c", 5.0, 45.0), at("d", 205.0, 45.0)];
        let tables = take(&mut page, &cells(3, 3));
        assert_eq!(tables[0].rows, [["a", "b"], ["c", "d"]]);
    }
}
