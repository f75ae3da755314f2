# SPDX-License-Identifier: GPL-2.0-or-later
"""What may happen to an IKE SA, as rows: in which state, by which message, with what consequence.

A message that fits no row has no consequence. Cardinality (which payloads, how often, sealed or clear) is that of the
message's form. Deadlines and stories of the states stand in lifecycle.STATES; what a deadline does stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from xfrmd.ike import lifecycle, notices
from xfrmd.ike.context import Context
from xfrmd.ike.ike_sa import IkeSa, IkeState, Task, TaskKind
from xfrmd.ike.v2 import (
    auth,
    crash,
    create_child,
    followup,
    informational,
    init,
    intermediate,
    mobike,
    redirect,
    rekey_child,
    rekey_ike,
    resume,
    ticketing,
)
from xfrmd.ike.v2 import cardinality as forms
from xfrmd.ike.v2.cardinality import Cardinality
from xfrmd.ike.v2.constants import ExchangeType
from xfrmd.ike.v2.message import ClearMessage, SealedMessage
from xfrmd.ike.v2.payloads import Payload

_S = IkeState


class RequestRow(NamedTuple):
    """A request of the peer's: the function gives the payloads of the response, or refuses by an error."""

    state: IkeState
    form: Cardinality
    act: Callable[[Context, IkeSa, SealedMessage], list[Payload]]
    next: IkeState
    story: str


class TaskRow(NamedTuple):
    """A request of ours under an IKE SA: what it consists of, and what its response does.

    `begin` gives no payloads (None) when the request is no longer needed. `next` is the state when all goes well.
    """

    kind: TaskKind
    state: IkeState
    exchange: ExchangeType
    begin: Callable[[Context, IkeSa, Task], list[Payload] | None]
    responses: tuple[Cardinality, ...]
    act: Callable[[Context, IkeSa, Task, SealedMessage], None]
    next: IkeState
    story: str


class ClearRow(NamedTuple):
    """A message in the clear that we look at: only in IKE_SA_INIT. A request has no state yet."""

    state: IkeState | None
    forms: tuple[Cardinality, ...]
    act: Callable[[Context, IkeSa, ClearMessage], None] | None
    next: IkeState
    story: str


class DeadlineRow(NamedTuple):
    """What happens when an IKE SA has been in a state for too long."""

    state: IkeState
    act: Callable[[Context, IkeSa], None]
    next: IkeState
    story: str


# rfc 7296: dead-ends-children
def _give_up(ctx: Context, sa: IkeSa) -> None:
    """The peer does not answer: its SAs go, the operator is told, and traffic may ask again after a while."""
    if sa.lineage.current in (sa, None):  # of one that was replaced, another one is there
        redirect.lost(ctx, sa)
    if sa.state in (IkeState.CONNECTING, IkeState.AUTHENTICATING):
        ctx.tell(notices.no_answer(sa, sa.handshake.hint if sa.handshake is not None else None), sa.remote.address)
    elif sa.state is IkeState.ESTABLISHED:
        ctx.tell(notices.peer_down(sa), sa.remote.address)
    lifecycle.close(ctx, sa, linger=False)


def _quiet(ctx: Context, sa: IkeSa) -> None:
    lifecycle.close(ctx, sa, linger=False)


def _expire(ctx: Context, sa: IkeSa) -> None:
    over = "its lifetime is over"
    if ctx.now >= sa.lineage.believed_until:
        ends = sa.lineage.proofs.remote.until
        certificate = ends is not None and ends <= ctx.wall()
        over = "the peer's certificate has expired" if certificate else "its authentication is over"
    lifecycle.delete(ctx, sa, over, restart=True)


def _delete(ctx: Context, sa: IkeSa) -> None:
    lifecycle.delete(ctx, sa, "rekeyed, and not deleted by the peer")


def _followed(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """An additional key exchange is made or refused: the task goes on with the next one, or ends as if it had none."""
    done = followup.response(sa, task, message)
    if done is not None:
        TASK_ROWS[task.kind].act(ctx, sa, task, done)


# fmt: off
CLEAR: Final = (
    ClearRow(None, (forms.IKE_SA_INIT_REQUEST,), None, _S.HALF_OPEN, "somebody asks for an IKE SA"),
    ClearRow(_S.CONNECTING, (forms.IKE_SA_INIT_COOKIE, forms.IKE_SA_INIT_REFUSAL), init.receive_response,
             _S.CONNECTING, "start over with the cookie or group asked for, or remember what was said"),
    ClearRow(_S.CONNECTING, (forms.IKE_SA_INIT_RESPONSE,), init.receive_response,
             _S.AUTHENTICATING, "keys are agreed, prove who we are"),
    ClearRow(_S.CONNECTING, (forms.IKE_SA_INIT_REDIRECT,), init.receive_response,
             _S.CLOSED, "the tunnel is to end at another gateway"),
    ClearRow(None, (forms.RESUME_REQUEST,), None, _S.HALF_OPEN, "somebody shows a ticket of ours"),
    ClearRow(_S.CONNECTING, (forms.RESUME_COOKIE,), resume.receive_response,
             _S.CONNECTING, "show the ticket once more, with the cookie asked for"),
    ClearRow(_S.CONNECTING, (forms.RESUME_RESPONSE,), resume.receive_response,
             _S.AUTHENTICATING, "keys come of the old IKE SA, show that we know them"),
    ClearRow(_S.CONNECTING, (forms.RESUME_NACK, forms.RESUME_REFUSAL), resume.receive_response,
             _S.CLOSED, "the ticket is of no use: another IKE SA begins, by IKE_SA_INIT"),
)
REQUESTS: Final = (
    RequestRow(_S.HALF_OPEN, forms.IKE_INTERMEDIATE_REQUEST, intermediate.receive,
               _S.HALF_OPEN, "an additional key exchange changes all keys"),
    RequestRow(_S.HALF_OPEN, forms.IKE_AUTH_REQUEST, auth.receive,
               _S.ESTABLISHED, "the initiator proves itself, so do we"),
    RequestRow(_S.HALF_OPEN, forms.IKE_AUTH_CHILDLESS_REQUEST, auth.receive,
               _S.ESTABLISHED, "the initiator proves itself, so do we, and there is no child SA yet"),
    RequestRow(_S.ESTABLISHED, forms.REKEY_CHILD_REQUEST, rekey_child.receive,
               _S.ESTABLISHED, "the peer replaces a child SA"),
    RequestRow(_S.ESTABLISHED, forms.CREATE_CHILD_REQUEST, create_child.receive,
               _S.ESTABLISHED, "the peer wants a child SA"),
    RequestRow(_S.ESTABLISHED, forms.REKEY_IKE_REQUEST, rekey_ike.receive,
               _S.REPLACED, "the peer replaces the IKE SA"),
    RequestRow(_S.ESTABLISHED, forms.INFORMATIONAL_REQUEST, informational.receive,
               _S.ESTABLISHED, "the peer deletes SAs, or asks whether we are alive"),
    RequestRow(_S.ESTABLISHED, forms.FOLLOWUP_REQUEST, followup.receive,
               _S.ESTABLISHED, "an additional key exchange, after the last of which the SA asked for is made"),
    RequestRow(_S.REPLACED, forms.REKEY_CHILD_REQUEST, rekey_child.receive,
               _S.REPLACED, "refused: it belongs to the new IKE SA"),
    RequestRow(_S.REPLACED, forms.CREATE_CHILD_REQUEST, create_child.receive,
               _S.REPLACED, "refused: it belongs to the new IKE SA"),
    RequestRow(_S.REPLACED, forms.REKEY_IKE_REQUEST, rekey_ike.receive,
               _S.REPLACED, "refused: it has been done"),
    RequestRow(_S.REPLACED, forms.FOLLOWUP_REQUEST, followup.receive,
               _S.REPLACED, "refused: it belongs to the new IKE SA"),
    RequestRow(_S.REPLACED, forms.INFORMATIONAL_REQUEST, informational.receive,
               _S.REPLACED, "the peer deletes the old IKE SA"),
    RequestRow(_S.DELETING, forms.REKEY_CHILD_REQUEST, rekey_child.receive,
               _S.DELETING, "refused: the IKE SA ends"),
    RequestRow(_S.DELETING, forms.CREATE_CHILD_REQUEST, create_child.receive,
               _S.DELETING, "refused: the IKE SA ends"),
    RequestRow(_S.DELETING, forms.REKEY_IKE_REQUEST, rekey_ike.receive,
               _S.DELETING, "refused: the IKE SA ends"),
    RequestRow(_S.DELETING, forms.FOLLOWUP_REQUEST, followup.receive,
               _S.DELETING, "refused: the IKE SA ends"),
    RequestRow(_S.DELETING, forms.INFORMATIONAL_REQUEST, informational.receive,
               _S.DELETING, "both delete at once"),
)
_CREATED: Final = (forms.CREATE_CHILD_RESPONSE, forms.CREATE_CHILD_REFUSAL)
TASKS: Final = (
    TaskRow(TaskKind.AUTH, _S.AUTHENTICATING, ExchangeType.IKE_AUTH, auth.request,
            (forms.IKE_AUTH_RESPONSE, forms.IKE_AUTH_CHILD_REFUSAL, forms.IKE_AUTH_REFUSAL), auth.response,
            _S.ESTABLISHED, "prove ourselves and ask for the first child SA"),
    TaskRow(TaskKind.INTERMEDIATE, _S.AUTHENTICATING, ExchangeType.IKE_INTERMEDIATE, intermediate.request,
            (forms.IKE_INTERMEDIATE_RESPONSE, forms.IKE_INTERMEDIATE_REFUSAL), intermediate.response,
            _S.AUTHENTICATING, "make an additional key exchange, which changes all keys"),
    TaskRow(TaskKind.FOLLOWUP, _S.ESTABLISHED, ExchangeType.IKE_FOLLOWUP_KE, followup.request,
            (forms.FOLLOWUP_RESPONSE, forms.FOLLOWUP_REFUSAL), _followed,
            _S.ESTABLISHED, "make an additional key exchange for an SA that is asked for"),
    TaskRow(TaskKind.NEW_CHILD, _S.ESTABLISHED, ExchangeType.CREATE_CHILD_SA, create_child.request,
            _CREATED, create_child.response, _S.ESTABLISHED, "ask for a child SA"),
    TaskRow(TaskKind.REKEY_CHILD, _S.ESTABLISHED, ExchangeType.CREATE_CHILD_SA, rekey_child.request,
            _CREATED, rekey_child.response, _S.ESTABLISHED, "replace a child SA"),
    TaskRow(TaskKind.REKEY_IKE, _S.ESTABLISHED, ExchangeType.CREATE_CHILD_SA, rekey_ike.request,
            (forms.REKEY_IKE_RESPONSE, forms.CREATE_CHILD_REFUSAL), rekey_ike.response,
            _S.DELETING, "replace the IKE SA and delete the old one"),
    TaskRow(TaskKind.DELETE_CHILD, _S.ESTABLISHED, ExchangeType.INFORMATIONAL, informational.delete_children,
            (forms.INFORMATIONAL_RESPONSE,), informational.children_deleted, _S.ESTABLISHED, "delete child SAs"),
    TaskRow(TaskKind.LIVENESS, _S.ESTABLISHED, ExchangeType.INFORMATIONAL, informational.liveness,
            (forms.INFORMATIONAL_RESPONSE,), informational.alive, _S.ESTABLISHED, "ask whether the peer is alive"),
    TaskRow(TaskKind.RECOGNITION, _S.ESTABLISHED, ExchangeType.INFORMATIONAL, crash.request,
            (forms.INFORMATIONAL_RESPONSE,), crash.told, _S.ESTABLISHED, "give the token of a rekeyed IKE SA"),
    TaskRow(TaskKind.MOVE, _S.ESTABLISHED, ExchangeType.INFORMATIONAL, mobike.request,
            (forms.INFORMATIONAL_RESPONSE,), mobike.response, _S.ESTABLISHED, "say that we have another address"),
    TaskRow(TaskKind.ROUTABLE, _S.ESTABLISHED, ExchangeType.INFORMATIONAL, mobike.ask_path,
            (forms.INFORMATIONAL_RESPONSE,), mobike.path_answered, _S.ESTABLISHED, "ask the peer's new address"),
    TaskRow(TaskKind.TICKET, _S.ESTABLISHED, ExchangeType.INFORMATIONAL, ticketing.request,
            (forms.INFORMATIONAL_RESPONSE,), ticketing.response, _S.ESTABLISHED, "ask for a ticket after a rekey"),
    TaskRow(TaskKind.REDIRECT, _S.ESTABLISHED, ExchangeType.INFORMATIONAL, redirect.request,
            (forms.INFORMATIONAL_RESPONSE,), redirect.response, _S.ESTABLISHED, "send the peer to another gateway"),
    TaskRow(TaskKind.DELETE_IKE, _S.DELETING, ExchangeType.INFORMATIONAL, informational.delete_ike,
            (forms.INFORMATIONAL_RESPONSE,), informational.ike_deleted, _S.CLOSED, "delete the IKE SA"),
)
DEADLINES: Final = (
    DeadlineRow(_S.CONNECTING, _give_up, _S.CLOSED, "no usable answer to IKE_SA_INIT"),
    DeadlineRow(_S.HALF_OPEN, _quiet, _S.CLOSED, "whoever asked did not come back"),
    DeadlineRow(_S.AUTHENTICATING, _give_up, _S.CLOSED, "no answer to IKE_AUTH"),
    DeadlineRow(_S.ESTABLISHED, _expire, _S.DELETING, "the lifetime is over"),
    DeadlineRow(_S.REPLACED, _delete, _S.DELETING, "the peer left the old IKE SA standing"),
    DeadlineRow(_S.DELETING, _quiet, _S.CLOSED, "the peer does not confirm"),
    DeadlineRow(_S.CLOSED, lifecycle.forget, _S.CLOSED, "no repetition of a request is expected any more"),
)
# fmt: on

REQUEST_ROWS: Final = {(row.state, row.form.name): row for row in REQUESTS}
TASK_ROWS: Final = {row.kind: row for row in TASKS}
DEADLINE_ROWS: Final = {row.state: row for row in DEADLINES}


def row_of(task: Task) -> TaskRow:
    """The row of what a task has to do next."""
    return TASK_ROWS[task.kind if task.follow is None else TaskKind.FOLLOWUP]


GIVE_UP: Final = _give_up
"""What happens when a request has been repeated often enough."""
