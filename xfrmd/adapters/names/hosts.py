# SPDX-License-Identifier: GPL-2.0-or-later
"""/etc/hosts (hosts(5)): what it says of a name goes before DNS, as it does for other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xfrmd import limits
from xfrmd.adapters.files import read_text, stamp
from xfrmd.adapters.names.table import Addresses
from xfrmd.model.addresses import Address, is_nobody
from xfrmd.model.notice import Level, Notice


def names_of(path: Path, wanted: frozenset[str], tell: Callable[[Notice], None]) -> dict[str, Addresses]:
    """The addresses of those wanted names that stand there. Loopback addresses, as of the host's own name, and their
    like count for nothing.
    """
    found: dict[str, dict[Address, None]] = {}
    if not wanted:
        return {}
    if stamp(path)[2] > limits.HOSTS_FILE_SIZE:
        text = f"of {path} only the first {limits.HOSTS_FILE_SIZE} octets are read"
        tell(Notice(Level.WARNING, "hosts-file", text, remedy="put the names of the policy at its head"))
    for line in (read_text(path, limits.HOSTS_FILE_SIZE) or "").splitlines():
        address, *names = line.partition("#")[0].split() or ("",)
        ours = wanted.intersection(name.lower().removesuffix(".") for name in names)
        if ours:
            _add(found, ours, address)
    return {name: tuple(addresses) for name, addresses in found.items()}


def _add(found: dict[str, dict[Address, None]], names: frozenset[str], text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    if not is_nobody(address):
        for name in names:
            found.setdefault(name, {})[address] = None
