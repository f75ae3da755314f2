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
from xfrmd.model.selector import TCP
from xfrmd.model.source import Problem, Severity
from xfrmd.policy.words import Config

_LINK_LOCAL: Final = Prefix.parse("fe80::/10")


def lock_out(made: Compilation, config: Config) -> Iterator[Problem]:
    """Blocks that hold for a management port from everywhere: an error when they hold on all addresses, unless the
    policy says that this is meant.
    """
    own = made.ground.own
    ways = [address for address in own if not _LINK_LOCAL.contains(address)] or list(own)
    doors = {(port, address): _Door() for port in config.management for address in ways}
    for one in made.regions() if doors else ():
        if one.inbound and one.selector.protocol in (0, TCP):
            for port in config.management:
                if one.selector.dport.first <= port <= one.selector.dport.last:
                    _look(one, port, ways, doors)
    for port in config.management:
        blocks = {address: block for address in ways if (block := doors[port, address].closed_by()) is not None}
        if blocks and len(blocks) == len(ways):
            yield _locked_out(port, next(iter(blocks.values())), refused=not config.allow_lockout)
        else:
            yield from (_closed(port, address, block) for address, block in blocks.items())


@dataclass(slots=True)
class _Door:
    """The heaviest filters that speak of a management port of an address: one that lets somebody in, and a block of
    everybody.
    """

    opens: SpecificFilter | None = None
    closes: SpecificFilter | None = None

    def closed_by(self) -> SpecificFilter | None:
        """The block that decides for everybody."""
        if self.closes is None or (self.opens is not None and rank(self.opens) < rank(self.closes)):
            return None
        return self.closes


def _look(one: SpecificFilter, port: int, ways: Iterable[Address], doors: dict[tuple[int, Address], _Door]) -> None:
    src, dst, _, sport, _ = one.selector
    blocks = one.verdict is Verdict.BLOCK
    if blocks and (src.length or not sport.is_any):
        return
    for address in (dst.address,) if dst.is_host else filter(dst.contains, ways):
        door = doors.get((port, address))
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
        f"add a narrower permit or negotiate filter for TCP port {port}; or, if the host is managed otherwise, name "
        "those ports with `config: {management: [...]}`, or write `config: {allow_lockout: yes}`",
    )


def _closed(port: int, address: Address, block: SpecificFilter) -> Problem:
    return Problem(
        Severity.WARNING,
        block.origin.at,
        f"nobody can reach TCP port {port} of {address}: this block of rule {block.origin.rule!r} holds for it from "
        "everywhere",
        f"add a narrower permit or negotiate filter for TCP port {port} if the host is managed by that address",
    )
