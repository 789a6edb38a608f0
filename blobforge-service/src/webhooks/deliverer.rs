//! Tells what lies in the outbox, as soon as it is due.

use std::{collections::HashMap, sync::Arc, time::Duration};

use blobforge_core::{
    Clock, Jitter, Job, Message, Queue, QueueError, RetryPolicy, Timestamp,
    queue::{Feed, Notice},
    storage::{Command, Done, Settled, StorageError},
};
use bytes::Bytes;
use futures_util::future::try_join_all;
use poem_openapi::types::ToJSON;
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};
use tokio::task::{Id, JoinError, JoinSet};

use super::{
    hook::{Delivery, Hooks, Outcome, Target, event_id, event_of, noted},
    sender::{Letter, Sender, Unanswered},
};
use crate::{api::JobView, service::ServiceError};

/// How many requests are under way at the same time.
const MAX_AT_ONCE: usize = 32;
/// For how long a message is ours: longer than sending it may take.
const HOLD: Duration = Duration::from_secs(60);
/// How long to wait before a message is sent again.
const RETRY: RetryPolicy =
    RetryPolicy { first: Duration::from_secs(10), longest: Duration::from_secs(4 * 60 * 60) };
/// How often a message is sent; with those waits, for almost a day.
const MAX_TRIES: u32 = 15;
/// After how long an end is news no more.
const MAX_AGE: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// After how many requests in a row that a host did not answer it is left alone for a while: it must not take the places
/// of those that do.
const SILENT_AFTER: u32 = 5;
/// For how long.
const SILENCE: RetryPolicy =
    RetryPolicy { first: Duration::from_secs(10), longest: Duration::from_secs(10 * 60) };
/// How many silent hosts are remembered.
const MAX_HOSTS: usize = 1000;
/// A job that is larger as JSON is not sent along, in bytes.
const MAX_JOB_BYTES: usize = 1024 * 1024;
/// At least this often the outbox is looked into, wherever the time of day has gone.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long to leave a store alone that could not answer.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);

/// Tells ends to whoever wants to hear of them.
#[derive(Debug)]
pub(crate) struct Deliverer {
    courier: Courier,
    hosts: HashMap<String, Silence>,
    /// Which message each delivery under way tells.
    under_way: HashMap<Id, u64>,
}

/// What every delivery needs.
#[derive(Clone, Debug)]
struct Courier {
    queue: Queue,
    clock: Arc<dyn Clock>,
    hooks: Hooks,
    sender: Sender,
}

/// How often a host did not answer, one request after another, and until when it is left alone.
#[derive(Debug, Default)]
struct Silence {
    requests: u32,
    /// An uptime: the time of day can be set.
    until: Duration,
}

/// How a delivery went.
#[derive(Debug)]
struct Went {
    host: String,
    /// Whether its host said anything; `None` if it was not asked.
    was_heard: Option<bool>,
}

impl Deliverer {
    pub(crate) fn new(queue: Queue, clock: Arc<dyn Clock>, hooks: Hooks) -> Result<Self, ServiceError> {
        let sender = Sender::new(hooks.reach().clone())?;
        let courier = Courier { queue, clock, hooks, sender };
        Ok(Self { courier, hosts: HashMap::new(), under_way: HashMap::new() })
    }

    /// Runs until the queue stops. Dropped, it stops at once: what was not settled is told after the next start.
    pub(crate) async fn run(mut self) {
        let mut feed = self.courier.queue.events();
        let mut deliveries = JoinSet::new();
        loop {
            let wait = match self.begin_due(&mut deliveries).await {
                Ok(wait) => wait,
                Err(QueueError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "the outbox could not be looked into");
                    after_trouble(&error)
                }
            };
            tokio::select! {
                biased;
                // First, so that what was learnt of a host counts for what is sent next.
                Some(ended) = deliveries.join_next_with_id() => self.ended(ended),
                is_open = something_new(&mut feed) => if !is_open { return },
                () = self.courier.clock.sleep(wait) => {}
            }
        }
    }

    /// Begins to tell what is due, as far as there is room; says in what time to look again.
    async fn begin_due(&mut self, deliveries: &mut JoinSet<Went>) -> Result<Duration, QueueError> {
        loop {
            let room = MAX_AT_ONCE.saturating_sub(deliveries.len());
            let queue = &self.courier.queue;
            let due = if room > 0 { queue.storage().next_message().await? } else { None };
            let now = queue.now();
            match due {
                None => return Ok(LOOK_EVERY),
                Some(due) if due > now => return Ok(due.since(now).min(LOOK_EVERY)),
                Some(_) => {}
            }
            let take = Command::TakeMessages { limit: room, hold: HOLD };
            let Done::Messages(messages) = queue.run(take).await? else { return Ok(LOOK_EVERY) };
            let mut put_off = Vec::new();
            for message in messages {
                put_off.extend(self.begin(message, deliveries).await?);
            }
            // Together, so that they are written in few commits.
            try_join_all(put_off).await?;
        }
    }

    /// Begins to tell a message, unless its host is to be left alone: then what is to be written of that.
    async fn begin(
        &mut self,
        message: Message,
        deliveries: &mut JoinSet<Went>,
    ) -> Result<Option<impl Future<Output = Result<(), QueueError>> + use<>>, QueueError> {
        // Its hold was cut short because the time of day moved: it is being told.
        if self.under_way.values().any(|number| *number == message.number) {
            return Ok(None);
        }
        let courier = self.courier.clone();
        let Some(target) = courier.hooks.target(&message).await? else {
            courier.settle(&message, Settled::Told, None).await?;
            return Ok(None);
        };
        let host = host_of(&target.url);
        let silence = self.silence_of(&host);
        if silence > Duration::ZERO {
            return Ok(Some(courier.put_off(message, target, silence)));
        }
        let number = message.number;
        let delivery = deliveries.spawn(async move {
            let was_heard = courier.deliver(message, target).await;
            Went { host, was_heard }
        });
        self.under_way.insert(delivery.id(), number);
        Ok(None)
    }

    /// For how long a host is left alone.
    fn silence_of(&self, host: &str) -> Duration {
        let until = self.hosts.get(host).map_or(Duration::ZERO, |silence| silence.until);
        until.saturating_sub(self.courier.clock.uptime())
    }

    fn ended(&mut self, ended: Result<(Id, Went), JoinError>) {
        match ended {
            Ok((id, went)) => {
                self.under_way.remove(&id);
                self.note(went);
            }
            // Its message is due again after its hold.
            Err(error) => {
                self.under_way.remove(&error.id());
                tracing::error!(%error, "a delivery broke off");
            }
        }
    }

    /// Remembers which hosts are silent.
    fn note(&mut self, went: Went) {
        let Went { host, was_heard } = went;
        match was_heard {
            Some(true) => drop(self.hosts.remove(&host)),
            // Several may have been under way when the first of them found out.
            Some(false) if self.silence_of(&host).is_zero() => self.note_silence(host),
            _ => {}
        }
    }

    fn note_silence(&mut self, host: String) {
        let now = self.courier.clock.uptime();
        if self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(&host) {
            self.hosts.retain(|_, silence| silence.until > now);
            if self.hosts.len() >= MAX_HOSTS {
                return;
            }
        }
        let silence = self.hosts.entry(host).or_default();
        silence.requests = silence.requests.saturating_add(1);
        let pauses = (silence.requests + 1).saturating_sub(SILENT_AFTER);
        if pauses > 0 {
            silence.until = now + SILENCE.delay(pauses, jitter());
        }
    }
}

impl Courier {
    /// Sends a message and writes down what came of it; says whether its host said anything, if it was asked.
    async fn deliver(&self, message: Message, target: Target) -> Option<bool> {
        let begun = self.clock.uptime();
        let letter = match self.letter(&message, &target).await {
            Ok(letter) => letter,
            Err(error) => {
                tracing::warn!(%error, "a message could not be written");
                return None;
            }
        };
        let answer = self.sender.post(&letter).await;
        let at = self.queue.now();
        let settled = settled(&answer, &message, at);
        let (status, error) = match &answer {
            Ok(status) => (Some(status.as_u16()), None),
            Err(unanswered) => (None, Some(unanswered.why.clone())),
        };
        let is_success = answer.as_ref().is_ok_and(StatusCode::is_success);
        let (outcome, next_at) = match settled {
            Settled::Again(at) | Settled::NotTried(at) => (Outcome::Retrying, Some(at)),
            Settled::Told if is_success => (Outcome::Delivered, None),
            Settled::Told => (Outcome::GivenUp, None),
        };
        let took_ms = Delivery::took(self.clock.uptime().saturating_sub(begun));
        let delivery = Delivery {
            at,
            message: message.clone(),
            url: target.url,
            outcome,
            status,
            error,
            took_ms,
            next_at,
        };
        if let Err(error) = self.settle(&message, settled, Some(delivery)).await {
            // It is due again after its hold, under the same id.
            tracing::warn!(%error, id = event_id(&message), "what came of a delivery could not be written down");
        }
        Some(!answer.is_err_and(|unanswered| unanswered.is_silent))
    }

    async fn settle(
        &self,
        message: &Message,
        settled: Settled,
        delivery: Option<Delivery>,
    ) -> Result<(), QueueError> {
        let settle = Command::SettleMessage { number: message.number, tries: message.tries, settled };
        let records = delivery.iter().map(noted).collect();
        self.queue.run(Command::Recorded { command: Some(Box::new(settle)), records }).await.map(drop)
    }

    /// Leaves a message for a silent host until that is asked again, unless it is no news any more by then.
    async fn put_off(self, message: Message, target: Target, silence: Duration) -> Result<(), QueueError> {
        let now = self.queue.now();
        if now.since(message.ended_at) <= MAX_AGE {
            return self.settle(&message, Settled::NotTried(now + silence), None).await;
        }
        let delivery = Delivery {
            at: now,
            message: message.clone(),
            url: target.url,
            outcome: Outcome::GivenUp,
            status: None,
            error: Some("its host has not answered for long".to_owned()),
            took_ms: 0,
            next_at: None,
        };
        self.settle(&message, Settled::Told, Some(delivery)).await
    }

    async fn letter(&self, message: &Message, target: &Target) -> Result<Letter, QueueError> {
        let job = match self.queue.get(message.job).await {
            // Nobody else is told less for it.
            Err(QueueError::Storage(StorageError::Unreadable(_))) => None,
            found => found?,
        };
        let now = self.queue.now();
        let (id, event) = (event_id(message), event_of(message.status));
        let body = Bytes::from(content(message, job, now).to_string());
        let signature = target.secret.sign(now.as_millis().div_euclid(1000), &body);
        Ok(Letter { url: target.url.clone(), id, event, signature, body })
    }
}

/// What a receiver reads: the end, and the job as it is now.
fn content(message: &Message, job: Option<Job>, now: Timestamp) -> Value {
    let job = job.and_then(|job| JobView::new(job, now).to_json());
    let job = job.filter(|job| job.to_string().len() <= MAX_JOB_BYTES);
    json!({
        "id": event_id(message),
        "event": event_of(message.status),
        "at": message.ended_at,
        "job_id": message.job,
        "type": message.job_type,
        "status": message.status,
        "attempt": message.epoch,
        "job": job,
    })
}

/// What becomes of a message after this answer.
fn settled(answer: &Result<StatusCode, Unanswered>, message: &Message, now: Timestamp) -> Settled {
    let is_final = answer.as_ref().is_ok_and(|status| status.is_success() || *status == StatusCode::GONE);
    if is_final || message.tries >= MAX_TRIES || now.since(message.ended_at) > MAX_AGE {
        return Settled::Told;
    }
    Settled::Again(now + RETRY.delay(message.tries, jitter()))
}

/// How long to leave a store alone: what cannot be read will hardly be readable in a second, and fails those beside it.
fn after_trouble(error: &QueueError) -> Duration {
    let is_unreadable = matches!(error, QueueError::Storage(StorageError::Unreadable(_)));
    if is_unreadable { LOOK_EVERY } else { AFTER_TROUBLE }
}

/// Waits until something new may lie in the outbox; `false` when the queue has stopped.
async fn something_new(feed: &mut Feed) -> bool {
    loop {
        match feed.next().await {
            Some(Notice::Event(_)) => {}
            heard => return heard.is_some(),
        }
    }
}

fn host_of(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return String::new() };
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

fn jitter() -> Jitter {
    let mut bits = [0; 2];
    // Without randomness all wait alike.
    let _ = getrandom::fill(&mut bits);
    Jitter::from_bits(u16::from_le_bytes(bits))
}

#[cfg(test)]
mod tests {
    use blobforge_core::{Epoch, Generation, JobId, JobType, Recipient, Status};

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_772_366_400_000)
    }

    fn message(tries: u32) -> Message {
        Message {
            number: 5,
            generation: Generation::new(1),
            to: Recipient::Address("https://example.org".to_owned()),
            job: JobId::new(7),
            job_type: JobType::new("pdf").unwrap(),
            status: Status::Failed,
            epoch: Epoch::new(2),
            ended_at: now(),
            tries,
        }
    }

    #[test]
    fn what_was_not_taken_is_sent_again_later_and_later_and_not_for_ever() {
        let refused = || Ok(StatusCode::INTERNAL_SERVER_ERROR);
        let mut waits = Vec::new();
        for tries in 1..MAX_TRIES {
            let Settled::Again(at) = settled(&refused(), &message(tries), now()) else {
                panic!("try {tries}")
            };
            waits.push(at.since(now()));
        }
        assert!(waits[0] >= Duration::from_secs(10) && waits[0] < Duration::from_secs(13));
        assert!(waits.is_sorted_by(|early, late| *late > *early || *early >= RETRY.longest));
        assert_eq!(settled(&refused(), &message(MAX_TRIES), now()), Settled::Told);
        let late = now() + MAX_AGE + Duration::from_secs(1);
        assert_eq!(settled(&refused(), &message(1), late), Settled::Told, "it is news no more");
    }

    #[test]
    fn a_success_and_a_receiver_that_is_gone_end_it() {
        for status in [StatusCode::OK, StatusCode::NO_CONTENT, StatusCode::GONE] {
            assert_eq!(settled(&Ok(status), &message(1), now()), Settled::Told, "{status}");
        }
        for status in [StatusCode::FOUND, StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS] {
            assert!(matches!(settled(&Ok(status), &message(1), now()), Settled::Again(_)), "{status}");
        }
        let unanswered = Err(Unanswered { why: "no route".to_owned(), is_silent: true });
        assert!(matches!(settled(&unanswered, &message(1), now()), Settled::Again(_)));
    }

    #[test]
    fn a_job_that_was_deleted_is_told_without_it() {
        let told = content(&message(1), None, now());
        assert_eq!(told["id"], "evt_1_5");
        assert_eq!((&told["event"], &told["status"]), (&json!("job_failed"), &json!("failed")));
        assert_eq!((&told["job_id"], &told["attempt"], &told["job"]), (&json!(7), &json!(2), &Value::Null));
        assert_eq!(told["at"], "2026-03-01T12:00:00.000Z");
    }
}
