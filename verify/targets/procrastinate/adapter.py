"""Kew's adapter for Procrastinate on PostgreSQL.

Every queue has one task; its retry strategy is the policy. A worker process hosts one Procrastinate worker per queue,
with the queue's slots as its concurrency, all in one event loop. A job is a Procrastinate job with the job's name and
payload as arguments. What a dead worker held comes back by the documented periodic task that retries stalled jobs.
Every run has a PostgreSQL schema of its own.
"""
import asyncio, json, logging, os, re, sys

import procrastinate, psycopg
from procrastinate import App, PsycopgConnector, RetryDecision, RetryStrategy, exceptions
from procrastinate.schema import SchemaManager

STALLED_S = 4       # a worker that is silent for so long is dead; it says that it lives once a second
POLL_S = 0.1
STATUS = {"todo": "pending", "doing": "processing", "aborting": "processing", "succeeded": "completed",
          "failed": "failed", "cancelled": "failed", "aborted": "failed"}
me, tasks, ids, waiting = {}, {}, {}, {}    # hello, queue -> (task, policy), job -> id, invocation -> future
count = 0


class Refused(Exception):
    pass


class Failed(Exception):
    pass


class Backoff(RetryStrategy):
    """How often is Procrastinate's own; how long to wait is worked out here, as it offers whole seconds to the power of n."""
    def __init__(self, first_ms, max_ms, **kwargs):
        super().__init__(**kwargs)
        self.first_ms, self.max_ms = first_ms, max_ms

    def get_retry_decision(self, *, exception, job):
        if super().get_retry_decision(exception=exception, job=job):
            return RetryDecision(retry_in={"milliseconds": min(self.max_ms, self.first_ms * 2 ** min(job.attempts, 40))})


def say(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def hello(m):
    schema = "kew_" + re.sub(r"\W", "_", os.path.basename(m["dir"].rstrip("/")).lower())
    host, port = m["server"].rsplit(":", 1)
    info = f"host={host} port={port} user={os.environ.get('PGUSER', 'postgres')} dbname={os.environ.get('PGDATABASE', 'postgres')}"
    me.update(m, schema=schema)
    async with await psycopg.AsyncConnection.connect(info) as db:    # whoever comes first makes the tables
        await db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [schema])
        await db.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        await db.execute(f"SET LOCAL search_path TO {schema}")
        if (await (await db.execute("SELECT to_regclass('procrastinate_jobs')")).fetchone())[0] is None:
            await db.execute(SchemaManager.get_schema())
        version = (await (await db.execute("SHOW server_version")).fetchone())[0].split()[0]
    connector = PsycopgConnector(conninfo=info, kwargs={"options": f"-c search_path={schema}"}, min_size=1, max_size=3)
    me["app"] = App(connector=connector, worker_defaults={
        "listen_notify": False, "fetch_job_polling_interval": POLL_S, "update_heartbeat_interval": 1,
        "stalled_worker_timeout": STALLED_S, "install_signal_handlers": False})
    await me["app"].open_async()
    if m["role"] != "client":
        keeper = App(connector=connector, worker_defaults=me["app"].worker_defaults)

        @keeper.periodic(cron="* * * * * *")
        @keeper.task(queueing_lock="retry_stalled_jobs", queue="kew-keeper", pass_context=True)
        async def retry_stalled_jobs(context, timestamp):
            for job in await keeper.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_S):
                await keeper.job_manager.retry_job(job)
        start(keeper, queues=["kew-keeper"], delete_jobs="successful")
    return {"system": "Procrastinate", "version": procrastinate.__version__, "backend": "PostgreSQL " + version,
            "quantum_ms": int(POLL_S * 1000), "capabilities": {
        "attempts": {"is": "native", "note": "RetryStrategy(max_attempts)"},
        "infinite_attempts": {"is": "native", "note": "RetryStrategy without max_attempts"},
        "exponential_backoff": {"is": "emulated", "jitter": False, "note": "a retry strategy of the adapter's; Procrastinate's own grows as base ** n seconds"},
        "crash": {"is": "native", "recovers_ms": STALLED_S * 1000 + 4000, "note": "the documented periodic task that retries stalled jobs"},
        "dead_letters": {"is": "native", "errors": False, "note": "jobs whose status is failed stay in the table"},
        "deduplication": {"is": "native", "newest": False, "note": "queueing_lock and lock"},
        "cancel": {"is": "native"}, "status": {"is": "native", "times": False, "note": "no errors are kept; retry_count from the job's attempts"},
        "attempt_number": {"is": "native", "note": "job.attempts + 1"}}}


def start(app, **options):
    """Runs a worker, and again when it gives up, as a process manager would do."""
    async def run():
        while True:
            try:
                await app.run_worker_async(**options)
            except Exception:
                logging.exception("the worker of %s ended", options["queues"])
            await asyncio.sleep(0.5)
    me.setdefault("running", []).append(asyncio.create_task(run()))


async def handle(context, job, payload):
    """Every job of every queue: report, then wait for the harness to say how it ends."""
    global count
    count += 1
    name = f"{me['name']}-{count}"
    waiting[name] = asyncio.get_running_loop().create_future()
    say({"event": "invoke", "invocation": name, "queue": context.job.queue,
         "jobs": [{"job": job, "attempt": context.job.attempts + 1, "payload": payload}]})
    outcome = await waiting[name]
    del waiting[name]
    if outcome["result"] == "failed":
        raise Failed(outcome.get("error", "failed"))


async def configure(m):
    policy, retry = m["policy"], False
    if policy["attempts"] != 1:    # max_attempts counts retries, and 0 would mean no limit
        limit = None if policy["attempts"] == "infinite" else policy["attempts"] - 1
        backoff = policy.get("backoff")
        exponential = backoff.get("exponential", {}) if isinstance(backoff, dict) else {}
        retry = Backoff(exponential.get("first_ms", 0), exponential.get("max_ms", 0), max_attempts=limit)
    tasks[m["queue"]] = me["app"].task(name=m["queue"], queue=m["queue"], retry=retry, pass_context=True)(handle), policy
    if me["role"] != "client":
        start(me["app"], queues=[m["queue"]], concurrency=m["slots"])
    return {}


async def enqueue(m):
    task, policy = tasks[m["queue"]]
    locks = {}
    if policy.get("deduplication") and "key" in m:
        lock = f"{m['queue']}/{m['key']}"
        locks = {"lock": lock, "queueing_lock": lock}
    while True:
        try:
            ids[m["job"]] = await task.configure(**locks).defer_async(job=m["job"], payload=m["payload"])
            return {}
        except exceptions.AlreadyEnqueued:
            for job in await me["app"].job_manager.list_jobs_async(status="todo", queueing_lock=lock):
                return {"job": job.task_kwargs["job"]}    # if there is none, it has just begun: once more


async def status(m):
    if m["job"] not in ids:
        return {"status": None}
    for job in await me["app"].job_manager.list_jobs_async(id=ids[m["job"]]):
        retries = job.status == "todo" and job.attempts    # attempts counts those that have ended, or were lost
        now = "failed" if retries else STATUS[job.status]
        return {"status": now, "final": not retries and now in ("completed", "failed"),
                "retry_count": job.attempts if now == "processing" else max(0, job.attempts - 1)}


async def cancel(m):
    if m["job"] not in ids or not await me["app"].job_manager.cancel_job_by_id_async(ids[m["job"]]):
        raise Refused("no such job waits")
    return {}


async def dead_letters(m):
    jobs = await me["app"].job_manager.list_jobs_async(queue=m["queue"], status="failed")
    return {"jobs": [{"job": j.task_kwargs["job"], "payload": j.task_kwargs["payload"]} for j in jobs]}


async def clean():
    if me and me["role"] != "worker":
        async with me["app"].connector.pool.connection() as db:
            await db.execute(f"DROP SCHEMA IF EXISTS {me['schema']} CASCADE")


OPS = {"hello": hello, "configure": configure, "enqueue": enqueue, "status": status, "cancel": cancel, "dead_letters": dead_letters}


async def serve(m):
    try:
        if m["op"] not in OPS or m["op"] not in ("hello", "configure") and m["queue"] not in tasks:
            raise Refused("no such queue or operation")
        say({"id": m["id"], "ok": await OPS[m["op"]](m)})
    except Refused as e:
        say({"id": m["id"], "refused": repr(e)})
    except Exception as e:
        data = isinstance(e.__cause__, psycopg.DataError)    # such as a payload that jsonb cannot hold
        say({"id": m["id"], "refused" if data else "unknown": repr(e.__cause__ or e)})


async def main():
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("LOG", "CRITICAL"))
    lines = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    running = set()
    while line := await lines.readline():
        m = json.loads(line)
        if m["op"] == "outcome":
            waiting[m["invocation"]].set_result(m["jobs"][0])
        elif m["op"] == "bye":
            await clean()
            say({"id": m["id"], "ok": {}})
            os._exit(0)
        else:
            task = asyncio.create_task(serve(m))
            running.add(task)
            task.add_done_callback(running.discard)
    await asyncio.sleep(1)    # nobody said goodbye: the workers go first
    await clean()
    os._exit(0)


asyncio.run(main())
