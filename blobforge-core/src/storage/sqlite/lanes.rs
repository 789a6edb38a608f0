//! Types, classes, limit keys and lanes, in SQLite.

use std::rc::Rc;

use rusqlite::{OptionalExtension, params};

use super::{
    columns::{self, to_json},
    front::Bytes,
    rows::{SqliteRows, rows},
    statements::Sql,
};
use crate::{
    JobType, Priority, Timestamp,
    storage::rows::{ClassRow, Front, Head, LaneId, LaneRow, LaneRows, LaneState, Load, Place, TypeRow},
};

impl LaneRows for SqliteRows<'_, '_> {
    type Error = rusqlite::Error;

    fn job_type(&mut self, job_type: &JobType) -> rusqlite::Result<Option<TypeRow>> {
        self.sql.get(Sql::JobType)?.query_row([job_type.as_str()], columns::type_row).optional()
    }

    fn put_type(&mut self, job_type: &JobType, row: &TypeRow) -> rusqlite::Result<()> {
        self.sql.get(Sql::PutType)?.execute(params![
            job_type.as_str(),
            to_json(&row.settings)?,
            row.paused,
            row.load.running,
            row.load.started.0.as_millis(),
            row.load.blocked,
            row.load.reopens_at.map(Timestamp::as_millis),
            row.turn,
        ])?;
        Ok(())
    }

    fn reopening_types(&mut self, now: Timestamp) -> rusqlite::Result<Vec<JobType>> {
        self.sql.get(Sql::ReopeningTypes)?.query_map([now.as_millis()], columns::job_type)?.collect()
    }

    fn classes(&mut self, job_type: &JobType) -> rusqlite::Result<Vec<ClassRow>> {
        self.sql.get(Sql::Classes)?.query_map([job_type.as_str()], columns::class)?.collect()
    }

    fn put_class(&mut self, job_type: &JobType, row: &ClassRow) -> rusqlite::Result<()> {
        let requires = to_json(&row.requires)?;
        let row = params![job_type.as_str(), row.class, requires, row.passed, row.live];
        self.sql.get(Sql::PutClass)?.execute(row)?;
        Ok(())
    }

    fn reopen_keys(&mut self, job_type: &JobType, at: Timestamp) -> rusqlite::Result<()> {
        self.sql.get(Sql::ReopenKeys)?.execute(params![job_type.as_str(), at.as_millis()])?;
        Ok(())
    }

    fn reopening_keys(&mut self, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<(JobType, String)>> {
        self.sql
            .get(Sql::ReopeningKeys)?
            .query_map(params![now.as_millis(), rows(limit)], |row| {
                Ok((columns::job_type(row)?, row.get(1)?))
            })?
            .collect()
    }

    fn reopen_all_at(&mut self, at: Timestamp) -> rusqlite::Result<()> {
        for sql in [Sql::ReopenTypesAt, Sql::ReopenKeysAt] {
            self.sql.get(sql)?.execute([at.as_millis()])?;
        }
        Ok(())
    }

    fn next_reopening(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        self.earliest(Sql::NextReopening)
    }

    fn lane(&mut self, job_type: &JobType, class: u8, key: &str) -> rusqlite::Result<Option<LaneRow>> {
        let lane = params![job_type.as_str(), class, key];
        self.sql.get(Sql::Lane)?.query_row(lane, columns::lane).optional()
    }

    fn lanes_of_key(&mut self, job_type: &JobType, key: &str) -> rusqlite::Result<Vec<u8>> {
        let of_key = params![job_type.as_str(), key];
        self.sql.get(Sql::LanesOfKey)?.query_map(of_key, |row| row.get(0))?.collect()
    }

    fn insert_lane(&mut self, job_type: &JobType, class: u8, key: &str) -> rusqlite::Result<LaneId> {
        self.sql.get(Sql::InsertLane)?.insert(params![job_type.as_str(), class, key]).map(LaneId)
    }

    fn delete_lane(&mut self, lane: LaneId) -> rusqlite::Result<()> {
        self.sql.get(Sql::DeleteLane)?.execute([lane.0])?;
        Ok(())
    }

    fn update_lane(
        &mut self,
        lane: LaneId,
        kept: &LaneState,
        state: &LaneState,
        front: &Front,
    ) -> rusqlite::Result<()> {
        let LaneState { head, load } = state;
        let (places, behind) = (Bytes::of(front), front.behind().map(Timestamp::as_millis));
        let (running, started) = (load.running, load.started.0.as_millis());
        let priority = head.map(|head| u8::from(head.priority));
        let (turn, oldest) = (head.map(|head| head.turn), head.map(|head| head.oldest.as_millis()));
        // What the indexes say of it is left alone, as far as it is still true.
        let reopens = |load: &Load| (load.blocked, load.reopens_at);
        let age = |head: Head| (head.priority, head.oldest);
        if reopens(&kept.load) != reopens(load) {
            let reopens_at = load.reopens_at.map(Timestamp::as_millis);
            let all = params![
                lane.0,
                places,
                behind,
                running,
                started,
                load.blocked,
                reopens_at,
                priority,
                turn,
                oldest
            ];
            self.sql.get(Sql::SetLane)?.execute(all)?;
        } else if kept.head == *head {
            self.sql.get(Sql::SetFront)?.execute(params![lane.0, places, behind, running, started])?;
        } else if kept.head.map(age) == head.map(age) {
            self.sql.get(Sql::SetTurn)?.execute(params![lane.0, places, behind, running, started, turn])?;
        } else {
            let with_head = params![lane.0, places, behind, running, started, priority, turn, oldest];
            self.sql.get(Sql::SetHead)?.execute(with_head)?;
        }
        Ok(())
    }

    fn heads(
        &mut self,
        job_type: &JobType,
        class: u8,
        after: Option<(Priority, i64, LaneId)>,
        limit: usize,
    ) -> rusqlite::Result<Vec<(Rc<str>, LaneRow)>> {
        // Before the first one: no priority and no turn is as small.
        let (priority, turn, lane) = after.map_or((0, 0, 0), |(p, turn, lane)| (u8::from(p), turn, lane.0));
        let window = params![job_type.as_str(), class, priority, turn, lane, rows(limit)];
        let mut heads = Vec::with_capacity(limit);
        let mut found = self.sql.get(Sql::Heads)?.query(window)?;
        while let Some(row) = found.next()? {
            heads.push(columns::keyed_lane(row)?);
        }
        Ok(heads)
    }

    fn oldest_head(&mut self, job_type: &JobType, class: u8) -> rusqlite::Result<Option<String>> {
        let of_class = params![job_type.as_str(), class];
        self.sql.get(Sql::OldestHead)?.query_row(of_class, |row| row.get(0)).optional()
    }

    fn push_ready(&mut self, lane: LaneId, place: &Place) -> rusqlite::Result<()> {
        self.place(Sql::InsertReady, lane, place).map(drop)
    }

    fn remove_ready(&mut self, lane: LaneId, place: &Place) -> rusqlite::Result<bool> {
        Ok(self.place(Sql::DeleteReady, lane, place)? > 0)
    }

    fn take_ready(&mut self, lane: LaneId, limit: usize) -> rusqlite::Result<Vec<Place>> {
        let first = params![lane.0, rows(limit)];
        let places: rusqlite::Result<Vec<Place>> =
            self.sql.get(Sql::FirstReady)?.query_map(first, columns::place)?.collect();
        let places = places?;
        if let Some(last) = places.last() {
            self.place(Sql::DeleteReadyUpTo, lane, last)?;
        }
        Ok(places)
    }

    fn oldest_ready(&mut self, lane: LaneId) -> rusqlite::Result<Option<Place>> {
        let mut oldest: Option<Place> = None;
        // The index is by priority first: the oldest of all is the oldest of one of the five.
        for priority in Priority::ALL {
            let first = params![lane.0, u8::from(priority)];
            let first = self.sql.get(Sql::FirstOfPriority)?.query_row(first, columns::place).optional()?;
            oldest = oldest.into_iter().chain(first).min_by_key(|place| (place.ready_at, place.id));
        }
        Ok(oldest)
    }
}

impl SqliteRows<'_, '_> {
    fn place(&mut self, sql: Sql, lane: LaneId, place: &Place) -> rusqlite::Result<usize> {
        let row = params![lane.0, u8::from(place.priority), place.ready_at.as_millis(), place.id.get()];
        self.sql.get(sql)?.execute(row)
    }
}
