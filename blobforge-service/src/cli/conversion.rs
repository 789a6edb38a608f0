//! Which of a file's jobs is the one that turns it into Markdown, where nobody names a type.

use blobforge_core::Status;
use blobforge_worker_sdk::{client::JobView, marker};
use serde_json::{Map, Value};

use super::submit::USUAL_TYPE;

/// The types whose jobs turn a file into Markdown, the best first.
const TYPES: [&str; 2] = [marker::JOB_TYPE, USUAL_TYPE];

/// Which of the converting types a job is of.
fn converter(job: &JobView) -> Option<usize> {
    TYPES.iter().position(|name| *name == job.job_type)
}

/// The job that a file has, of all that were made of it: one that converts the whole of it.
pub(super) fn of_file(jobs: Vec<JobView>) -> Option<JobView> {
    let stands_for_it = |job: &JobView| job.job_type == USUAL_TYPE || job.status != Status::Cancelled;
    let rank = |job: &JobView| match job.status {
        Status::Completed => 0,
        Status::Running => 1,
        Status::Pending => 2,
        Status::Uploading => 3,
        Status::Failed => 4,
        Status::Cancelled => 5,
    };
    let jobs = jobs.into_iter().filter(|job| converter(job).is_some() && is_plain(job));
    // Of equal ones the first, which is the newest.
    jobs.filter(stands_for_it).min_by_key(rank)
}

/// The result that a file has, of all jobs that were made of it: that of the best engine, and of a type that somebody made up
/// only where there is no other.
pub(super) fn result(jobs: Vec<JobView>) -> Option<JobView> {
    let has_document = |job: &JobView| {
        let names = job.outputs.iter().map(|output| output.name.as_str());
        job.status == Status::Completed
            && names.into_iter().any(|name| name.ends_with(".md") || name.ends_with(".zip"))
    };
    let jobs = jobs.into_iter().filter(has_document);
    jobs.min_by_key(|job| converter(job).unwrap_or(TYPES.len()))
}

/// Whether a job has no parameters, by which it may be about a part of its file.
fn is_plain(job: &JobView) -> bool {
    job.more.get("params").and_then(Value::as_object).is_none_or(Map::is_empty)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(id: i64, job_type: &str, status: &str, output: &str) -> JobView {
        let job = json!({
            "id": id, "type": job_type, "status": status, "status_label": status, "priority": 3, "source_hash": null,
            "source_path": null, "progress": null, "last_error": null, "result": null,
            "outputs": [{"name": output, "size": 1, "sha256": null}], "params": {},
        });
        serde_json::from_value(job).unwrap()
    }

    fn id(job: Option<JobView>) -> Option<i64> {
        job.map(|job| job.id.get())
    }

    #[test]
    fn who_names_no_type_has_what_was_converted_by_any_engine() {
        let mut part = job(10, "pdf-text", "completed", "document.md");
        part.more.insert("params".to_owned(), json!({"pages": "1-2"}));
        let jobs = [
            part,
            job(9, "word-count", "completed", "count.json"),
            job(8, "pdf-text", "failed", "none"),
            job(7, "pdf", "pending", "none"),
            job(6, "pdf", "completed", "content.md"),
            job(5, "pdf-text", "completed", "document.md"),
        ];
        assert_eq!(id(of_file(jobs.to_vec())), Some(6));
        assert_eq!(id(of_file(jobs[2..4].to_vec())), Some(7));
        assert_eq!(id(of_file(jobs[..2].to_vec())), None, "a part of it, and something else");
        assert_eq!(id(of_file(vec![job(4, "pdf", "cancelled", "none")])), None, "that one converts nothing");
        assert_eq!(id(of_file(vec![job(4, "pdf-text", "cancelled", "none")])), Some(4));
    }

    #[test]
    fn the_best_result_is_that_of_the_best_engine_whatever_is_newer() {
        let jobs = [
            job(9, "summary", "completed", "sum.md"),
            job(8, "word-count", "completed", "count.json"),
            job(7, "pdf-text", "completed", "document.md"),
            job(6, "pdf", "completed", "content.md"),
            job(5, "pdf", "completed", "content.md"),
        ];
        assert_eq!(id(result(jobs.to_vec())), Some(6), "the newest of the best");
        assert_eq!(id(result(jobs[..3].to_vec())), Some(7));
        assert_eq!(id(result(jobs[..2].to_vec())), Some(9), "nothing else has any Markdown");
        assert_eq!(id(result(jobs[1..2].to_vec())), None);
    }
}
