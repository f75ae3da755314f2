# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot filter, loaded: by our script, by `nft -f`, and as nftables.service does it, each in a fresh namespace."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from bench import filters
from bench.report import Row
from bench.scene import new_namespace
from xfrmd.adapters.boot_files import BOOT, BootFiles
from xfrmd.compiler.boot import boot_file
from xfrmd.policy.memory import collector_paused
from xfrmd.policy.words import BootMode

SCRIPT: Final = Path(__file__).parents[1] / "units" / "boot-filter"


def _ways(directory: Path, text: str) -> dict[str, list[str]]:
    """The commands. nftables.service runs a file that flushes the ruleset first (/etc/nftables.conf)."""
    BootFiles(directory, None).save(BOOT, text)
    (directory / "nftables.conf").write_text(f"#!/usr/sbin/nft -f\nflush ruleset\n{text}")
    return {
        "ours": [str(SCRIPT), "boot"],
        "nft": ["nft", "-f", str(directory / BOOT)],
        "service": ["nft", "-f", str(directory / "nftables.conf")],
    }


def _cpu() -> float:
    """CPU seconds of programs that have been waited for, finer than those of times(2)."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def loaded(count: int, runs: int) -> Row:
    """Milliseconds from the start of the program to the filter in place, medians of runs by turns, and CPU."""
    policies, facts = filters.read(filters.policy_text(list(filters.hosts(count))))
    begun = time.perf_counter()
    with collector_paused():
        text = boot_file(policies, facts, BootMode.STATEFUL)
    found: dict[str, list[float]] = {"compile": [time.perf_counter() - begun]}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        ways = _ways(directory, text)
        (directory / "cmdline").write_text("quiet\n")
        names = {
            "STATE": name,
            "RUN": name,
            "CMDLINE": str(directory / "cmdline"),
            "CONSOLE": str(directory / "console"),
        }
        environ = os.environ | {f"XFRMD_BOOT_{key}": value for key, value in names.items()}
        for _ in range(runs):
            for way, command in ways.items():
                new_namespace()
                cpu, begun = _cpu(), time.perf_counter()
                subprocess.run(command, env=environ, check=True)
                found.setdefault(way, []).append(1000 * (time.perf_counter() - begun))
                found.setdefault(f"{way}_cpu", []).append(1000 * (_cpu() - cpu))
    middle = {key: statistics.median(times) for key, times in found.items()}
    cpu_ratio = middle["ours_cpu"] / middle["nft_cpu"]
    ratios = {"ratio": middle["ours"] / middle["nft"], "service_ratio": middle["ours"] / middle["service"]}
    return {"filters": count, "kilobytes": len(text) / 1000, **middle, **ratios, "cpu_ratio": cpu_ratio}
