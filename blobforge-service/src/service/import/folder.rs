//! Jobs as far as files alone tell of them.

use std::{collections::BTreeMap, fs, io, path::Path, time::UNIX_EPOCH};

use blobforge_core::{Priority, Sha256, Timestamp};

use super::{OldJob, OldState};

/// The jobs whose sources or results lie in the folder `store`: done, if there is a result.
pub(super) fn jobs(folder: &Path) -> io::Result<Vec<OldJob>> {
    let (raw, out) = (folder.join("store/raw"), folder.join("store/out"));
    if !raw.is_dir() && !out.is_dir() {
        let what = "it has neither store/raw nor store/out: name the folder that store lies in, a coordinator's backup \
                    (JSON), or the database of an earlier BlobForge";
        return Err(io::Error::other(what));
    }
    let (sources, results) = (files(&raw)?, files(&out)?);
    let mut jobs = Vec::new();
    for (sha256, source) in &sources {
        let result = results.get(sha256);
        jobs.push(job(*sha256, Some(source.size), source.at, result.map(|result| result.at)));
    }
    for (sha256, result) in results.iter().filter(|(sha256, _)| !sources.contains_key(sha256)) {
        jobs.push(job(*sha256, None, result.at, Some(result.at)));
    }
    Ok(jobs)
}

struct Found {
    size: u64,
    at: Timestamp,
}

/// The files of a folder that are called as a hash.
fn files(folder: &Path) -> io::Result<BTreeMap<Sha256, Found>> {
    let mut found = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if let Ok(sha256) = stem.parse::<Sha256>() {
            let about = entry.metadata()?;
            let modified = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let at = Timestamp::from_millis(i64::try_from(modified.as_millis()).unwrap_or(0));
            found.insert(sha256, Found { size: about.len(), at });
        }
    }
    Ok(found)
}

fn job(sha256: Sha256, size: Option<u64>, created_at: Timestamp, done_at: Option<Timestamp>) -> OldJob {
    OldJob {
        sha256,
        size,
        paths: Vec::new(),
        tags: Vec::new(),
        priority: Priority::default(),
        state: if done_at.is_some() { OldState::Done } else { OldState::ToDo },
        failures: 0,
        max_attempts: None,
        created_at,
        ended_at: done_at.unwrap_or(created_at),
    }
}
