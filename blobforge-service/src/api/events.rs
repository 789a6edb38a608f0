//! What happens, as it happens.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use poem::web::{Data, sse::Event};
use poem_openapi::{Object, OpenApi, param::Header, payload::EventStream};
use serde_json::Value;

use crate::{auth::Principal, events::Told, problem::Problem, service::Shared};

/// A silence longer than this ends many a connection on its way.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) struct EventsApi(pub(super) Arc<Shared>);

/// Something that happened. Only `data` is sent as JSON; the rest are the fields of the event.
#[derive(Debug, Object)]
#[oai(rename = "Event")]
struct EventView {
    /// To go on after it: send it back as `Last-Event-ID`.
    id: Option<String>,
    /// `job_created`, `job_updated`, `job_completed`, `job_failed`, `worker_online`, `worker_offline`, `stats_updated`,
    /// or `resync`: events were missed, so look again at whatever matters.
    name: String,
    /// What is known of it.
    data: Value,
}

impl From<Told> for EventView {
    fn from(told: Told) -> Self {
        Self { id: told.id, name: told.name.to_owned(), data: told.data }
    }
}

#[OpenApi(tag = "super::openapi::Section::Service")]
impl EventsApi {
    /// What happens, as server-sent events
    #[oai(path = "/events", method = "get", operation_id = "events")]
    async fn events(
        &self,
        principal: Data<&Principal>,
        /// The id of the last event that was seen, to go on after it.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Result<EventStream<BoxStream<'static, EventView>>, Problem> {
        let open = self.0.streams.enter(&principal.id)?;
        let lapse = self.0.accounts.lapse(&principal, self.0.config.clock());
        let told = self.0.events.subscribe(last_event_id.0.as_deref()).take_until(lapse);
        // It is open for as long as somebody reads it.
        let told = told.map(move |told| {
            let _open = &open;
            EventView::from(told)
        });
        let stream = EventStream::new(told.boxed()).keep_alive(KEEP_ALIVE).to_event(|told| {
            let event = Event::message(told.data.to_string()).event_type(told.name);
            match told.id {
                Some(id) => event.id(id),
                None => event,
            }
        });
        Ok(stream)
    }
}
