"""Speaks for queue_.py with `kew verify`: docs/adapters.md."""
import json
import os
import queue
import sqlite3
import sys
import threading

from queue_ import POLL, Jobs

CAPABILITIES = {
    "attempts": "native",
    "infinite_attempts": "native",
    "exponential_backoff": {"is": "native", "jitter": False},
    "timeout": {"is": "native", "stops": False, "note": "a lease; the late handler goes on, and its end is refused"},
    "crash": {"is": "native", "recovers_ms": 500, "after_timeout": True, "note": "the dead worker's lease runs out"},
    "dead_letters": {"is": "native", "errors": True},
    "status": {"is": "native", "times": False},
    "attempt_number": "native",
}
STATUS = {"waiting": "pending", "running": "processing", "done": "completed", "dead": "failed"}

line_lock = threading.Lock()


def say(line):
    with line_lock:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


class Handler:
    """The one handler of a queue: tells of its call and waits to be told how it ends."""

    def __init__(self, name, adapter):
        self.name, self.adapter = name, adapter

    def __call__(self, job, attempt, payload):
        invocation, outcome = f"{job}-{attempt}", queue.SimpleQueue()
        self.adapter.waiting[invocation] = outcome
        say({"event": "invoke", "invocation": invocation, "queue": self.name,
             "jobs": [{"job": job, "attempt": attempt, "payload": payload}]})
        told = outcome.get()
        if told["result"] == "failed":
            raise RuntimeError(told.get("error", ""))

    def lost(self, job, attempt):
        say({"event": "rejected", "invocation": f"{job}-{attempt}", "error": "the lease was lost"})


class Adapter:
    waiting = {}  # the handlers that wait for their outcome

    def hello(self, line):
        self.jobs, self.role = Jobs(os.path.join(line["dir"], "jobs.db")), line["role"]
        if self.role != "client":
            threading.Thread(target=self.jobs.work, daemon=True).start()
        return {"system": "SQLite in 60 lines", "version": "1", "backend": f"SQLite {sqlite3.sqlite_version}",
                "quantum_ms": int(POLL * 1000), "capabilities": CAPABILITIES}

    def configure(self, line):
        policy = line["policy"]
        backoff = policy.get("backoff", {}).get("exponential", {"first_ms": 0, "max_ms": 0})
        attempts = policy["attempts"]
        if self.role != "client":
            self.jobs.consume(line["queue"], Handler(line["queue"], self), line["slots"],
                              None if attempts == "infinite" else attempts, policy["timeout_ms"] / 1000,
                              backoff["first_ms"] / 1000, backoff["max_ms"] / 1000)
        return {}

    def enqueue(self, line):
        self.jobs.enqueue(line["queue"], line["job"], line["payload"])
        return {}

    def dead_letters(self, line):
        return {"jobs": [{"job": job, "payload": payload, "error": error}
                         for job, payload, error in self.jobs.dead(line["queue"])]}

    def status(self, line):
        state, attempt, error = self.jobs.look(line["job"]) or (None, 0, None)
        status = "failed" if state == "waiting" and attempt else STATUS.get(state)  # it waits for its next attempt
        final = state in ("done", "dead")
        return {"status": status, "final": final, "retry_count": max(attempt - 1, 0), "error": error}

    def bye(self, line):
        return {}

    def outcome(self, line):
        self.waiting.pop(line["invocation"]).put(line["jobs"][0])


adapter = Adapter()
for text in sys.stdin:
    line = json.loads(text)
    answer = getattr(adapter, line["op"])(line)
    if "id" in line:
        say({"id": line["id"], "ok": answer})
    if line["op"] == "bye":
        break
os._exit(0)
