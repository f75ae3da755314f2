# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that delete. What rules refer to cannot be deleted; what is not there need not be."""

from __future__ import annotations

from typing import Any

from xfrmd.netsh.arguments import Arguments
from xfrmd.netsh.ends import pair
from xfrmd.netsh.session import Session
from xfrmd.netsh.store import FilterAction, FilterKey, FilterList, Names, Store
from xfrmd.policy.problems import quoted


def _nothing(session: Session, arguments: Arguments, what: str) -> None:
    """Scripts begin by deleting what an earlier run left. An import has no earlier run."""
    message = f"there is no {what} at this point, so nothing is deleted"
    session.warning(arguments.at, message, "remove the line, unless it cleans up after an earlier run")


def _delete_shared(session: Session, arguments: Arguments, names: Names[Any], kind: str) -> None:
    one: FilterList | FilterAction | None = names.get(arguments["name"])
    if one is None:
        _nothing(session, arguments, f"{kind} {quoted(arguments['name'])}")
    elif one.uses:
        message = f"{kind} {quoted(one.name)} is used by {one.uses} rules: Windows does not delete it"
        session.error(arguments.place("name"), message, "delete the rules first, or remove this line")
    else:
        names.remove(one)


def _delete_unused(session: Session, arguments: Arguments, names: Names[Any], kind: str) -> None:
    if not session.compare(len(names), arguments.at):
        return
    used = next((one for one in names if one.uses), None)
    if used is not None:
        message = f"{kind} {quoted(used.name)} is used by rules: Windows does not delete it"
        session.error(arguments.at, message, "delete the rules first, or remove this line")
        return
    for one in list(names):
        names.remove(one)


def delete_filterlist(session: Session, arguments: Arguments) -> None:
    """`delete filterlist`: one by name, or all."""
    delete = _delete_unused if arguments.every else _delete_shared
    delete(session, arguments, session.store.lists, "filter list")


def delete_filteraction(session: Session, arguments: Arguments) -> None:
    """`delete filteraction`: one by name, or all."""
    delete = _delete_unused if arguments.every else _delete_shared
    delete(session, arguments, session.store.actions, "filter action")


def delete_filter(session: Session, arguments: Arguments) -> None:
    """`delete filter`: every filter of a list that matches all that is given."""
    into = session.filter_list(arguments)
    ends = None if into is None else pair(arguments, session)
    if into is None or ends is None:
        return
    keys = into.by_pair.get(ends, {})
    if not session.compare(len(keys), arguments.at):
        return
    given = [arguments.get(tag) for tag in ("protocol", "srcport", "dstport", "mirrored")]
    gone = [one for key, one in keys.items() if _matches(key, *given)]
    into.remove(gone)
    if not gone:
        message = "no filter of the list matches all of this, so nothing is deleted"
        session.warning(arguments.at, message, "remove the line, or write the filter's masks too")


def _matches(key: FilterKey, protocol: int | None, sport: int | None, dport: int | None, mirrored: bool | None) -> bool:
    """Does a filter match all that is given? Written out, as it is asked millions of times."""
    return (
        (protocol is None or key.protocol == protocol)
        and (sport is None or key.sport == sport)
        and (dport is None or key.dport == dport)
        and (mirrored is None or key.mirrored == mirrored)
    )


def delete_policy(session: Session, arguments: Arguments) -> None:
    """`delete policy`: with its rules."""
    policies = session.store.policies
    if arguments.every:
        for one in list(policies):
            session.store.drop_policy(one)
        return
    policy = policies.get(arguments["name"])
    if policy is None:
        _nothing(session, arguments, f"policy {quoted(arguments['name'])}")
    else:
        session.store.drop_policy(policy)


def delete_rule(session: Session, arguments: Arguments) -> None:
    """`delete rule`: one of a policy by name, or all of it."""
    policy = session.policy(arguments)
    if policy is None:
        return
    rule = None if arguments.every else policy.rules.get(arguments["name"])
    if arguments.every:
        for one in list(policy.rules):
            session.store.drop_rule(policy, one)
    elif rule is None:
        _nothing(session, arguments, f"rule {quoted(arguments['name'])}")
    else:
        session.store.drop_rule(policy, rule)


def delete_all(session: Session, arguments: Arguments) -> None:
    """`delete all`: the whole store."""
    del arguments
    session.stores[session.location] = Store()
