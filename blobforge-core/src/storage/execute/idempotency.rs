//! Submissions that are repeated under a name.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256 as Hasher};

use super::{
    Batch, Ran,
    jobs::{sorted, submitted},
};
use crate::{
    Body, NewJob, NewSource,
    storage::{
        command::{Done, Outcome, Refusal, Submit, Submitted},
        rows::{KeyRow, Rows},
    },
};

/// For how long a submission is known by its key.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl<R: Rows> Batch<'_, R> {
    /// Takes a job in, or finds the one that the same submission got before.
    pub(super) fn submit(&mut self, mut submit: Submit) -> Result<Outcome, R::Error> {
        let Some(key) = submit.job.idempotency_key.take() else { return self.submit_anew(submit) };
        let scope = scope(&submit.job.body);
        let fingerprint = fingerprint(&submit.job);
        let known = self.rows.submission_key(&scope, &key)?;
        if let Some(known) = known.filter(|known| known.expires_at > self.now) {
            return Ok(self.replay(key, &known, &fingerprint)?.map(Done::Submitted));
        }
        let outcome = self.submit_anew(submit)?;
        if let Ok(Done::Submitted(taken)) = &outcome {
            let row = KeyRow { fingerprint, job: taken.id, expires_at: self.now + KEPT };
            self.rows.put_submission_key(&scope, &key, &row)?;
        }
        Ok(outcome)
    }

    fn replay(&mut self, key: String, known: &KeyRow, fingerprint: &[u8; 32]) -> Ran<Submitted, R::Error> {
        if known.fingerprint != *fingerprint {
            return Ok(Err(Refusal::IdempotencyKeyReused(key)));
        }
        Ok(match self.rows.job(known.job)? {
            Some(job) => Ok(Submitted { replayed: true, ..submitted(&job, true) }),
            // A second job is what the key is there to prevent.
            None => Err(Refusal::IdempotencyKeyOfDeleted(key, known.job)),
        })
    }

    /// Forgets keys whose time is over; says how many.
    pub(super) fn expire_keys(&mut self, limit: usize) -> Result<usize, R::Error> {
        let expired = self.rows.expired_submission_keys(self.now, limit)?;
        for (scope, key) in &expired {
            self.rows.delete_submission_key(scope, key)?;
        }
        Ok(expired.len())
    }
}

/// Whose a key is: nobody meets another submitter's.
fn scope(body: &Body) -> String {
    body.submitter.clone().unwrap_or_default()
}

/// What everything that a submitter says of a job comes to. The key that the store drew for a file is none of it.
fn fingerprint(job: &NewJob) -> [u8; 32] {
    let NewJob { job_type, priority, max_attempts, run_at, body, source, dedup, retry_failed, .. } = job;
    let source = match source {
        NewSource::None => Value::Null,
        NewSource::Upload { sha256, size } => json!({"announced": [sha256, size]}),
        NewSource::Stored { sha256, size, .. } => json!({"stored": [sha256, size]}),
    };
    // Who repeats a submission does so in another span.
    let body = Body { traceparent: None, ..body.clone() };
    let said = json!({
        "type": job_type,
        "priority": u8::from(*priority),
        "max_attempts": max_attempts,
        "run_at": run_at.map(crate::Timestamp::as_millis),
        "body": body,
        "source": source,
        "dedup": dedup,
        "retry_failed": retry_failed,
    });
    Hasher::digest(sorted(&said).to_string()).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Ends, Priority, Sha256, Timestamp};

    fn job() -> NewJob {
        NewJob::new("pdf").unwrap()
    }

    #[test]
    fn the_span_that_it_is_said_in_does_not_count() {
        let mut traced = job();
        traced.body.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().ok();
        assert!(traced.body.traceparent.is_some());
        assert_eq!(fingerprint(&traced), fingerprint(&job()));
    }

    #[test]
    fn everything_that_is_said_counts() {
        let hash = |byte| Sha256::from_bytes([byte; 32]);
        let upload = |byte, size| NewSource::Upload { sha256: Some(hash(byte)), size };
        let stored = |size| NewSource::Stored { key: "sources/1".to_owned(), sha256: hash(1), size };
        let with = |change: fn(&mut Body)| {
            let mut job = job();
            change(&mut job.body);
            job
        };
        let jobs = [
            job(),
            NewJob::new("text").unwrap(),
            job().priority(Priority::High),
            job().max_attempts(3),
            job().run_at(Timestamp::from_millis(1)),
            job().dedup(false),
            job().retry_failed(true),
            job().param("a", 1),
            job().param("a", "1"),
            job().param("b", 1),
            job().tag("a"),
            job().requires("gpu".parse().unwrap()),
            with(|body| body.source_path = Some("a".to_owned())),
            with(|body| body.submitter = Some("a".to_owned())),
            job().notify("a", Ends::ALL),
            job().notify("a", Ends { failed: false, ..Ends::ALL }),
            with(|body| drop(body.metadata.insert("a".to_owned(), 1.into()))),
            job().source(upload(1, None)),
            job().source(upload(2, None)),
            job().source(upload(1, Some(7))),
            job().source(NewSource::Upload { sha256: None, size: Some(7) }),
            job().source(stored(7)),
            job().source(stored(8)),
        ];
        let different: std::collections::BTreeSet<_> = jobs.iter().map(fingerprint).collect();
        assert_eq!(different.len(), jobs.len());
    }

    #[test]
    fn what_the_store_drew_and_the_order_of_keys_do_not() {
        let at = |key: &str| {
            let sha256 = Sha256::from_bytes([1; 32]);
            job().source(NewSource::Stored { key: key.to_owned(), sha256, size: 7 })
        };
        assert_eq!(fingerprint(&at("sources/1")), fingerprint(&at("sources/2")));
        let with = |params: &str| {
            let mut job = job();
            job.body.params = serde_json::from_str(params).unwrap();
            job
        };
        let (one, other) = (r#"{"a": [{"x": 1, "y": 2}], "b": 0}"#, r#"{"b": 0, "a": [{"y": 2, "x": 1}]}"#);
        assert_eq!(fingerprint(&with(one)), fingerprint(&with(other)));
    }
}
