# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of each name, and when it is to be asked for. No sockets and no clock: times are given.

A name's IPv4 and IPv6 addresses are asked for together. An answer without any address counts as none, as it would open
what filters of the name close; so do an answer of addresses that no peer can have, and one that is too long. What was
answered last stays until there is a better answer; where only one half fails, its last answer stays beside the other.
A strict table, of a policy that has unresolved names block, shows addresses only as long as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from xfrmd import limits
from xfrmd.model.addresses import Address, is_nobody
from xfrmd.model.notice import Level, Notice

Addresses = tuple[Address, ...]


class Answered(NamedTuple):
    """The addresses of one IP version, () when the name has none, for `ttl` seconds."""

    addresses: Addresses
    ttl: float


class Failed(NamedTuple):
    """No answer, and why."""

    reason: str


Half = Answered | Failed


class Last(NamedTuple):
    """The last answers: None where there never was one."""

    v4: Addresses | None = None
    v6: Addresses | None = None

    @property
    def addresses(self) -> Addresses:
        """All of them."""
        return (self.v4 or ()) + (self.v6 or ())


@dataclass(slots=True)
class Entry:
    """What is known of one name. `due` is when it is asked for next; `source` is where its addresses are from.

    `stands`: its last question was answered whole, or the one before, not long ago; this run asked it.
    """

    last: Last
    due: float
    source: str = ""
    failures: int = 0
    trouble: str = ""
    asked: float = float("-inf")
    is_asking: bool = False
    is_tried: bool = False
    stands: bool = False
    failing_since: float = float("inf")


class Outcome(NamedTuple):
    """What an answer means: do the addresses differ, and what is to be told."""

    changed: bool = False
    notices: tuple[Notice, ...] = ()


@dataclass(slots=True)
class NameTable:
    """All names that are wanted. `draw` gives a random number from 0 to 1."""

    draw: Callable[[], float]
    entries: dict[str, Entry] = field(default_factory=dict)
    strict: bool = False
    """Do names have addresses only as long as they stand?"""

    def want(
        self, names: Iterable[str], known: Mapping[str, tuple[Last, str]], now: float, *, strict: bool = False
    ) -> None:
        """From now on these names, in place of those before. `known`: answers for names that are new, and whose."""
        before, self.entries, self.strict = self.entries, {}, strict
        for name in sorted(names):
            last, source = known.get(name, (Last(), ""))
            self.entries[name] = before.get(name) or Entry(last, now, source)

    def due(self, now: float) -> list[str]:
        """Names to be asked for now, as many as may be under way; they count as asked for."""
        free = limits.NAME_LOOKUPS - sum(entry.is_asking for entry in self.entries.values())
        waiting = [(entry.due, name) for name, entry in self.entries.items() if not entry.is_asking]
        found = [name for due, name in sorted(waiting)[: max(free, 0)] if due <= now]
        for name in found:
            self.entries[name].is_asking, self.entries[name].asked = True, now
        return found

    def next(self) -> float | None:
        """When a name is to be asked for next; None while nothing is, or as many as may be are under way."""
        asking = sum(entry.is_asking for entry in self.entries.values())
        waiting = (entry.due for entry in self.entries.values() if not entry.is_asking)
        return min(waiting, default=None) if asking < limits.NAME_LOOKUPS else None

    def answer(self, name: str, halves: tuple[Half, Half], now: float) -> Outcome:
        """Hear what came of a question: IPv4, then IPv6."""
        entry = self.entries.get(name)
        if entry is None:
            return Outcome()
        before, troubled, stood = self._shown(entry), bool(entry.trouble), entry.stands
        entry.is_asking, entry.is_tried = False, True
        v4, v6 = (_judged(half) for half in halves)
        empty = isinstance(v4, Answered) and isinstance(v6, Answered) and not v4.addresses + v6.addresses
        if not empty:
            self._take(entry, v4, v6)
        entry.trouble = "the name has no address" if empty else _reason(v4, v6)
        entry.failures = entry.failures + 1 if entry.trouble else 0
        self._stand(entry, now, empty=empty)
        entry.due = now + max(self._pause(entry, v4, v6, empty=empty), limits.NAME_PACE * len(self.entries))
        if entry.trouble and entry.stands:
            entry.due = min(entry.due, entry.failing_since + limits.NAME_STALE)
        notices = [*_refused(name, halves)]
        if bool(entry.trouble) != troubled or (self.strict and stood and not entry.stands):
            notices.append(self._told(name, entry))
        return Outcome(set(self._shown(entry)) != set(before), tuple(notices))

    def _stand(self, entry: Entry, now: float, *, empty: bool) -> None:
        """A name stands through a failure of limits.NAME_STALE; not when DNS says that it has no address."""
        if not entry.trouble:
            entry.stands, entry.failing_since = True, float("inf")
            return
        entry.failing_since = min(entry.failing_since, now)
        entry.stands = entry.stands and not empty and now - entry.failing_since < limits.NAME_STALE

    def _shown(self, entry: Entry) -> Addresses:
        return entry.last.addresses if entry.stands or not self.strict else ()

    def _take(self, entry: Entry, v4: Half, v6: Half) -> None:
        """What was answered replaces what was known of it, unless only the other half says that the name still is."""
        both = isinstance(v4, Answered) and isinstance(v6, Answered)
        v4_now = v4.addresses if isinstance(v4, Answered) and (both or v4.addresses) else entry.last.v4
        v6_now = v6.addresses if isinstance(v6, Answered) and (both or v6.addresses) else entry.last.v6
        if _holds(v4) or _holds(v6):
            entry.source = "DNS"
        entry.last = Last(_in_order(v4_now), _in_order(v6_now))

    def _pause(self, entry: Entry, v4: Half, v6: Half, *, empty: bool) -> float:
        """Seconds until the name is asked for again."""
        if empty:
            ttls = (half.ttl for half in (v4, v6) if isinstance(half, Answered))
            return _within(min(ttls), limits.NAME_NEGATIVE_TTL)
        if not entry.trouble:
            return _within(min(_lasting(v4, v6)), limits.NAME_TTL)
        first, most = limits.NAME_RETRY
        late = min(first * 2.0 ** min(entry.failures - 1, 16), most)
        return late * (1 + limits.NAME_JITTER * self.draw())

    def again(self, now: float, *, failed_only: bool = False) -> None:
        """Ask for all names anew, or for those that failed: other servers may answer otherwise."""
        for entry in self.entries.values():
            if not failed_only or entry.trouble:
                entry.due = min(entry.due, max(now, entry.asked + limits.NAME_RETRY[0]))

    def addresses(self) -> Iterator[tuple[str, Addresses]]:
        """Names that have addresses to go by."""
        for name, entry in self.entries.items():
            if found := self._shown(entry):
                yield name, found

    @property
    def is_settled(self) -> bool:
        """Has every name an answer, or at least been asked for?"""
        return all(entry.is_tried or self._shown(entry) for entry in self.entries.values())

    def _told(self, name: str, entry: Entry) -> Notice:
        shown = ", ".join(map(str, self._shown(entry)[:8]))
        if not entry.trouble:
            return Notice(Level.NOTICE, "name-answered", f"DNS answers again for {name}: {shown}", {"name": name})
        means = "its filters block, as the policy says" if self.strict else "its filters mean nothing"
        if shown:
            until = f" for {limits.NAME_STALE:g} s" if self.strict else ""
            means = f"its last addresses stay{until}: {shown}"
        return Notice(
            Level.WARNING,
            "name-unanswered",
            f"no addresses for the DNS name {name} ({entry.trouble}); {means}",
            {"name": name},
            "see xfrmctl facts; the policy must permit DNS to this host's name servers",
        )


def _within(value: float, bounds: tuple[float, float]) -> float:
    least, most = bounds
    return min(max(value, least), most)


def _in_order(addresses: Addresses | None) -> Addresses | None:
    """Servers turn the order round with each answer: that is no change."""
    return None if addresses is None else tuple(sorted(set(addresses)))


def _holds(half: Half) -> bool:
    return isinstance(half, Answered) and bool(half.addresses)


def _lasting(*halves: Half) -> Iterator[float]:
    """TTLs of answers that hold addresses."""
    return (half.ttl for half in halves if isinstance(half, Answered) and half.addresses)


def _judged(half: Half) -> Half:
    if isinstance(half, Failed):
        return half
    usable = tuple(address for address in half.addresses if not is_nobody(address))
    if half.addresses and not usable:
        return Failed("the answer holds only addresses that no peer can have")
    if len(usable) > limits.NAME_ADDRESSES:
        return Failed(f"the answer holds more than {limits.NAME_ADDRESSES} addresses")
    return Answered(usable, half.ttl)


def _refused(name: str, halves: Iterable[Half]) -> Iterator[Notice]:
    found = [str(one) for half in halves if isinstance(half, Answered) for one in half.addresses if is_nobody(one)]
    if found:
        shown = ", ".join(found[:3])
        yield Notice(
            Level.WARNING,
            "name-refused",
            f"DNS gives {name} addresses that no peer can have, which are ignored: {shown}",
            {"name": name},
            "look for a filter or a forger between this host and its name servers",
        )


def _reason(v4: Half, v6: Half) -> str:
    """Why there is no whole answer; "" when there is one."""
    failed = [(what, half.reason) for what, half in (("IPv4", v4), ("IPv6", v6)) if isinstance(half, Failed)]
    reasons = {reason for _, reason in failed}
    if len(failed) == 1:
        return f"{failed[0][0]} addresses: {failed[0][1]}"
    return reasons.pop() if len(reasons) == 1 else "; ".join(f"{what}: {reason}" for what, reason in failed)
