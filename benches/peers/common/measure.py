"""What the load programs written in Python share: the payload and the line that they print. It knows no queue."""

import json
import sys

# How many jobs are created and not yet completed, in `mixed`.
IN_FLIGHT = 1000

# The job's payload: 102 bytes as JSON, the same for every system.
PAYLOAD = {
    "resume_id": "5f0c7e8a-1b2d-4c3e-9f40-a1b2c3d4e5f6",
    "template": "modern",
    "format": "pdf",
    "pages": [1, 20],
}


def read_arguments():
    """`PROGRAM WORK JOBS CONFIGURATION PLACE`, as `run` calls it."""
    work, jobs, configuration, place = sys.argv[1:]
    return work, int(jobs), configuration, place


def print_line(system, version, configuration, durability, work, jobs, seconds, completed):
    """Prints the one line that `run` reads. `completed` is counted by the system itself."""
    line = dict(system=system, version=version, configuration=configuration, durability=durability)
    print(json.dumps(dict(line, work=work, jobs=jobs, seconds=seconds, completed=completed)), flush=True)
