# SPDX-License-Identifier: GPL-2.0-or-later
"""Link-local addresses mean something on one interface only; the kernel's list of IPv6 addresses tells which."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from xfrmd.model.addresses import Address

_LIST: Final = Path("/proc/thread-self/net/if_inet6")
"""A line for each address: 32 hex digits, then the interface's index in hex, and more."""
_SIZE: Final = 1024 * 1024


def is_link_local(address: Address) -> bool:
    """Is it in fe80::/10?"""
    return address.family == 6 and address.value >> 118 == 0xFE80 >> 6


def interface_of(address: Address, listed: Path = _LIST) -> int:
    """The index of the interface that has this address of ours, the first of several; 0 when none has."""
    try:
        with listed.open(encoding="ascii", errors="replace") as file:
            lines = file.read(_SIZE).splitlines()
    except OSError:
        return 0
    wanted = address.packed.hex()
    for words in map(str.split, lines):
        if len(words) > 1 and words[0] == wanted:
            return int(words[1], 16)
    return 0
