//! Pictures made of numbers. They are drawn with attributes alone, since a page may hold no style.

use askama::Template;

/// How wide a bar is drawn, in units of its own.
const WIDTH: f64 = 1000.0;
/// Less than this of a bar cannot be seen.
const LEAST: f64 = 4.0;

/// A bar divided into parts.
#[derive(Template)]
#[template(
    source = "<svg class=\"bar\" viewBox=\"0 0 1000 12\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{{ said }}\"><rect class=\"fill-none\" width=\"1000\" height=\"12\"/>{% for part in parts %}<rect class=\"fill-{{ part.class }}\" x=\"{{ part.x }}\" width=\"{{ part.width }}\" height=\"12\"/>{% endfor %}</svg>",
    ext = "html"
)]
pub(super) struct Bar {
    parts: Vec<Part>,
    said: String,
}

struct Part {
    class: &'static str,
    x: String,
    width: String,
}

impl Bar {
    /// One part for each number, whose name is also its colour.
    pub(super) fn new(numbers: &[(&'static str, u64)]) -> Self {
        let there: Vec<_> = numbers.iter().copied().filter(|(_, number)| *number > 0).collect();
        let total: u64 = there.iter().map(|(_, number)| number).sum();
        let said: Vec<_> = there.iter().map(|(name, number)| format!("{number} {name}")).collect();
        let widths = there.iter().map(|(_, number)| (*number as f64 / total as f64 * WIDTH).max(LEAST));
        // What was made wider to be seen is taken from all.
        let fit = WIDTH / widths.clone().sum::<f64>();
        let mut x = 0.0;
        let parts = there.iter().zip(widths).map(|((class, _), width)| {
            let part = Part { class, x: format!("{x:.1}"), width: format!("{:.1}", width * fit) };
            x += width * fit;
            part
        });
        Self {
            parts: parts.collect(),
            said: if said.is_empty() { "none".to_owned() } else { said.join(", ") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_bar_can_be_seen_and_all_fit() {
        let bar = Bar::new(&[("completed", 1_000_000), ("failed", 1), ("running", 0)]);
        assert_eq!(bar.said, "1000000 completed, 1 failed");
        let widths: Vec<f64> = bar.parts.iter().map(|part| part.width.parse().unwrap()).collect();
        assert_eq!(widths.len(), 2);
        assert!(widths[1] > 3.0 && (widths.iter().sum::<f64>() - WIDTH).abs() < 1.0, "{widths:?}");
        assert!(Bar::new(&[("failed", 0)]).render().unwrap().contains("aria-label=\"none\""));
    }
}
