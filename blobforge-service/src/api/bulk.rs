//! The same for many jobs at once.

use std::{collections::BTreeMap, sync::Arc};

use blobforge_core::{
    FailureGroupId, Invalid, JobId, WorkerId,
    queue::{Action, BulkOutcome, Selection},
    storage::JobFilter,
};
use poem::web::Data;
use poem_openapi::{
    Enum, Object, OpenApi,
    param::Header,
    payload::Json,
    types::{Example, ParseFromJSON, ToJSON},
};
use serde::Deserialize;
use serde_json::Value;

use super::{body::Body, submission::priority, time::Time, types::job_type};
use crate::{
    audit::Actor,
    auth::{Principal, Scope},
    problem::Problem,
    service::{Named, Ran, Shared},
};

pub(super) struct BulkApi(pub(super) Arc<Shared>);

/// What is done to each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum, Deserialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum BulkAction {
    /// Run it again, with its counters at zero.
    Retry,
    /// Call it off.
    Cancel,
    /// Change how urgent it is.
    Priority,
    /// Forget it; needs the scope admin.
    Delete,
}

/// What to do, and to which jobs: `ids`, `filter` or `everything`.
#[derive(Debug, Object, Deserialize)]
#[oai(example)]
#[serde(deny_unknown_fields)]
struct BulkRequest {
    /// What is done to each.
    action: BulkAction,
    /// How urgent they are to be, 1 (critical) to 5 (background) by number or name; for the action `priority` alone.
    priority: Option<Value>,
    /// These, at most 1,000. One that is named twice counts once.
    ids: Option<Vec<i64>>,
    /// Those that match. It has to restrict something.
    filter: Option<FilterRequest>,
    /// Every job there is; only `true` means it.
    everything: Option<bool>,
    /// Change nothing, and say what would happen to the jobs as they are now.
    dry_run: Option<bool>,
    /// The `next_cursor` of the reply before, to go on after it.
    cursor: Option<String>,
}

/// Which jobs; what is left out does not restrict.
#[derive(Debug, Default, Object, Deserialize)]
#[oai(rename = "JobFilter")]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilterRequest {
    /// In this state; `dead` is another word for `failed`.
    pub(crate) status: Option<String>,
    /// Of this type.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub(crate) job_type: Option<String>,
    /// Of this priority, by number or name.
    pub(crate) priority: Option<Value>,
    /// Running on this worker.
    pub(crate) worker: Option<String>,
    /// With this tag.
    pub(crate) tag: Option<String>,
    /// With this text in the source's path or the last error.
    pub(crate) text: Option<String>,
    /// Failed, and in this group of failures: its `id` in `GET /api/failures`.
    pub(crate) failure_group: Option<i64>,
    /// Of a source whose SHA-256 begins so: 8 to 64 hexadecimal digits.
    pub(crate) source_hash: Option<String>,
    /// Submitted at or after this time.
    pub(crate) created_from: Option<Time>,
    /// Submitted before this time.
    pub(crate) created_before: Option<Time>,
}

impl FilterRequest {
    /// The filter that it means.
    pub(crate) fn into_filter(self) -> Result<JobFilter, Problem> {
        Ok(JobFilter {
            status: self.status.map(|status| status.parse()).transpose()?,
            job_type: self.job_type.map(|name| job_type(&name)).transpose()?,
            priority: self.priority.map(priority).transpose()?,
            worker: self.worker.map(WorkerId::new).transpose()?,
            tag: self.tag,
            text: self.text,
            failure_group: self.failure_group.map(FailureGroupId::new),
            source_hash: self.source_hash.map(|beginning| beginning.parse()).transpose()?,
            created_from: self.created_from.map(|time| time.0),
            created_before: self.created_before.map(|time| time.0),
            ..JobFilter::default()
        })
    }
}

impl Example for BulkRequest {
    fn example() -> Self {
        let filter = FilterRequest {
            status: Some("failed".to_owned()),
            job_type: Some("pdf-text".to_owned()),
            ..FilterRequest::default()
        };
        Self {
            action: BulkAction::Retry,
            priority: None,
            ids: None,
            filter: Some(filter),
            everything: None,
            dry_run: Some(true),
            cursor: None,
        }
    }
}

impl BulkRequest {
    fn action(&mut self) -> Result<Action, Problem> {
        let wished = self.priority.take();
        match (self.action, wished) {
            (BulkAction::Priority, Some(value)) => Ok(Action::Reprioritise(priority(value)?)),
            (BulkAction::Priority, None) => {
                Err(Invalid::new("priority", "say which: 1 (critical) to 5 (background)").into())
            }
            (_, Some(_)) => {
                Err(Invalid::new("priority", "it goes with the action \"priority\" alone: leave it out")
                    .into())
            }
            (BulkAction::Retry, None) => Ok(Action::Retry),
            (BulkAction::Cancel, None) => Ok(Action::Cancel),
            (BulkAction::Delete, None) => Ok(Action::Delete),
        }
    }

    fn selection(self) -> Result<Selection, Problem> {
        let below = self.cursor.map(below).transpose()?;
        match (self.ids, self.filter, self.everything.unwrap_or(false)) {
            (Some(_), None, false) if below.is_some() => {
                Err(Invalid::new("cursor", "ids are all done in one call: leave it out").into())
            }
            (Some(ids), None, false) => Ok(Selection::Ids(ids.into_iter().map(JobId::new).collect())),
            (None, Some(filter), false) => {
                Ok(Selection::Filter(JobFilter { below, ..filter.into_filter()? }))
            }
            (None, None, true) => Ok(Selection::Everything { below }),
            _ => {
                Err(Problem::invalid("say which jobs by one of \"ids\", \"filter\" and \"everything\": true"))
            }
        }
    }
}

fn below(cursor: String) -> Result<JobId, Invalid> {
    let id = cursor.parse().map(JobId::new);
    id.map_err(|_| Invalid::new("cursor", "use the next_cursor of the reply before, or leave it out"))
}

/// What became of many jobs. Each was changed or refused for itself.
#[derive(Debug, Object)]
#[oai(rename = "BulkOutcome")]
struct BulkView {
    /// Nothing was changed: the numbers say what would happen.
    dry_run: bool,
    /// How many jobs were selected.
    matched: u64,
    /// How many were changed, or would be.
    done: u64,
    /// Those that were not, or would not be, by the `code` that each would be refused with alone.
    refused: BTreeMap<String, RefusedView>,
    /// There may be more: give it as `cursor` to go on. Each call goes through 10,000 jobs that match at most.
    next_cursor: Option<String>,
}

/// Jobs to which nothing is done, for the same reason.
#[derive(Debug, Object)]
#[oai(rename = "Refused")]
struct RefusedView {
    /// How many.
    jobs: u64,
    /// Some of them.
    examples: Vec<RefusedJob>,
}

/// A job to which nothing is done.
#[derive(Debug, Object)]
struct RefusedJob {
    /// Its number.
    job_id: i64,
    /// Why, for people.
    detail: String,
}

impl BulkView {
    fn new(outcome: BulkOutcome, dry_run: bool) -> Self {
        let example = |(id, detail): (JobId, String)| RefusedJob { job_id: id.get(), detail };
        let refused = outcome.refused.into_iter().map(|(code, refusals)| {
            let examples = refusals.examples.into_iter().map(example).collect();
            (code.to_owned(), RefusedView { jobs: refusals.jobs, examples })
        });
        Self {
            dry_run,
            matched: outcome.matched,
            done: outcome.changed,
            refused: refused.collect(),
            next_cursor: outcome.next.map(|id| id.to_string()),
        }
    }
}

#[OpenApi(tag = "super::openapi::Section::Jobs")]
impl BulkApi {
    /// Do the same to many jobs, or ask what that would do
    ///
    /// This is not one step: each job is changed or refused for itself, as it is at that moment, and what was changed stays
    /// so when a later one fails. Jobs that come in meanwhile are not selected.
    #[oai(path = "/jobs/bulk", method = "post", operation_id = "change_jobs")]
    async fn bulk(
        &self,
        principal: Data<&Principal>,
        actor: Data<&Actor>,
        /// A name for this request, 1 to 255 printable ASCII characters, such as a UUID. Repeated under it within 7 days,
        /// the same request changes nothing more and is answered with what it did; another request is answered with 409.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        body: Body<BulkRequest>,
    ) -> Result<Json<BulkView>, Problem> {
        let Body(mut request, said) = body;
        if request.action == BulkAction::Delete {
            principal.need(Scope::Admin)?;
        }
        let (action, dry_run) = (request.action()?, request.dry_run.unwrap_or(false));
        let (selection, queue) = (request.selection()?, self.0.queue.clone());
        let (actor, asked) = (actor.clone(), String::from_utf8_lossy(&said).into_owned());
        let change = async move {
            if action == Action::Delete && !dry_run {
                actor.begin(&queue, "jobs_deleted", asked).await?;
            }
            Ok(BulkView::new(queue.bulk(action, selection, dry_run).await?, dry_run))
        };
        // What a dry run says is about the jobs as they are now.
        let key = idempotency_key.0.filter(|_| !dry_run);
        let named = |key| Named { by: &principal, route: "POST /api/jobs/bulk", key, said: &said };
        let keep = |view: &BulkView| view.to_json().unwrap_or_default();
        match self.0.repeats.once(key.as_deref().map(named), change, keep).await? {
            Ran::Now(view) => {
                let (matched, done, by) = (view.matched, view.done, &principal.id);
                tracing::info!(?action, dry_run, matched, done, by, "many jobs were changed");
                Ok(Json(view))
            }
            Ran::Before(kept) => {
                Ok(Json(BulkView::parse_from_json(Some(kept)).map_err(|_| Problem::internal())?))
            }
        }
    }
}
