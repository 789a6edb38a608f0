//! The commands that concern all jobs of a type.

use super::{Batch, accept, lanes::Lanes};
use crate::{
    JobType, TypeChange, TypeRecord, TypeSettings,
    storage::{
        command::{Done, Outcome, Wake},
        rows::Rows,
    },
};

impl<R: Rows> Batch<'_, R> {
    pub(super) fn set_type(
        &mut self,
        job_type: &JobType,
        settings: TypeSettings,
    ) -> Result<Outcome, R::Error> {
        let of = self.lanes.of(self.rows, job_type)?;
        let row = self.lanes.row(of);
        let retention_changed = row.settings.retention != settings.retention;
        row.settings = settings;
        self.lanes.limits_changed(self.rows, of, self.now)?;
        self.falls_due(self.now);
        if retention_changed {
            self.retention_changed(job_type)?;
        }
        Ok(Ok(Done::Ok))
    }

    pub(super) fn set_paused(&mut self, job_type: &JobType, paused: bool) -> Result<Outcome, R::Error> {
        let of = self.lanes.of(self.rows, job_type)?;
        self.lanes.row(of).paused = paused;
        if !paused {
            self.becomes_ready(job_type, Wake::All);
        }
        Ok(Ok(Done::Ok))
    }

    pub(super) fn change_type(
        &mut self,
        job_type: JobType,
        changes: Vec<TypeChange>,
    ) -> Result<Outcome, R::Error> {
        let of = self.lanes.of(self.rows, &job_type)?;
        let row = self.lanes.row(of);
        let before = TypeRecord { job_type, settings: row.settings.clone(), paused: row.paused };
        let mut after = before.clone();
        for change in changes {
            change.apply_to(&mut after);
        }
        // What stays as it is has no consequences: nobody is woken for it, and no job is looked at again.
        if after.settings != before.settings {
            accept!(self.set_type(&after.job_type, after.settings.clone())?);
        }
        if after.paused != before.paused {
            accept!(self.set_paused(&after.job_type, after.paused)?);
        }
        Ok(Ok(Done::Type(Box::new(after))))
    }

    /// Has maintenance look at all that limits hold back until some time: by a clock that was set back that may be a day
    /// away, and nobody waits longer than for the next start.
    pub(super) fn time_moved(&mut self) -> Result<Outcome, R::Error> {
        self.lanes.settle(self.rows, self.now)?;
        self.rows.reopen_all_at(self.now)?;
        self.hasten_messages()?;
        // What was known of them is read again.
        self.lanes = Lanes::default();
        self.falls_due(self.now);
        Ok(Ok(Done::Ok))
    }

    /// Lets start again what a limit held back until now. Returns how many types and keys that were.
    pub(super) fn reopen(&mut self, limit: usize) -> Result<usize, R::Error> {
        // What the batch itself changed has to be seen by what is read here.
        self.lanes.settle(self.rows, self.now)?;
        let types = self.rows.reopening_types(self.now)?;
        let keys = self.rows.reopening_keys(self.now, limit)?;
        for job_type in &types {
            let of = self.lanes.of(self.rows, job_type)?;
            self.lanes.reopen_type(of);
            self.becomes_ready(job_type, Wake::All);
        }
        for (job_type, key) in &keys {
            let of = self.lanes.of(self.rows, job_type)?;
            self.lanes.reopen_key(self.rows, of, key)?;
            self.becomes_ready(job_type, Wake::All);
        }
        if !(types.is_empty() && keys.is_empty()) {
            self.lanes.settle(self.rows, self.now)?;
        }
        Ok(types.len() + keys.len())
    }
}
