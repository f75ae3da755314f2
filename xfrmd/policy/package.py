# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy with all that it draws on, and the file format in which stores keep one. Pure.

A kept policy is one line and a JSON object:

    xfrmd-policy 1 <SHA-256 of the object, in hex> <its octets>
    {"text": "...", "file": "/etc/xfrmd/policy.yaml", "files": {...}, "variables": {...}, ...}

The line says whether the rest is whole. Secrets are in it only where the policy itself, or a value of a variable,
spells them out; what a policy names by file or credential stays a name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from xfrmd import limits
from xfrmd.errors import PolicyError
from xfrmd.policy.sources import Sources, Value, from_mapping

FORMAT: Final = 1
"""Version of the file format; it grows when an older reader would misunderstand a file."""
_HEAD: Final = re.compile(rb"xfrmd-policy ([0-9]{1,9}) ([0-9a-f]{64}) ([0-9]{1,12})\n")
_ANY_HEAD: Final = re.compile(rb"xfrmd-policy ([0-9]{1,9})[ \n]")
_HEAD_SIZE: Final = 128


class DamagedError(PolicyError):
    """A kept policy that is not whole."""


class NewerFormatError(PolicyError):
    """A policy that a newer version of xfrmd keeps."""


@dataclass(frozen=True, slots=True)
class Package:
    """The text of a policy, the name of its file for messages, texts of the files that it includes, and values that
    were given for its variables: enough to compile it again, wherever those files are then.
    """

    text: str
    file: str
    files: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Value] = field(default_factory=dict)

    @property
    def sources(self) -> Sources:
        """What the text may draw on."""
        return from_mapping(self.files, self.variables)

    @property
    def checksum(self) -> str:
        """SHA-256 in hex: two packages with the same one are the same policy."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        files, variables = dict(self.files), {name: _plain(value) for name, value in self.variables.items()}
        return {"text": self.text, "file": self.file, "files": files, "variables": variables}


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy as a store keeps it. `since` is wall-clock time: when it came in force. `allow_lockout`: it was assigned
    although it closes the management ports.
    """

    package: Package
    policy: str
    since: float
    allow_lockout: bool = False


def _plain(value: Value) -> str | list[str]:
    return value if isinstance(value, str) else [*value]


def encode(kept: Kept) -> bytes:
    """A policy as its file. Raises PolicyError when it is too large to be read again."""
    more = {"policy": kept.policy, "since": kept.since, "allow_lockout": kept.allow_lockout}
    body = json.dumps({**kept.package.to_json(), **more}, sort_keys=True).encode()
    found = f"xfrmd-policy {FORMAT} {hashlib.sha256(body).hexdigest()} {len(body)}\n".encode() + body
    if len(found) > limits.STORE_FILE_SIZE:
        raise PolicyError(f"a policy of more than {limits.STORE_FILE_SIZE // 1024 // 1024} MiB is not kept")
    return found


def version_of(octets: bytes) -> int | None:
    """The format of a file by its first octets; None when it is no kept policy."""
    found = _ANY_HEAD.match(octets[:_HEAD_SIZE])
    return int(found[1]) if found else None


def decode(octets: bytes) -> Kept:
    """The policy of a file. Raises DamagedError or NewerFormatError, whose texts complete "the file ...": nothing of a
    file that is not whole is believed.
    """
    version = version_of(octets)
    if version is not None and version > FORMAT:
        raise NewerFormatError(f"was written by a newer version of xfrmd (format {version}, known here is {FORMAT})")
    head = _HEAD.match(octets[:_HEAD_SIZE])
    if head is None or version != FORMAT:
        raise DamagedError("does not begin as a kept policy does")
    body, size = octets[head.end() :], int(head[3])
    if len(body) != size:
        raise DamagedError(f"is cut off: it holds {len(body)} of {size} octets" if len(body) < size else "is too long")
    if hashlib.sha256(body).hexdigest().encode() != head[2]:
        raise DamagedError("is damaged: its checksum does not fit")
    try:
        return _kept(json.loads(body))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError("is damaged: it holds something else than a policy") from error


def _kept(found: Any) -> Kept:
    """Raises ValueError, KeyError or TypeError when a part has another type."""
    files = {_text(name): _text(text) for name, text in dict(found["files"]).items()}
    values = {_text(name): _value(value) for name, value in dict(found["variables"]).items()}
    package = Package(_text(found["text"]), _text(found["file"]), files, values)
    allow = found["allow_lockout"]
    if not isinstance(allow, bool):
        raise TypeError
    return Kept(package, _text(found["policy"]), float(found["since"]), allow)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _value(value: Any) -> Value:
    return tuple(map(_text, value)) if isinstance(value, list) else _text(value)
