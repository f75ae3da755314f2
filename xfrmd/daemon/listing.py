# SPDX-License-Identifier: GPL-2.0-or-later
"""`sas`: all IKE SAs and child SAs, some at a time while the answer is sent, as handshakes go on meanwhile.

Each IKE SA is shown as it is when its turn comes, with its child SAs of that moment. These come behind all IKE SAs in
the answer, so their text is kept: half a kilobyte for each, as long as the client takes to read what is before it.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Iterator
from itertools import islice

from xfrmd import limits
from xfrmd.adapters.xfrm.uses import Use
from xfrmd.control.schema import ControlError, Json
from xfrmd.daemon import views
from xfrmd.daemon.answers import Parts, entries
from xfrmd.daemon.house import House
from xfrmd.ike.views import IkeSaView
from xfrmd.model.addresses import Address
from xfrmd.model.proposals import ProtocolId

Used = Callable[[ProtocolId, int, Address], Use | None]
"""What the kernel's SA with this protocol, SPI and destination has carried."""


async def sas(house: House, arguments: Json) -> Json:
    """IKE SAs and child SAs: all, those with one peer, or the one with an SPI. Of some the kernel is asked for each."""
    remote = address(arguments["remote"]) if arguments.get("remote") else None
    spi = own_spi(house, arguments["spi"]) if arguments.get("spi") else b""
    some = remote is not None or spi
    used = house.sas.use if some else (await asyncio.to_thread(house.sas.uses_apart)).of
    listing = Listing(house, used, house.engine.each_ike_sa(remote, spi))
    return {"ike_sas": listing.ike_sas(), "child_sas": listing.child_sas()}


def address(text: str) -> Address:
    """An address that a client means. ControlError."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise ControlError("bad-address", str(error), "write an IPv4 or IPv6 address") from error


def own_spi(house: House, text: str) -> bytes:
    """Our SPI of the SA that a client means by the SPI of either end. ControlError when there is none."""
    try:
        octets = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        octets = b""
    if not (own := house.engine.own_spi(octets)):
        raise ControlError("unknown-spi", f"there is no SA with SPI {text!r}", "see xfrmctl sas")
    return own


class Listing:
    """Both lists of one answer. The child SAs are those of IKE SAs that were shown, so they are asked for last."""

    def __init__(self, house: House, used: Used, found: Iterator[IkeSaView]) -> None:
        plan = house.enforcement.now.plan if house.enforcement.now else None
        self._rules = {protect.reqid: protect.origin.rule for protect in plan.protect} if plan else {}
        self._house = house
        self._used = used
        self._found = found
        self._children: collections.deque[bytes] = collections.deque()

    async def ike_sas(self) -> Parts:
        """IKE SAs. A peer may have a thousand child SAs under each: others have their turn between these, too."""
        while some := list(self._some()):
            clocks = self._house.clocks()
            children = (child for view in some for child in self._of(view, clocks))
            while made := list(islice(children, limits.SHOWN_AT_ONCE)):
                self._children.append(entries(made))
                await asyncio.sleep(0)
            yield entries([views.ike_sa(view, clocks) for view in some])

    def _some(self) -> Iterator[IkeSaView]:
        """The next ones: so many, or fewer that have as many child SAs."""
        room = limits.SHOWN_AT_ONCE
        while room > 0 and (view := next(self._found, None)) is not None:
            room -= max(len(view.children), 1)
            yield view

    async def child_sas(self) -> Parts:
        """Child SAs, which are kept no longer when they have been given."""
        while self._children:
            yield self._children.popleft()

    def _of(self, ike: IkeSaView, clocks: views.Clocks) -> Iterator[Json]:
        installed, used = self._house.ledger.sas, self._used
        local, remote = ike.local.address, ike.remote.address
        for child in ike.children:
            protocol, spi_in, spi_out = child.protocol, child.spi_in, child.spi_out
            kernel = views.InKernel(
                installed.get((local, protocol, spi_in)) or installed.get((remote, protocol, spi_out)),
                used(protocol, spi_in, local),
                used(protocol, spi_out, remote),
            )
            yield views.child_sa(ike, child, self._rules.get(child.reqid, ""), kernel, clocks)
