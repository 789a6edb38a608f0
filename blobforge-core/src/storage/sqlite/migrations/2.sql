-- What is known of a file.
CREATE INDEX jobs_hash ON jobs (source_sha256, id) WHERE source_sha256 IS NOT NULL;
