# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands as rows: parser, help, completion and manual pages are made of them."""

from __future__ import annotations

import argparse
import gc
import importlib
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from xfrmd.cli.output import Output

Run = Callable[[argparse.Namespace, Output], int]
"""Does a command: arguments as parsed and where to print; the exit code. Errors of ours are raised, not printed."""

# NamedTuples, as the dataclasses module costs a quarter of what a small command takes to start.


class Argument(NamedTuple):
    """An argument: a positional when its one name has no dash, else an option. `settings` are argparse's."""

    names: tuple[str, ...]
    help: str
    settings: Mapping[str, Any] = MappingProxyType({})


class Command(NamedTuple):
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

    @property
    def row(self) -> Command:
        """Itself."""
        return self


class Elsewhere(NamedTuple):
    """A command whose row stands among the COMMANDS of a module: only who gives it, or wants to see all, imports what
    it needs, which takes several times as long as a small command does.
    """

    name: str
    module: str

    @property
    def row(self) -> Command:
        """The command. Its modules live as long as the program does, so that the cycle collector need not see them."""
        gc.disable()
        try:
            rows: tuple[Command, ...] = importlib.import_module(self.module).COMMANDS
        finally:
            gc.freeze()
            gc.enable()
        return next(row for row in rows if row.name == self.name)


class Program(NamedTuple):
    """A program: its commands, and the section of its manual page."""

    name: str
    section: int
    help: str
    story: str
    commands: tuple[Command | Elsewhere, ...]
    examples: tuple[tuple[str, str], ...] = ()

    def rows(self, words: Collection[str] = ()) -> tuple[Command, ...]:
        """The commands whose names are among these words, all of them where none is."""
        named = [command for command in self.commands if command.name in words]
        return tuple(command.row for command in named or self.commands)
