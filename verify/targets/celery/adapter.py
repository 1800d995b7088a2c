"""Kew's adapter for Celery with a Redis broker and result backend.

Every queue is one Celery app (its own key prefix in Redis, its own settings) with one task; a worker process
hosts one Celery worker per queue, in a thread, with the `threads` pool, whose size is the queue's slots.
A job is a task message, its task id is the job's name. Failed tasks are retried with `autoretry_for`,
messages are acknowledged late, and what a dead worker held comes back by the visibility timeout.
"""
import json, logging, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor

import celery, redis
from celery import Celery, states
from celery.concurrency.thread import TaskPool
from celery.worker import WorkController
from kombu.asynchronous import set_event_loop

VISIBILITY_S = 10    # a delivery that is not acknowledged for so long is delivered again
LONGEST_WAIT_S = 8   # a retry waits inside a worker, unacknowledged: it must wait for less than that
STATUS = {states.PENDING: "pending", states.RECEIVED: "pending", states.RETRY: "failed", states.STARTED: "processing",
          states.SUCCESS: "completed", states.FAILURE: "failed", states.REVOKED: "failed"}
out_lock, start_lock = threading.Lock(), threading.Lock()
me, queues, waiting = {}, {}, {}    # hello, queue -> app, invocation -> (event, the outcome)
count = 0


class Refused(Exception):
    pass


class Failed(Exception):
    pass


class Pool(TaskPool):
    """The threads pool, told which of this process's apps its threads belong to."""
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.executor = ThreadPoolExecutor(self.limit, initializer=self.app.set_current)


def say(line):
    with out_lock:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def hello(m):
    me.update(m, prefix="kew:" + os.path.basename(m["dir"].rstrip("/")) + ":", url=f"redis://{m['server']}/0")
    with redis.Redis.from_url(me["url"]) as r:
        backend = "Redis " + r.info("server")["redis_version"]
    return {"system": "Celery", "version": celery.__version__, "backend": backend, "quantum_ms": 50, "capabilities": {
        "attempts": {"is": "native", "note": "max_retries"},
        "infinite_attempts": {"is": "native", "note": "max_retries=None"},
        "exponential_backoff": {"is": "native", "jitter": False, "note": "retry_backoff, in whole seconds"},
        "crash": {"is": "native", "recovers_ms": VISIBILITY_S * 1000 + 3000,
                  "note": "task_acks_late and the Redis transport's visibility timeout"},
        "cancel": {"is": "native", "note": "revoke, kept in the memory of the workers that run"},
        "pause": {"is": "emulated", "note": "cancel_consumer, kept in the memory of the workers that run"},
        "status": {"is": "native", "times": False, "note": "the result backend; an unknown job is told as pending"},
        "attempt_number": {"is": "native", "note": "request.retries + 1"}}}


def handler(task, job, payload):
    """Every job of every queue: report, then wait for the harness to say how it ends."""
    global count
    with out_lock:
        count += 1
        name = f"{me['name']}-{count}"
    waiting[name] = event, outcome = threading.Event(), {}
    say({"event": "invoke", "invocation": name, "queue": task.app.main,
         "jobs": [{"job": job, "attempt": task.request.retries + 1, "payload": payload}]})
    event.wait()
    del waiting[name]
    if outcome["result"] == "failed":
        raise Failed(outcome.get("error", "failed"))


def work(app, slots, ready):
    """Runs a worker, and again when it gives up, as a process manager would do."""
    while True:
        with start_lock:        # each worker makes an event loop of its own, and not all share one
            set_event_loop(None)
            worker = WorkController(app=app, hostname=f"{me['name']}@{app.main}", pool=Pool, concurrency=slots,
                                    ready_callback=lambda _: ready.set(), without_mingle=True, without_gossip=True,
                                    without_heartbeat=True)
        worker.start()
        logging.error("the worker of %s ended", app.main)
        time.sleep(0.5)


def configure(m):
    queue, policy, applied = m["queue"], m["policy"], {}
    retry = {"max_retries": None if policy["attempts"] == "infinite" else policy["attempts"] - 1}
    if retry["max_retries"] != 0:
        retry["autoretry_for"] = (Failed,)
        retry["default_retry_delay"] = 0
    backoff = policy.get("backoff")
    if isinstance(backoff, dict) and "exponential" in backoff:
        asked = backoff["exponential"]
        first = min(max(1, -(-asked["first_ms"] // 1000)), LONGEST_WAIT_S)
        longest = max(first, min(-(-asked["max_ms"] // 1000), LONGEST_WAIT_S))
        retry.update(retry_backoff=first, retry_backoff_max=longest, retry_jitter=False)
        real = {"first_ms": first * 1000, "max_ms": longest * 1000, "jitter_percent": 0}
        if real != asked:
            applied["backoff"] = {"exponential": real}
    prefix = {"global_keyprefix": f"{me['prefix']}{queue}:"}
    app = queues[queue] = Celery(queue, broker=me["url"], backend=me["url"], set_as_current=False)
    app.conf.update(
        task_default_queue=queue, task_acks_late=True, task_track_started=True, result_extended=True, worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False, worker_redirect_stdouts=False, broker_connection_retry_on_startup=True,
        worker_send_task_events=False, result_backend_transport_options=prefix, result_backend_always_retry=True,
        task_publish_retry_policy={"max_retries": 20, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        broker_transport_options={**prefix, "visibility_timeout": VISIBILITY_S, "unacked_restore_interval": 1,
                                  "unacked_restore_throttle": 1})
    app.task(handler, bind=True, shared=False, name="job", **retry)
    app.finalize()
    if me["role"] != "client":
        ready = threading.Event()
        threading.Thread(target=work, args=(app, m["slots"], ready), daemon=True).start()
        ready.wait(20)
    return {"applied": applied} if applied else {}


def enqueue(m):
    queues[m["queue"]].tasks["job"].apply_async((m["job"], m["payload"]), task_id=m["job"])
    return {}


def status(m):
    meta = queues[m["queue"]].backend.get_task_meta(m["job"])
    now = STATUS[meta["status"]]
    answer = {"status": now, "final": meta["status"] in states.READY_STATES, "retry_count": meta.get("retries") or 0}
    if now == "failed":
        answer["error"] = str(meta["result"])
    return answer


def control(m, call, *args):
    if not getattr(queues[m["queue"]].control, call)(*args, reply=True, timeout=1):
        raise Refused("no worker answered")
    return {}


OPS = {"hello": hello, "configure": configure, "enqueue": enqueue, "status": status,
       "cancel": lambda m: control(m, "revoke", m["job"]),
       "pause": lambda m: control(m, "cancel_consumer", m["queue"]),
       "resume": lambda m: control(m, "add_consumer", m["queue"])}


def clean():
    if me and me["role"] != "worker":
        with redis.Redis.from_url(me["url"]) as r:
            if keys := list(r.scan_iter(me["prefix"] + "*", count=10_000)):
                r.unlink(*keys)


def serve(m):
    try:
        if m["op"] not in OPS or m["op"] not in ("hello", "configure") and m["queue"] not in queues:
            raise Refused("no such queue or operation")
        say({"id": m["id"], "ok": OPS[m["op"]](m)})
    except Refused as e:
        say({"id": m["id"], "refused": repr(e)})
    except Exception as e:
        logging.exception("%s", m["op"])
        say({"id": m["id"], "unknown": repr(e)})


def main():
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("LOG", "WARNING"))
    pool = ThreadPoolExecutor(4)
    for line in sys.stdin:
        m = json.loads(line)
        if m["op"] == "outcome":
            event, outcome = waiting[m["invocation"]]
            outcome.update(m["jobs"][0])
            event.set()
        elif m["op"] == "bye":
            clean()
            say({"id": m["id"], "ok": {}})
            os._exit(0)
        else:
            pool.submit(serve, m)
    time.sleep(1)    # nobody said goodbye: the workers go first
    clean()
    os._exit(0)


main()
