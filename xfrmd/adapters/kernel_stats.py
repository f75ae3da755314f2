# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own counters of what IPsec dropped and why: /proc/net/xfrm_stat, per network namespace."""

from __future__ import annotations

from pathlib import Path

_FILE = Path("/proc/self/net/xfrm_stat")


def xfrm_statistics(file: Path = _FILE) -> dict[str, int]:
    """Counters that are not 0, by the kernel's names; {} when the kernel keeps none."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    pairs = [line.split() for line in lines]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal() and pair[1] != "0"}
