//! Pictures made of numbers. They are drawn with attributes alone, since a page may hold no style.

use std::time::Duration;

use askama::Template;
use blobforge_core::{Timestamp, storage::Hour};

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

/// How high a column is drawn, in units of its own.
const HEIGHT: f64 = 100.0;
/// How many hours the chart of a day has.
pub(super) const HOURS: usize = 24;

/// What ended in each hour of a day: a column for each, what failed at its top.
#[derive(Template)]
#[template(
    source = "<svg class=\"chart\" viewBox=\"0 0 240 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{{ said }}\">{% for column in columns %}<g><title>{{ column.said }}</title><rect class=\"fill-none\" x=\"{{ column.x }}\" width=\"8\" height=\"100\"/><rect class=\"fill-completed\" x=\"{{ column.x }}\" y=\"{{ column.completed_y }}\" width=\"8\" height=\"{{ column.completed }}\"/><rect class=\"fill-failed\" x=\"{{ column.x }}\" y=\"{{ column.failed_y }}\" width=\"8\" height=\"{{ column.failed }}\"/></g>{% endfor %}</svg>",
    ext = "html"
)]
pub(super) struct Day {
    columns: Vec<Column>,
    said: String,
    /// How many were completed in all.
    pub(super) completed: u64,
    /// How many failed in all.
    pub(super) failed: u64,
    /// The most that ended in an hour.
    pub(super) most: u64,
}

struct Column {
    x: String,
    completed_y: String,
    completed: String,
    failed_y: String,
    failed: String,
    said: String,
}

impl Day {
    /// The last 24 hours, of which the last one goes on.
    pub(super) fn new(hours: &[Hour], now: Timestamp) -> Self {
        let last = Hour::beginning(now);
        let ago = |hours: usize| last - Duration::from_secs(3600) * u32::try_from(hours).unwrap_or(u32::MAX);
        let ended_in = |start: Timestamp| {
            let of_hour = hours.iter().filter(|hour| hour.start == start);
            of_hour
                .fold((0, 0), |(completed, failed), hour| (completed + hour.completed, failed + hour.failed))
        };
        let ended: Vec<(u64, u64)> = (0..HOURS).rev().map(|hours| ended_in(ago(hours))).collect();
        let most = ended.iter().map(|(completed, failed)| completed + failed).max().unwrap_or(0);
        let height =
            |number: u64| if number == 0 { 0.0 } else { (number as f64 / most as f64 * HEIGHT).max(2.0) };
        let columns = ended.iter().enumerate().map(|(at, (completed, failed))| {
            let (done, bad) = (height(*completed), height(*failed));
            let back = HOURS - 1 - at;
            let when = if back == 0 { "this hour".to_owned() } else { format!("{back} h ago") };
            Column {
                x: (at * 10 + 1).to_string(),
                completed_y: format!("{:.1}", HEIGHT - done),
                completed: format!("{done:.1}"),
                failed_y: format!("{:.1}", (HEIGHT - done - bad).max(0.0)),
                failed: format!("{bad:.1}"),
                said: format!("{when}: {completed} completed, {failed} failed"),
            }
        });
        let (completed, failed) = ended.iter().fold((0, 0), |(c, f), (done, bad)| (c + done, f + bad));
        let said = format!(
            "In the last 24 hours {completed} jobs were completed and {failed} failed, at most {most} in an hour"
        );
        Self { columns: columns.collect(), said, completed, failed, most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_each_of_its_hours_and_nothing_older() {
        let now: Timestamp = "2026-03-02T12:34:00Z".parse().unwrap();
        let hour = |ago: u32, completed, failed| Hour {
            start: Hour::beginning(now) - Duration::from_secs(3600) * ago,
            completed,
            failed,
            ..Hour::default()
        };
        let day = Day::new(&[hour(0, 4, 0), hour(0, 1, 1), hour(23, 3, 0), hour(24, 50, 50)], now);
        assert_eq!((day.completed, day.failed, day.most), (8, 1, 6));
        assert_eq!(day.columns.len(), HOURS);
        assert_eq!(day.columns[0].said, "23 h ago: 3 completed, 0 failed");
        let last = &day.columns[HOURS - 1];
        assert_eq!((last.said.as_str(), last.failed_y.as_str()), ("this hour: 5 completed, 1 failed", "0.0"));
        assert!(Day::new(&[], now).render().unwrap().contains("0 jobs were completed"));
    }

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
