-- Every three letters in a row that the texts of a job have (its source's labels, its last error), small letters all, so
-- that words are found among a million jobs. It says which jobs may have a text, and the jobs themselves decide. Jobs up
-- to `texts_up_to` are in it: it follows a little later, so that no submission waits for it.
CREATE VIRTUAL TABLE texts USING fts5 (
    text, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1'
);
INSERT INTO meta (key, value) VALUES ('texts_up_to', 0);
-- Jobs whose texts have changed since.
CREATE TABLE texts_changed (job_id INTEGER PRIMARY KEY) STRICT;
