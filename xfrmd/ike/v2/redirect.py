# SPDX-License-Identifier: GPL-2.0-or-later
"""Redirects (RFC 5685): a gateway sends those who come by a tunnel to another gateway.

Only tunnels can be redirected, only to gateways that the rule names by address, only by the gateway that was asked, and
only so often. The engine decides; where the tunnel ends is then a fact of the host, which the policy is compiled with.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from typing import Final

from xfrmd import limits
from xfrmd.ike import lifecycle, redirect_notices
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.demand import Want
from xfrmd.ike.effects import MoveTunnel
from xfrmd.ike.elsewhere import RedirectName
from xfrmd.ike.ike_sa import IkeSa, Task, TaskKind
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import ClearMessage, Message, SealedMessage
from xfrmd.ike.v2.payloads import NoncePayload, NotifyPayload, Payload
from xfrmd.ike.v2.replies import RefusalError
from xfrmd.model.addresses import Address
from xfrmd.model.pad import PadEntry

_TYPES: Final = {1: 4, 2: 6}
"""GW Ident Types of addresses (RFC 5685 7.2) and their IP versions; 3 is a name, which is not looked up."""
_SIZES: Final = {4: 4, 6: 16}


def _gateway(address: Address) -> bytes:
    """Type, length and octets of a gateway's address."""
    kind = next(number for number, family in _TYPES.items() if family == address.family)
    return bytes((kind, len(address.packed))) + address.packed


def _read(data: bytes) -> tuple[Address | None, bytes]:
    """The gateway that a REDIRECT names, None if that is no address, and what follows it."""
    if len(data) < 2 or len(data) < 2 + data[1]:
        return None, b""
    family, rest = _TYPES.get(data[0]), data[2 + data[1] :]
    if family is None or data[1] != _SIZES[family]:
        return None, rest
    return Address(family, int.from_bytes(data[2 : 2 + data[1]])), rest


# Who is sent


# rfc 5685: announce redirected-from
def announce(ctx: Context, sa: IkeSa) -> list[Payload]:
    """That we go where we are sent, or by whom we were sent here; nothing where the rule names no other gateways."""
    sa.lineage.led = bool(sa.pad.redirects)
    came = ctx.store.elsewhere.redirected.get(sa.remote.address)
    if not sa.lineage.led:
        return []
    if came is not None:
        return [NotifyPayload(NotifyType.REDIRECTED_FROM, _gateway(next(reversed(came.values()))))]
    return [NotifyPayload(NotifyType.REDIRECT_SUPPORTED)]


# rfc 5685: init-redirect
def in_init(ctx: Context, sa: IkeSa, message: ClearMessage) -> None:
    """A REDIRECT in the clear: it is from somebody who has seen our nonce."""
    if _follow(ctx, sa, message, sa.greeting.nonce_i):
        handshake = sa.greeting
        wants = [handshake.want, *(task.want for task in sa.tasks)]
        handshake.want = None
        sa.tasks.clear()
        lifecycle.close(ctx, sa, linger=False)
        _wait(ctx, wants)


# rfc 5685: auth-redirect
def in_auth(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> bool:
    """A gateway that has proved itself sends us elsewhere in the place of a child SA."""
    if message.notify(NotifyType.REDIRECT) is None or not _follow(ctx, sa, message):
        return False
    _wait(ctx, [task.want])
    lifecycle.delete(ctx, sa, "its gateway sends us to another one")
    return True


# rfc 5685: active
def told(ctx: Context, sa: IkeSa, message: SealedMessage) -> None:
    """A REDIRECT under an IKE SA that we began. What stands is deleted when the tunnel ends elsewhere."""
    if message.notify(NotifyType.REDIRECT) is not None and sa.lineage.current is sa:
        _follow(ctx, sa, message)


def _follow(ctx: Context, sa: IkeSa, message: Message, nonce: bytes = b"") -> bool:
    notify = message.notify(NotifyType.REDIRECT)
    assert notify is not None
    target, given = _read(notify.data)
    if nonce and not hmac.compare_digest(given, nonce):
        return False  # anybody's
    here = sa.remote.address
    ends = tuple(ctx.store.elsewhere.redirected.get(here, (here,)))
    why = _why_not(sa, target, ends, max((_hops(ctx, end) for end in ends), key=len))
    if why or target is None:
        ctx.whisper(redirect_notices.not_followed(sa, why), here)
        return False
    ctx.tell(redirect_notices.redirected(sa, target))
    _forget(ctx, here)
    for end in ends:
        _move(ctx, end, target if target in sa.pad.redirects else end, here)
    return True


def _hops(ctx: Context, end: Address) -> tuple[float, ...]:
    found = ctx.store.elsewhere.hops.get(end, ())
    return tuple(at for at in found if ctx.now - at < limits.REDIRECT_PERIOD)


def _move(ctx: Context, end: Address, target: Address, last: Address) -> None:
    """Tunnels to an end of the policy go to this gateway from now on, as the last one has said."""
    found = ctx.store.elsewhere
    found.hops[end] = (*_hops(ctx, end), ctx.now)
    if target != end:
        there = found.redirected.setdefault(target, {})
        there.pop(end, None)
        there[end] = last
        ctx.changed[RedirectName(target, end)] = None
    ctx.out.append(MoveTunnel(end, target))


# rfc 5685: only-trusted loops
def _why_not(sa: IkeSa, target: Address | None, ends: Sequence[Address], hops: tuple[float, ...]) -> str:
    if not sa.lineage.led:
        return "the rule names no other gateways"
    if target is None:
        return "it does not name the gateway by its address"
    if target == sa.remote.address or target not in (*sa.pad.redirects, *ends):
        return f"the rule does not name {target}"
    if len(hops) >= limits.REDIRECTS:
        return f"{len(hops)} redirects in {limits.REDIRECT_PERIOD:.0f} s are enough"
    return ""


def _wait(ctx: Context, wants: Iterable[Want | None]) -> None:
    """What traffic wants follows the tunnel; if that stays where it is, the gateway is asked once more."""
    for want in wants:
        if want is not None:
            ctx.timers.set((TimerKind.RETRY, Task(TaskKind.NEW_CHILD, want=want)), ctx.now + limits.REDIRECT_WAIT)


def lost(ctx: Context, sa: IkeSa) -> None:
    """The gateway of an IKE SA is of no use. All tunnels that were sent there end where the policy says again."""
    for end in _forget(ctx, sa.remote.address):
        ctx.tell(redirect_notices.back(sa, end))
        ctx.out.append(MoveTunnel(end, end))


def _forget(ctx: Context, gateway: Address) -> tuple[Address, ...]:
    """No tunnel was sent to this gateway any more; the ends of the policy of those that were."""
    ends = tuple(ctx.store.elsewhere.redirected.pop(gateway, ()))
    ctx.changed.update(dict.fromkeys(RedirectName(gateway, end) for end in ends))
    return ends


# Who sends


def hear(sa: IkeSa, message: Message) -> None:
    """Does the peer go where it is sent?"""
    kinds = (NotifyType.REDIRECT_SUPPORTED, NotifyType.REDIRECTED_FROM)
    sa.lineage.leads = any(message.notify(kind) is not None for kind in kinds)


def sends_away(pad: PadEntry, message: ClearMessage) -> bool:
    """Is whoever begins like this to be sent elsewhere?"""
    came = message.notify(NotifyType.REDIRECTED_FROM)
    asked = came is not None or message.notify(NotifyType.REDIRECT_SUPPORTED) is not None
    back = came is not None and _read(came.data)[0] == pad.redirect_to
    return pad.redirect_to is not None and asked and not back


# rfc 5685: init-redirect loops
def send_away(pad: PadEntry, message: ClearMessage) -> None:
    """Refuse an IKE_SA_INIT by a REDIRECT, where the rule says so and the peer understands it. Who was sent here by the
    gateway that it would be sent to is served.
    """
    nonce = message.first(NoncePayload)
    if pad.redirect_to is None or nonce is None or not sends_away(pad, message):
        return
    data = _gateway(pad.redirect_to) + nonce.data
    raise RefusalError(NotifyType.REDIRECT, payloads=(NotifyPayload(NotifyType.REDIRECT, data),))


def plan_changed(ctx: Context, sa: IkeSa) -> None:
    """The policy may want peers elsewhere that are here already."""
    if sa.pad.redirect_to is not None and sa.lineage.leads and not sa.initiator and sa.lineage.current is sa:
        sa.lineage.leads = False
        sa.tasks.append(Task(TaskKind.REDIRECT))
        ctx.touch(sa)


# rfc 5685: active
def request(_ctx: Context, sa: IkeSa, _task: Task) -> list[Payload] | None:
    """INFORMATIONAL with a REDIRECT; None when the policy has changed its mind."""
    to = sa.pad.redirect_to
    return [NotifyPayload(NotifyType.REDIRECT, _gateway(to))] if to is not None else None


def response(_ctx: Context, _sa: IkeSa, _task: Task, _message: SealedMessage) -> None:
    """It knows. Whether it goes is its own affair: it deletes the IKE SA then."""
