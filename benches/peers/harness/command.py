"""The command line: installs, runs the rounds, prints, and writes the document and the chart when asked."""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from . import catalogue, chart, install, kew, machine, measure, rounds, table

DOCS = catalogue.ROOT / "docs"


def main(given):
    options = read(given)
    chosen = catalogue.named(options.peer)
    if options.list:
        for peer in chosen:
            print(f"{peer.name:<24} {install.pinned_version(peer):<9} {peer.durability}  {readiness(peer)}")
        return 0
    ready, left_out = prepare(chosen)
    if options.install or not ready:
        return 1 if left_out else 0
    program = options.kew.resolve() if options.kew else kew.build(tell)
    comparisons = compare_all(options, ready, rounds.Setting(program, options.data.resolve(), options.rounds))
    report(options, given, comparisons, left_out)
    return 1 if any(comparison.void for comparison in comparisons) else 0


def read(given):
    parser = argparse.ArgumentParser(prog="benches/peers/run", description="Puts Kew's benchmarks to other job queues.")
    parser.add_argument("peer", nargs="*", metavar="PEER", help="which of them (--list); all unless named")
    parser.add_argument("--work", action="append", choices=catalogue.WORKS, help="one of the works; all unless named")
    parser.add_argument("--jobs", type=positive, help="jobs for each measurement, of Kew and of peers alike; each has "
                        "its own number otherwise, which takes it a second or a few")
    parser.add_argument("--rounds", type=positive, default=3, help="how often; the median counts (default: 3)")
    parser.add_argument("--list", action="store_true", help="show the peers, their versions and whether they can run")
    parser.add_argument("--install", action="store_true", help="only install what is missing")
    parser.add_argument("--write", action="store_true", help="write docs/peers.md and docs/peers.svg")
    parser.add_argument("--data", type=Path, default=measure.DATA, metavar="FOLDER",
                        help=f"where all systems' files are made, for the time of a measurement ({measure.DATA})")
    parser.add_argument("--kew", type=Path, metavar="PATH", help="this kew-load, instead of building it")
    return parser.parse_args(given)


def positive(word):
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("it is at least 1")
    return number


def tell(words):
    """Progress goes to standard error, results to standard output."""
    print(words, file=sys.stderr, flush=True)


def readiness(peer):
    missing = install.missing(peer)
    if missing:
        return f"cannot run: {missing}"
    return "ready" if install.is_installed(peer) else "to be installed"


def prepare(chosen):
    """Installs; what cannot be had is left out, with its reason."""
    ready, left_out = [], []
    for peer in chosen:
        reason = install.missing(peer)
        if not reason:
            try:
                install.install(peer, tell)
            except RuntimeError as error:
                reason = str(error)
        if reason:
            tell(f"left out: {peer.name}: {reason}")
            left_out.append((peer, reason.splitlines()[0].rstrip(":")))
        else:
            ready.append(peer)
    return ready, left_out


def compare_all(options, ready, setting):
    comparisons = []
    for peer in ready:
        tell(f"{peer.title}, durability {peer.durability}")
        for work in options.work or catalogue.WORKS:
            jobs = options.jobs or peer.jobs[work]
            kew_jobs = options.jobs or catalogue.KEW_JOBS[work]
            comparisons.append(rounds.compare(peer, work, jobs, kew_jobs, setting, tell))
    return comparisons


def report(options, given, comparisons, left_out):
    for comparison in comparisons:
        name, work = comparison.peer.name, comparison.work
        verdict = f"void {name} {work} {comparison.void}"
        print(verdict if comparison.void else f"ratio {name} {work} {comparison.ratio:.2f}")
    if not any(not comparison.void for comparison in comparisons):
        return
    date = time.strftime("%Y-%m-%d", time.gmtime())
    command = shlex.join(["benches/peers/run", *given])
    about = dict(machine.describe(options.data), date=date, command=command, rounds=options.rounds)
    document = table.document(comparisons, left_out, dict(about, kew=kew.version(comparisons)))
    if options.write:
        (DOCS / "peers.md").write_text(document)
        (DOCS / "peers.svg").write_text(chart.svg(comparisons))
        tell(f"written: {os.path.relpath(DOCS / 'peers.md')}, {os.path.relpath(DOCS / 'peers.svg')}")
    print()
    print(document, end="")
