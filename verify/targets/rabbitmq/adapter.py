# RabbitMQ: a Kew queue is a quorum queue, and its attempts are the delivery limit: a failed delivery is returned to the
# queue, and one return too many dead-letters it. With a backoff it is a ladder, for RabbitMQ 3.10 has none: the queue of
# attempt n (delivery limit 0, so that a crash counts too) dead-letters to a queue without consumers whose messages live as
# long as the backoff, and which dead-letters to the queue of attempt n + 1. All of it is the broker's own work.
# The client holds the messages of the dead letter queue unacknowledged, and so can read them and put one back.
import asyncio, json, os, sys
from importlib.metadata import version
import aio_pika
from aio_pika.exceptions import DeliveryError

HEARTBEAT = 2  # seconds; a stopped worker's connection is closed after two to three
queues, waiting, me = {}, {}, {"count": 0}


def say(line):
    print(json.dumps(line), flush=True)


class Queue:
    def __init__(self, line):
        self.name, policy, self.slots = line["queue"], line["policy"], line.get("slots", 1)
        self.dead = self.name + ".dead" if policy.get("dead_letter_queue") else None
        self.letters, self.consumed = {}, asyncio.Event()
        attempts, backoff = policy.get("attempts", "infinite"), policy.get("backoff")
        self.endless = attempts == "infinite"
        self.limit = None if self.endless else attempts - 1  # how often a delivery may come back
        self.delays = []  # the backoff after each rung of the ladder
        if isinstance(backoff, dict):
            it = backoff["exponential"]
            while len(self.delays) < (64 if self.endless else attempts - 1):
                self.delays.append(min(it["first_ms"] * 2 ** len(self.delays), it["max_ms"]))
                if self.endless and self.delays[-1] == it["max_ms"]:
                    break  # The last rung leads to itself.

    def rungs(self):
        count = max(len(self.delays) + (not self.endless), 1)
        return [self.name] + [f"{self.name}.{n}" for n in range(2, count + 1)]

    async def create(self, channel):
        async def declare(name, dead_letters_to=None, **arguments):
            arguments = {"x-" + key.replace("_", "-"): value for key, value in arguments.items() if value is not None}
            if dead_letters_to:
                arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead_letters_to,
                              "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
            await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum", **arguments})
            self.made.append(name)

        self.made, rungs = [], self.rungs()
        if self.dead:
            await declare(self.dead)
        for n, rung in enumerate(rungs):
            if not self.delays:
                await declare(rung, self.dead, delivery_limit=self.limit)
            elif n < len(self.delays):
                after = rungs[min(n + 1, len(rungs) - 1)]
                await declare(f"{self.name}.wait.{n + 1}", after, message_ttl=self.delays[n])
                last = self.endless and after == rung
                await declare(rung, f"{self.name}.wait.{n + 1}", delivery_limit=None if last else 0)
            else:
                await declare(rung, self.dead, delivery_limit=0)

    async def consume(self, connection):
        """On a new connection: a worker takes jobs, a client holds the dead letters."""
        self.letters = {}
        if me["role"] != "worker" and self.dead:
            dead = await (await connection.channel()).get_queue(self.dead, ensure=False)
            await dead.consume(self.hold)
        if me["role"] != "client":
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=self.slots)  # for each consumer
            for n, rung in enumerate(self.rungs()):
                await (await channel.get_queue(rung, ensure=False)).consume(lambda msg, n=n: self.handle(msg, n))
        self.consumed.set()

    async def hold(self, msg):
        self.letters[msg.delivery_tag] = msg

    async def handle(self, msg, rung):
        me["count"] += 1
        invocation = f"{me['name']}-{me['count']}"
        again = sum(it["count"] for it in msg.headers.get("x-death", []) if it["queue"] == f"{self.name}.wait.{len(self.delays)}")
        attempt = rung + 1 + msg.headers.get("x-delivery-count", 0) + (again if self.endless else 0)
        waiting[invocation] = asyncio.get_running_loop().create_future()
        say({"event": "invoke", "invocation": invocation, "queue": self.name, "jobs": [
            {"job": msg.message_id, "attempt": attempt, "payload": msg.body.decode()}]})
        result = await waiting[invocation]
        del waiting[invocation]
        try:
            if result == "completed":
                await msg.ack()
            else:
                await msg.reject(requeue=not self.delays)
        except Exception as error:  # The channel of the delivery is gone, and so is the delivery.
            say({"event": "rejected", "invocation": invocation, "error": repr(error)})


async def stay_connected():
    while True:
        try:
            connection = await aio_pika.connect(f"amqp://guest:guest@{me['server']}/?heartbeat={HEARTBEAT}", timeout=5)
            me["channel"] = await connection.channel(publisher_confirms=True, on_return_raises=True)
            for queue in list(queues.values()):
                if queue.consumed.is_set():
                    await queue.consume(connection)
            me["connection"] = connection
            me["connected"].set()
            await connection.closed()
        except Exception as error:
            print(f"connection: {error!r}", file=sys.stderr)
        me["connected"].clear()
        await asyncio.sleep(0.2)


async def hello(line):
    me.update(line, connected=asyncio.Event())
    me["task"] = asyncio.create_task(stay_connected())
    await me["connected"].wait()
    server = me["connection"].transport.connection.server_properties
    native, emulated = "native", "emulated"
    return {"system": "RabbitMQ", "version": server["version"], "backend": "aio-pika " + version("aio-pika"), "quantum_ms": 20,
            "capabilities": {
        "attempts": {"is": native, "note": "the delivery limit of a quorum queue"}, "infinite_attempts": native,
        "attempt_number": {"is": native, "note": "x-delivery-count, and the rung of the ladder"},
        "exponential_backoff": {"is": emulated, "jitter": False, "note": "a ladder of queues with a time to live"},
        "crash": {"is": native, "recovers_ms": 8000, "note": "a killed worker's at once, a stopped one's after its heartbeats"},
        "dead_letters": {"is": native, "errors": False, "note": "dead letter exchange, at least once"},
        "redrive": {"is": emulated, "note": "published anew, then acknowledged in the dead letter queue"}}}


async def configure(line):
    queue = Queue(line)
    for patience in range(10, -1, -1):
        await asyncio.wait_for(me["connected"].wait(), 10)
        try:
            if me["role"] != "worker":
                async with me["connection"].channel() as channel:
                    await queue.create(channel)
            await queue.consume(me["connection"])
            break
        except (RuntimeError, ConnectionError):  # The connection is lost just now.
            if not patience:
                raise
            await asyncio.sleep(0.5)
    queues[queue.name] = queue
    return {}


async def publish(queue, job, payload):
    if me["channel"].is_closed:
        raise LookupError("not connected")
    message = aio_pika.Message(payload, message_id=job, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await me["channel"].default_exchange.publish(message, routing_key=queue, mandatory=True, timeout=5)


async def enqueue(line):
    await publish(line["queue"], line["job"], line["payload"].encode())
    return {}


async def dead_letters(line):
    return {"jobs": [{"job": msg.message_id, "payload": msg.body.decode()} for msg in queues[line["queue"]].letters.values()]}


async def redrive(line):
    letters = queues[line["queue"]].letters
    for tag, msg in list(letters.items()):
        if msg.message_id == line["job"]:
            await publish(line["queue"], msg.message_id, msg.body)
            await msg.ack()
            letters.pop(tag, None)
            return {}
    raise LookupError("no such dead letter")


async def bye(_):
    if me["role"] != "worker":
        async with me["connection"].channel() as channel:
            for queue in queues.values():
                for name in queue.made:
                    await channel.queue_delete(name)
    return {}


async def answer(line):
    try:
        done = {"ok": await globals()[line["op"]](line)}
    except (LookupError, DeliveryError) as error:
        done = {"refused": repr(error)}
    except Exception as error:
        done = {"unknown": repr(error)}
    say({"id": line["id"], **done})
    if line["op"] == "bye":
        me["over"].set()


async def main():
    me["over"], reader, tasks = asyncio.Event(), asyncio.StreamReader(limit=2**26), set()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def read():
        while text := await reader.readline():
            line = json.loads(text)
            if line["op"] == "outcome":
                future = waiting.get(line["invocation"])
                if future and not future.done():
                    future.set_result(line["jobs"][0]["result"])
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
    os._exit(0)


asyncio.run(main())
