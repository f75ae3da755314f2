# SPDX-License-Identifier: GPL-2.0-or-later
"""MOBIKE (RFC 4555): an IKE SA goes on when the host that began it has another address.

Only that host decides. What goes on is the IKE SA; child SAs are made anew under it (docs/decisions/0036).
"""

from __future__ import annotations

import hmac
from typing import Final

from xfrmd import limits
from xfrmd.ike import keepalive, lifecycle, path_notices, resumable
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.demand import WantKey
from xfrmd.ike.events import Endpoint
from xfrmd.ike.ike_sa import IkeSa, IkeState, Lineage, Task, TaskKind
from xfrmd.ike.path import NAT_T_PORT
from xfrmd.ike.v2 import nat, sending
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import Message, SealedMessage
from xfrmd.ike.v2.payloads import NotifyPayload, Payload
from xfrmd.ike.v2.replies import RefusalError, error_of
from xfrmd.model.addresses import BITS, Address
from xfrmd.model.pad import PadEntry

_COOKIE: Final = 16
_COOKIES: Final = range(8, 65)
"""Octets of a COOKIE2 (RFC 4555 4.2.5)."""


# What is said in IKE_AUTH


# rfc 4555: announce
def offer(sa: IkeSa) -> list[Payload]:
    """MOBIKE_SUPPORTED (RFC 4555 3.1) of the initiator, where our identity would be the same elsewhere."""
    return [NotifyPayload(NotifyType.MOBIKE_SUPPORTED)] if resumable.lasts(sa.local_id, sa.pad.local_id) else []


def agree(sa: IkeSa, message: Message) -> None:
    """The responder's answer to our offer."""
    sa.lineage.moves = bool(offer(sa)) and message.notify(NotifyType.MOBIKE_SUPPORTED) is not None


# rfc 4555: announce
def answer(sa: IkeSa, message: Message) -> list[Payload]:
    """MOBIKE_SUPPORTED of the responder, where the policy would have this peer elsewhere too."""
    somewhere = sa.pad.remote.length < BITS[sa.pad.remote.family]
    asked = message.notify(NotifyType.MOBIKE_SUPPORTED) is not None
    sa.lineage.follows = asked and somewhere and resumable.lasts(sa.remote_id, sa.pad.remote_id)
    return [NotifyPayload(NotifyType.MOBIKE_SUPPORTED)] if sa.lineage.follows else []


# The host that moves


def stay(ctx: Context, sa: IkeSa) -> bool:
    """The policy no longer has the local address of an IKE SA. Have it wait for the next one, if it can move."""
    lineage, there = sa.lineage, sa.remote.address
    if any(there in lasts.values() for lasts in ctx.store.elsewhere.redirected.values()):
        return False  # it is the gateway that has another place
    if not lineage.moves or lineage.current is not sa or sa.state is not IkeState.ESTABLISHED:
        return False
    if ctx.store.elsewhere.homeless.get(there) is not lineage:
        ctx.store.elsewhere.homeless[there] = lineage
        ctx.timers.set((TimerKind.HOMELESS, lineage), ctx.now + limits.HOMELESS)
    for child in lineage.children.values():
        protect = ctx.index.protect(child.reqid)
        if child.sends and protect is not None and protect.tunnel is not None and protect.tunnel[1] == there:
            want = ctx.demand.add(WantKey(child.reqid, *protect.tunnel, child.agreed.selector), None, ctx.now)
            ctx.agenda.orphans += [want] if want is not None else []
    return True


def home(ctx: Context, lineage: Lineage) -> None:
    """It has an address."""
    ctx.timers.cancel((TimerKind.HOMELESS, lineage))
    if ctx.store.elsewhere.homeless.get(lineage.remote.address) is lineage:
        del ctx.store.elsewhere.homeless[lineage.remote.address]


def homeless(ctx: Context, lineage: Lineage) -> None:
    """No other address has come for long."""
    home(ctx, lineage)
    if lineage.current is not None:
        lifecycle.delete(ctx, lineage.current, "its address is gone, and there is no other")


def move(ctx: Context, local: Address, remote: Address, pad: PadEntry) -> IkeSa | None:
    """Traffic with a peer leaves from this address: an IKE SA that has lost its own goes on here. None: there is none.

    So the kernel's choice of source addresses is ours too.
    """
    lineage = ctx.store.elsewhere.homeless.get(remote)
    sa = lineage.current if lineage is not None else None
    if lineage is None or sa is None or sa.state is not IkeState.ESTABLISHED or pad.peers != sa.pad.peers:
        return None
    home(ctx, lineage)
    ctx.tell(path_notices.moved(sa, "we are", sa.local.address, local))
    _go(ctx, sa, Endpoint(local, sa.local.port), sa.remote, pad)
    sa.tasks.insert(0, Task(TaskKind.MOVE))
    lifecycle.doom(ctx, lineage, *lineage.children.values())
    if sa.window.busy:
        sending.again(ctx, sa)
    ctx.touch(sa)
    return sa


def _go(ctx: Context, sa: IkeSa, local: Endpoint, remote: Endpoint, pad: PadEntry) -> None:
    ctx.store.move(sa.lineage, local, remote)
    for one in sa.lineage.ike_sas:
        one.pad = pad


# rfc 4555: update
def request(_ctx: Context, sa: IkeSa, _task: Task) -> list[Payload] | None:
    """UPDATE_SA_ADDRESSES (RFC 4555 3.5)."""
    disguised = sa.pad.main_mode.encapsulate
    hashes = nat.detection(sa.spi_i, sa.spi_r, sa.local, sa.remote, disguised=disguised)
    return [NotifyPayload(NotifyType.UPDATE_SA_ADDRESSES), *hashes]


def response(ctx: Context, sa: IkeSa, _task: Task, message: SealedMessage) -> None:
    """The peer has followed, or does not want us there: then everything is negotiated anew."""
    error = error_of(message)
    if error is not None:
        ctx.tell(path_notices.not_followed(sa, error.notify), sa.remote.address)
        lifecycle.delete(ctx, sa, "the peer does not take our new address", restart=True)
        return
    _see(ctx, sa, message)
    if sa.lineage.nat.encapsulates:
        sa.local = Endpoint(sa.local.address, NAT_T_PORT)
        if sa.remote.port != NAT_T_PORT:
            sa.remote = Endpoint(sa.remote.address, NAT_T_PORT)


# rfc 4555: nat-detection-again
def _see(ctx: Context, sa: IkeSa, message: SealedMessage) -> None:
    """What stands between us now."""
    forced = sa.pad.main_mode.encapsulate
    sa.lineage.nat = nat.detected(message, sa.local, sa.remote, forced=forced)
    keepalive.watch(ctx, sa.lineage)


# The host that follows


def receive(ctx: Context, sa: IkeSa, message: SealedMessage) -> list[Payload]:
    """What an INFORMATIONAL request says of addresses, and the answer to it. RefusalError: we stay where we are."""
    answers: list[Payload] = []
    if sa.lineage.follows and message.notify(NotifyType.UPDATE_SA_ADDRESSES) is not None:
        local, remote = sa.answer_to or (sa.local, sa.remote)
        _check_path(message, local, remote)
        _follow(ctx, sa, local, remote)
        _see(ctx, sa, message)
        answers += nat.detection(sa.spi_i, sa.spi_r, local, remote, disguised=sa.pad.main_mode.encapsulate)
    cookie = message.notify(NotifyType.COOKIE2)
    if cookie is not None and len(cookie.data) in _COOKIES:
        answers.append(NotifyPayload(NotifyType.COOKIE2, cookie.data))
    return answers


# rfc 4555: no-nats-allowed
def _check_path(message: SealedMessage, local: Endpoint, remote: Endpoint) -> None:
    """NO_NATS_ALLOWED names the addresses and ports that the message was sent with (RFC 4555 3.9, 4.2.6)."""
    sent = message.notify(NotifyType.NO_NATS_ALLOWED)
    came = remote.address.packed + local.address.packed + remote.port.to_bytes(2) + local.port.to_bytes(2)
    if sent is not None and sent.data != came:
        raise RefusalError(NotifyType.UNEXPECTED_NAT_DETECTED)


# rfc 4555: update
def _follow(ctx: Context, sa: IkeSa, local: Endpoint, remote: Endpoint) -> None:
    """The peer has another address, if the policy has this peer there too."""
    if (local.address, remote.address) == (sa.local.address, sa.remote.address):
        sa.local, sa.remote = local, remote
        return
    pad, current = ctx.index.pad(local.address, remote.address), sa.lineage.current
    usable = pad is not None and pad.peers == sa.pad.peers and resumable.lasts(sa.remote_id, pad.remote_id)
    tunnels = any(one.agreed.protect.tunnel for one in sa.lineage.children.values())
    if pad is None or current is None or not usable or tunnels:
        ctx.tell(path_notices.not_following(sa, remote.address), sa.remote.address)
        raise RefusalError(NotifyType.UNACCEPTABLE_ADDRESSES)
    ctx.tell(path_notices.moved(sa, "the peer is", sa.remote.address, remote.address))
    _go(ctx, sa, local, remote, pad)
    # Not that by which it says so: one that has been replaced asks nothing any more. What waits to be asked goes there.
    if all(task.kind is not TaskKind.ROUTABLE for task in current.tasks):
        current.tasks.insert(0, Task(TaskKind.ROUTABLE))
    lifecycle.doom(ctx, sa.lineage, *sa.lineage.children.values())
    ctx.touch(current)


# rfc 4555: cookie2
def unproven(lineage: Lineage) -> bool:
    """Has its peer not answered yet from where it says to be? Anybody's address may stand there until then: nothing is
    made for it, or who has proved to be somebody could take the packets of whomever it names.
    """
    return any(
        task.kind is TaskKind.ROUTABLE for sa in lineage.ike_sas for task in (sa.task, *sa.tasks) if task is not None
    )


# rfc 4555: cookie2
def ask_path(ctx: Context, _sa: IkeSa, task: Task) -> list[Payload] | None:
    """COOKIE2: does what we send reach the peer at its new address (RFC 4555 3.7)? Silence ends the IKE SA."""
    task.cookie = ctx.entropy(_COOKIE)
    return [NotifyPayload(NotifyType.COOKIE2, task.cookie)]


def path_answered(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """Only who has received the request knows the cookie."""
    cookie = message.notify(NotifyType.COOKIE2)
    if cookie is None or not hmac.compare_digest(cookie.data, task.cookie):
        ctx.tell(path_notices.not_following(sa, sa.remote.address), sa.remote.address)
        lifecycle.delete(ctx, sa, "the peer does not prove its new address")
    elif (waiting := ctx.store.learnt.waiting.pop(sa, None)) is not None:
        waiting.resume()
