# When the worker that holds the scheduler's lock is killed, retries with an interval wait until the lock runs out (rq/rq#1758).
# needs: rq==3.0.0 redis==8.1.0
# server: redis
import os, shutil, signal, subprocess, sys, time

import redis
import rq

LONGEST = int(os.environ.get("LONGEST", 180))
connection = redis.Redis(port=int(os.environ["REDIS_PORT"]))


def fail(job):
    connection.rpush(job, time.time())
    if connection.llen(job) == 1:
        raise RuntimeError("no")


def start():
    return subprocess.Popen(["rq", "worker", "--with-scheduler", "--url", f"redis://127.0.0.1:{os.environ['REDIS_PORT']}", "repro"],
                            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    shutil.copy(__file__, os.path.join(sys.prefix, "rq_1758.py"))
    first = start()  # it has the scheduler's lock
    time.sleep(4)
    second = start()
    time.sleep(4)
    os.killpg(first.pid, signal.SIGKILL)
    rq.Queue("repro", connection=connection).enqueue("rq_1758.fail", "job", retry=rq.Retry(max=1, interval=2))
    begun, seen = time.time(), 0
    while seen < 2 and time.time() < begun + LONGEST:
        if connection.llen("job") > seen:
            seen += 1
            print(f"{time.time() - begun:6.1f} s  attempt {seen} begins", flush=True)
        time.sleep(0.1)
    if seen < 2:
        print(f"{time.time() - begun:6.1f} s  still no second attempt, which was due 2 s after the first; another worker with a scheduler is idle")
    os.killpg(second.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
