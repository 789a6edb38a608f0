//! What a shell offers where an id is wanted: what the service knows. Nothing is offered where there is no service, and
//! nobody waits for one that is slow.

use std::{ffi::OsStr, sync::mpsc, thread, time::Duration};

use blobforge_worker_sdk::client::{Client, ClientError, JobQuery};
use clap::Parser;
use clap_complete::CompletionCandidate;

use super::{Connection, listing::field};

/// How long a person who presses the key waits at most.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How many jobs are offered.
const JOBS_OFFERED: usize = 100;

/// The service that commands without flags would use.
#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    connection: Connection,
}

/// Jobs by their numbers, or by the hashes of their sources if what is there already is no number.
pub(super) fn jobs(begun: &OsStr) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy().into_owned();
    let by_hash = begun.contains(|digit: char| digit.is_ascii_alphabetic());
    let query = JobQuery { limit: JOBS_OFFERED, ..JobQuery::default() };
    let found = asked(async move |client| client.jobs(&query).await).unwrap_or_default();
    let named = found.into_iter().filter_map(|job| {
        let name = if by_hash { job.source_hash?.to_string() } else { job.id.to_string() };
        let about = format!("{} {}", job.status_label, job.source_path.unwrap_or_default());
        Some((name, about))
    });
    let fitting = named.filter(|(name, _)| name.starts_with(&begun));
    fitting.map(|(name, about)| CompletionCandidate::new(name).help(Some(about.into()))).collect()
}

/// Workers by their ids.
pub(super) fn workers(begun: &OsStr) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy().into_owned();
    let found = asked(async move |client| client.workers().await).unwrap_or_default();
    let named = found.into_iter().map(|worker| (field(&worker, "id"), field(&worker, "status")));
    let fitting = named.filter(|(id, _)| id.starts_with(&begun));
    fitting.map(|(id, status)| CompletionCandidate::new(id).help(Some(status.into()))).collect()
}

/// What the service says, unless it takes too long. Whatever goes wrong, a person types on.
fn asked<T, F>(ask: F) -> Option<T>
where
    T: Send + 'static,
    F: AsyncFnOnce(Client) -> Result<T, ClientError> + Send + 'static,
{
    let client = Alone::try_parse_from(["blobforge"]).ok()?.connection.client().ok()?;
    let (said, heard) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(Ok(found)) = runtime.map(|runtime| runtime.block_on(ask(client))) {
            // Whoever asked may have stopped waiting.
            let _ = said.send(found);
        }
    });
    heard.recv_timeout(PATIENCE).ok()
}
