"""Servers of our own for one measurement each: on a free port of the loopback, with files in a folder that is removed.

No server that runs on the machine is touched."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time

from .install import NATS_SERVER, postgres_folder

SECONDS_TO_START = 30


@contextlib.contextmanager
def running(peer, folder):
    """Yields the place for the load program: the server's address, or the folder if there is none."""
    if not peer.server:
        yield str(folder)
        return
    start = {"redis": redis, "nats": nats, "postgres": postgres}[peer.server]
    with start(peer.options, folder) as address:
        yield address


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def process(arguments, folder, port, **options):
    """Runs a server until the block ends; it gets the port before the block begins."""
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(arguments, stdout=log, stderr=log, **options)
    try:
        until_it_listens(server, port, folder)
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def until_it_listens(server, port, folder):
    give_up = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < give_up and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"the server did not start:\n{(folder / 'server.log').read_text()[-2000:]}")


@contextlib.contextmanager
def redis(options, folder):
    port = free_port()
    arguments = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "",
                 "--appendonly", "yes", "--appendfsync", options["appendfsync"], "--maxmemory-policy", "noeviction"]
    with process(arguments, folder, port):
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def nats(options, folder):
    port = free_port()
    lines = [f'store_dir: "{folder}"'] + [f"{name}: {value}" for name, value in options.items()]
    configuration = folder / "nats.conf"
    configuration.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{\n  ' + "\n  ".join(lines) + "\n}\n")
    with process([str(NATS_SERVER), "-c", str(configuration)], folder, port):
        yield f"nats://127.0.0.1:{port}"


# Beside PostgreSQL's defaults what any guide to it sets first: a cache of a gigabyte, and checkpoints far apart.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "listen_addresses": "127.0.0.1",
}


@contextlib.contextmanager
def postgres(_options, folder):
    programs, port, data = postgres_folder(), free_port(), folder / "data"
    data.mkdir()
    options = as_user(folder, data)
    subprocess.run([programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"],
                   check=True, capture_output=True, **options)
    settings = dict(SETTINGS, port=port, unix_socket_directories=data)
    arguments = [str(programs / "postgres"), "-D", str(data)]
    for name, value in settings.items():
        arguments += ["-c", f"{name}={value}"]
    with process(arguments, folder, port, **options):
        yield f"postgres://postgres@127.0.0.1:{port}/postgres"


def as_user(*folders):
    """PostgreSQL refuses to run as root: then it runs as the user of its package, or as nobody."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    for folder in folders:
        shutil.chown(folder, user)
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
