# A message whose worker dies is delivered again without end, whatever max_retries says (Bogdanp/dramatiq#213).
# needs: dramatiq==2.2.1 redis==8.1.0
# server: redis
import os, shutil, signal, subprocess, sys, time

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

RUNS, PORT = int(os.environ.get("RUNS", 3)), int(os.environ["REDIS_PORT"])
broker = RedisBroker(port=PORT, heartbeat_timeout=2000, maintenance_chance=500_000)
dramatiq.set_broker(broker)
seen = redis.Redis(port=PORT, db=2)


@dramatiq.actor(max_retries=1, min_backoff=1, max_backoff=1)
def deadly(name):
    seen.rpush(name, time.time())
    os.kill(os.getpid(), signal.SIGKILL)  # as the out-of-memory killer does


def main():
    shutil.copy(__file__, os.path.join(sys.prefix, "dramatiq_213.py"))
    wrong = 0
    for run in range(1, RUNS + 1):
        name = f"run-{run}"
        deadly.send(name)
        begun = time.time()
        while time.time() < begun + 20 and seen.llen(name) < 5:
            worker = subprocess.Popen(["dramatiq", "dramatiq_213", "-p", "1", "-t", "1"], start_new_session=True,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before, waited = seen.llen(name), time.time()
            while seen.llen(name) == before and time.time() < waited + 8:
                time.sleep(0.1)
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        starts = [float(it) - begun for it in seen.lrange(name, 0, -1)]
        print(f"max_retries=1: begun {len(starts)} times, at {', '.join(f'{it:.1f}' for it in starts)} s; "
              f"dead letters: {broker.client.zcard('dramatiq:default.XQ')}")
        broker.flush_all()
        wrong += len(starts) > 2
    print(f"delivered more often than 1 + max_retries in {wrong} of {RUNS} runs")


if __name__ == "__main__":
    main()
