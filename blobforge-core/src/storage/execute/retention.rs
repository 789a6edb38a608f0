//! Deleting jobs that have been kept for long enough.
//!
//! When a job ends, a note is made of when it is to be deleted, if ever. The note is only when to look: what holds then is
//! looked up again, so that a retention that was made longer, or taken back, spares the jobs that were noted before.
//! One that was made shorter is applied to the jobs that ended earlier by a walk over all of them, a piece at a time.

use std::time::Duration;

use super::Batch;
use crate::{Job, JobId, JobType, Status, Timestamp, storage::rows::Rows};

/// How long to leave the store to others between two pieces of such a walk.
const BETWEEN_PIECES: Duration = Duration::from_secs(1);
/// After how many files the rest is left to the next time: a job may have thousands.
const FILES_AT_ONCE: usize = 5_000;

impl<R: Rows> Batch<'_, R> {
    /// Begins to apply a type's new retention to the jobs that have ended already.
    pub(super) fn retention_changed(&mut self, job_type: &JobType) -> Result<(), R::Error> {
        self.rows.put_rescan(job_type, Some(JobId::new(i64::MAX)))?;
        self.falls_due(self.now);
        Ok(())
    }

    /// When a job of this type that ended like this, then, is to be deleted.
    fn expiry(
        &mut self,
        job_type: &JobType,
        status: Status,
        ended_at: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, R::Error> {
        let Some(ended_at) = ended_at else { return Ok(None) };
        let of = self.lanes.of(self.rows, job_type)?;
        Ok(self.lanes.row(of).settings.retention.of(status).map(|kept| ended_at + kept))
    }

    /// Notes when a job that has ended is to be deleted, and forgets it for one that goes on.
    pub(super) fn note_expiry(&mut self, job: &Job, had_ended: bool) -> Result<(), R::Error> {
        let at = self.expiry(&job.job_type, job.status(), job.ended_at)?;
        // Nothing was noted of one that had not ended, which is most of them.
        if at.is_some() || had_ended { self.put_expiry(job.id, at) } else { Ok(()) }
    }

    fn put_expiry(&mut self, id: JobId, at: Option<Timestamp>) -> Result<(), R::Error> {
        let Some(at) = at else { return self.rows.delete_expiry(id) };
        self.falls_due(at);
        self.rows.put_expiry(id, at)
    }

    /// Deletes the jobs whose time is over, at most so many; says how many.
    pub(super) fn expire(&mut self, limit: usize) -> Result<usize, R::Error> {
        let (mut expired, mut files) = (0, 0);
        for id in self.rows.due_expiries(self.now, limit)? {
            if files >= FILES_AT_ONCE {
                break;
            }
            let Some(job) = self.rows.job(id)? else {
                self.rows.delete_expiry(id)?;
                continue;
            };
            match self.expiry(&job.job_type, job.status(), job.ended_at)? {
                Some(at) if at <= self.now => {
                    files += self.erase(job)?;
                    expired += 1;
                }
                at => self.put_expiry(id, at)?,
            }
        }
        Ok(expired)
    }

    /// Applies a retention that changed to the next so many jobs; says when to go on, if there are more.
    pub(super) fn rescan(&mut self, limit: usize) -> Result<Option<Timestamp>, R::Error> {
        let Some((job_type, below)) = self.rows.first_rescan()? else { return Ok(None) };
        let jobs = self.rows.jobs_below(below, limit)?;
        let last = jobs.last().filter(|_| jobs.len() == limit).map(|job| job.id);
        for job in jobs.into_iter().filter(|job| job.job_type == job_type) {
            let at = self.expiry(&job_type, job.status, job.ended_at)?;
            self.put_expiry(job.id, at)?;
        }
        self.rows.put_rescan(&job_type, last)?;
        let more = self.rows.first_rescan()?.is_some();
        Ok(more.then(|| self.now + BETWEEN_PIECES))
    }
}
