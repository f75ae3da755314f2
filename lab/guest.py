# SPDX-License-Identifier: GPL-2.0-or-later
"""The script that is PID 1 of a lab: it makes the ground firm, runs the command, leaves its exit status in a file.

It is a shell script, and not Python, because an interpreter in the guest costs half a second before the command starts.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

MARK = "XFRMD_LAB"
"""Set in a lab, to the kind of its kernel: `uml` or `host`."""

PASSED_ON = frozenset(
    {"PATH", "VIRTUAL_ENV", "HOME", "USER", "LOGNAME", "LANG", "TERM", "COLUMNS", "CI", "NO_COLOR", "FORCE_COLOR"}
)
PASSED_FAMILIES = ("LC_", "XFRMD_", "PYTHON", "PYTEST", "HYPOTHESIS")
KEPT_BACK = frozenset({"PYTHONDONTWRITEBYTECODE"})
"""Each start of each daemon would compile all of it anew: a second of a guest."""
PULSE = 3
"""Seconds from one sign of life to the next: a process each time, so a hundredth of the guest's processor at most."""
SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

# /tmp stays the host's, so that files named on the command line are found; TMPDIR puts new ones into memory.
GROUND = """\
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/netns /run/lock /run/shm
mkdir -m 1777 /run/tmp
ip link set lo up
hostname xfrmd-lab
"""
HOST_MOUNTS = """\
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
"""
UML_MOUNTS = """\
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=0620,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
"""


def environment(kind: str, outer: Mapping[str, str]) -> dict[str, str]:
    """What a command in the lab sees of the caller's environment, plus the system's own directories on PATH."""
    passed = {name: value for name, value in outer.items() if name in PASSED_ON or name.startswith(PASSED_FAMILIES)}
    kept = {name: value for name, value in passed.items() if name not in KEPT_BACK}
    path = [part for part in kept.get("PATH", "").split(":") if part]
    kept["PATH"] = ":".join([*path, *(part for part in SYSTEM_PATH if part not in path)])
    kept.setdefault("HOME", "/root")
    return kept | {"TMPDIR": "/run/tmp", MARK: kind}


def command_line(command: Sequence[str], variables: Mapping[str, str]) -> str:
    """The command with exactly these variables, quoted for the shell. A missing program gives 127, as a shell does."""
    pairs = [f"{name}={value}" for name, value in sorted(variables.items())]
    return shlex.join(["env", "-i", *pairs, *command])


def host_script(command: Sequence[str], cwd: str) -> str:
    """Script for namespaces of the host's own kernel: output is inherited, the exit status is the script's."""
    line = command_line(command, environment("host", os.environ))
    return f"#!/bin/sh\nset -e\n{HOST_MOUNTS}{GROUND}cd {shlex.quote(cwd)}\nset +e\n{line} </dev/null\nexit $?\n"


def uml_script(command: Sequence[str], cwd: str, output: Path, status: Path, pulse: Path | None) -> str:
    """Script for a user-mode Linux kernel: output and exit status go to files on the host's file system.

    Neither the console (it rewrites line ends and drops under load) nor an exit status leaves such a kernel intact.
    `pulse` is written every PULSE seconds for as long as the kernel lives.
    """
    beat = f"while :; do echo >{shlex.quote(str(pulse))}; sleep {PULSE}; done &\n" if pulse else ""
    line = command_line(command, environment("uml", os.environ))
    out, done = shlex.quote(str(output)), shlex.quote(str(status))
    run = f"(cd {shlex.quote(cwd)} && {line}) </dev/null >>{out} 2>&1"
    # The status appears whole (rename), and the kernel is stopped without a program that might be missing.
    end = f"echo $? >{done}.new\nmv {done}.new {done}\necho o >/proc/sysrq-trigger\nsleep 60\n"
    return f"#!/bin/sh\nPATH={':'.join(SYSTEM_PATH)}\n{UML_MOUNTS}{GROUND}{beat}{run}\n{end}"
