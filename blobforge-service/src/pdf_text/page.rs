//! What stands on a page, in our own words: pieces of text, rules and pictures.

use pdf_oxide::PdfDocument;
use pdf_oxide::elements::{PathContent, PathOperation};
use pdf_oxide::geometry::Rect;
use pdf_oxide::layout::{FontWeight, TextSpan};

/// A box on the page in points. Unlike in PDF, y grows downwards; where zero lies does not matter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
}

impl Bounds {
    pub(super) fn of(rect: &Rect) -> Option<Self> {
        let bounds =
            Self { left: rect.x, top: -(rect.y + rect.height), right: rect.x + rect.width, bottom: -rect.y };
        // A broken file may place things nowhere; comparisons below rely on finite numbers.
        [bounds.left, bounds.top, bounds.right, bounds.bottom].iter().all(|n| n.is_finite()).then_some(bounds)
    }

    pub(super) fn width(&self) -> f32 {
        self.right - self.left
    }

    pub(super) fn middle(&self) -> f32 {
        f32::midpoint(self.top, self.bottom)
    }

    pub(super) fn contains_point(&self, x: f32, y: f32) -> bool {
        (self.left..=self.right).contains(&x) && (self.top..=self.bottom).contains(&y)
    }

    pub(super) fn join(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }
}

/// Text in one style on one line.
#[derive(Debug, Clone)]
pub(super) struct Fragment {
    pub(super) text: String,
    pub(super) bounds: Bounds,
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) monospace: bool,
    /// Set where this is no text, but keeps the place of a table or a picture.
    pub(super) inset: Option<usize>,
}

#[cfg(test)]
impl Fragment {
    /// Plain text of 10 points.
    pub(super) fn plain(text: &str, left: f32, right: f32, top: f32) -> Self {
        let bounds = Bounds { left, top, right, bottom: top + 10.0 };
        Self { text: text.into(), bounds, size: 10.0, bold: false, monospace: false, inset: None }
    }
}

/// A horizontal or vertical rule: of a table, mostly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rule {
    Horizontal { y: f32, left: f32, right: f32 },
    Vertical { x: f32, top: f32, bottom: f32 },
}

/// Everything on a page that matters for its text.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) fragments: Vec<Fragment>,
    /// Text that does not run from left to right, such as a stamp along the margin.
    pub(super) rotated: Vec<Fragment>,
    pub(super) rules: Vec<Rule>,
    /// From the top edge to the bottom edge.
    pub(super) edges: Option<(f32, f32)>,
}

/// A page with more rules than this is a drawing, not a table.
const RULES_MAX: usize = 20_000;

impl Page {
    pub(super) fn read(document: &PdfDocument, index: usize) -> pdf_oxide::Result<Self> {
        let mut page = Self::default();
        // Extraction passes over content that cannot be decoded, and the page would seem to be empty.
        document.get_page_content_data(index)?;
        for span in document.extract_spans(index)? {
            let rotated = span.rotation_degrees.abs() > 1.0 || span.wmode != 0;
            if let Some(fragment) = fragment(span) {
                if rotated { &mut page.rotated } else { &mut page.fragments }.push(fragment);
            }
        }
        if !page.fragments.is_empty() {
            // Without its rules a page is still worth reading.
            for path in document.extract_paths(index).unwrap_or_default() {
                if page.rules.len() > RULES_MAX {
                    page.rules.clear();
                    break;
                }
                add_rules(&path, &mut page.rules);
            }
        }
        page.edges = document.get_page_media_box(index).ok().map(|(_, low, _, high)| (-high, -low));
        Ok(page)
    }
}

fn fragment(span: TextSpan) -> Option<Fragment> {
    let text: String = span.text.chars().map(plain).collect();
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    Some(Fragment {
        text: text.to_owned(),
        bounds: Bounds::of(&span.bbox)?,
        size: if span.font_size.is_finite() { span.font_size.clamp(1.0, 500.0) } else { 10.0 },
        bold: matches!(
            span.font_weight,
            FontWeight::SemiBold | FontWeight::Bold | FontWeight::ExtraBold | FontWeight::Black
        ),
        monospace: span.is_monospace || is_monospace(&span.font_name),
        inset: None,
    })
}

fn is_monospace(font: &str) -> bool {
    let font = font.to_ascii_lowercase();
    ["courier", "mono", "consol", "typewriter", "menlo", "cmtt", "sftt"]
        .iter()
        .any(|name| font.contains(name))
}

/// Spaces of every width become a space, and control characters go; 0x7F is how some writers encode a bullet.
fn plain(c: char) -> char {
    match c {
        '\u{7f}' | '\u{f0b7}' => '•',
        c if c.is_whitespace() || c.is_control() => ' ',
        c => c,
    }
}

/// How far a line may lean and still count as straight, in points.
const LEAN_MAX: f32 = 1.0;
/// Shorter lines are dashes and ornaments.
const LENGTH_MIN: f32 = 6.0;

fn add_rules(path: &PathContent, rules: &mut Vec<Rule>) {
    if path.stroke_color.is_none() && path.fill_color.is_none() {
        return;
    }
    let mut from: Option<(f32, f32)> = None;
    let mut began: Option<(f32, f32)> = None;
    for operation in &path.operations {
        match *operation {
            PathOperation::MoveTo(x, y) => {
                from = Some((x, y));
                began = from;
            }
            PathOperation::LineTo(x, y) => {
                add_rule(from, Some((x, y)), rules);
                from = Some((x, y));
            }
            PathOperation::CurveTo(.., x, y) => from = Some((x, y)),
            PathOperation::ClosePath => {
                add_rule(from, began, rules);
                from = began;
            }
            PathOperation::Rectangle(x, y, width, height) => {
                let corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)];
                for pair in corners.windows(2) {
                    add_rule(Some(pair[0]), Some(pair[1]), rules);
                }
            }
        }
    }
}

fn add_rule(from: Option<(f32, f32)>, to: Option<(f32, f32)>, rules: &mut Vec<Rule>) {
    let (Some((x0, y0)), Some((x1, y1))) = (from, to) else { return };
    if ![x0, y0, x1, y1].iter().all(|n| n.is_finite()) {
        return;
    }
    if (y0 - y1).abs() <= LEAN_MAX && (x0 - x1).abs() >= LENGTH_MIN {
        rules.push(Rule::Horizontal { y: -f32::midpoint(y0, y1), left: x0.min(x1), right: x0.max(x1) });
    } else if (x0 - x1).abs() <= LEAN_MAX && (y0 - y1).abs() >= LENGTH_MIN {
        rules.push(Rule::Vertical { x: f32::midpoint(x0, x1), top: -y0.max(y1), bottom: -y0.min(y1) });
    }
}
