# SPDX-License-Identifier: GPL-2.0-or-later
"""`import` and `export`: policies of other systems, to and from policy files."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import Any, Final

from xfrmd.cli import local
from xfrmd.cli.arguments import POLICY, VARIABLES
from xfrmd.cli.output import Output, problem_json
from xfrmd.cli.table import Argument, Command
from xfrmd.control.exits import ExitCode
from xfrmd.credentials.secret_files import secret_reader
from xfrmd.model.source import Problem
from xfrmd.netsh.exporting import export_script
from xfrmd.netsh.importing import import_script

FORMAT: Final = Argument(
    ("--format",),
    "what is read or written besides policy files: netsh, a script of netsh ipsec static",
    {"choices": ("netsh",), "required": True},
)
_OUTPUT: Final = Argument(
    ("-o", "--output"),
    "file to write, readable by its owner alone as it may hold secrets; without it, standard output",
    {"metavar": "FILE"},
)


def _put(text: str, kind: str, problems: tuple[Problem, ...], arguments: argparse.Namespace, output: Output) -> int:
    """Hand over what was made, whole or not at all."""
    target: str | None = arguments.output
    more: dict[str, Any] = {kind: text} if target is None else {"output": target}
    if target is not None:
        _write(target, text)
    output.warn(problems)
    answer = {"ok": True, "warnings": len(problems), **more, "problems": [problem_json(one) for one in problems]}
    output.answer(answer, "" if target is not None else text.removesuffix("\n"))
    return ExitCode.OK


def _write(name: str, text: str) -> None:
    """Write a file beside its place first, so that a full disk leaves the old one."""
    beside = f"{name}.{os.getpid()}.new"
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "w", encoding="utf-8", newline="") as stream:  # noqa: PTH123 (an open file)
            stream.write(text)
        Path(beside).replace(name)
    except OSError:
        with contextlib.suppress(OSError):
            Path(beside).unlink()
        raise


def _import(arguments: argparse.Namespace, output: Output) -> int:
    made = import_script(local.script(arguments.script), arguments.script)
    return _put(made.text, "policy", made.problems, arguments, output)


IMPORT: Final = Command(
    "import",
    "make a policy file of a Windows script",
    _import,
    (Argument(("script",), "script to read, - for standard input", {"metavar": "SCRIPT"}), FORMAT, _OUTPUT),
    (
        ("xfrmctl import --format netsh policy.cmd -o policy.yaml", "then xfrmctl check policy.yaml"),
        ("ssh host cat policy.txt | xfrmctl import --format netsh -", "show what a script means here"),
    ),
    "Make a policy file of a script of netsh ipsec static. What it says and this version cannot do is told with its\n"
    "place in the script and what to do; a rule that would need it blocks. A bad script makes nothing.",
)


def _export(arguments: argparse.Namespace, output: Output) -> int:
    files = local.policy_files(arguments, arguments.policy)
    policies = local.policy(files, secret_reader(os.environ.get("CREDENTIALS_DIRECTORY")))
    made = export_script(policies)
    return _put(made.text, "script", (*policies.warnings, *made.problems), arguments, output)


EXPORT: Final = Command(
    "export",
    "make a Windows script of a policy file",
    _export,
    (POLICY, FORMAT, *VARIABLES, _OUTPUT),
    (("xfrmctl export --format netsh policy.yaml -o policy.txt", "then netsh -f policy.txt on Windows"),),
    "Make a script for netsh -f of a policy file. Imported again, it decides every packet alike: what netsh cannot\n"
    "say is an error with its place and what to do. The script holds the shared secrets as text.",
)
COMMANDS: Final = (IMPORT, EXPORT)
