# A lock that a killed worker held is held for ever: the task never runs again (coleifer/huey#538, #308).
# needs: huey==3.5.4 redis==8.1.0
# server: redis
import os, shutil, signal, subprocess, sys, time

from huey import RedisHuey

RUNS = int(os.environ.get("RUNS", 3))
huey = RedisHuey("repro", port=int(os.environ["REDIS_PORT"]))
client = huey.storage.conn


@huey.task(retries=20, retry_delay=1)
@huey.lock_task("only-one")
def work(run, deadly):
    client.rpush(f"begun-{run}", "deadly" if deadly else "peaceful")
    if deadly:
        os.kill(os.getpid(), signal.SIGKILL)


def main():
    start = lambda: subprocess.Popen(["huey_consumer", "huey_538.huey", "-w", "1", *os.environ.get("OPTIONS", "").split()], start_new_session=True,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stuck = 0
    for run in range(1, RUNS + 1):
        work(run, True)
        first = start()
        first.wait()
        second = start()
        time.sleep(1)
        work(run, False)
        time.sleep(12)
        begun = [it.decode() for it in client.lrange(f"begun-{run}", 0, -1)]
        stuck += "peaceful" not in begun
        print(f"killed while it held the lock; 12 s and up to ten retries later begun: {begun}; locked: {huey.is_locked('only-one')}")
        os.killpg(second.pid, signal.SIGKILL)
        second.wait()
        huey.flush()
    print(f"the next task never got the lock: {stuck} of {RUNS} runs")


if __name__ == "__main__":
    shutil.copy(__file__, os.path.join(sys.prefix, "huey_538.py"))  # tasks go by their module's name
    import huey_538
    huey_538.main()
