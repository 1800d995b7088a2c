# A negative ack redelivers at once, whatever the consumer's BackOff says (nats-io/nats-server#5856).
# needs: nats-py==2.16.0
# server: nats
import asyncio, os, time

import nats
from nats.js.api import ConsumerConfig

RUNS = int(os.environ.get("RUNS", 3))


async def main():
    nc = await nats.connect(f"nats://127.0.0.1:{os.environ['NATS_PORT']}")
    js, wrong = nc.jetstream(), 0
    print("nats-server", nc.connected_server_version)
    for run in range(1, RUNS + 1):
        await js.add_stream(name=f"S{run}", subjects=[f"s{run}"])
        sub = await js.pull_subscribe(f"s{run}", "c", config=ConsumerConfig(max_deliver=4, backoff=[1.0, 2.0, 4.0]))
        await js.publish(f"s{run}", b"job")
        times = []
        for _ in range(4):
            [message] = await sub.fetch(1, timeout=10)
            times.append(time.time())
            await message.nak()
        waits = [b - a for a, b in zip(times, times[1:])]
        print(f"backoff=[1, 2, 4] s; nak after each delivery; redelivered after {', '.join(f'{it * 1000:.0f} ms' for it in waits)}")
        wrong += waits[0] < 1
    print(f"redelivered before its backoff in {wrong} of {RUNS} runs")
    await nc.close()


asyncio.run(main())
