# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks lists and OCSP responders whether certificates were revoked: ahead of need, and when a handshake needs to know.

Each source is asked once at a time, what failed is left alone for a while, and a list is fetched anew before its time
is over. Whatever comes back is judged in a thread before anybody hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple, Protocol

from xfrmd.adapters.http import FetchError, Request, fetch, outgoing
from xfrmd.credentials import ocsp, revocation, sources
from xfrmd.credentials.locations import location_of
from xfrmd.credentials.sources import News, Source
from xfrmd.daemon.ports import FactsSource
from xfrmd.errors import CredentialError
from xfrmd.limits import fetching
from xfrmd.model.addresses import Address
from xfrmd.model.notice import Level, Notice
from xfrmd.model.pad import RootcaAuth
from xfrmd.model.plan import Plan
from xfrmd.model.selector import Selector

_HELD: Final = "packets to there need an SA of rule"
_CROWD: Final = "too many lists and responders are asked at once"


class ListStore(Protocol):
    """Where fetched lists outlive the process. All raise OSError."""

    def load(self, url: str) -> bytes | None:
        """What was saved for an address."""

    def save(self, url: str, der: bytes) -> None:
        """Keep a list."""

    def keep(self, urls: set[str], gone: set[str], most: int) -> None:
        """Remove what is of no use: those that are gone, and of more than so many others than `urls` before these."""


def by_http(facts: FactsSource) -> Callable[[Request], Awaitable[bytes]]:
    """Fetch by HTTP, from hosts whose names this host resolves by its hosts file and DNS."""

    async def resolve(name: str) -> Sequence[Address]:
        return (await facts.look_up(frozenset({name}), strict=False)).get(name, ())

    return lambda request: fetch(request, resolve)


class Kept(NamedTuple):
    """A list that was saved, and proved to be its authority's."""

    der: bytes
    holds: bool


class Ways(NamedTuple):
    """How to reach the world. `held_by`: the rule whose SA a packet of ours needs, "" when it needs none."""

    fetch: Callable[[Request], Awaitable[bytes]]
    wall: Callable[[], float]
    held_by: Callable[[Selector], str] = lambda _: ""
    store: ListStore | None = None


@dataclass(slots=True, eq=False)
class Known:
    """A source, and what is known of it. Times are those of the event loop."""

    source: Source
    task: asyncio.Task[None] | None = None
    until: datetime | None = None
    """For a list: until when it holds."""
    due: float | None = None
    """When it is to be fetched anew."""
    failures: int = 0
    trouble: str = ""
    again: float = 0.0
    """Before that it is not asked again."""


class Enquirer:
    """`learnt` hears what comes of each question, `kept` of lists on the disk that no longer hold, `tell` what the
    operator should know, `broken` of faults of ours.
    """

    def __init__(
        self,
        ways: Ways,
        learnt: Callable[[Source, News | None, str], None],
        tell: Callable[[Notice], None],
        broken: Callable[[str, Exception], None],
        kept: Callable[[Source, bytes], None] = lambda *_: None,
    ) -> None:
        self._ways = ways
        self._broken = broken
        self._learnt = learnt
        self._outdated = kept
        self._tell = tell
        self._turns = asyncio.Semaphore(fetching.AT_ONCE)
        self._timer: asyncio.TimerHandle | None = None
        self.known: dict[Source, Known] = {}
        """The ones asked last at the end."""

    def ask(self, source: Source) -> None:
        """Ask now; `learnt` hears the answer, at once where there is none to be had."""
        known = self._known(source)
        if known.task is not None:
            return
        if known.failures and self._now < known.again:
            self._learnt(source, None, known.trouble)
        elif sum(one.task is not None for one in self.known.values()) >= fetching.WAITING:
            self._learnt(source, None, _CROWD)
        else:
            self._start(known, anew=known.due is not None and known.due <= self._now)

    def plan_changed(self, plan: Plan) -> None:
        """Fetch what the methods of a plan will need, forget what none of them allows any more."""
        every = dict.fromkeys(one for pad in plan.pad for one in pad.auth)
        methods = [one for one in every if isinstance(one, RootcaAuth) and one.fetch is not None]
        gone = [one for one in self.known if not sources.is_allowed(one, methods)]
        for one in gone:
            self._drop(one)
        for source in sources.ahead(methods):
            known = self._known(source)
            known.again = 0.0  # whoever gives a policy anew may have mended it
            if known.task is None and (known.until is None or known.failures):
                self._start(known, anew=False)
        if self._ways.store is not None:
            with contextlib.suppress(OSError):  # what cannot be removed is of no harm
                wanted, others = ({one.url for one in each if one.is_list} for each in (self.known, gone))
                self._ways.store.keep(wanted, others - wanted, fetching.CRLS_FETCHED if methods else 0)

    def close(self) -> None:
        """Ask no more."""
        for one in tuple(self.known):
            self._drop(one)
        if self._timer is not None:
            self._timer.cancel()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _known(self, source: Source) -> Known:
        known = self.known.pop(source, None) or Known(source)
        self.known[source] = known
        lists = [one for one in self.known if one.is_list is source.is_list and self.known[one].task is None]
        if len(lists) > (fetching.CRLS_FETCHED if source.is_list else fetching.OCSP_KEPT):
            self._drop(lists[0])
        return known

    def _drop(self, source: Source) -> None:
        task = self.known.pop(source).task
        if task is not None:
            task.cancel()

    def _start(self, known: Known, *, anew: bool) -> None:
        known.task = asyncio.get_running_loop().create_task(self._run(known, anew=anew), name=known.source.url)

    async def _run(self, known: Known, *, anew: bool) -> None:
        source, news, trouble = known.source, None, "an internal error"
        try:
            news = await self._from_disk(source) if source.is_list and not anew else None
            if news is None:
                async with self._turns:
                    news = await self._obtain(source)
        except FetchError as error:
            trouble = f"{error}{self._held(source, error.address)}"
        except CredentialError as error:
            trouble = str(error)
        except Exception as error:  # noqa: BLE001 (whoever waits for the answer is told all the same)
            self._broken("revocation", error)
        finally:
            known.task = None
        if source not in self.known:
            return
        if news is None:
            self._failed(known, trouble)
        else:
            self._succeeded(known, news)
        self._learnt(source, news, "" if news is not None else trouble)

    async def _obtain(self, source: Source) -> News:
        if not source.is_list:
            body = sources.question(source)
            request = Request(source.url, fetching.OCSP_FETCHED, body, ocsp.REQUEST_TYPE)
            return sources.answer(source, await self._ways.fetch(request), self._today())
        octets = await self._ways.fetch(Request(source.url, fetching.CRL_FETCHED))
        return await asyncio.to_thread(self._judged, source, octets)

    async def _from_disk(self, source: Source) -> News | None:
        """The list that was saved, if it holds. Else it is told what it names, which nothing takes back but a newer
        list: whoever keeps us from that one is not to bring in who was known to be revoked.
        """
        kept = await asyncio.to_thread(self._kept, source)
        if kept is None or kept.holds:
            return kept.der if kept is not None else None
        self._outdated(source, kept.der)
        return None

    def _kept(self, source: Source) -> Kept | None:
        """In a thread: the list that was saved, if it is the authority's."""
        try:
            octets = self._ways.store.load(source.url) if self._ways.store is not None else None
            if octets is None:
                return None
            began, ends = (found := revocation.known(octets)).parsed.last_update_utc, found.next_update
            sources.answer(source, octets, began)
        except (OSError, CredentialError):
            return None
        return Kept(octets, began <= self._today() <= ends)

    def _judged(self, source: Source, octets: bytes) -> News:
        """In a thread, as a list of some megabytes takes a while."""
        news = sources.answer(source, octets, self._today())
        if self._ways.store is not None:
            with contextlib.suppress(OSError):  # the next start fetches it again
                if not (isinstance(news, bytes) and _is_older(news, self._ways.store.load(source.url))):
                    self._ways.store.save(source.url, octets)
        return news

    def _today(self) -> datetime:
        return datetime.fromtimestamp(self._ways.wall(), UTC)

    def _held(self, source: Source, address: Address | None) -> str:
        packet = outgoing(address, location_of(source.url).place.port) if address is not None else None
        rule = self._ways.held_by(packet) if packet is not None else ""
        return f"; {_HELD} {rule!r}, which may wait for this very answer" if rule else ""

    def _succeeded(self, known: Known, news: News) -> None:
        known.failures, known.trouble = 0, ""
        if not isinstance(news, bytes):
            return
        found = revocation.known(news)
        if known.until != found.next_update:
            text = f"revocation list of {found.issuer!r} from {known.source.url}, until {_shown(found.next_update)}"
            self._tell(Notice(Level.INFO, "revocation-list", text, {"url": known.source.url}))
        known.until = found.next_update
        least, most = fetching.PAUSE
        left = (found.next_update - self._today()).total_seconds()
        self._plan(known, min(max(left * (1 - fetching.AHEAD), least), most))

    def _failed(self, known: Known, trouble: str) -> None:
        if trouble != known.trouble:
            text = f"{known.source.url}: {trouble}"
            self._tell(
                Notice(
                    Level.WARNING, "revocation-not-fetched", text, {"url": known.source.url}, _remedy(known, trouble)
                )
            )
        least, most = fetching.RETRY
        pause = min(least * 2**known.failures, most)
        known.failures, known.trouble, known.again = min(known.failures + 1, 16), trouble, self._now + pause
        if known.source.is_list:
            self._plan(known, pause)

    def _plan(self, known: Known, seconds: float) -> None:
        known.due = self._now + seconds
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = min((one.due for one in self.known.values() if one.due is not None), default=None)
        self._timer = None if due is None else asyncio.get_running_loop().call_at(due, self._step)

    def _step(self) -> None:
        """Fetch what is due."""
        for known in self.known.values():
            if known.due is not None and known.due <= self._now and known.task is None:
                known.due = None
                self._start(known, anew=True)
        self._arm()


def _is_older(der: bytes, kept: bytes | None) -> bool:
    """Is a list older than the one that is kept, of the same authority? Whoever is on the way may show it again."""
    try:
        there = revocation.known(kept).parsed if kept is not None else None
    except CredentialError:
        return False
    found = revocation.known(der).parsed
    return there is not None and there.issuer == found.issuer and there.last_update_utc > found.last_update_utc


def _remedy(known: Known, trouble: str) -> str:
    if _HELD in trouble:
        return "let a permit filter pass TCP to that host and port: the policy holds for the daemon's own packets, too"
    if known.source.is_list:
        return f"see what answers there: curl -v {known.source.url} | openssl crl -inform DER -noout -text"
    return f"ask it as we do: openssl ocsp -url {known.source.url} -issuer CA -cert CERTIFICATE"


def _shown(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"
