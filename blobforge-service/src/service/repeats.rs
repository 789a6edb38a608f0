//! Requests that are repeated under a name.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use blobforge_core::{Queue, QueueError, Timestamp, check_key, storage::Command};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{auth::Principal, problem::Problem};

const REQUESTS: &str = "named_requests";
/// For how long a request is known by its name: as long as the queue knows submissions.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many requests are known at most; the oldest go first.
const MOST: usize = 10_000;
/// After how many of them it is looked whether some can be forgotten.
const FORGET_EVERY: u32 = 1000;

/// A request that its sender may have to repeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    /// Whose it is: nobody meets another one's names.
    pub(crate) by: &'a Principal,
    /// What it asks for, such as `POST /api/jobs/bulk`.
    pub(crate) route: &'a str,
    /// Its name.
    pub(crate) key: &'a str,
    /// All that it says.
    pub(crate) said: &'a [u8],
}

/// What became of a request that was carried out.
#[derive(Debug)]
pub(crate) enum Ran<T> {
    /// It was carried out now.
    Now(T),
    /// It was carried out before, and this was kept of that.
    Before(Value),
}

/// The requests that were carried out under a name, kept as records beside the jobs.
#[derive(Clone, Debug)]
pub(crate) struct Repeats {
    queue: Queue,
    under_way: Arc<Mutex<BTreeSet<String>>>,
    noted: Arc<AtomicU32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// A hash of all that the request said.
    said: String,
    expires_at: Timestamp,
    /// What is kept of its reply; `None` while it is carried out, and for ever if that broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<Value>,
}

/// Holds a name until it is dropped.
struct UnderWay {
    repeats: Repeats,
    id: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.repeats.names().remove(&self.id);
    }
}

impl Repeats {
    pub(crate) fn new(queue: Queue) -> Self {
        Self { queue, under_way: Arc::default(), noted: Arc::default() }
    }

    /// Carries a request out once, however often it comes under its name; without a name, each time. Once begun it is
    /// carried out to its end, even if its sender hangs up. `keep` says what of the outcome a repetition needs.
    ///
    /// What was refused or failed is carried out when it is repeated: its sender knows that it is not done. When the
    /// process dies in between nobody knows, and a repetition is told so.
    pub(crate) async fn once<T: Send + 'static>(
        &self,
        named: Option<Named<'_>>,
        act: impl Future<Output = Result<T, Problem>> + Send + 'static,
        keep: impl FnOnce(&T) -> Value + Send + 'static,
    ) -> Result<Ran<T>, Problem> {
        let Some(request) = named else { return act.await.map(Ran::Now) };
        let id = id(&request)?;
        let under_way = self.begin(id.clone())?;
        let said = hash(&[request.said]);
        match self.known(&id, &said).await? {
            None => {}
            Some(Record { kept: Some(kept), .. }) => return Ok(Ran::Before(kept)),
            Some(Record { kept: None, .. }) => return Err(broken_off()),
        }
        let repeats = self.clone();
        let carried_out = tokio::spawn(async move {
            let _under_way = under_way;
            repeats.note(&id, said.clone(), None).await?;
            match act.await {
                Ok(outcome) => {
                    repeats.note(&id, said, Some(keep(&outcome))).await?;
                    Ok(Ran::Now(outcome))
                }
                Err(refusal) => {
                    repeats.forget(&id).await?;
                    Err(refusal)
                }
            }
        });
        carried_out.await.unwrap_or_else(|_| Err(Problem::internal()))
    }

    /// Notes a request whose parts are safe to repeat one by one, each under a name that begins with what this returns.
    pub(crate) async fn same(&self, request: Named<'_>) -> Result<String, Problem> {
        let id = id(&request)?;
        let _under_way = self.begin(id.clone())?;
        let said = hash(&[request.said]);
        if self.known(&id, &said).await?.is_none() {
            self.note(&id, said, None).await?;
        }
        Ok(id)
    }

    fn begin(&self, id: String) -> Result<UnderWay, Problem> {
        if !self.names().insert(id.clone()) {
            let detail = "the same request is being carried out at this moment";
            return Err(
                Problem::conflict("request_in_progress", detail).hint("wait for its end, then repeat it")
            );
        }
        Ok(UnderWay { repeats: self.clone(), id })
    }

    fn names(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a request, unless its name was another one's.
    async fn known(&self, id: &str, said: &str) -> Result<Option<Record>, Problem> {
        let record = self.queue.storage().record(REQUESTS, id).await?;
        let record: Option<Record> = record.and_then(|record| serde_json::from_value(record).ok());
        match record.filter(|record| record.expires_at > self.queue.now()) {
            Some(record) if record.said != said => Err(reused()),
            record => Ok(record),
        }
    }

    async fn note(&self, id: &str, said: String, kept: Option<Value>) -> Result<(), QueueError> {
        if self.noted.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            self.forget_old().await?;
        }
        let record = Record { said, expires_at: self.queue.now() + KEPT_FOR, kept };
        let value = serde_json::to_value(record).map_err(|error| QueueError::Contract(error.to_string()))?;
        let (collection, key) = (REQUESTS.to_owned(), id.to_owned());
        self.queue.run(Command::PutRecord { collection, key, value }).await.map(drop)
    }

    async fn forget(&self, id: &str) -> Result<(), QueueError> {
        let (collection, key) = (REQUESTS.to_owned(), id.to_owned());
        self.queue.run(Command::DeleteRecord { collection, key }).await.map(drop)
    }

    /// Forgets those whose time is over, and the oldest where there are too many.
    async fn forget_old(&self) -> Result<(), QueueError> {
        let expiry =
            |value| serde_json::from_value(value).map_or(Timestamp::ZERO, |record: Record| record.expires_at);
        let records = self.queue.storage().records(REQUESTS).await?;
        let mut known: Vec<_> = records.into_iter().map(|(id, value)| (expiry(value), id)).collect();
        known.sort_unstable();
        let (now, too_many) = (self.queue.now(), known.len().saturating_sub(MOST));
        for (place, (expires_at, id)) in known.iter().enumerate() {
            if *expires_at > now && place >= too_many {
                break;
            }
            self.forget(id).await?;
        }
        Ok(())
    }
}

/// Under what a request is known.
fn id(request: &Named<'_>) -> Result<String, Problem> {
    check_key(request.key)?;
    Ok(hash(&[request.by.id.as_bytes(), request.route.as_bytes(), request.key.as_bytes()]))
}

/// A hash of several texts, none of which runs into the next.
fn hash(texts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    hex::encode(hasher.finalize())
}

fn reused() -> Problem {
    let detail =
        "this Idempotency-Key was used for another request within the last 7 days. Nothing was changed";
    Problem::conflict("idempotency_key_reused", detail)
        .hint("use a new key for a new request, or repeat the first one as it was, byte for byte")
}

fn broken_off() -> Problem {
    let detail = "a request with this Idempotency-Key was begun, and the service stopped before it was known to be done";
    Problem::conflict("request_unfinished", detail)
        .hint("look at what it was to change, then send what is left to do with a new key")
}
