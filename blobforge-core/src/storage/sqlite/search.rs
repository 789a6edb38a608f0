//! Which jobs may have a text, without looking at every job.
//!
//! The index holds every three letters in a row that the texts of a job have. It is behind: jobs that came or changed
//! since it was last brought up to date are looked at one by one.

use rusqlite::{CachedStatement, OptionalExtension, params};

use super::{
    columns,
    reads::Snapshot,
    rows::rows,
    statements::{Sql, Statements},
};
use crate::{Job, storage::query::searched_texts};

/// More of a text than this is not looked up: the jobs that have so much of it are few.
const MAX_PIECES: usize = 32;
/// SQLite ends a text here.
const NEVER_INDEXED: char = '\0';

/// What the index is to be asked for jobs that may have a text; `None` for one of less than three letters, of which the
/// index knows nothing.
pub(super) fn question(text: &str) -> Option<String> {
    let letters: Vec<char> = text.to_lowercase().chars().collect();
    // Each letter once: that asks a third of the index, and it is the jobs that decide.
    let last = letters.len().checked_sub(3)?;
    let begins = (0..last).step_by(3).chain([last]);
    let pieces = begins.map(|begin| &letters[begin..begin + 3]);
    let pieces = pieces.filter(|piece| !piece.contains(&NEVER_INDEXED)).take(MAX_PIECES);
    let quoted = pieces.map(|piece| format!("\"{}\"", String::from_iter(piece).replace('"', "\"\"")));
    let question = quoted.collect::<Vec<_>>().join(" AND ");
    (!question.is_empty()).then_some(question)
}

/// Finds the ids of jobs that may have what the index is asked for (`?1`), both ends left out: those it knows, those that
/// have changed, and those it does not know yet. All three are in order, and are read only as far as they are wanted.
pub(super) fn candidates<'s>(
    snapshot: &'s Snapshot<'_>,
    order: &str,
) -> rusqlite::Result<CachedStatement<'s>> {
    snapshot.prepare_cached(&format!(
        "SELECT rowid AS id FROM texts WHERE texts MATCH ?1 AND rowid > ?2 AND rowid < ?3 \
         UNION SELECT job_id FROM texts_changed WHERE job_id > ?2 AND job_id < ?3 \
         UNION SELECT id FROM jobs WHERE id > max(?2, (SELECT value FROM meta WHERE key = 'texts_up_to')) AND id < ?3 \
         ORDER BY id {order}"
    ))
}

/// Notes that the texts of a job are other ones now.
pub(super) fn note_change(sql: &mut Statements<'_>, before: &Job, after: &Job) -> rusqlite::Result<()> {
    if !searched_texts(before).eq(searched_texts(after)) {
        sql.get(Sql::TextChanged)?.execute([after.id.get()])?;
    }
    Ok(())
}

/// Takes the texts of up to `limit` more jobs, at least one, into the index; whether there are more of them.
pub(super) fn index(sql: &mut Statements<'_>, limit: usize) -> rusqlite::Result<bool> {
    let known: i64 = sql.get(Sql::TextsUpTo)?.query_row([], |row| row.get(0))?;
    let changed = sql.get(Sql::ChangedTexts)?.query_map([rows(limit)], |row| row.get(0))?;
    let changed = changed.collect::<rusqlite::Result<Vec<i64>>>()?;
    for id in &changed {
        sql.get(Sql::ForgetChangedText)?.execute([id])?;
        // The index is told of a job that it does not know yet when its turn comes.
        if *id <= known {
            sql.get(Sql::DeleteText)?.execute([id])?;
            let job = sql.get(Sql::Job)?.query_row([id], columns::job).optional()?;
            job.iter().try_for_each(|job| put(sql, job))?;
        }
    }
    let rest = limit - changed.len();
    let new = sql.get(Sql::JobsAbove)?.query_map(params![known, rows(rest)], columns::job)?;
    let new = new.collect::<rusqlite::Result<Vec<Job>>>()?;
    new.iter().try_for_each(|job| put(sql, job))?;
    if let Some(last) = new.last() {
        sql.get(Sql::SetTextsUpTo)?.execute([last.id.get()])?;
    }
    Ok(new.len() == rest)
}

/// Puts pieces of the index together, of which each step of [`index`] leaves one; whether there may be more to do. Fewer pieces
/// are fewer places to look at.
pub(super) fn tidy(sql: &mut Statements<'_>) -> rusqlite::Result<bool> {
    let before = sql.connection().total_changes();
    sql.get(Sql::MergeTexts)?.execute([])?;
    // As SQLite says: one row is changed in any case.
    Ok(sql.connection().total_changes() - before > 1)
}

fn put(sql: &mut Statements<'_>, job: &Job) -> rusqlite::Result<()> {
    let texts = searched_texts(job).map(str::to_lowercase).collect::<Vec<_>>().join("\n");
    if !texts.is_empty() {
        let text = texts.replace(NEVER_INDEXED, "\u{FFFD}");
        sql.get(Sql::PutText)?.execute(params![job.id.get(), text])?;
    }
    Ok(())
}
