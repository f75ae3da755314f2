# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy file may draw on beside its own text. The policy layer reads no files: whoever loads hands them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from xfrmd.errors import PolicyError
from xfrmd.model.source import Severity

Value = str | tuple[str, ...]
"""The value of a variable: text, or a list of texts."""
Reader = Callable[[str], str | bytes]
"""Gives the content of an included file by its name, which is joined to the including file's directory already, one
octet more than limits.POLICY_FILE_SIZE at most; raises PolicyError with the reason when it cannot."""


def _no_files(name: str) -> str | bytes:
    raise PolicyError(f"{name}: no files can be included here")


@dataclass(frozen=True, slots=True)
class Sources:
    """Files that a policy may include, and values that are put in place of those that its variables have in it."""

    read: Reader = _no_files
    variables: Mapping[str, Value] = field(default_factory=dict)
    unused: Severity = Severity.ERROR
    """What a value is that the policy does not use: it may be meant for another policy that is read beside it."""


ALONE: Final = Sources()
"""No files, no variables."""


def from_mapping(files: Mapping[str, str | bytes], variables: Mapping[str, Value]) -> Sources:
    """Sources that were sent along: a name that is not among them is never looked for elsewhere."""

    def read(name: str) -> str | bytes:
        if name not in files:
            raise PolicyError("it was not sent along")
        return files[name]

    return Sources(read, variables)
