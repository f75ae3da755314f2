# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy store in memory: the objects that `netsh ipsec static` edits. Names are found without regard to case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from xfrmd.model.source import Span
from xfrmd.netsh.methods import Method
from xfrmd.netsh.values import Authentication, DnsName, RawAddress
from xfrmd.policy.words import Action, AddressSpec, ConnectionType


class FilterKey(NamedTuple):
    """What a filter says besides its two addresses; masks are in the addresses."""

    protocol: int
    sport: int
    dport: int
    mirrored: bool


class Filter(NamedTuple):
    """One filter of a list."""

    src: AddressSpec
    dst: AddressSpec
    key: FilterKey
    description: str
    at: Span


Pair = tuple[AddressSpec, AddressSpec]


@dataclass(slots=True, eq=False)
class FilterList:
    """A filter list. Filters are kept by their addresses, so that adding and deleting need no search."""

    name: str
    at: Span
    description: str = ""
    by_pair: dict[Pair, dict[FilterKey, Filter]] = field(default_factory=dict)
    uses: int = 0
    """Rules that refer to it."""

    def add(self, one: Filter) -> Filter | None:
        """Add a filter; the equal one that is there already, if there is one."""
        keys = self.by_pair.setdefault((one.src, one.dst), {})
        known = keys.get(one.key)
        if known is None:
            keys[one.key] = one
        return known

    def remove(self, gone: list[Filter]) -> None:
        """Take filters out that are in it."""
        for one in gone:
            keys = self.by_pair[one.src, one.dst]
            del keys[one.key]
            if not keys:
                del self.by_pair[one.src, one.dst]

    @property
    def empty(self) -> bool:
        """Has it no filter?"""
        return not self.by_pair

    def filters(self) -> list[Filter]:
        """All filters in the order of the script."""
        return sorted((one for keys in self.by_pair.values() for one in keys.values()), key=lambda one: one.at)


@dataclass(slots=True)
class FilterAction:
    """A filter action. Equal ones say the same, wherever they stand."""

    name: str
    at: Span = field(compare=False)
    description: str = ""
    action: Action = Action.NEGOTIATE
    qmpfs: bool = False
    inpass: bool = False
    soft: bool = False
    methods: tuple[Method, ...] = ()
    """Empty: none were named, defaults hold."""
    uses: int = field(default=0, compare=False)


@dataclass(slots=True)
class Rule:
    """A rule of a policy."""

    name: str
    at: Span = field(compare=False)
    filter_list: FilterList
    filter_action: FilterAction
    tunnel: RawAddress | DnsName | None = None
    conntype: ConnectionType = ConnectionType.ALL
    activate: bool = True
    description: str = ""
    auth: tuple[Authentication, ...] = ()
    """Empty: none were named, and Windows takes Kerberos."""


@dataclass(slots=True)
class DefaultRule:
    """The default response rule of a policy. `at` is the line that spoke of it, None when none did."""

    at: Span | None = field(default=None, compare=False)
    activate: bool = True
    qmpfs: bool = False
    methods: tuple[Method, ...] = ()
    auth: tuple[Authentication, ...] = ()


T = TypeVar("T", "FilterList", "FilterAction", "Policy", "Rule")


class Names(Generic[T]):
    """Objects by name, in the order of the script."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[str, T] = {}

    def get(self, name: str) -> T | None:
        """The object of that name."""
        return self._found.get(name.casefold())

    def add(self, one: T) -> None:
        """Add an object whose name is free."""
        self._found[one.name.casefold()] = one

    def remove(self, one: T) -> None:
        """Take an object out."""
        del self._found[one.name.casefold()]

    def rename(self, one: T, name: str) -> None:
        """Give an object a name that is free."""
        self.remove(one)
        one.name = name
        self.add(one)

    def __iter__(self) -> Iterator[T]:
        return iter(sorted(self._found.values(), key=lambda one: one.at))

    def __len__(self) -> int:
        return len(self._found)

    def names(self) -> tuple[str, ...]:
        """All names as they are written."""
        return tuple(one.name for one in self._found.values())


@dataclass(slots=True)
class Policy:
    """A policy with its rules."""

    name: str
    at: Span = field(compare=False)
    description: str = ""
    mmpfs: bool = False
    qmpermm: int = 0
    mmlifetime: int = 480
    methods: tuple[Method, ...] = ()
    pollinginterval: int | None = None
    default_rule: DefaultRule = field(default_factory=DefaultRule)
    assigned: bool = field(default=False, compare=False)
    rules: Names[Rule] = field(default_factory=Names[Rule], compare=False)


@dataclass(slots=True)
class Store:
    """The local or the persistent store."""

    lists: Names[FilterList] = field(default_factory=Names[FilterList])
    actions: Names[FilterAction] = field(default_factory=Names[FilterAction])
    policies: Names[Policy] = field(default_factory=Names[Policy])
    assigned: Policy | None = None
    """The policy that was assigned last; it need not be there any more."""

    @property
    def empty(self) -> bool:
        """Is nothing in it?"""
        return not (self.lists or self.actions or self.policies)

    @property
    def first(self) -> Span:
        """Where the first object of a store that is not empty was added."""
        return min(one.at for names in (self.lists, self.actions, self.policies) for one in names)

    def drop_rule(self, policy: Policy, rule: Rule) -> None:
        """Delete a rule: what it refers to is used by one less."""
        policy.rules.remove(rule)
        rule.filter_list.uses -= 1
        rule.filter_action.uses -= 1

    def drop_policy(self, policy: Policy) -> None:
        """Delete a policy with its rules."""
        for rule in list(policy.rules):
            self.drop_rule(policy, rule)
        self.policies.remove(policy)
