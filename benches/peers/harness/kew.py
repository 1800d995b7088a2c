"""Kew's own load program, `kew-load`: built from this repository, at the durability that is asked for."""

import subprocess

from .catalogue import ROOT


def build(tell):
    """Builds it and returns its path."""
    tell("building kew-load")
    arguments = ["cargo", "build", "--release", "--quiet", "-p", "kew-benches", "--bin", "kew-load"]
    done = subprocess.run(arguments + ["--target-dir", "target"], cwd=ROOT)
    if done.returncode != 0:
        raise SystemExit("kew-load could not be built")
    return ROOT / "target" / "release" / "kew-load"
