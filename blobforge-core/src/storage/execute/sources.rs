//! How a job's source arrives, and what becomes of one that is another than was announced.
//!
//! What has arrived under a key is never written again: other jobs may share it. That is held by giving keys out with
//! care. Whoever sends a file asks first ([`Batch::reserve_file`]), and hears no once a source has arrived there; a program
//! that embeds the queue sends under a key of each call's own, which becomes the job's only if the job still waits for it.

use super::{
    Batch, accept,
    jobs::{VERIFIED, work_key},
};
use crate::{
    Failure, Finish, Jitter, Job, JobId, LeaseToken, NewSource, RetryPolicy, Sha256, Source, Status, Step,
    lifecycle,
    storage::{
        command::{Done, Outcome, Refusal},
        rows::Rows,
    },
};

impl<R: Rows> Batch<'_, R> {
    pub(super) fn source(&mut self, new: NewSource, upload_key: String) -> Result<Option<Source>, R::Error> {
        let (sha256, size) = match new {
            NewSource::None => return Ok(None),
            NewSource::Stored { key, sha256, size } => {
                return Ok(Some(Source {
                    key,
                    size: Some(size),
                    sha256: Some(sha256),
                    verified: true,
                    arrived: true,
                }));
            }
            NewSource::Upload { sha256, size } => (sha256, size),
        };
        // Content that is stored and verified already is not sent again.
        let known = sha256.map(|hash| self.rows.content(&hash)).transpose()?.flatten();
        Ok(Some(match known {
            Some((key, size)) => Source { key, size: Some(size), sha256, verified: true, arrived: true },
            None => Source { key: upload_key, size, sha256, verified: false, arrived: false },
        }))
    }

    /// Lets verified content be found: by later jobs that need it, and by submitters of the same work, unless its
    /// submitter wanted a run apart from theirs.
    pub(super) fn remember_content(&mut self, job: &Job) -> Result<(), R::Error> {
        let Some(source) = job.source.as_ref().filter(|source| source.verified) else {
            return Ok(());
        };
        let (Some(hash), Some(size)) = (source.sha256, source.size) else { return Ok(()) };
        self.rows.put_content(&hash, &source.key, size)?;
        if !job.dedup {
            return Ok(());
        }
        let work = work_key(&job.job_type, &hash, &job.body);
        self.rows.put_duplicate(&work, VERIFIED, job.id)
    }

    pub(super) fn source_ready(
        &mut self,
        id: JobId,
        key: String,
        size: u64,
        sha256: Option<Sha256>,
    ) -> Result<Outcome, R::Error> {
        let job = accept!(self.find(id)?);
        // Who did not hear the answer asks again.
        if job.source.as_ref().is_some_and(|source| has_arrived_as(source, &key, size, sha256)) {
            return Ok(Ok(Done::Job(Box::new(job))));
        }
        if let Some(failure) = job.source.as_ref().and_then(|source| unlike_announced(source, size, sha256)) {
            if job.status() == Status::Failed && job.last_error.as_ref() == Some(&failure) {
                return Ok(Ok(Done::Job(Box::new(job))));
            }
            return self.reject_source(id, failure);
        }
        let transition = accept!(lifecycle::apply(&job.life, None, &Step::SourceReady, self.now));
        if !self.may_have_source(&job, &key)? {
            return Ok(Err(Refusal::UnknownFile(key)));
        }
        let job = self.follow(job, transition, |job| {
            if let Some(source) = &mut job.source {
                source.key.clone_from(&key);
                source.size = Some(size);
                source.sha256 = sha256.or(source.sha256);
                source.verified = sha256.is_some();
                source.arrived = true;
            }
        })?;
        self.adopt(&key, id)?;
        self.remember_content(&job)?;
        Ok(Ok(Done::Job(Box::new(job))))
    }

    /// Whether a job's source may lie under this key: it was given out for it, or asked for by whoever sends it.
    fn may_have_source(&mut self, job: &Job, key: &str) -> Result<bool, R::Error> {
        let expected = job.source.as_ref().is_some_and(|source| source.key == key);
        Ok(expected || (self.may_name(job.id, key)? && !self.rows.has_arrived(key)?))
    }

    pub(super) fn reject_source(&mut self, id: JobId, failure: Failure) -> Result<Outcome, R::Error> {
        let job = accept!(self.find(id)?);
        let transition = accept!(lifecycle::apply(&job.life, None, &Step::SourceRejected, self.now));
        let job = self.follow(job, transition, |job| job.last_error = Some(failure))?;
        Ok(Ok(Done::Job(Box::new(job))))
    }

    pub(super) fn source_verified(
        &mut self,
        id: JobId,
        token: &LeaseToken,
        size: Option<u64>,
        sha256: Sha256,
    ) -> Result<Outcome, R::Error> {
        let job = accept!(self.held(id, token)?);
        let Some(source) = &job.source else { return Ok(Ok(Done::Job(Box::new(job)))) };
        let size = size.or(source.size).unwrap_or_default();
        if let Some(failure) = unlike_announced(source, size, Some(sha256)) {
            return self.find_corrupt(job, token, failure);
        }
        let source = Source { sha256: Some(sha256), verified: true, ..source.clone() };
        let after = Job { updated_at: self.now, source: Some(source), ..job.clone() };
        self.rewrite(&job, &after)?;
        self.remember_content(&after)?;
        Ok(Ok(Done::Job(Box::new(after))))
    }

    /// Ends the attempt of a holder who read another file than was announced: the source counts as never arrived, and is
    /// to be sent again when the job is retried. Nobody else is handed these bytes.
    fn find_corrupt(&mut self, job: Job, token: &LeaseToken, failure: Failure) -> Result<Outcome, R::Error> {
        let finish = Finish::Fail { retryable: false, policy: RetryPolicy::default(), jitter: Jitter::NONE };
        let step = Step::Finish(*token, finish);
        let transition = accept!(lifecycle::apply(&job.life, None, &step, self.now));
        let job = self.follow(job, transition, |job| {
            job.last_error = Some(failure);
            if let Some(source) = &mut job.source {
                (source.arrived, source.verified) = (false, false);
                // It may be only what had arrived; where the hash is known, that says enough of what is to come.
                source.size = source.size.filter(|_| source.sha256.is_none());
            }
        })?;
        if let Some(source) = &job.source {
            self.rows.forget_content(&source.key)?;
            self.review_key(&source.key)?;
            if let Some(hash) = &source.sha256 {
                let work = work_key(&job.job_type, hash, &job.body);
                self.rows.delete_duplicate(&work, VERIFIED, job.id)?;
            }
        }
        Ok(Ok(Done::Job(Box::new(job))))
    }
}

/// Whether a source arrived as this very file.
fn has_arrived_as(source: &Source, key: &str, size: u64, sha256: Option<Sha256>) -> bool {
    let same = sha256.map_or(source.key == key, |hash| source.sha256 == Some(hash));
    source.arrived && source.size == Some(size) && same
}

fn unlike_announced(source: &Source, size: u64, sha256: Option<Sha256>) -> Option<Failure> {
    if let Some(announced) = source.size.filter(|announced| *announced != size) {
        let message = format!(
            "the file has {size} bytes, but {announced} were announced: retry this job and send the right file"
        );
        return Some(Failure::new("source_corrupt", message));
    }
    match (source.sha256, sha256) {
        (Some(announced), Some(found)) if announced != found => {
            let message = format!(
                "the file's SHA-256 is {found}, but {announced} was announced: retry this job and send the right file"
            );
            Some(Failure::new("source_corrupt", message))
        }
        _ => None,
    }
}
