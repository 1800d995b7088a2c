-- A live job is found in `job_status` by its number, so what stands there (its id and its user) need not stand here too.
-- A row that is small and whose columns follow from its number alone is written with many others in one statement.
CREATE TABLE live_3 (
  seq            INTEGER PRIMARY KEY, -- the order of enqueueing: the version of the first payload; the rowid in job_status
  queue          TEXT NOT NULL,
  key            TEXT,
  version        INTEGER NOT NULL,    -- of the newest accepted payload
  email          TEXT,
  created_ms     INTEGER NOT NULL,
  wanted_ms      INTEGER NOT NULL,    -- from when on it may be claimed, as it was asked for
  ready_ms       INTEGER,             -- from when on it may be claimed
  attempt        INTEGER NOT NULL,    -- deliveries begun since it was enqueued or redriven
  fence          INTEGER NOT NULL,    -- deliveries begun in its whole life
  batch          TEXT,                -- that is tried again as a whole
  started_ms     INTEGER,             -- this and what follows: of the lease, or of the last one
  lease_until_ms INTEGER
) STRICT;

INSERT INTO live_3
SELECT seq, queue, key, version, email, created_ms, wanted_ms, ready_ms, attempt, fence, batch, started_ms, lease_until_ms
FROM live;

DROP TABLE live;
ALTER TABLE live_3 RENAME TO live;

CREATE INDEX live_key ON live (queue, key) WHERE key IS NOT NULL;

-- An end as it is told. Of a job that was completed and asked for no mail, the row in `job_status` says the rest for as
-- long as it is there; every other end has a copy of its own, since the job may be put back and end otherwise.
CREATE TABLE job_end_3 (
  seq               INTEGER PRIMARY KEY, -- never used twice, whatever was forgotten
  job_seq           INTEGER,             -- the job's rowid in job_status; or NULL, and the next three are set
  job               TEXT,
  queue             TEXT,
  user_id           TEXT,
  status            TEXT NOT NULL,       -- completed, failed
  error             TEXT,
  dead_letter_queue TEXT,
  email             TEXT,
  ended_ms          INTEGER NOT NULL
) STRICT;

INSERT INTO job_end_3
SELECT seq, NULL, job, queue, user_id, status, error, dead_letter_queue, email, ended_ms FROM job_end;

DROP TABLE job_end;
ALTER TABLE job_end_3 RENAME TO job_end;
