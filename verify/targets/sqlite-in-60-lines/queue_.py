"""A job queue on SQLite: attempts, a lease as timeout, exponential backoff, dead letters."""

import sqlite3
import threading
import time

POLL = 0.03  # seconds between two looks at the table
SCHEMA = """PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, queue TEXT, payload TEXT, state TEXT DEFAULT 'waiting', attempt INTEGER DEFAULT 0,
    due REAL, error TEXT);  -- due: when a waiting job may start, when a running job's lease ends
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (due) WHERE state IN ('waiting', 'running');"""


class Jobs:
    def __init__(self, path):
        self.db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        self.lock, self.queues = threading.Lock(), {}
        while True:
            try:
                self.db.executescript(SCHEMA)
                break
            except sqlite3.OperationalError:  # another process creates it right now
                time.sleep(POLL)

    def sql(self, text, *values):
        with self.lock:
            cursor = self.db.execute(text, values)
            return cursor.fetchall() if cursor.description else cursor.rowcount == 1

    def enqueue(self, queue, job, payload):
        self.sql("INSERT INTO jobs (id, queue, payload, due) VALUES (?, ?, ?, ?)", job, queue, payload, time.time())

    def dead(self, queue):
        return self.sql("SELECT id, payload, error FROM jobs WHERE queue = ? AND state = 'dead'", queue)

    def look(self, job):
        found = self.sql("SELECT state, attempt, error FROM jobs WHERE id = ?", job)
        return found[0] if found else None

    def consume(self, queue, handler, slots=1, attempts=5, timeout=60, first=0, most=3600):
        """Calls handler(job, attempt, payload), which fails by raising; handler.lost(job, attempt) if it ends late."""
        self.queues[queue] = (handler, slots, attempts, timeout, first, most, [])

    def work(self):
        while True:
            for job, queue, payload, state, attempt in self.sql(
                    "SELECT id, queue, payload, state, attempt FROM jobs"
                    " WHERE state IN ('waiting', 'running') AND due <= ? ORDER BY due, rowid", time.time()):
                if queue in self.queues and state == "running":
                    self.end(job, queue, attempt, "timed out")
                elif queue in self.queues:
                    self.start(job, queue, attempt, payload)
            time.sleep(POLL)

    def start(self, job, queue, attempt, payload):
        _, slots, _, timeout, _, _, busy = self.queues[queue]
        now = time.time()
        busy[:] = [(thread, ends) for thread, ends in busy if thread.is_alive() and now < ends]
        if len(busy) < slots and self.sql(
                "UPDATE jobs SET state = 'running', attempt = attempt + 1, due = ?"
                " WHERE id = ? AND state = 'waiting' AND attempt = ?", now + timeout, job, attempt):
            thread = threading.Thread(target=self.run, args=(job, queue, attempt + 1, payload), daemon=True)
            busy.append((thread, now + timeout))
            thread.start()

    def run(self, job, queue, attempt, payload):
        handler, error = self.queues[queue][0], None
        try:
            handler(job, attempt, payload)
        except Exception as raised:
            error = str(raised)
        if not self.end(job, queue, attempt, error):
            handler.lost(job, attempt)

    def end(self, job, queue, attempt, error):
        """Ends an attempt; false when its lease was lost and the job is no longer this attempt's."""
        _, _, attempts, _, first, most, _ = self.queues[queue]
        state = "done" if error is None else "dead" if attempts and attempt >= attempts else "waiting"
        due = time.time() + (min(first * 2 ** min(attempt - 1, 60), most) if state == "waiting" else 0)
        return self.sql("UPDATE jobs SET state = ?, due = ?, error = ?"
                        " WHERE id = ? AND state = 'running' AND attempt = ?", state, due, error, job, attempt)
