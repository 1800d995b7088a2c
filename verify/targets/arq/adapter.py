# arq: a Kew queue is an arq queue with a Worker of its own, of as many `max_jobs` as slots.
# Attempts are `max_tries`. Only what raises `Retry` is tried again, so a failed handler raises that with the backoff as its
# delay, and at its last try the error itself, which arq keeps. A job that runs into arq's own timeout is never tried again:
# the timeout is the handler's. A dead worker's job comes back when its key "in progress" has expired: 10 s after the
# longest that its function may take.
import asyncio, hashlib, json, os, sys
from importlib.metadata import version
from arq import Retry, Worker, create_pool, func
from arq.connections import RedisSettings
from arq.constants import in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix
from arq.jobs import Job, deserialize_result

queues, waiting, ids, me = {}, {}, {}, {}  # name -> Queue; invocation -> future; job -> arq's id


def say(line):
    print(json.dumps(line), flush=True)


class Queue:
    def __init__(self, line):
        self.name, self.slots, self.policy = line["queue"], line.get("slots", 1), line["policy"]
        attempts = self.policy.get("attempts", "infinite")
        self.tries = 10**9 if attempts == "infinite" else attempts
        self.timeout, self.dead = self.policy["timeout_ms"] / 1000, bool(self.policy.get("dead_letter_queue"))

    async def work(self):
        handle = func(self.handle, name="handle", max_tries=self.tries, timeout=self.timeout + 1, keep_result_forever=True)
        while True:  # A worker quits when Redis fails it; a supervisor starts the next.
            try:
                await Worker([handle], queue_name=self.name, redis_settings=me["redis"], max_jobs=self.slots, poll_delay=0.1,
                             handle_signals=False, allow_abort_jobs=True).async_run()
            except Exception as error:
                print(f"{self.name}: {error!r}", file=sys.stderr, flush=True)
            await asyncio.sleep(0.2)

    async def handle(self, ctx, job, payload):
        me["count"] += 1
        invocation = f"{me['name']}-{me['count']}"
        waiting[invocation] = asyncio.get_running_loop().create_future()
        say({"event": "invoke", "invocation": invocation, "queue": self.name,
             "jobs": [{"job": job, "attempt": ctx["job_try"], "payload": payload}]})
        try:
            error = await asyncio.wait_for(waiting[invocation], self.timeout)
        except asyncio.TimeoutError:
            say({"event": "stopped", "invocation": invocation, "why": "timeout"})
            error = "timed out"
        except asyncio.CancelledError:
            say({"event": "stopped", "invocation": invocation, "why": "cancelled"})
            raise
        finally:
            waiting.pop(invocation)
        if error is not None:
            raise RuntimeError(error) if ctx["job_try"] >= self.tries else Retry(defer=self.backoff(ctx["job_try"]))

    def backoff(self, attempt):
        backoff = self.policy.get("backoff")
        if not isinstance(backoff, dict):
            return None
        it = backoff["exponential"]
        return min(it["first_ms"] * 2 ** min(attempt - 1, 40), it["max_ms"]) / 1000


async def hello(line):
    host, port = line["server"].split(":")
    me.update(name=line["name"], role=line["role"], count=0, redis=RedisSettings(host=host, port=int(port), conn_retries=100))
    me["pool"] = await create_pool(me["redis"])
    native = "native"
    return {"system": "arq", "version": version("arq"), "quantum_ms": 100,
            "backend": "Redis " + (await me["pool"].info("server"))["redis_version"], "capabilities": {
        "attempts": native, "infinite_attempts": {"is": native, "note": "10⁹ tries"}, "attempt_number": native,
        "exponential_backoff": {"is": "emulated", "jitter": False, "note": "the delay of Retry, computed in the handler"},
        "timeout": {"is": "emulated", "note": "the handler's own, then Retry: arq's is not tried again"},
        "crash": {"is": native, "recovers_ms": 12000, "after_timeout": True, "note": "its key in progress expires"},
        "dead_letters": {"is": "emulated", "errors": True, "note": "results that are failures"},
        "redrive": {"is": "emulated", "note": "the result deleted, then enqueued anew under its id"},
        "cancel": {"is": native, "note": "Job.abort"}, "status": {"is": native, "times": False},
        "idempotency_key": {"is": native, "note": "the job's id, as long as its result is kept"}}}


async def configure(line):
    queue = queues[line["queue"]] = Queue(line)
    if me["role"] != "client":
        queue.task = asyncio.create_task(queue.work())
    return {}


async def enqueue(line):
    key = line.get("idempotency_key")
    own = "key-" + hashlib.sha256(f"{line['user']}/{key}".encode()).hexdigest() if key else line["job"]
    made = await me["pool"].enqueue_job("handle", line["job"], line["payload"], _job_id=own, _queue_name=line["queue"])
    if made or not key:  # A repetition of the client's own finds the job that it has made.
        ids[line["job"]] = own
        return {}
    return {"job": (await Job(own, me["pool"], _queue_name=line["queue"]).info()).args[0]}


async def dead_letters(line):
    if not queues[line["queue"]].dead:
        return {"jobs": []}
    results = [it for it in await me["pool"].all_job_results() if it.queue_name == line["queue"] and not it.success]
    results = [it for it in results if not isinstance(it.result, asyncio.CancelledError)]
    return {"jobs": [{"job": it.args[0], "payload": it.args[1], "error": str(it.result)} for it in results]}


async def redrive(line):
    own = ids[line["job"]]
    info = await Job(own, me["pool"], _queue_name=line["queue"]).result_info()
    if not info or not await me["pool"].delete(result_key_prefix + own):
        raise LookupError("no such dead letter")
    await me["pool"].enqueue_job("handle", *info.args, _job_id=own, _queue_name=line["queue"])
    return {}


async def cancel(line):
    if not await Job(ids[line["job"]], me["pool"], _queue_name=line["queue"]).abort(timeout=5, poll_delay=0.05):
        raise LookupError("it has ended")
    return {}


async def status(line):
    own = ids.get(line["job"], line["job"])
    async with me["pool"].pipeline(transaction=True) as pipe:  # at one moment
        pipe.get(result_key_prefix + own).exists(in_progress_key_prefix + own)
        pipe.zscore(line["queue"], own).get(retry_key_prefix + own)
        result, runs, waits, tries = await pipe.execute()
    tries = int(tries or 0)
    if result:
        it = deserialize_result(result)
        if isinstance(it.result, asyncio.CancelledError):
            return {"status": "failed", "final": True, "error": "cancelled"}
        told = {"status": "completed"} if it.success else {"status": "failed", "error": str(it.result)}
        begun = min(it.job_try, queues[line["queue"]].tries)  # the try that is one too many begins no handler
        return {**told, "final": True, "retry_count": begun - 1}
    if runs or (waits is not None and not tries):
        return {"status": "processing" if runs else "pending", "final": False, "retry_count": max(tries - 1, 0)}
    return {"status": None} if waits is None else {"status": "failed", "final": False, "retry_count": tries - 1}


async def bye(_):
    if me["role"] != "worker":
        prefixes = (job_key_prefix, in_progress_key_prefix, result_key_prefix, retry_key_prefix)
        keys = list(queues) + [prefix + own for own in ids.values() for prefix in prefixes]
        for start in range(0, len(keys), 1000):
            await me["pool"].delete(*keys[start:start + 1000])
    return {}


async def answer(line):
    try:
        done = {"ok": await globals()[line["op"]](line)}
    except LookupError as error:
        done = {"refused": repr(error)}
    except Exception as error:
        done = {"unknown": repr(error)}
    say({"id": line["id"], **done})
    if line["op"] == "bye":
        me["over"].set()


async def main():
    me["over"], reader = asyncio.Event(), asyncio.StreamReader(limit=2**26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks = set()

    async def read():
        while text := await reader.readline():
            line = json.loads(text)
            if line["op"] == "outcome":
                future, it = waiting.get(line["invocation"]), line["jobs"][0]
                if future and not future.done():
                    future.set_result(None if it["result"] == "completed" else it.get("error", "failed"))
            elif line["op"] == "hello":
                await answer(line)
            else:
                tasks.add(task := asyncio.create_task(answer(line)))
                task.add_done_callback(tasks.discard)
        try:  # The harness is gone.
            await asyncio.wait_for(bye(None), 5)
        finally:
            me["over"].set()

    tasks.add(asyncio.create_task(read()))
    await me["over"].wait()
    sys.stdout.flush()
    os._exit(0)


asyncio.run(main())
