# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of the control API that bring policies, or change what is in force."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from xfrmd.adapters.policy_stores import StoreError
from xfrmd.compiler.names import is_strict, names_of
from xfrmd.control.exits import ExitCode
from xfrmd.control.schema import ControlError, Json
from xfrmd.daemon import views
from xfrmd.daemon.enforcement import InForce
from xfrmd.daemon.house import House, in_force
from xfrmd.errors import KernelError, PolicyError
from xfrmd.model.facts import HostFacts
from xfrmd.model.source import Severity
from xfrmd.model.store import Store
from xfrmd.policy import PolicyErrors, load
from xfrmd.policy.package import NewerFormatError, Package
from xfrmd.policy.resolve import blank
from xfrmd.policy.words import PolicySet

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAID_ELSEWHERE: Final = {
    Store.LOCAL: ("the local store is the policy file of the daemon's command line", "write it there, xfrmctl reload"),
    Store.DIRECTORY: ("what the directory assigns is said in the directory", "write it there, then xfrmctl reload"),
}


def bad_policy(error: PolicyError) -> ControlError:
    """A policy that cannot be used: every problem of it."""
    problems = [views.problem(one) for one in error.problems] if isinstance(error, PolicyErrors) else []
    errors = sum(one["severity"] == Severity.ERROR.value for one in problems) or 1
    message = f"the policy has {errors} error{'s' * (errors > 1)}" if problems else str(error)
    return ControlError("bad-policy", message, "mend it and apply it again", details={"problems": problems})


@contextmanager
def _refusals() -> Iterator[None]:
    """What policies, disk and kernel refuse, as refusals of the request."""
    try:
        yield
    except (StoreError, NewerFormatError) as error:
        message, remedy = f"nothing was changed: {error}", "mend that, and assign it again"
        code = ExitCode.NEWER if isinstance(error, NewerFormatError) else ExitCode.NOT_KEPT
        raise ControlError("not-kept", message, remedy, code) from error
    except PolicyError as error:
        raise bad_policy(error) from error
    except KernelError as error:
        message = f"the kernel refused the policy: {error}"
        remedy = "the policy before it is in force; change this one, and apply it again"
        raise ControlError("kernel-refused", message, remedy, ExitCode.KERNEL_REFUSES) from error


def _compared(policies: PolicySet, facts: HostFacts, now: InForce, *, running_is_old: bool) -> Json:
    from xfrmd.daemon.studies import compared  # noqa: PLC0415 - imported when the daemon is ready, as said there

    return compared(policies, facts, now, running_is_old=running_is_old)


async def diff(house: House, arguments: Json) -> Json:
    """Which traffic fares differently under the policy that the request carries, in the place of a store's, and what is
    in force.
    """
    running, now, store = arguments.get("running") or "old", in_force(house), _store(arguments, Store.LOCAL)
    if running not in ("old", "new"):
        raise ControlError("usage", f"running is old or new, not {running!r}", "see xfrmctl diff --help")
    package = _package(arguments)
    try:
        found = await asyncio.to_thread(load, package.text, package.file, blank, sources=package.sources)
        policies = house.stores.together({store: found})
        new = names_of(policies) - now.facts.names.keys()
        names = await house.facts.look_up(new, strict=is_strict(policies)) if new else {}
        there = replace(now.facts, names=now.facts.names | names)
        return await asyncio.to_thread(_compared, policies, there, now, running_is_old=running == "old")
    except PolicyError as error:
        raise bad_policy(error) from error


def _applied(house: House, before: InForce | None, now: InForce | None) -> Json:
    """What is in force now, and what that changed: nothing where it is what was in force before."""
    fresh = now if now is not before else None
    return {
        "policy": now.plan.policy or None if now else None,
        "file": now.file if now else None,
        "warnings": [*map(views.problem, now.warnings)] if now else [],
        "filters": len(now.plan.filters) if now else 0,
        "changes": dict(fresh.outcome.changes) if fresh else {},
        "kernel": views.kernel(now.outcome.degraded if now else ()),
        "replaced": before.plan.policy or None if before and fresh else None,
        "stores": views.stores(house.stores),
    }


def _package(arguments: Json) -> Package:
    """What a request brings: this host's own files are closed to clients."""
    given = arguments.get("variables") or {}
    variables = {name: value if isinstance(value, str) else tuple(value) for name, value in given.items()}
    return Package(arguments["text"], arguments["file"], arguments.get("files") or {}, variables)


def _store(arguments: Json, default: Store) -> Store:
    word = arguments.get("store") or default.value
    try:
        return Store(word)
    except ValueError:
        stores = ", ".join(store.value for store in Store)
        raise ControlError("usage", f"there is no store {word!r}", f"write one of {stores}", ExitCode.USAGE) from None


async def apply(house: House, arguments: Json) -> Json:
    """Put the policy that the request carries in force, in the place of the local store's."""
    before = house.enforcement.now
    with _refusals():
        allow = bool(arguments.get("allow_lockout"))
        return _applied(house, before, await house.stores.apply(_package(arguments), allow_lockout=allow))


async def reload(house: House, _: Json) -> Json:
    """Read what the directory and the policy file of the command line say now, with what they include."""
    before = house.enforcement.now
    if not house.stores.sources:
        raise ControlError("no-file", "the daemon was started without --policy", "xfrmctl apply FILE")
    with _refusals():
        try:
            return _applied(house, before, await house.stores.reload())
        except PolicyErrors:
            raise
        except PolicyError as error:
            raise ControlError("unreadable", f"cannot be read: {error}", "the running policy stays") from error


def _assigned_by_command(arguments: Json) -> Store:
    store = _store(arguments, Store.PERSISTENT)
    if store in _SAID_ELSEWHERE:
        message, remedy = _SAID_ELSEWHERE[store]
        raise ControlError("usage", message, remedy, ExitCode.USAGE)
    return store


async def assign(house: House, arguments: Json) -> Json:
    """Let the policy that the request carries be a store's, also after the next start."""
    store, before = _assigned_by_command(arguments), house.enforcement.now
    with _refusals():
        allow = bool(arguments.get("allow_lockout"))
        now, changed = await house.stores.persistent.assign(_package(arguments), allow_lockout=allow)
    return {"store": store.value, "changed": changed, **_applied(house, before, now)}


async def unassign(house: House, arguments: Json) -> Json:
    """Let a store have no policy any more."""
    store, before = _assigned_by_command(arguments), house.enforcement.now
    with _refusals():
        now, changed = await house.stores.persistent.unassign()
    return {"store": store.value, "changed": changed, **_applied(house, before, now)}


async def stores(house: House, _: Json) -> Json:
    """What each store holds, and what is wrong with it."""
    return {"stores": views.stores(house.stores)}


TABLE: Final[Mapping[str, Callable[[House, Json], Awaitable[Json]]]] = {
    "diff": diff,
    "apply": apply,
    "reload": reload,
    "assign": assign,
    "unassign": unassign,
    "stores": stores,
}
