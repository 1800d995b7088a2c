# When the worker that holds the scheduler's lock is killed, retries with an interval wait until the lock runs out (rq/rq#1758).
# needs: rq==3.0.0 redis==8.1.0
# server: redis
import os, shutil, signal, subprocess, sys, time

import redis
import rq

RUNS = int(os.environ.get("RUNS", 2))
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
    late = 0
    for run in range(1, RUNS + 1):
        first = start()  # it has the scheduler's lock
        time.sleep(4)
        second = start()
        time.sleep(4)
        os.killpg(first.pid, signal.SIGKILL)
        job = f"job-{run}"
        rq.Queue("repro", connection=connection).enqueue("rq_1758.fail", job, retry=rq.Retry(max=1, interval=2))
        begun = time.time()
        while connection.llen(job) < 2 and time.time() < begun + 150:
            time.sleep(0.1)
        times = [float(it) - begun for it in connection.lrange(job, 0, -1)]
        wait = times[1] - times[0] if len(times) > 1 else float("inf")
        late += wait > 10
        print(f"interval=2, another worker with a scheduler lives: attempt 1 after {times[0]:.1f} s, attempt 2 {wait:.1f} s later", flush=True)
        os.killpg(second.pid, signal.SIGKILL)
        connection.flushdb()
    print(f"a retry that was due after 2 s came more than 10 s late in {late} of {RUNS} runs")


if __name__ == "__main__":
    main()
