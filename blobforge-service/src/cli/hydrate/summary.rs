//! What became of all sources.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use super::place::Place;
use crate::cli::{
    CliError,
    listing::{ListStyle, as_text},
    terminal::{Column, table},
};

/// How many files that failed are shown.
const SHOWN: usize = 50;

/// What became of a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Fate {
    /// Its result was put beside it, or would be.
    Written,
    /// Its result lay there already.
    Unchanged,
    /// Something that somebody made or changed lies there.
    Kept,
    /// It has no result yet.
    Waiting,
    /// It failed.
    Failed { reason: String },
}

/// A source, and what became of it.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    #[serde(serialize_with = "as_text")]
    pub(super) path: PathBuf,
    #[serde(flatten)]
    pub(super) fate: Fate,
}

/// Prints what became of all sources.
///
/// # Errors
/// When standard output fails.
pub(super) fn print(outcomes: &[Outcome], style: ListStyle, dry_run: bool) -> Result<(), CliError> {
    for outcome in outcomes {
        let written = |outcome: &Outcome| {
            let place = Place::beside(&outcome.path);
            (outcome.fate == Fate::Written).then(|| place.markdown().display().to_string())
        };
        style.tell(outcome, written)?;
    }
    let tell = |text: String| style.tell_people(text);
    let rows = outcomes.iter().filter_map(|Outcome { path, fate }| match fate {
        Fate::Failed { reason } => Some(vec![path.display().to_string(), reason.clone()]),
        Fate::Kept => Some(vec![path.display().to_string(), KEPT.to_owned()]),
        _ => None,
    });
    let rows: Vec<_> = rows.take(SHOWN).collect();
    if !rows.is_empty() {
        tell(table(&[Column::Text("left as it is"), Column::Text("why")], rows))?;
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for outcome in outcomes {
        let name = match outcome.fate {
            Fate::Written => "written",
            Fate::Unchanged => "there already",
            Fate::Kept => "kept",
            Fate::Waiting => "without a result",
            Fate::Failed { .. } => "failed",
        };
        *counts.entry(name).or_insert(0) += 1;
    }
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    let written = if dry_run { "to write" } else { "written" };
    tell(format!(
        "{} {written}, {} there already, {} kept, {} without a result, {} failed",
        count("written"),
        count("there already"),
        count("kept"),
        count("without a result"),
        count("failed")
    ))
}

/// Why a result was not put beside its source.
const KEPT: &str = "somebody made or changed what lies there: --force replaces it";
