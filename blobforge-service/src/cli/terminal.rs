//! What people see: lines, tables and progress bars, plain where nobody looks.

use std::{
    borrow::Cow,
    fmt,
    io::{self, IsTerminal, Write},
};

use blobforge_core::{Clock, SystemClock, Timestamp};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

pub(super) use crate::words::{cut, size, span};
use crate::{steering::steers, words};

/// Writes a line to standard output. Who reads it may leave early, as `head` does.
///
/// # Errors
/// When standard output fails for another reason than that.
pub(super) fn say(text: impl AsRef<str>) -> io::Result<()> {
    let text = text.as_ref();
    // Programs get what there is.
    let shown = if io::stdout().is_terminal() { visible(text) } else { Cow::Borrowed(text) };
    quiet_on_closed_pipe(writeln!(io::stdout().lock(), "{shown}"))
}

/// Text without what steers terminals or turns its direction: names and logs come from anybody.
fn visible(text: &str) -> Cow<'_, str> {
    let is_bad = |letter: char| steers(letter) && !matches!(letter, '\n' | '\t');
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.chars()
            .map(|letter| if is_bad(letter) { char::REPLACEMENT_CHARACTER } else { letter })
            .collect(),
    )
}

/// The same in one line, for a table.
fn in_one_line(text: &str) -> String {
    visible(text).replace(['\n', '\t'], " ")
}

/// Writes a line to standard error, beside what was asked for.
pub(super) fn complain(text: impl AsRef<str>) {
    // Nothing is left to be done about a standard error that is closed.
    let _ = writeln!(io::stderr().lock(), "{}", visible(text.as_ref()));
}

/// Asks a person who sits there; without one, nothing is confirmed.
///
/// # Errors
/// When nobody can be asked, with what to do then.
pub(super) fn confirmed(question: &str) -> io::Result<bool> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(io::Error::other("nobody is there to be asked: say --yes"));
    }
    write!(io::stderr().lock(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn quiet_on_closed_pipe(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Words, at the left.
    Text(&'static str),
    /// Numbers, at the right.
    Number(&'static str),
}

/// How wide a column is at most that is never broken.
const SHORT: usize = 18;
/// How wide one is at least that may be; where there is less room it is left out.
const LONG: usize = 16;

/// A table that fits the terminal, or is as wide as it needs to be where there is none.
pub(super) fn table(columns: &[Column], rows: Vec<Vec<String>>) -> String {
    let in_lines = rows.into_iter().map(|row| row.iter().map(|cell| in_one_line(cell)).collect());
    table_within(width(), columns, in_lines.collect())
}

fn table_within(width: Option<u16>, columns: &[Column], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    let fitted = width.map(|width| (width, fitted(width.into(), columns, &rows)));
    table.set_header(columns.iter().map(|column| match column {
        Column::Text(name) | Column::Number(name) => *name,
    }));
    table.add_rows(rows);
    for (at, column) in columns.iter().enumerate() {
        if let (Column::Number(_), Some(column)) = (column, table.column_mut(at)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if let Some((width, fits)) = fitted {
        table.set_width(width);
        for (column, fit) in table.column_iter_mut().zip(fits) {
            match fit {
                Fit::Whole => column.set_constraint(ColumnConstraint::ContentWidth),
                Fit::Broken => column,
                Fit::LeftOut => column.set_constraint(ColumnConstraint::Hidden),
            };
        }
    }
    table.trim_fmt()
}

/// How a column fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// In lines of its own.
    Whole,
    /// In lines that are broken.
    Broken,
    /// Not at all.
    LeftOut,
}

/// How each column fits into a width: short ones whole, long ones broken, and those at the right left out where there is
/// no room for all.
fn fitted(width: usize, columns: &[Column], rows: &[Vec<String>]) -> Vec<Fit> {
    let longest = |at: usize, column: &Column| {
        let (Column::Text(name) | Column::Number(name)) = column;
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain([name.chars().count()]).max().unwrap_or(0)
    };
    let longest: Vec<_> = columns.iter().enumerate().map(|(at, column)| longest(at, column)).collect();
    // A space stands at each side of each column.
    let needed: usize = longest.iter().map(|long| long + 2).sum();
    if needed <= width {
        return vec![Fit::Whole; columns.len()];
    }
    let mut fits: Vec<_> =
        longest.iter().map(|long| if *long <= SHORT { Fit::Whole } else { Fit::Broken }).collect();
    let least = |fits: &[Fit]| -> usize {
        let of = |(fit, long): (&Fit, &usize)| match fit {
            Fit::Whole => long + 2,
            Fit::Broken => LONG + 2,
            Fit::LeftOut => 0,
        };
        fits.iter().zip(&longest).map(of).sum()
    };
    // The first two say what it is about.
    for at in (2..columns.len()).rev() {
        if least(&fits) <= width {
            break;
        }
        fits[at] = Fit::LeftOut;
    }
    fits
}

/// The width of the terminal in columns, if standard output is one.
fn width() -> Option<u16> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(size.ws_col).filter(|columns| *columns >= 40)
}

/// Progress bars, one below the other, on standard error; hidden where that is no terminal.
#[derive(Debug)]
pub(super) struct Bars {
    bars: MultiProgress,
}

impl Bars {
    /// No bars yet.
    pub(super) fn new() -> Self {
        Self { bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)) }
    }

    /// Adds a bar for something with a name, counted in `unit`.
    pub(super) fn add(&self, name: &str, unit: &'static str) -> ProgressBar {
        let template = "{prefix:24!} {bar:28.cyan/dim} {count:18} {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Nothing is claimed of what nothing is known of yet.
        let count = move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = match (state.len(), unit) {
                (None, "bytes") if state.pos() > 0 => write!(out, "{}", size(state.pos())),
                (None, _) => Ok(()),
                (Some(len), "bytes") => {
                    let rate = size(state.per_sec() as u64);
                    write!(
                        out,
                        "{} of {}, {rate}/s, {} left",
                        size(state.pos()),
                        size(len),
                        span(state.eta())
                    )
                }
                (Some(len), _) => {
                    write!(out, "{:>5} of {len} {unit}, {} left", state.pos(), span(state.eta()))
                }
            };
        };
        let style = style.with_key("count", count).progress_chars("━╸─");
        let bar = self.bars.add(ProgressBar::no_length().with_style(style));
        bar.set_prefix(name.to_owned());
        bar
    }
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}

/// How long ago a time was, as the service writes times; nothing where there is none.
pub(super) fn ago(time: &str) -> String {
    let Ok(time) = time.parse::<Timestamp>() else { return time.to_owned() };
    words::ago(time, SystemClock.now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        let hostile = "a\u{1b}[2J\u{9b}31m\u{7}b\u{202E}c\r\nd\te";
        assert_eq!(visible(hostile), "a\u{FFFD}[2J\u{FFFD}31m\u{FFFD}b\u{FFFD}c\u{FFFD}\nd\te");
        assert_eq!(visible("größer\n"), "größer\n");
        assert_eq!(in_one_line("a\nb"), "a b");
        let shown = table(&[Column::Text("name")], vec![vec!["x\ny\u{1b}[0m".to_owned()]]);
        assert_eq!(shown.lines().count(), 2, "{shown}");
    }

    #[test]
    fn where_there_is_little_room_long_columns_are_broken_and_the_last_ones_left_out() {
        let columns =
            [Column::Number("job"), Column::Text("status"), Column::Text("source"), Column::Text("error")];
        let row = [
            "7",
            "completed",
            "books/a rather long name.pdf",
            "it has no pages at all, as far as one can see",
        ];
        let rows = || vec![row.map(str::to_owned).to_vec()];
        let wide = table_within(Some(120), &columns, rows());
        assert_eq!(wide.lines().count(), 2, "{wide}");
        let middling = table_within(Some(60), &columns, rows());
        assert!(middling.contains("completed") && middling.contains("error"), "{middling}");
        let narrow = table_within(Some(40), &columns, rows());
        assert!(narrow.contains("completed") && narrow.contains("source"), "{narrow}");
        assert!(!narrow.contains("error"), "{narrow}");
        for text in [middling, narrow] {
            assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        }
    }

    #[test]
    fn numbers_stand_at_the_right_under_their_heading() {
        let columns = [Column::Text("name"), Column::Number("pages")];
        let rows = vec![vec!["a".into(), "7".into()], vec!["long name".into(), "1234".into()]];
        let text = table(&columns, rows);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, [" name       pages", " a              7", " long name   1234"]);
    }
}
