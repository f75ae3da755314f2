# SPDX-License-Identifier: GPL-2.0-or-later
"""From the engine's state to what outlives the process: after each event, the records that are not as they were.

They must be kept before the effects of the event are carried out: then nothing has left that a later run does not know
of, neither a message ID nor an IV, and no key goes into the kernel a second time.
"""

from __future__ import annotations

import hmac
import math
from typing import Final

from xfrmd.ike.child_sa import ChildSa, ChildState
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.dynamic_filter import DynamicFilter
from xfrmd.ike.elsewhere import RedirectName
from xfrmd.ike.events import Endpoint
from xfrmd.ike.ike_sa import IkeSa, IkeState, Lineage, Offer, Task, TaskKind
from xfrmd.ike.key_exchanges import FollowUp
from xfrmd.ike.narrow import Agreed
from xfrmd.ike.saved import (
    Place,
    Record,
    SavedAgreed,
    SavedChild,
    SavedFilter,
    SavedFollowUp,
    SavedIkeSa,
    SavedLineage,
    SavedOffer,
    SavedRedirect,
    SavedSpent,
    SavedTask,
    SavedTicket,
    encode,
)
from xfrmd.ike.session import HeldName, SpentName
from xfrmd.model.pad import PadEntry
from xfrmd.model.proposals import ProtocolId
from xfrmd.model.secret import Secret

_Sign = tuple[ChildState, ChildSa | None, ChildSa | None, bool, tuple[int, int] | None]
_KEPT: Final = (IkeState.ESTABLISHED, IkeState.REPLACED, IkeState.DELETING)


class Recorder:
    """Knows what has been saved, so that little is saved again."""

    __slots__ = ("_children", "_count", "_numbers")

    def __init__(self) -> None:
        self._count = 0
        self._numbers: dict[Lineage, int] = {}
        self._children: dict[Lineage, dict[int, _Sign]] = {}

    def changes(self, ctx: Context) -> list[Record]:
        """What is not as it was saved last."""
        records: list[Record] = []
        for one in ctx.changed:
            if isinstance(one, Lineage):
                records += self._lineage(ctx, one)
            else:
                records.append(_single(ctx, one))
        ctx.changed.clear()
        return records

    def _lineage(self, ctx: Context, lineage: Lineage) -> list[Record]:
        """Child SAs first: a lineage names those that are its own."""
        ike_sas = tuple(_ike_sa(ctx, sa) for sa in lineage.ike_sas if _is_kept(sa))
        if not ike_sas:
            return self._gone(lineage)
        if lineage not in self._numbers:
            self._count += 1
            self._numbers[lineage], self._children[lineage] = self._count, {}
        before, now = self._children[lineage], {spi: _sign(child) for spi, child in lineage.children.items()}
        self._children[lineage] = now
        records = [
            Record(_name(child), encode(_child(ctx, child)))
            for spi, child in lineage.children.items()
            if before.get(spi) != now[spi]
        ]
        current = lineage.current
        saved = SavedLineage(
            local=_place(lineage.local),
            remote=_place(lineage.remote),
            ike_sas=ike_sas,
            current=current.spi if current is not None and _is_kept(current) else None,
            children=tuple(lineage.children),
            quick_modes=lineage.quick_modes,
            full=lineage.full,
            moves=lineage.moves,
            follows=lineage.follows,
            nat=lineage.nat,
            fragments=lineage.fragments,
            term=lineage.term,
            believed_until=None if lineage.believed_until == math.inf else lineage.believed_until,
            proofs=lineage.proofs,
            vendor=lineage.vendor,
            authenticated=lineage.authenticated,
            resumed=lineage.resumed,
            ticket=lineage.ticket,
            renews=lineage.renews,
            led=lineage.led,
            leads=lineage.leads,
        )
        records.append(Record(f"lineage {self._numbers[lineage]}", encode(saved)))
        return records + [Record(f"child {spi:08x}", None) for spi in before if spi not in now]

    def _gone(self, lineage: Lineage) -> list[Record]:
        number = self._numbers.pop(lineage, None)
        if number is None:
            return []
        children = self._children.pop(lineage)
        return [Record(f"lineage {number}", None), *(Record(f"child {spi:08x}", None) for spi in children)]


def proof(pad: PadEntry, sk_d: bytes) -> bytes:
    """How a peer is authenticated, in a form that is of no use elsewhere. Another secret, authority or identity gives
    another.
    """
    ids = [b"" if one is None else one.type.to_bytes(1) + one.value for one in (pad.local_id, pad.remote_id)]
    parts = [*ids, *(method.proves_peer for method in pad.auth)]
    if pad.ppk is not None:
        parts += [b"ppk", bytes((pad.ppk.required,)), pad.ppk.id, pad.ppk.secret.reveal()]
    return hmac.digest(sk_d, b"".join(len(part).to_bytes(4) + part for part in parts), "sha256")


def _is_kept(sa: IkeSa) -> bool:
    """The peer may take an IKE SA for established from our IKE_AUTH on, answered or waiting to be judged."""
    if sa.state is IkeState.AUTHENTICATING:
        return sa.task is not None and sa.task.kind is TaskKind.AUTH
    return sa.state in _KEPT and sa.settled != math.inf


def _ike_sa(ctx: Context, sa: IkeSa) -> SavedIkeSa:
    keys = sa.agreed_channel.saved()
    return SavedIkeSa(
        initiator=sa.initiator,
        spi_i=sa.spi_i,
        spi_r=sa.spi_r,
        local=_place(sa.local),
        remote=_place(sa.remote),
        state=sa.state.value,
        created=sa.created,
        settled=sa.created if sa.settled == math.inf else sa.settled,
        ends=ctx.timers.deadline((TimerKind.STATE, sa)) or ctx.now,
        rekey_at=ctx.timers.deadline((TimerKind.REKEY_IKE, sa)),
        window=sa.window.saved(),
        task=_task(sa.task) if sa.task is not None else None,
        disowned=_disowned(sa, ProtocolId.ESP),
        disowned_ah=_disowned(sa, ProtocolId.AH),
        keys=keys,
        suite=sa.agreed_suite,
        lifetime=sa.lifetime,
        local_id=sa.local_id,
        remote_id=sa.remote_id,
        rival=sa.rival.spi if sa.rival is not None else None,
        lowest_nonce=sa.lowest_nonce,
        proof=proof(sa.pad, keys.sk_d.reveal()),
        peer_token=sa.peer_token,
        rekeyed=sa.rekeyed,
    )


def _disowned(sa: IkeSa, protocol: ProtocolId) -> tuple[bytes, ...]:
    return tuple(spi for task in sa.tasks if task.protocol is protocol for spi in task.spis)


def _task(task: Task) -> SavedTask:
    return SavedTask(
        kind=task.kind.value,
        child=task.child.spi_in if task.child is not None else None,
        doomed=tuple(child.spi_in for child in task.doomed),
        spis=task.spis,
        offer=_offer(task.offer) if task.offer is not None else None,
        method=task.method,
        restarts=task.restarts,
        reason=task.reason,
        stillborn=tuple(task.stillborn),
        cookie=task.cookie,
        protocol=task.protocol,
        follow=_follow(task.follow) if task.follow is not None else None,
    )


def _follow(follow: FollowUp) -> SavedFollowUp:
    answer = follow.answer
    return SavedFollowUp(
        header=answer.header,
        first=answer.payloads[0].type,
        content=Secret(answer.plaintext),
        left=follow.left,
        link=follow.link,
        secrets=Secret(follow.secrets),
        seed=follow.exchange.seed if follow.exchange is not None else Secret(b""),
    )


def _offer(offer: Offer) -> SavedOffer:
    return SavedOffer(
        spi=offer.spi,
        proposals=offer.proposals,
        nonce=offer.nonce,
        seed=offer.exchange.seed if offer.exchange is not None else None,
        method=offer.method,
        agreed=_agreed(offer.agreed) if offer.agreed is not None else None,
    )


def _agreed(agreed: Agreed) -> SavedAgreed:
    return SavedAgreed(agreed.protect.reqid, agreed.selector, agreed.traffic)


def _sign(child: ChildSa) -> _Sign:
    """All of a child SA that changes and is saved."""
    return (child.state, child.successor, child.predecessor, child.pending_out is None, child.ports)


def _name(child: ChildSa) -> str:
    return f"child {child.spi_in:08x}"


def _child(ctx: Context, child: ChildSa) -> SavedChild:
    return SavedChild(
        spi_in=child.spi_in,
        spi_out=child.spi_out,
        local=child.local,
        remote=child.remote,
        agreed=_agreed(child.agreed),
        suite=child.suite,
        lifetime=child.lifetime,
        initiator=child.initiator,
        lowest_nonce=child.lowest_nonce,
        created=child.created,
        state=child.state.value,
        successor=child.successor.spi_in if child.successor is not None else None,
        predecessor=child.predecessor.spi_in if child.predecessor is not None else None,
        pending_out=child.pending_out,
        protocol=child.protocol,
        switch_at=ctx.timers.deadline((TimerKind.SUCCESSOR, child)),
        ports=child.ports,
    )


def _single(ctx: Context, one: DynamicFilter | HeldName | SpentName | RedirectName) -> Record:
    """What stands for itself."""
    tickets = ctx.store.tickets
    if isinstance(one, HeldName):
        held = tickets.held.get(one.remote)
        value = SavedTicket(one.remote, Secret(held.ticket), held.session) if held is not None else None
        return Record(f"ticket {one.remote}", encode(value) if value is not None else None)
    if isinstance(one, SpentName):
        until = tickets.spent.get(one.name)
        return Record(f"spent {one.name.hex()}", encode(SavedSpent(one.name, until)) if until is not None else None)
    if isinstance(one, RedirectName):
        last = ctx.store.elsewhere.redirected.get(one.gateway, {}).get(one.end)
        content = encode(SavedRedirect(one.gateway, one.end, last)) if last is not None else None
        return Record(f"redirect {one.gateway} {one.end}", content)
    return _filter(ctx, one)


def _filter(ctx: Context, one: DynamicFilter) -> Record:
    name = f"filter {one.reqid} {one.selector}"
    if ctx.store.dynamic.get((one.reqid, one.selector)) is not one:
        return Record(name, None)
    ends = ctx.timers.deadline((TimerKind.DYNAMIC_END, one))
    return Record(name, encode(SavedFilter(one.reqid, one.selector, one.local, one.remote, ends)))


def _place(end: Endpoint) -> Place:
    return Place(end.address, end.port)
