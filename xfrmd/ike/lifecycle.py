# SPDX-License-Identifier: GPL-2.0-or-later
"""How SAs change state and end: deadlines of every state, removal in the safe order, what happens to open demands."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Final, NamedTuple

from xfrmd import limits
from xfrmd.ike import dynamic, notices, wants
from xfrmd.ike.child_sa import ChildSa, ChildState
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.demand import Want
from xfrmd.ike.effects import InstallSa, RemoveSa
from xfrmd.ike.ike_sa import IkeSa, IkeState, Lineage, Task, TaskKind
from xfrmd.limits import floods
from xfrmd.model.proposals import ProtocolId


class StateRow(NamedTuple):
    """How long an IKE SA may be in a state. The deadline's function stands in v2/transitions.py."""

    seconds: float | None
    """None: the lifetime that was agreed for the SA, or less where the peer's authentication ends."""
    story: str


STATES: Final = {
    IkeState.CONNECTING: StateRow(limits.NEGOTIATION_LIFETIME, "asked the peer for an IKE SA"),
    IkeState.HALF_OPEN: StateRow(floods.HALF_OPEN_LIFETIME, "answered somebody who has proved nothing yet"),
    IkeState.AUTHENTICATING: StateRow(limits.NEGOTIATION_LIFETIME, "proved ourselves, waits for the peer's proof"),
    IkeState.ESTABLISHED: StateRow(None, "both are authenticated"),
    IkeState.REPLACED: StateRow(limits.REPLACED_LIFETIME, "has a successor, the peer is to delete it"),
    IkeState.DELETING: StateRow(limits.NEGOTIATION_LIFETIME, "told the peer that it ends"),
    IkeState.CLOSED: StateRow(limits.CLOSED_LINGER, "only repeats its last response"),
}


def enter(ctx: Context, sa: IkeSa, state: IkeState) -> None:
    """Change the state of an IKE SA and set the deadline of the new one."""
    sa.enter(state)
    set_deadline(ctx, sa)
    if ctx.store.learnt.waiting.pop(sa, None) is not None:
        ctx.timers.cancel((TimerKind.REVOCATION, sa))


def begin(ctx: Context, sa: IkeSa, state: IkeState) -> None:
    """Take in a new IKE SA."""
    sa.begin(state)
    ctx.store.add(sa)
    set_deadline(ctx, sa)


def set_deadline(ctx: Context, sa: IkeSa) -> None:
    """Set the deadline of the state."""
    ctx.changed[sa.lineage] = None
    seconds = STATES[sa.state].seconds
    end = min(sa.settled + sa.lifetime, sa.lineage.believed_until) if seconds is None else ctx.now + seconds
    ctx.timers.set((TimerKind.STATE, sa), end)


# rfc 5723: fresh-keys
# rfc 7296: lifetimes-own
def plan_rekey(ctx: Context, sa: IkeSa) -> None:
    """Set the time to rekey an IKE SA: a random moment before its lifetime ends. One without a key exchange of its own
    gets one soon, from the end that resumed it if that does.
    """
    seconds = soft(ctx, sa.lifetime)
    if sa.handshake is not None and sa.handshake.session is not None:
        seconds = min(seconds, limits.RESUMED_REKEY * (1 + ctx.random() + (not sa.initiator)))
    ctx.timers.set((TimerKind.REKEY_IKE, sa), ctx.now + seconds)


def soft(ctx: Context, hard: int) -> float:
    """The soft lifetime that goes with a hard one, at random a little earlier; 0 stays 0."""
    return hard * limits.SOFT_SHARE * (1 - limits.REKEY_JITTER * ctx.random())


def close(ctx: Context, sa: IkeSa, *, linger: bool = True, restart: bool = False) -> None:
    """End an IKE SA, and its child SAs unless another IKE SA has inherited them, which one that ends itself has not.

    `linger`: keep it to repeat its last response, and take late packets for which others carry on. `restart`: demands
    that it was to fulfil start anew, else they fail.
    """
    if sa.state is IkeState.CLOSED:
        return
    ctx.timers.cancel((TimerKind.RETRANSMIT, sa))
    ctx.timers.cancel((TimerKind.REKEY_IKE, sa))
    ctx.timers.cancel((TimerKind.EMPTY, sa))
    enter(ctx, sa, IkeState.CLOSED)
    sa.window.answered()
    ctx.agenda.pace.over(sa)
    ctx.store.leave(sa)
    if not sa.lineage.ike_sas:
        ctx.timers.cancel((TimerKind.REAUTH, sa.lineage))
    heir = sa.lineage.current
    if heir is None:
        for child in list(sa.lineage.children.values()):
            retire(ctx, sa.lineage, child, linger=linger and give_place(ctx, child))
    _scatter(ctx, sa, heir, restart=restart)
    sa.handshake = sa.task = sa.rival = None
    sa.tasks.clear()
    if not linger:
        forget(ctx, sa)


def forget(ctx: Context, sa: IkeSa) -> None:
    """A closed IKE SA is gone for good."""
    ctx.timers.cancel((TimerKind.STATE, sa))
    ctx.store.forget(sa)


# rfc 7296: children-inherited
def replace(ctx: Context, old: IkeSa, new: IkeSa) -> None:
    """`new` is the IKE SA of the lineage from now on; what `old` had still to do goes there."""
    new.lineage.current = new
    new.lineage.quick_modes, new.lineage.full = 0, False
    ctx.timers.cancel((TimerKind.REKEY_IKE, old))
    moving = [task for task in old.tasks if task.kind in _MOVABLE]
    old.tasks.clear()
    _hand_on(new, moving)
    if new.lineage.renews:
        new.tasks.append(Task(TaskKind.TICKET))
    ctx.touch(new)


def delete(ctx: Context, sa: IkeSa, why: str, *, reason: int = 0, restart: bool = False) -> None:
    """Begin to delete an IKE SA: its child SAs go at once unless inherited, the peer is told."""
    if sa.state in (IkeState.CLOSED, IkeState.DELETING):
        return
    if sa.state in (IkeState.CONNECTING, IkeState.HALF_OPEN):
        close(ctx, sa, linger=False, restart=restart)
        return
    lineage = sa.lineage
    if lineage.current is sa:
        ctx.tell(notices.ike_down(sa, why))
        lineage.current = next((other for other in lineage.ike_sas if other is not sa and other.lives), None)
    if lineage.current is None:
        for child in list(lineage.children.values()):
            retire(ctx, lineage, child)
    ctx.timers.cancel((TimerKind.REKEY_IKE, sa))
    _scatter(ctx, sa, lineage.current, restart=restart)
    sa.tasks.clear()
    sa.tasks.append(Task(TaskKind.DELETE_IKE, reason=reason))
    enter(ctx, sa, IkeState.DELETING)
    ctx.touch(sa)


# rfc 7296: rekey-then-delete
def promote(ctx: Context, child: ChildSa) -> None:
    """An AWAITED child SA sends from now on: the peer is ready or has had its time. The one that it replaces no longer
    does, and is deleted by the peer if this one is its rekey, else by us.
    """
    ctx.timers.cancel((TimerKind.SUCCESSOR, child))
    if child.state is not ChildState.AWAITED or child.pending_out is None:
        return
    _changed(ctx, child)
    ctx.out.append(InstallSa(child.pending_out))
    child.pending_out = None
    child.enter(ChildState.INSTALLED)
    wants.release(ctx, child)
    # One of these may be too many, and hand its traffic over only now.
    ctx.agenda.idle.update(dict.fromkeys(ctx.store.lineages(child.local, child.remote)))
    old, child.predecessor = child.predecessor, None
    lineage = ctx.store.lineage_of(old) if old is not None else None
    if old is not None and old.successor is child:
        silence(ctx, old)
    elif old is not None and lineage is not None:
        doom(ctx, lineage, old)


def silence(ctx: Context, child: ChildSa) -> None:
    """A successor sends in place of this child SA, which only takes packets until the peer deletes it."""
    _changed(ctx, child)
    if child.sends:
        ctx.out.append(RemoveSa(child.protocol, child.spi_out, child.local, child.remote))
        child.enter(ChildState.SILENT)


def stop_sending(ctx: Context, child: ChildSa) -> None:
    """Take the outbound SA of a child SA out of the kernel, if it is there."""
    _changed(ctx, child)
    if child.sends:
        ctx.out.append(RemoveSa(child.protocol, child.spi_out, child.local, child.remote))
    child.pending_out = None
    ctx.timers.cancel((TimerKind.SUCCESSOR, child))


def hand_over(ctx: Context, lineage: Lineage, child: ChildSa) -> None:
    """Another IKE SA is to have the traffic of a child SA: it makes one for it, if it has none."""
    for other in ctx.store.children(child.local, child.remote, child.reqid):
        home = ctx.store.lineage_of(other)
        stays = home is not None and home is not lineage and not home.term.aging and not home.doubtful
        if stays and other.sends and other.selectors == child.selectors:
            doom(ctx, lineage, child)
            return
    wants.move(ctx, child)
    want = ctx.demand.find(wants.key_of(child))
    if want is not None and lineage.term.aging:
        want.whole = True  # a ticket proves nothing


def doom(ctx: Context, lineage: Lineage, *children: ChildSa) -> None:
    """Stop sending with child SAs and tell the peer to delete them; inbound stays until it has."""
    doomed = tuple(child for child in children if child.state not in _DONE)
    for child in doomed:
        stop_sending(ctx, child)
        child.enter(ChildState.DELETING)
    if doomed and lineage.current is not None:
        lineage.current.tasks.append(Task(TaskKind.DELETE_CHILD, doomed=doomed))
        ctx.touch(lineage.current)


def take_in(ctx: Context, lineage: Lineage, child: ChildSa, inbound: InstallSa) -> None:
    """A new child SA, as far as taking packets goes: its filter if the plan has none, then its inbound SA."""
    dynamic.cover(ctx, child)
    ctx.store.add_child(lineage, child)
    _changed(ctx, child)
    ctx.out.append(inbound)


def disown(ctx: Context, sa: IkeSa, protocol: ProtocolId, spi: bytes) -> None:
    """The peer has made a child SA that we do not take: have it deleted there (RFC 7296 1.3.1)."""
    sa.tasks.append(Task(TaskKind.DELETE_CHILD, spis=(spi,), protocol=protocol))
    ctx.touch(sa)


def retire(ctx: Context, lineage: Lineage, child: ChildSa, *, linger: bool = False) -> None:
    """Both ends have deleted a child SA. `linger`: a successor carries on, so late packets are still taken."""
    stop_sending(ctx, child)
    ctx.store.leave_child(lineage, child)
    dynamic.left(ctx, child)
    if not lineage.children:
        ctx.agenda.idle[lineage] = None
    if linger:
        child.enter(ChildState.LINGERING)
        ctx.timers.set((TimerKind.LINGER, child), ctx.now + limits.OLD_SA_LINGER)
    else:
        drop_inbound(ctx, child)


def give_place(ctx: Context, child: ChildSa) -> bool:
    """The peer knows that a child SA ends, so it is ready for what waits for its place. Does another one carry on?"""
    others = [one for one in ctx.store.children(child.local, child.remote, child.reqid) if one is not child]
    for other in others:
        if other.selectors == child.selectors and other.predecessor in (None, child):
            promote(ctx, other)
    return any(other.sends for other in others)


def drop_inbound(ctx: Context, child: ChildSa) -> None:
    """The last of a child SA leaves the kernel."""
    ctx.timers.cancel((TimerKind.LINGER, child))
    ctx.store.forget_child(child)
    if child.state is not ChildState.MADE:
        ctx.out.append(RemoveSa(child.protocol, child.spi_in, child.remote, child.local))
    if child.state is not ChildState.GONE:
        child.enter(ChildState.GONE)


def _changed(ctx: Context, child: ChildSa) -> None:
    lineage = ctx.store.lineage_of(child)
    if lineage is not None:
        ctx.changed[lineage] = None


_DONE: Final = (ChildState.DELETING, ChildState.LINGERING, ChildState.GONE)
_WHERE: Final = (TaskKind.MOVE, TaskKind.ROUTABLE)
"""Where an end is: nothing else makes sense to the other before it knows that."""
_MOVABLE: Final = (*_WHERE, TaskKind.NEW_CHILD, TaskKind.REKEY_CHILD, TaskKind.DELETE_CHILD)


# rfc 4555: update
def _hand_on(heir: IkeSa, tasks: Sequence[Task]) -> None:
    """Another IKE SA of the lineage does what is left to do."""
    for task in tasks:
        task.follow = None
    heir.tasks[:0] = [task for task in tasks if task.kind in _WHERE]
    heir.tasks.extend(task for task in tasks if task.kind not in _WHERE)


def _scatter(ctx: Context, sa: IkeSa, heir: IkeSa | None, *, restart: bool) -> None:
    """Find a new place for what an ending IKE SA had to do."""
    silent = sa.handshake is not None and not sa.handshake.answered
    heard = sa.handshake is not None and sa.handshake.answered
    for task in [task for task in (sa.task, *sa.tasks) if task is not None]:
        if task.child is not None and task.child.state is ChildState.REKEYING:
            task.child.enter(ChildState.INSTALLED)
        if heir is not None and heir is not sa and task.kind in _MOVABLE:
            # What is sent already stays as it is, so that its answer is known for one.
            _hand_on(heir, [copy(task) if task is sa.task else task])
            ctx.touch(heir)
        elif task.want is not None:
            task.want.heard |= heard
            _orphan(ctx, task.want, restart=restart, silent=silent)
    if sa.handshake is not None and sa.handshake.want is not None:
        sa.handshake.want.heard |= heard
        _orphan(ctx, sa.handshake.want, restart=restart, silent=silent)


def _orphan(ctx: Context, want: Want, *, restart: bool, silent: bool) -> None:
    if restart and want.tries < limits.WANT_TRIES:
        ctx.agenda.orphans.append(want)
    else:
        wants.fail(ctx, want, whole_peer=True, silent=silent)
