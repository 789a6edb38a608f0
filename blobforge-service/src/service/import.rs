//! Moving in from another installation: what was done there stays done, what was to be done is to be done, and nothing
//! of it is changed or deleted.

mod backup;
mod exported;
mod files;
mod folder;
mod go_database;
mod imported;
mod importer;

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    path::{Path, PathBuf},
};

use blobforge_core::{Failure, JobType, Priority, Queue, Sha256, Timestamp};
use futures_util::{StreamExt as _, stream};

pub(crate) use self::imported::{Imported, NotTaken};
use self::{
    files::Files,
    importer::{Importer, look},
};
use super::{ServiceError, open_beside};
use crate::{audit::Actor, config::ServeConfig};

/// How many jobs are taken over at once.
const AT_ONCE: usize = 4;
/// What every result has.
const CONTENT: &str = "content.md";

/// A job of the earlier installation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OldJob {
    /// What kind of work it is, if that is known.
    pub(super) job_type: Option<JobType>,
    pub(super) sha256: Sha256,
    pub(super) size: Option<u64>,
    /// What its source is called, the first name first.
    pub(super) paths: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) priority: Priority,
    pub(super) state: OldState,
    pub(super) failures: u32,
    pub(super) max_attempts: Option<u32>,
    pub(super) created_at: Timestamp,
    pub(super) ended_at: Timestamp,
}

/// What became of it there.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OldState {
    ToDo,
    Done,
    Dead(Failure),
    Cancelled,
}

impl OldState {
    /// How far a job came, the furthest first.
    fn rank(&self) -> u8 {
        match self {
            Self::Done => 0,
            Self::ToDo => 1,
            Self::Dead(_) => 2,
            Self::Cancelled => 3,
        }
    }
}

/// What an earlier installation tells of.
#[derive(Debug, Default)]
pub(super) struct Old {
    pub(super) jobs: Vec<OldJob>,
    /// What cannot be read as a job, and why.
    pub(super) unread: Vec<(String, String)>,
}

/// What is to come over.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// An export, a folder, a coordinator's backup, or a database; what lies in the bucket, if not said.
    pub(crate) from: Option<PathBuf>,
    /// Where the files lie, if not beside that.
    pub(crate) files: Option<PathBuf>,
    /// The files lie in the bucket of the settings, below this prefix.
    pub(crate) bucket_prefix: Option<String>,
    /// What kind of work all of it is to be here.
    pub(crate) job_type: Option<JobType>,
    /// What kind of work it is, where the earlier installation does not say.
    pub(crate) usual_type: JobType,
    /// Only count.
    pub(crate) dry_run: bool,
}

impl Wish {
    /// What kind of work a job is here: what is wished, or else what it was.
    fn type_of(&self, old: &OldJob) -> JobType {
        self.job_type.as_ref().or(old.job_type.as_ref()).unwrap_or(&self.usual_type).clone()
    }
}

/// Takes over the jobs of an earlier installation, or those of an export. `heard` is told of each.
///
/// # Errors
/// When what is named is none, or this installation cannot take it.
pub(crate) async fn import(
    config: &ServeConfig,
    wish: &Wish,
    heard: &(dyn Fn(u64) + Sync),
) -> Result<Imported, ServiceError> {
    if let Some(folder) = wish.from.as_deref().filter(|from| exported::is_one(from)) {
        return exported::import(config, wish, folder, heard).await;
    }
    let (Old { jobs, unread }, files) = read(config, wish).await?;
    let jobs = one_of_each(jobs, wish);
    heard(jobs.len() as u64);
    let failed = unread.into_iter().map(|(name, why)| NotTaken { name, why }).collect();
    let mut imported = Imported { failed, ..Imported::default() };
    if wish.dry_run && !config.db_path.exists() {
        for job in &jobs {
            imported.count(job, &look(&files, job, wish).await?);
            heard(0);
        }
        return Ok(imported);
    }
    let queue = open_beside(config).await?;
    let all = all(&queue, &files, jobs, wish, &mut imported, heard).await;
    queue.close().await;
    all.map(|()| imported)
}

/// What is one job here may have been several there, of which the one counts that came furthest.
fn one_of_each(jobs: Vec<OldJob>, wish: &Wish) -> Vec<OldJob> {
    let mut at: HashMap<(JobType, Sha256), usize> = HashMap::new();
    let mut kept: Vec<OldJob> = Vec::with_capacity(jobs.len());
    for job in jobs {
        match at.entry((wish.type_of(&job), job.sha256)) {
            Entry::Vacant(new) => {
                new.insert(kept.len());
                kept.push(job);
            }
            Entry::Occupied(there) => {
                let there = &mut kept[*there.get()];
                if job.state.rank() < there.state.rank() {
                    *there = job;
                }
            }
        }
    }
    kept
}

/// Finds out what is named, and reads the jobs of it.
async fn read(config: &ServeConfig, wish: &Wish) -> Result<(Old, Files), ServiceError> {
    let beside = wish.files.clone();
    let bucket = match &wish.bucket_prefix {
        Some(prefix) => Some(Files::bucket(config, prefix)?),
        None => None,
    };
    let Some(from) = &wish.from else {
        let what = "nothing is named that could come over: name a folder, a backup or a database, or --bucket-prefix";
        let bucket = bucket.ok_or_else(|| ServiceError::Config(what.to_owned()))?;
        return Ok((folder::jobs(&bucket).await?, bucket));
    };
    let wrong = |error: io::Error| ServiceError::File { path: from.clone(), source: error };
    if from.is_dir() {
        let there = Files::folder(from.clone(), files::Layout::Store);
        let jobs = folder::jobs(&there).await?;
        let files = beside.map(|folder| Files::folder(folder, files::Layout::Store)).or(bucket);
        return Ok((jobs, files.unwrap_or(there)));
    }
    if go_database::is_one(from).map_err(wrong)? {
        let folder = beside.or_else(|| from.parent().map(Path::to_owned)).unwrap_or_default();
        let files = Files::folder(folder, files::Layout::Flat);
        let bucket = bucket.map(|bucket| bucket.in_layout(files::Layout::Flat));
        return Ok((go_database::jobs(from).map_err(wrong)?, bucket.unwrap_or(files)));
    }
    let jobs = backup::jobs(from).map_err(wrong)?;
    // `<files>/backups/coordinator/<name>.json`
    let folder = beside.or_else(|| from.ancestors().nth(3).map(Path::to_owned)).unwrap_or_default();
    Ok((jobs, bucket.unwrap_or_else(|| Files::folder(folder, files::Layout::Store))))
}

async fn all(
    queue: &Queue,
    files: &Files,
    jobs: Vec<OldJob>,
    wish: &Wish,
    imported: &mut Imported,
    heard: &(dyn Fn(u64) + Sync),
) -> Result<(), ServiceError> {
    if !wish.dry_run {
        let actor = Actor::on_the_machine();
        let from = wish.from.as_ref().map(|from| from.display().to_string());
        let from = from.or_else(|| wish.bucket_prefix.clone()).unwrap_or_default();
        actor.begin(queue, "jobs_imported", from).await?;
    }
    let importer = &Importer { queue, files, wish };
    let fates = stream::iter(&jobs).map(|job| async move { (job, importer.one(job).await) });
    let mut fates = fates.buffer_unordered(AT_ONCE);
    while let Some((job, fate)) = fates.next().await {
        imported.count(job, &fate?);
        heard(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_jobs_that_are_one_here_the_one_counts_that_came_furthest() {
        let job = |job_type: &str, state| OldJob {
            job_type: Some(JobType::new(job_type).unwrap()),
            sha256: Sha256::from_bytes([7; 32]),
            size: None,
            paths: Vec::new(),
            tags: Vec::new(),
            priority: Priority::default(),
            state,
            failures: 0,
            max_attempts: None,
            created_at: Timestamp::ZERO,
            ended_at: Timestamp::ZERO,
        };
        let jobs =
            vec![job("text", OldState::ToDo), job("pdf", OldState::Done), job("scan", OldState::Cancelled)];
        let mut wish = Wish {
            from: None,
            files: None,
            bucket_prefix: None,
            job_type: None,
            usual_type: JobType::new("pdf").unwrap(),
            dry_run: false,
        };
        assert_eq!(one_of_each(jobs.clone(), &wish).len(), 3);
        wish.job_type = Some(JobType::new("pdf").unwrap());
        let one = one_of_each(jobs, &wish);
        assert_eq!((one.len(), &one[0].state), (1, &OldState::Done));
    }
}
