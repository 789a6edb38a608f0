-- Times are milliseconds since 1970 UTC. Statuses: 0 uploading, 1 pending, 2 running, 3 completed, 4 failed, 5 cancelled.

CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta (key, value) VALUES ('generation', 1);

-- While a job runs, its row here stays as it was before (pending): its row in `leases` says that it runs, and has the
-- epoch, the beginning, the progress and the time of the last change. The long column comes last.
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

-- Only what is rare among the jobs: finding the failed ones must not cost every completed one an index entry.
CREATE INDEX jobs_rare ON jobs (status, id) WHERE status IN (0, 4, 5);
-- Only failed jobs are in a group.
CREATE INDEX jobs_failure_group ON jobs (failure_group, id) WHERE failure_group IS NOT NULL;
CREATE INDEX jobs_uploading ON jobs (updated_at, id) WHERE status = 0;
-- Who shares a source: looking is what cannot drift, as counting references could.
CREATE INDEX jobs_source ON jobs (source_key) WHERE source_key IS NOT NULL;

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
-- Most claims have no name, and cost nothing here.
CREATE INDEX leases_claim ON leases (worker, claim_id) WHERE claim_id IS NOT NULL;

-- What holds for all jobs of a type (JSON), and what goes on under its limits. `started` is the time up to which its
-- starts are paid for; `turn` the last turn that one of its lanes was given.
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

-- The jobs of a type that ask the same of their worker (JSON); class 0 asks for nothing.
CREATE TABLE classes (
    type     TEXT    NOT NULL,
    class    INTEGER NOT NULL,
    requires TEXT    NOT NULL,
    passed   INTEGER NOT NULL,
    live     INTEGER NOT NULL,
    PRIMARY KEY (type, class)
) STRICT, WITHOUT ROWID;

-- A lane is one line of jobs: one type, one class, one limit key (empty without one). It has a priority while it shows
-- a head, that is while it has jobs that may start. `oldest` is no later than its oldest job. `front` are its first jobs,
-- each as priority, ready_at and id in 1, 8 and 8 bytes, the most significant first; the others stand in `ready`, none
-- of them ready since before `behind`; if that is NULL there are none. What goes on under the limits of a key stands in
-- its lane of class 0, which stays for that also without jobs: a claim then changes one row and not two.
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
CREATE INDEX lanes_reopening ON lanes (reopens_at, type, key) WHERE reopens_at IS NOT NULL;
-- In the order in which a claim wants them, and in the order of age; by id where these are the same.
CREATE INDEX heads ON lanes (type, class, priority, turn) WHERE priority IS NOT NULL;
CREATE INDEX heads_oldest ON lanes (type, class, oldest) WHERE priority IS NOT NULL;

CREATE TABLE ready (
    lane     INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    ready_at INTEGER NOT NULL,
    id       INTEGER NOT NULL,
    PRIMARY KEY (lane, priority, ready_at, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE scheduled (
    run_at INTEGER NOT NULL,
    id     INTEGER NOT NULL,
    PRIMARY KEY (run_at, id)
) STRICT, WITHOUT ROWID;

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

-- What the handlers of running attempts said last: apart from the leases, which every heartbeat rewrites.
CREATE TABLE logs (job_id INTEGER PRIMARY KEY, log_tail TEXT NOT NULL) STRICT;

CREATE TABLE checkpoints (
    job_id INTEGER NOT NULL,
    name   TEXT    NOT NULL,
    size   INTEGER NOT NULL,
    sha256 BLOB    NOT NULL,
    key    TEXT    NOT NULL,
    PRIMARY KEY (job_id, name)
) STRICT, WITHOUT ROWID;

-- How many jobs there are: kept by every commit, so that nobody has to count them.
CREATE TABLE counts (
    type   TEXT    NOT NULL,
    status INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (type, status)
) STRICT, WITHOUT ROWID;

-- Which job does which work (a hash of type, content and parameters), as known in a scope.
CREATE TABLE dedup (
    work   BLOB    NOT NULL,
    scope  TEXT    NOT NULL,
    job_id INTEGER NOT NULL,
    PRIMARY KEY (work, scope)
) STRICT, WITHOUT ROWID;

-- Where verified content lies.
CREATE TABLE contents (sha256 BLOB PRIMARY KEY, key TEXT NOT NULL, size INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX contents_key ON contents (key);

-- Every file that this store recorded creating: nothing else may be collected as garbage. One that nobody needs any more
-- is dead; once it is being deleted, nobody may need it again, and when it is gone, so is its row.
CREATE TABLE files (
    key            TEXT    PRIMARY KEY,
    job_id         INTEGER,
    epoch          INTEGER,
    created_at     INTEGER NOT NULL,
    dead_since     INTEGER,
    deleting_since INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX files_of_job ON files (job_id, epoch) WHERE job_id IS NOT NULL;
CREATE INDEX files_dead ON files (dead_since, key) WHERE dead_since IS NOT NULL AND deleting_since IS NULL;
CREATE INDEX files_deleting ON files (deleting_since, key) WHERE deleting_since IS NOT NULL;

-- When ended jobs are to be deleted. What holds is looked up again then: a row may be older than a change of it.
CREATE TABLE expiries (job_id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
CREATE INDEX expiries_due ON expiries (at, job_id);

-- Types whose retention changed, and below which job it is still to be applied.
CREATE TABLE rescans (type TEXT PRIMARY KEY, below INTEGER NOT NULL) STRICT, WITHOUT ROWID;

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

CREATE INDEX workers_last_seen ON workers (last_seen_at);

-- What submitters called their submissions, and what everything they said comes to.
CREATE TABLE idempotency (
    scope       TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    job_id      INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expiring ON idempotency (expires_at);

-- Failures of a type that are of the same kind and say the same: kept by every failure, so that nobody has to look for
-- them. `jobs` are failed now, `failures` are the attempts that ever failed.
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
CREATE INDEX failure_groups_worst ON failure_groups (jobs, last_seen, id);
CREATE INDEX failure_groups_worst_of_type ON failure_groups (type, jobs, last_seen, id);

-- Who is told of ends: of jobs of a type, or of all. `ends` is 1 for completed, 2 for failed and 4 for cancelled, added up.
CREATE TABLE subscribers (name TEXT PRIMARY KEY, type TEXT, ends INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Ends that somebody is still to be told of, a subscriber or whoever the job itself named. While one is being told it is
-- due only after that.
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
CREATE INDEX outbox_due ON outbox (due_at, number);

-- What the embedding program keeps beside its jobs.
CREATE TABLE records (
    collection TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    PRIMARY KEY (collection, key)
) STRICT, WITHOUT ROWID;
