//! What comes after a restore: another generation, in which nothing counts that was given out before.

use std::time::Duration;

use super::Batch;
use crate::{Generation, JobId, Step, Timestamp, lifecycle, storage::rows::Rows};

/// How many leases are read at a time.
const LEASES_AT_A_TIME: usize = 500;

/// By how much ids go on at least, and for each second in which jobs may have come that the backup does not have: more than
/// anybody hands in.
const IDS_AT_LEAST: u64 = 1_000_000;
const IDS_A_SECOND: u64 = 10_000;

/// Does to a store what a restore of it asks for. Its workers hold leases that it may know nothing of any more, and there may be
/// jobs elsewhere with the ids that it would give out next: so whatever ran is free again, and ids go on far behind those that
/// it knows.
///
/// Returns the new generation, and how many jobs ran.
pub(in crate::storage) fn restored<R: Rows>(
    rows: &mut R,
    now: Timestamp,
) -> Result<(Generation, usize), R::Error> {
    let newest = rows.newest_job()?.max(rows.restored_at()?);
    let generation = next_generation(rows.generation(), now);
    rows.begin_generation(generation, now)?;
    rows.skip_ids(ids_to_skip(newest.map_or(Duration::ZERO, |newest| now.since(newest))))?;
    let mut batch = Batch::new(rows, now);
    let voided = batch.void_leases()?;
    batch.lanes.settle(batch.rows, now)?;
    Ok((generation, voided))
}

/// The generation that begins now. By the time, since the same backup may be restored more than once: what was given out after
/// the first of those times must count for nothing after the next.
fn next_generation(known: Generation, now: Timestamp) -> Generation {
    let seconds = u32::try_from(now.as_millis() / 1000).unwrap_or_default();
    Generation::new(known.get().saturating_add(1).max(seconds))
}

/// How many ids are left out, when nothing is known of what was submitted for so long.
fn ids_to_skip(unknown: Duration) -> u64 {
    IDS_AT_LEAST.saturating_add(unknown.as_secs().saturating_mul(IDS_A_SECOND))
}

impl<R: Rows> Batch<'_, R> {
    fn void_leases(&mut self) -> Result<usize, R::Error> {
        let (mut voided, mut after) = (0, JobId::new(0));
        loop {
            let running = self.rows.leases_after(after, LEASES_AT_A_TIME)?;
            let Some(last) = running.last() else { return Ok(voided) };
            after = *last;
            for id in running {
                let Some(job) = self.rows.job(id)? else { continue };
                if let Ok(transition) = lifecycle::apply(&job.life, None, &Step::Void, self.now) {
                    self.follow(job, transition, |_| {})?;
                    voided += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_rise_and_are_told_apart_by_when_they_began() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let after = |known, now| next_generation(Generation::new(known), now).get();
        let first = after(1, at("2026-03-01T12:00:00Z"));
        assert!(after(1, at("2026-03-01T12:00:01Z")) > first, "the same backup again");
        assert!(after(first, at("2026-02-01T12:00:00Z")) > first, "a clock that was put back");
        assert_eq!(after(1, at("2200-01-01T00:00:00Z")), 2, "one in a time that has no number");
    }

    #[test]
    fn ids_go_on_behind_all_that_can_have_been_given_out_meanwhile() {
        assert_eq!(ids_to_skip(Duration::ZERO), 1_000_000);
        assert_eq!(ids_to_skip(Duration::from_secs(3600)), 37_000_000);
        let for_years = ids_to_skip(Duration::from_secs(10 * 365 * 86_400));
        assert!(for_years < 1 << 53, "what reads JSON may not know larger numbers: {for_years}");
    }
}
