# RateLimit.acquire is not atomic: threads that see an old window together each delete what the others have counted.
# needs: huey==3.5.4 redis==8.1.0
# server: redis
import os, threading, time
from collections import Counter

from huey import RedisHuey
from huey.exceptions import RateLimitExceeded

LIMIT, THREADS, SECONDS = 5, 8, int(os.environ.get("SECONDS", 20))
huey = RedisHuey("repro", port=int(os.environ["REDIS_PORT"]))
starts, lock, until = Counter(), threading.Lock(), time.time() + SECONDS


def worker():
    limit = huey.rate_limit("calls", LIMIT, 1)
    while time.time() < until:
        try:
            limit.acquire()
            with lock:
                starts[int(time.time())] += 1
        except RateLimitExceeded:
            time.sleep(0.002)


threads = [threading.Thread(target=worker) for _ in range(THREADS)]
[it.start() for it in threads]
[it.join() for it in threads]
whole = sorted(starts)[1:-1]
for second in whole:
    print(f"second …{second % 100:02}: {starts[second]} starts{' ← more than the limit' if starts[second] > LIMIT else ''}")
print(f"limit {LIMIT} per 1 s, {THREADS} threads: exceeded in {sum(starts[it] > LIMIT for it in whole)} of {len(whole)} calendar seconds, "
      f"{max(starts[it] for it in whole)} at most")
