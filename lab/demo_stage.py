# SPDX-License-Identifier: GPL-2.0-or-later
"""What the acts of `make demo` are told with: headings, commands as an operator types them, and what must hold."""

from __future__ import annotations

import sys

from lab.xfrmd_host import XfrmdHost
from xfrmd.control.exits import ExitCode

BOLD, FAINT, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


class Failed(Exception):  # noqa: N818 - reads as what happened
    """The demo did not show what it promises."""


def heading(text: str) -> None:
    """Begin a step."""
    print(f"\n{BOLD}== {text}{PLAIN}", flush=True)


def show(text: str, *, lines: int = 40) -> None:
    """Output of a program, indented, its end cut where it is long."""
    rows = text.rstrip().splitlines()
    more = [f"... {len(rows) - lines} lines more"] if len(rows) > lines else []
    for row in [*rows[:lines], *more]:
        print(f"   {row}", flush=True)


def command(text: str) -> None:
    """A command line as the operator types it."""
    print(f"   {FAINT}$ {text}{PLAIN}", flush=True)


def require(holds: object, what: str) -> None:
    """End the demo if something is not so."""
    if not holds:
        raise Failed(what)
    print(f"   -> {what}", flush=True)


def xfrmctl(host: XfrmdHost, *words: str, lines: int = 40, code: int = ExitCode.OK) -> str:
    """Run xfrmctl in a host and show what it says; Failed when it does not end with `code`."""
    command(f"xfrmctl {' '.join(words)}")
    done = host.ctl_text(*words)
    said: str = done.stdout + done.stderr
    show(said, lines=lines)
    if done.returncode != code:
        raise Failed(f"xfrmctl {words[0]} ended with {done.returncode}")
    return said
