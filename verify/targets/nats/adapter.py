# NATS JetStream: a Kew queue is a stream with work queue retention and one durable pull consumer.
# Attempts are MaxDeliver. A failed handler answers with a negative ack that carries the backoff as its delay; the timeout
# is the handler's own (JetStream has only AckWait), so both are emulated. AckWait is the lease: while a handler runs, its
# message is told to be in progress, so that only a dead worker's comes back by AckWait.
# A spent message stays in the stream; JetStream publishes an advisory, which a second stream keeps: the dead letters.
import asyncio, json, os, sys
from importlib.metadata import version
import nats
from nats.js import api, errors

LEASE = 2.0  # seconds of AckWait
MAX_DELIVERIES = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"
queues, waiting, made = {}, {}, {}  # name -> Queue; invocation -> future; (stream, sequence) -> job, as published
me = {}


def say(line):
    print(json.dumps(line), flush=True)


class Queue:
    def __init__(self, line):
        self.name, self.policy, self.slots = line["queue"], line["policy"], line.get("slots", 1)
        self.dead = self.name + "-dead" if self.policy.get("dead_letter_queue") else None
        attempts = self.policy.get("attempts", "infinite")
        self.attempts = None if attempts == "infinite" else attempts

    async def create(self):
        await me["js"].add_stream(name=self.name, subjects=["kew." + self.name], retention=api.RetentionPolicy.WORK_QUEUE,
                                  storage=api.StorageType.FILE, duplicate_window=120)
        if self.dead:
            await me["js"].add_stream(name=self.dead, subjects=[f"{MAX_DELIVERIES}.{self.name}.work"])
        await me["js"].add_consumer(self.name, durable_name="work", ack_policy=api.AckPolicy.EXPLICIT, ack_wait=LEASE,
                                    max_deliver=self.attempts or -1, max_ack_pending=10_000)

    async def work(self):
        sub = await me["js"].pull_subscribe_bind("work", self.name)
        while True:
            try:
                msgs = await self.fetch(sub)
            except (asyncio.TimeoutError, nats.errors.TimeoutError):
                continue
            except Exception as error:
                print(f"{self.name}: fetch: {error!r}", file=sys.stderr)
                await asyncio.sleep(0.1)
                continue
            try:
                await self.handle(msgs)
            except Exception as error:
                print(f"{self.name}: handle: {error!r}", file=sys.stderr)

    async def fetch(self, sub):
        msgs, size = await sub.fetch(1, timeout=2), (self.policy.get("batch") or {"size": 1})["size"]
        if size > 1:
            try:
                msgs += await sub.fetch(size - 1, timeout=0.05)
            except (asyncio.TimeoutError, nats.errors.TimeoutError):
                pass
        return msgs

    async def handle(self, msgs):
        me["count"] += 1
        invocation = f"{me['name']}-{me['count']}"
        by_job = {msg.headers["Kew-Job"]: msg for msg in msgs}
        waiting[invocation] = asyncio.get_running_loop().create_future()
        say({"event": "invoke", "invocation": invocation, "queue": self.name, "jobs": [
            {"job": job, "attempt": msg.metadata.num_delivered, "payload": msg.data.decode()} for job, msg in by_job.items()]})
        beat = asyncio.create_task(self.beat(msgs))
        try:
            results = await asyncio.wait_for(waiting[invocation], self.policy["timeout_ms"] / 1000)
        except asyncio.TimeoutError:
            say({"event": "stopped", "invocation": invocation, "why": "timeout"})
            results = {}
        finally:
            waiting.pop(invocation, None)
            beat.cancel()
        await asyncio.gather(*(self.settle(msg, results.get(job)) for job, msg in by_job.items()))

    async def beat(self, msgs):
        while True:
            for msg in msgs:
                await msg.in_progress()
            await asyncio.sleep(LEASE / 4)

    async def settle(self, msg, result):
        if result != "completed":
            return await msg.nak(delay=self.backoff(msg.metadata.num_delivered))
        for _ in range(5):
            try:
                return await msg.ack_sync(timeout=1)
            except Exception as error:  # Nobody knows whether it arrived: an ack may be repeated.
                print(f"{self.name}: ack: {error!r}", file=sys.stderr)
                await asyncio.sleep(0.1)

    def backoff(self, delivery):
        backoff = self.policy.get("backoff")
        if not isinstance(backoff, dict) or delivery == self.attempts:
            return None  # At once; after the last attempt it brings the advisory.
        it = backoff["exponential"]
        return min(it["first_ms"] * 2 ** min(delivery - 1, 40), it["max_ms"]) / 1000

    async def dead_letters(self):
        """The spent messages, each with the sequence of its advisory."""
        if not self.dead:
            return []
        state, found = (await me["js"].stream_info(self.dead)).state, {}
        for sequence in range(max(state.first_seq, 1), state.last_seq + 1):
            try:
                advisory = await me["js"].get_msg(self.dead, sequence)
                spent = await me["js"].get_msg(self.name, json.loads(advisory.data)["stream_seq"])
            except errors.NotFoundError:
                continue
            found[spent.seq] = (sequence, spent)
        return list(found.values())


async def hello(line):
    me.update(name=line["name"], role=line["role"], count=0)
    me["nc"] = await nats.connect("nats://" + line["server"], max_reconnect_attempts=-1, reconnect_time_wait=0.2,
                                  connect_timeout=2, ping_interval=2, max_outstanding_pings=2, error_cb=log)
    me["js"] = me["nc"].jetstream(timeout=5)
    native, emulated = "native", "emulated"
    it = me["nc"].connected_server_version
    return {"system": "NATS JetStream", "version": f"{it.major}.{it.minor}.{it.patch}", "quantum_ms": 20,
            "backend": "nats-py " + version("nats-py"), "capabilities": {
        "attempts": native, "infinite_attempts": native, "attempt_number": native, "idempotency_key": {
            "is": native, "note": "Nats-Msg-Id, within the stream's duplicate window of 120 s"},
        "exponential_backoff": {"is": emulated, "jitter": False, "note": "the delay of a negative ack (BackOff does not apply to one)"},
        "timeout": {"is": emulated, "note": "the handler's own, then a negative ack; AckWait is the lease"},
        "crash": {"is": native, "recovers_ms": 3000, "note": "AckWait 2 s"},
        "dead_letters": {"is": emulated, "errors": False, "note": "advisories of MaxDeliver, kept in a stream"},
        "redrive": {"is": emulated, "note": "published anew, then deleted"},
        "batch": {"is": native, "wait": False, "note": "one pull takes what is there, up to the size"}}}


async def configure(line):
    queue = queues[line["queue"]] = Queue(line)
    if me["role"] != "worker":
        await queue.create()
    if me["role"] != "client":
        queue.tasks = [asyncio.create_task(queue.work()) for _ in range(queue.slots)]
    return {}


async def enqueue(line):
    headers, queue = {"Kew-Job": line["job"]}, line["queue"]
    if line.get("idempotency_key"):
        headers["Nats-Msg-Id"] = f"{line['user']}/{line['idempotency_key']}"
    ack = await me["js"].publish("kew." + queue, line["payload"].encode(), stream=queue, headers=headers)
    if not ack.duplicate:
        made[queue, ack.seq] = line["job"]
        return {}
    if (queue, ack.seq) not in made:  # The reply to the first publish was lost.
        made[queue, ack.seq] = (await me["js"].get_msg(queue, ack.seq)).headers["Kew-Job"]
    return {"job": made[queue, ack.seq]}


async def dead_letters(line):
    found = await queues[line["queue"]].dead_letters()
    return {"jobs": [{"job": msg.headers["Kew-Job"], "payload": msg.data.decode()} for _, msg in found]}


async def redrive(line):
    queue = queues[line["queue"]]
    for sequence, msg in await queue.dead_letters():
        if msg.headers["Kew-Job"] == line["job"]:
            await me["js"].publish("kew." + queue.name, msg.data, stream=queue.name, headers={"Kew-Job": line["job"]})
            await me["js"].delete_msg(queue.name, msg.seq)
            await me["js"].delete_msg(queue.dead, sequence)
            return {}
    raise LookupError("no such dead letter")


async def bye(_):
    if me["role"] != "worker":
        for stream in [name for queue in queues.values() for name in (queue.name, queue.dead) if name]:
            await me["js"].delete_stream(stream)
    return {}


async def log(error):
    print(repr(error), file=sys.stderr)


async def answer(line):
    try:
        done = {"ok": await globals()[line["op"]](line)}
    except (LookupError, errors.APIError, errors.NoStreamResponseError) as error:
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
                future = waiting.get(line["invocation"])
                if future and not future.done():
                    future.set_result({it["job"]: it["result"] for it in line["jobs"]})
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
