//! Who is told of the ends of jobs, and what came of it.

use askama::Template;
use blobforge_core::{Ends, Timestamp};
use poem::{
    Response, handler,
    web::{Path, Query},
};
use serde::Deserialize;

use super::Tab;
use crate::{
    dashboard::{
        fault::Fault,
        frame::{Frame, Section, Visitor, page as sent},
        shown::{State, When, beginning},
    },
    problem::Problem,
    webhooks::{Delivery, Hook, JOB_HOOKS, Outcome, event_of},
};

/// How many deliveries a page has.
const ROWS: usize = 50;
/// How many types can be chosen from.
const TYPES: usize = 100;

#[derive(Template)]
#[template(path = "admin/webhooks.html")]
struct WebhooksPage {
    frame: Frame,
    tab: Tab,
    rows: Vec<HookRow>,
    types: Vec<String>,
}

/// Shows the webhooks, each with what came of its last delivery. There are at most 100.
#[handler]
pub(in crate::dashboard) async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let (queue, hooks) = (&visitor.shared.queue, &visitor.shared.hooks);
    let now = queue.now();
    let mut rows = Vec::new();
    for hook in hooks.list().await? {
        let last = hooks.deliveries(&hook.id, None, 1).await?.pop().map(|(_, delivery)| delivery);
        rows.push(HookRow::new(hook, last, now));
    }
    let types = queue.types().await?.into_iter().map(|known| known.job_type.to_string());
    let types = types.take(TYPES).collect();
    sent(&WebhooksPage { frame: visitor.frame(Section::Admin, "Webhooks"), tab: Tab::Webhooks, rows, types })
}

/// A webhook.
struct HookRow {
    id: String,
    url: String,
    of: String,
    created: When,
    last: Option<(State, When)>,
}

impl HookRow {
    fn new(hook: Hook, last: Option<Delivery>, now: Timestamp) -> Self {
        Self {
            of: of(&hook),
            id: hook.id,
            url: hook.url,
            created: When::new(hook.created_at, now),
            last: last.map(|delivery| (outcome(delivery.outcome), When::new(delivery.at, now))),
        }
    }
}

/// Which ends a webhook hears of, in words.
fn of(hook: &Hook) -> String {
    let Ends { completed, failed, cancelled } = hook.ends;
    let named = [(completed, "completed"), (failed, "failed"), (cancelled, "cancelled")];
    let ends: Vec<_> = named.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, name)| name).collect();
    let jobs = hook
        .job_type
        .as_ref()
        .map_or_else(|| "jobs of all types".to_owned(), |name| format!("jobs of type {name}"));
    format!("{jobs}: {}", ends.join(", "))
}

fn outcome(outcome: Outcome) -> State {
    let (class, icon, word) = match outcome {
        Outcome::Delivered => ("completed", "completed", "delivered"),
        Outcome::Retrying => ("retrying", "retrying", "retrying"),
        Outcome::GivenUp => ("failed", "failed", "given up"),
    };
    State { class, icon, word: word.to_owned() }
}

/// Where a page of deliveries begins.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::dashboard) struct Asked {
    before: String,
}

#[derive(Template)]
#[template(path = "admin/deliveries.html")]
struct DeliveriesPage {
    frame: Frame,
    tab: Tab,
    id: String,
    /// The webhook; `None` for those of single jobs.
    hook: Option<HookRow>,
    rows: Vec<DeliveryRow>,
    newest: bool,
    older: Option<u64>,
}

/// Shows the deliveries of a webhook, the newest first.
#[handler]
pub(in crate::dashboard) async fn deliveries(
    visitor: Visitor,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Fault> {
    let hooks = &visitor.shared.hooks;
    let now = visitor.shared.queue.now();
    let hook = hooks.find(&id).await?;
    if hook.is_none() && id != JOB_HOOKS {
        return Err(Problem::not_found("webhook_not_found", "there is no webhook with this id")
            .hint("it may have been taken back")
            .into());
    }
    let before = (!asked.before.is_empty()).then(|| asked.before.parse::<u64>()).transpose();
    let before = before.map_err(|_| Problem::invalid("before: this is no number").field("before"))?;
    let found = hooks.deliveries(&id, before, ROWS).await?;
    let older = found.last().map(|(number, _)| *number).filter(|_| found.len() == ROWS);
    sent(&DeliveriesPage {
        frame: visitor.frame(Section::Admin, "Deliveries"),
        tab: Tab::Webhooks,
        hook: hook.map(|hook| HookRow::new(hook, None, now)),
        rows: found.into_iter().map(|(number, delivery)| DeliveryRow::new(number, delivery, now)).collect(),
        newest: before.is_some(),
        older,
        id,
    })
}

/// One delivery.
struct DeliveryRow {
    number: u64,
    job: i64,
    event: &'static str,
    state: State,
    /// What was answered, or why nothing was.
    said: String,
    /// Where it went.
    url: String,
    tries: u32,
    took: u64,
    at: When,
    next: Option<When>,
}

impl DeliveryRow {
    fn new(number: u64, delivery: Delivery, now: Timestamp) -> Self {
        let answered = delivery.status.map(|status| format!("answered {status}"));
        Self {
            number,
            job: delivery.message.job.get(),
            event: event_of(delivery.message.status),
            state: outcome(delivery.outcome),
            said: answered.or(delivery.error.as_deref().map(beginning)).unwrap_or_default(),
            url: delivery.url,
            tries: delivery.message.tries,
            took: delivery.took_ms,
            at: When::new(delivery.at, now),
            next: delivery.next_at.map(|at| When::new(at, now)),
        }
    }
}
