//! Finding the files that may be deleted.

use std::time::Duration;

use super::{Batch, files::Needs};
use crate::{
    JobId, Timestamp,
    storage::{
        command::{Done, MarkGarbage, MarkedGarbage, Outcome},
        rows::{FileRow, Rows},
    },
};

/// For how long nothing is deleted after a restore: for who looks at what came back, and may yet restore another backup.
const PAUSE_AFTER_RESTORE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long a deletion that was begun is left to whoever began it, before it counts as broken off.
const DELETION_TIME: Duration = Duration::from_secs(10 * 60);

impl<R: Rows> Batch<'_, R> {
    pub(super) fn mark_garbage(&mut self, wish: &MarkGarbage) -> Result<Outcome, R::Error> {
        let mut marked = MarkedGarbage::default();
        let paused_until = self.rows.restored_at()?.map(|at| at + PAUSE_AFTER_RESTORE);
        marked.paused_until = paused_until.filter(|until| *until > self.now);
        if marked.paused_until.is_some() {
            return Ok(Ok(Done::Garbage(marked)));
        }
        if wish.after.is_none() {
            for file in self.rows.deleting_files(self.now - DELETION_TIME, wish.limit)? {
                self.mark(file, wish.dry_run, &mut marked)?;
            }
        }
        let after = wish.after.clone().unwrap_or((Timestamp::ZERO, String::new()));
        let room = wish.limit.saturating_sub(marked.keys.len());
        let dead = self.rows.dead_files(&after, self.now - wish.dead_for, room)?;
        if dead.len() == room {
            let last = dead.last().and_then(|file| Some((file.dead_since?, file.key.clone())));
            marked.next = Some(last.unwrap_or(after));
        }
        // Files of one job often died together.
        let mut owner: Option<(JobId, Option<Needs>)> = None;
        for file in dead {
            if file.job.is_none_or(|id| owner.as_ref().is_none_or(|(known, _)| *known != id)) {
                let needs = self.needs_of_owner(&file)?;
                owner = file.job.map(|id| (id, needs));
            }
            let needs = owner.as_ref().and_then(|(_, needs)| needs.as_ref());
            if !self.is_needed(&file, needs)? {
                self.mark(file, wish.dry_run, &mut marked)?;
            } else if !wish.dry_run {
                self.rows.put_file(&FileRow { dead_since: None, ..file })?;
            }
        }
        Ok(Ok(Done::Garbage(marked)))
    }

    fn mark(&mut self, file: FileRow, dry_run: bool, marked: &mut MarkedGarbage) -> Result<(), R::Error> {
        marked.keys.push(file.key.clone());
        if dry_run {
            return Ok(());
        }
        // From here on the same content gets another key.
        self.rows.forget_content(&file.key)?;
        self.rows.put_file(&FileRow { deleting_since: Some(self.now), ..file })
    }

    pub(super) fn forget_files(&mut self, keys: &[String]) -> Result<Outcome, R::Error> {
        for key in keys {
            // Only what was marked: whoever asks may be mistaken about the rest.
            if self.is_being_deleted(key)? {
                self.rows.delete_file(key)?;
            }
        }
        Ok(Ok(Done::Ok))
    }
}
