//! What must be true of the tables at any time.

use std::path::Path;

use blobforge_core::rusqlite::{Connection, types::Value};

/// The jobs as they are, with what their leases say.
const JOBS: &str = "SELECT j.id, j.type, j.priority, j.ready_at, l.job_id IS NOT NULL AS runs, l.lapsed, \
    CASE WHEN l.job_id IS NULL THEN j.status ELSE 2 END AS status, coalesce(l.epoch, j.epoch) AS epoch, \
    j.limit_key, j.source_size, CASE WHEN j.body <> '' THEN json_extract(j.body, '$.requires') END AS requires FROM jobs j LEFT JOIN leases l ON l.job_id = j.id";

/// Queries whose two sides must have the same rows.
fn equal() -> [(&'static str, String, String); 8] {
    [
        (
            "the counts are what counting gives",
            "SELECT type, status, n, bytes FROM counts WHERE n <> 0 OR bytes <> 0".to_owned(),
            format!(
                "SELECT type, status, count(*), ifnull(sum(iif(source_size BETWEEN 0 AND 1 << 40, source_size, \
                 iif(source_size IS NULL, 0, 1 << 40))), 0) FROM ({JOBS}) GROUP BY 1, 2"
            ),
        ),
        (
            "a lane shows a head exactly while it has jobs that nothing holds back, at its best priority",
            "SELECT id, priority FROM lanes WHERE priority IS NOT NULL".to_owned(),
            "SELECT l.id, min(r.priority) FROM line r JOIN lanes l ON l.id = r.lane WHERE NOT EXISTS \
             (SELECT 1 FROM lanes k WHERE k.type = l.type AND k.key = l.key AND k.blocked) GROUP BY l.id"
                .to_owned(),
        ),
        (
            "a type counts those that run",
            "SELECT type, running FROM types WHERE running <> 0".to_owned(),
            format!("SELECT type, count(*) FROM ({JOBS}) WHERE runs AND NOT lapsed GROUP BY type"),
        ),
        (
            "a key counts those of its jobs that run",
            "SELECT type, key, running FROM lanes WHERE running <> 0".to_owned(),
            format!(
                "SELECT type, limit_key, count(*) FROM ({JOBS}) \
                 WHERE runs AND NOT lapsed AND limit_key IS NOT NULL GROUP BY type, limit_key"
            ),
        ),
        (
            "a class counts those of its jobs that have not ended",
            "SELECT type, requires, live FROM classes WHERE class <> 0 AND live <> 0".to_owned(),
            format!(
                "SELECT type, requires, count(*) FROM ({JOBS}) \
                 WHERE status < 3 AND requires IS NOT NULL GROUP BY type, requires"
            ),
        ),
        (
            "who waits stands in the line or in the schedule, once, at its place",
            format!(
                "SELECT l.type, l.key, nullif(c.requires, '[]'), r.priority, r.ready_at, r.id FROM line r \
                 JOIN lanes l ON l.id = r.lane LEFT JOIN classes c ON c.type = l.type AND c.class = l.class \
                 UNION ALL SELECT j.type, coalesce(j.limit_key, ''), j.requires, j.priority, s.run_at, s.id \
                 FROM scheduled s JOIN ({JOBS}) j ON j.id = s.id"
            ),
            format!(
                "SELECT type, coalesce(limit_key, ''), requires, priority, ready_at, id FROM ({JOBS}) \
                 WHERE status = 1 OR (runs AND lapsed)"
            ),
        ),
        (
            "a group of failures counts the jobs that are failed in it",
            "SELECT id, jobs FROM failure_groups WHERE jobs <> 0".to_owned(),
            "SELECT failure_group, count(*) FROM jobs WHERE failure_group IS NOT NULL GROUP BY 1".to_owned(),
        ),
        (
            "every epoch has its attempt, except the one that runs",
            format!("SELECT id, epoch - runs FROM ({JOBS}) WHERE epoch - runs > 0"),
            "SELECT job_id, count(*) FROM attempts GROUP BY job_id".to_owned(),
        ),
    ]
}

/// Queries that must find nothing.
const NOTHING: [(&str, &str); 14] = [
    (
        "who stands behind a front comes after all of it",
        "SELECT l.id FROM ready r JOIN lanes l ON l.id = r.lane JOIN line f ON f.lane = l.id \
         WHERE NOT EXISTS (SELECT 1 FROM ready WHERE lane = f.lane AND id = f.id) \
         AND (r.priority, r.ready_at, r.id) <= (f.priority, f.ready_at, f.id)",
    ),
    (
        "a lane knows that jobs stand behind its front, and since when at most",
        "SELECT l.id FROM ready r JOIN lanes l ON l.id = r.lane WHERE l.behind IS NULL OR l.behind > r.ready_at",
    ),
    (
        "what is held back by nothing that ends, and by no clock, is not held back for ever",
        "SELECT type FROM (SELECT type, running, blocked, reopens_at FROM types \
         UNION ALL SELECT type, running, blocked, reopens_at FROM lanes) \
         WHERE blocked AND reopens_at IS NULL AND running = 0",
    ),
    (
        "a lease belongs to a job that waits but for it",
        "SELECT l.job_id FROM leases l LEFT JOIN jobs j ON j.id = l.job_id WHERE j.status IS NOT 1",
    ),
    (
        "what a handler said is kept here while its attempt runs",
        "SELECT job_id FROM logs EXCEPT SELECT job_id FROM leases",
    ),
    (
        "what is failed is in a group, and nothing else is",
        "SELECT id FROM jobs WHERE (status = 4) <> (failure_group IS NOT NULL)",
    ),
    (
        "no failed attempt is missing in the groups",
        "SELECT g.type FROM (SELECT type, sum(failures) AS n FROM failure_groups GROUP BY type) g \
         JOIN (SELECT j.type, count(*) AS n FROM attempts a JOIN jobs j ON j.id = a.job_id \
         WHERE a.end IN ('failed', 'lost') GROUP BY j.type) a ON a.type = g.type WHERE a.n > g.n",
    ),
    (
        "an ended job has its end, and no other has",
        "SELECT id FROM jobs WHERE (status IN (3, 4, 5)) <> (ended_at IS NOT NULL)",
    ),
    (
        "a source has all of its columns or none",
        "SELECT id FROM jobs WHERE (source_key IS NULL) <> (source_arrived IS NULL)",
    ),
    (
        "what is remembered of work and attempts belongs to a job that is there",
        "SELECT job_id FROM (SELECT job_id FROM dedup UNION SELECT job_id FROM attempts \
         UNION SELECT job_id FROM checkpoints) EXCEPT SELECT id FROM jobs",
    ),
    (
        "what has not ended never expires",
        "SELECT job_id FROM expiries EXCEPT SELECT id FROM jobs WHERE status IN (3, 4, 5)",
    ),
    (
        "no job of a lane is older than its head promises",
        "SELECT r.id FROM line r JOIN lanes l ON l.id = r.lane \
         WHERE l.priority IS NOT NULL AND l.oldest > r.ready_at",
    ),
    (
        "a key's lane is gone when it has no jobs and nothing has to be remembered of the key",
        "SELECT l.id FROM lanes l WHERE l.key <> '' AND NOT EXISTS (SELECT 1 FROM line r WHERE r.lane = l.id) \
         AND NOT EXISTS (SELECT 1 FROM lanes k WHERE k.type = l.type AND k.key = l.key AND k.blocked) \
         AND (l.class <> 0 OR (l.running = 0 AND l.reopens_at IS NULL \
         AND NOT EXISTS (SELECT 1 FROM lanes k WHERE k.type = l.type AND k.key = l.key AND k.class <> 0)))",
    ),
    (
        "what goes on under the limits of a key stands in one place",
        "SELECT id FROM lanes WHERE (class <> 0 OR key = '') AND (running <> 0 OR started <> 0 OR blocked)",
    ),
];

/// The keys that jobs need, and those that a running attempt may still name.
const NEEDED: &str = "SELECT source_key AS key FROM jobs WHERE source_arrived = 1 OR (status = 0 AND source_key IS NOT NULL) \
    UNION SELECT json_extract(o.value, '$.key') FROM jobs, json_each(jobs.outputs) o \
    UNION SELECT key FROM checkpoints \
    UNION SELECT f.key FROM files f JOIN leases l ON l.job_id = f.job_id AND l.epoch = f.epoch";

/// What must be true of the files.
pub(crate) fn check_files(path: &Path) {
    let connection = Connection::open(path).unwrap();
    let alive = "SELECT key FROM files WHERE dead_since IS NULL AND deleting_since IS NULL";
    let lost = format!("{NEEDED} EXCEPT {alive}");
    assert_eq!(rows(&connection, &lost), Vec::<String>::new(), "what is needed is recorded and not dead");
    let leaked = format!("{alive} EXCEPT SELECT key FROM ({NEEDED})");
    assert_eq!(rows(&connection, &leaked), Vec::<String>::new(), "what nobody needs is dead");
    let unknown = "SELECT key FROM contents EXCEPT SELECT key FROM files WHERE dead_since IS NULL";
    assert_eq!(rows(&connection, unknown), Vec::<String>::new(), "known content lies in files that live");
}

/// Makes a table of all jobs in line, be it in the fronts of their lanes or behind them.
fn lay_out_the_line(connection: &Connection) {
    connection
        .execute_batch("CREATE TEMP TABLE line AS SELECT lane, priority, ready_at, id FROM ready")
        .unwrap();
    let mut lanes = connection.prepare("SELECT id, front FROM lanes").unwrap();
    let fronts = lanes.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    for (lane, front) in fronts.map(Result::<(i64, Vec<u8>), _>::unwrap) {
        for place in front.chunks(17) {
            let number = |at: usize| i64::from_be_bytes(place[at..at + 8].try_into().unwrap());
            let place = (lane, place[0], number(1), number(9));
            connection.execute("INSERT INTO line VALUES (?1, ?2, ?3, ?4)", place).unwrap();
        }
    }
}

pub(crate) fn check(path: &Path) {
    let connection = Connection::open(path).unwrap();
    lay_out_the_line(&connection);
    for (what, left, right) in equal() {
        let (left, right) = (rows(&connection, &left), rows(&connection, &right));
        assert_eq!(left, right, "{what}");
    }
    for (what, query) in NOTHING {
        assert_eq!(rows(&connection, query), Vec::<String>::new(), "{what}");
    }
    assert_eq!(rows(&connection, "PRAGMA integrity_check"), ["[Text(\"ok\")]"]);
}

/// All rows of a query, in some order that is always the same.
fn rows(connection: &Connection, query: &str) -> Vec<String> {
    let mut statement = connection.prepare(query).unwrap();
    let columns = statement.column_count();
    let row = |row: &blobforge_core::rusqlite::Row<'_>| {
        let values: Result<Vec<Value>, _> = (0..columns).map(|column| row.get(column)).collect();
        values.map(|values| format!("{values:?}"))
    };
    let mut rows: Vec<String> = statement.query_map([], row).unwrap().map(Result::unwrap).collect();
    rows.sort();
    rows
}
