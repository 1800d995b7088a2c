"""Installs a peer into its folder from its lock file, and says what a peer is missing on this machine."""

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

from .catalogue import PEERS

NODE = PEERS / "node" / "node_modules" / "node" / "bin" / "node"
NATS_SERVER = PEERS / "nats" / ".venv" / "bin" / "nats-server"


def postgres_folder():
    """The newest PostgreSQL server's programs, or None: Debian keeps them out of the PATH."""
    folders = [Path(path).parent for path in [shutil.which("initdb")] if path]
    folders += Path("/usr/lib/postgresql").glob("*/bin")
    folders = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    return max(folders, key=lambda folder: [int(part) for part in folder.parts if part.isdigit()], default=None)


def missing(peer):
    """Why this peer cannot be had here, or an empty text."""
    tools = {"rust": ["cargo"], "nats": ["cargo", "python3"], "node": ["npm"], "python": ["python3"]}[peer.kind]
    absent = [tool for tool in tools if not shutil.which(tool)]
    if absent:
        return f"no {' and no '.join(absent)}"
    if peer.server == "redis" and not shutil.which("redis-server"):
        return "no redis-server"
    if peer.server == "postgres" and not postgres_folder():
        return "no PostgreSQL server (initdb and postgres)"
    return ""


def command(peer):
    """How its load program is started."""
    if peer.kind in ("rust", "nats"):
        return [str(peer.path / "target" / "release" / f"kew-peer-{peer.folder}")]
    if peer.kind == "python":
        return [str(peer.path / ".venv" / "bin" / "python"), str(peer.path / "load.py")]
    return [node(peer), str(peer.path / "load.mjs")]


def node(peer):
    """The pinned Node.js; for modules in C++ the machine's own, whose headers they were built with."""
    return shutil.which("node") if peer.package == "plainjob" else str(NODE)


def is_installed(peer):
    folder = peer.path
    if peer.kind == "rust":
        return Path(command(peer)[0]).exists()
    if peer.kind == "nats":
        return Path(command(peer)[0]).exists() and NATS_SERVER.exists()
    if peer.kind == "python":
        return (folder / ".venv" / "installed").exists()
    return (folder / "node_modules" / ".package-lock.json").exists() and (peer.package == "plainjob" or NODE.exists())


def install(peer, tell):
    """Installs what its lock file pins. Cargo always looks, so that an edited load program is never measured stale."""
    if peer.kind in ("rust", "nats"):
        build(peer.path, tell)
    if is_installed(peer):
        return
    tell(f"installing {peer.title}")
    if peer.kind in ("python", "nats"):
        install_python(peer.path)
    elif peer.kind == "node":
        if peer.package != "plainjob" and not NODE.exists():
            step(["npm", "ci", "--no-audit", "--no-fund"], PEERS / "node")
        step(["npm", "ci", "--no-audit", "--no-fund"], peer.path)


def build(folder, tell):
    if not (folder / "target" / "release").exists():
        tell(f"building {folder.name} (a few minutes the first time)")
    # A target folder that the user shares between projects would not be found again.
    step(["cargo", "build", "--release", "--locked", "--target-dir", "target"], folder)


def install_python(folder):
    step(["python3", "-m", "venv", ".venv"], folder)
    step([".venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"], folder)
    (folder / ".venv" / "installed").touch()


def step(arguments, folder):
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(f"{' '.join(arguments)} failed in {folder.name}:\n{tail}")


def pinned_version(peer):
    """What the lock file says."""
    if peer.kind == "rust":
        packages = tomllib.loads((peer.path / "Cargo.lock").read_text())["package"]
        return next(package["version"] for package in packages if package["name"] == peer.package)
    if peer.kind == "node":
        packages = json.loads((peer.path / "package-lock.json").read_text())["packages"]
        return packages[f"node_modules/{peer.package}"]["version"]
    lines = (peer.path / "requirements.txt").read_text().splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith(f"{peer.package}=="))
