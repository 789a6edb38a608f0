//! Who did what only administrators may do.

use std::sync::Arc;

use poem_openapi::{Object, OpenApi, param::Query, payload::Json};

use super::{
    paging::{Page, USUAL_LIMIT, after, page_limit},
    time::Time,
};
use crate::{
    audit::{Entry, entries},
    problem::Problem,
    service::Shared,
};

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

#[OpenApi(tag = "super::openapi::Section::Service")]
impl AuditApi {
    /// Who did what only administrators may do, the newest first; the last 10,000 actions are kept
    #[oai(path = "/admin/audit", method = "get", operation_id = "list_audit")]
    async fn list(
        &self,
        /// The `next_cursor` of the page before; empty for the first page.
        cursor: Query<Option<String>>,
        /// At most this many, 1 to 1,000.
        limit: Query<Option<usize>>,
    ) -> Result<Json<Page<EntryView>>, Problem> {
        let before = after(cursor.0.as_deref().unwrap_or_default())?;
        let limit = page_limit(limit.0, USUAL_LIMIT)?;
        let (found, next) = entries(&self.0.queue, before, limit).await?;
        let items = found.into_iter().map(|(number, entry)| EntryView::new(number, entry)).collect();
        Ok(Json(Page { items, next_cursor: next.map(|number| number.to_string()) }))
    }
}
