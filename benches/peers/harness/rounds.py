"""Kew and a peer by turns, round after round, so that a slow minute of the machine strikes both."""

from dataclasses import dataclass, field
from statistics import median
from subprocess import CalledProcessError

from . import measure
from .catalogue import KEW_AT


@dataclass
class Comparison:
    """What the rounds of one peer at one work have shown, in jobs a second."""

    peer: object
    work: str
    kew_full: list = field(default_factory=list)
    kew_normal: list = field(default_factory=list)
    theirs: list = field(default_factory=list)
    jobs: int = 0
    kew_jobs: int = 0
    version: str = ""
    kew_version: str = ""
    kew_configuration: str = ""
    void: str = ""  # why there is no figure

    @property
    def ratio(self):
        """Kew, syncing every commit, over the peer as it is."""
        return median(self.kew_full) / median(self.theirs)

    @property
    def kew_at_class(self):
        """Kew at the peer's own durability."""
        return self.kew_normal if KEW_AT[self.peer.durability] == "normal" else self.kew_full

    @property
    def ratio_at_class(self):
        return median(self.kew_at_class) / median(self.theirs)


@dataclass(frozen=True)
class Setting:
    """What is the same for all comparisons."""

    kew: object  # kew-load
    data: object  # the folder for all systems' files
    rounds: int


def compare(peer, work, jobs, kew_jobs, setting, tell):
    """Runs the rounds. One void run makes the whole comparison void: what did not happen has no median."""
    comparison = Comparison(peer, work, jobs=jobs, kew_jobs=kew_jobs)
    for number in range(1, setting.rounds + 1):
        try:
            line = measure.kew(setting.kew, work, kew_jobs, "full", setting.data)
            comparison.kew_full.append(measure.per_second(line))
            comparison.kew_version, comparison.kew_configuration = line["version"], line["configuration"]
            if KEW_AT[peer.durability] == "normal":
                line = measure.kew(setting.kew, work, kew_jobs, "normal", setting.data)
                comparison.kew_normal.append(measure.per_second(line))
            line = measure.peer(peer, work, jobs, setting.data)
            comparison.theirs.append(measure.per_second(line))
            comparison.version = line["version"]
        except (measure.Void, RuntimeError, OSError, CalledProcessError) as reason:
            comparison.void = str(reason)
            tell(f"  {work:<8} void: {reason}")
            return comparison
        tell(f"  {work:<8} round {number}: kew {comparison.kew_full[-1]:>9,.0f}   "
             f"{peer.name} {comparison.theirs[-1]:>9,.0f} a second  ({line['seconds']:.2f} s)")
    return comparison
