//! Pages of jobs: which rows each walks down, from where and how far.

use rusqlite::{OptionalExtension, ToSql, params, params_from_iter};

use super::{
    columns::{self, job_columns, status_code, to_json},
    failure::is_interrupted,
    reads::{self, Snapshot},
    search,
    statements::Sql,
};
use crate::{
    FailureGroupId, HashBeginning, JobId, Status,
    storage::{JobFilter, JobPage, MAX_EXAMINED},
};

/// How many ids the index of texts is asked about for one page: it takes a fraction of a second to say that none of them
/// has a text, and a page must not take longer.
const SEARCHED_AT_ONCE: i64 = 1_000_000;

/// The rows that a page of jobs walks down.
#[derive(Clone, Copy)]
enum Walk {
    /// All jobs.
    Jobs,
    /// The jobs in a state that few are in, which has an index.
    Rare(Status),
    /// The jobs that are done, which have an index for those who read while many wait that came later.
    Completed,
    /// The jobs in a group of failures.
    Grouped(FailureGroupId),
    /// The jobs of sources whose hash begins so.
    Hashed(HashBeginning),
    /// The running jobs.
    Leases,
}

impl Walk {
    fn of(filter: &JobFilter) -> Self {
        if let Some(beginning) = filter.source_hash {
            return Self::Hashed(beginning);
        }
        match (filter.status, filter.failure_group) {
            _ if filter.worker.is_some() => Self::Leases,
            (Some(Status::Running), _) => Self::Leases,
            (_, Some(group)) => Self::Grouped(group),
            (Some(rare @ (Status::Uploading | Status::Failed | Status::Cancelled)), _) => Self::Rare(rare),
            (Some(Status::Completed), _) => Self::Completed,
            _ => Self::Jobs,
        }
    }

    /// The jobs walked, each with its lease.
    fn source(self) -> &'static str {
        match self {
            Self::Jobs => "jobs j LEFT JOIN leases l ON l.job_id = j.id",
            // Named, since few jobs are like this, and the other way to them is through all jobs.
            Self::Rare(_) => "jobs j INDEXED BY jobs_rare LEFT JOIN leases l ON l.job_id = j.id",
            Self::Grouped(_) => "jobs j INDEXED BY jobs_failure_group LEFT JOIN leases l ON l.job_id = j.id",
            Self::Hashed(_) => "jobs j INDEXED BY jobs_hash LEFT JOIN leases l ON l.job_id = j.id",
            Self::Completed => "jobs j INDEXED BY jobs_completed LEFT JOIN leases l ON l.job_id = j.id",
            Self::Leases => "leases l CROSS JOIN jobs j ON j.id = l.job_id",
        }
    }

    /// The ids walked alone.
    fn ids(self) -> &'static str {
        match self {
            Self::Jobs => "jobs j",
            Self::Rare(_) => "jobs j INDEXED BY jobs_rare",
            Self::Grouped(_) => "jobs j INDEXED BY jobs_failure_group",
            Self::Hashed(_) => "jobs j INDEXED BY jobs_hash",
            Self::Completed => "jobs j INDEXED BY jobs_completed",
            Self::Leases => "leases l",
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Jobs | Self::Rare(_) | Self::Completed | Self::Grouped(_) | Self::Hashed(_) => "j.id",
            Self::Leases => "l.job_id",
        }
    }

    /// Whether there are few such jobs.
    fn is_short(self) -> bool {
        matches!(self, Self::Hashed(_) | Self::Leases)
    }

    /// What makes SQLite take the index: it must see the number itself.
    fn condition(self) -> String {
        match self {
            // The first half in the very words of the index, which SQLite does not take for less.
            Self::Rare(status) => {
                format!("j.status IN (0, 4, 5) AND j.status = {} AND ", status_code(status))
            }
            Self::Completed => format!("j.status = {} AND ", status_code(Status::Completed)),
            Self::Grouped(group) => format!("j.failure_group = {group} AND "),
            Self::Hashed(beginning) => {
                let (first, last) = beginning.range();
                format!("j.source_sha256 BETWEEN x'{first}' AND x'{last}' AND ")
            }
            Self::Jobs | Self::Leases => String::new(),
        }
    }
}

/// The conditions that SQLite can check without reading the text of a row. They only spare work:
/// [`JobFilter::matches`] decides.
fn conditions(walk: Walk, filter: &JobFilter) -> rusqlite::Result<(String, Vec<Box<dyn ToSql>>)> {
    let mut sql = String::new();
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut add = |condition: &str, value: Box<dyn ToSql>| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.push(value);
    };
    if let (Walk::Jobs | Walk::Grouped(_), Some(status)) = (walk, filter.status) {
        add("l.job_id IS NULL AND j.status = ?", Box::new(status_code(status)));
    }
    if let Some(job_type) = &filter.job_type {
        add("j.type = ?", Box::new(job_type.as_str().to_owned()));
    }
    if let Some(priority) = filter.priority {
        add("j.priority = ?", Box::new(u8::from(priority)));
    }
    if let Some(worker) = &filter.worker {
        add("l.worker = ?", Box::new(worker.as_str().to_owned()));
    }
    if let (Walk::Leases | Walk::Hashed(_), Some(group)) = (walk, filter.failure_group) {
        add("j.failure_group = ?", Box::new(group.get()));
    }
    if let Some(from) = filter.created_from {
        add("j.created_at >= ?", Box::new(from.as_millis()));
    }
    if let Some(before) = filter.created_before {
        add("j.created_at < ?", Box::new(before.as_millis()));
    }
    if let Some(tag) = &filter.tag {
        // As it stands in the text of the body, quotes and all.
        add("instr(j.body, ?) > 0", Box::new(to_json(tag)?));
    }
    Ok((sql, values))
}

/// One page of jobs. When time runs out, what was found by then is the page.
pub(super) fn jobs(snapshot: &Snapshot<'_>, filter: &JobFilter) -> rusqlite::Result<JobPage> {
    let (walk, way) = (Walk::of(filter), Way::of(filter));
    if walk.is_short() {
        return walked(snapshot, filter, walk, way);
    }
    let in_line = if filter.status == Some(Status::Pending) { in_line(snapshot)? } else { None };
    if let Some(ids) = in_line {
        return looked_up(snapshot, filter, way, way.along(ids).map(Ok));
    }
    match filter.wanted_text().and_then(search::question) {
        Some(question) => searched(snapshot, filter, walk, way, &question),
        None => walked(snapshot, filter, walk, way),
    }
}

/// The page of the jobs that the index of texts names. It knows nothing of their states: jobs that came before or after all
/// that are walked would be looked up in vain.
fn searched(
    snapshot: &Snapshot<'_>,
    filter: &JobFilter,
    walk: Walk,
    way: Way,
    question: &str,
) -> rusqlite::Result<JobPage> {
    let ends = (nearest(snapshot, walk, way)?, nearest(snapshot, walk, way.back())?);
    let (Some(first), Some(last)) = ends else { return Ok(JobPage::default()) };
    let way = way.between(first, last);
    let part = way.beginning(SEARCHED_AT_ONCE);
    let mut candidates = search::candidates(snapshot, way.order())?;
    let ids = candidates.query_map(params![question, part.above, part.below], |row| row.get(0))?;
    let page = looked_up(snapshot, filter, part, ids)?;
    Ok(JobPage { next: page.next.or_else(|| way.behind(part)), ..page })
}

/// The page of the jobs that have these ids, as far as they match.
fn looked_up(
    snapshot: &Snapshot<'_>,
    filter: &JobFilter,
    way: Way,
    mut ids: impl Iterator<Item = rusqlite::Result<i64>>,
) -> rusqlite::Result<JobPage> {
    let (conditions, values) = conditions(Walk::Jobs, filter)?;
    let (columns, source) = (job_columns!(), Walk::Jobs.source());
    let mut job =
        snapshot.prepare_cached(&format!("SELECT {columns} FROM {source} WHERE j.id = ?{conditions}"))?;
    let mut page = JobPage::default();
    let mut examined = None;
    for _ in 0..MAX_EXAMINED {
        if page.items.len() == filter.page_size() {
            break;
        }
        let found = ids.next().transpose().and_then(|id| {
            let Some(id) = id else { return Ok(None) };
            let bound = [&id as &dyn ToSql].into_iter().chain(values.iter().map(|value| &**value));
            Ok(Some((id, job.query_row(params_from_iter(bound), columns::job).optional()?)))
        });
        match found {
            Ok(Some((id, job))) => {
                examined = Some(JobId::new(id));
                page.items.extend(job.filter(|job| filter.matches(job)));
            }
            Ok(None) => return Ok(page),
            Err(e) if is_interrupted(&e) && examined.is_some() => {
                page.next = examined;
                return Ok(page);
            }
            Err(e) => return Err(e),
        }
    }
    page.next = ids.next().transpose()?.map(|id| way.just_before(id));
    Ok(page)
}

/// The ids of all jobs that wait, in order, if they are few; one whose holder fell silent may be among them.
fn in_line(snapshot: &Snapshot<'_>) -> rusqlite::Result<Option<Vec<i64>>> {
    let most = i64::try_from(MAX_EXAMINED).unwrap_or(i64::MAX);
    let counts = reads::counts(snapshot)?;
    if counts.of_status(Status::Pending) + counts.of_status(Status::Running) > MAX_EXAMINED as u64 {
        return Ok(None);
    }
    let mut ids = Vec::new();
    let mut lanes = snapshot.prepare_cached(Sql::Lanes.text())?;
    for (at, lane) in lanes.query_map([most], columns::lane)?.enumerate() {
        if at + 1 == MAX_EXAMINED {
            return Ok(None);
        }
        ids.extend(lane?.front.places().iter().map(|place| place.id.get()));
    }
    let mut others = snapshot.prepare_cached(Sql::BehindFronts.text())?;
    for id in others.query_map([most], |row| row.get(0))? {
        ids.push(id?);
    }
    ids.sort_unstable();
    Ok(Some(ids))
}

/// The page of a walk down rows that are in order.
fn walked(snapshot: &Snapshot<'_>, filter: &JobFilter, walk: Walk, way: Way) -> rusqlite::Result<JobPage> {
    let limit = filter.page_size();
    let (conditions, values) = conditions(walk, filter)?;
    let all_match = conditions.is_empty() && filter.wanted_text().is_none();
    // Where nothing is passed over, the page is full long before it has looked at too many rows.
    let end = if all_match { None } else { end(snapshot, walk, way)? };
    let (source, id, of_walk) = (walk.source(), walk.id(), walk.condition());
    let columns = job_columns!();
    let sql = format!(
        "SELECT {columns} FROM {source} WHERE {of_walk}{id} > ? AND {id} < ?{conditions} ORDER BY {id} {}",
        way.order()
    );
    let Way { above, below, .. } = way.up_to(end);
    let mut bound: Vec<&dyn ToSql> = vec![&above, &below];
    bound.extend(values.iter().map(|value| &**value));
    let mut statement = snapshot.prepare_cached(&sql)?;
    let mut rows = statement.query(&*bound)?;
    let mut page = JobPage::default();
    let mut examined = None;
    while page.items.len() < limit {
        let row = match rows.next() {
            Ok(row) => row,
            Err(e) if is_interrupted(&e) && examined.is_some() => {
                page.next = examined;
                return Ok(page);
            }
            Err(e) => return Err(e),
        };
        let Some(row) = row else { break };
        let job = columns::job(row)?;
        examined = Some(job.id);
        if filter.matches(&job) {
            page.items.push(job);
        }
    }
    let full = page.items.len() == limit;
    let last = page.items.last().filter(|_| full).map(|job| job.id.get()).or(end);
    page.next = last.map(|last| next(snapshot, walk, way, last)).transpose()?.flatten();
    Ok(page)
}

/// Which ids are walked, both ends left out, and from which of them.
#[derive(Clone, Copy)]
struct Way {
    above: i64,
    below: i64,
    oldest_first: bool,
}

impl Way {
    fn of(filter: &JobFilter) -> Self {
        let (above, below) =
            (filter.above.map_or(i64::MIN, JobId::get), filter.below.map_or(i64::MAX, JobId::get));
        Self { above, below, oldest_first: filter.oldest_first }
    }

    fn order(self) -> &'static str {
        if self.oldest_first { "ASC" } else { "DESC" }
    }

    /// The same ids from the other end.
    fn back(self) -> Self {
        Self { oldest_first: !self.oldest_first, ..self }
    }

    /// The same way, from one of its ids to another one.
    fn between(self, first: i64, last: i64) -> Self {
        Self { above: first.min(last) - 1, below: first.max(last) + 1, ..self }
    }

    /// The first so many ids of it.
    fn beginning(self, most: i64) -> Self {
        if self.oldest_first {
            Self { below: self.below.min(self.above + most + 1), ..self }
        } else {
            Self { above: self.above.max(self.below - most - 1), ..self }
        }
    }

    /// Where it goes on after a part that it begins with.
    fn behind(self, part: Self) -> Option<JobId> {
        let (goes_on, next) = if self.oldest_first {
            (part.below < self.below, part.below - 1)
        } else {
            (part.above > self.above, part.above + 1)
        };
        goes_on.then(|| JobId::new(next))
    }

    /// Those of these ids, which are in order, that lie on it.
    fn along(self, mut ids: Vec<i64>) -> impl Iterator<Item = i64> {
        ids.retain(|id| self.above < *id && *id < self.below);
        if !self.oldest_first {
            ids.reverse();
        }
        ids.into_iter()
    }

    /// Where a page begins whose first job may be this one.
    fn just_before(self, id: i64) -> JobId {
        JobId::new(id + if self.oldest_first { -1 } else { 1 })
    }

    /// The same way, but no further than this id.
    fn up_to(self, last: Option<i64>) -> Self {
        match last {
            Some(last) if self.oldest_first => Self { below: last.saturating_add(1), ..self },
            Some(last) => Self { above: last.saturating_sub(1), ..self },
            None => self,
        }
    }

    /// What is left of the way after this id.
    fn after(self, last: i64) -> Self {
        if self.oldest_first { Self { above: last, ..self } } else { Self { below: last, ..self } }
    }
}

/// The last row that a page may look at; `None` if it may look at all there are.
fn end(snapshot: &Snapshot<'_>, walk: Walk, way: Way) -> rusqlite::Result<Option<i64>> {
    let (ids, id, of_walk, skipped) = (walk.ids(), walk.id(), walk.condition(), MAX_EXAMINED - 1);
    let sql = format!(
        "SELECT {id} FROM {ids} WHERE {of_walk}{id} > ?1 AND {id} < ?2 ORDER BY {id} {} LIMIT 1 OFFSET {skipped}",
        way.order()
    );
    snapshot.prepare_cached(&sql)?.query_row([way.above, way.below], |row| row.get(0)).optional()
}

/// The first row on this way.
fn nearest(snapshot: &Snapshot<'_>, walk: Walk, way: Way) -> rusqlite::Result<Option<i64>> {
    let (ids, id, of_walk) = (walk.ids(), walk.id(), walk.condition());
    let nearest = if way.oldest_first { "min" } else { "max" };
    let sql = format!("SELECT {nearest}({id}) FROM {ids} WHERE {of_walk}{id} > ?1 AND {id} < ?2");
    snapshot.prepare_cached(&sql)?.query_row([way.above, way.below], |row| row.get(0))
}

/// Where the page after one that ended at `last` begins, if there is anything more.
fn next(snapshot: &Snapshot<'_>, walk: Walk, way: Way, last: i64) -> rusqlite::Result<Option<JobId>> {
    Ok(nearest(snapshot, walk, way.after(last))?.map(|id| way.just_before(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids of each part, going on from one to the next.
    fn parts(mut way: Way) -> Vec<(i64, i64)> {
        let mut parts = Vec::new();
        loop {
            let part = way.beginning(10);
            parts.push((part.above + 1, part.below - 1));
            let Some(next) = way.behind(part) else { return parts };
            way = way.after(next.get());
        }
    }

    #[test]
    fn the_parts_of_a_way_are_the_whole_of_it() {
        let whole = Way { above: i64::MIN, below: i64::MAX, oldest_first: false };
        assert_eq!(parts(whole.between(25, 1)), [(16, 25), (6, 15), (1, 5)]);
        assert_eq!(parts(whole.back().between(1, 25)), [(1, 10), (11, 20), (21, 25)]);
        assert_eq!(parts(whole.between(10, 1)), [(1, 10)]);
        assert_eq!(parts(whole.between(14, 4)), [(5, 14), (4, 4)]);
        assert_eq!(parts(whole.back().between(4, 14)), [(4, 13), (14, 14)]);
        assert_eq!(parts(whole.between(7, 7)), [(7, 7)]);
    }
}
