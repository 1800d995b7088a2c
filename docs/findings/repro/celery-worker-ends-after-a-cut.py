# A worker that holds a task with a countdown ends when its connection to Redis is lost for a second.
# needs: celery==5.7.0 kombu==5.7.0 packaging==26.3 redis==8.1.0
# server: redis
import os, shutil, signal, socket, subprocess, sys, threading, time

from celery import Celery

RUNS, POOL = int(os.environ.get("RUNS", 4)), os.environ.get("POOL", "prefork")
PORT, PROXY = int(os.environ["REDIS_PORT"]), int(os.environ.get("PROXY_PORT", 0))
app = Celery("celery_worker_ends", broker=f"redis://127.0.0.1:{PROXY or PORT}/0", backend=f"redis://127.0.0.1:{PROXY or PORT}/1")
app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True,
                broker_transport_options={"visibility_timeout": 10, "unacked_restore_interval": 1, "unacked_restore_throttle": 1})


@app.task(name="later")
def later():
    pass


class Proxy:
    """Between the worker and Redis: can be cut."""

    def __init__(self):
        self.port, self.pairs = 0, []
        self.listen()

    def listen(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", PORT))
            self.pairs.append((near, far))
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    def copy(self, a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for it in (a, b):
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self, seconds):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()  # connections are refused from here on
        for pair in self.pairs:
            for it in pair:
                try:
                    it.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        self.pairs = []
        time.sleep(seconds)
        self.listen()


def main():
    shutil.copy(__file__, os.path.join(sys.prefix, "celery_worker_ends.py"))
    ended = 0
    for run in range(1, RUNS + 1):
        proxy, log = Proxy(), open(os.path.join(sys.prefix, "worker.log"), "w+")
        worker = subprocess.Popen(["celery", "-A", "celery_worker_ends", "worker", "-c", "2", "-P", POOL, "--loglevel", "INFO", *os.environ.get("OPTIONS", "").split()],
                                  stdout=log, stderr=log, start_new_session=True, env={**os.environ, "PROXY_PORT": str(proxy.port)})
        time.sleep(6)
        later.apply_async(countdown=60)
        time.sleep(2)
        proxy.cut(1)
        begun = time.time()
        while time.time() < begun + 20 and worker.poll() is None:
            time.sleep(0.1)
        log.seek(0)
        lines = [it.strip() for it in log if "Unrecoverable" in it or "hostname" in it]
        if worker.poll() is None:
            print(f"run {run}: the worker lives on")
            os.killpg(worker.pid, signal.SIGKILL)
        else:
            ended += 1
            print(f"run {run}: the worker ended {time.time() - begun:.1f} s after the cut, exit {worker.returncode}: {lines[-1] if lines else ''}")
    print(f"pool {POOL}: the worker ended after a cut of 1 s in {ended} of {RUNS} runs")


if __name__ == "__main__":
    main()
