"""What the figures were measured on: cores, memory, and how often a second the disk really syncs."""

import os
import platform
import time
from pathlib import Path

from .measure import fresh_folder

PROBE_SECONDS = 2


def describe(data):
    """Lines for the document."""
    return {
        "cores": f"{os.cpu_count()} × {processor()}",
        "memory": f"{memory_gib()} GiB",
        "disk": f"{syncs_a_second(data):,.0f} appends of 4 KiB a second, each followed by fdatasync",
        "system": f"{platform.system()} {platform.release()}",
    }


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_gib():
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def syncs_a_second(data):
    page = b"\0" * 4096
    with fresh_folder(data) as folder, open(folder / "probe", "wb", buffering=0) as file:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < PROBE_SECONDS:
            file.write(page)
            os.fdatasync(file.fileno())
            count += 1
        return count / (time.perf_counter() - began)
