# SPDX-License-Identifier: GPL-2.0-or-later
"""IKE_AUTH (RFC 7296 1.2, 2.15): who is there, and the first child SA."""

from __future__ import annotations

from xfrmd.credentials.names import same, spoken
from xfrmd.errors import CredentialError, RemoteProtocolError
from xfrmd.ike import (
    crowd,
    keepalive,
    lifecycle,
    negotiate,
    neighbours,
    notices,
    renewal,
    resumable,
    session_notices,
    wants,
)
from xfrmd.ike.context import Context
from xfrmd.ike.ike_sa import IkeSa, IkeState, Task, TaskKind
from xfrmd.ike.journal import Count
from xfrmd.ike.v2 import (
    announce,
    child,
    crash,
    crossing,
    fatal,
    informational,
    intermediate,
    mobike,
    octets,
    ppk,
    proof,
    redirect,
    rekey_ike,
    resume,
    siblings,
    ticketing,
)
from xfrmd.ike.v2.child import Made
from xfrmd.ike.v2.child_keys import sad_pair
from xfrmd.ike.v2.constants import NotifyType
from xfrmd.ike.v2.create_child import propose_want, refused_child
from xfrmd.ike.v2.message import SealedMessage
from xfrmd.ike.v2.payloads import AuthPayload, IdiPayload, IdrPayload, NotifyPayload, Payload, SaPayload
from xfrmd.ike.v2.proof import Claim
from xfrmd.ike.v2.replies import RefusalError, error_of, granted
from xfrmd.model.pad import AuthMethod, PskAuth

# Initiator


def request(ctx: Context, sa: IkeSa, task: Task) -> list[Payload] | None:
    """Our identity and its proof, and a proposal for the first child SA if there is to be one (RFC 6023)."""
    claims = resume.proof(sa) if sa.greeting.session is not None else _claim(ctx, sa, task)
    if not claims:
        return None
    if ctx.store.lineages(sa.local.address, sa.remote.address) == [sa.lineage]:
        claims.append(NotifyPayload(NotifyType.INITIAL_CONTACT))
        sa.greeting.contact = True
    proposal = [] if sa.greeting.childless else propose_want(ctx, sa, task)
    if proposal is None:  # the filter is no longer there; the IKE SA is not needed
        lifecycle.close(ctx, sa, linger=False)
        return None
    return claims + proposal + crash.given(ctx, sa) + mobike.offer(sa) + ticketing.ask(sa)


def _claim(ctx: Context, sa: IkeSa, task: Task) -> list[Payload]:
    """Who we are, by a method of the rule; nothing where there is no proof that this peer would take."""
    method = _to_try(sa, task)
    sa.local_id = proof.local_identity(sa, method)
    if sa.remote_id is None and isinstance(method, PskAuth):
        sa.remote_id = proof.identity_of(sa.remote.address)
    ours = IdiPayload.of(sa.local_id)
    try:
        proved, said = _prove(ctx, sa, method, ours)
    except CredentialError as error:
        _cannot(ctx, sa, task, error)
        return []
    wanted = [IdrPayload.of(sa.pad.remote_id)] if sa.pad.remote_id is not None else []
    payloads: list[Payload] = [ours, *proved[:-1], *proof.requests(sa.pad), *wanted, proved[-1], *said]
    return payloads + (announce.announcement(sa.pad) if sa.greeting.accepts is not None else [])


def _prove(ctx: Context, sa: IkeSa, method: AuthMethod, ours: IdiPayload) -> tuple[list[Payload], list[Payload]]:
    """Our proof and what is said of a PPK: which we mean and, where we can do without, the proof without (RFC 8784)."""
    plain, key = sa.greeting.sk_pi, ppk.in_use(sa)
    if key is None:
        return proof.make(ctx, sa, method, octets.of_initiator(sa, ours, plain)), []
    proved = proof.make(ctx, sa, method, octets.of_initiator(sa, ours, ppk.mixed(sa, key, plain)))
    said: list[Payload] = [ppk.identity(key)]
    if not key.required:
        without = proof.make(ctx, sa, method, octets.of_initiator(sa, ours, plain))[-1]
        assert isinstance(without, AuthPayload)
        said.append(NotifyPayload(NotifyType.NO_PPK_AUTH, without.data))
    return proved, said


def _cannot(ctx: Context, sa: IkeSa, task: Task, error: CredentialError) -> None:
    """We have no proof that this peer would take."""
    ctx.tell(notices.no_proof(sa, str(error)), sa.remote.address)
    if not _try_next(ctx, sa, task):
        lifecycle.close(ctx, sa, linger=False)
        _fail(ctx, task)


# rfc 7296: four-messages
def response(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """The peer's proof, and the first child SA or the reason why there is none."""
    identity, proved = message.first(IdrPayload), message.first(AuthPayload)
    if identity is None or proved is None or fatal.said(sa, message) is not None:
        _refused(ctx, sa, task, message)
        return
    why = _judge_responder(ctx, sa, message, identity, proved)
    if why:
        ctx.tell(notices.auth_failed(sa, why), sa.remote.address)
        redirect.lost(ctx, sa)
        lifecycle.delete(ctx, sa, "authentication failed", reason=NotifyType.AUTHENTICATION_FAILED)
        _fail(ctx, task)
        return
    crash.taken(sa, message)
    mobike.agree(sa, message)
    _established(ctx, sa)
    if sa.greeting.contact:
        crossing.doubt_others(ctx, sa)
    resumable.drop(ctx, sa.remote.address)  # it is of an IKE SA before this one
    renewal.taken(ctx, sa.lineage, message)
    ticketing.taken(ctx, sa, message)
    if redirect.in_auth(ctx, sa, task, message):
        sa.handshake = None
        return
    if sa.greeting.childless:
        if message.first(SaPayload) is not None:
            raise RemoteProtocolError("a child SA that was not asked for", NotifyType.INVALID_SYNTAX)
        if task.want is not None:
            sa.tasks.append(Task(TaskKind.NEW_CHILD, want=task.want))
    elif not granted(message):
        refused_child(ctx, sa, task, message)
    else:
        _first_child(ctx, sa, task, message)
    sa.handshake = None


def _judge_responder(ctx: Context, sa: IkeSa, message: SealedMessage, identity: IdrPayload, proved: AuthPayload) -> str:
    """Why the responder is not believed, "" when it is."""
    if sa.greeting.session is not None:
        return resume.believe(ctx, sa, identity, proved)
    sa.remote_id = identity.identity
    key, used = ppk.in_use(sa), message.notify(NotifyType.PPK_IDENTITY) is not None
    if used and key is not None:
        ppk.apply(sa, key)
    elif used or ppk.demanded(sa):
        return "it does not use the postquantum preshared key as the rule wants it"
    method, why = proof.judge(ctx, sa, message, Claim(identity, proved, octets.of_responder(sa, identity)))
    return "" if method is not None else why


# rfc 7296: refused-child-keeps-ike
def _first_child(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    try:
        made = child.accept(ctx, sa, task, message)
    except RefusalError:
        if task.want is not None:
            wants.fail(ctx, task.want, whole_peer=False)
        return
    crossing.install(ctx, sa, made, sad_pair(ctx, sa, *made))


def _refused(ctx: Context, sa: IkeSa, task: Task, message: SealedMessage) -> None:
    """The peer does not believe us. This message is sealed, but its sender has proved no identity."""
    if sa.greeting.session is not None:
        ctx.tell(session_notices.refused(sa))
        resume.fall_back(ctx, sa, task=task)
        return
    error = error_of(message)
    notify = NotifyType.AUTHENTICATION_FAILED if error is None else error.notify
    if notify == NotifyType.AUTHENTICATION_FAILED and _try_next(ctx, sa, task):
        return
    if notify == NotifyType.INVALID_SYNTAX and _try_alone(ctx, sa, task):
        return
    ctx.tell(notices.auth_refused(sa, notify), sa.remote.address)
    redirect.lost(ctx, sa)
    if fatal.ends(sa, notify):
        lifecycle.close(ctx, sa)
    else:  # for the peer the IKE SA stands, and we do not know whose it is
        lifecycle.delete(ctx, sa, "the peer has proved nothing", reason=NotifyType.AUTHENTICATION_FAILED)
    _fail(ctx, task)


def _try_next(ctx: Context, sa: IkeSa, task: Task) -> bool:
    """IKEv2 does not negotiate how one authenticates: who is refused begins anew with the rule's next method."""
    want = task.want
    if want is None or want.method + 1 >= len(sa.pad.auth):
        return False
    want.method += 1
    ctx.tell(notices.auth_next(sa, want.method + 1))
    _begin_again(ctx, sa, task)
    return True


# rfc 6023: only-when-announced
def _try_alone(ctx: Context, sa: IkeSa, task: Task) -> bool:
    """Some peers take an IKE SA without a child SA alone (strongSwan: childless = force)."""
    want = task.want
    if want is None or want.alone or not sa.greeting.takes_childless:
        return False
    want.alone = want.whole = True
    _begin_again(ctx, sa, task)
    return True


def _begin_again(ctx: Context, sa: IkeSa, task: Task) -> None:
    """With another IKE SA, by what is known now. This one was no failure."""
    for waiting in (task, *sa.tasks):
        if waiting.want is not None:
            waiting.want.tries -= 1
    if task.want is not None:
        ctx.agenda.orphans.append(task.want)
    lifecycle.close(ctx, sa, restart=True)


def _to_try(sa: IkeSa, task: Task) -> AuthMethod:
    """The plan may have changed since the method was chosen; then it is the first again. Those that the peer says it
    does not take are passed over, if it takes one of the others.
    """
    methods, number = sa.pad.auth, task.want.method if task.want is not None else 0
    number = number if number < len(methods) else 0
    fitting = (at for at in range(number, len(methods)) if announce.takes(sa.greeting.accepts, methods[at]))
    number = next(fitting, number)
    if task.want is not None:
        task.want.method = number
    return methods[number]


# rfc 7296: initiator-tells
def _fail(ctx: Context, task: Task) -> None:
    if task.want is not None:
        wants.fail(ctx, task.want, whole_peer=True)


# Responder


# rfc 7296: auth-failed
def receive(ctx: Context, sa: IkeSa, message: SealedMessage) -> list[Payload]:
    """Judge the initiator's proof and answer with ours. AUTHENTICATION_FAILED ends the IKE SA."""
    intermediate.check_done(sa)
    identity, proved = message.first(IdiPayload), message.first(AuthPayload)
    assert identity is not None
    assert proved is not None
    answer = resume.answer if sa.greeting.session is not None else _answer
    payloads = answer(ctx, sa, message, identity, proved)
    if message.notify(NotifyType.INITIAL_CONTACT) is not None:
        _forget_older(ctx, sa)
    crash.taken(sa, message)
    mobile = mobike.answer(sa, message)
    _established(ctx, sa)
    more = _answer_child(ctx, sa, message) if message.first(SaPayload) is not None else []
    sa.handshake = None
    more += renewal.given(ctx, sa.lineage) + crash.given(ctx, sa) + mobile
    return payloads + more + ticketing.given(ctx, sa, message)


# rfc 6023: ike-sa-stands
def _answer_child(ctx: Context, sa: IkeSa, message: SealedMessage) -> list[Payload]:
    """The first child SA, or why there is none: the IKE SA stands without it too."""
    try:
        made, payloads = child.answer(ctx, sa, message)
    except RefusalError as refusal:
        return list(refusal.payloads)
    _install(ctx, sa, made)
    siblings.ask(ctx, sa, made.child, message)
    return payloads


def _answer(
    ctx: Context, sa: IkeSa, message: SealedMessage, identity: IdiPayload, proved: AuthPayload
) -> list[Payload]:
    """Our identity and its proof, once the initiator is believed."""
    announce.listen(sa, message)
    sa.local_id = sa.pad.local_id
    sa.remote_id = identity.identity
    method = _authenticate(ctx, sa, message, identity, proved)
    assert sa.local_id is not None
    ours = IdrPayload.of(sa.local_id)
    try:
        payloads = [ours, *proof.make(ctx, sa, method, octets.of_responder(sa, ours))]
    except CredentialError as error:
        ctx.tell(notices.no_proof(sa, str(error)), sa.remote.address)
        raise RefusalError(NotifyType.AUTHENTICATION_FAILED, str(error)) from error
    return payloads + ([ppk.confirmation()] if sa.lineage.proofs.ppk else [])


def _authenticate(
    ctx: Context, sa: IkeSa, message: SealedMessage, identity: IdiPayload, proved: AuthPayload
) -> AuthMethod:
    """Judge the initiator, and choose our own identity and method."""
    method, why = _judge_initiator(ctx, sa, message, identity, proved)
    if method is not None:
        method = proof.answering(sa, message, method)
        wanted = message.first(IdrPayload)
        sa.local_id = proof.local_identity(sa, method, wanted.identity if wanted is not None else None)
        if wanted is not None and not same(wanted.identity, sa.local_id):
            why = f"it wants to talk to {spoken(wanted.identity)}"
    if why or method is None:
        ctx.tell(notices.auth_failed(sa, why), sa.remote.address)
        raise RefusalError(NotifyType.AUTHENTICATION_FAILED, why)
    return method


def _judge_initiator(
    ctx: Context, sa: IkeSa, message: SealedMessage, identity: IdiPayload, proved: AuthPayload
) -> proof.Verdict:
    """The proof with the PPK that both have, or the one without, where the rule lets that pass (RFC 8784 3)."""
    key, named = ppk.in_use(sa), message.notify(NotifyType.PPK_IDENTITY)
    if key is not None and ppk.meant(key, named):
        ppk.apply(sa, key)
    elif ppk.demanded(sa):
        return None, f"the rule wants the postquantum preshared key {ppk.name(sa.pad)}, the peer uses {ppk.told(named)}"
    elif named is not None:
        without = message.notify(NotifyType.NO_PPK_AUTH)
        if without is None:
            return None, f"it insists on the postquantum preshared key {ppk.told(named)}, which the rule does not have"
        proved = AuthPayload(proved.method, without.data)
    return proof.judge(ctx, sa, message, Claim(identity, proved, octets.of_initiator(sa, identity, sa.greeting.sk_pi)))


def _install(ctx: Context, sa: IkeSa, made: Made) -> None:
    """Inbound before the response leaves, outbound after it: the initiator must be ready first."""
    crossing.install_answer(ctx, sa, made, sad_pair(ctx, sa, *made))


# rfc 7296: initial-contact
def _forget_older(ctx: Context, sa: IkeSa) -> None:
    """INITIAL_CONTACT (RFC 7296 2.4): what the peer had with us before this IKE_SA_INIT it no longer knows. What may be
    with another host behind the same NAT is asked.
    """
    for lineage in list(ctx.store.crowd(sa.local.address, sa.remote.address)):
        for old in list(lineage.ike_sas):
            if old is sa or old.remote_id != sa.remote_id or old.settled >= sa.created:
                continue
            if neighbours.same_host(sa, old):
                resumable.revoke(ctx, lineage)
                lifecycle.close(ctx, old, linger=False, restart=True)
            else:
                neighbours.doubt(ctx, old)


def _thin(ctx: Context, sa: IkeSa) -> None:
    """Where a host has too many IKE SAs the oldest go. It is told once: who forgets what it began answers nothing."""
    for old in crowd.surplus(ctx, sa):
        ctx.tell(notices.ike_down(old, "too many others have been begun from its peer's address since then"))
        informational.farewell(ctx, old)
        for one in list(old.lineage.ike_sas):
            lifecycle.close(ctx, one, linger=False, restart=True)


# Both


def _established(ctx: Context, sa: IkeSa) -> None:
    if not sa.initiator:
        ctx.store.opened(sa)
        _thin(ctx, sa)
    sa.settled = ctx.now
    if not sa.lineage.resumed:
        sa.lineage.authenticated = ctx.wall()
    renewal.begin(ctx, sa)
    lifecycle.enter(ctx, sa, IkeState.ESTABLISHED)
    lifecycle.plan_rekey(ctx, sa)
    rekey_ike.renew_outdated(ctx, sa)
    ctx.journal.count(Count.IKE_SAS)
    ctx.journal.healed(sa.remote.address)
    ctx.demand.forgive(sa.local.address, sa.remote.address)
    ctx.tell(notices.ike_up(sa))
    keepalive.watch(ctx, sa.lineage)
    renewal.plan(ctx, sa.lineage)
    negotiate.instead_of_soft(ctx, sa)
    ctx.agenda.idle.update(dict.fromkeys(ctx.store.lineages(sa.local.address, sa.remote.address)))
    ctx.touch(sa)
