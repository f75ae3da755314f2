# SPDX-License-Identifier: GPL-2.0-or-later
"""Name servers of this host (resolv.conf(5), systemd-resolved(8))."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from xfrmd import limits
from xfrmd.adapters.files import read_text
from xfrmd.adapters.network import is_loopback
from xfrmd.model.addresses import Address


@dataclass(frozen=True, slots=True)
class NameServers:
    """`servers` answer on the network; they stand in `file`. `asked` are those that programs of this host ask, such as
    systemd-resolved's stub on a loopback address, with the interface where an address needs one (`fe80::1%eth0`).
    """

    servers: tuple[Address, ...] = ()
    asked: tuple[str, ...] = ()
    file: Path | None = None


def name_servers(resolv_conf: Path, resolved: Path) -> NameServers:
    """The name servers of a resolv.conf, in order, each once; unreadable lines count for nothing. Where it names only
    loopback addresses, the servers behind them are those of `resolved`, systemd-resolved's own file.
    """
    asked = _lines(resolv_conf)
    if asked and all(map(is_loopback, asked.values())):
        return NameServers(_outward(_lines(resolved)), tuple(asked), resolved)
    return NameServers(_outward(asked), tuple(asked), resolv_conf)


def _outward(found: dict[str, Address]) -> tuple[Address, ...]:
    return tuple(dict.fromkeys(one for one in found.values() if not is_loopback(one)))


def _lines(path: Path) -> dict[str, Address]:
    found: dict[str, Address] = {}
    for words in (line.split() for line in (read_text(path) or "").splitlines()):
        if len(words) >= 2 and words[0] == "nameserver" and len(found) < limits.NAME_SERVERS:
            with contextlib.suppress(ValueError):
                found[words[1]] = Address.parse(words[1].partition("%")[0])
    return found
