# A task whose countdown is longer than the visibility timeout runs more than once (celery/kombu#337).
# needs: celery==5.7.0 kombu==5.7.0 packaging==26.3 redis==8.1.0
# server: redis
import os, shutil, signal, subprocess, sys, time

import redis
from celery import Celery

RUNS = int(os.environ.get("RUNS", 3))
url = f"redis://127.0.0.1:{os.environ['REDIS_PORT']}"
app = Celery("kombu_337", broker=url + "/0", backend=url + "/1")
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True,
                broker_transport_options={"visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1})
seen = redis.Redis(port=int(os.environ["REDIS_PORT"]), db=2)


@app.task(name="later", bind=True)
def later(self, name, sent):
    seen.rpush(name, f"{time.time() - sent:.1f} s on {self.request.hostname}")


def main():
    shutil.copy(__file__, os.path.join(sys.prefix, "kombu_337.py"))
    workers = [subprocess.Popen(["celery", "-A", "kombu_337", "worker", "-c", "1", "-P", "threads", "-n", f"w{n}@h", "--loglevel", "CRITICAL"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) for n in range(2)]
    time.sleep(5)
    wrong = 0
    for run in range(1, RUNS + 1):
        later.apply_async((f"run-{run}", time.time()), countdown=8)
        time.sleep(14)
        runs = [it.decode() for it in seen.lrange(f"run-{run}", 0, -1)]
        wrong += len(runs) > 1
        print(f"countdown 8 s, visibility timeout 3 s: ran {len(runs)} times: after {', '.join(runs)}", flush=True)
    print(f"one task ran more than once in {wrong} of {RUNS} runs")
    for it in workers:
        os.killpg(it.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
