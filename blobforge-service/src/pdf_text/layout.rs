//! A page in reading order.

use super::columns;
use super::lines::{self, Line};
use super::page::{Bounds, Fragment, Page};
use super::tables::{self, Table};

/// A picture that was saved beside the document.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub(super) bounds: Bounds,
    /// Relative to the document.
    pub(super) file: String,
}

/// What follows one another in a column.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Line(Line),
    Table(Table),
    Picture(Picture),
}

/// A page in reading order.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) columns: Vec<Vec<Piece>>,
    pub(super) edges: Option<(f32, f32)>,
    pub(super) has_text: bool,
}

/// Puts a page in order.
pub(super) fn layout(page: Page, pictures: Vec<Picture>) -> Layout {
    let Page { mut fragments, rotated, rules, edges } = page;
    let has_text = !fragments.is_empty() || !rotated.is_empty();
    // A picture under the text is a background or a scan with a text layer; it would part lines that belong together.
    let (behind, beside): (Vec<_>, Vec<_>) = pictures.into_iter().partition(|picture| {
        fragments.iter().any(|fragment| {
            let x = f32::midpoint(fragment.bounds.left, fragment.bounds.right);
            picture.bounds.contains_point(x, fragment.bounds.middle())
        })
    });
    let mut insets: Vec<(Bounds, Piece)> = Vec::new();
    insets.extend(
        tables::take(&mut fragments, &rules).into_iter().map(|table| (table.bounds, Piece::Table(table))),
    );
    insets.extend(beside.into_iter().map(|picture| (picture.bounds, Piece::Picture(picture))));
    for (index, (bounds, _)) in insets.iter().enumerate() {
        fragments.push(Fragment {
            text: String::new(),
            bounds: *bounds,
            size: 1.0,
            bold: false,
            monospace: false,
            inset: Some(index),
        });
    }
    let mut out: Vec<Vec<Piece>> = Vec::new();
    for column in columns::columns(fragments) {
        let mut pieces = Vec::new();
        for row in column {
            let (kept, text): (Vec<_>, Vec<_>) =
                row.into_iter().partition(|fragment| fragment.inset.is_some());
            let text = if kept.is_empty() { vec![text] } else { lines::rows(text) };
            pieces.extend(text.iter().filter_map(|row| lines::line(row)).map(Piece::Line));
            let insets = kept.iter().filter_map(|fragment| insets.get(fragment.inset?));
            pieces.extend(insets.map(|(_, piece)| piece.clone()));
        }
        out.push(pieces);
    }
    out.push(
        rotated
            .iter()
            .filter_map(|fragment| lines::line(std::slice::from_ref(fragment)))
            .map(Piece::Line)
            .collect(),
    );
    out.push(behind.into_iter().map(Piece::Picture).collect());
    out.retain(|pieces| !pieces.is_empty());
    Layout { columns: out, edges, has_text }
}
