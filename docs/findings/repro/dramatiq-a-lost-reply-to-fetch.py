# A message whose fetch lost its reply stays in the worker's set for as long as that process lives: nobody runs it.
# needs: dramatiq==2.2.1 redis==8.1.0
# server: redis
import os, shutil, signal, socket, subprocess, sys, threading, time

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

RUNS, PORT = int(os.environ.get("RUNS", 3)), int(os.environ["REDIS_PORT"])
broker = RedisBroker(port=int(os.environ.get("PROXY_PORT", PORT)), heartbeat_timeout=2000, maintenance_chance=500_000)
dramatiq.set_broker(broker)
seen = redis.Redis(port=PORT, db=2)


@dramatiq.actor
def work(name):
    seen.set(name, time.time())


class Proxy:
    """Passes all on, but loses the first reply that carries a message, and with it that connection."""

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
                if replies and self.armed and b'"actor_name"' in data:
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
    shutil.copy(__file__, os.path.join(sys.prefix, "dramatiq_lost.py"))
    lost = 0
    for run in range(1, RUNS + 1):
        proxy = Proxy()
        start = lambda port: subprocess.Popen(["dramatiq", "dramatiq_lost", "-p", "1", "-t", "2"], start_new_session=True, stdout=subprocess.DEVNULL,
                                              stderr=subprocess.DEVNULL, env={**os.environ, "PROXY_PORT": str(port)})
        first = start(proxy.port)
        time.sleep(3)
        work.send(f"{run}-a")
        time.sleep(6)  # the first worker has connected again
        second = start(PORT)
        work.send(f"{run}-b")
        time.sleep(20)  # ten heartbeat timeouts, two idle workers
        a, b = (bool(seen.exists(f"{run}-{it}")) for it in "ab")
        acks = [broker.client.scard(key) for key in broker.client.scan_iter("dramatiq:__acks__*")]
        print(f"run {run}: a (the reply to its fetch was lost) done {a}; b done {b}; in workers' sets: {sum(acks)}", end="", flush=True)
        os.killpg(first.pid, signal.SIGKILL)
        time.sleep(6)
        print(f"; 6 s after that worker was killed: a done {bool(seen.exists(f'{run}-a'))}", flush=True)
        os.killpg(second.pid, signal.SIGKILL)
        lost += not a and b
        broker.flush_all()
    print(f"not delivered while its worker lived: {lost} of {RUNS} runs")


if __name__ == "__main__":
    main()
