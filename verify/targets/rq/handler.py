# The one generic job function. It runs in RQ's work-horse, a process forked for one job, and speaks with the adapter
# through the socket that it inherited.
import json, os, time
from rq import get_current_job
from rq.timeouts import JobTimeoutException

channel = None  # this slot's end of a socket pair
ENDLESS = 10**9  # retries


def say(line):
    channel.sendall(json.dumps(line).encode() + b"\n")


def handle(job, payload, queue, retries):
    invocation = f"{os.getpid()}-{time.monotonic_ns()}"
    attempt = retries - (get_current_job().retries_left or 0) + 1
    try:  # Until the end: a timeout that comes with the outcome still ends the job as timed out.
        say({"event": "invoke", "invocation": invocation, "queue": queue, "jobs": [
            {"job": job, "attempt": attempt, "payload": payload}]})
        for text in channel.makefile():
            line = json.loads(text)
            if line["invocation"] == invocation:  # else it is for a handler that was stopped
                break
        else:
            os._exit(1)  # The adapter is gone.
        if line["jobs"][0]["result"] != "completed":
            raise RuntimeError(line["jobs"][0].get("error", "failed"))
    except JobTimeoutException:
        say({"event": "stopped", "invocation": invocation, "why": "timeout"})
        raise
