# Redis pops a message for a worker whose connection is cut before the reply arrives: the task is nowhere any more.
# needs: celery==5.7.0 kombu==5.7.0 packaging==26.3 redis==8.1.0
# server: redis
import os, shutil, signal, socket, subprocess, sys, threading, time

import redis
from celery import Celery

RUNS = int(os.environ.get("RUNS", 3))
PORT, PROXY = int(os.environ["REDIS_PORT"]), int(os.environ.get("PROXY_PORT", 0))
app = Celery("celery_lost", broker=f"redis://127.0.0.1:{PROXY or PORT}/0", backend=f"redis://127.0.0.1:{PORT}/1")
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, broker_connection_retry_on_startup=True,
                broker_transport_options={"visibility_timeout": 3, "unacked_restore_interval": 1, "unacked_restore_throttle": 1})
seen = redis.Redis(port=PORT, db=2)


@app.task(name="work")
def work(name):
    seen.set(name, 1)


class Proxy:
    """Passes all on, but loses the one reply to the worker that carries a task, and with it that connection."""

    def __init__(self):
        self.listener, self.armed = socket.create_server(("127.0.0.1", 0)), True
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", PORT))
            threading.Thread(target=self.copy, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self.copy, args=(far, near, True), daemon=True).start()

    def copy(self, a, b, replies):
        try:
            while data := a.recv(65536):
                if replies and self.armed and b"delivery_tag" in data and b"pmessage" not in data:
                    self.armed = False
                    break
                b.sendall(data)
        except OSError:
            pass
        for it in (a, b):
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def main():
    shutil.copy(__file__, os.path.join(sys.prefix, "celery_lost.py"))
    broker, lost = redis.Redis(port=PORT, db=0), 0
    for run in range(1, RUNS + 1):
        proxy = Proxy()
        worker = subprocess.Popen(["celery", "-A", "celery_lost", "worker", "-c", "1", "-P", "threads", "--loglevel", "CRITICAL"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                  env={**os.environ, "PROXY_PORT": str(proxy.port)})
        time.sleep(5)
        first, second = work.delay(f"{run}-a"), None
        time.sleep(3)
        second = work.delay(f"{run}-b")
        time.sleep(12)  # four visibility timeouts
        done = [bool(seen.exists(f"{run}-{it}")) for it in "ab"]
        print(f"run {run}: a (its reply was lost): done {done[0]}, state {first.state}; b: done {done[1]}, state {second.state}; "
              f"in Redis: queue {broker.llen('celery')}, unacked {broker.hlen('unacked')}")
        lost += not done[0] and done[1] and not broker.llen("celery") and not broker.hlen("unacked")
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    print(f"the task is lost in {lost} of {RUNS} runs")


if __name__ == "__main__":
    main()
