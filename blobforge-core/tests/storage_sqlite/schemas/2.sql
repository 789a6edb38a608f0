CREATE TABLE attempts (
    job_id            INTEGER NOT NULL,
    epoch             INTEGER NOT NULL,
    generation        INTEGER NOT NULL,
    secret            BLOB    NOT NULL,
    worker            TEXT    NOT NULL,
    started_at        INTEGER NOT NULL,
    ended_at          INTEGER NOT NULL,
    end               TEXT    NOT NULL,
    reported          TEXT,
    finished_status   INTEGER NOT NULL,
    finished_ready_at INTEGER,
    failure           TEXT,
    progress          TEXT,
    host              TEXT,
    log_tail          TEXT,
    PRIMARY KEY (job_id, epoch)
) STRICT, WITHOUT ROWID;
INSERT INTO "attempts" VALUES (1, 1, 1, x'fa07b38ba1ccd95992510128c4d20c474cea86b2361b6cef5e1f98408d4ad5de', 'smith', 1748764800000, 1748764860000, 'completed', 'complete', 3, NULL, NULL, NULL, 'basement', NULL);
INSERT INTO "attempts" VALUES (2, 1, 1, x'6edf47a576a17e5a06ceb874eb9e8aaae6fd0c02b661b8deafaa3c88d383197f', 'smith', 1748764800000, 1748764860000, 'failed', 'fail', 4, NULL, '{"kind":"encrypted","message":"This PDF needs a password."}', NULL, 'basement', NULL);
CREATE TABLE checkpoints (
    job_id INTEGER NOT NULL,
    name   TEXT    NOT NULL,
    size   INTEGER NOT NULL,
    sha256 BLOB    NOT NULL,
    key    TEXT    NOT NULL,
    PRIMARY KEY (job_id, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE classes (
    type     TEXT    NOT NULL,
    class    INTEGER NOT NULL,
    requires TEXT    NOT NULL,
    passed   INTEGER NOT NULL,
    live     INTEGER NOT NULL,
    PRIMARY KEY (type, class)
) STRICT, WITHOUT ROWID;
INSERT INTO "classes" VALUES ('pdf', 0, '[]', 3, 0);
INSERT INTO "classes" VALUES ('pdf', 1, '["vram_gb >= 24"]', 0, 1);
CREATE TABLE contents (sha256 BLOB PRIMARY KEY, key TEXT NOT NULL, size INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "contents" VALUES (x'ae35964219d1b24bba10a2fba9551a06219d701a8f3fff6e80750d09f4f3b495', 'sources/8a1bab266889fef066af2448ea806c44', 6);
CREATE TABLE counts (
    type   TEXT    NOT NULL,
    status INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (type, status)
) STRICT, WITHOUT ROWID;
INSERT INTO "counts" VALUES ('mail', 1, 1);
INSERT INTO "counts" VALUES ('pdf', 0, 1);
INSERT INTO "counts" VALUES ('pdf', 1, 4);
INSERT INTO "counts" VALUES ('pdf', 2, 1);
INSERT INTO "counts" VALUES ('pdf', 3, 1);
INSERT INTO "counts" VALUES ('pdf', 4, 1);
INSERT INTO "counts" VALUES ('pdf', 5, 1);
CREATE TABLE dedup (
    work   BLOB    NOT NULL,
    scope  TEXT    NOT NULL,
    job_id INTEGER NOT NULL,
    PRIMARY KEY (work, scope)
) STRICT, WITHOUT ROWID;
INSERT INTO "dedup" VALUES (x'b9f8ed3e2d569c081792797707fe9ae7bf364db561db066de3c243db8fda0843', '', 1);
INSERT INTO "dedup" VALUES (x'b9f8ed3e2d569c081792797707fe9ae7bf364db561db066de3c243db8fda0843', 'by ', 1);
CREATE TABLE expiries (job_id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
CREATE TABLE failure_groups (
    id         INTEGER PRIMARY KEY,
    type       TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    message    TEXT    NOT NULL,
    jobs       INTEGER NOT NULL,
    failures   INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    UNIQUE (type, kind, message)
) STRICT;
INSERT INTO "failure_groups" VALUES (1, 'pdf', 'encrypted', 'this pdf needs a password.', 1, 1, 1748764860000, 1748764860000);
CREATE TABLE files (
    key            TEXT    PRIMARY KEY,
    job_id         INTEGER,
    epoch          INTEGER,
    created_at     INTEGER NOT NULL,
    dead_since     INTEGER,
    deleting_since INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO "files" VALUES ('sources/8a1bab266889fef066af2448ea806c44', 1, NULL, 1748764800000, NULL, NULL);
INSERT INTO "files" VALUES ('sources/8a800b5dc0a81f54e5e01188e6c85c03', 7, NULL, 1748764800000, NULL, NULL);
CREATE TABLE idempotency (
    scope       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    job_id      INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "idempotency" VALUES ('', 'once', x'a8dc9f749b0ff35ea474266cedfe7e7eee69f3d84a27cd155beb884005616113', 5, 1749369600000);
CREATE TABLE jobs (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    type            TEXT    NOT NULL,
    priority        INTEGER NOT NULL,
    status          INTEGER NOT NULL CHECK (status <> 2),
    epoch           INTEGER NOT NULL,
    failures        INTEGER NOT NULL,
    losses          INTEGER NOT NULL,
    max_attempts    INTEGER NOT NULL,
    run_at          INTEGER,
    ready_at        INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    ended_at        INTEGER,
    updated_at      INTEGER NOT NULL,
    source_key      TEXT,
    source_size     INTEGER,
    source_sha256   BLOB,
    source_verified INTEGER,
    source_arrived  INTEGER,
    last_error      TEXT,
    failure_group   INTEGER,
    progress        TEXT,
    result          TEXT,
    outputs         TEXT,
    limit_key       TEXT,
    dedup           INTEGER NOT NULL,
    body            TEXT    NOT NULL
) STRICT;
INSERT INTO "jobs" VALUES (1, 'pdf', 1, 3, 1, 0, 0, 3, NULL, 1748764800000, 1748764800000, 1748764800000, 1748764860000, 1748764860000, 'sources/8a1bab266889fef066af2448ea806c44', 6, x'ae35964219d1b24bba10a2fba9551a06219d701a8f3fff6e80750d09f4f3b495', 1, 1, NULL, NULL, NULL, '{"pages":12}', NULL, NULL, 1, '{"params":{"dpi":300},"tags":["shelf a"],"metadata":{"order":[1,null]},"source_path":"books/dune.pdf"}');
INSERT INTO "jobs" VALUES (2, 'pdf', 2, 4, 1, 1, 0, 3, NULL, 1748764870367, 1748764800000, 1748764800000, 1748764860000, 1748764860000, NULL, NULL, NULL, NULL, NULL, '{"kind":"encrypted","message":"This PDF needs a password."}', 1, NULL, NULL, NULL, NULL, 1, '');
INSERT INTO "jobs" VALUES (3, 'pdf', 2, 1, 0, 0, 0, 3, NULL, 1748764800000, 1748764800000, NULL, NULL, 1748764800000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, '');
INSERT INTO "jobs" VALUES (4, 'pdf', 3, 1, 0, 0, 0, 3, NULL, 1748764800000, 1748764800000, NULL, NULL, 1748764800000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, '{"requires":["vram_gb >= 24"]}');
INSERT INTO "jobs" VALUES (5, 'pdf', 4, 1, 0, 0, 0, 3, NULL, 1748764800000, 1748764800000, NULL, NULL, 1748764800000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, '');
INSERT INTO "jobs" VALUES (6, 'pdf', 3, 1, 0, 0, 0, 3, 1751356800000, 1751356800000, 1748764800000, NULL, NULL, 1748764800000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, '');
INSERT INTO "jobs" VALUES (7, 'pdf', 3, 0, 0, 0, 0, 3, NULL, 0, 1748764800000, NULL, NULL, 1748764800000, 'sources/8a800b5dc0a81f54e5e01188e6c85c03', 7, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, 1, '');
INSERT INTO "jobs" VALUES (8, 'pdf', 3, 5, 0, 0, 0, 3, NULL, 1748764800000, 1748764800000, NULL, 1748764800000, 1748764800000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, '{"tags":["no more"]}');
INSERT INTO "jobs" VALUES (9, 'mail', 3, 1, 0, 0, 0, 3, NULL, 1748764800000, 1748764800000, NULL, NULL, 1748764800000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, '');
INSERT INTO "jobs" VALUES (10, 'pdf', 5, 1, 0, 0, 0, 3, NULL, 1748764860000, 1748764860000, NULL, NULL, 1748764860000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, '');
CREATE TABLE lanes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    type       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    class      INTEGER NOT NULL,
    priority   INTEGER,
    turn       INTEGER,
    oldest     INTEGER,
    behind     INTEGER,
    running    INTEGER NOT NULL,
    started    INTEGER NOT NULL,
    blocked    INTEGER NOT NULL,
    reopens_at INTEGER,
    front      BLOB    NOT NULL,
    UNIQUE (type, key, class)
) STRICT;
INSERT INTO "lanes" VALUES (1, 'pdf', '', 0, 4, 4, 1748764800000, NULL, 0, 0, 0, NULL, x'04000001972a813400000000000000000505000001972a821e60000000000000000a');
INSERT INTO "lanes" VALUES (2, 'pdf', '', 1, 3, 4, 1748764800000, NULL, 0, 0, 0, NULL, x'03000001972a8134000000000000000004');
INSERT INTO "lanes" VALUES (3, 'mail', '', 0, 3, 1, 1748764800000, NULL, 0, 0, 0, NULL, x'03000001972a8134000000000000000009');
CREATE TABLE leases (
    job_id           INTEGER PRIMARY KEY,
    generation       INTEGER NOT NULL,
    epoch            INTEGER NOT NULL,
    secret           BLOB    NOT NULL,
    worker           TEXT    NOT NULL,
    host             TEXT,
    claim_id         TEXT,
    started_at       INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    duration         INTEGER NOT NULL,
    lapsed           INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    progress         TEXT,
    updated_at       INTEGER NOT NULL
) STRICT;
INSERT INTO "leases" VALUES (3, 1, 1, x'e49fd79ada29c5c069c99ab34302e5db09275b3143d0228b359c0301513233b4', 'smith', 'basement', NULL, 1748764800000, 1748764980000, 180000, 0, 0, NULL, 1748764800000);
CREATE TABLE logs (job_id INTEGER PRIMARY KEY, log_tail TEXT NOT NULL) STRICT;
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES ('generation', 1);
CREATE TABLE outbox (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    generation INTEGER NOT NULL,
    subscriber TEXT,
    address    TEXT,
    job_id     INTEGER NOT NULL,
    type       TEXT    NOT NULL,
    status     INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    tries      INTEGER NOT NULL,
    due_at     INTEGER NOT NULL
) STRICT;
INSERT INTO "outbox" VALUES (1, 1, 'ledger', NULL, 8, 'pdf', 5, 0, 1748764800000, 0, 1748764800000);
INSERT INTO "outbox" VALUES (2, 1, 'ledger', NULL, 1, 'pdf', 3, 1, 1748764860000, 0, 1748764860000);
INSERT INTO "outbox" VALUES (3, 1, 'ledger', NULL, 2, 'pdf', 4, 1, 1748764860000, 0, 1748764860000);
CREATE TABLE ready (
    lane     INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    ready_at INTEGER NOT NULL,
    id       INTEGER NOT NULL,
    PRIMARY KEY (lane, priority, ready_at, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE records (
    collection TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    PRIMARY KEY (collection, key)
) STRICT, WITHOUT ROWID;
INSERT INTO "records" VALUES ('tokens', 'lease', '{"job":3,"lease":"1.1.e49fd79ada29c5c069c99ab34302e5db09275b3143d0228b359c0301513233b4"}');
CREATE TABLE rescans (type TEXT PRIMARY KEY, below INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE scheduled (
    run_at INTEGER NOT NULL,
    id     INTEGER NOT NULL,
    PRIMARY KEY (run_at, id)
) STRICT, WITHOUT ROWID;
INSERT INTO "scheduled" VALUES (1751356800000, 6);
CREATE TABLE subscribers (name TEXT PRIMARY KEY, type TEXT, ends INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO "subscribers" VALUES ('ledger', NULL, 7);
CREATE TABLE types (
    type       TEXT PRIMARY KEY,
    settings   TEXT    NOT NULL,
    paused     INTEGER NOT NULL,
    running    INTEGER NOT NULL,
    started    INTEGER NOT NULL,
    blocked    INTEGER NOT NULL,
    reopens_at INTEGER,
    turn       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "types" VALUES ('mail', '{}', 1, 0, 0, 0, NULL, 1);
INSERT INTO "types" VALUES ('pdf', '{"limits":{"running":5}}', 0, 1, 0, 0, NULL, 4);
CREATE TABLE workers (
    id            TEXT    PRIMARY KEY,
    registered_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    draining      INTEGER NOT NULL,
    unregistered  INTEGER NOT NULL,
    host          TEXT,
    registration  TEXT    NOT NULL,
    condition     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "workers" VALUES ('smith', 1748764800000, 1748764800000, 0, 0, 'basement', '{"id":"smith","types":["pdf"],"name":null,"instance":"22d841a07f38a107594343b4023cf7dc3fd730becd484c60c9ea7a052dd63cad","previous_instance":null,"labels":{},"host":"basement","metadata":{}}', '{"suspended_until":null,"trouble":null,"gauges":null}');
DELETE FROM sqlite_sequence;
INSERT INTO "sqlite_sequence" VALUES ('jobs', 10);
INSERT INTO "sqlite_sequence" VALUES ('lanes', 3);
INSERT INTO "sqlite_sequence" VALUES ('outbox', 3);
CREATE INDEX contents_key ON contents (key);
CREATE INDEX expiries_due ON expiries (at, job_id);
CREATE INDEX failure_groups_worst ON failure_groups (jobs, last_seen, id);
CREATE INDEX failure_groups_worst_of_type ON failure_groups (type, jobs, last_seen, id);
CREATE INDEX files_dead ON files (dead_since, key) WHERE dead_since IS NOT NULL AND deleting_since IS NULL;
CREATE INDEX files_deleting ON files (deleting_since, key) WHERE deleting_since IS NOT NULL;
CREATE INDEX files_of_job ON files (job_id, epoch) WHERE job_id IS NOT NULL;
CREATE INDEX heads ON lanes (type, class, priority, turn) WHERE priority IS NOT NULL;
CREATE INDEX heads_oldest ON lanes (type, class, oldest) WHERE priority IS NOT NULL;
CREATE INDEX idempotency_expiring ON idempotency (expires_at);
CREATE INDEX jobs_failure_group ON jobs (failure_group, id) WHERE failure_group IS NOT NULL;
CREATE INDEX jobs_hash ON jobs (source_sha256, id) WHERE source_sha256 IS NOT NULL;
CREATE INDEX jobs_rare ON jobs (status, id) WHERE status IN (0, 4, 5);
CREATE INDEX jobs_source ON jobs (source_key) WHERE source_key IS NOT NULL;
CREATE INDEX jobs_uploading ON jobs (updated_at, id) WHERE status = 0;
CREATE INDEX lanes_reopening ON lanes (reopens_at, type, key) WHERE reopens_at IS NOT NULL;
CREATE INDEX leases_claim ON leases (worker, claim_id) WHERE claim_id IS NOT NULL;
CREATE INDEX outbox_due ON outbox (due_at, number);
CREATE INDEX workers_last_seen ON workers (last_seen_at);
PRAGMA application_id = 1112293958;
PRAGMA user_version = 2;
