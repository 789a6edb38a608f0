//! Who did what only administrators may do, and who logged in.

use std::collections::BTreeSet;

use askama::Template;
use blobforge_core::{Timestamp, storage::MAX_PAGE};
use poem::{Response, handler, web::Query};
use serde::{Deserialize, Serialize};

use super::Tab;
use crate::{
    audit::{Entry, Sought, entries, search},
    dashboard::{
        fault::Fault,
        frame::{Frame, Section, Visitor, page as sent},
        shown::When,
    },
    problem::Problem,
};

/// How many actions a page has.
const ROWS: usize = 50;
/// What an address says. An empty field says nothing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(in crate::dashboard) struct Asked {
    #[serde(skip_serializing_if = "String::is_empty")]
    action: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    actor: String,
    /// Where the page begins.
    #[serde(skip_serializing_if = "String::is_empty")]
    before: String,
}

impl Asked {
    fn at(&self, before: Option<u64>) -> String {
        let before = before.map(|number| number.to_string()).unwrap_or_default();
        match serde_urlencoded::to_string(Self { before, ..self.clone() }).unwrap_or_default() {
            query if query.is_empty() => "/admin/audit".to_owned(),
            query => format!("/admin/audit?{query}"),
        }
    }

    fn before(&self) -> Result<Option<u64>, Problem> {
        let number = (!self.before.is_empty()).then(|| self.before.parse()).transpose();
        number
            .map_err(|_| Problem::invalid(format!("before: {:?} is no number", self.before)).field("before"))
    }

    fn sought(&self) -> Sought {
        let said = |text: &String| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        Sought { action: said(&self.action), actor: said(&self.actor) }
    }
}

#[derive(Template)]
#[template(path = "admin/audit.html")]
struct AuditPage {
    frame: Frame,
    tab: Tab,
    asked: Asked,
    actions: BTreeSet<String>,
    rows: Vec<EntryRow>,
    newest: Option<String>,
    older: Option<String>,
}

impl AuditPage {
    fn is_filtered(&self) -> bool {
        self.asked.at(None) != "/admin/audit"
    }
}

/// Shows the actions that are asked for, the newest first.
#[handler]
pub(in crate::dashboard) async fn page(
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Response, Fault> {
    let queue = &visitor.shared.queue;
    let now = queue.now();
    let (found, next) = search(queue, &asked.sought(), asked.before()?, ROWS).await?;
    // What was done lately can be chosen from.
    let (lately, _) = entries(queue, None, MAX_PAGE).await?;
    let lately = lately.into_iter().map(|(_, entry)| entry.action);
    let actions: BTreeSet<_> =
        lately.chain(Some(asked.action.clone()).filter(|name| !name.is_empty())).collect();
    sent(&AuditPage {
        frame: visitor.frame(Section::Admin, "Audit"),
        tab: Tab::Audit,
        actions,
        rows: found.into_iter().map(|(number, entry)| EntryRow::new(number, entry, now)).collect(),
        newest: (!asked.before.is_empty()).then(|| asked.at(None)),
        older: next.map(|number| asked.at(Some(number))),
        asked,
    })
}

/// One action.
struct EntryRow {
    number: u64,
    at: When,
    actor: String,
    actor_id: String,
    /// The address of this page with what the same account did.
    by_actor: String,
    action: String,
    target: String,
    address: Option<String>,
}

impl EntryRow {
    fn new(number: u64, entry: Entry, now: Timestamp) -> Self {
        let by_actor = Asked { actor: entry.account_id.clone(), ..Asked::default() }.at(None);
        Self {
            number,
            at: When::new(entry.at, now),
            actor: entry.account,
            actor_id: entry.account_id,
            by_actor,
            action: entry.action,
            target: entry.target,
            address: entry.address.map(|address| address.to_string()),
        }
    }
}
