"""Kew's adapter for Dramatiq with its Redis broker.

Every queue has one actor; its options are the policy. A worker process hosts one Dramatiq worker per queue, with as
many threads as the queue has slots. A job is a message with the job's name and payload as arguments. Retries,
time limits and dead letters are Dramatiq's middleware; what a dead worker held comes back by the broker's heartbeats.
"""
import json, logging, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("dramatiq_restart_delay", "500")    # after a lost connection, the default is 3 s

import dramatiq, redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, Middleware, Retries, ShutdownNotifications, TimeLimit, TimeLimitExceeded
from dramatiq.rate_limits import WindowRateLimiter
from dramatiq.rate_limits.backends import RedisBackend

HEARTBEAT_MS = 3000     # a process that is silent for so long is dead
POLL_MS = 100           # how often an idle worker looks for messages, at least
out_lock = threading.Lock()
me, actors, waiting = {}, {}, {}    # hello, queue -> actor, invocation -> (event, the outcome)
count = 0


class Refused(Exception):
    pass


class Failed(Exception):
    pass


def say(line):
    with out_lock:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def hello(m):
    host, port = m["server"].rsplit(":", 1)
    client = redis.Redis(host=host, port=int(port))
    # maintenance brings back what the dead held; it runs in this many of a million commands (30 %)
    broker = RedisBroker(client=client, namespace="kew:" + os.path.basename(m["dir"].rstrip("/")),
                         heartbeat_timeout=HEARTBEAT_MS, maintenance_chance=300_000,
                         middleware=[Limited(), TimeLimit(interval=50), ShutdownNotifications(), Retries(), CurrentMessage()])
    me.update(m, client=client, broker=broker)
    if m["role"] != "client":
        broker.emit_after("process_boot")
    return {"system": "Dramatiq", "version": dramatiq.__version__, "backend": "Redis " + client.info("server")["redis_version"],
            "quantum_ms": POLL_MS, "capabilities": {
        "attempts": {"is": "native", "note": "max_retries"},
        "infinite_attempts": {"is": "native", "note": "max_retries=None"},
        "exponential_backoff": {"is": "native", "note": "min_backoff and max_backoff; the jitter is up to 100 % and cannot be turned off"},
        "timeout": {"is": "native", "note": "time_limit: an exception in the handler's thread"},
        "crash": {"is": "native", "recovers_ms": HEARTBEAT_MS + 3000, "note": "heartbeat_timeout"},
        "dead_letters": {"is": "native", "errors": False, "note": "the queue's XQ, read from Redis; its traceback is the one before the last"},
        "redrive": {"is": "emulated", "note": "taken out of the XQ and enqueued with no retries spent"},
        "rate_limit": {"is": "emulated", "note": "WindowRateLimiter, in whole seconds; a message waits for it in its slot"},
        "attempt_number": {"is": "native", "note": "the message's retries + 1"}}}


class Limited(Middleware):
    """Waits for a queue's rate limiter before the actor, and its time limit, begin."""
    actor_options = {"limiter"}

    def before_process_message(self, broker, message):
        limiter, acquired = broker.get_actor(message.actor_name).options.get("limiter"), False
        while limiter and not acquired:
            with limiter.acquire(raise_on_failure=False) as acquired:
                pass
            time.sleep(0 if acquired else 0.01)


def handle(job, payload):
    """Every job of every queue: report, then wait for the harness to say how it ends."""
    global count
    message = CurrentMessage.get_current_message()
    with out_lock:
        count += 1
        name = f"{me['name']}-{count}"
    waiting[name] = event, outcome = threading.Event(), {}
    say({"event": "invoke", "invocation": name, "queue": message.queue_name[1:],
         "jobs": [{"job": job, "attempt": message.options.get("retries", 0) + 1, "payload": payload}]})
    try:
        while not event.wait(0.02):    # a time limit cannot interrupt one long wait
            pass
    except TimeLimitExceeded:
        say({"event": "stopped", "invocation": name, "why": "timeout"})
        raise
    if outcome["result"] == "failed":
        raise Failed(outcome.get("error", "failed"))


def configure(m):
    queue, policy, applied = "q" + m["queue"], m["policy"], {}
    options = {"max_retries": None if policy["attempts"] == "infinite" else policy["attempts"] - 1,
               "min_backoff": 1, "max_backoff": 1, "time_limit": policy["timeout_ms"]}
    backoff = policy.get("backoff")
    if isinstance(backoff, dict) and "exponential" in backoff:
        asked = backoff["exponential"]
        options.update(min_backoff=asked["first_ms"], max_backoff=2 * asked["max_ms"])
        applied["backoff"] = {"exponential": {**asked, "jitter_percent": 100}}
    rate = policy.get("rate_limit")
    if rate:
        seconds = max(1, -(-rate["per_ms"] // 1000))
        options["limiter"] = WindowRateLimiter(RedisBackend(client=me["client"]), f"{me['broker'].namespace}:rate:{queue}",
                                               limit=rate["starts"], window=seconds)
        if seconds * 1000 != rate["per_ms"]:
            applied["rate_limit"] = {"starts": rate["starts"], "per_ms": seconds * 1000}
    actors[m["queue"]] = dramatiq.actor(handle, actor_name=queue, queue_name=queue, broker=me["broker"], **options)
    if me["role"] != "client":
        worker = dramatiq.Worker(me["broker"], queues={queue}, worker_threads=m["slots"], worker_timeout=POLL_MS)
        worker.queue_prefetch = m["slots"]    # what dramatiq_queue_prefetch sets for all: hold no more than is run
        worker.start()
    return {"applied": applied} if applied else {}


def enqueue(m):
    actors[m["queue"]].send(m["job"], m["payload"])
    return {}


def letters(queue):
    dead = f"{me['broker'].namespace}:q{queue}.XQ"
    ids = me["client"].zrange(dead, 0, -1)
    found = me["client"].hmget(dead + ".msgs", ids) if ids else []
    return [(dead, i, dramatiq.Message.decode(data)) for i, data in zip(ids, found) if data]


def dead_letters(m):
    return {"jobs": [{"job": x.args[0], "payload": x.args[1]} for _, _, x in letters(m["queue"])]}


def redrive(m):
    for dead, i, message in letters(m["queue"]):
        if message.args[0] == m["job"] and me["client"].zrem(dead, i):
            me["broker"].enqueue(message.copy(queue_name="q" + m["queue"], options={"retries": 0}))
            me["client"].hdel(dead + ".msgs", i)
            return {}
    raise Refused("no such dead letter")


def clean():
    if me and me["role"] != "worker":
        if keys := list(me["client"].scan_iter(me["broker"].namespace + ":*", count=10_000)):
            me["client"].unlink(*keys)
    elif me:    # workers go on to say that they live until they end: that key goes by itself
        me["client"].expire(me["broker"].namespace + ":__heartbeats__", 3600)


OPS = {"hello": hello, "configure": configure, "enqueue": enqueue, "dead_letters": dead_letters, "redrive": redrive}


def serve(m):
    try:
        if m["op"] not in OPS or m["op"] not in ("hello", "configure") and m["queue"] not in actors:
            raise Refused("no such queue or operation")
        say({"id": m["id"], "ok": OPS[m["op"]](m)})
    except Refused as e:
        say({"id": m["id"], "refused": repr(e)})
    except Exception as e:
        logging.exception("%s", m["op"])
        say({"id": m["id"], "unknown": repr(e)})


def main():
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("LOG", "CRITICAL"))
    pool = ThreadPoolExecutor(4)
    for line in sys.stdin:
        m = json.loads(line)
        if m["op"] == "outcome":
            event, outcome = waiting.pop(m["invocation"])
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
