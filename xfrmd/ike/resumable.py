# SPDX-License-Identifier: GPL-2.0-or-later
"""Which IKE SAs may leave a session behind, and under which circumstances one may go on (docs/decisions/0038).

Both ends ask the same questions anew: the policy, the certificates, the time, the address.
"""

from __future__ import annotations

import hmac

from xfrmd import limits
from xfrmd.ike import select
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.effects import RevokeTickets
from xfrmd.ike.ike_sa import IkeSa, Lineage
from xfrmd.ike.proven import Proven
from xfrmd.ike.saving import proof
from xfrmd.ike.session import Held, HeldName, Session, SpentName
from xfrmd.model.addresses import Address
from xfrmd.model.pad import CRL_ALWAYS, Identity, IdType, PadEntry, RootcaAuth

_ADDRESSES = (IdType.IPV4_ADDR, IdType.IPV6_ADDR)


def lasts(identity: Identity | None, named: Identity | None) -> bool:
    """Is somebody known by more than the address that it has at the time?"""
    return named is not None or (identity is not None and identity.type not in _ADDRESSES)


def may_be_revoked(ctx: Context, proven: Proven, pad: PadEntry) -> bool:
    """Does what the rule looks at call one of the certificates revoked that somebody has proved itself by?"""
    return any(ctx.store.learnt.names(proven.links, one) for one in pad.auth if isinstance(one, RootcaAuth))


def allowed(pad: PadEntry) -> bool:
    """Does the policy let IKE SAs with this peer be resumed? Not where each quick mode wants a main mode of its own,
    and not where nobody is believed of whom it is not known that its certificate still holds.
    """
    strict = any(isinstance(one, RootcaAuth) and one.crl_check == CRL_ALWAYS for one in pad.auth)
    return pad.main_mode.resumption and pad.main_mode.quick_modes != 1 and not strict


def _trust(pad: PadEntry) -> float:
    """Seconds after an authentication in which a ticket may stand for it."""
    return min(limits.TICKET_TRUST, pad.main_mode.auth_seconds or limits.TICKET_TRUST)


# rfc 5723: lifetime
def session_of(ctx: Context, sa: IkeSa, seconds: float) -> Session | None:
    """What of an IKE SA may go on for so many seconds at most; None when that is hardly any time, or not allowed."""
    proofs, authenticated, now = sa.lineage.proofs, sa.lineage.authenticated, ctx.wall()
    ends = [one.until for one in (proofs.local, proofs.remote) if one.until is not None]
    ends.append(now + sa.lineage.believed_until - ctx.now)
    until = min(now + min(seconds, limits.TICKET_LIFETIME), authenticated + _trust(sa.pad), *ends)
    if until - now < limits.TICKET_LEAST or not allowed(sa.pad) or sa.local_id is None or sa.remote_id is None:
        return None
    sk_d = sa.agreed_channel.saved().sk_d
    return Session(
        until=until,
        authenticated=authenticated,
        local=sa.local.address,
        remote=sa.remote.address,
        local_id=sa.local_id,
        remote_id=sa.remote_id,
        suite=sa.agreed_suite,
        sk_d=sk_d,
        proof=proof(sa.pad, sk_d.reveal()),
        proofs=proofs,
    )


# rfc 5723: checked-anew
def why_not(ctx: Context, session: Session, pad: PadEntry, local: Address, remote: Address) -> str:
    """Why a session may not go on between these addresses now, "" when it may."""
    now = ctx.wall()
    if not allowed(pad):
        return "the policy does not let it"
    if not now < session.until <= now + limits.TICKET_LIFETIME or session.authenticated > now:
        return "its time is over, or the clock was changed"
    if now >= session.authenticated + _trust(pad):
        return "the policy wants a new authentication"
    if not hmac.compare_digest(session.proof, proof(pad, session.sk_d.reveal())):
        return "the policy has other keys, authorities or identities now"
    if select.naming(session.suite, pad.main_mode.proposals) is None:
        return "the policy no longer has its algorithms"
    ours = local == session.local or lasts(session.local_id, pad.local_id)
    theirs = remote == session.remote or lasts(session.remote_id, pad.remote_id)
    if not ours or not theirs:
        return "it is of another address, and nothing but addresses tells who is who"
    if may_be_revoked(ctx, session.proofs.remote, pad):
        return "the peer's certificate may be revoked"
    return ""


# What we hold


def keep(ctx: Context, remote: Address, held: Held) -> None:
    """Keep a ticket of this peer in place of the one before."""
    drop(ctx, remote)
    found = ctx.store.tickets.held
    found[remote] = held
    ctx.changed[HeldName(remote)] = None
    ctx.timers.set((TimerKind.TICKET, HeldName(remote)), ctx.now + held.session.until - ctx.wall())
    if len(found) > limits.TICKETS_HELD:
        drop(ctx, next(iter(found)))


def drop(ctx: Context, remote: Address) -> Held | None:
    """Keep the ticket of this peer no longer."""
    held = ctx.store.tickets.held.pop(remote, None)
    if held is not None:
        ctx.timers.cancel((TimerKind.TICKET, HeldName(remote)))
        ctx.changed[HeldName(remote)] = None
    return held


def over(ctx: Context, name: HeldName) -> None:
    """The time of a ticket is over."""
    drop(ctx, name.remote)


# What we gave


# rfc 5723: once
def spend(ctx: Context, name: bytes) -> None:
    """A ticket of ours counts no more. Names are kept for as long as one with them could still be shown."""
    spent, now = ctx.store.tickets.spent, ctx.wall()
    while spent and (old := next(iter(spent))) and spent[old] < now:
        del spent[old]
        ctx.changed[SpentName(old)] = None
    spent[name] = now + limits.TICKET_LIFETIME
    ctx.changed[SpentName(name)] = None


def counts(ctx: Context, name: bytes) -> bool:
    """May a ticket of ours with this name be used? None may when it is not known any more which ones were."""
    spent = ctx.store.tickets.spent
    return name not in spent and len(spent) < limits.TICKETS_SPENT


def revoke(ctx: Context, lineage: Lineage) -> None:
    """Nothing of an IKE SA is to go on: it was ended on purpose, or is not to be believed any more."""
    drop(ctx, lineage.remote.address)
    if lineage.ticket:
        spend(ctx, lineage.ticket)
        lineage.ticket = b""


# rfc 5723: once
def revoke_all(ctx: Context) -> None:
    """Nothing is to go on of any IKE SA that there is or was. Tickets are known by name of those that are there; what
    others have opens by no key any more.
    """
    for sa in ctx.store.ike_sas():
        revoke(ctx, sa.lineage)
    ctx.store.tickets.know(())
    ctx.out.append(RevokeTickets())
