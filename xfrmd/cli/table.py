# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands as rows: parser, help, completion and manual pages are made of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xfrmd.cli.output import Output

Run = Callable[[argparse.Namespace, Output], int]
"""Does a command: arguments as parsed and where to print; the exit code. Errors of ours are raised, not printed."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument: a positional when its one name has no dash, else an option. `settings` are argparse's."""

    names: tuple[str, ...]
    help: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a program. `examples` are pairs of a command line and what it does.

    `words` names the positional that takes all words, also those behind options: argparse alone stops at the first
    option.
    """

    name: str
    help: str
    run: Run
    arguments: tuple[Argument, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    story: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """A program: its commands, and the section of its manual page."""

    name: str
    section: int
    help: str
    story: str
    commands: tuple[Command, ...]
    examples: tuple[tuple[str, str], ...] = ()
