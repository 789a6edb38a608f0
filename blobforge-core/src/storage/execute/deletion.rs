//! Deleting jobs.

use std::time::Duration;

use super::{Batch, accept, jobs::known_work};
use crate::{
    Job, JobId, lifecycle,
    storage::{
        command::{Done, Event, Outcome},
        rows::Rows,
    },
};

impl<R: Rows> Batch<'_, R> {
    pub(super) fn delete(&mut self, id: JobId) -> Result<Outcome, R::Error> {
        let job = accept!(self.find(id)?);
        accept!(lifecycle::may_be_deleted(&job.life));
        self.erase(job)?;
        Ok(Ok(Done::Ok))
    }

    /// Forgets an ended job, and notes which files die with it. Says how many were looked at.
    pub(super) fn erase(&mut self, job: Job) -> Result<usize, R::Error> {
        for (work, scope) in known_work(&job) {
            self.rows.delete_duplicate(&work, &scope, job.id)?;
        }
        self.leave_group(&job)?;
        self.rows.delete_job(job.id)?;
        self.rows.delete_expiry(job.id)?;
        let files = self.rows.files_of(job.id, None)?;
        let looked_at = files.len();
        for file in files {
            self.review(file, None, Duration::ZERO)?;
        }
        // A source that it shared was recorded for another job, which may be gone already.
        if let Some(source) = &job.source {
            self.review_key(&source.key)?;
        }
        let of = self.lanes.of(self.rows, &job.job_type)?;
        self.lanes.count(of, &job, -1);
        let was = job.status();
        self.committed.events.push(Event::JobDeleted { id: job.id, job_type: job.job_type, was });
        Ok(looked_at)
    }
}
