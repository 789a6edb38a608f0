//! Who is told, and what came of it, as it is kept.

use std::time::Duration;

use blobforge_core::{
    Ends, JobType, Message, Queue, QueueError, Recipient, Status, Subscriber, Timestamp,
    storage::{Command, RecordChange},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Reach, SigningSecret};
use crate::audit::Actor;

/// The longest URL, in bytes.
pub(crate) const MAX_URL_BYTES: usize = blobforge_core::MAX_NOTIFY_BYTES;
/// What stands for all URLs that jobs themselves named.
pub(crate) const JOB_HOOKS: &str = "jobs";

/// The collection that webhooks are kept in, by id.
const HOOKS: &str = "webhooks";
/// The collection of secrets that sign, and the key of the one for URLs that jobs named.
const SECRETS: &str = "webhook-secrets";
/// How many deliveries of a webhook are kept: the last ones.
const KEPT: u64 = 100;
/// How many are kept of all URLs that jobs named.
const KEPT_OF_JOBS: u64 = 1000;

/// A webhook, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hook {
    pub(crate) id: String,
    /// Of jobs of which type; `None` for all.
    pub(crate) job_type: Option<JobType>,
    pub(crate) url: String,
    pub(crate) ends: Ends,
    pub(crate) secret: SigningSecret,
    pub(crate) created_at: Timestamp,
}

/// A webhook to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewHook {
    pub(crate) job_type: Option<JobType>,
    pub(crate) url: String,
    pub(crate) ends: Ends,
    pub(crate) secret: Option<SigningSecret>,
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It was answered with a success.
    Delivered,
    /// It was not, and is tried again.
    Retrying,
    /// It was not, and is tried no more.
    GivenUp,
}

/// One delivery, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) at: Timestamp,
    pub(crate) message: Message,
    pub(crate) url: String,
    pub(crate) outcome: Outcome,
    /// The status of the answer, if there was one.
    pub(crate) status: Option<u16>,
    /// Why there was none.
    pub(crate) error: Option<String>,
    pub(crate) took_ms: u64,
    pub(crate) next_at: Option<Timestamp>,
}

/// Where a message goes, and what signs it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) secret: SigningSecret,
}

/// All webhooks of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    queue: Queue,
    reach: Reach,
}

impl Hooks {
    pub(crate) fn new(queue: Queue, reach: Reach) -> Self {
        Self { queue, reach }
    }

    /// Which addresses may be called.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// All of them.
    pub(crate) async fn list(&self) -> Result<Vec<Hook>, QueueError> {
        let records = self.queue.storage().records(HOOKS).await?;
        Ok(records.into_iter().filter_map(|(_, value)| read(value)).collect())
    }

    pub(crate) async fn find(&self, id: &str) -> Result<Option<Hook>, QueueError> {
        Ok(self.queue.storage().record(HOOKS, id).await?.and_then(read))
    }

    /// Makes a webhook: it hears of what ends from now on.
    pub(crate) async fn create(&self, new: NewHook, actor: &Actor) -> Result<Hook, QueueError> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other).map_err(QueueError::Randomness)?;
        let NewHook { job_type, url, ends, secret } = new;
        let secret = match secret {
            Some(secret) => secret,
            None => SigningSecret::draw().map_err(QueueError::Randomness)?,
        };
        let (id, created_at) = (format!("wh_{}", hex::encode(bytes)), self.queue.now());
        let hook = Hook { id, job_type, url, ends, secret, created_at };
        let (name, job_type) = (hook.id.clone(), hook.job_type.clone());
        let subscribe = Command::Subscribe(Subscriber { name, job_type, ends });
        let put =
            RecordChange::Put { collection: HOOKS.to_owned(), key: hook.id.clone(), value: written(&hook) };
        let records = vec![put, actor.did("webhook_created", &hook.id, created_at)];
        self.queue.run(Command::Recorded { command: Some(Box::new(subscribe)), records }).await?;
        Ok(hook)
    }

    /// Takes a webhook back: it hears of nothing more. `false` if there is none of this id.
    pub(crate) async fn delete(&self, id: &str, actor: &Actor) -> Result<bool, QueueError> {
        if self.find(id).await?.is_none() {
            return Ok(false);
        }
        let delete =
            |collection: &str, key: String| RecordChange::Delete { collection: collection.to_owned(), key };
        let log = log_of(id);
        let mut records = vec![delete(HOOKS, id.to_owned())];
        let kept = self.queue.storage().records(&log).await?;
        records.extend(kept.into_iter().map(|(key, _)| delete(&log, key)));
        records.push(actor.did("webhook_deleted", id, self.queue.now()));
        let command = Some(Box::new(Command::Unsubscribe(id.to_owned())));
        self.queue.run(Command::Recorded { command, records }).await?;
        Ok(true)
    }

    /// Deliveries with their numbers, the last one first: those before the one with the number `before`.
    pub(crate) async fn deliveries(
        &self,
        id: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Delivery)>, QueueError> {
        let found = self.queue.storage().log(&log_of(id), before, limit).await?;
        Ok(found.into_iter().filter_map(|(number, value)| Some((number, read(value)?))).collect())
    }

    /// Where a message goes; `None` if its webhook has gone.
    pub(super) async fn target(&self, message: &Message) -> Result<Option<Target>, QueueError> {
        match &message.to {
            Recipient::Subscriber(id) => {
                let hook = self.find(id).await?;
                Ok(hook.map(|hook| Target { url: hook.url, secret: hook.secret }))
            }
            Recipient::Address(url) => {
                Ok(Some(Target { url: url.clone(), secret: self.secret_of_jobs().await? }))
            }
        }
    }

    /// The secret that signs what goes to URLs that jobs named, made when it is first wanted.
    pub(crate) async fn secret_of_jobs(&self) -> Result<SigningSecret, QueueError> {
        if let Some(known) = self.queue.storage().record(SECRETS, JOB_HOOKS).await?.and_then(read) {
            return Ok(known);
        }
        let secret = SigningSecret::draw().map_err(QueueError::Randomness)?;
        let (collection, key) = (SECRETS.to_owned(), JOB_HOOKS.to_owned());
        self.queue.run(Command::PutRecord { collection, key, value: written(&secret) }).await?;
        Ok(secret)
    }
}

/// What of a delivery is kept in its log.
pub(super) fn noted(delivery: &Delivery) -> RecordChange {
    let (log, keep) = match &delivery.message.to {
        Recipient::Subscriber(id) => (log_of(id), KEPT),
        Recipient::Address(_) => (log_of(JOB_HOOKS), KEPT_OF_JOBS),
    };
    RecordChange::Append { log, entry: written(delivery), keep }
}

/// The name of what happened, as receivers hear it.
pub(crate) fn event_of(status: Status) -> &'static str {
    match status {
        Status::Failed => "job_failed",
        Status::Cancelled => "job_cancelled",
        // Nothing else is put into the outbox.
        _ => "job_completed",
    }
}

/// The name of an end, the same however often it is told. After a restore numbers are given again, in another generation.
pub(crate) fn event_id(message: &Message) -> String {
    format!("evt_{}_{}", message.generation.get(), message.number)
}

fn log_of(id: &str) -> String {
    format!("webhook-deliveries/{id}")
}

fn read<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

/// As JSON. What is kept here is text and numbers alone, which can always be written so.
fn written<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

impl Delivery {
    pub(super) fn took(span: Duration) -> u64 {
        u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
    }
}
