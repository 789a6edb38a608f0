//! What people see: lines, tables and progress bars, plain where nobody looks.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Writes a line to standard output. Who reads it may leave early, as `head` does.
///
/// # Errors
/// When standard output fails for another reason than that.
pub(super) fn say(text: impl AsRef<str>) -> io::Result<()> {
    quiet_on_closed_pipe(writeln!(io::stdout().lock(), "{}", text.as_ref()))
}

/// Writes a line to standard error, beside what was asked for.
pub(super) fn complain(text: impl AsRef<str>) {
    // Nothing is left to be done about a standard error that is closed.
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
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

/// A table that fits the terminal, or is as wide as it needs to be where there is none.
pub(super) fn table(columns: &[Column], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = width() {
        table.set_width(width);
    }
    table.set_header(columns.iter().map(|column| match column {
        Column::Text(name) | Column::Number(name) => *name,
    }));
    table.add_rows(rows);
    for (at, column) in columns.iter().enumerate() {
        if let (Column::Number(_), Some(column)) = (column, table.column_mut(at)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
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
            let _ = match state.len() {
                Some(len) => write!(out, "{:>5} of {len} {unit}", state.pos()),
                None => Ok(()),
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

/// At most so many characters of a text, and a mark where there is more.
pub(super) fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// A span in words: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 14 min`.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", span.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// How long ago a time was, as the service writes times; nothing where there is none.
pub(super) fn ago(time: &str) -> String {
    let Ok(time) = time.parse::<jiff::Timestamp>() else { return time.to_owned() };
    // Clocks may disagree a little.
    let seconds = u64::try_from(jiff::Timestamp::now().as_second() - time.as_second()).unwrap_or(0);
    match seconds {
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// A size in words: `512 B`, `48.2 MB`.
pub(super) fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let text = |seconds: f64| span(Duration::from_secs_f64(seconds));
        assert_eq!(
            [text(0.44), text(12.0), text(200.0), text(8040.0)],
            ["0.4 s", "12 s", "3 min 20 s", "2 h 14 min"]
        );
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
