//! What would become of a command that changes one job, without carrying it out.

use super::{
    command::{Command, Refusal},
    execute::{may_be_reprioritised, retry_of},
};
use crate::{Job, Step, Timestamp, lifecycle};

/// Whether a command would be carried out on a job as it is. Decided by what the executor asks too, so that both cannot
/// differ; for commands about anything else than one waiting, running or ended job, there is nothing to say.
pub(crate) fn verdict(command: &Command, job: &Job, now: Timestamp) -> Result<(), Refusal> {
    match command {
        Command::Cancel(_) => lifecycle::apply(&job.life, None, &Step::Cancel, now).map(drop)?,
        Command::Retry(_) => lifecycle::apply(&job.life, None, &retry_of(job), now).map(drop)?,
        Command::Delete(_) => lifecycle::may_be_deleted(&job.life)?,
        Command::Reprioritise(..) => may_be_reprioritised(job)?,
        _ => {}
    }
    Ok(())
}
