"""Puts Kew's benchmarks to Celery on Redis, with its prefork pool of one process a core.

`delay` is synchronous, so there is one producer. The clock of `process` starts when a running worker is told to
consume the queue that holds the jobs, and stops when Redis holds neither waiting nor unacknowledged ones.
"""

import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import redis

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "common"))

from measure import IN_FLIGHT, PAYLOAD, print_line, read_arguments  # noqa: E402

WORK, JOBS, CONFIGURATION, PLACE = read_arguments()
os.environ["CELERY_BROKER"] = PLACE

from tasks import app, pdf  # noqa: E402

WARM_UP = max(64, JOBS // 10)
SECONDS_MAX = 120
store = redis.Redis.from_url(PLACE)


def create(queue):
    pdf.apply_async(kwargs=PAYLOAD, queue=queue)


def left(queue):
    """Jobs that wait in this queue, or are with a worker and not acknowledged."""
    with store.pipeline() as pipeline:
        waiting, unacknowledged = pipeline.llen(queue).hlen("unacked").execute()
    return waiting + unacknowledged


def until_at_most(queue, jobs):
    give_up = time.monotonic() + SECONDS_MAX
    while left(queue) > jobs:
        if time.monotonic() > give_up:
            sys.exit("not done in time")
        time.sleep(0.002)


def create_all(queue, jobs):
    began = time.perf_counter()
    for _ in range(jobs):
        create(queue)
    return time.perf_counter() - began


def start_worker():
    """Starts a worker on the queue `warm-up`, and returns when that is empty."""
    create_all("warm-up", WARM_UP)
    options = ["-c", str(os.cpu_count()), "-Q", "warm-up", "-l", "ERROR"]
    options += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tasks", "worker", *options],
        cwd=FOLDER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_at_most("warm-up", 0)
    return worker


def handled():
    """How many tasks the worker says that it has finished."""
    replies = app.control.inspect(timeout=5).stats() or {}
    return sum(sum(stats["total"].values()) for stats in replies.values())


def process():
    create_all("jobs", JOBS)
    began = time.perf_counter()
    # Without waiting for the reply: work begins before it.
    app.control.broadcast("add_consumer", arguments={"queue": "jobs"})
    until_at_most("jobs", 0)
    return time.perf_counter() - began


def mixed():
    app.control.broadcast("add_consumer", arguments={"queue": "jobs"}, reply=True, timeout=5)
    began = time.perf_counter()
    for i in range(JOBS):
        # Asking Redis for every job would slow down the producer.
        if i >= IN_FLIGHT and i % 50 == 0:
            until_at_most("jobs", IN_FLIGHT - 50)
        create("jobs")
    until_at_most("jobs", 0)
    return time.perf_counter() - began


def main():
    if WORK == "enqueue":
        create_all("jobs", WARM_UP)
        seconds = create_all("jobs", JOBS)
        completed = left("jobs") - WARM_UP
    else:
        worker = start_worker()
        try:
            seconds = process() if WORK == "process" else mixed()
            completed = handled() - WARM_UP
        finally:
            worker.terminate()
            worker.wait()
    server = store.info("server")["redis_version"]
    python = ".".join(map(str, sys.version_info[:3]))
    print_line("celery", f"{version('celery')} (Redis {server}, Python {python})",
               CONFIGURATION, "B", WORK, JOBS, seconds, completed)


main()
