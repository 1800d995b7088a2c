"""One measurement: a fresh folder and server, one run of a load program, one line held against what was asked."""

import contextlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from .catalogue import ROOT
from .install import command
from .servers import running

SECONDS_MAX = 300

# Every system's files are made here unless told: a folder on disk, where /tmp may be in memory, and one that a database
# server's own user may enter, which a home folder may not be.
DATA = Path("/var/tmp")


class Void(Exception):
    """A run that shows nothing: it failed, or not all jobs were completed."""


@contextlib.contextmanager
def fresh_folder(data):
    folder = Path(tempfile.mkdtemp(prefix="kew-peers-", dir=data))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def peer(peer, work, jobs, data):
    """Measures a peer once."""
    with fresh_folder(data) as folder, running(peer, folder) as place:
        line = run(command(peer) + [work, str(jobs), peer.configuration, place], peer.path)
    if line["jobs"] != jobs or line["completed"] != jobs:
        raise Void(f"{line['completed']} of {jobs} jobs are in its store")
    if line["durability"] != peer.durability:
        raise Void(f"its durability is {line['durability']}, not {peer.durability}")
    return line


def kew(program, work, jobs, synchronous, data):
    """Measures Kew once. It ends with the last job whose completion its broker has acknowledged, or not at all."""
    with fresh_folder(data) as folder:
        line = run([str(program), work, "--jobs", str(jobs), "--synchronous", synchronous, "--dir", str(folder)], ROOT)
    if line["jobs"] != jobs or line["durability"] != {"full": "A", "normal": "B"}[synchronous]:
        raise Void(f"kew-load did not do what it was asked: {line}")
    return line


def run(arguments, folder):
    try:
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise Void(f"not done within {SECONDS_MAX} s") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or len(lines) != 1:
        raise Void(reason(done.stderr or done.stdout) or f"exit code {done.returncode}")
    return json.loads(lines[0])


def reason(said):
    """The line of a failure that names it: among the frames of a stack it is the one with the word."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "error" in line]
    return (named or lines or [""])[-1]


def per_second(line):
    return line["jobs"] / line["seconds"]
