# SPDX-License-Identifier: GPL-2.0-or-later
"""Values for a policy's variables from outside it: words of a command line, and files of values."""

from __future__ import annotations

from typing import Any

from xfrmd.model.source import PolicyErrors, Span
from xfrmd.policy.composer import compose
from xfrmd.policy.problems import BAD, Problems
from xfrmd.policy.sources import Value
from xfrmd.policy.variables import NAME, VARIABLES


def value_of_word(word: str) -> tuple[str, str]:
    """The name and the value of `NAME=VALUE`. Raises ValueError, without the value: it may be a secret."""
    name, equals, value = word.partition("=")
    if not equals:
        raise ValueError("a variable is given as NAME=VALUE")
    if not NAME.fullmatch(name):
        raise ValueError(f"{name[:64]!r} is no name of a variable: letters, digits and _, 64 at most")
    return name, value


def values_of_file(source: str | bytes, file: str) -> dict[str, Value]:
    """The values in a file, a mapping as under `variables`. Raises PolicyErrors with every problem of the file."""
    problems = Problems(file)
    root = compose(source, problems)
    problems.check()
    if root is None:
        problems.error(Span(file, 1, 1), "the file is empty", "write NAME: VALUE, one a line")
    else:
        found: Any = VARIABLES.read(root, problems)
        if found is not BAD and not problems.errors:
            return {name: one.value for name, one in found.items()}
    raise PolicyErrors(problems.sorted())
