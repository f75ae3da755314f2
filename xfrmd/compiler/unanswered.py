# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS names without an address of which two policies say different things: nobody can tell what becomes of traffic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from xfrmd.model.facts import HostFacts
from xfrmd.policy.words import Policy, PolicySet

_Said = frozenset[tuple[object, ...]]


def unanswered(old: PolicySet, new: PolicySet, facts: HostFacts) -> tuple[str, ...]:
    """The names, sorted. Secrets are not compared, nor are the names of rules."""
    before, after = (_said(policies.in_force, facts) for policies in (old, new))
    names = before.keys() | after.keys()
    return tuple(sorted(name for name in names if before.get(name) != after.get(name)))


def _said(policies: Iterable[Policy], facts: HostFacts) -> dict[str, _Said]:
    """What policies say of each name without an address."""
    found: dict[str, set[tuple[object, ...]]] = {}
    for name, what in chain.from_iterable(map(_of_names, policies)):
        if not facts.names.get(name):
            found.setdefault(name, set()).add(what)
    return {name: frozenset(what) for name, what in found.items()}


def _of_names(policy: Policy) -> Iterator[tuple[str, tuple[object, ...]]]:
    for rule in policy.rules:
        action = rule.filter_action
        done = (action.action, action.qmsecmethods, action.qmpfs, action.inpass, action.soft)
        terms = (*done, rule.tunnel, rule.conntype, rule.local_id, rule.remote_id, policy.unresolved)
        for one in rule.filter_list.filters if rule.active else ():
            what = (one.src, one.dst, one.protocol, one.sports, one.dports, one.mirrored, *terms)
            for name in (one.src, one.dst, rule.tunnel):
                if isinstance(name, str):
                    yield name, what
