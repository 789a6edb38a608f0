//! Webhooks: who is told that a job has ended, and what came of it.

use std::sync::Arc;

use blobforge_core::{Ends, Invalid, MAX_NOTIFY, Notify, storage::Command};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    body::Body,
    paging::{Age, Asked, List, Page, USUAL_LIMIT, after, page_limit},
    reports::{DONE, Done},
    time::Time,
    types,
};
use crate::{
    audit::Actor,
    auth::{Principal, Scope},
    problem::Problem,
    service::{Named, Ran, Shared},
    webhooks::{
        Delivery, Hook, JOB_HOOKS, NewHook, Outcome, Reach, SigningSecret, event_id, event_of, origin,
    },
};

pub(super) struct WebhooksApi(pub(super) Arc<Shared>);

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename = "WebhookEvent")]
pub(super) enum Event {
    /// It was completed.
    #[oai(rename = "job_completed")]
    #[serde(rename = "job_completed")]
    Completed,
    /// It failed for good.
    #[oai(rename = "job_failed")]
    #[serde(rename = "job_failed")]
    Failed,
    /// It was cancelled.
    #[oai(rename = "job_cancelled")]
    #[serde(rename = "job_cancelled")]
    Cancelled,
}

/// A webhook to be made.
#[derive(Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookRequest {
    /// Where to send requests: `https://` or `http://`, without name and password. It must not lead to an address that is
    /// private to the service's machine or network, unless the service's settings allow that network.
    url: String,
    /// Of jobs of which type; of all unless said otherwise.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    job_type: Option<String>,
    /// Of which ends; of all unless said otherwise.
    events: Option<Vec<Event>>,
    /// What signs the requests: 24 to 200 printable ASCII characters. The service draws one unless it is given one.
    secret: Option<String>,
}

/// The webhook of one job, as its submission says it: a URL, or this.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobWebhook {
    url: String,
    events: Option<Vec<Event>>,
}

/// Who is told that a job has ended.
#[derive(Debug, Object)]
#[oai(rename = "Webhook")]
struct WebhookView {
    /// By what it is taken back.
    id: String,
    /// Where requests go; without the scope admin only its scheme, host and port, since the rest may be a secret.
    url: String,
    /// Of jobs of which type; `null` for all.
    #[oai(rename = "type")]
    job_type: Option<String>,
    /// Of which ends.
    events: Vec<Event>,
    /// When it was made.
    created_at: Time,
}

/// A webhook that was just made.
#[derive(Debug, Object)]
struct NewWebhookView {
    /// By what it is taken back.
    id: String,
    /// Where requests go.
    url: String,
    /// Of jobs of which type; `null` for all.
    #[oai(rename = "type")]
    job_type: Option<String>,
    /// Of which ends.
    events: Vec<Event>,
    /// What signs the requests: it is shown this once.
    secret: String,
}

#[derive(Debug, ApiResponse)]
enum WebhookReply {
    /// The webhook was made.
    #[oai(status = 201)]
    Created(Json<NewWebhookView>),
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename = "DeliveryOutcome", rename_all = "snake_case")]
enum OutcomeView {
    /// It was answered with a status from 200 to 299.
    Delivered,
    /// It was not, and is tried again.
    Retrying,
    /// It was not, and is tried no more.
    GivenUp,
}

/// One request to a webhook.
#[derive(Debug, Object)]
#[oai(rename = "Delivery")]
struct DeliveryView {
    /// Its number: what to name to have it sent again.
    id: u64,
    /// The end that it told of: the same however often it is told.
    event_id: String,
    /// The name of what happened.
    event: String,
    /// Which job ended.
    job_id: i64,
    /// When it was sent.
    at: Time,
    /// Where to; without the scope admin only the scheme, host and port.
    url: String,
    /// How often it had been sent by then, this time included.
    tries: u32,
    /// What came of it.
    outcome: OutcomeView,
    /// The status of the answer; `null` if there was none.
    status: Option<u16>,
    /// Why there was none.
    error: Option<String>,
    /// How long it took, in milliseconds.
    took_ms: u64,
    /// When it is tried again.
    next_at: Option<Time>,
}

/// Which delivery is to be sent again.
#[derive(Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedeliverRequest {
    /// The number of the delivery.
    delivery_id: u64,
}

#[OpenApi(tag = "super::openapi::Section::Webhooks")]
impl WebhooksApi {
    /// List webhooks, the oldest first; those of single jobs are none of them
    #[oai(path = "/webhooks", method = "get", operation_id = "list_webhooks")]
    async fn list(
        &self,
        principal: Data<&Principal>,
        /// The `next_cursor` of the page before, empty for the first page; without it there are no pages.
        cursor: Query<Option<String>>,
        /// At most this many, 1 to 1,000.
        limit: Query<Option<usize>>,
    ) -> Result<Json<List<WebhookView>>, Problem> {
        let hooks = self.0.hooks.list().await?;
        let hooks = hooks.into_iter().map(|hook| WebhookView::new(hook, &principal)).collect();
        let asked = Asked { cursor: cursor.0, limit: limit.0 };
        Ok(Json(asked.of(hooks, |hook| Age::new(hook.created_at.0, &hook.id))?))
    }

    /// Have somebody told by a signed request whenever a job ends; the secret is shown once
    ///
    /// Each end of a job from now on is sent at least once, until it is answered with a status from 200 to 299, for a
    /// day. Several requests with the same `BlobForge-Id` tell of the same end. There are at most 100 webhooks.
    #[oai(path = "/webhooks", method = "post", operation_id = "create_webhook")]
    async fn create(
        &self,
        principal: Data<&Principal>,
        actor: Data<&Actor>,
        /// A name for this request, 1 to 255 printable ASCII characters, such as a UUID. Repeated under it within 7 days,
        /// the request makes no second webhook and is answered with 409: a secret is shown once.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        body: Body<WebhookRequest>,
    ) -> Result<WebhookReply, Problem> {
        let Body(request, said) = body;
        let (hooks, actor) = (self.0.hooks.clone(), actor.clone());
        let new = new_hook(request, hooks.reach())?;
        let create = async move { Ok(hooks.create(new, &actor).await?) };
        let named = |key| Named { by: &principal, route: "POST /api/webhooks", key, said: &said };
        let named = idempotency_key.0.as_deref().map(named);
        let keep = |hook: &Hook| Value::from(hook.id.clone());
        let hook = match self.0.repeats.once(named, create, keep).await? {
            Ran::Now(hook) => hook,
            Ran::Before(id) => return Err(shown_once(&id)),
        };
        tracing::info!(id = hook.id, url = origin(&hook.url), "a webhook was made");
        Ok(WebhookReply::Created(Json(NewWebhookView {
            id: hook.id,
            url: hook.url,
            job_type: hook.job_type.map(String::from),
            events: events_of(hook.ends),
            secret: hook.secret.reveal().to_owned(),
        })))
    }

    /// Take a webhook back: nothing more is sent to it, and its deliveries are forgotten
    #[oai(path = "/webhooks/:id", method = "delete", operation_id = "delete_webhook")]
    async fn delete(
        &self,
        actor: Data<&Actor>,
        /// The webhook's id.
        id: Path<String>,
    ) -> Result<Json<Done>, Problem> {
        if !self.0.hooks.delete(&id.0, &actor).await? {
            return Err(no_hook());
        }
        tracing::info!(id = id.0, "a webhook was taken back");
        Ok(Json(DONE))
    }

    /// The last deliveries of a webhook, the newest first: 100 are kept, and 1,000 of all webhooks of single jobs
    #[oai(path = "/webhooks/:id/deliveries", method = "get", operation_id = "list_deliveries")]
    async fn deliveries(
        &self,
        principal: Data<&Principal>,
        /// The webhook's id; `jobs` for the webhooks of single jobs.
        id: Path<String>,
        /// The `next_cursor` of the page before; empty for the first page.
        cursor: Query<Option<String>>,
        /// At most this many, 1 to 1,000.
        limit: Query<Option<usize>>,
    ) -> Result<Json<Page<DeliveryView>>, Problem> {
        let before = after(cursor.0.as_deref().unwrap_or_default())?;
        let limit = page_limit(limit.0, USUAL_LIMIT)?;
        self.check(&id.0).await?;
        let found = self.0.hooks.deliveries(&id.0, before, limit).await?;
        let next = found.last().map(|(number, _)| *number).filter(|_| found.len() == limit);
        let items = found.into_iter().map(|(number, one)| DeliveryView::new(number, one, &principal));
        Ok(Json(Page { items: items.collect(), next_cursor: next.map(|number| number.to_string()) }))
    }

    /// Send a delivery again, at once and whatever came of it, under the same `BlobForge-Id`
    #[oai(path = "/webhooks/:id/redeliver", method = "post", operation_id = "redeliver")]
    async fn redeliver(
        &self,
        actor: Data<&Actor>,
        /// The webhook's id; `jobs` for the webhooks of single jobs.
        id: Path<String>,
        body: Body<RedeliverRequest>,
    ) -> Result<Json<Done>, Problem> {
        self.check(&id.0).await?;
        let wanted = body.0.delivery_id;
        let found = self.0.hooks.deliveries(&id.0, wanted.checked_add(1), 1).await?;
        let Some((_, delivery)) = found.into_iter().find(|(number, _)| *number == wanted) else {
            let detail = format!("no delivery {wanted} of this webhook is known");
            return Err(Problem::not_found("delivery_not_found", detail)
                .hint("GET /api/webhooks/{id}/deliveries lists those that are kept"));
        };
        let again = Command::SendAgain(Box::new(delivery.message));
        let target = format!("{} {wanted}", id.0);
        actor.act(&self.0.queue, "webhook_redelivered", target, again).await?;
        Ok(Json(DONE))
    }

    /// Whether there is such a webhook.
    async fn check(&self, id: &str) -> Result<(), Problem> {
        if id == JOB_HOOKS || self.0.hooks.find(id).await?.is_some() { Ok(()) } else { Err(no_hook()) }
    }
}

impl WebhookView {
    fn new(hook: Hook, principal: &Principal) -> Self {
        Self {
            id: hook.id,
            url: shown(hook.url, principal),
            job_type: hook.job_type.map(String::from),
            events: events_of(hook.ends),
            created_at: hook.created_at.into(),
        }
    }
}

impl DeliveryView {
    fn new(id: u64, delivery: Delivery, principal: &Principal) -> Self {
        let message = delivery.message;
        Self {
            id,
            event_id: event_id(&message),
            event: event_of(message.status).to_owned(),
            job_id: message.job.get(),
            at: delivery.at.into(),
            url: shown(delivery.url, principal),
            tries: message.tries,
            outcome: match delivery.outcome {
                Outcome::Delivered => OutcomeView::Delivered,
                Outcome::Retrying => OutcomeView::Retrying,
                Outcome::GivenUp => OutcomeView::GivenUp,
            },
            status: delivery.status,
            error: delivery.error,
            took_ms: delivery.took_ms,
            next_at: delivery.next_at.map(Time),
        }
    }
}

/// The webhook that a submission names.
pub(super) fn of_job(webhook: Value, reach: &Reach) -> Result<Notify, Invalid> {
    let JobWebhook { url, events } = match webhook {
        Value::String(url) => JobWebhook { url, events: None },
        other => serde_json::from_value(other).map_err(|error| {
            Invalid::new("webhook", format!("{error}: use a URL, or an object with url and events"))
        })?,
    };
    reach.url("webhook", &url)?;
    Ok(Notify { to: url, ends: ends_of(events, "webhook")? })
}

/// What the document says of the field of that name.
const _: () = assert!(MAX_NOTIFY == 8);

fn new_hook(request: WebhookRequest, reach: &Reach) -> Result<NewHook, Problem> {
    reach.url("url", &request.url)?;
    let secret = request.secret.map(|text| {
        let reason =
            "use 24 to 200 printable ASCII characters without spaces, or leave it out to have one drawn";
        SigningSecret::parse(&text).ok_or_else(|| Invalid::new("secret", reason))
    });
    Ok(NewHook {
        job_type: request.job_type.map(|name| types::job_type(&name)).transpose()?,
        url: request.url,
        ends: ends_of(request.events, "events")?,
        secret: secret.transpose()?,
    })
}

fn ends_of(events: Option<Vec<Event>>, field: &'static str) -> Result<Ends, Invalid> {
    let Some(events) = events else { return Ok(Ends::ALL) };
    if events.is_empty() {
        return Err(Invalid::new(field, "name at least one event, or leave events out for all of them"));
    }
    let has = |event| events.contains(&event);
    Ok(Ends {
        completed: has(Event::Completed),
        failed: has(Event::Failed),
        cancelled: has(Event::Cancelled),
    })
}

fn events_of(ends: Ends) -> Vec<Event> {
    let all = [
        (ends.completed, Event::Completed),
        (ends.failed, Event::Failed),
        (ends.cancelled, Event::Cancelled),
    ];
    all.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, event)| event).collect()
}

/// As much of a URL as somebody may see.
fn shown(url: String, principal: &Principal) -> String {
    if principal.has(Scope::Admin) { url } else { origin(&url) }
}

fn no_hook() -> Problem {
    Problem::not_found("webhook_not_found", "there is no webhook with this id")
        .hint("GET /api/webhooks lists them; `jobs` stands for those of single jobs")
}

fn shown_once(id: &Value) -> Problem {
    let detail = format!("this request made the webhook {id} already, and its secret is shown once");
    Problem::conflict("secret_shown_once", detail)
        .hint("if it did not arrive, take that webhook back and make another one with a new key")
}
