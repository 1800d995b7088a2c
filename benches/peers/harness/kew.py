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


def version(comparisons):
    """What it says itself, and the commit that it was built from."""
    said = next((comparison.kew_version for comparison in comparisons if comparison.kew_version), "unknown")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return f"{said}, commit {commit.stdout.strip()}" if commit.returncode == 0 else said
