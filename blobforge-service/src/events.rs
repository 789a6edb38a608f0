//! What happens, numbered, so that a listener who was away for a moment can go on where it was.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use blobforge_core::{Queue, Status, queue::Notice, storage::Event};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio::{sync::broadcast, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, stats};

/// How many events can be asked for again.
const KEPT: usize = 1000;
/// How far a listener may fall behind before it has to look again at everything.
const BEHIND: usize = 1000;
/// Numbers that change with every job are not sent more often than this.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// One thing that happened, as listeners get it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    /// Its number; `None` for what cannot be asked for again.
    pub(crate) id: Option<String>,
    /// Its name.
    pub(crate) name: &'static str,
    /// What is known of it.
    pub(crate) data: Value,
}

impl Told {
    fn resync() -> Self {
        Self {
            id: None,
            name: "resync",
            data: json!({"reason": "events were missed: look again at whatever matters"}),
        }
    }
}

/// Hears the queue and tells everybody who listens.
#[derive(Clone, Debug)]
pub(crate) struct EventHub {
    log: Arc<Mutex<Log>>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Log {
    /// Which process numbered the events: numbers of another one mean nothing here.
    process: String,
    next: u64,
    kept: VecDeque<(u64, Told)>,
    live: broadcast::Sender<Told>,
}

impl EventHub {
    /// Begins to listen to a queue, until `stop`.
    pub(crate) fn start(queue: Queue, metrics: Arc<Metrics>, stop: CancellationToken) -> Self {
        let process = format!("{:x}", queue.now().as_millis());
        let log = Log { process, next: 1, kept: VecDeque::new(), live: broadcast::channel(BEHIND).0 };
        let hub = Self { log: Arc::new(Mutex::new(log)), stop: stop.clone() };
        let listener = hub.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listener.listen(queue, metrics) => {}
            }
        });
        hub
    }

    async fn listen(&self, queue: Queue, metrics: Arc<Metrics>) {
        let mut feed = queue.events();
        let mut stats_due: Option<Instant> = None;
        let mut stats_told = Instant::now() - STATS_EVERY;
        loop {
            let due = stats_due.unwrap_or_else(|| Instant::now() + STATS_EVERY);
            tokio::select! {
                notice = feed.next() => {
                    let Some(notice) = notice else { return };
                    match notice {
                        Notice::Outbox => continue,
                        Notice::Event(event) => {
                            let (name, data) = told(event);
                            self.publish(name, data);
                        }
                        Notice::Missed(_) | Notice::ChangedElsewhere => self.publish_unnumbered(Told::resync()),
                    }
                    stats_due.get_or_insert(stats_told + STATS_EVERY);
                }
                () = tokio::time::sleep_until(due), if stats_due.is_some() => {
                    stats_due = None;
                    stats_told = Instant::now();
                    // Numbers that cannot be read now are told the next time.
                    if let Ok(stats) = stats::read(&queue, metrics.pace()).await {
                        self.publish("stats_updated", poem_openapi::types::ToJSON::to_json(&stats).unwrap_or_default());
                    }
                }
            }
        }
    }

    fn publish(&self, name: &'static str, data: Value) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let number = log.next;
        log.next += 1;
        let told = Told { id: Some(format!("{}-{number}", log.process)), name, data };
        if log.kept.len() == KEPT {
            log.kept.pop_front();
        }
        log.kept.push_back((number, told.clone()));
        // Nobody listens: nobody is told.
        let _ = log.live.send(told);
    }

    fn publish_unnumbered(&self, told: Told) {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = log.live.send(told);
    }

    /// Everything from now on, after what came since the event with the id `last`. It ends when the service stops.
    pub(crate) fn subscribe(&self, last: Option<&str>) -> impl Stream<Item = Told> + Send + use<> {
        // Under one lock, so that nothing falls between what was and what comes.
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let live = log.live.subscribe();
        let missed = last.map_or_else(Vec::new, |last| log.since(last));
        drop(log);
        let live = futures_util::stream::unfold(live, |mut live| async move {
            match live.recv().await {
                Ok(told) => Some((told, live)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Told::resync(), live)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        futures_util::stream::iter(missed).chain(live).take_until(self.stop.clone().cancelled_owned())
    }
}

impl Log {
    /// What came after an event; that everything has to be looked at again, if that cannot be known.
    fn since(&self, last: &str) -> Vec<Told> {
        let number = last
            .rsplit_once('-')
            .filter(|(process, _)| *process == self.process)
            .and_then(|(_, number)| number.parse::<u64>().ok());
        let first_kept = self.kept.front().map_or(self.next, |(number, _)| *number);
        match number {
            Some(number) if number < self.next && number + 1 >= first_kept => {
                self.kept.iter().filter(|(n, _)| *n > number).map(|(_, told)| told.clone()).collect()
            }
            _ => vec![Told::resync()],
        }
    }
}

fn told(event: Event) -> (&'static str, Value) {
    match event {
        Event::Job { id, job_type, status, was } => {
            let name = match (was, status) {
                (None, _) => "job_created",
                (Some(was), status) if was == status => "job_updated",
                (_, Status::Completed) => "job_completed",
                (_, Status::Failed) => "job_failed",
                _ => "job_updated",
            };
            (name, json!({"id": id, "type": job_type, "status": status, "was": was}))
        }
        Event::JobDeleted { id, job_type, was } => {
            ("job_deleted", json!({"id": id, "type": job_type, "was": was}))
        }
        Event::WorkerOnline(worker) => ("worker_online", json!({"worker_id": worker})),
        Event::WorkerOffline(worker) => ("worker_offline", json!({"worker_id": worker})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(events: u64) -> EventHub {
        let log = Log { process: "p".into(), next: 1, kept: VecDeque::new(), live: broadcast::channel(4).0 };
        let hub = EventHub { log: Arc::new(Mutex::new(log)), stop: CancellationToken::new() };
        for n in 0..events {
            hub.publish("job_updated", json!(n));
        }
        hub
    }

    fn ids_since(hub: &EventHub, last: &str) -> Vec<Option<String>> {
        hub.log.lock().unwrap().since(last).into_iter().map(|told| told.id).collect()
    }

    #[test]
    fn a_listener_goes_on_after_the_last_event_it_has_seen() {
        let hub = log_of(3);
        assert_eq!(ids_since(&hub, "p-1"), [Some("p-2".to_owned()), Some("p-3".to_owned())]);
        assert_eq!(ids_since(&hub, "p-3"), [] as [Option<String>; 0]);
    }

    #[test]
    fn an_unknown_place_to_go_on_from_asks_for_a_resync() {
        let hub = log_of(KEPT as u64 + 10);
        for unknown in ["q-1", "p-9", "p-99999", "p", "", "p-x", "p-18446744073709551615"] {
            assert_eq!(ids_since(&hub, unknown), [None], "{unknown}");
        }
        assert_eq!(ids_since(&hub, "p-10").len(), KEPT, "the oldest place that is still known");
    }
}
