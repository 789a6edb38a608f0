//! The SQLite database of the BlobForge that was written in Go.

use std::{fs, io, path::Path};

use blobforge_core::{
    Failure, Invalid, JobType, Priority, Sha256, Timestamp,
    storage::sqlite::{EarlierJob, earlier_jobs},
};

use super::{Old, OldJob, OldState};

/// How every SQLite database begins.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Whether a file is a database at all.
pub(super) fn is_one(file: &Path) -> io::Result<bool> {
    use io::Read as _;
    let mut begin = Vec::new();
    fs::File::open(file)?.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
    Ok(begin == MAGIC)
}

/// The jobs that a database tells of.
pub(super) fn jobs(file: &Path) -> io::Result<Old> {
    let wrong = |why: String| {
        io::Error::other(format!("it cannot be read as the database of an earlier BlobForge: {why}"))
    };
    let mut old = Old::default();
    for earlier in earlier_jobs(file).map_err(|error| wrong(error.to_string()))? {
        let name = format!("job {}", earlier.id);
        match job(earlier) {
            Ok(job) => old.jobs.push(job),
            Err(why) => old.unread.push((name, why)),
        }
    }
    Ok(old)
}

/// A job, or why it is none.
fn job(earlier: EarlierJob) -> Result<OldJob, String> {
    let hash = earlier.source_hash.ok_or("it has no source, by which it would be known")?;
    let sha256: Sha256 = hash.parse().map_err(|invalid: Invalid| invalid.to_string())?;
    let job_type = earlier.job_type.filter(|name| !name.is_empty());
    let job_type = job_type.map(JobType::new).transpose().map_err(|invalid| invalid.to_string())?;
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    let created_at = time(earlier.created_at.as_deref());
    let priority = earlier.priority.and_then(|number| u8::try_from(number).ok());
    Ok(OldJob {
        job_type,
        sha256,
        size: earlier.source_size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0),
        paths: earlier.source_path.into_iter().collect(),
        tags: earlier.tags.and_then(|tags| serde_json::from_str(&tags).ok()).unwrap_or_default(),
        priority: priority.and_then(|number| Priority::try_from(number).ok()).unwrap_or_default(),
        failures: number(earlier.attempts).filter(|_| earlier.status == "dead").unwrap_or(0),
        state: state(&earlier.status, earlier.last_error),
        max_attempts: number(earlier.max_attempts),
        created_at,
        ended_at: earlier.ended_at.map_or(created_at, |at| time(Some(&at))),
    })
}

fn state(status: &str, error: Option<String>) -> OldState {
    match status {
        "completed" => OldState::Done,
        "dead" => {
            let said = error.filter(|error| !error.is_empty());
            OldState::Dead(Failure::new("imported", said.unwrap_or_else(|| "no reason was given".to_owned())))
        }
        "cancelled" => OldState::Cancelled,
        _ => OldState::ToDo,
    }
}

/// A time as SQLite and Go write it; the first moment that there is for one that is none.
fn time(text: Option<&str>) -> Timestamp {
    let Some(text) = text else { return Timestamp::ZERO };
    let with_zone = text.parse::<jiff::Timestamp>().ok();
    let in_utc = || {
        let date = text.get(..19)?.replace(' ', "T").parse::<jiff::civil::DateTime>().ok()?;
        date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    with_zone.or_else(in_utc).map_or(Timestamp::ZERO, |at| Timestamp::from_millis(at.as_millisecond().max(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_sqlite_and_go_wrote_them() {
        let millis = |text| time(Some(text)).as_millis();
        assert_eq!(millis("2025-03-01 08:00:00"), 1_740_816_000_000);
        assert_eq!(millis("2025-03-01T08:00:00Z"), 1_740_816_000_000);
        assert_eq!(millis("2025-03-01 08:00:00.5 +0000 UTC"), 1_740_816_000_000);
        assert_eq!(millis("2025-03-01 09:00:00+01:00"), 1_740_816_000_000);
        assert_eq!(millis("yesterday"), 0);
    }
}
