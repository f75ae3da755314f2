# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that add and set objects of a store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xfrmd.netsh.arguments import Arguments
from xfrmd.netsh.ends import pair
from xfrmd.netsh.session import Session
from xfrmd.netsh.store import DefaultRule, Filter, FilterAction, FilterKey, FilterList, Policy, Rule
from xfrmd.policy.problems import quoted
from xfrmd.policy.words import Action, ConnectionType


def add_filterlist(session: Session, arguments: Arguments) -> None:
    """`add filterlist`: an empty list."""
    known = session.store.lists.get(arguments["name"])
    description = arguments.get("description", "")
    if known is None:
        session.store.lists.add(FilterList(arguments["name"], arguments.at, description))
    elif description in ("", known.description):
        session.again(arguments, "filter list", known.name, known.at.line)
    else:
        session.free(session.store.lists, arguments, "name", "filter list")


def add_filter(session: Session, arguments: Arguments) -> None:
    """`add filter`: into a list, which is made when it is not there."""
    ends = pair(arguments, session)
    if ends is None:
        return
    lists = session.store.lists
    into = lists.get(arguments["filterlist"])
    if into is None:
        into = FilterList(arguments["filterlist"], arguments.at)
        lists.add(into)
    values = arguments.values
    key = FilterKey(
        values.get("protocol", 0), values.get("srcport", 0), values.get("dstport", 0), values.get("mirrored", True)
    )
    known = into.add(Filter(*ends, key, values.get("description", ""), arguments.at))
    if known is not None:
        message = f"this filter stands in line {known.at.line} already: this line changes nothing"
        session.warning(arguments.at, message, "remove the line")


def add_filteraction(session: Session, arguments: Arguments) -> None:
    """`add filteraction`."""
    made = _filter_action(FilterAction(arguments["name"], arguments.at), session, arguments)
    known = session.store.actions.get(made.name)
    if known == made:
        session.again(arguments, "filter action", known.name, known.at.line)
    elif session.free(session.store.actions, arguments, "name", "filter action"):
        session.store.actions.add(made)


def _filter_action(one: FilterAction, session: Session, arguments: Arguments) -> FilterAction:
    values = _given(arguments, "description", "action", "qmpfs", "inpass", "soft", qmsecmethods="methods")
    made = replace(one, **values)
    for tag in ("qmpfs", "inpass", "soft", "qmsecmethods"):
        if arguments.get(tag) and made.action is not Action.NEGOTIATE:
            message = f"{tag} has no meaning with action={made.action.value}"
            session.warning(arguments.place(tag), message, f"remove {tag}, or write action=negotiate")
    return made


def _given(arguments: Arguments, *same: str, **renamed: str) -> dict[str, Any]:
    """Values of the tags that were given, by the names of fields."""
    fields = {tag: tag for tag in same} | renamed
    return {name: arguments[tag] for tag, name in fields.items() if arguments.given(tag)}


def set_filterlist(session: Session, arguments: Arguments) -> None:
    """`set filterlist`: another name or description."""
    one = session.filter_list(arguments, "name")
    if one is not None and _rename(session, session.store.lists, one, arguments, "filter list"):
        one.description = arguments.get("description", one.description)


def set_filteraction(session: Session, arguments: Arguments) -> None:
    """`set filteraction`: what is given replaces what was."""
    one = session.filter_action(arguments, "name")
    if one is None or not _rename(session, session.store.actions, one, arguments, "filter action"):
        return
    made = _filter_action(one, session, arguments)
    for name in ("description", "action", "qmpfs", "inpass", "soft", "methods"):
        setattr(one, name, getattr(made, name))


def _rename(session: Session, names: Any, one: Any, arguments: Arguments, kind: str) -> bool:
    if arguments.given("newname"):
        if not session.free(names, arguments, "newname", kind, one):
            return False
        names.rename(one, arguments["newname"])
    return True


def add_policy(session: Session, arguments: Arguments) -> None:
    """`add policy`."""
    made = _policy(Policy(arguments["name"], arguments.at), arguments)
    known = session.store.policies.get(made.name)
    if known == made:
        session.again(arguments, "policy", known.name, known.at.line)
    elif session.free(session.store.policies, arguments, "name", "policy"):
        session.store.policies.add(made)
    else:
        return
    _assign(session, session.store.policies.get(made.name), arguments)


def set_policy(session: Session, arguments: Arguments) -> None:
    """`set policy`: what is given replaces what was; assign=yes takes the assignment from the others."""
    one = session.policy(arguments, "name")
    if one is None or not _rename(session, session.store.policies, one, arguments, "policy"):
        return
    made = _policy(one, arguments)
    for name in ("description", "mmpfs", "qmpermm", "mmlifetime", "methods", "pollinginterval", "default_rule"):
        setattr(one, name, getattr(made, name))
    _assign(session, one, arguments)


def _policy(one: Policy, arguments: Arguments) -> Policy:
    values = _given(
        arguments, "description", "mmpfs", "qmpermm", "mmlifetime", "pollinginterval", mmsecmethods="methods"
    )
    if arguments.given("activatedefaultrule"):
        activate = arguments["activatedefaultrule"]
        at = arguments.place("activatedefaultrule")
        values["default_rule"] = replace(one.default_rule, activate=activate, at=at)
    return replace(one, **values)


def _assign(session: Session, policy: Policy | None, arguments: Arguments) -> None:
    if policy is not None and arguments.given("assign"):
        if arguments["assign"]:
            session.assign(policy)
        else:
            policy.assigned = False


def add_rule(session: Session, arguments: Arguments) -> None:
    """`add rule`: a filter list with a filter action, in a policy."""
    policy = session.policy(arguments)
    filter_list, filter_action = session.filter_list(arguments), session.filter_action(arguments)
    if policy is None or filter_list is None or filter_action is None:
        return
    get = arguments.get
    made = Rule(
        arguments["name"],
        arguments.at,
        filter_list,
        filter_action,
        get("tunnel"),
        get("conntype", ConnectionType.ALL),
        get("activate", True),
        get("description", ""),
        tuple(arguments.auth),
    )
    known = policy.rules.get(made.name)
    if known == made:
        session.again(arguments, "rule", known.name, known.at.line)
    elif session.free(policy.rules, arguments, "name", f"in policy {quoted(policy.name)}, rule"):
        policy.rules.add(made)
        filter_list.uses += 1
        filter_action.uses += 1


def set_rule(session: Session, arguments: Arguments) -> None:
    """`set rule`: what is given replaces what was; a stated list of authentication replaces the whole list."""
    policy = session.policy(arguments)
    one = None if policy is None else session.find(policy.rules, arguments, "name", "rule")
    if policy is None or one is None:
        return
    filter_list = session.filter_list(arguments) if arguments.given("filterlist") else one.filter_list
    filter_action = session.filter_action(arguments) if arguments.given("filteraction") else one.filter_action
    if filter_list is None or filter_action is None or not _rename(session, policy.rules, one, arguments, "rule"):
        return
    for old, new in ((one.filter_list, filter_list), (one.filter_action, filter_action)):
        old.uses -= 1
        new.uses += 1
    one.filter_list, one.filter_action = filter_list, filter_action
    for tag in ("tunnel", "conntype", "activate", "description"):
        if arguments.given(tag):
            setattr(one, tag, arguments[tag])
    if arguments.states_auth:
        one.auth = tuple(arguments.auth)


def set_defaultrule(session: Session, arguments: Arguments) -> None:
    """`set defaultrule`: the default response rule of a policy."""
    policy = session.policy(arguments)
    if policy is None:
        return
    values = _given(arguments, "qmpfs", "activate", qmsecmethods="methods")
    if arguments.states_auth:
        values["auth"] = tuple(arguments.auth)
    made: DefaultRule = replace(policy.default_rule, at=arguments.at, **values)
    policy.default_rule = made
