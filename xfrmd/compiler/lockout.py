# SPDX-License-Identifier: GPL-2.0-or-later
"""Does a policy leave anybody a way to manage the host?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from xfrmd.compiler.compile import Compilation
from xfrmd.compiler.layers import rank
from xfrmd.model.addresses import Address, Prefix
from xfrmd.model.plan import SpecificFilter, Verdict
from xfrmd.model.selector import TCP, Selector
from xfrmd.model.source import Problem, Severity
from xfrmd.policy.words import Config

_WAYS: Final = (True, False)
"""A connection needs both: packets in, and their answers out."""
_LINK_LOCAL: Final = Prefix.parse("fe80::/10")

_OTHERWISE: Final = (
    "or, if the host is managed otherwise, name those ports with `config: {management: [...]}`, or write "
    "`config: {allow_lockout: yes}`, or apply it with --allow-lockout"
)


def lock_out(made: Compilation, config: Config) -> Iterator[Problem]:
    """Blocks that hold for a management port from everywhere: an error when they hold on all addresses, unless the
    policy says that this is meant.
    """
    own = made.ground.own
    ways = [address for address in own if not _LINK_LOCAL.contains(address)] or list(own)
    doors = {(way, port, address): _Door() for way in _WAYS for port in config.management for address in ways}
    for one in made.regions() if doors else ():
        if one.selector.protocol in (0, TCP):
            coming = one.selector if one.inbound else one.selector.reversed
            for port in config.management:
                if coming.dport.first <= port <= coming.dport.last:
                    _look(one, coming, port, ways, doors)
    for port in config.management:
        closed = ((address, doors[way, port, address].closed_by()) for way in _WAYS for address in ways)
        blocks = {address: block for address, block in closed if block is not None}
        if blocks and len(blocks) == len(ways):
            yield _locked_out(port, next(iter(blocks.values())), refused=not config.allow_lockout)
        else:
            yield from (_closed(port, address, block) for address, block in blocks.items())


@dataclass(slots=True)
class _Door:
    """The heaviest filters that speak of a management port of an address, in one direction: one that lets somebody
    through, and a block of everybody.
    """

    opens: SpecificFilter | None = None
    closes: SpecificFilter | None = None

    def closed_by(self) -> SpecificFilter | None:
        """The block that decides for everybody."""
        if self.closes is None or (self.opens is not None and rank(self.opens) < rank(self.closes)):
            return None
        return self.closes


_Doors = dict[tuple[bool, int, Address], _Door]
"""By direction, port and address."""


def _look(one: SpecificFilter, coming: Selector, port: int, ways: Iterable[Address], doors: _Doors) -> None:
    """What a filter does to a port. `coming` are the packets that it speaks of, or that they answer."""
    src, dst, _, sport, _ = coming
    blocks = one.verdict is Verdict.BLOCK
    if blocks and (src.length or not sport.is_any):
        return
    for address in (dst.address,) if dst.is_host else filter(dst.contains, ways):
        door = doors.get((one.inbound, port, address))
        if door is None:
            continue
        known = door.closes if blocks else door.opens
        if known is None or rank(one) < rank(known):
            if blocks:
                door.closes = one
            else:
                door.opens = one


def _locked_out(port: int, block: SpecificFilter, *, refused: bool) -> Problem:
    return Problem(
        Severity.ERROR if refused else Severity.WARNING,
        block.origin.at,
        f"nobody can reach TCP port {port} of this host: blocks hold for it from everywhere, such as this one of rule "
        f"{block.origin.rule!r}",
        f"add a narrower permit or negotiate filter for TCP port {port}"
        + ("; " + _OTHERWISE if refused else ", unless the host is managed otherwise"),
    )


def _closed(port: int, address: Address, block: SpecificFilter) -> Problem:
    return Problem(
        Severity.WARNING,
        block.origin.at,
        f"nobody can reach TCP port {port} of {address}: this block of rule {block.origin.rule!r} holds for it from "
        "everywhere",
        f"add a narrower permit or negotiate filter for TCP port {port} if the host is managed by that address",
    )
