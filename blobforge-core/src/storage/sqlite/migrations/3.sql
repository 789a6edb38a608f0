-- How many jobs ended in each of the last 48 hours, kept by every commit. An hour stands in the slot of the one 48 hours
-- before it, so that nothing has to be thrown away; `hour` is when it began.
CREATE TABLE hours (
    type      TEXT    NOT NULL,
    slot      INTEGER NOT NULL,
    hour      INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    PRIMARY KEY (type, slot)
) STRICT, WITHOUT ROWID;
-- What is finished is listed also where many wait that came later.
CREATE INDEX jobs_completed ON jobs (id) WHERE status = 3;
