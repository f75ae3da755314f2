# SPDX-License-Identifier: GPL-2.0-or-later
"""Rekey of a child SA (RFC 7296 1.3.3, 2.8), also by both ends at once (2.8.1), without losing a packet.

Who asked for the new pair installs both directions when the answer comes, stops sending on the old pair and deletes it.
Who answered keeps sending on the old pair until the other has shown that it is ready: by deleting the old pair, by
packets on the new one, or by the passing of limits.SUCCESSOR_WAIT.
"""

from __future__ import annotations

from xfrmd import limits
from xfrmd.ike import lifecycle, notices, wants
from xfrmd.ike.child_sa import ChildSa, ChildState
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.ike_sa import IkeSa, Task, TaskKind
from xfrmd.ike.journal import Count
from xfrmd.ike.key_exchanges import Rekeyed
from xfrmd.ike.v2 import child as children
from xfrmd.ike.v2 import followup
from xfrmd.ike.v2.child import Made
from xfrmd.ike.v2.child_keys import sad_pair
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.create_child import AGAIN, other_method, refuse_while_busy, retry_later, takes_children
from xfrmd.ike.v2.message import SealedMessage
from xfrmd.ike.v2.payloads import NotifyPayload, Payload
from xfrmd.ike.v2.replies import RefusalError, error_of, granted

_GONE = (ChildState.DELETING, ChildState.LINGERING, ChildState.GONE)


def order(ctx: Context, child: ChildSa) -> None:
    """Have a child SA replaced; nothing happens when that is under way."""
    lineage = ctx.store.lineage_of(child)
    sa = lineage.current if lineage is not None else None
    if lineage is None or sa is None or child.state is not ChildState.INSTALLED or _succeeded(child):
        return
    if any(one.predecessor is child for one in ctx.store.children(child.local, child.remote, child.reqid)):
        return  # another IKE SA has made its successor
    if not takes_children(sa):  # qmpermm: the new pair is made under a new IKE SA, and the old one goes when it stands
        wants.move(ctx, child)
        return
    child.enter(ChildState.REKEYING)
    sa.tasks.append(Task(TaskKind.REKEY_CHILD, child=child))
    ctx.touch(sa)


# rfc 7296: rekey-names-sa rekey-same-traffic notify-spi
def request(ctx: Context, sa: IkeSa, task: Task) -> list[Payload] | None:
    """Ask for a successor; None when there is one already, or the SA is gone."""
    old = task.child
    if old is None or old.state in _GONE or _succeeded(old):
        _calm(old)
        return None
    protect = ctx.index.protect(old.reqid)
    if protect is None:
        lifecycle.doom(ctx, sa.lineage, old)
        return None
    old.successor = None  # one that was deleted has nothing to do with what we ask for now
    if old.state is ChildState.INSTALLED:
        old.enter(ChildState.REKEYING)
    sa.lineage.quick_modes += 1
    notify = NotifyPayload(NotifyType.REKEY_SA, b"", old.protocol, old.spi_in.to_bytes(4))
    return [notify, *children.propose(ctx, sa, task, old.agreed._replace(protect=protect))]


def response(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """The successor, or the reason why there is none."""
    old = task.child
    assert old is not None
    if followup.loses(ctx, sa, task, message, old.successor.lowest_nonce if old.successor is not None else b""):
        _calm(old)
        retry_later(ctx, sa, task)  # should nothing come of the peer's
        return
    if followup.needed(sa, task, message):
        return
    if not granted(message):
        _refused(ctx, sa, task, message)
        return
    try:
        made = children.accept(ctx, sa, task, message)
    except RefusalError:
        _calm(old)
        return
    if made.child.spi_out in task.stillborn:
        _calm(old)
        return
    rival = old.successor
    inbound, outbound = sad_pair(ctx, sa, *made)
    new = made.child
    lifecycle.take_in(ctx, sa.lineage, new, inbound)
    if rival is not None and new.lowest_nonce < rival.lowest_nonce:
        # Ours is the redundant one: the peer deletes the old one, we this. It may have rekeyed its own since then.
        new.enter(ChildState.AWAITED)
        _calm(old)
        lifecycle.doom(ctx, sa.lineage, new)
        return
    ctx.out.append(outbound)
    new.enter(ChildState.INSTALLED)
    wants.release(ctx, new)
    if rival is not None:  # the peer deletes it; until then it takes packets, but we do not send with it
        rival.pending_out = rival.predecessor = None
        ctx.timers.cancel((TimerKind.SUCCESSOR, rival))
    ctx.journal.count(Count.REKEYED_CHILD_SAS)
    ctx.tell(notices.child_rekeyed(sa, new))
    lifecycle.doom(ctx, sa.lineage, old)


def _refused(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    old = task.child
    assert old is not None
    error = error_of(message)
    notify = NotifyType.NO_PROPOSAL_CHOSEN if error is None else NotifyType(error.notify)
    children.decline(ctx, sa, task, message)
    if old.state in _GONE or _succeeded(old):
        _calm(old)  # the peer was quicker: nothing is missing
    elif notify in AGAIN:
        retry_later(ctx, sa, task)
    elif notify == NotifyType.INVALID_KE_PAYLOAD and error is not None and other_method(task, error):
        sa.tasks.insert(0, task)
    elif notify == NotifyType.CHILD_SA_NOT_FOUND:
        _lost(ctx, sa, old)
    elif notify == NotifyType.NO_ADDITIONAL_SAS:
        sa.lineage.full = True
        _calm(old)
        order(ctx, old)
    else:
        _calm(old)
        ctx.tell(notices.hold_off(sa, "a child SA", notify.name), sa.remote.address)


# rfc 7296: child-not-found
def _lost(ctx: Context, sa: IkeSa, old: ChildSa) -> None:
    """The peer does not have the SA (RFC 7296 2.25.1): neither shall we; a new one takes its place at once."""
    key = wants.key_of(old)
    lifecycle.retire(ctx, sa.lineage, old)
    want = ctx.demand.find(key) or ctx.demand.add(key, None, ctx.now)
    if want is not None:
        ctx.agenda.orphans.append(want)


def _succeeded(old: ChildSa) -> bool:
    """Has the peer's rekey replaced it? Not if what that made was deleted before its turn came."""
    return old.successor is not None and old.successor.state not in _GONE


def _calm(old: ChildSa | None) -> None:
    if old is not None and old.state is ChildState.REKEYING:
        old.enter(ChildState.INSTALLED)


# rfc 7296: rekey-names-sa child-not-found
def receive(ctx: Context, sa: IkeSa, message: SealedMessage) -> list[Payload]:
    """The peer wants a successor for a child SA."""
    refuse_while_busy(sa)
    named = message.notify(NotifyType.REKEY_SA)
    assert named is not None
    old = ctx.store.child_of(sa.lineage, named.protocol, named.spi)
    if old is None and sa.task is not None and sa.task.kind in (TaskKind.NEW_CHILD, TaskKind.REKEY_CHILD):
        raise RefusalError(NotifyType.TEMPORARY_FAILURE)  # it may be what we have asked for, and the answer was lost
    if old is None:
        missing = NotifyPayload(NotifyType.CHILD_SA_NOT_FOUND, b"", named.protocol, named.spi)
        raise RefusalError(NotifyType.CHILD_SA_NOT_FOUND, payloads=(missing,))
    if old.state in _GONE or _succeeded(old):
        raise RefusalError(NotifyType.TEMPORARY_FAILURE)
    made, payloads = children.answer(ctx, sa, message, old)

    def finish(more: bytes) -> None:
        refuse_while_busy(sa)
        if old.state in _GONE or _succeeded(old):
            raise RefusalError(NotifyType.TEMPORARY_FAILURE)
        _await(ctx, sa, old, children.completed(ctx, made, more))

    rekeyed = Rekeyed(old, made.child.lowest_nonce)
    return followup.answer(ctx, sa, made.child.suite.additional, payloads, finish, rekeyed=rekeyed)


def _await(ctx: Context, sa: IkeSa, old: ChildSa, made: Made) -> None:
    """Take packets on the new pair from now on, and send with it as soon as the peer is known to be ready."""
    inbound, outbound = sad_pair(ctx, sa, *made)
    new = made.child
    lifecycle.take_in(ctx, sa.lineage, new, inbound)
    new.enter(ChildState.AWAITED)
    new.pending_out = outbound.sa
    old.successor, new.predecessor = new, old
    ctx.timers.set((TimerKind.SUCCESSOR, new), ctx.now + limits.SUCCESSOR_WAIT)
    ctx.journal.count(Count.REKEYED_CHILD_SAS)
    ctx.tell(notices.child_rekeyed(sa, new))
