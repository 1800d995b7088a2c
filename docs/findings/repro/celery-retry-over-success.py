# The state RETRY of a first attempt is stored after the retry was sent, and overwrites the SUCCESS of the second.
# needs: celery==5.7.0 kombu==5.7.0 packaging==26.3 redis==8.1.0
# server: redis
import collections, os, shutil, signal, subprocess, sys, time

import redis
from celery import Celery

TASKS, POOL = int(os.environ.get("TASKS", 300)), os.environ.get("POOL", "prefork")
url = f"redis://127.0.0.1:{os.environ['REDIS_PORT']}"
app = Celery("celery_retry_over_success", broker=url + "/0", backend=url + "/1")
app.conf.broker_connection_retry_on_startup = True
seen = redis.Redis(port=int(os.environ["REDIS_PORT"]), db=2)


@app.task(bind=True, max_retries=1, default_retry_delay=0, name="flaky")
def flaky(self):
    if self.request.retries == 0:
        raise self.retry(exc=RuntimeError("first attempt"))
    seen.set(self.request.id, time.time())


def main():
    shutil.copy(__file__, os.path.join(sys.prefix, "celery_retry_over_success.py"))
    workers = [subprocess.Popen(["celery", "-A", "celery_retry_over_success", "worker", "-c", "4", "-P", POOL, "-n", f"w{n}@h", "--loglevel", "CRITICAL"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) for n in range(2)]
    time.sleep(5)
    results = []
    while len(results) < TASKS:  # few at a time, so that a retry finds an idle worker
        results += [flaky.delay() for _ in range(2)]
        while seen.dbsize() < len(results):
            time.sleep(0.01)
    time.sleep(3)  # all is stored by now
    states = collections.Counter(it.state for it in results)
    print(f"{TASKS} tasks, each failed once and then succeeded. Their states, 3 s after the last: {dict(states)}")
    for it in [it for it in results if it.state == "RETRY"][:3]:
        print(f"  {it.id}: second attempt succeeded at {float(seen.get(it.id)) % 60:.3f}, state {it.state!r} since, result {it.result!r}; "
              f"get(timeout=3) in another process → {outcome(it)}")
    print(f"a succeeded task's state stays RETRY in {states['RETRY']} of {TASKS}")
    for it in workers:
        os.killpg(it.pid, signal.SIGKILL)


def outcome(result):
    """What another process gets, which was not there when the task succeeded."""
    code = f"from celery_retry_over_success import app; print(app.AsyncResult('{result.id}').get(timeout=3))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return (told.stdout or told.stderr).strip().split("\n")[-1]


if __name__ == "__main__":
    main()
