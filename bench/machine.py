# SPDX-License-Identifier: GPL-2.0-or-later
"""What a measurement was taken on, so that two lines of a history can be compared, or are seen not to be."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cryptography
from cryptography.hazmat.backends.openssl import backend


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when."""

    date: str
    commit: str
    """Abbreviated commit, with "+" when the tree differs from it; "" outside a checkout."""
    cpu: str
    cores: int
    python: str
    cryptography: str
    """Version of the library and of the OpenSSL inside it."""
    load: float
    """Load average of the last minute before the measurement: above 0.5, only the best runs mean something."""

    def __str__(self) -> str:
        return (
            f"{self.date} {self.commit or 'no commit'}, {self.cores} x {self.cpu}, "
            f"Python {self.python}, cryptography {self.cryptography}, load {self.load:.1f}"
        )


def this_machine() -> Machine:
    """The facts of this machine, now."""
    cpus = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        commit=_commit(),
        cpu=cpus[0] if cpus else platform.machine(),
        cores=max(1, len(cpus)),
        python=platform.python_version(),
        cryptography=f"{cryptography.__version__} ({backend.openssl_version_text().rsplit(' ', 3)[0]})",
        load=os.getloadavg()[0],
    )


def _commit() -> str:
    root = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", root, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "-C", root, "diff", "--quiet", "HEAD", "--", "../xfrmd"], check=False
        ).returncode
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed else "")
