//! All jobs, as the address says: what is looked for, which filters hold, and where the page begins.

use askama::Template;
use blobforge_core::{Job, JobId, Priority, Status, Timestamp, storage::JobFilter};
use poem::{Response, handler, web::Query};
use poem_openapi::types::ToJSON;
use serde::{Deserialize, Serialize};

use super::{
    fault::Fault,
    frame::{Frame, Section, Visitor, page as sent},
    search::Sought,
    shown::{Progressed, State, When, beginning, name},
};
use crate::{
    api::{FilterRequest, total},
    problem::Problem,
    words,
};

/// How many jobs a page has.
const ROWS: usize = 50;
/// How many types can be chosen from.
const TYPES: usize = 100;

/// What an address says. An empty field says nothing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Asked {
    #[serde(skip_serializing_if = "String::is_empty")]
    q: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    job_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    priority: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tag: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    worker: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    failure_group: String,
    /// `oldest` first; otherwise the newest are.
    #[serde(skip_serializing_if = "String::is_empty")]
    order: String,
    /// Where the page begins.
    #[serde(skip_serializing_if = "String::is_empty")]
    from: String,
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl Asked {
    /// Which jobs are asked for, as programs would ask for them; a job that is asked for by its number is not among that.
    fn request(&self, sought: Option<&Sought>) -> Result<FilterRequest, Fault> {
        let mut request = FilterRequest {
            status: said(&self.status),
            job_type: said(&self.job_type),
            priority: said(&self.priority).map(Into::into),
            worker: said(&self.worker),
            tag: said(&self.tag),
            ..FilterRequest::default()
        };
        if !self.failure_group.is_empty() {
            let group = self.failure_group.parse();
            request.failure_group = Some(group.map_err(|_| wrong("failure_group", &self.failure_group))?);
        }
        match sought {
            Some(Sought::Hash(beginning)) => request.source_hash = Some(beginning.to_string()),
            Some(Sought::Tag(tag)) => request.tag = Some(tag.clone()),
            Some(Sought::Text(text)) => request.text = Some(text.clone()),
            Some(Sought::Job(_)) | None => {}
        }
        Ok(request)
    }

    /// The address of the same jobs from another place on.
    fn at(&self, place: Option<JobId>) -> String {
        let from = place.map(|id| id.to_string()).unwrap_or_default();
        address(&Self { from, ..self.clone() })
    }

    /// The filter of the page that is asked for.
    fn filter(&self, request: FilterRequest) -> Result<JobFilter, Fault> {
        let oldest_first = match self.order.as_str() {
            "" | "newest" => false,
            "oldest" => true,
            _ => return Err(Problem::invalid("order: use newest or oldest").field("order").into()),
        };
        let filter = JobFilter { limit: ROWS, oldest_first, ..request.into_filter()? };
        if self.from.is_empty() {
            return Ok(filter);
        }
        let place = self.from.parse().map_err(|_| wrong("from", &self.from))?;
        Ok(filter.from_place(Some(JobId::new(place))))
    }

    /// What stands between all jobs and these, with the address of the page without it.
    fn chips(&self) -> Vec<(String, String)> {
        let all = Self { from: String::new(), ..self.clone() };
        let chips = [
            ("tag", &self.tag, Self { tag: String::new(), ..all.clone() }),
            ("worker", &self.worker, Self { worker: String::new(), ..all.clone() }),
            ("failure group", &self.failure_group, Self { failure_group: String::new(), ..all }),
        ];
        // A tag that is sought is the one that holds.
        let holds = |name: &str| name != "tag" || !self.q.trim_start().starts_with("tag:");
        let said = chips.into_iter().filter(|(name, value, _)| !value.is_empty() && holds(name));
        said.map(|(name, value, without)| (format!("{name}: {value}"), address(&without))).collect()
    }
}

fn address(asked: &Asked) -> String {
    let query = serde_urlencoded::to_string(asked).unwrap_or_default();
    if query.is_empty() { "/jobs".to_owned() } else { format!("/jobs?{query}") }
}

/// The address of the jobs with a tag.
pub(super) fn with_tag(tag: &str) -> String {
    address(&Asked { tag: tag.to_owned(), ..Asked::default() })
}

fn wrong(field: &str, value: &str) -> Problem {
    Problem::invalid(format!("{field}: {value:?} is no number")).field(field)
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct JobsPage {
    frame: Frame,
    asked: Asked,
    chips: Vec<(String, String)>,
    types: Vec<String>,
    rows: Vec<JobRow>,
    /// The same jobs, as a program would name them for many at once; `None` for all there are.
    selection: Option<String>,
    /// How many match, where that is kept.
    total: Option<String>,
    first: Option<String>,
    next: Option<String>,
    /// Fewer were found than fit, and there is more to look at.
    went_on: bool,
    may_select_all: bool,
}

impl JobsPage {
    fn statuses(&self) -> [&'static str; 6] {
        Status::ALL.map(Status::as_str)
    }

    fn priorities(&self) -> [&'static str; 5] {
        Priority::ALL.map(Priority::name)
    }

    fn is_filtered(&self) -> bool {
        self.asked.at(None) != "/jobs"
    }
}

/// Shows the jobs that are asked for.
#[handler]
pub(super) async fn page(visitor: Visitor, Query(asked): Query<Asked>) -> Result<Response, Fault> {
    let queue = &visitor.shared.queue;
    let now = queue.now();
    let sought = Sought::parse(&asked.q);
    let request = asked.request(sought.as_ref())?;
    let selection = request.to_json().map(|json| json.to_string());
    let filter = asked.filter(request)?;
    let (jobs, next) = match sought {
        Some(Sought::Job(id)) => {
            (queue.get(id).await?.filter(|job| filter.matches(job)).into_iter().collect(), None)
        }
        _ => {
            let page = queue.list(&filter).await?;
            (page.items, page.next)
        }
    };
    let counts = queue.counts().await?;
    let types = queue.types().await?.into_iter().map(|known| known.job_type.to_string());
    let mut types: Vec<_> = types.take(TYPES).collect();
    // What the address says is chosen, whether there is such a type or not.
    types.extend(said(&asked.job_type).filter(|asked| !types.contains(asked)));
    let by_number = matches!(sought, Some(Sought::Job(_)));
    let total = total(&counts, &filter.clone().from_place(None)).filter(|_| !by_number);
    let everything = filter.restricts_nothing();
    sent(&JobsPage {
        frame: visitor.frame(Section::Jobs, "Jobs"),
        chips: asked.chips(),
        types,
        rows: jobs.iter().map(|job| JobRow::new(job, now)).collect(),
        selection: selection.filter(|_| !everything),
        total: total.map(words::number),
        first: (!asked.from.is_empty()).then(|| asked.at(None)),
        next: next.map(|next| asked.at(Some(next))),
        went_on: next.is_some() && jobs.len() < ROWS,
        may_select_all: !by_number && !jobs.is_empty(),
        asked,
    })
}

/// A job in a list.
struct JobRow {
    id: i64,
    name: String,
    job_type: String,
    state: State,
    progress: Option<Progressed>,
    worker: Option<String>,
    error: Option<String>,
    /// Each with the address of its jobs.
    tags: Vec<(String, String)>,
    priority: &'static str,
    /// It waits or runs, so that its priority means something.
    is_live: bool,
    at: When,
}

impl JobRow {
    fn new(job: &Job, now: Timestamp) -> Self {
        let status = job.status();
        let error = job.last_error.as_ref().filter(|_| status != Status::Completed);
        Self {
            id: job.id.get(),
            name: name(job),
            job_type: job.job_type.to_string(),
            state: State::of(job, now),
            progress: Progressed::of(job, now),
            worker: job.lease().map(|lease| lease.worker.to_string()),
            error: error.map(|error| format!("{}: {}", error.kind, beginning(&error.message))),
            tags: job.body.tags.iter().take(6).map(|tag| (tag.clone(), with_tag(tag))).collect(),
            priority: job.priority.name(),
            is_live: !status.is_final(),
            at: When::new(job.ended_at.or(job.started_at).unwrap_or(job.created_at), now),
        }
    }
}
