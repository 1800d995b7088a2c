-- The seed's table, column for column. Its types `JSON` and `TIMESTAMP` make SQLite turn text that looks like a number
-- into one; how that is kept from happening is told in value.rs. The defaults are the seed's and are never used: every
-- time is passed in.
CREATE TABLE job_status (
  id TEXT PRIMARY KEY,
  type TEXT NOT NULL,
  status TEXT NOT NULL, -- pending, processing, completed, failed
  user_id TEXT NOT NULL,
  payload JSON,
  result JSON,
  error TEXT,
  retry_count INTEGER DEFAULT 0,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  completed_at TIMESTAMP
);

-- A user's jobs, newest first: an index ends with the rowid, and rows are added in the order of enqueueing.
CREATE INDEX job_status_user ON job_status (user_id);

-- Jobs that have not ended: what claims look at, and small however long the history is.
--
--   ready to wait for   ready_ms set,  lease_until_ms NULL
--   blocked             ready_ms NULL, lease_until_ms NULL   an older live job has the same queue and key
--   leased              ready_ms NULL, lease_until_ms set
--
-- Of one queue and key at most two jobs are live: one that waits for its retry or is leased, and one blocked behind it.
CREATE TABLE live (
  seq            INTEGER PRIMARY KEY, -- the order of enqueueing: the version of the first payload
  job            TEXT NOT NULL UNIQUE,
  queue          TEXT NOT NULL,
  user_id        TEXT NOT NULL,
  key            TEXT,
  version        INTEGER NOT NULL,    -- of the newest accepted payload
  email          TEXT,
  created_ms     INTEGER NOT NULL,
  wanted_ms      INTEGER NOT NULL,    -- from when on it may be claimed, as it was asked for
  ready_ms       INTEGER,             -- from when on it may be claimed
  attempt        INTEGER NOT NULL,    -- deliveries begun since it was enqueued or redriven
  fence          INTEGER NOT NULL,    -- deliveries begun in its whole life
  batch          TEXT,
  delivery       TEXT,                -- this and what follows: of the lease, or of the last one
  processor      TEXT,
  started_ms     INTEGER,
  lease_until_ms INTEGER
) STRICT;

CREATE INDEX live_queue ON live (queue);
CREATE INDEX live_ready ON live (queue, ready_ms) WHERE ready_ms IS NOT NULL;
CREATE INDEX live_batch ON live (batch, ready_ms) WHERE batch IS NOT NULL AND ready_ms IS NOT NULL;
CREATE INDEX live_lease ON live (lease_until_ms) WHERE lease_until_ms IS NOT NULL;
CREATE INDEX live_key ON live (queue, key) WHERE key IS NOT NULL;

-- Attempts that did not succeed, of jobs that are live, have failed or are dead letters.
CREATE TABLE failed_attempt (
  job        TEXT NOT NULL,
  attempt    INTEGER NOT NULL,
  outcome    TEXT NOT NULL, -- failed, timed-out, lost
  error      TEXT NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms   INTEGER NOT NULL,
  PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;

-- Dead letters, and what it takes to make them live again.
CREATE TABLE dead_letter (
  seq               INTEGER PRIMARY KEY, -- the order of dying
  job               TEXT NOT NULL UNIQUE,
  dead_letter_queue TEXT NOT NULL,
  died_ms           INTEGER NOT NULL,
  queue             TEXT NOT NULL,
  user_id           TEXT NOT NULL,
  key               TEXT,
  version           INTEGER NOT NULL,
  email             TEXT,
  created_ms        INTEGER NOT NULL,
  live_seq          INTEGER NOT NULL,    -- its place in the order of enqueueing
  fence             INTEGER NOT NULL
) STRICT;

CREATE INDEX dead_letter_by_queue ON dead_letter (dead_letter_queue);

CREATE TABLE idempotency (
  user_id     TEXT NOT NULL,
  key         TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  job         TEXT NOT NULL,
  until_ms    INTEGER NOT NULL,
  PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_until ON idempotency (until_ms);

-- How many jobs a rate-limited queue gave, and when.
CREATE TABLE rate_claim (
  queue TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  jobs  INTEGER NOT NULL,
  PRIMARY KEY (queue, at_ms)
) STRICT, WITHOUT ROWID;

-- What is remembered of a queue while it is empty.
CREATE TABLE queue_state (
  queue          TEXT PRIMARY KEY,
  paused         INTEGER NOT NULL DEFAULT 0,
  rate_window_ms INTEGER NOT NULL DEFAULT 0 -- the last one that was claimed with
) STRICT, WITHOUT ROWID;

-- Final ends, to be told to their users. AUTOINCREMENT: a number is never used twice, whatever was forgotten.
CREATE TABLE job_end (
  seq               INTEGER PRIMARY KEY AUTOINCREMENT,
  job               TEXT NOT NULL,
  queue             TEXT NOT NULL,
  user_id           TEXT NOT NULL,
  status            TEXT NOT NULL, -- completed, failed
  error             TEXT,
  dead_letter_queue TEXT,
  email             TEXT,
  ended_ms          INTEGER NOT NULL
) STRICT;

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES
  ('last_ms', 0), -- the latest time that any command carried
  ('told', 0),    -- the last end that was told by mail
  ('version', 0); -- the version of the newest accepted payload
