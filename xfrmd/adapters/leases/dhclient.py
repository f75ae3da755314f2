# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases of ISC dhclient (dhclient.leases(5)): blocks `lease { ... }` of statements, the newest last.

Read are `interface`, `fixed-address`, `option dhcp-server-identifier`, `option netbios-name-servers` and `expire`.
dhclient appends and never takes a lease away, so that its `expire` counts.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from typing import Final

from xfrmd.adapters.leases.lease import Ignored, Lease, unicast

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[{};]|[^\s{};"#]+|#[^\n]*', re.DOTALL)
"""A string, which an end of file closes too, so that each octet is looked at once; punctuation; a word; a comment."""


def parse(text: str, ignored: Ignored) -> list[Lease]:
    """All leases of a file, in its order. What is not understood is no lease."""
    return [lease for block in _blocks(text) if (lease := _lease(block, ignored)) is not None]


def _blocks(text: str) -> Iterator[dict[str, list[str]]]:
    """The statements directly in each whole `lease { }` block: keyword (with the option's name) and words."""
    depth, statements, words = 0, dict[str, list[str]](), list[str]()
    in_lease = False
    for match in _TOKEN.finditer(text):
        part = match[0]
        if part == "{":
            in_lease = words == ["lease"] if depth == 0 else in_lease
            if depth == 0:
                statements = {}
            depth, words = depth + 1, []
        elif part == "}":
            if depth == 1 and in_lease:
                yield statements
            depth, words = max(depth - 1, 0), []
        elif part == ";":
            if depth == 1 and words:
                length = 2 if words[0] == "option" else 1
                statements[" ".join(words[:length])] = words[length:]
            words = []
        elif not part.startswith("#"):
            words.append(part)


def _lease(statements: dict[str, list[str]], ignored: Ignored) -> Lease | None:
    interface = "".join(statements.get("interface", [])).strip('"')
    address = unicast(statements.get("fixed-address", []), ignored)
    expires = _time(statements.get("expire", []))
    if not interface or not address or expires is None:
        ignored.append("a lease without interface, fixed-address or expire")
        return None
    servers = unicast(_list(statements, "dhcp-server-identifier"), ignored)
    return Lease(interface, address[0], servers, unicast(_list(statements, "netbios-name-servers"), ignored), expires)


def _list(statements: dict[str, list[str]], option: str) -> list[str]:
    return "".join(statements.get(f"option {option}", [])).split(",")


def _time(words: list[str]) -> float | None:
    """`never`, `epoch SECONDS`, or weekday, date and time in UTC; None when it is none of these."""
    if words == ["never"]:
        return float("inf")
    try:
        if words[:1] == ["epoch"]:
            return float(int(words[1]))
        _, day, time = words
        year, month, date = map(int, day.split("/"))
        hour, minute, second = map(int, time.split(":"))
        return float(calendar.timegm((year, month, date, hour, minute, second)))
    except (ValueError, OverflowError, IndexError):
        return None
