# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion for shells. shtab makes it from the parser; where that is not installed, packages bring it ready-made."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from typing import Final

from xfrmd.cli.output import Output
from xfrmd.cli.program import parser_of
from xfrmd.cli.table import Argument, Command, Program
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError

FILES: Final = {"bash": "{}.bash", "zsh": "_{}"}
"""Shells, and the file names under which they look for the completion of a program."""


def script(program: Program, shell: str) -> str:
    """The completion of a program for a shell. Raises ControlError where shtab is missing."""
    if importlib.util.find_spec("shtab") is None:
        raise ControlError(
            "no-shtab",
            "completion is made by shtab, which is not installed",
            "pip install shtab, or use the ready-made files in share/xfrmd/config/completion",
        )
    import shtab  # noqa: PLC0415 (a tool for development: commands must run without it)

    text: str = shtab.complete(parser_of(program, program.rows(), brief=True), shell=shell)
    return "\n".join(line.rstrip() for line in text.rstrip().split("\n")) + "\n"


def command(name: str, program: Callable[[], Program]) -> Command:
    """The command that prints the completion of the program `name`, which it is itself a part of."""

    def run(arguments: argparse.Namespace, output: Output) -> int:
        text = script(program(), arguments.shell)
        output.answer({"shell": arguments.shell, "script": text}, text.rstrip("\n"))
        return ExitCode.OK

    return Command(
        "completion",
        "print completion for a shell",
        run,
        (Argument(("shell",), "which shell", {"choices": tuple(FILES)}),),
        (
            (
                f"{name} completion bash > /etc/bash_completion.d/{name}",
                "for all users of bash",
            ),
        ),
    )
