//! Jobs as far as files alone tell of them.

use std::collections::BTreeMap;

use blobforge_core::{Priority, Sha256, Timestamp};

use super::{
    Old, OldJob, OldState,
    files::{Files, Kind, Listed},
};
use crate::service::ServiceError;

/// The jobs whose sources or results lie there: done, if there is a result.
pub(super) async fn jobs(files: &Files) -> Result<Old, ServiceError> {
    let (mut sources, mut results) = (BTreeMap::new(), BTreeMap::new());
    for (kind, sha256, listed) in files.list().await? {
        match kind {
            Kind::Source => sources.insert(sha256, listed),
            Kind::Result => results.insert(sha256, listed),
        };
    }
    let mut jobs = Vec::new();
    for (sha256, source) in &sources {
        jobs.push(job(*sha256, Some(source), results.get(sha256)));
    }
    for (sha256, result) in results.iter().filter(|(sha256, _)| !sources.contains_key(sha256)) {
        jobs.push(job(*sha256, None, Some(result)));
    }
    Ok(Old { jobs, unread: Vec::new() })
}

fn job(sha256: Sha256, source: Option<&Listed>, result: Option<&Listed>) -> OldJob {
    let created_at = source.or(result).map_or(Timestamp::ZERO, |file| file.at);
    OldJob {
        job_type: None,
        sha256,
        size: source.map(|source| source.size),
        paths: Vec::new(),
        tags: Vec::new(),
        priority: Priority::default(),
        state: if result.is_some() { OldState::Done } else { OldState::ToDo },
        failures: 0,
        max_attempts: None,
        created_at,
        ended_at: result.map_or(created_at, |result| result.at),
    }
}
