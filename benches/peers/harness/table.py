"""The results as a Markdown document."""

from statistics import median

from .catalogue import DURABILITY, WORKS

WORK_TITLE = {
    "enqueue": "Enqueue: single creates, each acknowledged",
    "process": "Process: from claim to completion, of a backlog",
    "mixed": "Mixed: created and processed at the same time",
}

WORK_NOTE = {
    "enqueue": "64 producers at once where the interface is asynchronous, one where it is not. The clock runs from the "
               "first create to the last acknowledgement.",
    "process": "The jobs were created before, in bulk; the handler does nothing. The clock runs from the start of the "
               "worker until the store says that none is left (Celery, whose processes take seconds to start: from the "
               "message that lets its running worker consume the queue).",
    "mixed": "At most 1,000 jobs are in flight: created and not yet handled. The clock runs from the first create "
             "until the store says that none is left. One process creates and handles (with Celery, a worker of its "
             "own handles).",
}


def document(comparisons, left_out, about):
    """All of it; `about` fills its head."""
    parts = [HEAD.format(**about)]
    for work in WORKS:
        rows = [comparison for comparison in comparisons if comparison.work == work]
        if rows:
            parts.append(section(work, rows))
    parts.append(notes(comparisons, left_out))
    return "\n".join(parts)


HEAD = """# Other job queues, beside Kew

The same work, put to Kew and to other job queues on one machine in one run. Written by `benches/peers/run`; how it
measures is told in [its README](../benches/peers/README.md).

![Jobs a second, by system and durability](peers.svg)

| | |
|---|---|
| date | {date} |
| command | `{command}` |
| Kew | {kew} |
| cores | {cores} |
| memory | {memory} |
| disk | {disk} |
| system | {system} |
| rounds | {rounds}, Kew and the peer by turns; medians |

A ratio above 1 says how many times as fast Kew is, below 1 that the other is faster. Kew syncs every commit
(synchronous=FULL) unless it says NORMAL, and runs within the load program as `kew serve` puts it together, without
HTTP, like effectum, apalis-sqlite and plainjob. The others have a server that their programs reach over loopback, on
the same cores. Differences of less than a quarter mean nothing on a machine that does other things too.
"""


def section(work, rows):
    lines = [f"## {WORK_TITLE[work]}", "", WORK_NOTE[work], ""]
    lines.append("| system | durability | jobs | jobs a second | min–max | Kew, FULL | ratio | Kew, NORMAL | ratio |")
    lines.append("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    lines += [row(comparison) for comparison in rows]
    return "\n".join(lines) + "\n"


def row(comparison):
    peer = comparison.peer
    if comparison.void:
        return f"| {peer.title} | {peer.durability} | {comparison.jobs:,} | void: {comparison.void} | | | | | |"
    theirs = comparison.theirs
    cells = [peer.title, peer.durability, f"{comparison.jobs:,}", figure(theirs), spread(theirs)]
    cells += [figure(comparison.kew_full), ratio(comparison.ratio, peer)]
    normal = comparison.kew_normal
    cells += [figure(normal), ratio(comparison.ratio_at_class, peer)] if normal else ["", ""]
    return "| " + " | ".join(cells) + " |"


def figure(rates):
    return f"{median(rates):,.0f}"


def spread(rates):
    return f"{min(rates):,.0f}–{max(rates):,.0f}"


def ratio(value, peer):
    return f"**{value:.2f}, {peer.title} is faster**" if value < 1 else f"{value:.2f}"


def notes(comparisons, left_out):
    lines = ["## Durability", ""]
    shown = sorted({comparison.peer.durability for comparison in comparisons})
    lines += [f"- **{letter}**: {DURABILITY[letter]}." for letter in shown]
    lines += ["", "Kew at FULL is A, at NORMAL B.", "", "## Systems and their configurations", ""]
    seen = {}
    kew = next((comparison for comparison in comparisons if comparison.kew_configuration), None)
    if kew:
        lines.append(f"- **Kew** {kew.kew_version}: {kew.kew_configuration} (or NORMAL).")
    for comparison in comparisons:
        seen.setdefault(comparison.peer.name, comparison)
        if comparison.version:
            seen[comparison.peer.name] = comparison
    for comparison in seen.values():
        peer = comparison.peer
        lines.append(f"- **{peer.title}** {comparison.version}: {peer.note}")
    for peer, reason in left_out:
        lines.append(f"- **{peer.title}** is left out: {reason}.")
    lines += ["", "A peer's figure is void unless its own store says afterwards that all jobs were completed. Kew's "
              "clock stops when its broker has acknowledged that the last one is settled."]
    return "\n".join(lines) + "\n"
