# WindowRateLimiter adds up counters of whole calendar seconds: up to twice the limit within a moment.
# needs: dramatiq==2.2.1 redis==8.1.0
# server: redis
import os, time

import redis
from dramatiq.rate_limits import WindowRateLimiter
from dramatiq.rate_limits.backends import RedisBackend

LIMIT, RUNS = 10, int(os.environ.get("RUNS", 5))
backend = RedisBackend(client=redis.Redis(port=int(os.environ["REDIS_PORT"])))


def starts_of(key):
    """A busy worker: it asks for a start every millisecond, for a second and a bit around the turn of one."""
    limiter, starts = WindowRateLimiter(backend, key, limit=LIMIT, window=1), []
    time.sleep(1 - time.time() % 1 + 0.9)  # the first start is 0.1 s before the turn
    until = time.time() + 1.5
    while time.time() < until:
        with limiter.acquire(raise_on_failure=False) as acquired:
            if acquired:
                starts.append(time.time())
        time.sleep(0.001)
    return starts


wrong = 0
for run in range(RUNS):
    starts = starts_of(f"run-{run}")
    within = [(max(t for t in starts if t < first + 1) - first, sum(first <= t < first + 1 for t in starts)) for first in starts]
    span, most = max(within, key=lambda it: it[1])
    wrong += most > LIMIT
    print(f"limit {LIMIT} per 1 s: {most} starts within {span * 1000:.0f} ms "
          f"({', '.join(f'{t % 60:.3f}' for t in starts[:LIMIT + 2])}, …)")
print(f"more than {LIMIT} starts within one second in {wrong} of {RUNS} runs")
