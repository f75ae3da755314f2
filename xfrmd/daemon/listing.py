# SPDX-License-Identifier: GPL-2.0-or-later
"""`sas`: all IKE SAs and child SAs, some at a time while the answer is sent, as handshakes go on meanwhile.

Each IKE SA is shown as it is when its turn comes, with its child SAs of that moment. These come behind all IKE SAs in
the answer, so their text is kept: half a kilobyte for each, as long as the client takes to read what is before it.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterator
from itertools import islice

from xfrmd import limits
from xfrmd.adapters.xfrm.uses import Uses
from xfrmd.control.schema import Json
from xfrmd.daemon import views
from xfrmd.daemon.answers import Parts, entries
from xfrmd.daemon.house import House
from xfrmd.ike.views import IkeSaView


async def sas(house: House, _: Json) -> Json:
    """IKE SAs and child SAs."""
    uses = await asyncio.to_thread(house.sas.uses_apart)
    listing = Listing(house, uses, house.engine.each_ike_sa())
    return {"ike_sas": listing.ike_sas(), "child_sas": listing.child_sas()}


class Listing:
    """Both lists of one answer. The child SAs are those of IKE SAs that were shown, so they are asked for last."""

    def __init__(self, house: House, uses: Uses, found: Iterator[IkeSaView]) -> None:
        plan = house.enforcement.now.plan if house.enforcement.now else None
        self._rules = {protect.reqid: protect.origin.rule for protect in plan.protect} if plan else {}
        self._house = house
        self._uses = uses
        self._found = found
        self._children: collections.deque[bytes] = collections.deque()

    async def ike_sas(self) -> Parts:
        """IKE SAs."""
        while some := list(islice(self._found, limits.SHOWN_AT_ONCE)):
            clocks = self._house.clocks()
            self._children.append(entries([child for view in some for child in self._of(view, clocks)]))
            yield entries([views.ike_sa(view, clocks) for view in some])

    async def child_sas(self) -> Parts:
        """Child SAs, which are kept no longer when they have been given."""
        while self._children:
            yield self._children.popleft()

    def _of(self, ike: IkeSaView, clocks: views.Clocks) -> Iterator[Json]:
        installed, used = self._house.ledger.sas, self._uses.of
        local, remote = ike.local.address, ike.remote.address
        for child in ike.children:
            protocol, spi_in, spi_out = child.protocol, child.spi_in, child.spi_out
            kernel = views.InKernel(
                installed.get((local, protocol, spi_in)) or installed.get((remote, protocol, spi_out)),
                used(protocol, spi_in, local),
                used(protocol, spi_out, remote),
            )
            yield views.child_sa(ike, child, self._rules.get(child.reqid, ""), kernel, clocks)
