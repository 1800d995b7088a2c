# RQ: a Kew queue is an RQ queue, and each slot is an RQ worker of its own, as `rq worker --with-scheduler` starts it: a
# process that forks a work-horse for every job. The workers are forked here, and all die with the adapter.
# Attempts are Retry(max), backoffs are Retry's list of intervals, the timeout is job_timeout (all in whole seconds), dead
# letters are the failed job registry, and an idempotency key is a unique job id. RQ gives up a dead worker's job to the next
# maintenance when its last heartbeat is a minute old. All keys of a run have a prefix of their own (RQ_KEY_PREFIX).
import ctypes, hashlib, json, os, selectors, signal, socket, sys, time
from importlib.metadata import version

queues, ids, slots, invoked, me, children = {}, {}, {}, {}, {}, []  # ids: job -> RQ's id; invoked: invocation -> slot's socket
prctl = ctypes.CDLL(None).prctl
os.register_at_fork(after_in_child=lambda: prctl(1, signal.SIGKILL))  # PR_SET_PDEATHSIG: workers, horses, schedulers


def say(line):
    print(json.dumps(line), flush=True)


def seconds(ms):
    return -(-ms // 1000)


class Policy:
    def __init__(self, policy):
        attempts, backoff = policy.get("attempts", "infinite"), policy.get("backoff")
        self.dead, self.timeout = bool(policy.get("dead_letter_queue")), seconds(policy["timeout_ms"])
        self.applied, self.intervals = {"timeout_ms": self.timeout * 1000}, 0
        self.retries = handler.ENDLESS if attempts == "infinite" else attempts - 1
        if isinstance(backoff, dict):
            it = backoff["exponential"]
            first, cap = seconds(it["first_ms"]), seconds(it["max_ms"])
            self.retries = min(self.retries, 500)  # RQ wants every interval told beforehand
            self.intervals = [min(first * 2 ** min(n, 40), cap) for n in range(self.retries)]
            self.applied["backoff"] = {"exponential": {"first_ms": first * 1000, "max_ms": cap * 1000, "jitter_percent": 0}}


def connect(**options):
    host, port = me["server"].split(":")
    return redis.Redis(host=host, port=int(port), **options)


def hello(line):
    os.environ["RQ_KEY_PREFIX"] = "kew-" + os.path.basename(line["dir"].rstrip("/"))
    global redis, rq, handler
    import redis, rq, handler
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    me.update(line, prefix=os.environ["RQ_KEY_PREFIX"])
    me["redis"] = connect(socket_timeout=5, retry=Retry(NoBackoff(), 0))  # a client must not enqueue twice
    native = "native"
    return {"system": "RQ", "version": version("rq"), "backend": "Redis " + me["redis"].info("server")["redis_version"],
            "quantum_ms": 1000, "capabilities": {
        "attempts": native, "infinite_attempts": {"is": native, "note": "10⁹ retries, or 500 with a backoff"},
        "exponential_backoff": {"is": native, "jitter": False, "note": "a list of intervals"},
        "timeout": native, "cancel": native, "status": {"is": "native", "times": False},
        "crash": {"is": native, "recovers_ms": 80000, "note": "a minute after the last heartbeat, at the next maintenance"},
        "dead_letters": {"is": native, "errors": True, "note": "the failed job registry"},
        "redrive": {"is": "emulated", "note": "requeue leaves the retries spent, so they are set anew before it"},
        "idempotency_key": {"is": native, "note": "a unique job id, as long as the job is kept"},
        "attempt_number": {"is": "emulated", "note": "counted from the retries that are left"}}}


def configure(line):
    policy = queues[line["queue"]] = Policy(line["policy"])
    for _ in range(line.get("slots", 1) if me["role"] != "client" else 0):
        ours, theirs = socket.socketpair()
        if pid := os.fork():
            children.append(pid)
        else:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            handler.channel = theirs
            work(line["queue"])
        theirs.close()
        slots[ours.fileno()] = (ours, b"")
        selector.register(ours, selectors.EVENT_READ)
    return {"applied": policy.applied}


def work(queue):
    while True:  # A worker quits when Redis fails it; a supervisor starts the next.
        try:
            connection = connect()
            rq.Worker([rq.Queue(queue, connection=connection)], connection=connection, worker_ttl=20, job_monitoring_interval=2,
                      maintenance_interval=5).work(with_scheduler=True, logging_level="CRITICAL")
        except BaseException as error:
            print(f"{queue}: {error!r}", file=sys.stderr, flush=True)
        time.sleep(0.2)


def enqueue(line):
    queue, policy = rq.Queue(line["queue"], connection=me["redis"]), queues[line["queue"]]
    key = line.get("idempotency_key")
    rq_id = "key-" + hashlib.sha256(f"{line['user']}/{key}".encode()).hexdigest() if key else line["job"]
    retry = rq.Retry(max=policy.retries, interval=policy.intervals) if policy.retries else None
    try:
        queue.enqueue("handler.handle", line["job"], line["payload"], line["queue"], policy.retries, job_id=rq_id, retry=retry,
                      job_timeout=policy.timeout, unique=bool(key))
    except rq.exceptions.DuplicateJobError:
        return {"job": fetch(rq_id).args[0]}
    ids[line["job"]] = rq_id
    return {}


def fetch(rq_id):
    return rq.job.Job.fetch(rq_id, connection=me["redis"])


def error_of(job):
    result = job.latest_result()
    return result.exc_string.strip().split("\n")[-1].removeprefix("RuntimeError: ") if result and result.exc_string else None


def dead_letters(line):
    if not queues[line["queue"]].dead:
        return {"jobs": []}
    failed = [fetch(it) for it in rq.Queue(line["queue"], connection=me["redis"]).failed_job_registry.get_job_ids()]
    return {"jobs": [{"job": job.args[0], "payload": job.args[1], "error": error_of(job)} for job in failed]}


def redrive(line):
    job = fetch(ids[line["job"]])
    if not me["redis"].zrem(job.failed_job_registry.key, job.id):  # as requeue does: who takes it out puts it back
        raise LookupError("no such dead letter")
    job.retries_left, job.started_at, job.ended_at = queues[line["queue"]].retries or None, None, None
    job.save()
    rq.Queue(line["queue"], connection=me["redis"]).enqueue_job(job)
    return {}


def cancel(line):
    fetch(ids[line["job"]]).cancel()
    return {}


def status(line):
    queue, job = queues[line["queue"]], rq.job.Job(ids.get(line["job"], line["job"]), connection=me["redis"])
    with me["redis"].pipeline() as both:  # at one moment
        row, due = both.hgetall(job.key).zscore(rq.registry.ScheduledJobRegistry(line["queue"], connection=me["redis"]).key, job.id).execute()
    if not row:
        return {"status": None}
    job.restore(row)
    state = {"started": "processing", "finished": "completed", "failed": "failed", "stopped": "failed", "canceled": "failed"}
    told, spent = job.get_status(refresh=False), queue.retries - (job.retries_left or 0)
    now = state.get(told, "pending")
    if told == "scheduled" and due is None:
        now = "processing"  # `Job.retry` writes "scheduled" first, and what makes it so a moment later
    if now == "pending" and spent:  # one failed, another is to come
        return {"status": "failed", "final": False, "error": error_of(job), "retry_count": spent - 1}
    if told == "canceled":  # `retries_left` does not tell whether the last retry had begun
        return {"status": "failed", "final": True, "error": "cancelled"}
    error = {"error": error_of(job)} if now == "failed" else {}
    return {"status": now, "final": now in ("completed", "failed"), "retry_count": spent, **error}


def bye(_):
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    for key in me["redis"].scan_iter(me["prefix"] + ":*", count=1000):
        me["redis"].delete(key)
    return {}


def answer(line):
    if line["op"] == "outcome":
        if slot := invoked.pop(line["invocation"], None):
            slot.sendall(json.dumps(line).encode() + b"\n")
        return
    try:
        done = {"ok": globals()[line["op"]](line)}
    except (LookupError, rq.exceptions.NoSuchJobError, rq.exceptions.InvalidJobOperation) as error:
        done = {"refused": repr(error)}
    except Exception as error:
        done = {"unknown": repr(error)}
    say({"id": line["id"], **done})
    if line["op"] == "bye":
        os._exit(0)


def main():
    rest = b""
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fd == sys.stdin.fileno():
                if not (data := os.read(key.fd, 2**20)):  # The harness is gone.
                    bye(None)
                    os._exit(0)
                *lines, rest = (rest + data).split(b"\n")
                for text in lines:
                    answer(json.loads(text))
            else:
                slot, begun = slots[key.fd]
                *lines, begun = (begun + slot.recv(2**20)).split(b"\n")
                slots[key.fd] = (slot, begun)
                for text in lines:
                    event = json.loads(text)
                    if event["event"] == "invoke":
                        invoked[event["invocation"]] = slot
                    say(event)


selector = selectors.DefaultSelector()
if __name__ == "__main__":
    main()
