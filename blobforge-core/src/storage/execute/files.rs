//! Which files are needed, by whom, and since when they are not.
//!
//! A file is needed while a job names it: as its source, as an output or as a checkpoint; and while the attempt that it is
//! written under runs. Whenever one of these may have ended, the files concerned are looked at again, and those that
//! nobody needs are noted as dead. That note only says when to look for the last time: whoever deletes asks
//! [`Batch::is_needed`] again, so that a note too many deletes nothing.

use std::{collections::HashSet, time::Duration};

use super::{Batch, accept};
use crate::{
    Checkpoint, Epoch, Job, JobId, LeaseToken, Status,
    storage::{
        command::{Done, Outcome, Refusal},
        rows::{FileRow, Rows},
    },
};

/// For how long a source counts as needed that no job has: whoever sends it may still be sending, or try again.
const SENDING_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The files that one job needs, other than its source.
pub(super) struct Needs {
    keys: HashSet<String>,
    /// What is written under this attempt may still be named.
    running: Option<Epoch>,
}

impl Needs {
    fn include(&self, file: &FileRow) -> bool {
        self.keys.contains(&file.key) || (self.running.is_some() && self.running == file.epoch)
    }
}

impl<R: Rows> Batch<'_, R> {
    pub(super) fn reserve_file(
        &mut self,
        key: &str,
        owner: Option<(JobId, LeaseToken)>,
    ) -> Result<Outcome, R::Error> {
        if let Some((job, token)) = &owner {
            accept!(self.held(*job, token)?);
        }
        let known = self.rows.file(key)?;
        let job = owner.as_ref().map(|(job, _)| *job);
        if let Some(known) = &known {
            let others = known.job.is_some() && job.is_some() && known.job != job;
            // What a job has is written by nobody again.
            if others || known.deleting_since.is_some() || self.rows.has_arrived(key)? {
                return Ok(Err(Refusal::FileTaken(key.to_owned())));
            }
        }
        let file = match (owner, known) {
            // Until a job takes it, it is on its way to dying.
            (None, None) => FileRow { dead_since: Some(self.now + SENDING_TIME), ..self.new_file(key) },
            (None, Some(known)) => known,
            (Some((job, token)), known) => FileRow {
                job: Some(job),
                epoch: Some(token.epoch),
                dead_since: None,
                ..known.unwrap_or_else(|| self.new_file(key))
            },
        };
        self.rows.put_file(&file)?;
        Ok(Ok(Done::Ok))
    }

    fn new_file(&self, key: &str) -> FileRow {
        FileRow {
            key: key.to_owned(),
            job: None,
            epoch: None,
            created_at: self.now,
            dead_since: None,
            deleting_since: None,
        }
    }

    /// Whether a file was recorded, and is not being deleted.
    pub(super) fn has_file(&mut self, key: &str) -> Result<bool, R::Error> {
        Ok(self.rows.file(key)?.is_some_and(|file| file.deleting_since.is_none()))
    }

    pub(super) fn is_being_deleted(&mut self, key: &str) -> Result<bool, R::Error> {
        Ok(self.rows.file(key)?.is_some_and(|file| file.deleting_since.is_some()))
    }

    /// Whether a job may name a file as its output or checkpoint: it was recorded, for this job or for nobody yet.
    pub(super) fn may_name(&mut self, job: JobId, key: &str) -> Result<bool, R::Error> {
        let file = self.rows.file(key)?.filter(|file| file.deleting_since.is_none());
        Ok(file.is_some_and(|file| file.job.is_none_or(|of| of == job)))
    }

    /// Notes that a job needs a file, which is its own unless it is another's already.
    pub(super) fn adopt(&mut self, key: &str, job: JobId) -> Result<(), R::Error> {
        let known = self.rows.file(key)?;
        let file = known.clone().unwrap_or_else(|| self.new_file(key));
        let file = FileRow { job: file.job.or(Some(job)), dead_since: None, ..file };
        if known.as_ref() == Some(&file) { Ok(()) } else { self.rows.put_file(&file) }
    }

    /// The key that the missing source of a job is to be sent to when it is retried, if it has to be another one:
    /// what is written under the old key could be deleted at any time, or is what another job has.
    pub(super) fn key_to_send_to(&mut self, job: &Job) -> Result<Option<String>, R::Error> {
        let Some(source) = job.source.as_ref().filter(|source| !source.arrived) else { return Ok(None) };
        if self.has_file(&source.key)? && !self.rows.has_arrived(&source.key)? {
            return Ok(None);
        }
        let first = source.key.split_once('~').map_or(source.key.as_str(), |(first, _)| first);
        Ok(Some(format!("{first}~{}-{}-{}", job.id, job.life.epoch.get(), self.now.as_millis())))
    }

    /// Looks at the files that a change of a job may have left without anybody who needs them.
    pub(super) fn review_after(
        &mut self,
        before: &Job,
        after: &Job,
        ended: Option<Epoch>,
        dropped: Vec<Checkpoint>,
    ) -> Result<(), R::Error> {
        let given_up = before.status() == Status::Uploading && after.status().is_final();
        let key = |job: &Job| job.source.as_ref().map(|source| source.key.clone());
        let sent_in_vain = key(before).filter(|old| given_up || key(after).as_ref() != Some(old));
        if let Some(sent_in_vain) = sent_in_vain
            && let Some(file) = self.rows.file(&sent_in_vain)?
        {
            self.review(file, None, SENDING_TIME)?;
        }
        if ended.is_none() && dropped.is_empty() {
            return Ok(());
        }
        let mut files = match ended {
            Some(epoch) => self.rows.files_of(after.id, Some(epoch))?,
            None => Vec::new(),
        };
        for checkpoint in dropped {
            files.extend(self.rows.file(&checkpoint.key)?);
        }
        let needs = if files.is_empty() { None } else { Some(self.needs_of(after)?) };
        for file in files {
            self.review(file, needs.as_ref(), Duration::ZERO)?;
        }
        Ok(())
    }

    /// Looks at one file, whosever it is.
    pub(super) fn review_key(&mut self, key: &str) -> Result<(), R::Error> {
        let Some(file) = self.rows.file(key)? else { return Ok(()) };
        let needs = self.needs_of_owner(&file)?;
        self.review(file, needs.as_ref(), Duration::ZERO)
    }

    /// Notes that a file is dead, `grace` from now, if nobody needs it.
    pub(super) fn review(
        &mut self,
        file: FileRow,
        needs: Option<&Needs>,
        grace: Duration,
    ) -> Result<(), R::Error> {
        if file.dead_since.is_some() || self.is_needed(&file, needs)? {
            return Ok(());
        }
        self.rows.forget_content(&file.key)?;
        self.rows.put_file(&FileRow { dead_since: Some(self.now + grace), ..file })
    }

    /// Whether anybody needs a file, where `needs` is what the job needs that it was recorded for.
    pub(super) fn is_needed(&mut self, file: &FileRow, needs: Option<&Needs>) -> Result<bool, R::Error> {
        Ok(needs.is_some_and(|needs| needs.include(file)) || self.rows.is_source(&file.key)?)
    }

    /// What the job needs that a file was recorded for; `None` if there is none any more.
    pub(super) fn needs_of_owner(&mut self, file: &FileRow) -> Result<Option<Needs>, R::Error> {
        let Some(id) = file.job else { return Ok(None) };
        let owner = self.rows.job(id)?;
        owner.map(|job| self.needs_of(&job)).transpose()
    }

    fn needs_of(&mut self, job: &Job) -> Result<Needs, R::Error> {
        let checkpoints = self.rows.checkpoints(job.id)?.into_iter().map(|checkpoint| checkpoint.key);
        let keys = job.outputs.iter().map(|output| output.key.clone()).chain(checkpoints).collect();
        Ok(Needs { keys, running: job.lease().map(|lease| lease.token.epoch) })
    }
}
