# SPDX-License-Identifier: GPL-2.0-or-later
"""Policy stores as text for people: one line a store, its trouble and the remedy below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from xfrmd.cli.output import Output

_ORIGINS: Final = {
    "file": "read from its file",
    "applied": "applied, until it is read again",
    "assigned": "assigned",
    "last-good": "its last good one",
}
_SHOWN: Final = 12
"""Hex digits of a checksum: enough to tell two policies apart."""


def store_lines(stores: Sequence[Mapping[str, Any]], output: Output) -> Iterator[str]:
    """All stores, the one that is asked first first."""
    for one in stores:
        yield output.paint(f"{one['store']:<11}", "strong") + _policy(one, output)
        trouble = one["trouble"]
        if trouble:
            yield f"    {output.paint(trouble['condition'], 'error')}: {trouble['message']}"
            yield f"    remedy: {trouble['remedy']}"


def _policy(one: Mapping[str, Any], output: Output) -> str:
    if one["policy"] is None:
        return output.paint("no policy", "faint")
    waits = "" if one["in_force"] else ", " + output.paint("not in force", "warning")
    origin = _ORIGINS.get(one["origin"], one["origin"])
    return f"{one['policy']!r} from {one['file']}, {origin}, {one['checksum'][:_SHOWN]}{waits}"
