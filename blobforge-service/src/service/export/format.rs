//! What stands in the lines of an export, and how damage is seen.
//!
//! Each line is a JSON object of two members: `check`, the SHA-256 of the other one as it is written, and `export`, `job` or
//! `end`. The first line is the export itself, the last its end: what lacks that was broken off.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use blobforge_core::{
    Body, Failure, Job, JobId, JobType, Priority, Progress, Sha256, Status, Timestamp, storage::Attempt,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256 as Hasher};

/// What an export calls itself.
const FORMAT: &str = "blobforge-export";
/// The version of what is written here.
const VERSION: u32 = 1;
/// The longest line that is read, in bytes: far more than a job with everything that it may have.
const MAX_LINE: u64 = 64 << 20;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::service) enum Said {
    Export(Head),
    Job(Box<ExportedJob>),
    End(End),
}

/// What an export says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::service) struct Head {
    format: String,
    version: u32,
    /// The version of the program that wrote it.
    program: String,
    /// Which installation it is of.
    pub(in crate::service) installation: String,
    /// How many jobs there were when it was begun.
    pub(in crate::service) jobs: u64,
    exported_at: Timestamp,
}

impl Head {
    pub(super) fn new(installation: String, jobs: u64, exported_at: Timestamp) -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT.to_owned(), version: VERSION, program, installation, jobs, exported_at }
    }

    /// Why it cannot be read here, if it cannot.
    pub(in crate::service) fn foreign(&self) -> Option<String> {
        if self.format != FORMAT {
            return Some(format!("it calls itself {:?}, and not {FORMAT:?}", self.format));
        }
        (self.version > VERSION).then(|| {
            format!(
                "it is of version {}, written by BlobForge {}: install that or a newer one",
                self.version, self.program
            )
        })
    }
}

/// The end of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::service) struct End {
    /// How many jobs stand before it.
    pub(in crate::service) jobs: u64,
}

/// A job as it is exported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::service) struct ExportedJob {
    pub(in crate::service) id: JobId,
    #[serde(rename = "type")]
    pub(in crate::service) job_type: JobType,
    pub(in crate::service) status: Status,
    pub(in crate::service) priority: Priority,
    pub(in crate::service) max_attempts: u32,
    pub(in crate::service) failures: u32,
    losses: u32,
    pub(in crate::service) dedup: bool,
    pub(in crate::service) run_at: Option<Timestamp>,
    pub(in crate::service) created_at: Timestamp,
    started_at: Option<Timestamp>,
    pub(in crate::service) ended_at: Option<Timestamp>,
    updated_at: Timestamp,
    pub(in crate::service) body: Body,
    pub(in crate::service) source: Option<ExportedFile>,
    pub(in crate::service) outputs: Vec<ExportedFile>,
    pub(in crate::service) result: Option<Value>,
    pub(in crate::service) last_error: Option<Failure>,
    progress: Option<Progress>,
    attempts: Vec<Attempt>,
}

/// A file of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::service) struct ExportedFile {
    /// What an output is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::service) name: Option<String>,
    pub(in crate::service) sha256: Option<Sha256>,
    pub(in crate::service) size: Option<u64>,
    /// It is in the export.
    pub(in crate::service) there: bool,
}

impl ExportedJob {
    pub(super) fn new(
        job: Job,
        source: Option<ExportedFile>,
        outputs: Vec<ExportedFile>,
        attempts: Vec<Attempt>,
    ) -> Self {
        Self {
            status: job.status(),
            id: job.id,
            job_type: job.job_type,
            priority: job.priority,
            max_attempts: job.life.max_attempts,
            failures: job.life.failures,
            losses: job.life.losses,
            dedup: job.dedup,
            run_at: job.life.run_at,
            created_at: job.created_at,
            started_at: job.started_at,
            ended_at: job.ended_at,
            updated_at: job.updated_at,
            body: job.body,
            source,
            outputs,
            result: job.result,
            last_error: job.last_error,
            progress: job.progress,
            attempts,
        }
    }
}

/// A line, without its end.
pub(super) fn line(said: &Said) -> String {
    // Plain data with names for keys: there is nothing in it that JSON cannot say.
    let said = serde_json::to_string(said).unwrap_or_default();
    // `{"job":…}` becomes `{"check":"…","job":…}`.
    let member = said.trim_start_matches('{');
    let (name, value) = member.split_once(':').unwrap_or((member, "}"));
    let value = &value[..value.len() - 1];
    format!("{{\"check\":\"{}\",{name}:{value}}}", hex::encode(Hasher::digest(value)))
}

/// Reads a line.
fn read(line: &str) -> Result<Said, String> {
    let damaged = || "it is damaged: it is not as it was written".to_owned();
    let rest = line.strip_prefix("{\"check\":\"").and_then(|rest| rest.split_once("\","));
    let (check, member) = rest.ok_or_else(damaged)?;
    let (_, value) = member.split_once(':').ok_or_else(damaged)?;
    let value = value.strip_suffix('}').ok_or_else(damaged)?;
    if hex::encode(Hasher::digest(value)) != check {
        return Err(damaged());
    }
    serde_json::from_str(&format!("{{{member}"))
        .map_err(|error| format!("it says what nobody here understands: {error}"))
}

/// The lines of an export by their numbers, one after the other.
pub(in crate::service) struct Lines {
    file: BufReader<File>,
    number: u64,
}

impl Lines {
    pub(in crate::service) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), number: 0 })
    }
}

impl Iterator for Lines {
    type Item = (u64, Result<Said, String>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        self.number += 1;
        let line = match self.file.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes) {
            Ok(0) => return None,
            Ok(_) if !bytes.ends_with(b"\n") => {
                Err("it has no end: the export was broken off, or damaged".to_owned())
            }
            Ok(_) => std::str::from_utf8(bytes.trim_ascii_end())
                .map_err(|_| "it is damaged: it is no text".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Some((self.number, line.and_then(read)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_as_it_was_written_is_seen() {
        let head = Head::new("forge".to_owned(), 3, Timestamp::ZERO);
        for said in [Said::Export(head), Said::End(End { jobs: 3 })] {
            let line = line(&said);
            assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
            assert_eq!(read(&line).unwrap(), said);
            for at in 0..line.len() {
                let mut other = line.clone().into_bytes();
                other[at] ^= 1;
                assert!(read(&String::from_utf8(other).unwrap()).is_err(), "{at} of {line}");
            }
            assert!(read(&line[..line.len() - 1]).is_err());
        }
    }
}
