# A retry is scheduled in whole seconds, cut off: one that was asked for in 1 s may come after a few milliseconds.
# needs: rq==3.0.0 redis==8.1.0
# server: redis
import os, shutil, signal, subprocess, sys, time

import redis
import rq

WORKERS, JOBS = int(os.environ.get("WORKERS", 6)), 3
connection = redis.Redis(port=int(os.environ["REDIS_PORT"]))


def fail(job):
    connection.rpush(job, time.time())
    raise RuntimeError("no")


def main():
    shutil.copy(__file__, os.path.join(sys.prefix, "rq_early_retry.py"))  # where the worker can import it
    queue, early, waits = rq.Queue("repro", connection=connection), 0, []
    for n in range(WORKERS):
        time.sleep(1 - time.time() % 1 + n / WORKERS)  # the scheduler looks once a second, from when it was started on
        worker = subprocess.Popen(["rq", "worker", "--with-scheduler", "--url", f"redis://127.0.0.1:{os.environ['REDIS_PORT']}", "repro"],
                                  start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(2)
        for m in range(JOBS):
            time.sleep(1 - time.time() % 1 + 0.3 * m)
            job = f"job-{n}-{m}"
            queue.enqueue("rq_early_retry.fail", job, retry=rq.Retry(max=1, interval=1))
            while connection.llen(job) < 2:
                time.sleep(0.02)
            first, second = map(float, connection.lrange(job, 0, -1))
            waits.append(second - first)
            print(f"interval=1: attempt 1 at …{first % 60:06.3f}, attempt 2 at …{second % 60:06.3f}: after {waits[-1]:.3f} s"
                  f"{' ← early' if waits[-1] < 1 else ''}", flush=True)
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait()
    print(f"attempt 2 began less than 1 s after attempt 1 in {sum(it < 1 for it in waits)} of {len(waits)} runs, "
          f"after {min(waits):.3f} s at the soonest")


if __name__ == "__main__":
    main()
