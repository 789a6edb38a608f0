//! What holds for each type: paused or not, limits, retries and how long jobs are kept.

use std::time::Duration;

use askama::Template;
use blobforge_core::{KeyLimits, LimitBy, Status, TypeRecord, TypeSettings, storage::Counts};
use poem::{Response, handler};

use super::Tab;
use crate::{
    dashboard::{
        fault::Fault,
        frame::{Frame, Section, Visitor, page as sent},
        shown::{State, number},
    },
    words,
};

/// How many types are shown.
const TYPES: usize = 100;
const DAY: f64 = 86_400.0;

#[derive(Template)]
#[template(path = "admin/types.html")]
struct TypesPage {
    frame: Frame,
    tab: Tab,
    types: Vec<TypeCard>,
    more: usize,
}

/// Shows the types, by name, each with a form for what holds for it.
#[handler]
pub(in crate::dashboard) async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let queue = &visitor.shared.queue;
    let counts = queue.counts().await?;
    let types = queue.types().await?;
    let usual = Usual {
        max_attempts: visitor.shared.config.max_attempts,
        lease: words::about(visitor.shared.config.worker_timeout),
    };
    let more = types.len().saturating_sub(TYPES);
    let types = types.into_iter().take(TYPES).map(|record| TypeCard::new(record, &counts, &usual));
    sent(&TypesPage {
        frame: visitor.frame(Section::Admin, "Types"),
        tab: Tab::Types,
        types: types.collect(),
        more,
    })
}

/// What holds where a type says nothing.
struct Usual {
    max_attempts: u32,
    lease: String,
}

/// A type.
struct TypeCard {
    name: String,
    state: State,
    paused: bool,
    counts: Vec<(&'static str, String)>,
    /// What is set, in words.
    holds: Vec<String>,
    fields: Vec<Group>,
}

impl TypeCard {
    fn new(record: TypeRecord, counts: &Counts, usual: &Usual) -> Self {
        let TypeRecord { job_type, settings, paused } = record;
        let counted = Status::ALL.into_iter().filter_map(|status| {
            let jobs = counts.0.get(&(job_type.clone(), status)).copied().unwrap_or(0);
            (jobs > 0).then(|| (status.as_str(), number(&jobs)))
        });
        let (class, icon, word) =
            if paused { ("retrying", "paused", "paused") } else { ("completed", "running", "open") };
        Self {
            counts: counted.collect(),
            state: State { class, icon, word: word.to_owned() },
            paused,
            holds: holds(&settings),
            fields: groups(&settings, usual),
            name: job_type.into(),
        }
    }
}

/// What of the settings is set, for who reads and changes nothing.
fn holds(settings: &TypeSettings) -> Vec<String> {
    let span = |name: &str, span: Option<Duration>| span.map(|span| format!("{name} {}", words::span(span)));
    let about =
        |name: &str, span: Option<Duration>| span.map(|span| format!("{name} {}", words::about(span)));
    let kept = &settings.retention;
    let limits = &settings.limits;
    [
        limits.running.map(|most| format!("at most {most} running")),
        limits.starts.map(|rate| format!("{} starts in {}", rate.starts, words::span(rate.per))),
        settings.per_key.as_ref().map(of_keys),
        settings.max_attempts.map(|most| format!("{most} failing runs")),
        settings.retry.map(|retry| {
            format!("retries after {} to {}", words::span(retry.first), words::span(retry.longest))
        }),
        span("lease", settings.lease),
        span("stopped without progress for", settings.no_progress),
        about("completed kept", kept.completed),
        about("failed kept", kept.failed),
        about("cancelled kept", kept.cancelled),
        settings.oldest_share.map(|share| match share {
            0 => "by priority alone".to_owned(),
            share => format!("1 claim in {share} takes the oldest"),
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_keys(per_key: &KeyLimits) -> String {
    let by = match &per_key.by {
        LimitBy::Submitter => "submitter".to_owned(),
        LimitBy::Param(name) => format!("value of {name}"),
        LimitBy::Tag(name) => format!("tag {name}"),
    };
    let running = per_key.limits.running.map(|most| format!(", at most {most} running")).unwrap_or_default();
    format!("each {by} takes its turn{running}")
}

/// Fields that belong together.
struct Group {
    name: &'static str,
    /// They are one setting, which is said as a whole.
    whole: &'static str,
    fields: Vec<Field>,
}

/// One field of a form, as `form.js` reads it.
struct Field {
    label: &'static str,
    /// The field of the request.
    name: &'static str,
    value: String,
    placeholder: String,
    /// How many of the request's units one of the form's is.
    unit: f64,
}

fn field<N: ToString>(label: &'static str, name: &'static str, value: Option<N>, placeholder: &str) -> Field {
    let value = value.map(|number| number.to_string()).unwrap_or_default();
    Field { label, name, value, placeholder: placeholder.to_owned(), unit: 1.0 }
}

fn seconds(label: &'static str, name: &'static str, span: Option<Duration>, placeholder: &str) -> Field {
    field(label, name, span.map(|span| span.as_secs_f64()), placeholder)
}

fn days(label: &'static str, name: &'static str, span: Option<Duration>) -> Field {
    let days = span.map(|span| span.as_secs_f64() / DAY);
    Field { unit: DAY, ..field(label, name, days, "for ever") }
}

fn groups(settings: &TypeSettings, usual: &Usual) -> Vec<Group> {
    let group = |name, fields| Group { name, whole: "", fields };
    let (starts, retry, kept) = (settings.limits.starts, settings.retry, &settings.retention);
    vec![
        group(
            "Limits",
            vec![
                field("Running at once", "limits.running", settings.limits.running, "any number"),
                field("One claim in … takes the oldest", "oldest_share", settings.oldest_share, "20"),
            ],
        ),
        Group {
            name: "Starts",
            whole: "limits.starts",
            fields: vec![
                field("So many starts", "limits.starts.count", starts.map(|rate| rate.starts), "any number"),
                seconds(
                    "In so many seconds",
                    "limits.starts.per_seconds",
                    starts.map(|rate| rate.per),
                    "3600",
                ),
                field("At once after a rest", "limits.starts.burst", starts.map(|rate| rate.burst), "1"),
            ],
        },
        group(
            "Runs",
            vec![
                field(
                    "Failing runs",
                    "defaults.max_attempts",
                    settings.max_attempts,
                    &usual.max_attempts.to_string(),
                ),
                seconds("Lease, in seconds", "defaults.lease_seconds", settings.lease, &usual.lease),
                seconds(
                    "Stop without progress, in seconds",
                    "defaults.no_progress_seconds",
                    settings.no_progress,
                    "as the worker has it",
                ),
            ],
        ),
        Group {
            name: "Retries",
            whole: "defaults.retry",
            fields: vec![
                seconds(
                    "First wait, in seconds",
                    "defaults.retry.first_seconds",
                    retry.map(|retry| retry.first),
                    "as usual",
                ),
                seconds(
                    "Longest wait, in seconds",
                    "defaults.retry.longest_seconds",
                    retry.map(|retry| retry.longest),
                    "as usual",
                ),
            ],
        },
        group(
            "Days that ended jobs are kept",
            vec![
                days("Completed", "retention.completed_seconds", kept.completed),
                days("Failed", "retention.failed_seconds", kept.failed),
                days("Cancelled", "retention.cancelled_seconds", kept.cancelled),
            ],
        ),
    ]
}
