# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies on this host's disk: a first file, files that it includes, files of values for its variables.

Only whoever runs the program names these files: its command line, and the files that were named there. What a client
of the daemon sends never comes here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from xfrmd import limits
from xfrmd.errors import PolicyError
from xfrmd.policy import load
from xfrmd.policy.given import values_of_file
from xfrmd.policy.includes import STANDARD_INPUT, included
from xfrmd.policy.package import Package
from xfrmd.policy.resolve import SecretReader
from xfrmd.policy.sources import Sources, Value
from xfrmd.policy.words import PolicySet

_MOST = limits.POLICY_FILE_SIZE + 1


def read_file(name: str) -> bytes:
    """A policy, facts or values file, "-" for standard input, one octet more than is allowed at most. Raises
    PolicyError.
    """
    try:
        with open("/dev/stdin" if name == STANDARD_INPUT else name, "rb") as stream:  # noqa: PTH123 (names may be odd)
            return stream.read(_MOST)
    except (OSError, ValueError) as error:
        raise PolicyError(f"{name}: {_reason(error)}") from error


def read_included(name: str) -> bytes:
    """The same for a file that another one names: an ordinary file only, so that no pipe or device is waited for."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as stream:  # noqa: PTH123 (an open file)
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise PolicyError("it is not an ordinary file")
            return stream.read(_MOST)
    except (OSError, ValueError) as error:
        raise PolicyError(_reason(error)) from error


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


class Loaded(NamedTuple):
    """A policy that was loaded, and what is needed to load it again."""

    policies: PolicySet
    package: Package


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """A policy as a command line names it: its first file, values by `--var`, files of values by `--vars`."""

    first: str
    words: Mapping[str, Value] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def variables(self) -> dict[str, Value]:
        """The values given for variables: those of later files replace those of earlier ones, single words replace
        both. Raises PolicyError.
        """
        found: dict[str, Value] = {}
        for name in self.files:
            found |= values_of_file(read_file(name), name)
        return {**found, **self.words}

    def read(self) -> tuple[bytes, Sources]:
        """The first file, and what it may draw on. Raises PolicyError."""
        return read_file(self.first), Sources(read_included, self.variables())

    def load(self, read_secret: SecretReader) -> Loaded:
        """The policy, and all that it was made of. Raises PolicyErrors for what is wrong with it, PolicyError when its
        first file cannot be read, or a file of values not be used.
        """
        source, sources = self.read()
        texts: dict[str, str] = {}

        def read(name: str) -> str | bytes:
            content = sources.read(name)
            texts[name] = _text(content)
            return content

        policies = load(source, self.first, read_secret, sources=replace(sources, read=read))
        return Loaded(policies, Package(_text(source), self.first, texts, sources.variables))

    def request(self) -> dict[str, object]:
        """All of it as the arguments of a request to the daemon, which then needs to open nothing. Raises PolicyError.

        As text in JSON, so that octets which are no UTF-8 reach the daemon's own check as what they are.
        """
        source, file = read_file(self.first), self.first
        if file != STANDARD_INPUT:
            file = os.path.abspath(file)  # noqa: PTH100 (a link's own directory counts, as it does for the reader)
        along = {name: _text(content) for name, content in included(source, file, read_included).items()}
        request: dict[str, object] = {"text": _text(source), "file": file}
        given = self.variables()
        return request | ({"files": along} if along else {}) | ({"variables": given} if given else {})


def _text(source: str | bytes) -> str:
    return source if isinstance(source, str) else source.decode("utf-8", "surrogateescape")
