//! The order in which to read a page: columns one after the other.
//!
//! A page is cut into bands. In most, all text is one column; where at least [`LINES_MIN`] lines stand on either side
//! of a gap that no line crosses, the left side is read before the right one, and each is looked at again.

use super::lines::{self, Row};
use super::page::{Bounds, Fragment};

/// Fewer lines on a side are no column, but a label or a cell.
const LINES_MIN: usize = 3;
/// Narrower gaps lie between words, in points; columns of small print stand as close as this.
const GAP_MIN: f32 = 9.0;
/// A column takes at least this part of the text's width: list markers and labels do not.
const WIDTH_SHARE_MIN: f32 = 0.18;
/// A page in more pieces than this is a drawing or a trap; its rows are read as they stand.
const FRAGMENTS_MAX: usize = 5_000;
/// More columns than this nobody sets.
const COLUMNS_MAX: usize = 8;

/// Splits a page into single columns, in reading order.
pub(super) fn columns(fragments: Vec<Fragment>) -> Vec<Vec<Row>> {
    let mut out = Vec::new();
    if fragments.len() > FRAGMENTS_MAX {
        out.push(lines::rows(fragments));
    } else {
        split(fragments, COLUMNS_MAX, &mut out);
    }
    out.retain(|column| !column.is_empty());
    out
}

fn split(fragments: Vec<Fragment>, columns_left: usize, out: &mut Vec<Vec<Row>>) {
    let rows = lines::rows(fragments);
    let Some(band) = (columns_left > 1).then(|| find_band(&rows)).flatten() else {
        out.push(rows);
        return;
    };
    let mut rows = rows.into_iter();
    out.push(rows.by_ref().take(band.first).collect());
    let (left, right): (Vec<_>, Vec<_>) = rows
        .by_ref()
        .take(band.end - band.first)
        .flatten()
        .partition(|fragment| fragment.bounds.left < band.gap.0);
    split(left, columns_left - 1, out);
    split(right, columns_left - 1, out);
    // What follows is looked at from the start: it may have other columns.
    split(rows.flatten().collect(), columns_left, out);
}

/// Rows with a gap between two columns.
#[derive(Debug)]
struct Band {
    first: usize,
    end: usize,
    gap: (f32, f32),
}

fn find_band(rows: &[Row]) -> Option<Band> {
    let width = extent(rows.iter().flatten())?.width();
    let mut tried: Vec<(f32, f32)> = Vec::new();
    for first in 0..rows.len() {
        for gap in gaps_near(rows, first) {
            // Every row of a column shows nearly the same gap; it need not be tried again.
            if tried.iter().any(|(left, right)| (left - gap.0).abs() < 0.5 && (right - gap.1).abs() < 0.5) {
                continue;
            }
            tried.push(gap);
            let band = trim(rows, grow(rows, first, gap));
            if is_columns(&rows[band.first..band.end], band.gap, width) {
                return Some(band);
            }
        }
        if tried.len() > 500 {
            return None;
        }
    }
    None
}

/// Gaps between fragments of this row and the two after it: lines of two columns need not stand level.
fn gaps_near(rows: &[Row], first: usize) -> Vec<(f32, f32)> {
    let near: Vec<&Fragment> = rows[first..rows.len().min(first + 3)].iter().flatten().collect();
    let mut gaps = Vec::new();
    for left in rows[first].iter().take(16) {
        for right in near.iter().take(48) {
            if right.bounds.left - left.bounds.right >= GAP_MIN {
                gaps.push((left.bounds.right, right.bounds.left));
            }
        }
    }
    // Widest first, and among equals the leftmost.
    gaps.sort_by(|a, b| (b.1 - b.0).total_cmp(&(a.1 - a.0)).then(a.0.total_cmp(&b.0)));
    gaps.dedup();
    gaps
}

/// Extends a gap upwards and downwards as far as no row crosses it.
fn grow(rows: &[Row], at: usize, gap: (f32, f32)) -> Band {
    let mut band = Band { first: at, end: at, gap };
    while let Some(gap) = rows.get(band.end).and_then(|row| narrow(band.gap, row)) {
        band.gap = gap;
        band.end += 1;
    }
    while let Some(gap) = band.first.checked_sub(1).and_then(|above| narrow(band.gap, &rows[above])) {
        band.gap = gap;
        band.first -= 1;
    }
    band
}

/// What is left of the gap beside this row.
fn narrow(gap: (f32, f32), row: &Row) -> Option<(f32, f32)> {
    let middle = f32::midpoint(gap.0, gap.1);
    let mut gap = gap;
    for fragment in row {
        let Bounds { left, right, .. } = fragment.bounds;
        if f32::midpoint(left, right) < middle {
            gap.0 = gap.0.max(right);
        } else {
            gap.1 = gap.1.min(left);
        }
    }
    (gap.1 - gap.0 >= GAP_MIN).then_some(gap)
}

/// Gives back the rows at both ends that stand on one side of the gap by chance: a title above, and whatever follows
/// below a clear space, such as the heading of text that runs across.
fn trim(rows: &[Row], mut band: Band) -> Band {
    let is_left = |row: &Row| row.iter().all(|fragment| fragment.bounds.right <= band.gap.0);
    let space_above = |at: usize| -> f32 {
        let bottom = rows[at - 1].iter().map(|fragment| fragment.bounds.bottom).fold(f32::MIN, f32::max);
        let top = rows[at].iter().map(|fragment| fragment.bounds.top).fold(f32::MAX, f32::min);
        top - bottom
    };
    let size = |at: usize| rows[at].iter().map(|fragment| fragment.size).fold(0.0, f32::max);
    if band.end < rows.len() {
        let tail = (band.first + 1..band.end)
            .rev()
            .take(2)
            .take_while(|at| is_left(&rows[*at]))
            .find(|at| space_above(*at) > 0.8 * size(*at));
        band.end = tail.unwrap_or(band.end);
    }
    band
}

fn is_columns(rows: &[Row], gap: (f32, f32), page_width: f32) -> bool {
    let (left, right): (Vec<&Fragment>, Vec<&Fragment>) =
        rows.iter().flatten().partition(|fragment| fragment.bounds.left < gap.0);
    let (Some(left_extent), Some(right_extent)) =
        (extent(left.iter().copied()), extent(right.iter().copied()))
    else {
        return false;
    };
    let height = left.iter().map(|fragment| fragment.size).fold(f32::MAX, f32::min);
    let side_by_side = left_extent.bottom.min(right_extent.bottom) - left_extent.top.max(right_extent.top);
    left.len() >= LINES_MIN
        && right.len() >= LINES_MIN
        && side_by_side >= LINES_MIN as f32 * height
        && left_extent.width() >= WIDTH_SHARE_MIN * page_width
        && right_extent.width() >= WIDTH_SHARE_MIN * page_width
}

fn extent<'a>(mut fragments: impl Iterator<Item = &'a Fragment>) -> Option<Bounds> {
    let first = fragments.next()?.bounds;
    Some(fragments.fold(first, |bounds, fragment| bounds.join(fragment.bounds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, left: f32, right: f32, top: f32) -> Fragment {
        Fragment::plain(text, left, right, top)
    }

    fn read(fragments: Vec<Fragment>) -> String {
        let columns = columns(fragments);
        let texts = columns.iter().flatten().flatten().map(|fragment| fragment.text.clone());
        texts.collect::<Vec<_>>().join(" ")
    }

    /// Lines of a column of 200 points: "a0 a1 …".
    fn column(name: &str, left: f32, top: f32, lines: usize) -> Vec<Fragment> {
        (0..lines).map(|n| at(&format!("{name}{n}"), left, left + 200.0, top + 12.0 * n as f32)).collect()
    }

    #[test]
    fn two_columns_are_read_one_after_the_other() {
        let page = [column("a", 0.0, 0.0, 4), column("b", 220.0, 0.0, 3)].concat();
        assert_eq!(read(page), "a0 a1 a2 a3 b0 b1 b2");
    }

    #[test]
    fn columns_need_not_stand_level() {
        let page = [column("a", 0.0, 0.0, 4), column("b", 220.0, 6.0, 4)].concat();
        assert_eq!(read(page), "a0 a1 a2 a3 b0 b1 b2 b3");
    }

    #[test]
    fn three_columns_are_read_one_after_the_other() {
        let page =
            [column("a", 0.0, 0.0, 3), column("b", 220.0, 0.0, 3), column("c", 440.0, 0.0, 3)].concat();
        assert_eq!(read(page), "a0 a1 a2 b0 b1 b2 c0 c1 c2");
    }

    #[test]
    fn text_across_the_page_comes_before_and_after_its_columns() {
        let mut page = vec![at("title", 0.0, 420.0, -30.0), at("end", 0.0, 420.0, 200.0)];
        page.extend([column("a", 0.0, 0.0, 4), column("b", 220.0, 0.0, 4)].concat());
        assert_eq!(read(page), "title a0 a1 a2 a3 b0 b1 b2 b3 end");
    }

    #[test]
    fn the_heading_of_text_below_two_columns_is_not_part_of_the_left_one() {
        let mut page = vec![at("heading", 0.0, 90.0, 70.0), at("text", 0.0, 420.0, 84.0)];
        page.extend([column("a", 0.0, 0.0, 4), column("b", 220.0, 0.0, 4)].concat());
        assert_eq!(read(page), "a0 a1 a2 a3 b0 b1 b2 b3 heading text");
    }

    #[test]
    fn list_markers_and_labels_are_no_column() {
        let mut page = Vec::new();
        for n in 0..5 {
            page.push(at("•", 0.0, 5.0, 12.0 * n as f32));
            page.push(at(&format!("item{n}"), 18.0, 300.0, 12.0 * n as f32));
        }
        assert_eq!(read(page), "• item0 • item1 • item2 • item3 • item4");
    }

    #[test]
    fn an_empty_page_has_no_column() {
        assert!(columns(Vec::new()).is_empty());
    }
}
