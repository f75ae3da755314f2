# SPDX-License-Identifier: GPL-2.0-or-later
"""CREATE_CHILD_SA for a new child SA (RFC 7296 1.3.1)."""

from __future__ import annotations

from typing import Final

from xfrmd import limits
from xfrmd.ike import narrow, refusals, select, wants
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.ike_sa import IkeSa, IkeState, Task, TaskKind
from xfrmd.ike.learnt import PostponedError
from xfrmd.ike.narrow import Agreed
from xfrmd.ike.v2 import child, crossing, followup, mobike, offers, siblings
from xfrmd.ike.v2.child_keys import sad_pair
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.message import SealedMessage
from xfrmd.ike.v2.payloads import NotifyPayload, Payload
from xfrmd.ike.v2.replies import RefusalError, error_of, granted
from xfrmd.model.proposals import Transform, TransformType

AGAIN: Final = (NotifyType.TEMPORARY_FAILURE, NotifyType.STATE_NOT_FOUND)
"""Refusals after which the same request may find a peer with time for it."""


def propose_want(ctx: Context, sa: IkeSa, task: Task) -> list[Payload] | None:
    """The payloads that ask for what traffic wants; None when nobody wants it any more."""
    want = task.want
    if want is None or ctx.demand.find(want.key) is not want:
        return None
    protect = ctx.index.protect(want.key.reqid)
    if protect is None:
        wants.fail(ctx, want, whole_peer=False)
        return None
    sa.lineage.quick_modes += 1
    region = want.key.region
    return child.propose(ctx, sa, task, Agreed(protect, region, narrow.offer(region, want.packet)))


def request(ctx: Context, sa: IkeSa, task: Task) -> list[Payload] | None:
    """Ask for a child SA under an established IKE SA, unless it takes no more."""
    if not takes_children(sa):
        if task.want is not None:
            ctx.agenda.orphans.append(task.want)
        return None
    return propose_want(ctx, sa, task)


def takes_children(sa: IkeSa) -> bool:
    """May we ask for one more child SA under this IKE SA (Windows `qmpermm`, NO_ADDITIONAL_SAS)?"""
    limit = sa.pad.main_mode.quick_modes
    return not sa.lineage.full and (limit == 0 or sa.lineage.quick_modes < limit)


# rfc 7296: failed-child-keeps-ike
def response(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """The child SA, or why there is none. The IKE SA stays either way."""
    if followup.needed(sa, task, message):
        return
    if not granted(message):
        refused_child(ctx, sa, task, message)
        return
    try:
        made = child.accept(ctx, sa, task, message)
    except RefusalError:
        if task.want is not None:
            wants.fail(ctx, task.want, whole_peer=False)
        return
    if made.child.spi_out in task.stillborn:
        if task.want is not None:
            ctx.agenda.orphans.append(task.want)
        return
    crossing.install(ctx, sa, made, sad_pair(ctx, sa, *made))


# rfc 7296: no-additional-sas
def refused_child(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """The peer makes no child SA: try again where that helps, else tell both sides' wishes and drop the packets."""
    error = error_of(message)
    notify = NotifyType.NO_PROPOSAL_CHOSEN if error is None else NotifyType(error.notify)
    child.decline(ctx, sa, task, message)
    want = task.want
    if notify in AGAIN:
        retry_later(ctx, sa, task)
    elif notify == NotifyType.INVALID_KE_PAYLOAD and error is not None and other_method(task, error):
        sa.tasks.insert(0, task)
    elif notify == NotifyType.NO_ADDITIONAL_SAS and want is not None:
        sa.lineage.full = True
        ctx.agenda.orphans.append(want)
    else:
        _tell_refusal(ctx, sa, task, message, notify)
        if want is not None:
            wants.fail(ctx, want, whole_peer=False)


def _tell_refusal(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage, notify: NotifyType) -> None:
    assert task.offer is not None
    if notify == NotifyType.NO_PROPOSAL_CHOSEN:
        ours = select.describe(task.offer.proposals)
        notice = refusals.proposal_refused(sa, "child SA", ours, offers.told(task.offer.proposals, message))
    else:
        proposed = task.offer.agreed.traffic.outbound if task.offer.agreed is not None else ()
        notice = refusals.child_refused(sa, notify, proposed, offers.told_traffic(message))
    ctx.tell(notice, sa.remote.address)


def other_method(task: Task, error: NotifyPayload) -> bool:
    """INVALID_KE_PAYLOAD (RFC 7296 1.3): may the task be sent again with the key exchange the peer asks for?"""
    assert task.offer is not None
    task.restarts += 1
    task.method = Transform(TransformType.KE, int.from_bytes(error.data))
    known = task.method in select.key_exchanges(task.offer.proposals) and task.method != task.offer.method
    return known and len(error.data) == 2 and task.restarts <= limits.INIT_RESTARTS


# rfc 7296: temporary-failure
def retry_later(ctx: Context, sa: IkeSa, task: Task) -> None:
    """TEMPORARY_FAILURE (RFC 7296 2.25): the peer is in the middle of something; ask again soon, not at once."""
    if task.kind is TaskKind.AUTH:  # the IKE SA stands, its child SA is asked for apart
        task = Task(TaskKind.NEW_CHILD, want=task.want)
    task.lineage, task.follow = sa.lineage, None
    ctx.timers.set((TimerKind.RETRY, task), ctx.now + limits.BUSY_RETRY * (1 + ctx.random()))


def retry(ctx: Context, task: Task) -> None:
    """The time to ask again has come: under the IKE SA that is current now."""
    current = task.lineage.current if task.lineage is not None else None
    if current is not None:
        current.tasks.append(task)
        ctx.touch(current)
    elif task.want is not None and ctx.demand.find(task.want.key) is task.want:
        ctx.agenda.orphans.append(task.want)


# rfc 7296: either-may-ask
def receive(ctx: Context, sa: IkeSa, message: SealedMessage) -> list[Payload]:
    """The peer wants a child SA. PostponedError: it is asked first whether it is where it says to be."""
    refuse_while_busy(sa)
    if mobike.unproven(sa.lineage):
        raise PostponedError("its new address is not proved yet")
    made, payloads = child.answer(ctx, sa, message)

    def finish(more: bytes) -> None:
        refuse_while_busy(sa)
        whole = child.completed(ctx, made, more)
        crossing.install_answer(ctx, sa, whole, sad_pair(ctx, sa, *whole))
        siblings.ask(ctx, sa, whole.child, message)

    return followup.answer(ctx, sa, made.child.suite.additional, payloads, finish)


# rfc 7296: temporary-failure
def refuse_while_busy(sa: IkeSa) -> None:
    """No child SA is made while the IKE SA is being rekeyed or deleted (RFC 7296 2.25.2)."""
    rekeying = sa.task is not None and sa.task.kind is TaskKind.REKEY_IKE
    if rekeying or sa.state is not IkeState.ESTABLISHED:
        raise RefusalError(NotifyType.TEMPORARY_FAILURE)
