//! Who did what only administrators may do.

use std::sync::Arc;

use blobforge_core::storage::MAX_PAGE;
use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use super::time::Time;
use crate::{
    audit::{Entry, entries},
    problem::Problem,
    service::Shared,
};

/// How many actions a page has unless it is said.
const USUAL_PAGE: usize = 50;

pub(super) struct AuditApi(pub(super) Arc<Shared>);

/// One action.
#[derive(Debug, Object)]
#[oai(rename = "AuditEntry")]
struct EntryView {
    /// Its number: later actions have higher ones.
    id: u64,
    /// When.
    at: Time,
    /// The id of the account that acted; `machine` for the command line on the machine of the service.
    account_id: String,
    /// What the account was called.
    account: String,
    /// What was done, such as `token_created` or `worker_drained`.
    action: String,
    /// To what: a worker's id, a token's name or id, a type, a job's number, or which jobs as the request said.
    target: String,
    /// From which address, as far as it is known.
    address: Option<String>,
}

impl EntryView {
    fn new(id: u64, entry: Entry) -> Self {
        Self {
            id,
            at: entry.at.into(),
            account_id: entry.account_id,
            account: entry.account,
            action: entry.action,
            target: entry.target,
            address: entry.address.map(|address| address.to_string()),
        }
    }
}

/// A page of actions, the newest first.
#[derive(Debug, Object)]
struct AuditPage {
    /// The actions.
    items: Vec<EntryView>,
    /// What to give as `cursor` for the next page; `null` after the last one.
    next_cursor: Option<String>,
}

#[OpenApi(tag = "super::openapi::Section::Service")]
impl AuditApi {
    /// Who did what only administrators may do, the newest first; the last 10,000 actions are kept
    #[oai(path = "/admin/audit", method = "get", operation_id = "list_audit")]
    async fn list(
        &self,
        /// Where to go on: the `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<usize>>,
    ) -> Result<Json<AuditPage>, Problem> {
        let before = cursor.0.filter(|cursor| !cursor.is_empty()).map(|cursor| cursor.parse::<u64>());
        let before = before.transpose().map_err(|_| {
            let detail = "cursor: use the next_cursor of the page before";
            Problem::bad_request("invalid_parameter", detail).field("cursor")
        })?;
        let limit = limit.0.unwrap_or(USUAL_PAGE).min(MAX_PAGE);
        let found = entries(&self.0.queue, before, limit).await?;
        let last = found.last().map(|(number, _)| *number).filter(|_| found.len() == limit);
        Ok(Json(AuditPage {
            items: found.into_iter().map(|(number, entry)| EntryView::new(number, entry)).collect(),
            next_cursor: last.map(|number| number.to_string()),
        }))
    }
}
