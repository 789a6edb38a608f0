//! Who hands jobs in, and changes their mind.

use std::time::Duration;

use blobforge_core::{
    JobId, NewJob, NewSource, Priority, Sha256, Status, blob::read_bytes, storage::Command,
};
use rand::{RngExt, seq::IndexedRandom};
use sha2::Digest;

use crate::{
    TYPES,
    call::{Answer, Asked, By},
    labels,
    world::World,
};

#[derive(Debug, Default)]
pub(crate) struct Submitter {
    /// The jobs that it was told are taken in.
    pub(crate) known: Vec<JobId>,
    last: Option<NewJob>,
    /// What it sent under a key, and may send again.
    named: Vec<NewJob>,
}

/// What a submitter says of a job: where its file lies is none of it.
pub(crate) fn said(job: &NewJob) -> NewJob {
    let mut job = job.clone();
    if let NewSource::Stored { key, .. } = &mut job.source {
        key.clear();
    }
    job
}

/// The files that there are, few enough to be sent twice.
pub(crate) fn content(number: u8) -> (String, Sha256) {
    let text = format!("content {number}");
    let hash = Sha256::from_bytes(sha2::Sha256::digest(&text).into());
    (text, hash)
}

impl World {
    /// One thing that a submitter does.
    pub(crate) fn submitter_acts(&mut self, at: usize) {
        match self.rng.random_range(0..100) {
            0..48 => {
                let job = self.new_job(at);
                self.submit(at, job);
            }
            48..52 => {
                if let Some(job) = self.submitters[at].last.clone() {
                    self.submit(at, job);
                }
            }
            52..60 => self.submit_again(at),
            60..72 => self.send_a_source(at),
            72..81 => self.change(at, Asked::Cancel),
            81..90 => self.change(at, Asked::Retry),
            90..94 => self.change(at, Asked::Delete),
            _ => {
                let priority = *Priority::ALL.choose(&mut self.rng).unwrap();
                self.change(at, |job| Asked::Reprioritise(job, priority));
            }
        }
    }

    fn new_job(&mut self, at: usize) -> NewJob {
        let rng = &mut self.rng;
        let mut job = NewJob::new(*TYPES.choose(rng).unwrap()).unwrap();
        if rng.random_bool(0.5) {
            job = job.priority(*Priority::ALL.choose(rng).unwrap());
        }
        if rng.random_bool(0.5) {
            job = job.max_attempts(rng.random_range(1..4));
        }
        if rng.random_bool(0.2) {
            job = job.run_at(self.now() + Duration::from_secs(self.rng.random_range(0..1800)));
        }
        if self.rng.random_bool(0.35) {
            for _ in 0..self.rng.random_range(1..=2) {
                job = job.requires(labels::asked_for(&mut self.rng));
            }
        }
        let rng = &mut self.rng;
        if rng.random_bool(0.3) {
            job = job.param("dpi", *[300, 600].choose(rng).unwrap());
        }
        let (text, sha256) = content(rng.random_range(0..4));
        let size = text.len() as u64;
        let source = match rng.random_range(0..10) {
            0..6 => NewSource::None,
            6..9 => NewSource::Upload { sha256: rng.random_bool(0.7).then_some(sha256), size: Some(size) },
            // Where it lies is decided when it is sent.
            _ => NewSource::Stored { key: String::new(), sha256, size },
        };
        job.body.submitter = Some(format!("submitter {at}"));
        let rng = &mut self.rng;
        job.source(source).dedup(rng.random_bool(0.7)).retry_failed(rng.random_bool(0.2))
    }

    fn submit(&mut self, at: usize, mut job: NewJob) {
        self.submitters[at].last = Some(job.clone());
        self.submissions += 1;
        job.body.tags = vec![format!("submission {}", self.submissions)];
        if self.rng.random_bool(0.3) {
            // Another submitter has a key of this name, too.
            job = job.idempotency_key(format!("key {}", self.submitters[at].named.len()));
            self.submitters[at].named.push(job.clone());
        }
        self.send(at, job);
    }

    /// The reply was lost, or so it seems: the same again under its key, or in the confusion another job.
    fn submit_again(&mut self, at: usize) {
        let Some(named) = self.submitters[at].named.choose(&mut self.rng).cloned() else { return };
        if self.rng.random_bool(0.8) {
            self.repeated.extend(named.body.tags.iter().cloned());
            return self.send(at, named);
        }
        self.submissions += 1;
        let other = self.new_job(at).tag(format!("submission {}", self.submissions));
        self.send(at, NewJob { idempotency_key: named.idempotency_key, ..other });
    }

    fn send(&mut self, at: usize, mut job: NewJob) {
        let tag = job.body.tags[0].clone();
        let queue = self.queue.clone();
        self.sent += 1;
        let stored = format!("sources/stored-{}", self.sent);
        self.call(By::Submitter(at), Asked::Submit { tag }, async move {
            if let NewSource::Stored { key, .. } = &mut job.source {
                key.clone_from(&stored);
                let reserve = Command::ReserveFile { key: stored, owner: None };
                if let Err(error) = queue.run(reserve).await {
                    return Answer::Submitted(Err(error));
                }
            }
            Answer::Submitted(queue.submit(job).await)
        });
    }

    fn send_a_source(&mut self, at: usize) {
        let known = &self.submitters[at].known;
        let uploading =
            |id: &&JobId| self.ledger.now().jobs.get(id).is_some_and(|job| job.status() == Status::Uploading);
        let waiting: Vec<JobId> = known.iter().filter(uploading).copied().collect();
        if let Some(job) = waiting.choose(&mut self.rng) {
            self.send_source(By::Submitter(at), *job);
        }
    }

    /// Sends some file for a job: often the one that was announced.
    pub(crate) fn send_source(&mut self, by: By, job: JobId) {
        let announced = self.ledger.now().jobs[&job].source.as_ref().and_then(|source| source.sha256);
        let any = self.rng.random_range(0..4);
        let right = (0..4).map(content).find(|(_, hash)| Some(*hash) == announced);
        let (text, _) = right.filter(|_| self.rng.random_bool(0.9)).unwrap_or_else(|| content(any));
        let queue = self.queue.clone();
        let send = async move { Answer::Job(queue.put_source(job, read_bytes(text)).await.map(Box::new)) };
        self.call(by, Asked::Source { job }, send);
    }

    fn change(&mut self, at: usize, ask: impl Fn(JobId) -> Asked) {
        let Some(&job) = self.submitters[at].known.choose(&mut self.rng) else { return };
        let (queue, asked) = (self.queue.clone(), ask(job));
        let wanted = asked.clone();
        self.call(By::Submitter(at), asked, async move {
            let changed = match wanted {
                Asked::Delete(job) => return Answer::Done(queue.delete(job).await),
                Asked::Cancel(job) => queue.cancel(job).await,
                Asked::Retry(job) => queue.retry(job).await,
                Asked::Reprioritise(job, priority) => queue.reprioritise(job, priority).await,
                other => unreachable!("{other:?} changes no job"),
            };
            Answer::Job(changed.map(Box::new))
        });
    }

    pub(crate) fn submitter_hears(&mut self, at: usize, answer: &Answer) {
        if let Answer::Submitted(Ok(submitted)) = answer {
            let known = &mut self.submitters[at].known;
            if !known.contains(&submitted.id) {
                known.push(submitted.id);
            }
        }
    }
}
