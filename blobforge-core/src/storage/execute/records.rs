//! What the embedding program keeps beside its jobs.

use super::{Batch, Outcome, Rows};
use crate::storage::{
    command::{Command, Done},
    record::{RecordChange, entry_key, entry_number},
};

impl<R: Rows> Batch<'_, R> {
    /// Does something and writes these records; if it is refused, none of them.
    pub(super) fn recorded(
        &mut self,
        command: Option<Command>,
        records: Vec<RecordChange>,
    ) -> Result<Outcome, R::Error> {
        let outcome = command.map_or(Ok(Ok(Done::Ok)), |command| self.command(command))?;
        if outcome.is_ok() {
            for change in records {
                self.change_record(change)?;
            }
        }
        Ok(outcome)
    }

    pub(super) fn change_record(&mut self, change: RecordChange) -> Result<(), R::Error> {
        match change {
            RecordChange::Put { collection, key, value } => self.rows.put_record(&collection, &key, &value),
            RecordChange::Delete { collection, key } => self.rows.delete_record(&collection, &key),
            RecordChange::Append { log, entry, keep } => {
                let last = self.rows.last_record(&log)?.map_or(0, |key| entry_number(&key));
                let number = last.saturating_add(1);
                self.rows.put_record(&log, &entry_key(number), &entry)?;
                self.rows.delete_records_up_to(&log, &entry_key(number.saturating_sub(keep)))
            }
        }
    }
}
