//! What is finished: documents by name and tag, to be read and taken home.

use askama::Template;
use blobforge_core::{Job, JobId, Output, Status, Timestamp, storage::JobFilter};
use poem::{Response, handler, web::Query};
use serde::{Deserialize, Serialize};

use super::{
    fault::Fault,
    frame::{Frame, Section, Visitor, page as sent},
    search::Sought,
    shown::{When, name},
};
use crate::{api::path_of, problem::Problem, words};

/// How many documents a page has.
const ROWS: usize = 40;
/// How many types can be chosen from.
const TYPES: usize = 100;

/// A file that a job made.
pub(super) struct File {
    pub(super) name: String,
    pub(super) size: String,
    /// Where it is fetched.
    pub(super) url: String,
    /// Where it is read, if it can be.
    pub(super) preview: String,
}

impl File {
    pub(super) fn new(job: JobId, output: &Output) -> Self {
        let query = serde_urlencoded::to_string([("name", &output.name)]).unwrap_or_default();
        Self {
            name: output.name.clone(),
            size: words::size(output.size),
            url: format!("/api/jobs/{job}/outputs/{}", path_of(&output.name)),
            preview: format!("/jobs/{job}/preview?{query}"),
        }
    }
}

/// Whether a file can be read as a page, by its name.
pub(super) fn is_markdown(name: &str) -> bool {
    let (_, ending) = name.rsplit_once('.').unwrap_or_default();
    ["md", "markdown"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// The file of a completed job that is to be read: its first document.
pub(super) fn readable(job: &Job) -> Option<&Output> {
    let done = job.status() == Status::Completed;
    job.outputs.iter().find(|output| done && is_markdown(&output.name))
}

/// What an address says. An empty field says nothing.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Asked {
    #[serde(skip_serializing_if = "String::is_empty")]
    q: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    job_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    below: String,
}

impl Asked {
    fn address(&self, below: Option<JobId>) -> String {
        let asked = Self { below: below.map(|id| id.to_string()).unwrap_or_default(), ..self.clone() };
        match serde_urlencoded::to_string(&asked).unwrap_or_default() {
            query if query.is_empty() => "/library".to_owned(),
            query => format!("/library?{query}"),
        }
    }

    fn of_tag(tag: &str) -> String {
        Self { q: format!("tag:{tag}"), ..Self::default() }.address(None)
    }

    fn filter(&self) -> Result<JobFilter, Fault> {
        let mut filter = JobFilter { status: Some(Status::Completed), ..JobFilter::all(ROWS) };
        if !self.job_type.is_empty() {
            filter.job_type = Some(self.job_type.as_str().try_into()?);
        }
        if !self.below.is_empty() {
            let below = self.below.parse().map_err(|_| Problem::invalid("below: this is no number"))?;
            filter.below = Some(JobId::new(below));
        }
        match Sought::parse(&self.q) {
            Some(Sought::Tag(tag)) => filter.tag = Some(tag),
            Some(Sought::Hash(beginning)) => filter.source_hash = Some(beginning),
            // Here nobody asks for numbers.
            Some(Sought::Text(text)) => filter.text = Some(text),
            Some(Sought::Job(_)) => filter.text = Some(self.q.trim().to_owned()),
            None => {}
        }
        Ok(filter)
    }
}

#[derive(Template)]
#[template(path = "library.html")]
struct LibraryPage {
    frame: Frame,
    asked: Asked,
    types: Vec<String>,
    rows: Vec<DocumentRow>,
    newest: Option<String>,
    older: Option<String>,
    went_on: bool,
}

impl LibraryPage {
    fn is_filtered(&self) -> bool {
        self.asked.address(None) != "/library"
    }
}

/// A finished job.
struct DocumentRow {
    id: i64,
    name: String,
    job_type: String,
    tags: Vec<(String, String)>,
    files: usize,
    size: String,
    readable: Option<File>,
    ended: Option<When>,
}

impl DocumentRow {
    fn new(job: &Job, now: Timestamp) -> Self {
        Self {
            id: job.id.get(),
            name: name(job),
            job_type: job.job_type.to_string(),
            tags: job.body.tags.iter().take(6).map(|tag| (tag.clone(), Asked::of_tag(tag))).collect(),
            files: job.outputs.len(),
            size: words::size(job.outputs.iter().map(|output| output.size).sum()),
            readable: readable(job).map(|output| File::new(job.id, output)),
            ended: job.ended_at.map(|at| When::new(at, now)),
        }
    }
}

/// Shows what is finished.
#[handler]
pub(super) async fn page(visitor: Visitor, Query(asked): Query<Asked>) -> Result<Response, Fault> {
    let queue = &visitor.shared.queue;
    let now = queue.now();
    let found = queue.list(&asked.filter()?).await?;
    let types = queue.types().await?.into_iter().map(|known| known.job_type.to_string());
    sent(&LibraryPage {
        frame: visitor.frame(Section::Library, "Library"),
        types: types.take(TYPES).collect(),
        went_on: found.next.is_some() && found.items.len() < ROWS,
        rows: found.items.iter().map(|job| DocumentRow::new(job, now)).collect(),
        newest: (!asked.below.is_empty()).then(|| asked.address(None)),
        older: found.next.map(|next| asked.address(Some(next))),
        asked,
    })
}
