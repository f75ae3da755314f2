# SPDX-License-Identifier: GPL-2.0-or-later
"""Which filters speak of what facts give a meaning: the ones to look at again when facts change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from xfrmd.compiler.expand import KINDS, Generic
from xfrmd.model.addresses import Address
from xfrmd.model.facts import HostFacts
from xfrmd.policy.words import AddressSpec, AddressWord, ConnectionType

_FACTS: Final = frozenset(AddressWord) - {AddressWord.ME, AddressWord.ANY}
"""Words whose addresses change while the host's own stay."""
Own = dict[ConnectionType, tuple[Address, ...]]
"""Addresses of the host that `me` stands for, by the rule's connection type."""


class Moves(NamedTuple):
    """How the addresses behind `me` change."""

    gone: Own
    new: Own


def moves(before: HostFacts, after: HostFacts) -> Moves | None:
    """The addresses that go and come from one host to the next; None when none does."""
    was, now = ({kind: one.own_addresses(KINDS[kind]) for kind in ConnectionType} for one in (before, after))
    found = Moves(_missing(was, now), _missing(now, was))
    return found if any((*found.gone.values(), *found.new.values())) else None


def _missing(ours: Own, theirs: Own) -> Own:
    """What of ours they do not have."""
    return {kind: tuple(one for one in ours[kind] if one not in theirs[kind]) for kind in ConnectionType}


class Speakers:
    """Filters by the words and names that they say; those that say none are not in it, nor those of `me` alone."""

    def __init__(self, generics: Iterable[Generic]) -> None:
        self._by_word: dict[object, dict[int, Generic]] = {}
        self._tunnels: dict[int, Generic] = {}
        self.enter(generics)

    def enter(self, generics: Iterable[Generic]) -> None:
        """Put filters in."""
        for one in generics:
            if one.rule.tunnel is not None:
                self._tunnels[one.number] = one
            elif all(type(end) is tuple or end is AddressWord.ME for end in (one.filter.src, one.filter.dst)):
                continue  # as nearly all of a hundred thousand are
            for word in _words(one):
                self._by_word.setdefault(word, {})[one.number] = one

    def leave(self, generics: Iterable[Generic]) -> None:
        """Take filters out."""
        for one in generics:
            self._tunnels.pop(one.number, None)
            for word in _words(one):
                del self._by_word[word][one.number]

    def of(self, words: Iterable[AddressSpec], *, moved: bool) -> dict[int, Generic]:
        """Filters with one of these words, by number; of a tunnel both, as an end of it may have moved. `moved`: the
        addresses of the host changed, and tunnels may end here that did not, or no longer.
        """
        found: dict[int, Generic] = dict(self._tunnels) if moved else {}
        for word in words:
            found |= self._by_word.get(word, {})
        return found


def speaking_of_me(generics: Iterable[Generic]) -> Iterator[Generic]:
    """Filters that change with the addresses of the host, tunnels aside."""
    me = AddressWord.ME
    return (one for one in generics if (one.filter.src is me or one.filter.dst is me) and one.rule.tunnel is None)


def _words(one: Generic) -> Iterator[object]:
    """What a filter says that facts give a meaning, once each."""
    for word in {one.filter.src, one.filter.dst, one.rule.tunnel, one.back}:
        if word in _FACTS or isinstance(word, str):
            yield word


def changed_words(before: HostFacts, after: HostFacts) -> list[AddressSpec]:
    """What policies can say, `me` aside, that stands for other addresses now."""
    pairs = (
        (AddressWord.DNS_SERVERS, before.dns_servers, after.dns_servers),
        (AddressWord.WINS_SERVERS, before.wins_servers, after.wins_servers),
        (AddressWord.DHCP_SERVER, before.dhcp_servers, after.dhcp_servers),
        (AddressWord.DEFAULT_GATEWAY, before.default_gateways, after.default_gateways),
    )
    names = {*before.names, *after.names}
    return [
        *(word for word, old, new in pairs if old != new),
        *sorted(name for name in names if before.names.get(name) != after.names.get(name)),
    ]
