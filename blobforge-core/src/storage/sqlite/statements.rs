//! Every statement of the writer, by name, each prepared once.

use rusqlite::{Connection, PrepFlags, Statement};

use super::columns::{attempt_columns, file_columns, job_columns, lane_columns, message_columns};

macro_rules! statements {
    ($($name:ident: $text:expr,)*) => {
        /// The name of a statement.
        #[derive(Clone, Copy, Debug)]
        pub(super) enum Sql { $($name,)* }

        const TEXTS: &[&str] = &[$($text,)*];
    };
}

statements! {
    Begin: "BEGIN IMMEDIATE",
    DataVersion: "PRAGMA data_version",
    Generation: super::open::GENERATION,
    BeginGeneration: "UPDATE meta SET value = ?1 WHERE key = 'generation'",
    PutRestoredAt: "INSERT OR REPLACE INTO meta (key, value) VALUES ('restored_at', ?1)",
    Turn: "UPDATE meta SET value = value + 1 WHERE key = 'turn' \
         RETURNING value, (SELECT value FROM meta WHERE key = 'home')",
    Commit: "COMMIT",
    Rollback: "ROLLBACK",

    Job: concat!("SELECT ", job_columns!(), " FROM jobs j LEFT JOIN leases l ON l.job_id = j.id WHERE j.id = ?1"),
    InsertJob: "INSERT INTO jobs (type, priority, status, epoch, failures, losses, max_attempts, run_at, ready_at, \
         created_at, started_at, ended_at, updated_at, source_key, source_size, source_sha256, source_verified, \
         source_arrived, last_error, progress, result, outputs, limit_key, dedup, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
         ?21, ?22, ?23, ?24, ?25)",
    NewestJob: "SELECT created_at FROM jobs WHERE id = (SELECT max(id) FROM jobs)",
    SkipIds: "UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'jobs'",
    BeginIdsBehind: "INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', ?1)",
    UpdateJob: "UPDATE jobs SET priority = ?2, status = ?3, epoch = ?4, failures = ?5, losses = ?6, \
         max_attempts = ?7, run_at = ?8, ready_at = ?9, started_at = ?10, ended_at = ?11, updated_at = ?12, \
         source_key = ?13, source_size = ?14, source_sha256 = ?15, source_verified = ?16, \
         source_arrived = ?17, last_error = ?18, progress = ?19, result = ?20, outputs = ?21, \
         failure_group = ?22 WHERE id = ?1",
    UpdateBody: "UPDATE jobs SET body = ?2 WHERE id = ?1",

    PutLease: "INSERT OR REPLACE INTO leases (job_id, generation, epoch, secret, worker, host, claim_id, started_at, \
         expires_at, duration, lapsed, cancel_requested, progress, updated_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    UpdateLease: "UPDATE leases SET expires_at = ?2, lapsed = ?3, cancel_requested = ?4, progress = ?5, \
         updated_at = ?6 WHERE job_id = ?1",
    DeleteLease: "DELETE FROM leases WHERE job_id = ?1",
    DueLeases: "SELECT job_id FROM leases WHERE lapsed = 0 AND expires_at <= ?1 ORDER BY expires_at, job_id LIMIT ?2",
    NextLeaseExpiry: "SELECT min(expires_at) FROM leases WHERE lapsed = 0",
    LeasesAfter: "SELECT job_id FROM leases WHERE job_id > ?1 ORDER BY job_id LIMIT ?2",
    LeasesOf: "SELECT job_id FROM leases WHERE worker = ?1 ORDER BY job_id",
    LeasesOfClaim: "SELECT job_id FROM leases INDEXED BY leases_claim WHERE worker = ?1 AND claim_id = ?2 \
         ORDER BY job_id",
    StaleUploads: "SELECT id FROM jobs WHERE status = 0 AND updated_at <= ?1 ORDER BY updated_at, id LIMIT ?2",

    JobType: "SELECT settings, paused, running, started, blocked, reopens_at, turn FROM types WHERE type = ?1",
    PutType: "INSERT OR REPLACE INTO types (type, settings, paused, running, started, blocked, reopens_at, turn) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    Types: "SELECT type, settings, paused FROM types ORDER BY type",
    ReopeningTypes: "SELECT type FROM types WHERE reopens_at <= ?1 ORDER BY type",
    Classes: "SELECT class, requires, passed, live FROM classes WHERE type = ?1 ORDER BY class",
    PutClass: "INSERT OR REPLACE INTO classes (type, class, requires, passed, live) VALUES (?1, ?2, ?3, ?4, ?5)",
    ReopenKeys: "UPDATE lanes SET reopens_at = ?2 WHERE type = ?1 AND blocked",
    ReopenTypesAt: "UPDATE types SET reopens_at = ?1 WHERE reopens_at > ?1",
    ReopenKeysAt: "UPDATE lanes SET reopens_at = ?1 WHERE reopens_at > ?1",
    ReopeningKeys: "SELECT type, key FROM lanes WHERE reopens_at <= ?1 ORDER BY reopens_at, type, key LIMIT ?2",
    NextReopening: "SELECT min(at) FROM (SELECT min(reopens_at) AS at FROM types \
         UNION ALL SELECT min(reopens_at) FROM lanes WHERE reopens_at IS NOT NULL)",

    Lane: concat!("SELECT ", lane_columns!(), " FROM lanes WHERE type = ?1 AND class = ?2 AND key = ?3"),
    LanesOfKey: "SELECT class FROM lanes WHERE type = ?1 AND key = ?2 ORDER BY class",
    InsertLane: "INSERT INTO lanes (type, class, key, front, running, started, blocked) \
         VALUES (?1, ?2, ?3, x'', 0, 0, 0)",
    DeleteLane: "DELETE FROM lanes WHERE id = ?1",
    SetFront: "UPDATE lanes SET front = ?2, behind = ?3, running = ?4, started = ?5 WHERE id = ?1",
    SetTurn: "UPDATE lanes SET front = ?2, behind = ?3, running = ?4, started = ?5, turn = ?6 WHERE id = ?1",
    SetHead: "UPDATE lanes SET front = ?2, behind = ?3, running = ?4, started = ?5, \
         priority = ?6, turn = ?7, oldest = ?8 WHERE id = ?1",
    SetLane: "UPDATE lanes SET front = ?2, behind = ?3, running = ?4, started = ?5, blocked = ?6, reopens_at = ?7, \
         priority = ?8, turn = ?9, oldest = ?10 WHERE id = ?1",
    Heads: concat!("SELECT key, ", lane_columns!(), " FROM lanes INDEXED BY heads \
         WHERE type = ?1 AND class = ?2 AND priority IS NOT NULL AND (priority, turn, id) > (?3, ?4, ?5) \
         ORDER BY priority, turn, id LIMIT ?6"),
    OldestHead: "SELECT key FROM lanes INDEXED BY heads_oldest \
         WHERE type = ?1 AND class = ?2 AND priority IS NOT NULL ORDER BY oldest, id LIMIT 1",
    InsertReady: "INSERT INTO ready (lane, priority, ready_at, id) VALUES (?1, ?2, ?3, ?4)",
    DeleteReady: "DELETE FROM ready WHERE lane = ?1 AND priority = ?2 AND ready_at = ?3 AND id = ?4",
    FirstReady: "SELECT priority, ready_at, id FROM ready WHERE lane = ?1 ORDER BY priority, ready_at, id LIMIT ?2",
    IsReady: "SELECT 1 FROM ready WHERE lane = ?1 AND priority = ?2 AND ready_at = ?3 AND id = ?4",
    ReadyBefore: "SELECT id FROM ready WHERE lane = ?1 AND (priority, ready_at, id) < (?2, ?3, ?4) LIMIT ?5",
    DeleteReadyUpTo: "DELETE FROM ready WHERE lane = ?1 AND (priority, ready_at, id) <= (?2, ?3, ?4)",
    FirstOfPriority: "SELECT priority, ready_at, id FROM ready WHERE lane = ?1 AND priority = ?2 \
         ORDER BY ready_at, id LIMIT 1",

    Lanes: concat!("SELECT ", lane_columns!(), " FROM lanes LIMIT ?1"),
    BehindFronts: "SELECT id FROM ready UNION ALL SELECT id FROM scheduled LIMIT ?1",

    InsertScheduled: "INSERT INTO scheduled (run_at, id) VALUES (?1, ?2)",
    DeleteScheduled: "DELETE FROM scheduled WHERE run_at = ?1 AND id = ?2",
    DueScheduled: "SELECT run_at, id FROM scheduled WHERE run_at <= ?1 ORDER BY run_at, id LIMIT ?2",
    NextScheduled: "SELECT min(run_at) FROM scheduled",

    InsertAttempt: concat!("INSERT INTO attempts (job_id, ", attempt_columns!(), ") \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"),
    DeleteAttempt: "DELETE FROM attempts WHERE job_id = ?1 AND epoch = ?2",
    Attempt: concat!("SELECT ", attempt_columns!(), " FROM attempts WHERE job_id = ?1 AND epoch = ?2"),
    Attempts: concat!("SELECT ", attempt_columns!(), " FROM attempts WHERE job_id = ?1 ORDER BY epoch"),

    Log: "SELECT log_tail FROM logs WHERE job_id = ?1",
    PutLog: "INSERT OR REPLACE INTO logs (job_id, log_tail) VALUES (?1, ?2)",
    DeleteLog: "DELETE FROM logs WHERE job_id = ?1",
    Checkpoints: "SELECT name, size, sha256, key FROM checkpoints WHERE job_id = ?1 ORDER BY name",
    PutCheckpoint: "INSERT OR REPLACE INTO checkpoints (job_id, name, size, sha256, key) VALUES (?1, ?2, ?3, ?4, ?5)",
    DeleteCheckpoints: "DELETE FROM checkpoints WHERE job_id = ?1",

    Duplicate: "SELECT job_id FROM dedup WHERE work = ?1 AND scope = ?2",
    PutDuplicate: "INSERT INTO dedup (work, scope, job_id) VALUES (?1, ?2, ?3) \
        ON CONFLICT DO UPDATE SET job_id = excluded.job_id WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE id = dedup.job_id)",
    Content: "SELECT key, size FROM contents WHERE sha256 = ?1",
    PutContent: "INSERT OR IGNORE INTO contents (sha256, key, size) VALUES (?1, ?2, ?3)",
    ForgetContent: "DELETE FROM contents WHERE key = ?1",

    File: concat!("SELECT ", file_columns!(), " FROM files WHERE key = ?1"),
    PutFile: concat!("INSERT OR REPLACE INTO files (", file_columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
    DeleteFile: "DELETE FROM files WHERE key = ?1",
    HasFile: "SELECT 1 FROM files WHERE key = ?1 AND deleting_since IS NULL",
    FilesOf: concat!("SELECT ", file_columns!(), " FROM files WHERE job_id = ?1 ORDER BY epoch, key"),
    FilesOfAttempt: concat!("SELECT ", file_columns!(), " FROM files WHERE job_id = ?1 AND epoch = ?2 ORDER BY key"),
    DeadFiles: concat!("SELECT ", file_columns!(), " FROM files WHERE deleting_since IS NULL \
         AND dead_since <= ?3 AND (dead_since, key) > (?1, ?2) ORDER BY dead_since, key LIMIT ?4"),
    DeletingFiles: concat!("SELECT ", file_columns!(), " FROM files WHERE deleting_since <= ?1 \
         ORDER BY deleting_since, key LIMIT ?2"),
    IsSource: "SELECT 1 FROM jobs WHERE source_key = ?1 AND (source_arrived = 1 OR status = 0)",
    HasArrived: "SELECT 1 FROM jobs WHERE source_key = ?1 AND source_arrived = 1",
    RestoredAt: "SELECT value FROM meta WHERE key = 'restored_at'",

    TextsUpTo: "SELECT value FROM meta WHERE key = 'texts_up_to'",
    SetTextsUpTo: "UPDATE meta SET value = ?1 WHERE key = 'texts_up_to'",
    PutText: "INSERT INTO texts (rowid, text) VALUES (?1, ?2)",
    DeleteText: "DELETE FROM texts WHERE rowid = ?1",
    MergeTexts: "INSERT INTO texts (texts, rank) VALUES ('merge', 50)",
    ChangedTexts: "SELECT job_id FROM texts_changed ORDER BY job_id LIMIT ?1",
    TextChanged: "INSERT OR IGNORE INTO texts_changed (job_id) VALUES (?1)",
    ForgetChangedText: "DELETE FROM texts_changed WHERE job_id = ?1",
    JobsAbove: concat!("SELECT ", job_columns!(), " FROM jobs j LEFT JOIN leases l ON l.job_id = j.id \
         WHERE j.id > ?1 ORDER BY j.id LIMIT ?2"),

    DeleteJob: "DELETE FROM jobs WHERE id = ?1",
    DeleteAttempts: "DELETE FROM attempts WHERE job_id = ?1",
    DeleteDuplicate: "DELETE FROM dedup WHERE work = ?1 AND scope = ?2 AND job_id = ?3",

    PutExpiry: "INSERT OR REPLACE INTO expiries (job_id, at) VALUES (?1, ?2)",
    DeleteExpiry: "DELETE FROM expiries WHERE job_id = ?1",
    DueExpiries: "SELECT job_id FROM expiries WHERE at <= ?1 ORDER BY at, job_id LIMIT ?2",
    NextExpiry: "SELECT min(at) FROM expiries",
    PutRescan: "INSERT OR REPLACE INTO rescans (type, below) VALUES (?1, ?2)",
    DeleteRescan: "DELETE FROM rescans WHERE type = ?1",
    FirstRescan: "SELECT type, below FROM rescans ORDER BY type LIMIT 1",
    JobsBelow: "SELECT id, type, status, ended_at FROM jobs WHERE id < ?1 ORDER BY id DESC LIMIT ?2",

    IsDraining: "SELECT draining FROM workers WHERE id = ?1 AND unregistered = 0",
    Claimer: "SELECT draining, host FROM workers WHERE id = ?1 AND unregistered = 0",
    Worker: "SELECT registration, registered_at, last_seen_at, draining, unregistered, condition FROM workers WHERE id = ?1",
    Workers: "SELECT registration, registered_at, last_seen_at, draining, unregistered, condition FROM workers ORDER BY id",
    PutWorker: "INSERT OR REPLACE INTO workers (id, registered_at, last_seen_at, draining, unregistered, host, registration, \
         condition) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    SilentWorkers: "SELECT id FROM workers WHERE last_seen_at <= ?1 ORDER BY last_seen_at, id LIMIT ?2",
    TouchWorker: "UPDATE workers SET last_seen_at = ?2, condition = ifnull(?3, condition) WHERE id = ?1",
    DeleteWorker: "DELETE FROM workers WHERE id = ?1",

    SubmissionKey: "SELECT fingerprint, job_id, expires_at FROM idempotency WHERE scope = ?1 AND key = ?2",
    PutSubmissionKey: "INSERT OR REPLACE INTO idempotency (scope, key, fingerprint, job_id, expires_at) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
    DeleteSubmissionKey: "DELETE FROM idempotency WHERE scope = ?1 AND key = ?2",
    ExpiredSubmissionKeys: "SELECT scope, key FROM idempotency WHERE expires_at <= ?1 \
         ORDER BY expires_at, scope, key LIMIT ?2",

    FailureGroup: "SELECT id FROM failure_groups WHERE type = ?1 AND kind = ?2 AND message = ?3",
    CountFailureGroups: "SELECT count(*) FROM failure_groups WHERE type = ?1",
    UnusedFailureGroup: "SELECT id FROM failure_groups WHERE type = ?1 AND jobs = 0 ORDER BY last_seen, id LIMIT 1",
    DeleteFailureGroup: "DELETE FROM failure_groups WHERE id = ?1",
    InsertFailureGroup: "INSERT INTO failure_groups (type, kind, message, jobs, failures, first_seen, last_seen) \
         VALUES (?1, ?2, ?3, 0, 0, ?4, ?4)",
    AddToFailureGroup: "UPDATE failure_groups SET jobs = jobs + ?2, failures = failures + ?3, last_seen = ?4 \
         WHERE id = ?1",
    LeaveFailureGroup: "UPDATE failure_groups SET jobs = jobs - 1 WHERE id = ?1",
    FailureGroups: "SELECT id, type, kind, message, jobs, failures, first_seen, last_seen FROM failure_groups \
         ORDER BY jobs DESC, last_seen DESC, id DESC LIMIT ?1",
    FailureGroupsOf: "SELECT id, type, kind, message, jobs, failures, first_seen, last_seen FROM failure_groups \
         WHERE type = ?1 ORDER BY jobs DESC, last_seen DESC, id DESC LIMIT ?2",

    Subscribers: "SELECT name, type, ends FROM subscribers ORDER BY name",
    PutSubscriber: "INSERT OR REPLACE INTO subscribers (name, type, ends) VALUES (?1, ?2, ?3)",
    DeleteSubscriber: "DELETE FROM subscribers WHERE name = ?1",
    PutMessage: "INSERT OR REPLACE INTO outbox (number, generation, subscriber, address, job_id, type, status, epoch, \
         ended_at, tries, due_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    Message: concat!("SELECT ", message_columns!(), " FROM outbox WHERE number = ?1"),
    DueMessages: concat!("SELECT ", message_columns!(), " FROM outbox WHERE due_at <= ?1 ORDER BY due_at, number LIMIT ?2"),
    DueNumbers: "SELECT number FROM outbox WHERE due_at <= ?1 ORDER BY due_at, number LIMIT ?2",
    NextMessage: "SELECT min(due_at) FROM outbox",
    HastenMessages: "UPDATE outbox SET due_at = ?1 WHERE due_at > ?1",
    DeleteMessage: "DELETE FROM outbox WHERE number = ?1",

    Record: "SELECT value FROM records WHERE collection = ?1 AND key = ?2",
    Records: "SELECT key, value FROM records WHERE collection = ?1 ORDER BY key",
    PutRecord: "INSERT OR REPLACE INTO records (collection, key, value) VALUES (?1, ?2, ?3)",
    DeleteRecord: "DELETE FROM records WHERE collection = ?1 AND key = ?2",
    LastRecord: "SELECT key FROM records WHERE collection = ?1 ORDER BY key DESC LIMIT 1",
    DeleteRecordsUpTo: "DELETE FROM records WHERE collection = ?1 AND key <= ?2",
    LogEntries: "SELECT key, value FROM records WHERE collection = ?1 AND key < ?2 ORDER BY key DESC LIMIT ?3",

    OldestByClass: "SELECT type, at FROM (SELECT t.type, (SELECT oldest FROM lanes INDEXED BY heads_oldest \
         WHERE type = t.type AND class = 0 AND priority IS NOT NULL ORDER BY oldest, id LIMIT 1) AS at FROM types t \
         UNION ALL SELECT c.type, (SELECT oldest FROM lanes INDEXED BY heads_oldest \
         WHERE type = c.type AND class = c.class AND priority IS NOT NULL ORDER BY oldest, id LIMIT 1) FROM classes c) \
         WHERE at IS NOT NULL",
    RunningByWorker: "SELECT worker, count(*) FROM leases GROUP BY worker",

    Counts: "SELECT type, status, n FROM counts WHERE n <> 0",
    // As INTEGER, since a sum that runs over would not be one.
    AddCount: "INSERT INTO counts (type, status, n, bytes) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (type, status) DO UPDATE SET n = n + excluded.n, \
         bytes = CAST(bytes + excluded.bytes AS INTEGER)",
    CountedBytes: "SELECT type, status, bytes FROM counts WHERE n <> 0",
    Hours: "SELECT type, hour, completed, failed, bytes, worked FROM hours ORDER BY type, hour",
    Hour: "SELECT hour, completed, failed, bytes, worked FROM hours WHERE type = ?1 AND slot = ?2",
    PutHour: "INSERT OR REPLACE INTO hours (type, slot, hour, completed, failed, bytes, worked) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
}

impl Sql {
    /// Its text, for connections that cache by text.
    pub(super) fn text(self) -> &'static str {
        TEXTS[self as usize]
    }
}

/// The prepared statements of one connection. Looked up by position: hashing their texts for every row written would
/// cost a tenth of the work.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    prepared: Vec<Option<Statement<'c>>>,
    /// How many were asked for.
    pub(super) asked_for: u64,
}

impl<'c> Statements<'c> {
    /// None prepared yet.
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, prepared: TEXTS.iter().map(|_| None).collect(), asked_for: 0 }
    }

    /// The connection they belong to.
    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// A statement, prepared when it is first wanted.
    pub(super) fn get(&mut self, sql: Sql) -> rusqlite::Result<&mut Statement<'c>> {
        self.asked_for += 1;
        match &mut self.prepared[sql as usize] {
            Some(statement) => Ok(statement),
            empty => {
                let flags = PrepFlags::SQLITE_PREPARE_PERSISTENT;
                Ok(empty.insert(self.connection.prepare_with_flags(sql.text(), flags)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sqlite::migrations;

    /// Every write holds up every other one, so none may walk through a table that grows with the jobs.
    #[test]
    fn no_statement_walks_through_a_table_that_grows() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrations::migrate(&mut connection).unwrap();
        for text in TEXTS
            .iter()
            .filter(|text| !["BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "PRAGMA data_version"].contains(text))
        {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
            let columns = explain.parameter_count();
            let nulls = vec![rusqlite::types::Null; columns];
            let plan = explain.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3));
            for step in plan.unwrap().map(Result::unwrap) {
                // As many as there are workers and types.
                let small = [
                    "SCAN leases",
                    "SCAN workers",
                    "SCAN counts",
                    "SCAN types",
                    "SCAN t",
                    "SCAN c",
                    "SCAN (subquery-1)",
                    // No further than its limit.
                    "SCAN failure_groups USING INDEX failure_groups_worst",
                    "SCAN rescans",
                    "SCAN texts_changed",
                    "SCAN subscribers",
                    "SCAN lanes",
                    "SCAN ready",
                    "SCAN scheduled",
                    // By its number.
                    "SCAN texts VIRTUAL TABLE INDEX 0:=",
                    // One row for each table that numbers its own.
                    "SCAN sqlite_sequence",
                    // So many of each type are kept.
                    "SCAN hours",
                    "USE TEMP B-TREE FOR ORDER BY",
                ];
                let looks_once = text.starts_with("SELECT min(run_at)") && step.starts_with("SEARCH");
                let is_short = text.contains("FROM leases") || text.contains("FROM hours");
                let sorts_jobs = step.contains("TEMP B-TREE") && !is_short;
                let walks = step.starts_with("SCAN") && !small.contains(&step.as_str());
                assert!(!walks || looks_once, "{text}: {step}");
                assert!(!sorts_jobs, "{text}: {step}");
            }
        }
    }
}
