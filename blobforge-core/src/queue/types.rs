//! What an operator changes of a type.

use super::{Queue, QueueError};
use crate::{
    Invalid, JobType, TypeChange, TypeRecord, TypeSettings,
    storage::{Command, Done},
};

/// The most changes that one call makes.
///
/// As in [`Queue::change_type`].
pub const MAX_TYPE_CHANGES: usize = 100;

impl Queue {
    /// Changes some of what holds for all jobs of a type, in one step, and says what holds then. What is not named stays as
    /// it is at that moment, so that two who change different things at once both get what they want.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{JobType, TypeChange, queue::MAX_TYPE_CHANGES};
    /// let pdf = JobType::new("pdf").unwrap();
    /// queue.change_type(pdf.clone(), vec![TypeChange::Running(Some(2))]).await.unwrap();
    /// let changes = vec![TypeChange::Paused(true), TypeChange::MaxAttempts(Some(5))];
    /// let now = queue.change_type(pdf.clone(), changes).await.unwrap();
    /// assert_eq!((now.paused, now.settings.max_attempts, now.settings.limits.running), (true, Some(5), Some(2)));
    ///
    /// assert!(queue.change_type(pdf.clone(), vec![TypeChange::MaxAttempts(Some(0))]).await.is_err());
    /// let many = vec![TypeChange::Paused(false); MAX_TYPE_CHANGES + 1];
    /// assert!(queue.change_type(pdf, many).await.is_err());
    /// assert_eq!(queue.types().await.unwrap(), [now], "what is refused changes nothing");
    /// # });
    /// ```
    ///
    /// # Errors
    /// When nothing is named, or more than [`MAX_TYPE_CHANGES`]; when a setting is out of bounds, or the store fails.
    pub async fn change_type(
        &self,
        job_type: JobType,
        changes: Vec<TypeChange>,
    ) -> Result<TypeRecord, QueueError> {
        match self.run(Command::ChangeType { job_type, changes }).await? {
            Done::Type(record) => Ok(*record),
            other => Err(QueueError::unexpected(&other)),
        }
    }
}

/// Every setting is in bounds or not by itself: what is right beside the defaults is right beside anything.
pub(super) fn check_changes(job_type: &JobType, changes: &[TypeChange]) -> Result<(), Invalid> {
    if !(1..=MAX_TYPE_CHANGES).contains(&changes.len()) {
        let reason = format!("{} are named: name 1 to {MAX_TYPE_CHANGES} at once", changes.len());
        return Err(Invalid::new("changes", reason));
    }
    let mut record =
        TypeRecord { job_type: job_type.clone(), settings: TypeSettings::default(), paused: false };
    changes.iter().cloned().try_for_each(|change| {
        change.apply_to(&mut record);
        record.settings.validate()
    })
}
