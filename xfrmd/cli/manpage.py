# SPDX-License-Identifier: GPL-2.0-or-later
"""Manual pages in the man(7) language, from the same rows as the parsers."""

from __future__ import annotations

from collections.abc import Iterator

from xfrmd import __version__
from xfrmd.cli.program import COMMON, EXIT_CODES
from xfrmd.cli.table import Argument, Command, Program


def _escaped(text: str) -> str:
    """Text as man(7) prints it: backslashes and dashes as they are, no line taken for a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.split("\n"))


def _value(argument: Argument) -> str:
    settings = argument.settings
    if "choices" in settings:
        return "{" + ",".join(settings["choices"]) + "}"
    if settings.get("action") == "store_true":
        return ""
    return str(settings.get("metavar", argument.names[0].lstrip("-").upper()))


def _synopsis(argument: Argument) -> str:
    value = _value(argument)
    if not argument.names[0].startswith("-"):
        nargs = argument.settings.get("nargs")
        return f"[{value} ...]" if nargs == "*" else f"[{value}]" if nargs == "?" else value
    if argument.settings.get("nargs") == "?":
        value = f"[{value}]"
    return f"[{argument.names[0]} {value}]" if value else f"[{argument.names[0]}]"


def _argument(argument: Argument) -> Iterator[str]:
    head = ", ".join(argument.names) if argument.names[0].startswith("-") else ""
    value = _value(argument)
    yield ".TP"
    yield " ".join(part for part in (f"\\fB{_escaped(head)}\\fR" if head else "", f"\\fI{_escaped(value)}\\fR") if part)
    yield _escaped(argument.help)


def _examples(examples: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for line, story in examples:
        yield ".PP"
        yield _escaped(story[:1].upper() + story[1:]) + ":"
        yield ".PP"
        yield ".RS 4"
        yield ".nf"
        yield _escaped(line)
        yield ".fi"
        yield ".RE"


def _story(text: str) -> Iterator[str]:
    """Running text, and indented lines as they stand."""
    for line in text.split("\n"):
        if line.startswith(" "):
            yield from (".br", "\\ \\ " + _escaped(line.strip()))
        else:
            yield _escaped(line)


def _command(program: Program, command: Command) -> Iterator[str]:
    yield f'.SS "{program.name} {_escaped(command.name)}"'
    arguments = " ".join(map(_synopsis, command.arguments))
    yield f"\\fB{program.name} {_escaped(command.name)}\\fR {_escaped(arguments)}".rstrip()
    yield ".PP"
    yield from _story(command.story or command.help[:1].upper() + command.help[1:] + ".")
    for argument in command.arguments:
        yield from _argument(argument)
    yield from _examples(command.examples)


def _lines(program: Program) -> Iterator[str]:
    yield '.\\" SPDX-License-Identifier: GPL-2.0-or-later'
    yield f'.TH {program.name.upper()} {program.section} "" "xfrmd {__version__}" "xfrmd"'
    yield ".SH NAME"
    yield f"{program.name} \\- {_escaped(program.help)}"
    yield ".SH SYNOPSIS"
    yield f"\\fB{program.name}\\fR [\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]"
    yield ".SH DESCRIPTION"
    yield _escaped(program.story)
    yield "Answers go to standard output, talk to standard error."
    yield ".SH OPTIONS"
    yield "These may stand before the command and behind it."
    for argument in COMMON:
        yield from _argument(argument)
    yield ".SH COMMANDS"
    for command in program.rows():
        yield from _command(program, command)
    yield ".SH EXIT STATUS"
    for code, story in EXIT_CODES:
        yield ".TP"
        yield f"\\fB{code.value}\\fR"
        yield _escaped(story)
    if program.examples:
        yield ".SH EXAMPLES"
        yield from _examples(program.examples)
    yield ".SH SEE ALSO"
    yield "\\fBxfrmd\\fR(8), \\fBxfrmctl\\fR(1), \\fBip\\-xfrm\\fR(8), \\fBnft\\fR(8)"


def render(program: Program) -> str:
    """The manual page of a program."""
    return "\n".join(_lines(program)) + "\n"
