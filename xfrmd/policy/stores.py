# SPDX-License-Identifier: GPL-2.0-or-later
"""The policies of several stores as one set: which of them are in force, and whose settings hold. Pure.

The persistent policy stands beside the one of the directory, or of the local store where the directory assigns none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace

from xfrmd.model.source import Problem, Severity
from xfrmd.model.store import Store
from xfrmd.policy.words import Config, Policy, PolicySet

NOTHING = PolicySet((), None)
"""What a store holds that is empty."""
_SETTINGS = frozenset(one.name for one in fields(Config)) - {"given"}


def decisive(stores: Mapping[Store, PolicySet]) -> Store:
    """The store beside the persistent one whose policy is in force: the directory, where it assigns one."""
    directory = stores.get(Store.DIRECTORY, NOTHING)
    return Store.DIRECTORY if directory.assigned is not None else Store.LOCAL


def merge(stores: Mapping[Store, PolicySet]) -> PolicySet:
    """What is in force of these stores, each with one policy assigned at most. Those of a single store stay as they
    are.
    """
    store = decisive(stores)
    other, persistent = stores.get(store, NOTHING), stores.get(Store.PERSISTENT, NOTHING)
    assigned, beside = _of(other.assigned, store), _of(persistent.assigned, Store.PERSISTENT)
    if beside is None:
        return replace(other, assigned=assigned)
    return PolicySet(
        (*persistent.policies, *other.policies),
        assigned,
        (*persistent.warnings, *other.warnings, *_overridden(persistent, other)),
        _config(persistent.config, other.config),
        beside,
    )


def _of(policy: Policy | None, store: Store) -> Policy | None:
    return None if policy is None else replace(policy, store=store)


def _config(persistent: Config, other: Config) -> Config:
    """Setting by setting: what the persistent policy's file says holds."""
    said = persistent.given & _SETTINGS
    return replace(other, **{name: getattr(persistent, name) for name in said}, given=persistent.given | other.given)


def _overridden(persistent: PolicySet, other: PolicySet) -> Iterator[Problem]:
    """Settings of which the two files say different things."""
    assert persistent.assigned is not None
    at = other.assigned.at if other.assigned else persistent.assigned.at
    for name in sorted(persistent.config.given & other.config.given & _SETTINGS):
        if getattr(persistent.config, name) != getattr(other.config, name):
            message = f"config: {name} of this file counts for nothing: the file of the persistent policy, "
            message += f"{persistent.assigned.at.file}, says otherwise and wins"
            yield Problem(Severity.WARNING, at, message, f"say the same in both files, or leave {name} out of one")
