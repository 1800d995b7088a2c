# Huey: a Kew queue is a RedisHuey of its own with one task function, and a worker is its Consumer with threads.
# Attempts, exponential backoff (retry_delay, retry_backoff) and rate limits are Huey's own. So is the timeout: a thread
# cannot be ended, so Huey's task tells the handler that its time is up (task.check_timeout), and the handler obeys.
# Huey takes a task out of Redis before it runs it and acknowledges nothing, so what a dead worker held is lost.
# It keeps a failed task's error, not the task: a post-execute hook stores the dead letters in Huey's own key-value store.
import itertools, json, logging, os, sys, threading
from importlib.metadata import version
from huey import RedisHuey
from huey.consumer import Consumer
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

ENDLESS = 10**9  # retries
queues, waiting, me, numbers, lock = {}, {}, {}, itertools.count(1), threading.Lock()
logging.getLogger("huey").setLevel(logging.CRITICAL)


def say(line):
    with lock:
        print(json.dumps(line), flush=True)


class Queue:
    def __init__(self, line):
        policy, self.name, self.applied = line["policy"], line["queue"], {}
        attempts, backoff = policy.get("attempts", "infinite"), policy.get("backoff")
        self.retries = ENDLESS if attempts == "infinite" else attempts - 1
        self.huey = RedisHuey("kew-" + self.name, connection_pool=me["pool"], clean_name=False)
        options = {"retries": self.retries, "timeout": policy["timeout_ms"] / 1000}
        if isinstance(backoff, dict):
            options |= {"retry_delay": backoff["exponential"]["first_ms"] / 1000, "retry_backoff": 2}
        self.task = self.huey.task(name="handle", context=True, **options)(self.handle)
        self.limit = None
        if it := policy.get("rate_limit"):
            seconds = max(round(it["per_ms"] / 1000), 1)
            self.limit = self.huey.rate_limit("starts", it["starts"], seconds)
            self.applied = {"rate_limit": {"starts": it["starts"], "per_ms": seconds * 1000}}
        if policy.get("dead_letter_queue"):
            self.huey.post_execute("bury")(self.bury)

    def handle(self, job, payload, task):
        if self.limit:
            self.limit.acquire()
        invocation, done = f"{me['name']}-{next(numbers)}", threading.Event()
        waiting[invocation] = outcome = {"done": done}
        say({"event": "invoke", "invocation": invocation, "queue": self.name, "jobs": [
            {"job": job, "attempt": self.retries - task.retries + 1, "payload": payload}]})
        while not done.wait(max(task.time_remaining, 0.001)):
            try:
                task.check_timeout()
            except Exception:
                say({"event": "stopped", "invocation": invocation, "why": "timeout"})
                del waiting[invocation]
                raise
        del waiting[invocation]
        if outcome["result"] != "completed":
            raise RuntimeError(outcome.get("error", "failed"))

    def bury(self, task, _, error):
        if error is not None and not task.retries:
            self.huey.put("dead:" + task.id, {"job": task.id, "payload": task.args[1], "error": str(error)})


def hello(line):
    host, port = line["server"].split(":")
    options = {} if line["role"] == "worker" else {"retry": Retry(NoBackoff(), 0)}  # a client must not enqueue twice
    me.update(line, pool=ConnectionPool(host=host, port=int(port), socket_timeout=5, max_connections=10_000, **options))
    native, emulated = "native", "emulated"
    server = RedisHuey("kew", connection_pool=me["pool"]).storage.conn.info("server")["redis_version"]
    return {"system": "Huey", "version": version("huey"), "backend": "Redis " + server, "quantum_ms": 500, "capabilities": {
        "attempts": native, "infinite_attempts": {"is": native, "note": "10⁹ retries"},
        "exponential_backoff": {"is": native, "jitter": False, "cap": False},
        "timeout": {"is": native, "note": "the handler looks whether its time is up, as Huey's threads have it"},
        "rate_limit": {"is": native, "note": "fixed windows of whole seconds"},
        "cancel": {"is": native, "note": "revoke"},
        "dead_letters": {"is": emulated, "errors": True, "note": "stored by a post-execute hook"},
        "redrive": {"is": emulated, "note": "enqueued anew, then deleted from the store"},
        "attempt_number": {"is": emulated, "note": "counted from the retries that are left"}}}


def configure(line):
    queue = queues[line["queue"]] = Queue(line)
    if me["role"] != "client":
        Consumer(queue.huey, workers=line.get("slots", 1), periodic=False, scheduler_interval=1).start()
    return {"applied": queue.applied} if queue.applied else {}


def enqueue(line):
    queue = queues[line["queue"]]
    queue.huey.enqueue(queue.task.s(line["job"], line["payload"], id=line["job"]))
    return {}


def dead_letters(line):
    huey = queues[line["queue"]].huey
    return {"jobs": [huey.serializer.deserialize(it) for key, it in huey.all_results().items() if key.startswith("dead:")]}


def redrive(line):
    queue, key = queues[line["queue"]], "dead:" + line["job"]
    letter = queue.huey.get(key, peek=True)
    if not letter:
        raise LookupError("no such dead letter")
    enqueue({**line, "payload": letter["payload"]})
    queue.huey.delete(key)
    return {}


def cancel(line):
    queues[line["queue"]].huey.revoke_by_id(line["job"])
    return {}


def bye(_):
    if me["role"] != "worker":
        for queue in queues.values():
            queue.huey.flush()
    return {}


def answer(line):
    try:
        done = {"ok": globals()[line["op"]](line)}
    except LookupError as error:
        done = {"refused": repr(error)}
    except (Exception, RedisError) as error:
        done = {"unknown": repr(error)}
    say({"id": line["id"], **done})


for text in sys.stdin:
    line = json.loads(text)
    if line["op"] == "outcome":
        if outcome := waiting.get(line["invocation"]):
            outcome.update(line["jobs"][0])
            outcome["done"].set()
    else:
        answer(line)
    if line["op"] == "bye":
        os._exit(0)
bye(None)  # The harness is gone.
os._exit(0)
