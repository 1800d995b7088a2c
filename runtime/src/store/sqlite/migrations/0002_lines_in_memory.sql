-- What claims and the outlook look at is kept in memory (lines.rs), so the live table needs no index for it. A live job
-- has the number of its row in `job_status`, by which it is found there.
CREATE TABLE live_2 (
  seq            INTEGER PRIMARY KEY, -- the order of enqueueing: the version of the first payload; the rowid in job_status
  job            TEXT NOT NULL,
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

INSERT INTO live_2
SELECT (SELECT rowid FROM job_status WHERE id = job), job, queue, user_id, key, version, email, created_ms, wanted_ms,
       ready_ms, attempt, fence, batch, delivery, processor, started_ms, lease_until_ms
FROM live;

DROP TABLE live;
ALTER TABLE live_2 RENAME TO live;

CREATE INDEX live_key ON live (queue, key) WHERE key IS NOT NULL;

-- The number of the end by which a job died: when that end is forgotten, only the dead letter still keeps the job.
-- Of those that died before it was written down it is not known: they keep their rows.
ALTER TABLE dead_letter ADD COLUMN end_seq INTEGER NOT NULL DEFAULT 9223372036854775807;

UPDATE dead_letter SET live_seq = (SELECT rowid FROM job_status WHERE id = job);

-- How many jobs a queue holds, for those who ask: written with every change.
ALTER TABLE queue_state ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queue_state ADD COLUMN processing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queue_state ADD COLUMN oldest_created_ms INTEGER;

INSERT INTO queue_state (queue, waiting, processing, oldest_created_ms)
SELECT queue, count(*) - count(lease_until_ms), count(lease_until_ms), min(created_ms) FROM live WHERE true
GROUP BY queue
ON CONFLICT (queue) DO UPDATE SET waiting = excluded.waiting, processing = excluded.processing,
                                  oldest_created_ms = excluded.oldest_created_ms;

-- Up to which end the jobs that ended have been forgotten.
INSERT INTO meta (key, value) VALUES ('forgotten', 0);

-- AUTOINCREMENT keeps its number in a row of its own, which it writes once for each end; this one is written once for
-- each transaction.
INSERT INTO meta (key, value) VALUES ('ended', coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job_end'), 0));

CREATE TABLE job_end_2 (
  seq               INTEGER PRIMARY KEY, -- never used twice, whatever was forgotten
  job               TEXT NOT NULL,
  queue             TEXT NOT NULL,
  user_id           TEXT NOT NULL,
  status            TEXT NOT NULL, -- completed, failed
  error             TEXT,
  dead_letter_queue TEXT,
  email             TEXT,
  ended_ms          INTEGER NOT NULL
) STRICT;

INSERT INTO job_end_2 SELECT * FROM job_end;
DROP TABLE job_end;
ALTER TABLE job_end_2 RENAME TO job_end;
