//! The lines of jobs that may run, and which of them are not empty.
//!
//! While a batch runs, nobody else writes: what it has learnt about a lane's first job holds until it changes it
//! itself. So a run of claims costs one look at the line each, and the lane's entry in `heads` is written at most once.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};

use super::{
    columns,
    statements::{Sql, Statements},
};
use crate::{JobType, storage::rows::Place};

/// The lanes that the current batch has touched.
#[derive(Debug, Default)]
pub(super) struct Lanes(HashMap<JobType, Lane>);

#[derive(Debug)]
struct Lane {
    /// `None` until the type's first job enters its line.
    id: Option<i64>,
    /// The priority under which `heads` holds it.
    head: Option<u8>,
    first: First,
}

/// Who stands first in a line, as far as is known.
#[derive(Debug)]
enum First {
    Unknown,
    Nobody,
    Job(Place),
}

impl Lanes {
    /// Puts a job into the line of its type.
    pub(super) fn push(
        &mut self,
        sql: &mut Statements<'_>,
        job_type: &JobType,
        place: &Place,
    ) -> rusqlite::Result<()> {
        let lane = self.lane(sql, job_type)?;
        let id = match lane.id {
            Some(id) => id,
            None => {
                let id = sql.get(Sql::InsertLane)?.insert([job_type.as_str()])?;
                *lane.id.insert(id)
            }
        };
        sql.get(Sql::InsertReady)?.execute(params![
            id,
            u8::from(place.priority),
            place.ready_at.as_millis(),
            place.id.get()
        ])?;
        match &lane.first {
            First::Unknown => {}
            First::Job(first) if first < place => {}
            First::Job(_) | First::Nobody => lane.first = First::Job(place.clone()),
        }
        Ok(())
    }

    /// Takes a job out of the line of its type, if it is there.
    pub(super) fn remove(
        &mut self,
        sql: &mut Statements<'_>,
        job_type: &JobType,
        place: &Place,
    ) -> rusqlite::Result<bool> {
        let lane = self.lane(sql, job_type)?;
        let Some(id) = lane.id else { return Ok(false) };
        let removed = sql.get(Sql::DeleteReady)?.execute(params![
            id,
            u8::from(place.priority),
            place.ready_at.as_millis(),
            place.id.get()
        ])?;
        if matches!(&lane.first, First::Job(first) if first == place) {
            lane.first = First::Unknown;
        }
        Ok(removed > 0)
    }

    /// The first in the line of a type.
    pub(super) fn first(
        &mut self,
        sql: &mut Statements<'_>,
        job_type: &JobType,
    ) -> rusqlite::Result<Option<Place>> {
        self.lane(sql, job_type)?.first(sql)
    }

    /// Brings `heads` in line with what the batch did, before it commits.
    pub(super) fn settle(&mut self, sql: &mut Statements<'_>) -> rusqlite::Result<()> {
        for (job_type, mut lane) in self.0.drain() {
            let Some(id) = lane.id else { continue };
            let head = lane.first(sql)?.map(|place| u8::from(place.priority));
            if head == lane.head {
                continue;
            }
            if let Some(old) = lane.head {
                sql.get(Sql::DeleteHead)?.execute(params![job_type.as_str(), old, id])?;
            }
            if let Some(new) = head {
                sql.get(Sql::InsertHead)?.execute(params![job_type.as_str(), new, id])?;
            }
        }
        Ok(())
    }

    /// Forgets everything: another batch begins, and others may have written since.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    fn lane(&mut self, sql: &mut Statements<'_>, job_type: &JobType) -> rusqlite::Result<&mut Lane> {
        // Not `entry`, which would clone the type for every lookup.
        if !self.0.contains_key(job_type) {
            let row = sql
                .get(Sql::Lane)?
                .query_row([job_type.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let (id, head) = row.map_or((None, None), |(id, head)| (Some(id), head));
            let first = if head.is_some() { First::Unknown } else { First::Nobody };
            self.0.insert(job_type.clone(), Lane { id, head, first });
        }
        self.0.get_mut(job_type).ok_or(rusqlite::Error::QueryReturnedNoRows)
    }
}

impl Lane {
    fn first(&mut self, sql: &mut Statements<'_>) -> rusqlite::Result<Option<Place>> {
        if let (First::Unknown, Some(id)) = (&self.first, self.id) {
            let first = sql.get(Sql::FirstReady)?.query_row([id], columns::place).optional()?;
            self.first = first.map_or(First::Nobody, First::Job);
        }
        Ok(match &self.first {
            First::Job(place) => Some(place.clone()),
            First::Unknown | First::Nobody => None,
        })
    }
}
