# SPDX-License-Identifier: GPL-2.0-or-later
"""What systemd is about to do with this service, as its list of jobs says (systemctl(1) list-jobs)."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from xfrmd import limits

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


async def stopped_for_good(environ: Mapping[str, str]) -> bool | None:
    """Is the signal to end a stop by an administrator? None when it cannot be told.

    Without systemd it is one: whoever runs the program by hand restarts it by hand.
    """
    if "INVOCATION_ID" not in environ:
        return True
    with contextlib.suppress(OSError, TimeoutError, UnicodeDecodeError):
        unit = unit_of(await asyncio.to_thread(Path("/proc/self/cgroup").read_text, "ascii"))
        command = ("systemctl", "list-jobs", "--no-legend", "--plain", "--no-pager", "--full")
        async with asyncio.timeout(limits.MANAGER_WAIT):
            asked = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            jobs, _ = await asked.communicate()
        if unit and asked.returncode == 0:
            return is_stop(jobs.decode(), unit)
    return None
