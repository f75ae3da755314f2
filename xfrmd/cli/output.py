# SPDX-License-Identifier: GPL-2.0-or-later
"""Where commands print: data on stdout, as text for people or JSON for programs; talk on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, TextIO

from xfrmd import limits
from xfrmd.control.schema import SCHEMA
from xfrmd.model.source import Problem, Severity

_STYLES: Final = {"error": "1;31", "warning": "1;33", "good": "32", "strong": "1", "faint": "2"}
VERDICT_STYLES: Final = {"permit": "good", "block": "error", "negotiate": "strong", "pass": "faint"}


def problem_json(problem: Problem) -> dict[str, Any]:
    """A problem as a JSON object."""
    return {
        "file": problem.at.file,
        "line": problem.at.line,
        "column": problem.at.column,
        "severity": problem.severity.value,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def _json(fields: Mapping[str, Any]) -> str:
    """An object, laid out for people; entries of long lists have a line each, which takes a fifth of the time."""
    return "{\n  " + ",\n  ".join(f"{json.dumps(name)}: {_field(value)}" for name, value in fields.items()) + "\n}"


def _field(value: object) -> str:
    if isinstance(value, list) and len(value) > limits.SHOWN_AT_ONCE:
        return "[\n    " + ",\n    ".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "\n  ]"
    # What JSON has in strings is no line break.
    return json.dumps(value, indent=2, ensure_ascii=False).replace("\n", "\n  ")


class Output:
    """Prints for one run of a program. `json` is what --json says, `color` whether text may be coloured."""

    def __init__(self, data: TextIO, talk: TextIO, *, json: bool = False, color: bool = False) -> None:
        self._data, self._talk = data, talk
        self.json = json
        self._color = color

    def paint(self, text: str, style: str) -> str:
        """The text in a style of the table above, where colours are on."""
        return f"\033[{_STYLES[style]}m{text}\033[0m" if self._color and text else text

    def answer(self, value: Mapping[str, Any], text: str) -> None:
        """A command's answer: `value` under --json, else `text` (no line break at its end)."""
        if self.json:
            self._data.write(_json({"schema": SCHEMA, **value}) + "\n")
        elif text:
            self._data.write(text + "\n")

    def say(self, text: str) -> None:
        """Talk beside the data."""
        self._talk.write(text + "\n")

    def problems_text(self, problems: Iterable[Problem]) -> str:
        """Problems for people, two lines each."""
        return "\n".join(self._problem(problem) for problem in problems)

    def warn(self, problems: Iterable[Problem]) -> None:
        """Warnings beside the answer of a command that is not about them."""
        text = self.problems_text(problems)
        if text and not self.json:
            self.say(text)

    def error(self, message: str, remedy: str, fields: Mapping[str, Any]) -> None:
        """Why a command failed."""
        if self.json:
            error = {**fields, "message": message, "remedy": remedy}
            self.answer({"ok": False, "error": error}, "")
            return
        self.say(f"{self.paint('error:', 'error')} {message}")
        if remedy:
            self.say(f"    remedy: {remedy}")

    def _problem(self, problem: Problem) -> str:
        style = "error" if problem.severity is Severity.ERROR else "warning"
        head = self.paint(f"{problem.severity.value}:", style)
        return f"{self.paint(str(problem.at), 'strong')}: {head} {problem.message}\n    remedy: {problem.remedy}"
