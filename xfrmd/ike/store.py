# SPDX-License-Identifier: GPL-2.0-or-later
"""All IKE SAs and child SAs, each found by what messages, the kernel and traffic know of it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator

from xfrmd import limits
from xfrmd.ike.child_sa import ChildSa
from xfrmd.ike.dynamic_filter import DynamicFilter
from xfrmd.ike.elsewhere import Elsewhere
from xfrmd.ike.events import Endpoint
from xfrmd.ike.half_open import HalfOpen
from xfrmd.ike.ike_sa import IkeSa, IkeState, Lineage
from xfrmd.ike.learnt import Learnt
from xfrmd.ike.soft_sa import SoftSa
from xfrmd.ike.tickets import Tickets
from xfrmd.model.addresses import Address
from xfrmd.model.selector import Selector

_Pair = tuple[Address, Address]


class Store:
    """The SAs and their indexes."""

    __slots__ = (
        "_by_pair",
        "_by_spi",
        "_by_spi_in",
        "_by_spi_out",
        "_lineage_of",
        "_lineages",
        "dynamic",
        "elsewhere",
        "half_open",
        "learnt",
        "soft",
        "tickets",
    )

    def __init__(self) -> None:
        self._by_spi: dict[bytes, IkeSa] = {}
        self._lineages: dict[_Pair, dict[Lineage, None]] = {}
        self._by_spi_in: dict[int, ChildSa] = {}
        self._by_spi_out: dict[tuple[Address, int], ChildSa] = {}
        self._by_pair: dict[_Pair, dict[int, list[ChildSa]]] = {}
        self._lineage_of: dict[ChildSa, Lineage] = {}
        self.soft: dict[tuple[int, Selector], SoftSa] = {}
        self.dynamic: dict[tuple[int, Selector], DynamicFilter] = {}
        """By reqid and outbound selector, as soft SAs are."""
        self.half_open = HalfOpen()
        """IKE SAs that are no lineage's yet, as the peer has proved nothing."""
        self.elsewhere = Elsewhere()
        """Hosts and tunnels that are not where they were."""
        self.learnt = Learnt()
        """What was fetched of revoked certificates, and who waits for it."""
        self.tickets = Tickets()
        """What lets IKE SAs go on that are no more."""

    # IKE SAs

    def add(self, sa: IkeSa) -> None:
        """Take in a new IKE SA; the first of its lineage is its current one."""
        self._by_spi[sa.spi] = sa
        sa.lineage.ike_sas.append(sa)
        sa.lineage.current = sa.lineage.current or sa
        if sa.state is IkeState.HALF_OPEN:
            self.half_open.add(sa)
        else:
            self._lineages.setdefault((sa.local.address, sa.remote.address), {})[sa.lineage] = None

    def opened(self, sa: IkeSa) -> None:
        """The peer of a half-open IKE SA has proved itself; from now on its lineage is one to work with."""
        self.half_open.proved(sa)
        self._lineages.setdefault((sa.local.address, sa.remote.address), {})[sa.lineage] = None

    def move(self, lineage: Lineage, local: Endpoint, remote: Endpoint) -> None:
        """The IKE SAs of a lineage go on between other addresses; its child SAs are found where they were."""
        pair = (lineage.local.address, lineage.remote.address)
        lineages = self._lineages.get(pair, {})
        lineages.pop(lineage, None)
        if not lineages:
            self._lineages.pop(pair, None)
        lineage.local, lineage.remote = local, remote
        for sa in lineage.ike_sas:
            sa.local, sa.remote = local, remote
        self._lineages.setdefault((local.address, remote.address), {})[lineage] = None

    def leave(self, sa: IkeSa) -> None:
        """The IKE SA is closed: it leaves its lineage and is found by its SPI alone."""
        lineage = sa.lineage
        self.half_open.left(sa)
        if sa in lineage.ike_sas:
            lineage.ike_sas.remove(sa)
        if lineage.current is sa:
            lineage.current = next((one for one in reversed(lineage.ike_sas) if one.lives), None)
        pair = (sa.local.address, sa.remote.address)
        lineages = self._lineages.get(pair, {})
        if not lineage.ike_sas and lineage in lineages:
            del lineages[lineage]
            if not lineages:
                del self._lineages[pair]

    def crowd(self, local: Address, remote: Address) -> Collection[Lineage]:
        """All lineages with this peer, or with whoever else is behind its NAT, oldest first."""
        return self._lineages.get((local, remote), {})

    def forget(self, sa: IkeSa) -> None:
        """Nothing is left of a closed IKE SA."""
        self._by_spi.pop(sa.spi, None)

    def ike_sa(self, spi: bytes) -> IkeSa | None:
        """The IKE SA with this SPI of ours."""
        return self._by_spi.get(spi)

    def lineages(self, local: Address, remote: Address) -> list[Lineage]:
        """Lineages with this peer, newest first: more than limits.LINEAGES only a peer can have that plays tricks."""
        return list(itertools.islice(reversed(self._lineages.get((local, remote), {})), limits.LINEAGES))

    def ike_sas(self) -> list[IkeSa]:
        """All IKE SAs that are not closed."""
        return [sa for sa in self._by_spi.values() if sa.state is not IkeState.CLOSED]

    def own_spi(self, spi: bytes) -> bytes:
        """Our SPI of the IKE SA (8 octets) or child SA (4) that has this one at either end; b"" when there is none.
        What is only remembered to repeat a response, or lingers, is none.
        """
        if len(spi) == 4:
            return self._own_child_spi(int.from_bytes(spi))
        own = self._by_spi.get(spi)
        if own is None or own.state is IkeState.CLOSED:
            own = next((sa for sa in self.ike_sas() if sa.peer_spi == spi), None)
        return own.spi if own is not None else b""

    def _own_child_spi(self, spi: int) -> bytes:
        own = self._by_spi_in.get(spi)
        if own is None or self._shown_with(own) is None:
            others = (child for child in self._lineage_of if child.spi_out == spi and self._shown_with(child))
            own = next(others, None)
        return own.spi_in.to_bytes(4) if own is not None else b""

    def _shown_with(self, child: ChildSa) -> IkeSa | None:
        lineage = self._lineage_of.get(child)
        return lineage.current if lineage is not None else None

    def holder(self, own_spi: bytes) -> IkeSa | None:
        """The IKE SA with this SPI of ours, or the one that its child SA with this SPI of ours is shown with."""
        if len(own_spi) != 4:
            return self._by_spi.get(own_spi)
        child = self._by_spi_in.get(int.from_bytes(own_spi))
        return self._shown_with(child) if child is not None else None

    # Child SAs

    def add_child(self, lineage: Lineage, child: ChildSa) -> None:
        """Take in a child SA."""
        lineage.children[child.spi_in] = child
        for selector in child.selectors:
            lineage.served.pop((child.reqid, selector), None)
            lineage.served[child.reqid, selector] = None
        while len(lineage.served) > limits.SERVED:
            del lineage.served[next(iter(lineage.served))]
        self._lineage_of[child] = lineage
        self._by_spi_in[child.spi_in] = child
        self._by_spi_out[(child.remote, child.spi_out)] = child
        self._by_pair.setdefault((child.local, child.remote), {}).setdefault(child.reqid, []).append(child)

    def leave_child(self, lineage: Lineage, child: ChildSa) -> None:
        """The child SA is deleted at both ends; it is still found by its SPI while it lingers."""
        lineage.children.pop(child.spi_in, None)
        self._lineage_of.pop(child, None)
        if self._by_spi_out.get((child.remote, child.spi_out)) is child:
            del self._by_spi_out[(child.remote, child.spi_out)]
        reqids = self._by_pair.get((child.local, child.remote), {})
        children = reqids.get(child.reqid, [])
        if child in children:
            children.remove(child)
        if not children:
            reqids.pop(child.reqid, None)
        if not reqids:
            self._by_pair.pop((child.local, child.remote), None)

    def forget_child(self, child: ChildSa) -> None:
        """Its inbound SA is gone too."""
        self._by_spi_in.pop(child.spi_in, None)

    def child(self, spi_in: int) -> ChildSa | None:
        """The child SA with this SPI of ours."""
        return self._by_spi_in.get(spi_in)

    def child_out(self, remote: Address, spi_out: int) -> ChildSa | None:
        """The child SA that sends to this address with this SPI."""
        return self._by_spi_out.get((remote, spi_out))

    def child_of(self, lineage: Lineage, protocol: int, spi_out: bytes) -> ChildSa | None:
        """The child SA of this lineage that sends with this protocol and SPI of the peer's."""
        child = self.child_out(lineage.remote.address, int.from_bytes(spi_out)) if len(spi_out) == 4 else None
        known = child is not None and child.protocol == protocol and lineage.children.get(child.spi_in) is child
        return child if known else None

    def children(self, local: Address, remote: Address, reqid: int) -> list[ChildSa]:
        """Child SAs of a filter with a peer, oldest first."""
        return list(self._by_pair.get((local, remote), {}).get(reqid, ()))

    def children_between(self, local: Address, remote: Address) -> int:
        """How many child SAs there are between two hosts."""
        return sum(map(len, self._by_pair.get((local, remote), {}).values()))

    def all_children(self) -> Iterator[ChildSa]:
        """Every child SA, those that linger too."""
        return iter(list(self._by_spi_in.values()))

    def lineage_of(self, child: ChildSa) -> Lineage | None:
        """The lineage a child SA belongs to; None once it lingers."""
        return self._lineage_of.get(child)
