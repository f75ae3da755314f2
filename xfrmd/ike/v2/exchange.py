# SPDX-License-Identifier: GPL-2.0-or-later
"""The way of a message through the rows of transitions.py, and of our own requests out of the queue."""

from __future__ import annotations

from xfrmd import limits
from xfrmd.errors import RemoteProtocolError
from xfrmd.ike import enquiries, kernel_events, lifecycle, mapping, notices
from xfrmd.ike.context import Context
from xfrmd.ike.events import DatagramReceived
from xfrmd.ike.ike_sa import IkeSa, IkeState, Task, TaskKind
from xfrmd.ike.journal import Count
from xfrmd.ike.learnt import PostponedError
from xfrmd.ike.v2 import (
    cardinality,
    crash,
    crossing,
    fatal,
    fragments,
    informational,
    init,
    intermediate,
    rekey_ike,
    resume,
    sending,
)
from xfrmd.ike.v2.constants import ExchangeType, NotifyType, PayloadType
from xfrmd.ike.v2.fragments import Reassembly
from xfrmd.ike.v2.header import Header
from xfrmd.ike.v2.message import ClearMessage, Message, SealedMessage, parse_clear
from xfrmd.ike.v2.payloads import SkfPayload
from xfrmd.ike.v2.replies import RefusalError, answer_of
from xfrmd.ike.v2.transitions import DEADLINE_ROWS, GIVE_UP, REQUEST_ROWS, RequestRow, row_of
from xfrmd.ike.window import Arrival

_LISTENING = (IkeState.HALF_OPEN, IkeState.ESTABLISHED, IkeState.REPLACED, IkeState.DELETING)
"""States in which requests are taken. One that overtakes the response to our IKE_AUTH will come again."""
_EXCHANGES = (
    ExchangeType.IKE_INTERMEDIATE,
    ExchangeType.IKE_AUTH,
    ExchangeType.CREATE_CHILD_SA,
    ExchangeType.IKE_FOLLOWUP_KE,
    ExchangeType.INFORMATIONAL,
)
_STILL_COUNTS = (TaskKind.REKEY_IKE, TaskKind.DELETE_IKE, TaskKind.DELETE_CHILD)
"""Tasks whose response has consequences though we have decided to delete the IKE SA."""


# rfc 7296: responder-only-on-repeat answers-while-waiting
def receive(ctx: Context, sa: IkeSa, header: Header, event: DatagramReceived) -> None:
    """A datagram with the SPIs of an IKE SA. RemoteProtocolError: nothing followed from it."""
    if header.from_initiator == sa.initiator:
        raise RemoteProtocolError("a message with our own role")
    if sa.handshake is not None:
        sa.handshake.answered = True
    if header.is_response:
        if sa.window.awaits(header.message_id):
            _response(ctx, sa, header, event)
        else:
            ctx.journal.count(Count.WINDOW)
        return
    arrival = sa.window.judge(header.message_id, event.data)
    if arrival is Arrival.REPEATED:
        ctx.journal.count(Count.REPEATED)
        ctx.send(sa, sa.window.response, (event.local, event.remote))
    elif arrival is Arrival.NEW and sa in ctx.store.learnt.waiting:
        ctx.journal.count(Count.REPEATED)  # the same again: the first one waits to be judged
    elif arrival is Arrival.NEW and sa.state in _LISTENING:
        _request(ctx, sa, header, event)
    elif arrival is Arrival.STALE and sa.window.answers(header.message_id) and header.next_payload == PayloadType.SKF:
        _cut_anew(ctx, sa, event)
    else:
        ctx.journal.count(Count.WINDOW)


# rfc 7383: replay-response
def _cut_anew(ctx: Context, sa: IkeSa, event: DatagramReceived) -> None:
    """The last request once more, in other fragments: its first one gets the same response."""
    clear, channel = parse_clear(event.data), sa.channel
    if sa.handshake is not None:
        channel = sa.handshake.intermediate.before or channel  # the request came under the keys before our response
    if channel is None or not isinstance(clear.encrypted, SkfPayload) or clear.encrypted.number != 1:
        ctx.journal.count(Count.WINDOW)
        return
    channel.join(clear, clear.encrypted, Reassembly(clear.header.message_id))
    if clear.encrypted.total > 1 and len(event.data) < fragments.largest(sa.window.response):
        sizes = (max(len(event.data), limits.FRAGMENT_LEAST), limits.FRAGMENT_LEAST)
        sa.window.cut_response(sending.cut(sa, channel, sa.window.response, sizes))
        ctx.changed[sa.lineage] = None
    ctx.journal.count(Count.REPEATED)
    ctx.send(sa, sa.window.response, (event.local, event.remote))


def _request(ctx: Context, sa: IkeSa, header: Header, event: DatagramReceived) -> None:
    clear = parse_clear(event.data, header)
    if sa.channel is None:
        init.derive(ctx, sa, sa.spi_r)
    try:
        message = _open(ctx, sa, clear)
        if message is None:
            return
        _heard(ctx, sa, event)
        if message.header.exchange not in _EXCHANGES:
            raise RefusalError(NotifyType.INVALID_SYNTAX, f"exchange {message.header.exchange} is not known here")
        form = cardinality.form_of(message)
    except RemoteProtocolError as error:
        if not error.notify:
            raise
        _refuse(ctx, sa, clear, error)
        return
    row = REQUEST_ROWS.get((sa.state, form.name))
    if row is None:
        _refuse(ctx, sa, clear, RefusalError(NotifyType.INVALID_SYNTAX, f"{form.name} in state {sa.state.value}"))
        return
    _respond(ctx, sa, row, message)


def _respond(ctx: Context, sa: IkeSa, row: RequestRow, message: SealedMessage) -> None:
    try:
        payloads = row.act(ctx, sa, message)
    except PostponedError:
        enquiries.postpone(ctx, sa, lambda: _respond(ctx, sa, row, message))
        return
    except RemoteProtocolError as error:
        ctx.later.clear()
        _refuse(ctx, sa, message, error)
        return
    sending.respond(ctx, sa, message, payloads)
    intermediate.advance(ctx, sa)
    if ctx.agenda.closing is sa:
        informational.ended(ctx, sa)
    ctx.agenda.closing = None
    _wear(ctx, sa)
    ctx.touch(sa)


# rfc 7296: invalid-syntax-fatal
def _refuse(ctx: Context, sa: IkeSa, message: Message, error: RemoteProtocolError) -> None:
    """Answer an authentic request with an error. What is fatal is so at both ends: the peer drops the IKE SA too."""
    ctx.journal.count(Count.UNEXPECTED)
    sending.respond(ctx, sa, message, answer_of(error))
    if error.notify == NotifyType.INVALID_SYNTAX:
        ctx.tell(notices.malformed(sa, str(error)), sa.remote.address)
    if fatal.ends(sa, error.notify):
        lifecycle.close(ctx, sa)


# rfc 7296: response-malformed
def _response(ctx: Context, sa: IkeSa, header: Header, event: DatagramReceived) -> None:
    clear = parse_clear(event.data, header)
    if sa.state is IkeState.CONNECTING:
        (resume if sa.greeting.session is not None else init).receive_response(ctx, sa, clear)
        return
    if crash.believed(sa, clear):
        crash.end(ctx, sa)
        return
    task = sa.task
    try:
        message = _open(ctx, sa, clear)
        if message is not None:
            _heard(ctx, sa, event)
            _consequence(ctx, sa, message)
    except RemoteProtocolError as error:
        if not error.notify:
            raise
        sending.answered(ctx, sa)
        _malformed(ctx, sa, task, error)


def _malformed(ctx: Context, sa: IkeSa, task: Task | None, error: RemoteProtocolError) -> None:
    ctx.tell(notices.malformed(sa, str(error)), sa.remote.address)
    sa.task = task
    _break_off(ctx, sa, error.notify)


def _break_off(ctx: Context, sa: IkeSa, notify: int) -> None:
    """A response that is authentic and wrong: the peers do not have the same state. It is told by a Delete payload, and
    in IKE_AUTH by the error too (RFC 7296 2.21.2, 2.21.3), as no response can be answered.
    """
    if sa.state is IkeState.DELETING:
        lifecycle.close(ctx, sa)
        return
    lifecycle.delete(ctx, sa, "the peer's response is malformed", reason=notify if sa.handshake is not None else 0)
    sa.task = None


def _consequence(ctx: Context, sa: IkeSa, message: SealedMessage) -> None:
    form, task = cardinality.form_of(message), sa.task
    if task is None or form not in row_of(task).responses:
        raise RemoteProtocolError(f"{form.name} answers another request", NotifyType.INVALID_SYNTAX)
    sending.answered(ctx, sa)
    sa.task = None
    if sa.state is IkeState.DELETING and task.kind not in _STILL_COUNTS:
        ctx.touch(sa)
        return  # the child SA asked for ends with the IKE SA
    error = fatal.said(sa, message) if sa.handshake is None else None
    if error is not None:
        ctx.tell(notices.ended_by_error(sa, error.notify), sa.remote.address)
        sa.task = task
        lifecycle.close(ctx, sa)
        return
    _follow(ctx, sa, task, message)


def _follow(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """What an answer leads to. A task that must wait is not done: it is as if its answer were still under way."""
    try:
        row_of(task).act(ctx, sa, task, message)
    except PostponedError:
        sa.task = task
        enquiries.postpone(ctx, sa, lambda: _follow_late(ctx, sa, task, message))
        return
    if task.offer is not None and task.offer.agreed is not None:
        kernel_events.made(ctx, int.from_bytes(task.offer.spi))
    ctx.agenda.idle[sa.lineage] = None
    _wear(ctx, sa)
    ctx.touch(sa)


# rfc 7296: message-id-wrap
def _wear(ctx: Context, sa: IkeSa) -> None:
    """Message IDs are used up by either end: others come with another IKE SA, in time."""
    if sa.window.used < limits.MESSAGE_IDS_SOFT or sa.state is not IkeState.ESTABLISHED:
        return
    if sa.window.used < limits.MESSAGE_IDS_HARD:
        rekey_ike.order(ctx, sa)
    else:
        lifecycle.delete(ctx, sa, "its message IDs are used up", restart=True)


def _follow_late(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    sa.task = None
    try:
        _follow(ctx, sa, task, message)
    except RemoteProtocolError as error:
        if not error.notify:
            raise
        _malformed(ctx, sa, task, error)


# rfc 7296: informational-protected
def _open(ctx: Context, sa: IkeSa, clear: ClearMessage) -> SealedMessage | None:
    """The message; None for a fragment that leaves others to come. Such a one proves nothing: it can be repeated."""
    try:
        closed = clear.encrypted
        if isinstance(closed, SkfPayload) and sa.lineage.fragments:
            return _join(sa, clear, closed)
        return sa.agreed_channel.open(clear)
    except RemoteProtocolError as error:
        if not error.notify:
            ctx.journal.count(Count.NOT_AUTHENTIC)
        raise


def _join(sa: IkeSa, clear: ClearMessage, closed: SkfPayload) -> SealedMessage | None:
    header = clear.header
    arrived = sa.arriving.get(header.is_response)
    if arrived is None or arrived.message_id != header.message_id:
        arrived = Reassembly(header.message_id)
    message = sa.agreed_channel.join(clear, closed, arrived)
    if message is None:
        sa.arriving[header.is_response] = arrived
    else:
        sa.arriving.pop(header.is_response, None)
        if closed.total > 1:
            sending.fit(sa, len(message.raw))
    return message


# rfc 7296: no-death-by-hearsay follow-authentic-only nat-remapped
def _heard(ctx: Context, sa: IkeSa, event: DatagramReceived) -> None:
    """The message is authentic: the peer is alive, and its port may have changed (RFC 7296 2.11, 2.23)."""
    ctx.changed[sa.lineage] = None
    sa.sent_unheard, sa.lineage.heard = None, ctx.now
    if sa.lineage.doubtful:
        crossing.believe(ctx, sa.lineage)
    sa.answer_to = None
    there = (event.local.address, event.remote.address) == (sa.local.address, sa.remote.address)
    if there and (not sa.lineage.nat.here or sa.state is IkeState.HALF_OPEN):
        sa.remote, sa.local = event.remote, event.local
        mapping.follow(ctx, sa.lineage, event.remote)
    elif (event.local, event.remote) != (sa.local, sa.remote):
        # It is answered there, and moves the SA only if it says so (RFC 4555 3.5). Behind a NAT that is true of ports
        # too: who repeats one message on the way, from another port, would have all that we say from then on.
        sa.answer_to = (event.local, event.remote)


# rfc 7296: one-outstanding
def pump(ctx: Context, sa: IkeSa) -> None:
    """Send the next request that waits, if none is outstanding."""
    while sa.tasks and not sa.window.busy and sa.state is not IkeState.CLOSED:
        row = row_of(sa.tasks[0])
        if sa.state is not row.state:
            if sa.state not in (IkeState.REPLACED, IkeState.DELETING):
                return  # it waits for the handshake
            sa.tasks.pop(0)
            continue
        if not ctx.agenda.pace.admits(sa, sa.tasks[0]):
            return
        task = sa.tasks.pop(0)
        payloads = row.begin(ctx, sa, task)
        if payloads is not None:
            sa.task = task
            ctx.agenda.pace.sent(sa, task)
            sending.request(ctx, sa, row.exchange, payloads)


# rfc 7296: retransmit-initiator
def retransmit(ctx: Context, sa: IkeSa) -> None:
    """The outstanding request has had no answer for long enough."""
    if resume.unanswered(sa):
        resume.give_up(ctx, sa)
    elif not sending.again(ctx, sa):
        GIVE_UP(ctx, sa)


def deadline(ctx: Context, sa: IkeSa) -> None:
    """The IKE SA has been in its state for as long as it may."""
    DEADLINE_ROWS[sa.state].act(ctx, sa)
