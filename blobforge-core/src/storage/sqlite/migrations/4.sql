-- Every three letters in a row that the texts of a job have (its source's labels, its last error), small letters all, so
-- that words are found among a million jobs. It says which jobs may have a text, and the jobs themselves decide. Jobs up
-- to `texts_up_to` are in it: it follows a little later, so that no submission waits for it.
CREATE VIRTUAL TABLE texts USING fts5 (
    text, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1'
);
INSERT INTO texts (texts, rank) VALUES ('usermerge', 2);
INSERT INTO meta (key, value) VALUES ('texts_up_to', 0);
-- Jobs whose texts have changed since.
CREATE TABLE texts_changed (job_id INTEGER PRIMARY KEY) STRICT;
-- How large the sources are, and how long it took to work on them: what can be said of how long the rest takes. What
-- is past is not known. No source counts for more than 1 TiB (2^40 bytes), nor one whose size is past all signed numbers.
ALTER TABLE counts ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hours ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hours ADD COLUMN worked INTEGER NOT NULL DEFAULT 0;
WITH sums AS (
    SELECT j.type AS type, iif(l.job_id IS NULL, j.status, 2) AS status,
           sum(iif(j.source_size BETWEEN 0 AND 1 << 40, j.source_size, 1 << 40)) AS bytes
    FROM jobs j LEFT JOIN leases l ON l.job_id = j.id WHERE j.source_size IS NOT NULL GROUP BY 1, 2
)
UPDATE counts SET bytes = sums.bytes FROM sums WHERE counts.type = sums.type AND counts.status = sums.status;
