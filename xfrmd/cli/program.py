# SPDX-License-Identifier: GPL-2.0-or-later
"""From rows to a running program: parser, output, errors to exit codes."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn, TextIO

from xfrmd import __version__
from xfrmd.cli.output import Output, problem_json
from xfrmd.cli.table import Argument, Command, Program
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import SOCKET, ControlError
from xfrmd.errors import CredentialError, KernelError, PolicyError, XfrmdError
from xfrmd.model.source import PolicyErrors

COMMON: Final = (
    Argument(("--json",), "answer in JSON, with a schema number", {"action": "store_true"}),
    Argument(("--control",), f"control socket of the daemon (default: {SOCKET})", {"metavar": "SOCKET"}),
    Argument(
        ("--color",),
        "colours: auto (on a terminal, unless NO_COLOR is set), always, never",
        {"choices": ("auto", "always", "never")},
    ),
)
_COMMON_DEFAULTS: Final = {"json": False, "control": SOCKET, "color": "auto"}
EXIT_CODES: Final = (
    (ExitCode.OK, "all is well"),
    (ExitCode.ERROR, "a bad policy, or a request that was refused"),
    (ExitCode.USAGE, "the command line cannot be understood"),
    (ExitCode.NOT_RUNNING, "the daemon does not run"),
    (ExitCode.NOT_AUTHORISED, "the daemon does not take orders from this user"),
    (ExitCode.DEGRADED, "it works, but not as wanted"),
    (ExitCode.PORT_IN_USE, "another program holds UDP port 500 or 4500"),
    (ExitCode.NO_PRIVILEGE, "a privilege is missing"),
    (ExitCode.KERNEL_LACKS, "the kernel has no ESP, nftables or nfqueue"),
    (ExitCode.DIFFERS, "diff found what --fail-on names, or could not rule it out"),
    (ExitCode.NO_POLICY, "a policy is assigned, and none can be put in force"),
    (ExitCode.NOT_KEPT, "the state directory cannot be written, so nothing was assigned"),
    (ExitCode.DAMAGED, "what a policy store keeps is damaged or cut off, and nothing else can be put in force"),
    (ExitCode.NEWER, "what a policy store keeps is of a newer version of xfrmd"),
    (ExitCode.KERNEL_REFUSES, "the kernel refuses a policy in which check finds nothing wrong"),
)
_CODES: Final = ((PolicyError, "policy-error"), (CredentialError, "credential-error"), (KernelError, "kernel-error"))
_INTERRUPTED, _BROKEN_PIPE = 130, 141  # what a shell reports for SIGINT and SIGPIPE


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of stories and examples, and one help column for all commands."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=100)


class _UsageError(Exception):
    """A command line that the parser refuses."""

    def __init__(self, parser: argparse.ArgumentParser, message: str) -> None:
        super().__init__(message)
        self.parser = parser


class _Parser(argparse.ArgumentParser):
    """Leaves it to `run` how a refusal is told: as text, or as JSON."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(self, message)


def _examples(examples: Sequence[tuple[str, str]]) -> str:
    if not examples:
        return ""
    return "examples:\n" + "\n".join(f"  {line}\n      {story}" for line, story in examples)


def _add(parser: argparse.ArgumentParser, arguments: Sequence[Argument], **extra: Any) -> None:
    for argument in arguments:
        parser.add_argument(*argument.names, help=argument.help, **argument.settings, **extra)


def parser_of(program: Program, rows: Sequence[Command], *, brief: bool = False) -> argparse.ArgumentParser:
    """The argparse parser of a program with these commands of it. Common options may stand before the command and
    behind it. `brief` leaves stories out, as completion wants it.
    """
    codes = "exit codes:\n" + "\n".join(f"  {code.value}  {story}" for code, story in EXIT_CODES)
    epilog = "\n\n".join(part for part in (_examples(program.examples), codes) if part)
    parser = _Parser(program.name, description=program.story, epilog=epilog, formatter_class=_Formatter)
    parser.add_argument("--version", action="version", version=f"{program.name} {__version__}")
    parser.set_defaults(**_COMMON_DEFAULTS)
    _add(parser, COMMON, default=argparse.SUPPRESS)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for row in rows:
        sub = commands.add_parser(
            row.name,
            help=row.help,
            description=row.help if brief else row.story or row.help,
            epilog=_examples(row.examples),
            formatter_class=_Formatter,
        )
        _add(sub, row.arguments)
        _add(sub, COMMON, default=argparse.SUPPRESS)
        sub.set_defaults(row=row)
    return parser


def _parse(program: Program, words: Sequence[str]) -> argparse.Namespace:
    """Read a command line by the commands that its words may name; help and refusals, which tell of all, by all."""
    if not any(word.startswith(("-h", "--h")) for word in words):
        with contextlib.suppress(_UsageError):
            return _parsed(program, program.rows(words), words)
    return _parsed(program, program.rows(), words)


def _parsed(program: Program, rows: Sequence[Command], words: Sequence[str]) -> argparse.Namespace:
    parser = parser_of(program, rows)
    arguments, rest = parser.parse_known_args(words)
    row: Command = arguments.row
    if rest and row.words and not any(word.startswith("-") for word in rest):
        setattr(arguments, row.words, [*getattr(arguments, row.words), *rest])
    elif rest:
        parser.error(f"{row.name} does not take {' '.join(rest)}; see {program.name} {row.name} --help")
    return arguments


def _colored(choice: str) -> bool:
    if choice == "auto":
        # Both: mistakes go to stderr, and a log that it is sent to wants no colours.
        terminal = sys.stdout.isatty() and sys.stderr.isatty()
        return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return choice == "always"


def _report(error: XfrmdError | OSError, output: Output) -> int:
    """Tell an error and give its exit code."""
    match error:
        case PolicyErrors():
            if output.json:
                output.answer({"ok": False, "problems": [problem_json(one) for one in error.problems]}, "")
            else:
                output.say(output.problems_text(error.problems))
            return ExitCode.ERROR
        case ControlError():
            output.error(str(error), error.remedy, error.to_json())
            return error.exit_code
        case XfrmdError():
            code = next((name for kind, name in _CODES if isinstance(error, kind)), "error")
            output.error(str(error), "", {"code": code, "exit": int(ExitCode.ERROR)})
        case _:
            name = f"{error.filename}: " if error.filename else ""
            output.error(f"{name}{error.strerror or error}", "", {"code": "os-error", "exit": int(ExitCode.ERROR)})
    return ExitCode.ERROR


def _refused(error: _UsageError, words: Sequence[str]) -> int:
    """Tell a refused command line: whoever wants JSON gets it, all others the usage as argparse prints it."""
    if "--json" not in words:
        argparse.ArgumentParser.error(error.parser, str(error))
    refusal = ControlError("usage", str(error), f"see {error.parser.prog} --help", ExitCode.USAGE)
    return _report(refusal, Output(sys.stdout, sys.stderr, json=True))


def _streams() -> None:
    """Odd names of files and an ASCII locale must not end a program: what cannot be shown is escaped. A stream that
    was closed before the start (`>&-`) is None in Python; the exit code still counts.
    """
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            # The lowest free number is the closed one, so that no file opened later takes its place.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _let_go() -> None:
    """After a broken pipe: Python flushes once more when it ends, and would complain again."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def run(program: Program, words: Sequence[str] | None = None) -> int:
    """Run a program on command line words (None: those of the process). Returns its exit code."""
    _streams()
    words = sys.argv[1:] if words is None else words
    try:
        arguments = _parse(program, words)
        output = Output(sys.stdout, sys.stderr, json=arguments.json, color=_colored(arguments.color))
        try:
            code = int(arguments.row.run(arguments, output))
        except BrokenPipeError:
            raise
        except (XfrmdError, OSError) as error:
            code = _report(error, output)
        sys.stdout.flush()
    except _UsageError as error:
        return _refused(error, words)
    except BrokenPipeError:
        _let_go()
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code
