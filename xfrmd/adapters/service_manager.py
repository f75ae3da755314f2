# SPDX-License-Identifier: GPL-2.0-or-later
"""What systemd is about to do with this service, as its list of jobs says (systemctl(1) list-jobs).

The sandboxed service cannot ask: without a message bus systemd answers root alone. So the unit's ExecStop writes the
list down, as root and into a directory that is root's, before the signal to end comes.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from xfrmd import limits

JOBS: Final = Path("/run/xfrmd-jobs")
"""Where units/xfrmd.service writes the list of jobs."""
_CONTROL_GROUP: Final = re.compile(r"^0::.*/([^/\s]+\.service)$", re.MULTILINE)


def unit_of(control_group: str) -> str:
    """The service that a process belongs to, from its /proc/PID/cgroup; "" when it is none."""
    found = _CONTROL_GROUP.search(control_group)
    return found[1] if found else ""


def is_stop(jobs: str, unit: str) -> bool:
    """Is this service stopped for good, by itself? Not when it starts again, nor when the whole system goes down."""
    rows = [line.split() for line in jobs.splitlines()]
    kinds = {row[1]: row[2] for row in rows if len(row) >= 4}
    return kinds.get(unit) == "stop" and kinds.get("shutdown.target") != "start"


def stopped_for_good(
    environ: Mapping[str, str],
    jobs: Path = JOBS,
    control_group: Path = Path("/proc/self/cgroup"),
    *,
    interrupted: bool = False,
) -> bool | None:
    """Is the signal to end a stop by an administrator? None when it cannot be told, as nobody wrote the list down
    just now.

    Without systemd it is one: whoever runs the program by hand restarts it by hand. With it nothing but a system that
    goes down interrupts (SIGINT), ahead of the unit's ExecStop: a list that is there then is of an earlier stop.
    """
    if "INVOCATION_ID" not in environ:
        return True
    if interrupted:
        return False
    with contextlib.suppress(OSError, UnicodeDecodeError):
        unit = unit_of(control_group.read_text("ascii"))
        with jobs.open(encoding="ascii") as file:
            text = file.read(limits.MANAGER_JOBS)
        # A list of an earlier stop says nothing of this one.
        if unit and abs(time.time() - jobs.stat().st_mtime) < limits.MANAGER_FRESH:
            return is_stop(text, unit)
    return None
