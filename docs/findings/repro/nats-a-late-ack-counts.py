# The ack of a delivery whose AckWait is over is accepted while a second delivery is at work, and ends the message for both.
# needs: nats-py==2.16.0
# server: nats
import asyncio, os, time

import nats
from nats.js.api import ConsumerConfig, RetentionPolicy

RUNS = int(os.environ.get("RUNS", 3))


async def main():
    nc = await nats.connect(f"nats://127.0.0.1:{os.environ['NATS_PORT']}")
    js, gone = nc.jetstream(), 0
    print("nats-server", nc.connected_server_version)
    for run in range(1, RUNS + 1):
        await js.add_stream(name=f"S{run}", subjects=[f"s{run}"], retention=RetentionPolicy.WORK_QUEUE)
        sub = await js.pull_subscribe(f"s{run}", "c", config=ConsumerConfig(max_deliver=3, ack_wait=1))
        await js.publish(f"s{run}", b"job")
        begun = time.time()
        [first] = await sub.fetch(1)
        [second] = await sub.fetch(1, timeout=5)
        late = time.time()
        await first.ack_sync()  # answered: the server took it
        info = await js.stream_info(f"S{run}")
        await second.nak()  # the second delivery failed: it is to be tried again
        try:
            await sub.fetch(1, timeout=3)
            then = "delivered again"
        except TimeoutError:
            then = "never delivered again"
        except nats.errors.TimeoutError:
            then = "never delivered again"
        print(f"delivery 1 at 0 ms, delivery 2 at {(late - begun) * 1000:.0f} ms (AckWait 1 s); then the ack of delivery 1: confirmed, "
              f"messages left {info.state.messages}; nak of delivery 2: {then}")
        gone += info.state.messages == 0
    print(f"the ack of a delivery that was over ended the message in {gone} of {RUNS} runs")
    await nc.close()


asyncio.run(main())
