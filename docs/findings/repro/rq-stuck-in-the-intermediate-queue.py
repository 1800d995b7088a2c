# A job that maintenance once saw between the queue and its start is failed as stuck when maintenance sees it there again in a
# later attempt, though each time it was there for a moment: it is delivered again after it has succeeded.
# needs: rq==3.0.0 redis==8.1.0
# server: redis
import os, shutil, sys, time

import redis
import rq

connection = redis.Redis(port=int(os.environ["REDIS_PORT"]))
queue = rq.Queue("repro", connection=connection)
begun = time.time()


def work(job):
    attempt = connection.incr(job)
    fails = attempt == 1
    print(f"{time.time() - begun:6.1f} s  {job}: delivery {attempt} begins, and {'fails' if fails else 'succeeds'}", flush=True)
    if fails:
        raise RuntimeError("no")


class Worker(rq.SimpleWorker):
    """A worker beside which another one's maintenance runs in the moment between taking a job and starting it."""

    def execute_job(self, job, queue):
        queue.intermediate_queue.cleanup(janitor, queue)  # a part of Worker.run_maintenance_tasks
        super().execute_job(job, queue)


janitor = rq.Worker([queue], connection=connection)


def main():
    RUNS, wrong = int(os.environ.get("RUNS", 2)), 0
    for run in range(1, RUNS + 1):
        name = f"job-{run}"
        job = queue.enqueue(work, name, retry=rq.Retry(max=2))
        for wait in (0, 61, 1):
            time.sleep(wait)
            Worker([queue], connection=connection).work(burst=True, max_jobs=1, logging_level="CRITICAL")
            print(f"{time.time() - begun:6.1f} s  status {job.get_status()}, in the queue {queue.count}", flush=True)
        wrong += int(connection.get(name)) > 2
        queue.empty()
    print(f"delivered again after it had succeeded in {wrong} of {RUNS} runs")


if __name__ == "__main__":
    shutil.copy(__file__, os.path.join(sys.prefix, "rq_stuck.py"))  # RQ takes no function of __main__
    import rq_stuck
    rq_stuck.main()
