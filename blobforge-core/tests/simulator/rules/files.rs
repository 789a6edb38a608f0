//! What must hold for files: none is deleted that anybody needs.

use super::*;

/// For how long a source is left to whoever sends it before there is a job.
const SENDING: Duration = Duration::from_secs(24 * 3600);
/// For how long nothing is deleted after a restore.
const AFTER_RESTORE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is known of files, by their keys.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Whose attempt a file was asked for, and when.
    reserved: BTreeMap<String, (Option<(JobId, LeaseToken)>, Timestamp)>,
    /// What the attempts of jobs have left, by name.
    checkpoints: BTreeMap<JobId, BTreeMap<String, String>>,
    /// Until when a file was needed, once it is not.
    died: BTreeMap<String, Timestamp>,
    marked: BTreeSet<String>,
    pub(crate) restored_at: Option<Timestamp>,
}

impl Files {
    pub(super) fn learn(&mut self, change: &Change) {
        self.learn_deaths(change);
        match (&change.command, &change.outcome) {
            (Command::ReserveFile { key, owner }, Ok(_)) => {
                self.reserved.insert(key.clone(), (*owner, change.now));
            }
            (Command::Checkpoint { job, checkpoint, .. }, Ok(_)) => {
                let kept = self.checkpoints.entry(*job).or_default();
                if let Some(old) = kept.insert(checkpoint.name.clone(), checkpoint.key.clone()) {
                    self.died.insert(old, change.now);
                }
            }
            (Command::MarkGarbage(wish), Ok(Done::Garbage(marked))) if !wish.dry_run => {
                self.marked.extend(marked.keys.iter().cloned());
            }
            _ => {}
        }
        for (_, job) in change.jobs() {
            if let Some(source) = job.source.as_ref().filter(|source| source.arrived) {
                // It has come to the job that it was sent for.
                self.reserved.remove(&source.key);
            }
            if matches!(job.status(), Status::Completed | Status::Cancelled) {
                self.checkpoints.remove(&job.id);
            }
        }
    }

    /// Notes when the files were last needed that a change leaves to nobody.
    fn learn_deaths(&mut self, change: &Change) {
        let changed = change.jobs().filter_map(|(before, _)| before).chain(change.deleted());
        for job in changed {
            for key in self.needed_by(job) {
                self.died.insert(key, change.now);
            }
        }
    }

    /// The files that a job needs: what it names, and what may still be written under its attempt.
    fn needed_by(&self, job: &Job) -> Vec<String> {
        let named = |source: &&Source| source.arrived || job.status() == Status::Uploading;
        let source = job.source.iter().filter(named).map(|source| &source.key);
        let kept = self.checkpoints.get(&job.id).into_iter().flat_map(BTreeMap::values);
        let token = holder(Some(job));
        let writes = |owner: &Option<(JobId, LeaseToken)>| {
            owner.is_some_and(|(id, by)| id == job.id && token.is_some_and(|token| token.epoch == by.epoch))
        };
        let written = self.reserved.iter().filter(|(_, (owner, _))| writes(owner)).map(|(key, _)| key);
        let outputs = job.outputs.iter().map(|output| &output.key);
        source.chain(kept).chain(written).chain(outputs).cloned().collect()
    }

    fn is_being_sent(&self, key: &str, now: Timestamp) -> bool {
        self.reserved.get(key).is_some_and(|(owner, at)| owner.is_none() && now < *at + SENDING)
    }
}

pub(super) fn no_needed_file_is_deleted(change: &Change, record: &Record) {
    let (Command::MarkGarbage(wish), Ok(Done::Garbage(marked))) = (&change.command, &change.outcome) else {
        return;
    };
    if marked.keys.is_empty() {
        return;
    }
    let files = &record.files;
    let paused = files.restored_at.is_some_and(|at| change.now < at + AFTER_RESTORE);
    assert!(!paused, "{:?} are deleted soon after a restore", marked.keys);
    let needed: BTreeSet<String> = change.after.jobs.values().flat_map(|job| files.needed_by(job)).collect();
    for key in &marked.keys {
        assert!(!needed.contains(key), "{key} is needed, and is deleted");
        assert!(!files.is_being_sent(key, change.now), "{key} may still be sent, and is deleted");
        let over = files.died.get(key).is_none_or(|died| *died + wish.dead_for <= change.now);
        assert!(over, "{key} died at {:?}, and is deleted", files.died.get(key));
    }
}

pub(super) fn no_deleted_file_is_named(change: &Change, record: &Record) {
    for (before, after) in change.jobs() {
        let known = before.map(|before| record.files.needed_by(before)).unwrap_or_default();
        for key in record.files.needed_by(after).iter().filter(|key| !known.contains(key)) {
            assert!(!record.files.marked.contains(key), "job {} needs {key}, which is deleted", after.id);
        }
    }
}
