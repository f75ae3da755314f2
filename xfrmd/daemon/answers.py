# SPDX-License-Identifier: GPL-2.0-or-later
"""An answer as one line of JSON, in pieces: none takes long to make, and none is made before the last was taken."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from xfrmd import limits
from xfrmd.control.schema import Json

Parts = AsyncIterator[bytes]
"""A list of an answer that is made while it is sent: in each part entries as `entries` writes them, or none at all."""
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def text(value: object) -> bytes:
    """A value as JSON. In ASCII: a client's words come back in answers, and not all that JSON escapes is Unicode."""
    return _encode(value).encode("ascii")


def entries(values: list[Json]) -> bytes:
    """Entries of a list as JSON, without its brackets."""
    return text(values)[1:-1]


async def pieces(message: Json) -> AsyncGenerator[bytes, None]:
    """A message as one line. Lists in its answer that are long or are made meanwhile are cut; the fields come in their
    order, each when the one before it was taken.
    """
    answer = message.get("answer")
    if not isinstance(answer, dict) or not any(map(_is_cut, answer.values())):
        yield text(message) + b"\n"
        return
    yield text({name: value for name, value in message.items() if name != "answer"})[:-1] + b',"answer":{'
    for number, (name, value) in enumerate(answer.items()):
        yield (b"," if number else b"") + text(name) + b":"
        if not _is_cut(value):
            yield text(value)
            continue
        begun = False
        async for part in value if isinstance(value, AsyncIterator) else _apart(value):
            if part:
                yield (b"," if begun else b"[") + part
                begun = True
        yield b"]" if begun else b"[]"
    yield b"}}\n"


def _is_cut(value: object) -> bool:
    return isinstance(value, AsyncIterator) or (isinstance(value, list) and len(value) > limits.SHOWN_AT_ONCE)


async def _apart(values: list[Json]) -> Parts:
    for begin in range(0, len(values), limits.SHOWN_AT_ONCE):
        yield entries(values[begin : begin + limits.SHOWN_AT_ONCE])
