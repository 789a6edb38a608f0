//! How the service is set up, where it keeps everything, and whether that can be reached.

use std::path::PathBuf;

use askama::Template;
use blobforge_core::{Timestamp, storage::sqlite::check_file};
use poem::{Response, handler};

use super::Tab;
use crate::{
    api::files_are_reachable,
    backup::Standing,
    config::Setting,
    dashboard::{
        fault::Fault,
        frame::{Frame, Section, Visitor, page as sent},
        shown::{State, When},
    },
    words,
};

#[derive(Template)]
#[template(path = "admin/system.html")]
struct SystemPage {
    frame: Frame,
    tab: Tab,
    started: When,
    up_for: String,
    url: Option<String>,
    host: String,
    database: Database,
    generation: u32,
    backup: Option<Backup>,
    files: Files,
    /// Where what is measured is told without a token.
    metrics: Option<String>,
    settings: Vec<Setting>,
}

/// Shows how the service is set up.
#[handler]
pub(in crate::dashboard) async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let (shared, config) = (&visitor.shared, &visitor.shared.config);
    let now = shared.queue.now();
    sent(&SystemPage {
        frame: visitor.frame(Section::Admin, "System"),
        tab: Tab::System,
        started: When::new(shared.started_at, now),
        up_for: words::span(now.since(shared.started_at)),
        url: config.public_url.clone(),
        host: config.host.to_string(),
        database: Database::find(config.db_path.clone()).await,
        generation: shared.queue.storage().generation().get(),
        backup: shared.backup.as_deref().map(|standing| Backup::of(standing, now)),
        files: Files::find(&visitor).await,
        metrics: config.metrics_addr.map(|address| address.to_string()),
        settings: config.settings.clone(),
    })
}

/// The database file, as far as it can be looked at.
struct Database {
    path: String,
    size: Option<String>,
    /// What is not yet in the file itself.
    log: Option<String>,
    schema: Option<i32>,
}

impl Database {
    async fn find(path: PathBuf) -> Self {
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        let size = async |path: PathBuf| tokio::fs::metadata(path).await.ok().map(|of| words::size(of.len()));
        let (size, log) = (size(path.clone()).await, size(PathBuf::from(log)).await);
        let shown = path.display().to_string();
        let checked = tokio::task::spawn_blocking(move || check_file(&path)).await;
        let schema = checked.ok().and_then(Result::ok).map(|file| file.schema);
        Self { path: shown, size, log, schema }
    }
}

/// How the copy of the database stands.
struct Backup {
    lag: String,
    copied: Option<When>,
    /// What is wrong with it.
    trouble: Option<String>,
    verified: Option<When>,
    errors: u64,
    last_error: Option<String>,
}

impl Backup {
    fn of(standing: &Standing, now: Timestamp) -> Self {
        let copying = standing.now();
        Self {
            lag: words::about(standing.lag(now)),
            copied: copying.copied_at.map(|at| When::new(at, now)),
            trouble: standing.trouble(now),
            verified: standing.verified().succeeded_at.map(|at| When::new(at, now)),
            errors: copying.errors,
            last_error: copying.last_error,
        }
    }
}

/// Where files are kept.
struct Files {
    kind: &'static str,
    place: String,
    state: State,
}

impl Files {
    async fn find(visitor: &Visitor) -> Self {
        let config = &visitor.shared.config;
        let (kind, place) = match &config.s3 {
            Some(bucket) => ("S3 bucket", format!("{bucket:?}")),
            None => ("local files", config.files_folder().display().to_string()),
        };
        let (class, icon, word) = match files_are_reachable(&visitor.shared.queue).await {
            true => ("completed", "completed", "reachable"),
            false => ("failed", "failed", "cannot be reached"),
        };
        Self { kind, place, state: State { class, icon, word: word.to_owned() } }
    }
}
