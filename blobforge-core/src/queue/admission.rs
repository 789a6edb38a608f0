//! The one gate through which every command goes: what is out of bounds is refused, what is only too long is cut.

use serde_json::Value;

use super::{MAX_CLAIM, types::check_changes};
use crate::{
    Checkpoint, Condition, Invalid, MAX_JSON_BYTES, MAX_KEY_BYTES, MAX_WORKER_TYPES, Output, Past, PastEnd,
    Progress,
    bounds::{at_most, attempts, file_size, json, span, text},
    check_failure_kind, check_result, file_name,
    inline::cut_log,
    new_job::printable,
    storage::{Claim, Command, MAX_PAGE, RecordChange, Report},
};

/// The most leases that one heartbeat names.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{Epoch, Generation, JobId, LeaseSecret, LeaseToken, WorkerId};
/// use blobforge_core::{queue::MAX_BEAT, storage::{Beat, HeldLease}};
/// let token = LeaseToken::new(Generation::new(1), Epoch::new(1), LeaseSecret::from_bytes([0; 32]));
/// let lease = HeldLease { job: JobId::new(1), token, progress: None, log_tail: None, ahead: None };
/// let beat = Beat { worker: WorkerId::new("smith").unwrap(), leases: vec![lease; MAX_BEAT + 1], condition: None };
/// assert!(queue.heartbeat(beat).await.unwrap_err().to_string().starts_with("leases: "));
/// # });
/// ```
pub const MAX_BEAT: usize = 1000;
/// The most files that a completion names.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{Epoch, Generation, JobId, LeaseSecret, LeaseToken, Output};
/// use blobforge_core::{queue::MAX_OUTPUTS, storage::Report};
/// let token = LeaseToken::new(Generation::new(1), Epoch::new(1), LeaseSecret::from_bytes([0; 32]));
/// let page = |n| Output { name: format!("{n}.png"), size: 1, sha256: None, key: format!("outputs/{n}") };
/// let report = Report::Complete { outputs: (0..=MAX_OUTPUTS).map(page).collect(), result: None };
/// let refused = queue.report(JobId::new(1), token, report).await.unwrap_err();
/// assert!(refused.to_string().starts_with("outputs: "));
/// # });
/// ```
pub const MAX_OUTPUTS: usize = 4096;
/// The most bytes of a file's key, and of the key and collection of a record.
const MAX_STORE_KEY_BYTES: usize = 1024;

/// The most records that are written with one command.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{queue::MAX_RECORDS, storage::{Command, RecordChange}};
/// let (collection, key) = ("accounts".to_owned(), "ann".to_owned());
/// let records = vec![RecordChange::Delete { collection, key }; MAX_RECORDS + 1];
/// let refused = queue.run(Command::Recorded { command: None, records }).await.unwrap_err();
/// assert!(refused.to_string().starts_with("records: "));
/// # });
/// ```
pub const MAX_RECORDS: usize = 1000;

/// The same command, fit to be kept.
pub(super) fn admitted(command: Command) -> Result<Command, Invalid> {
    check(&command)?;
    Ok(cut(command))
}

fn check(command: &Command) -> Result<(), Invalid> {
    match command {
        Command::Submit(submit) => {
            submit.job.validate()?;
            submit.job.past.as_deref().map_or(Ok(()), check_past)?;
            attempts(submit.default_max_attempts)?;
            text("upload_key", &submit.upload_key, MAX_STORE_KEY_BYTES)?;
        }
        Command::Claim(claim) => check_claim(claim)?,
        Command::Heartbeat(beat) => {
            at_most("leases", beat.leases.len(), MAX_BEAT)?;
            beat.condition.as_ref().map_or(Ok(()), Condition::validate)?;
        }
        Command::Report { report, .. } => check_report(report)?,
        Command::Checkpoint { checkpoint, .. } => check_checkpoint(checkpoint)?,
        Command::ReserveFile { key, .. } => text("key", key, MAX_STORE_KEY_BYTES)?,
        Command::RejectSource { failure, .. } => check_failure_kind(&failure.kind)?,
        Command::SetType { settings, .. } => settings.validate()?,
        Command::ChangeType { job_type, changes } => check_changes(job_type, changes)?,
        Command::Register { registration, alive_for } => {
            registration.validate()?;
            span("alive_for", *alive_for)?;
        }
        Command::PutRecord { collection, key, value } => check_record(collection, key, value)?,
        Command::Subscribe(subscriber) => text("name", &subscriber.name, MAX_KEY_BYTES)?,
        Command::TakeMessages { limit, hold } => {
            at_most("limit", *limit, MAX_PAGE)?;
            span("hold", *hold)?;
        }
        Command::SendAgain(message) => message.to.check()?,
        Command::Recorded { command, records } => {
            command.as_deref().map_or(Ok(()), check_recorded)?;
            at_most("records", records.len(), MAX_RECORDS)?;
            records.iter().try_for_each(check_change)?;
        }
        // What these say names something that is there, or is nothing that is kept.
        Command::SourceReady { .. }
        | Command::SourceVerified { .. }
        | Command::Cancel(_)
        | Command::Retry(_)
        | Command::Reprioritise(..)
        | Command::SetPaused(..)
        | Command::Delete(_)
        | Command::MarkGarbage(_)
        | Command::ForgetFiles(_)
        | Command::Unregister { .. }
        | Command::SetDraining(..)
        | Command::RemoveWorker(_)
        | Command::Maintain(_)
        | Command::TimeMoved
        | Command::Unsubscribe(_)
        | Command::SettleMessage { .. }
        | Command::DeleteRecord { .. } => {}
    }
    Ok(())
}

fn check_recorded(command: &Command) -> Result<(), Invalid> {
    if matches!(command, Command::Recorded { .. }) {
        let reason =
            "records are written with a command that writes none itself: put all of them in one list";
        return Err(Invalid::new("command", reason));
    }
    check(command)
}

fn check_record(collection: &str, key: &str, value: &Value) -> Result<(), Invalid> {
    text("collection", collection, MAX_KEY_BYTES)?;
    text("key", key, MAX_STORE_KEY_BYTES)?;
    check_value("value", value)
}

fn check_value(field: &'static str, value: &Value) -> Result<(), Invalid> {
    json(field, value, MAX_JSON_BYTES, "Keep large data elsewhere, and its place here")
}

fn check_change(change: &RecordChange) -> Result<(), Invalid> {
    match change {
        RecordChange::Put { collection, key, value } => check_record(collection, key, value),
        RecordChange::Append { keep: 0, .. } => Err(Invalid::new("keep", "a log keeps at least one entry")),
        RecordChange::Append { log, entry, .. } => {
            text("log", log, MAX_KEY_BYTES)?;
            check_value("entry", entry)
        }
        RecordChange::Delete { .. } => Ok(()),
    }
}

/// The same command with the texts for people cut to what is kept of them: a lease must not be lost to a talkative
/// handler.
fn cut(command: Command) -> Command {
    match command {
        Command::Submit(mut submit) => {
            if let Some(Past { end: PastEnd::Failed(failure), .. }) = submit.job.past.as_deref_mut() {
                *failure = failure.clone().cut();
            }
            Command::Submit(submit)
        }
        Command::Heartbeat(mut beat) => {
            for held in &mut beat.leases {
                held.progress = held.progress.take().map(Progress::cut);
                held.log_tail = held.log_tail.take().and_then(cut_log);
            }
            beat.condition = beat.condition.map(Condition::cut);
            Command::Heartbeat(beat)
        }
        Command::Report { job, token, mut report } => {
            if let Report::Fail { failure, .. } | Report::Crash { failure, .. } = &mut *report {
                *failure = failure.clone().cut();
            }
            Command::Report { job, token, report }
        }
        Command::RejectSource { job, failure } => Command::RejectSource { job, failure: failure.cut() },
        Command::Recorded { command, records } => {
            Command::Recorded { command: command.map(|command| Box::new(cut(*command))), records }
        }
        other => other,
    }
}

fn check_claim(claim: &Claim) -> Result<(), Invalid> {
    if claim.types.is_empty() {
        return Err(Invalid::new("types", "a claim names at least one type: it would wait for nothing"));
    }
    at_most("types", claim.types.len(), MAX_WORKER_TYPES)?;
    if claim.secrets.is_empty() {
        return Err(Invalid::new("limit", "a claim asks for at least one job"));
    }
    at_most("limit", claim.secrets.len(), MAX_CLAIM)?;
    span("lease", claim.lease)?;
    claim.claim_id.as_deref().map_or(Ok(()), |id| printable("claim_id", id))
}

fn check_report(report: &Report) -> Result<(), Invalid> {
    match report {
        Report::Complete { outputs, result } => {
            check_outputs(outputs)?;
            result.as_ref().map_or(Ok(()), check_result)
        }
        Report::Fail { failure, policy, .. } | Report::Crash { failure, policy, .. } => {
            check_failure_kind(&failure.kind)?;
            policy.check()
        }
        Report::Release | Report::Snooze(_) => Ok(()),
    }
}

fn check_past(past: &Past) -> Result<(), Invalid> {
    match &past.end {
        PastEnd::Completed { outputs, result } => {
            check_outputs(outputs)?;
            result.as_ref().map_or(Ok(()), check_result)
        }
        PastEnd::Failed(failure) => check_failure_kind(&failure.kind),
        PastEnd::Cancelled | PastEnd::ToDo => Ok(()),
    }
}

fn check_outputs(outputs: &[Output]) -> Result<(), Invalid> {
    at_most("outputs", outputs.len(), MAX_OUTPUTS)?;
    let mut names = std::collections::HashSet::with_capacity(outputs.len());
    for Output { name, size, key, .. } in outputs {
        file_name(name)?;
        file_size("outputs", *size)?;
        text("key", key, MAX_STORE_KEY_BYTES)?;
        if !names.insert(name) {
            return Err(Invalid::new("outputs", format!("{name:?} is named twice")));
        }
    }
    Ok(())
}

fn check_checkpoint(checkpoint: &Checkpoint) -> Result<(), Invalid> {
    file_name(&checkpoint.name)?;
    file_size("size", checkpoint.size)?;
    text("key", &checkpoint.key, MAX_STORE_KEY_BYTES)
}
