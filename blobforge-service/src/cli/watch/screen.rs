//! The whole terminal, as a view of what goes on.

use std::{
    io,
    process::ExitCode,
    time::{Duration, Instant},
};

use blobforge_worker_sdk::client::{Client, ClientError, JobView};
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Row, Table},
};
use serde_json::Value;
use tokio::sync::watch;

use super::Sight;
use crate::cli::{CliError, listing::field, terminal::cut};

/// How long a key is waited for before the screen is drawn again.
const KEYS_WITHIN: Duration = Duration::from_millis(200);
/// How much of a source's name is shown, in characters.
const NAME_SHOWN: usize = 48;

/// What the screen shows.
#[derive(Clone, Debug, Default)]
struct View {
    sight: Sight,
    /// Why the last look failed, if it did: what is shown is older then.
    trouble: Option<String>,
}

pub(super) async fn show(
    client: Client,
    first: Sight,
    every: Duration,
    until_empty: bool,
) -> Result<ExitCode, CliError> {
    let (seen, view) = watch::channel(View { sight: first, trouble: None });
    let looking = tokio::spawn(look(client, seen, every));
    let drawn = tokio::task::spawn_blocking(move || {
        let terminal = ratatui::try_init()?;
        let drawn = draw_until_told(terminal, &view, until_empty);
        ratatui::try_restore()?;
        drawn
    });
    let drawn = drawn.await.map_err(io::Error::other)?;
    looking.abort();
    drawn?;
    Ok(ExitCode::SUCCESS)
}

/// Looks again and again, until nobody watches.
async fn look(client: Client, seen: watch::Sender<View>, every: Duration) {
    while !seen.is_closed() {
        tokio::time::sleep(every).await;
        let now: Result<Sight, ClientError> = Sight::take(&client).await;
        seen.send_modify(|view| match now {
            Ok(sight) => *view = View { sight, trouble: None },
            Err(error) => view.trouble = Some(error.to_string()),
        });
    }
}

fn draw_until_told(
    mut terminal: DefaultTerminal,
    view: &watch::Receiver<View>,
    until_empty: bool,
) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        let now = view.borrow().clone();
        terminal.draw(|frame| draw(frame, &now, begun.elapsed()))?;
        if until_empty && now.sight.is_empty() {
            return Ok(());
        }
        if event::poll(KEYS_WITHIN)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let is_interrupt =
                key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(());
            }
        }
    }
}

fn draw(frame: &mut Frame<'_>, view: &View, watched: Duration) {
    let workers = u16::try_from(view.sight.workers.len()).unwrap_or(u16::MAX).saturating_add(3);
    let rows = [
        Constraint::Length(3),
        Constraint::Length(workers.clamp(4, 12)),
        Constraint::Min(4),
        Constraint::Length(1),
    ];
    let [counts, of_workers, of_jobs, last] = Layout::vertical(rows).areas(frame.area());
    draw_counts(frame, counts, &view.sight);
    draw_workers(frame, of_workers, &view.sight.workers);
    draw_jobs(frame, of_jobs, &view.sight.running);
    let line = match &view.trouble {
        Some(trouble) => Line::styled(trouble.clone(), style(Color::Yellow)),
        None => Line::styled(format!("q ends it · watched for {} s", watched.as_secs()), dim()),
    };
    frame.render_widget(line, last);
}

fn draw_counts(frame: &mut Frame<'_>, area: Rect, sight: &Sight) {
    let count = |name: &'static str, number: u64, color| {
        [Span::styled(format!(" {number} "), style(color).add_modifier(Modifier::BOLD)), Span::raw(name)]
    };
    let counts = [
        count("waiting", sight.waiting(), Color::Gray),
        count("running", sight.number("running_jobs"), Color::Blue),
        count("completed", sight.number("completed_jobs"), Color::Green),
        count("failed", sight.number("failed_jobs"), Color::Red),
        count("workers online", sight.number("online_workers"), Color::Gray),
    ];
    let block = Block::new().borders(Borders::BOTTOM).title("BlobForge");
    frame.render_widget(
        ratatui::widgets::Paragraph::new(Line::from_iter(counts.into_iter().flatten())).block(block),
        area,
    );
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, workers: &[Value]) {
    let row = |worker: &Value| {
        let status = field(worker, "status");
        let color = match status.as_str() {
            "online" => Color::Green,
            "offline" => Color::Red,
            _ => Color::Yellow,
        };
        let percent = |name: &str| match worker["gauges"][name].as_f64() {
            Some(share) => format!("{share:.0} %"),
            None => String::new(),
        };
        Row::new([
            Cell::from(field(worker, "id")),
            Cell::from(status).style(style(color)),
            Cell::from(field(worker, "types")),
            Cell::from(percent("cpu_percent")),
            Cell::from(field(worker, "trouble")),
        ])
    };
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(10),
        Constraint::Fill(2),
        Constraint::Length(6),
        Constraint::Fill(3),
    ];
    let table = Table::new(workers.iter().map(row), widths)
        .header(Row::new(["worker", "status", "types", "CPU", "trouble"]).style(dim()));
    frame.render_widget(table, area);
}

fn draw_jobs(frame: &mut Frame<'_>, area: Rect, running: &[JobView]) {
    let row = |job: &JobView| {
        Row::new([
            job.id.to_string(),
            job.job_type.clone(),
            bar(job),
            field(&Value::Object(job.more.clone()), "worker_id"),
            cut(job.source_path.as_deref().unwrap_or_default(), NAME_SHOWN),
        ])
    };
    let widths = [
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(26),
        Constraint::Fill(1),
        Constraint::Fill(2),
    ];
    let table = Table::new(running.iter().map(row), widths)
        .header(Row::new(["job", "type", "progress", "worker", "source"]).style(dim()));
    frame.render_widget(table, area);
}

/// How far a job is, as far as that is known.
fn bar(job: &JobView) -> String {
    const CELLS: u64 = 12;
    let Some(progress) = &job.progress else { return String::new() };
    match progress.total.filter(|total| *total > 0) {
        Some(total) => {
            let full = (progress.done.min(total) * CELLS / total) as usize;
            format!("{}{} {}/{total}", "━".repeat(full), "─".repeat(CELLS as usize - full), progress.done)
        }
        None => progress.done.to_string(),
    }
}

/// A colour, where colours are wanted.
fn style(color: Color) -> Style {
    if std::env::var_os("NO_COLOR").is_some() { Style::new() } else { Style::new().fg(color) }
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_screen_shows_counts_workers_and_how_far_jobs_are() {
        let job = json!({
            "id": 7, "type": "pdf", "status": "running", "status_label": "running", "priority": 3, "outputs": [],
            "source_path": "book.pdf", "worker_id": "smith", "progress": {"done": 6, "total": 12},
        });
        let sight = Sight {
            stats: json!({"pending_jobs": 12, "running_jobs": 1}),
            workers: vec![json!({"id": "smith", "status": "online", "types": ["pdf"]})],
            running: vec![serde_json::from_value(job).unwrap()],
        };
        let mut terminal = Terminal::new(TestBackend::new(100, 14)).unwrap();
        let view = View { sight, trouble: Some("nobody answers".to_owned()) };
        terminal.draw(|frame| draw(frame, &view, Duration::ZERO)).unwrap();
        let shown = terminal.backend().to_string();
        for expected in
            ["12 waiting", "1 running", "smith", "━━━━━━────── 6/12", "book.pdf", "nobody answers"]
        {
            assert!(shown.contains(expected), "{expected:?} in {shown}");
        }
    }
}
