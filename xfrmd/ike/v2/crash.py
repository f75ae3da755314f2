# SPDX-License-Identifier: GPL-2.0-or-later
"""Quick crash detection (RFC 6290): both ends give a token; who has lost the IKE SA shows its own in the clear."""

from __future__ import annotations

import hmac

from xfrmd import limits
from xfrmd.ike import lifecycle, notices, wants
from xfrmd.ike.context import Context
from xfrmd.ike.effects import SendDatagram
from xfrmd.ike.events import DatagramReceived
from xfrmd.ike.ike_sa import IkeSa, Task, TaskKind
from xfrmd.ike.journal import Count
from xfrmd.ike.v2.constants import NO_SPI, NotifyType, PayloadType
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import ClearMessage, Message, SealedMessage, build_clear
from xfrmd.ike.v2.payloads import NotifyPayload, Payload

_SEALED = (PayloadType.SK, PayloadType.SKF)


# rfc 6290: token-exchanged
def given(ctx: Context, sa: IkeSa) -> list[Payload]:
    """Our token for the peer to keep (RFC 6290 4.2); nothing where our secret would not outlive a crash."""
    token = ctx.store.tickets.tokens.make(sa.spi_i, sa.spi_r, initiator=sa.initiator)
    return [NotifyPayload(NotifyType.QUICK_CRASH_DETECTION, token)] if token else []


def taken(sa: IkeSa, message: Message) -> None:
    """Keep the peer's token, if an authentic message has one; a later one takes its place (RFC 6290 4.4)."""
    notify = message.notify(NotifyType.QUICK_CRASH_DETECTION)
    least, most = limits.TOKEN_SIZES
    if notify is not None and least <= len(notify.data) <= most:
        sa.peer_token = notify.data


def after_rekey(ctx: Context, old: IkeSa, new: IkeSa) -> None:
    """The SPIs are others, so is the token. The one who asked for the rekey knows both only now (RFC 6290 4.3)."""
    if old.peer_token and given(ctx, new):
        new.tasks.append(Task(TaskKind.RECOGNITION))
        ctx.touch(new)


def request(ctx: Context, sa: IkeSa, _task: Task) -> list[Payload] | None:
    """INFORMATIONAL with our token; None when there is none to give any more."""
    return given(ctx, sa) or None


def told(_ctx: Context, _sa: IkeSa, _task: Task, _message: SealedMessage) -> None:
    """The peer has it."""


# Who has lost the IKE SA


# rfc 6290: token-sent
# rfc 7296: invalid-ike-spi
def show(ctx: Context, header: Header, event: DatagramReceived) -> None:
    """Answer a request under an IKE SA that we do not have (RFC 6290 4.5), if it can be one."""
    if header.is_response or header.next_payload not in _SEALED or NO_SPI in (header.spi_i, header.spi_r):
        return
    ours = not header.from_initiator
    tokens = ctx.store.tickets.tokens.all(header.spi_i, header.spi_r, initiator=ours)
    # A stranger may turn the initiator's flag round, so that an IKE SA which we have is looked for in vain.
    if not tokens or any(ctx.store.ike_sa(spi) is not None for spi in (header.spi_i, header.spi_r)):
        return
    ctx.journal.count(Count.TOKENS)
    reply = Header.of(
        header.spi_i,
        header.spi_r,
        header.exchange,
        header.message_id,
        initiator=ours,
        response=True,
    )
    shown = [NotifyPayload(NotifyType.QUICK_CRASH_DETECTION, token) for token in tokens]
    octets = build_clear(reply, [NotifyPayload(NotifyType.INVALID_IKE_SPI), *shown])
    ctx.out.append(SendDatagram(event.local, event.remote, octets))


# Who still has it


# rfc 6290: token-taken
def believed(sa: IkeSa, message: ClearMessage) -> bool:
    """Does a message in the clear show the peer's token? Nobody else knows it."""
    if not sa.peer_token or message.encrypted is not None or message.notify(NotifyType.INVALID_IKE_SPI) is None:
        return False
    shown = [one.data for one in message.every(NotifyPayload) if one.notify == NotifyType.QUICK_CRASH_DETECTION]
    return any(hmac.compare_digest(one, sa.peer_token) for one in shown[: limits.TOKENS])


def end(ctx: Context, sa: IkeSa) -> None:
    """The peer has lost its SAs with us: ours go at once, traffic is held, and others are negotiated."""
    lineage = sa.lineage
    ctx.tell(notices.peer_crashed(sa), sa.remote.address)
    lost = [child for child in lineage.children.values() if child.sends]
    for one in list(lineage.ike_sas):
        lifecycle.close(ctx, one, linger=False, restart=True)
    for child in lost:
        key = wants.key_of(child)
        if ctx.demand.find(key) is None and (want := ctx.demand.add(key, None, ctx.now)) is not None:
            ctx.agenda.orphans.append(want)
