//! The commands that move jobs.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256 as Hasher};

use super::{Batch, Ran, accept, lease_lost};
use crate::{
    Body, Checkpoint, Finish, FinishKind, Job, JobId, JobType, LeaseToken, Life, NewSource, Past, PastEnd,
    Phase, Priority, Reply, Sha256, Status, Step, lifecycle,
    storage::{
        command::{
            Beat, BeatReply, Done, LeaseState, MAX_CHECKPOINTS, Outcome, Refusal, Report, Submit, Submitted,
        },
        rows::Rows,
    },
};

impl<R: Rows> Batch<'_, R> {
    pub(super) fn submit_anew(&mut self, submit: Submit) -> Result<Outcome, R::Error> {
        let new = submit.job;
        let claimed_hash = match &new.source {
            NewSource::None => None,
            NewSource::Upload { sha256, .. } => *sha256,
            NewSource::Stored { sha256, .. } => Some(*sha256),
        };
        let verified = matches!(new.source, NewSource::Stored { .. });
        let work = claimed_hash.filter(|_| new.dedup).map(|hash| work_key(&new.job_type, &hash, &new.body));
        if let Some(work) = &work
            && let Some(id) = self.duplicate(work, &new.body, verified)?
            && let Some(job) = self.rows.job(id)?
        {
            return self.existing(job, new.body, new.retry_failed);
        }
        if let NewSource::Stored { key, .. } = &new.source
            && !self.has_file(key)?
        {
            return Ok(Err(Refusal::UnknownFile(key.clone())));
        }
        let source = self.source(new.source, submit.upload_key)?;
        if let Some(source) = &source
            && self.is_being_deleted(&source.key)?
        {
            return Ok(Err(Refusal::FileTaken(source.key.clone())));
        }
        let of = self.lanes.of(self.rows, &new.job_type)?;
        accept!(self.lanes.class(of, &new.body.requires));
        if let Some(Past { end: PastEnd::Completed { outputs, .. }, .. }) = new.past.as_deref() {
            for output in outputs {
                if !self.may_name(JobId::new(0), &output.key)? {
                    return Ok(Err(Refusal::UnknownFile(output.name.clone())));
                }
            }
        }
        let present = source.as_ref().is_none_or(|source| source.arrived);
        let settings = &self.lanes.row(of).settings;
        let runs = new.max_attempts.or(settings.max_attempts).unwrap_or(submit.default_max_attempts);
        let limit_key = settings.per_key.as_ref().and_then(|per_key| per_key.by.key_of(&new.body));
        let mut job = Job {
            id: JobId::new(0),
            job_type: new.job_type,
            priority: new.priority,
            life: Life::new(present, runs, new.run_at, self.now),
            body: new.body,
            limit_key,
            dedup: new.dedup,
            source,
            progress: None,
            last_error: None,
            failure_group: None,
            result: None,
            outputs: Vec::new(),
            created_at: self.now,
            started_at: None,
            ended_at: None,
            updated_at: self.now,
        };
        if let Some(past) = new.past {
            taken_over(&mut job, *past);
        }
        job.id = self.rows.insert_job(&job)?;
        if let Some(work) = &work {
            self.rows.put_duplicate(work, &claimed_scope(&job.body), job.id)?;
            if job.status().is_final() {
                // Whoever takes in what ended elsewhere vouches for it: it is nobody's mere claim.
                self.rows.put_duplicate(work, VERIFIED, job.id)?;
            }
        }
        self.remember_content(&job)?;
        if let Some(source) = &job.source {
            self.adopt(&source.key, job.id)?;
        }
        if job.life.phase == Phase::Pending {
            self.enter_line(&job)?;
        }
        if job.status().is_final() {
            self.keep_past(&job)?;
        } else {
            self.lanes.live(of, &job.body.requires, 1);
        }
        self.lanes.count(of, &job, 1);
        self.announce(&job, None);
        Ok(Ok(Done::Submitted(submitted(&job, false))))
    }

    /// What there is to be kept of a job that ended elsewhere, beside the job. Nobody is told of an end that was before.
    fn keep_past(&mut self, job: &Job) -> Result<(), R::Error> {
        for output in &job.outputs {
            self.adopt(&output.key, job.id)?;
        }
        let mut grouped = job.clone();
        let before = Job { life: Life { phase: Phase::Pending, ..job.life.clone() }, ..job.clone() };
        self.count_failure(&before, &mut grouped, false)?;
        if grouped.failure_group.is_some() {
            self.rows.update_job(job, &grouped)?;
        }
        self.note_expiry(&grouped, false)
    }

    /// The job that does this work: verified for anybody, or claimed by the same submitter.
    fn duplicate(&mut self, work: &[u8; 32], body: &Body, verified: bool) -> Result<Option<JobId>, R::Error> {
        if let Some(id) = self.rows.duplicate(work, VERIFIED)? {
            return Ok(Some(id));
        }
        // Nobody's mere claim may stand in for content that is known.
        if verified { Ok(None) } else { self.rows.duplicate(work, &claimed_scope(body)) }
    }

    /// Hands a job over to somebody who submits the same work, and adds to it what that one calls it.
    fn existing(&mut self, job: Job, said: Body, retry_failed: bool) -> Result<Outcome, R::Error> {
        let job = if retry_failed && job.status() == Status::Failed {
            match self.retry(job.id)? {
                Ok(Done::Job(job)) => *job,
                other => return Ok(other),
            }
        } else {
            job
        };
        let mut after = Job { updated_at: self.now, ..job.clone() };
        after.body.add_names(said);
        if after.body == job.body {
            return Ok(Ok(Done::Submitted(submitted(&job, true))));
        }
        self.rewrite(&job, &after)?;
        Ok(Ok(Done::Submitted(submitted(&after, true))))
    }

    pub(super) fn heartbeat(&mut self, beat: Beat) -> Result<Outcome, R::Error> {
        let Some(draining) = self.rows.is_draining(&beat.worker)? else {
            return Ok(Err(Refusal::WorkerNotRegistered(beat.worker)));
        };
        self.rows.touch_worker(&beat.worker, self.now, beat.condition.as_ref())?;
        let mut leases = Vec::with_capacity(beat.leases.len());
        for held in beat.leases {
            let Some(job) = self.rows.job(held.job)? else {
                leases.push((held.job, LeaseState::Lost));
                continue;
            };
            let state = match lifecycle::apply(&job.life, None, &Step::Renew(held.token), self.now) {
                Ok(transition) => {
                    let reply = transition.reply;
                    if let Some(log_tail) = &held.log_tail {
                        self.rows.put_log(held.job, log_tail)?;
                    }
                    self.follow(job, transition, |job| {
                        if held.progress.is_some() {
                            job.progress = held.progress;
                        }
                    })?;
                    match reply {
                        Reply::Renewed { cancel_requested: true } => LeaseState::Cancel,
                        _ => LeaseState::Held,
                    }
                }
                Err(_) => LeaseState::Lost,
            };
            leases.push((held.job, state));
        }
        Ok(Ok(Done::Beat(BeatReply { leases, draining })))
    }

    pub(super) fn report(
        &mut self,
        id: JobId,
        token: LeaseToken,
        report: Report,
    ) -> Result<Outcome, R::Error> {
        let job = accept!(self.find(id)?);
        let ended = self.ended(&job, token.epoch)?;
        let step = Step::Finish(token, self.finish(&job, &report)?);
        let transition = accept!(lifecycle::apply(&job.life, ended.as_ref(), &step, self.now));
        let Reply::Finished(finished) = transition.reply else { unreachable!("a finish is answered as one") };
        if transition.ended.is_some() {
            if let Report::Complete { outputs, .. } = &report {
                for output in outputs {
                    if !self.may_name(id, &output.key)? {
                        return Ok(Err(Refusal::UnknownFile(output.name.clone())));
                    }
                }
                for output in outputs {
                    self.adopt(&output.key, id)?;
                }
            }
            let accepted = transition.life.phase == Phase::Completed || report.kind() == FinishKind::Fail;
            self.follow(job, transition, |job| match report {
                Report::Complete { outputs, result } if accepted => {
                    job.outputs = outputs;
                    job.result = result;
                    job.last_error = None;
                }
                Report::Fail { failure, .. } | Report::Crash { failure, .. } => {
                    job.last_error = Some(failure)
                }
                _ => {}
            })?;
        }
        Ok(Ok(Done::Finished(finished)))
    }

    /// What a report is to the lifecycle, under the retry policy of the job's type if that has one.
    fn finish(&mut self, job: &Job, report: &Report) -> Result<Finish, R::Error> {
        let mut finish = report.finish();
        if let Finish::Fail { policy, .. } | Finish::Crash { policy, .. } = &mut finish {
            let of = self.lanes.of(self.rows, &job.job_type)?;
            *policy = self.lanes.row(of).settings.retry.unwrap_or(*policy);
        }
        Ok(finish)
    }

    pub(super) fn checkpoint(
        &mut self,
        id: JobId,
        token: LeaseToken,
        new: Checkpoint,
    ) -> Result<Outcome, R::Error> {
        let job = accept!(self.held(id, &token)?);
        if !self.may_name(id, &new.key)? {
            return Ok(Err(Refusal::UnknownFile(new.name)));
        }
        let kept = self.rows.checkpoints(id)?;
        let replaced = kept.iter().find(|old| old.name == new.name);
        if replaced.is_none() && kept.len() >= MAX_CHECKPOINTS {
            return Ok(Err(Refusal::TooManyCheckpoints(id)));
        }
        self.adopt(&new.key, id)?;
        let advanced = replaced.is_none_or(|old| old.sha256 != new.sha256);
        self.rows.put_checkpoint(id, &new)?;
        if let Some(old) = replaced {
            self.review_key(&old.key)?;
        }
        if !advanced {
            return Ok(Ok(Done::Job(Box::new(job))));
        }
        let transition = accept!(lifecycle::apply(&job.life, None, &Step::Advance(token), self.now));
        let job = self.follow(job, transition, |_| {})?;
        Ok(Ok(Done::Job(Box::new(job))))
    }

    /// Finds a job whose current lease this is.
    pub(super) fn held(&mut self, id: JobId, token: &LeaseToken) -> Ran<Job, R::Error> {
        let job = accept!(self.find(id)?);
        if job.lease().is_some_and(|lease| lease.token == *token) {
            Ok(Ok(job))
        } else {
            Ok(Err(lease_lost(&job)))
        }
    }

    pub(super) fn retry(&mut self, id: JobId) -> Result<Outcome, R::Error> {
        let job = accept!(self.find(id)?);
        let step = retry_of(&job);
        let transition = accept!(lifecycle::apply(&job.life, None, &step, self.now));
        let of = self.lanes.of(self.rows, &job.job_type)?;
        accept!(self.lanes.class(of, &job.body.requires));
        let key = self.key_to_send_to(&job)?;
        let job = self.follow(job, transition, |job| {
            if let (Some(source), Some(key)) = (&mut job.source, key) {
                source.key = key;
            }
        })?;
        if let Some(source) = &job.source {
            self.adopt(&source.key, id)?;
        }
        Ok(Ok(Done::Job(Box::new(job))))
    }

    pub(super) fn reprioritise(&mut self, id: JobId, priority: Priority) -> Result<Outcome, R::Error> {
        let job = accept!(self.find(id)?);
        accept!(may_be_reprioritised(&job));
        let after = Job { priority, updated_at: self.now, ..job.clone() };
        self.rewrite(&job, &after)?;
        Ok(Ok(Done::Job(Box::new(after))))
    }
}

/// Gives a job its past.
fn taken_over(job: &mut Job, past: Past) {
    job.life = past.life(&job.life);
    job.created_at = past.created_at;
    job.ended_at = job.status().is_final().then_some(past.ended_at);
    match past.end {
        PastEnd::Completed { outputs, result } => (job.outputs, job.result) = (outputs, result),
        PastEnd::Failed(failure) => job.last_error = Some(failure),
        PastEnd::Cancelled | PastEnd::ToDo => {}
    }
}

/// The step that runs an ended job again.
pub(in crate::storage) fn retry_of(job: &Job) -> Step {
    Step::Retry { source_present: job.source.as_ref().is_none_or(|source| source.arrived) }
}

/// Whether a job's priority still means anything.
pub(in crate::storage) fn may_be_reprioritised(job: &Job) -> Result<(), Refusal> {
    if job.status().is_final() { Err(Refusal::Ended(job.id, job.status())) } else { Ok(()) }
}

/// Under what a job's work may be known: as verified, and as its submitter's claim.
pub(super) fn known_work(job: &Job) -> Vec<([u8; 32], String)> {
    let Some(hash) = job.source.as_ref().and_then(|source| source.sha256) else { return Vec::new() };
    let work = work_key(&job.job_type, &hash, &job.body);
    vec![(work, VERIFIED.to_owned()), (work, claimed_scope(&job.body))]
}

/// The scope in which verified content is known: everybody's.
pub(super) const VERIFIED: &str = "";

/// The scope of what a submitter merely claims: its own.
fn claimed_scope(body: &Body) -> String {
    format!("by {}", body.submitter.as_deref().unwrap_or_default())
}

/// What makes two jobs the same work: type, content and parameters.
pub(super) fn work_key(job_type: &JobType, hash: &Sha256, body: &Body) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hasher.update(job_type.as_str());
    hasher.update([0]);
    hasher.update(hash.as_bytes());
    hasher.update(sorted_map(&body.params).to_string());
    hasher.finalize().into()
}

/// The same value with every object's keys in order, however they were sent.
pub(super) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => sorted_map(map),
        Value::Array(items) => items.iter().map(sorted).collect(),
        plain => plain.clone(),
    }
}

fn sorted_map(map: &Map<String, Value>) -> Value {
    let ordered: std::collections::BTreeMap<&String, Value> =
        map.iter().map(|(k, v)| (k, sorted(v))).collect();
    Value::Object(ordered.into_iter().map(|(k, v)| (k.clone(), v)).collect())
}

pub(super) fn submitted(job: &Job, existing: bool) -> Submitted {
    let uploading = job.status() == Status::Uploading;
    let upload_key = job.source.as_ref().filter(|_| uploading).map(|source| source.key.clone());
    Submitted { id: job.id, existing, replayed: false, status: job.status(), upload_key }
}
