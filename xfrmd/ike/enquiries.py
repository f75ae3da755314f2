# SPDX-License-Identifier: GPL-2.0-or-later
"""Handshakes that wait until lists or OCSP responders have said whether a certificate was revoked, and SAs that end
when they have. Who fetches is told by AskRevocation and answers with RevocationLearnt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import starmap
from typing import Final

from xfrmd.credentials import own, revocation
from xfrmd.credentials.ocsp import Revoked, Status
from xfrmd.credentials.sources import Sources
from xfrmd.ike import lifecycle, resumable
from xfrmd.ike.context import Context, TimerKind
from xfrmd.ike.effects import AskRevocation, KeepRevoked
from xfrmd.ike.events import RevocationKept, RevocationLearnt
from xfrmd.ike.ike_sa import IkeSa
from xfrmd.ike.learnt import PostponedError, Waiting
from xfrmd.limits import fetching
from xfrmd.model.pad import CRL_ALWAYS, CRL_OFF, PadEntry, RootcaAuth

REVOKED: Final = "the peer's certificate may be revoked"


def statuses(ctx: Context, method: RootcaAuth) -> tuple[Status, ...]:
    """The answers of responders that a method looks at."""
    known = ctx.store.learnt
    return (*known.statuses.values(), *known.revoked.values()) if method.fetch is not None else ()


def demand(ctx: Context, sa: IkeSa, wanted: Sources, check: int) -> str:
    """Ask, and let the handshake wait for it. PostponedError: it waits. Once that is over: why there is no answer."""
    waits = ctx.store.learnt.waiting
    if sa not in waits and wanted.asked:
        seconds = fetching.REVOCATION_WAIT[check == CRL_ALWAYS]
        waits[sa] = Waiting(set(wanted.asked), ctx.now + seconds)
        ctx.timers.set((TimerKind.REVOCATION, sa), ctx.now + seconds)
        ctx.out += [AskRevocation(one) for one in wanted.asked]
    waiting = waits.get(sa)
    if waiting is None:
        return "; ".join(wanted.refused)
    if waiting.open and ctx.now < waiting.ends:
        raise PostponedError("it is being asked whether the peer's certificate was revoked")
    late = [f"{url} does not answer in time" for url in sorted({one.url for one in waiting.open})]
    return "; ".join((*waiting.troubles, *late, *wanted.refused))


def postpone(ctx: Context, sa: IkeSa, again: Callable[[], None]) -> None:
    """A step has raised PostponedError: this takes it again, when there is an answer or no more time."""
    ctx.later.clear()
    ctx.store.learnt.waiting.setdefault(sa, Waiting(set(), math.inf)).resume = again


def late(ctx: Context, sa: IkeSa) -> None:
    """It has waited for long enough."""
    waiting = ctx.store.learnt.waiting.get(sa)
    if waiting is not None:
        waiting.resume()


def learnt(ctx: Context, event: RevocationLearnt) -> None:
    """There is an answer, or there is none to be had. SAs whose peers it names end; who waits for it goes on."""
    known, news = ctx.store.learnt, event.news
    if isinstance(news, bytes):
        known.put_list(event.source.url, news)
        _end(ctx, lambda links: revocation.listed(links, (news,)))
    elif news is not None:
        link = revocation.link(own.known(event.source.certificate))
        if known.put_status(news, link, ctx.today()):
            ctx.out.append(KeepRevoked(tuple(starmap(Revoked, known.revoked.items()))))
        _end(ctx, lambda links: news.revoked and link in links)
    waiting = [(sa, one) for sa, one in known.waiting.items() if event.source in one.open]
    for _, one in waiting:
        one.open.discard(event.source)
        if event.trouble:
            one.troubles.append(f"{event.source.url}: {event.trouble}")
    for sa, one in waiting:
        if known.waiting.get(sa) is one:  # what those before it led to may have ended it
            one.resume()


def kept(ctx: Context, event: RevocationKept) -> None:
    """What an earlier run has learnt of who is revoked holds in this one."""
    for link, status in event.revoked:
        ctx.store.learnt.put_status(status, link, ctx.today())
    for url, der in event.lists:
        ctx.store.learnt.put_list(url, der)
    links, lists = {one.link for one in event.revoked}, [der for _, der in event.lists]
    _end(ctx, lambda theirs: not links.isdisjoint(theirs) or revocation.listed(theirs, lists))


def _end(ctx: Context, named: Callable[[Iterable[bytes]], bool]) -> None:
    for sa in ctx.store.ike_sas():
        if _fetches(sa.pad) and named(sa.lineage.proofs.remote.links):
            resumable.revoke(ctx, sa.lineage)
            lifecycle.delete(ctx, sa, REVOKED, restart=True)


def _fetches(pad: PadEntry) -> bool:
    return any(isinstance(one, RootcaAuth) and one.fetch is not None and one.crl_check != CRL_OFF for one in pad.auth)
